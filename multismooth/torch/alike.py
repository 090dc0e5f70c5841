"""A mean or a sum whose positions have their coefficients in common: these are numbers, and many calls are saved.

What is computed of rows, NumPy computes, whose calls take less time than PyTorch's where rows are few.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multismooth import checks, few
from multismooth.checks import Batch, Good, Layout
from multismooth.lowering import Coefficients
from multismooth.spec import Spec
from multismooth.torch.functions import loss_dtype, read
from multismooth.torch.parts import Part, cut, in_parts, scale_and_add


class Alike(NamedTuple):
    k: Coefficients
    labels: Tensor
    """int64, with the class axis of length 1"""
    counts: Tensor | None
    """bool in the labels' shape, the positions that count; None for all"""
    divisor: float


def alike(spec: Spec, good: Good, layout: Layout) -> Alike | None:
    """None for a call that needs more; ``good`` are all arrays but the logits."""
    values = good.values
    is_plain = values.sample_weight is values.class_weight is values.prior is values.allowed is None
    k = few.alike(spec, layout.classes) if is_plain and not layout.soft else None
    # Then the label's share may be taken off a sum over all classes, and the label's exponential off theirs.
    if k is None or k.on <= 0 or 8 * k.off > k.on or 2 * k.on < k.mass:
        return None
    divisor = 1.0
    if spec.reduction == "mean":
        divisor = float(few.divisor_of(spec, values, good.counts, None, 1.0, k.expected_weight))
        if not few.SMALLEST <= divisor <= few.LARGEST:
            return None
    counts = None
    if values.where is not None or spec.ignore_index is not None:
        counts = torch.as_tensor(good.counts).unsqueeze(layout.axis)
    return Alike(k, torch.as_tensor(good.labels, dtype=torch.long).unsqueeze(layout.axis), counts, divisor)


def loss(given: Alike, logits: Tensor, gradient: Tensor | None, axis: int) -> Tensor:
    """The loss, while the gradient is filled if there is one, which may take the logits' place."""
    slope = None if gradient is None else 1 / given.divisor
    total = _total(given, logits, gradient, slope, axis)
    return logits.new_full((), total / given.divisor, dtype=loss_dtype(logits))


def gradient(spec: Spec, batch: Batch, layout: Layout, slope: float) -> Tensor | None:
    """Of the slope times the sum of the losses, of a batch that was good."""
    good = checks.check_values("smoothed_cross_entropy", spec, batch, layout, read)
    given = None if good is None else alike(spec, good, layout)
    if given is None or not abs(slope) <= few.LARGEST:
        return None
    gradient = torch.empty_like(batch.logits)
    _total(given, batch.logits, gradient, slope, layout.axis)
    return gradient


@np.errstate(all="ignore")  # of logits that are no numbers
def _total(given: Alike, logits: Tensor, gradient: Tensor | None, slope: float | None, axis: int) -> float:
    """The sum of the losses; the gradient becomes that of the slope times it."""
    return sum([_part(given, part, x, slope, out, axis) for part, x, out in in_parts(logits, gradient, axis)])


def _part(given: Alike, part: Part | None, x: Tensor, slope: float | None, out: Tensor, axis: int) -> float:
    on, off, mass = given.k[:3]
    labels, counts = cut(given.labels, part), cut(given.counts, part)
    weight = 1.0 if counts is None else counts.to(out.dtype).numpy()
    x = x if x.dtype == out.dtype else out.copy_(x)
    z = torch.sub(x, x.amax(axis, True), out=out)
    own = z.gather(axis, labels)
    rest = z.sum(axis, True).numpy() if off else 0.0
    e = z.exp_().scatter_(axis, labels, torch.zeros_like(own))
    rest_e, own = e.sum(axis, True).numpy(), own.numpy()
    own_e = np.exp(own)
    L = np.log1p(rest_e + (own_e - 1))
    spread = off * (rest - own) if off else 0.0
    total = _sum(weight, mass * L - on * own - spread)
    dead = None
    if not isfinite(total):
        # A label's −inf makes its loss infinite, whatever the others add. Where nothing counts anything may stand.
        spread = np.nan_to_num(spread, nan=0.0, posinf=np.inf, neginf=-np.inf)
        total = _sum(1.0, np.where(weight == 0, 0.0, mass * L - on * own - spread))
        dead = torch.as_tensor(~np.isfinite(L) & (weight == 0))
    if slope is None:
        return total
    weight = weight * slope
    share = weight * mass / (rest_e + own_e)
    if off:
        scale_and_add(e, torch.from_numpy(share), torch.as_tensor(-off * weight, dtype=e.dtype), axis)
    else:
        e.mul_(torch.from_numpy(share))
    e.scatter_(axis, labels, torch.from_numpy(own_e * share - on * weight))
    if dead is not None:
        e.masked_fill_(dead, 0.0)
    return total


def _sum(weight: Any, losses: Any) -> float:
    return float((weight * losses).sum(dtype=np.float64))
