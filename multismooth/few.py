"""A mean or a sum over few logits as Σ_ik a_ik·log p_ik: where a framework's call takes longer than what it computes.

The a = −w·q/D are worked out here, in NumPy, from values that are at hand; a room has but to multiply them with its own
log_softmax. That rounds a sum near 1, and so loses the digits of a confident row; float64 has them where the loss is
not very small, as it never is where two classes share the target.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from multismooth import reduction
from multismooth.checks import Batch, Layout, counting
from multismooth.lowering import ClassSums, lower, smooths
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.values import FUNCTIONS

RANGE = np.finfo(np.float32)
"""In which the loss is told."""

LEAST = 2.0**-20
"""A loss of which float64 keeps 2⁻³³. None is below this much of its mass, if two classes have that share of it."""


class Slopes(NamedTuple):
    """What each log p adds to the loss, in float64."""

    slopes: Any
    """[*batch, classes], or with a label [*batch, 1]"""
    label: Any
    """[*batch, 1], where nothing is smoothed: only its log p adds anything, if it is below −LEAST; None otherwise"""
    idle: Any
    """bool [*batch, 1], the rows that may hold anything"""


def slopes_of(spec: Spec, values: Batch, layout: Layout) -> Slopes | None:
    """None for a call that needs more; ``values`` are the arrays but the logits as NumPy's, none of them bad."""
    if layout.soft or spec.reduction == "none" or "sequences" in spec.denominator:
        return None
    if spec.z_loss or spec.kl or spec.exclude or values.prior is not None or values.allowed is not None:
        return None
    with np.errstate(all="ignore"):  # the loss says what is not finite
        return _slopes(spec, values, layout)


def _slopes(spec: Spec, values: Batch, layout: Layout) -> Slopes | None:
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
        if not RANGE.smallest_normal <= divisor <= RANGE.max:
            return None
    return Slopes((weight / divisor)[..., None] * -target.q, target.label, (weight == 0)[..., None])


class _Target(NamedTuple):
    q: Any
    """with the class weights, and the classes last: all of them, or the label's alone"""
    label: Any
    counted: Any
    """what the denominators of class weights add up"""


def _target(spec: Spec, values: Batch, counts: Any, layout: Layout) -> _Target | None:
    """None if a position may have a single class, though mass is spread."""
    sums, w, own = ClassSums(1.0, layout.classes - 1.0), values.class_weight, 1.0
    labelled = counts
    if values.sample_weight is not None:  # under a weight of 0 a label may be anything
        labelled = counts & (values.labels >= 0) & (values.labels < layout.classes)
    label = np.where(labelled, values.labels, 0).astype(np.int64)
    if w is not None:
        w = w.astype(np.float64)
        own = w[label]
        sums = sums._replace(label_weight=own, weighted_rest=_others(w)[label])
    on, off, mass, _, expected = lower(spec, sums, FUNCTIONS)
    counted = np.where(labelled, expected if spec.denominator == "expected_class_weights" else own, 0.0)
    if not smooths(spec):
        return _Target(_column(on), label[..., None], counted)
    others = _column(off) * w if w is not None and spec.class_weight_rule == "per_class" else _column(off)
    q = np.where(label[..., None] == np.arange(layout.classes), _column(on), others)
    if w is None:
        single = layout.classes == 1 or min(on, off) < LEAST * mass
    else:
        single = ((q >= LEAST * _column(mass)).sum(-1) < 2).any()
    return None if single else _Target(q, None, counted)


def _others(w: Any) -> Any:
    """The sum without each: only where it is most of the total does that less it lose digits."""
    rest, largest = w.sum() - w, w.argmax()
    rest[largest] = np.delete(w, largest).sum()
    return rest


def _column(value: Any) -> Any:
    """A number of each position, to meet its classes."""
    return value if isinstance(value, float) else value[..., None]
