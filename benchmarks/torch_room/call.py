"""A step of PyTorch's, and the bytes that it holds at its peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Call:
    """Runs a step that returns the loss and perhaps its gradients."""

    def __init__(self, step: Callable[[], Any]) -> None:
        self.step = step

    def __call__(self) -> Any:
        return self.step()

    def peak(self) -> int:
        """Above what was there before, by the allocator's own record, of a step that has run before."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
            self.step()
        held = highest = 0
        for event in record.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                highest = max(highest, held)
        return highest
