"""A mean or a sum over few logits, where a call of PyTorch's takes longer than what it computes: the fewest calls.

The target is spelled out, and PyTorch differentiates its own log_softmax. That rounds a sum near 1, and so loses the
digits of a confident row, which ``statistics`` keeps; float64 has them where the target is no single class.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multismooth import reduction
from multismooth.checks import Batch, Layout, counting
from multismooth.lowering import ClassSums, lower, smooths
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.values import FUNCTIONS

SIZE = 2**13
"""Logits. From twice as many on, the exponentials of float64 take longer than the calls that they save."""

LEAST_SHARE = 2.0**-20
"""Of two classes at least in the target's mass: no loss is below this much of it, of which float64 keeps 2⁻³³."""


def loss(spec: Spec, logits: Tensor, values: Batch, layout: Layout) -> Tensor | None:
    """The loss, or None for a call that needs more; ``values`` are the other arrays as NumPy's, all of them good."""
    if logits.numel() > SIZE or logits.dtype == torch.float64 or layout.soft or not smooths(spec):
        return None
    if spec.reduction == "none" or "sequences" in spec.denominator or spec.z_loss or spec.kl or spec.exclude:
        return None
    if values.prior is not None or values.allowed is not None:
        return None
    counts = counting(spec, values, layout)
    target = _target(spec, values, counts, layout)
    if target is None:
        return None
    weight = counts
    if values.sample_weight is not None:
        weight = np.where(counts, values.sample_weight.astype(np.float64), 0.0)
    divisor: Any = 1.0
    if spec.reduction == "mean":
        at = Positions(values.labels, None, None, counts, weight, target.counted)
        divisor = reduction.divisor_of(spec, at, values.normalizer, FUNCTIONS)
        if divisor == 0:
            return None
    weights = torch.from_numpy((weight / divisor)[..., None] * -target.q)
    rows = logits if layout.axis == values.labels.ndim else logits.movedim(layout.axis, -1)
    total = _dot(weights, rows)
    if isfinite(total.item()):
        return total.float()
    # Where nothing counts anything may stand.
    total = _dot(weights, rows.masked_fill(torch.as_tensor(weight == 0)[..., None], 0.0))
    return total.float() if isfinite(total.item()) else None


class _Target(NamedTuple):
    q: Any
    """with the class weights, and the classes last"""
    counted: Any
    """what the denominators of class weights add up"""


def _target(spec: Spec, values: Batch, counts: Any, layout: Layout) -> _Target | None:
    """None if a position may have a single class."""
    sums, w, own = ClassSums(1.0, layout.classes - 1.0), values.class_weight, 1.0
    if w is not None:
        w = w.astype(np.float64)
        own = w[np.where(counts, values.labels, 0)]
        sums = sums._replace(label_weight=own, weighted_rest=w.sum() - own)
    on, off, mass, _, expected = lower(spec, sums, FUNCTIONS)
    others = _column(off) * w if w is not None and spec.class_weight_rule == "per_class" else _column(off)
    q = np.where(values.labels[..., None] == np.arange(layout.classes), _column(on), others)
    if w is None:
        single = layout.classes == 1 or min(on, off) < LEAST_SHARE * mass
    else:
        single = ((q >= LEAST_SHARE * _column(mass)).sum(-1) < 2).any()
    counted = expected if spec.denominator == "expected_class_weights" else own
    return None if single else _Target(q, counted if w is None else np.where(counts, counted, 0.0))


def _column(value: Any) -> Any:
    """A number of each position, to meet its classes."""
    return value if isinstance(value, float) else value[..., None]


def _dot(weights: Tensor, rows: Tensor) -> Tensor:
    # Along the last axis the gradient to a row of weights −0 is 0, whatever the cotangent's sign.
    return (weights * torch.log_softmax(rows, -1, dtype=torch.float64)).sum()
