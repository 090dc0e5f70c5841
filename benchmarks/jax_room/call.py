"""A step of JAX's, compiled, and the bytes that it holds at its peak."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax


class Call:
    """Runs a step that returns the loss and perhaps its gradients."""

    def __init__(self, step: Callable[..., Any], *arguments: Any) -> None:
        self.step, self.arguments = step, arguments

    @cached_property
    def compiled(self) -> Any:
        return jax.jit(self.step).lower(*self.arguments).compile()

    def __call__(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.arguments))

    def peak(self) -> int | None:
        """What the compiler has planned: temporaries and results."""
        plan = self.compiled.memory_analysis()
        return plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes


class Eager(Call):
    """The step as it is, operation by operation, of which nobody plans the memory."""

    def __call__(self) -> Any:
        return jax.block_until_ready(self.step(*self.arguments))

    def peak(self) -> None:
        return None
