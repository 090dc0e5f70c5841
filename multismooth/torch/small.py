"""A mean or a sum over few logits, where a call of PyTorch's takes longer than what it computes: the fewest calls.

The target is spelled out, and PyTorch differentiates its own log_softmax. That rounds a sum near 1, and so loses the
digits of a confident row, which ``statistics`` keeps; float64 has them where the target is no single class.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
import torch
from torch import Tensor

from multismooth import reduction
from multismooth.checks import Batch, Layout, counting
from multismooth.lowering import ClassSums, lower
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.values import FUNCTIONS

SIZE = 2**13
"""Logits. From twice as many on, the exponentials of float64 take longer than the calls that they save."""

LEAST_SHARE = 2.0**-20
"""Of the label and of every other class in the target's mass: no loss is below this, of which float64 keeps 2⁻³³."""


def loss(spec: Spec, batch: Batch, layout: Layout) -> Tensor | None:
    """The loss, or None for a call that needs more; every value must be at hand, and known to be good."""
    logits, labels, where, *others, normalizer = batch
    if logits.numel() > SIZE or logits.dtype == torch.float64 or layout.soft or layout.classes == 1:
        return None
    if spec.reduction == "none" or "sequences" in spec.denominator or spec.z_loss or spec.kl or spec.exclude:
        return None
    if any(array is not None for array in others) or isinstance(normalizer, Tensor):
        return None
    on, off, mass, _, expected = lower(spec, ClassSums(1.0, layout.classes - 1.0), FUNCTIONS)
    if min(on, off) < LEAST_SHARE * mass:
        return None
    labels = labels.numpy()
    counts = counting(spec, Batch(logits, labels, None if where is None else where.numpy()), layout)
    divisor = 1.0
    if spec.reduction == "mean":
        counted = expected if spec.denominator == "expected_class_weights" else 1.0
        at = Positions(labels, None, None, counts, None, counted)
        divisor = reduction.divisor_of(spec, at, normalizer, FUNCTIONS)
        if divisor == 0:
            return None
    target = np.where(labels[..., None] == np.arange(layout.classes), on, off) * (counts / divisor)[..., None]
    weights, rows = torch.from_numpy(-target), logits if layout.axis == labels.ndim else logits.movedim(layout.axis, -1)
    total = _dot(weights, rows)
    if isfinite(total.item()):
        return total.float()
    # Where nothing counts anything may stand.
    total = _dot(weights, rows.masked_fill(torch.as_tensor(~counts).unsqueeze(-1), 0.0))
    return total.float() if isfinite(total.item()) else None


def _dot(weights: Tensor, rows: Tensor) -> Tensor:
    # Along the last axis the gradient to a row of weights −0 is 0, whatever the cotangent's sign.
    return (weights * torch.log_softmax(rows, -1, dtype=torch.float64)).sum()
