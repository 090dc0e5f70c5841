"""PyTorch's losses with each option, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from options import named, options
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays
from torch import Tensor
from torch.nn import functional as F

from multismooth.torch import smoothed_cross_entropy
from torch_room.call import Call

THEIRS = "F.cross_entropy"
REFERENCE = named(THEIRS, "none")


def theirs(logits: Tensor, labels: Tensor, class_weight: Tensor | None = None) -> Tensor:
    given = {"ignore_index": IGNORED} if labels.dtype == torch.int64 else {}
    return F.cross_entropy(logits, labels, class_weight, label_smoothing=LABEL_SMOOTHING, **given)


def contenders(shape: Shape, part: str) -> dict[str, Call]:
    torch.compiler.reset()
    logits = torch.from_numpy(arrays(shape)[0]).requires_grad_()

    def call(loss: Callable[..., Tensor], given: dict[str, Tensor]) -> Call:
        def step() -> Any:
            value = loss(logits, **given)
            return value.detach(), *torch.autograd.grad(value, logits)

        return Call(step)

    calls = {}
    for option, (spec, given) in options(shape).items():
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        ours = partial(smoothed_cross_entropy, spec=spec, axis=shape.axis)
        if option in ("none", "class weights", "soft labels"):
            calls[named(THEIRS, option)] = call(theirs, tensors)
        calls[named("multismooth", option)] = call(ours, tensors)
        # One function with one spec after another would leave its numbers open, as no training run does.
        compiled = torch.compile(ours, fullgraph=True, dynamic=False)
        calls[named("multismooth, compiled", option)] = call(compiled, tensors)
    return calls
