"""PyTorch's contenders: forward and backward of a mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays
from torch import Tensor
from torch.nn import functional as F

from multismooth import dialects
from multismooth.torch import smoothed_cross_entropy

REFERENCE = "F.cross_entropy"
Loss = Callable[[Tensor, Tensor], Tensor]


def theirs(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING)


def article(logits: Tensor, labels: Tensor) -> Tensor:
    """The article's, from its formula: a smoothed one-hot, and autograd through log_softmax."""
    counts = labels != IGNORED
    safe = labels.masked_fill(~counts, 0)
    target = torch.full_like(logits, LABEL_SMOOTHING / logits.shape[1])
    target.scatter_(1, safe.unsqueeze(1), 1 - LABEL_SMOOTHING + LABEL_SMOOTHING / logits.shape[1])
    losses = -(target * F.log_softmax(logits, 1)).sum(1)
    return losses.masked_fill(~counts, 0.0).sum() / counts.sum()


def ours(logits: Tensor, labels: Tensor) -> Tensor:
    return smoothed_cross_entropy(logits, labels, dialects.torch(LABEL_SMOOTHING, IGNORED), axis=1)


LOSSES: dict[str, Loss] = {
    REFERENCE: theirs,
    "F.cross_entropy, compiled": torch.compile(theirs),
    "the article's": article,
    "multismooth": ours,
    "multismooth, compiled": torch.compile(ours, fullgraph=True),
}


def calls(shape: Shape) -> dict[str, Callable[[], Any]]:
    given, labels = map(torch.from_numpy, arrays(shape))
    logits = given.to(getattr(torch, shape.dtype)).requires_grad_()

    def call(loss: Loss) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(loss(logits, labels), logits)

    return {name: call(loss) for name, loss in LOSSES.items()}


def memory(shape: Shape) -> dict[str, float]:
    """Of each contender the bytes at the peak above what was there before, in parts of the logits' bytes."""
    whole = shape.size * getattr(torch, shape.dtype).itemsize
    return {name: peak(call) / whole for name, call in calls(shape).items()}


def peak(call: Callable[[], Any]) -> int:
    """By the allocator's own record."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    held = highest = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest
