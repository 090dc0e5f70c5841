"""A mean or a sum over few logits as Σ_ik a_ik·log p_ik: where a framework's call takes longer than what it computes.

The a = −w·q/D are worked out here, in NumPy, from values that are at hand; a room has but to multiply them with its own
log_softmax. That rounds a sum near 1, and so loses the digits of a confident row; float64 has them where the loss is
not very small, as it never is where two classes share the target.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from multismooth import reduction
from multismooth.checks import Batch, Good, Layout
from multismooth.lowering import ClassSums, Coefficients, lower, smooths
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.values import FUNCTIONS

SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)
"""The range in which the loss is told."""

LEAST = 2.0**-20
"""A loss of which float64 keeps 2⁻³³. None is below this much of its mass, if two classes have that share of it."""


class Slopes(NamedTuple):
    """What each log p adds to the loss, in float64."""

    slopes: Any
    """[*batch, classes], or with a label [*batch, 1]"""
    label: Any
    """[*batch, 1], where nothing is smoothed: only its log p adds anything, if it is below −LEAST; None otherwise"""
    weight: Any
    """[*batch], of the mean or the sum; a row where it is 0 may hold anything"""

    @property
    def idle(self) -> Any:
        """bool [*batch, 1], the rows that may hold anything."""
        return (self.weight == 0)[..., None]


def slopes_of(spec: Spec, good: Good, layout: Layout) -> Slopes | None:
    """None for a call that needs more."""
    values = good.values
    k = None if layout.soft else alike(spec, layout.classes)
    if k is None or values.prior is not None or values.allowed is not None:
        return None
    if values.class_weight is None and values.sample_weight is None:
        return _slopes(spec, good, layout, k)
    with np.errstate(all="ignore"):  # of weights that are large; the loss says what is not finite
        return _slopes(spec, good, layout, k)


@lru_cache
def alike(spec: Spec, classes: int) -> Coefficients | None:
    """The coefficients without class weights; None for a spec that needs more."""
    if spec.reduction == "none" or "sequences" in spec.denominator or spec.z_loss or spec.kl or spec.exclude:
        return None
    return lower(spec, ClassSums(1.0, classes - 1.0), FUNCTIONS)


def is_shared(k: Coefficients, classes: int) -> bool:
    """Whether each of at least two classes has ``LEAST`` of the mass."""
    return classes > 1 and min(k.on, k.off) >= LEAST * k.mass


def _slopes(spec: Spec, good: Good, layout: Layout, k: Coefficients) -> Slopes | None:
    values, counts, label = good
    weight = labelled = counts
    if values.sample_weight is not None:
        weight = np.where(counts, values.sample_weight.astype(np.float64), 0.0)
        # Under a weight of 0 a label may be anything, and is counted if it is a class.
        labelled = counts & (values.labels >= 0) & (values.labels < layout.classes)
        label = np.where(labelled, values.labels, 0)
    w, own = values.class_weight, 1.0
    if w is not None:
        w = w.astype(np.float64)
        own = w[label]
        sums = ClassSums(1.0, layout.classes - 1.0, label_weight=own, weighted_rest=_others(w)[label])
        k = lower(spec, sums, FUNCTIONS)
    divisor: Any = 1.0
    if spec.reduction == "mean":
        mask = labelled if "class_weights" in spec.denominator else counts
        divisor = divisor_of(spec, values, mask, weight, own, k.expected_weight)
        if not SMALLEST <= divisor <= LARGEST:
            return None
    share = (weight / -divisor)[..., None]
    if not smooths(spec):
        return Slopes(share * _column(k.on), label[..., None].astype(np.int64), weight)
    q = _target(spec, k, w, label, layout.classes)
    return None if q is None else Slopes(share * q, None, weight)


def divisor_of(spec: Spec, values: Batch, mask: Any, weight: Any, label_weight: Any, expected_weight: Any) -> Any:
    """What a mean divides by."""
    counted = label_weight if spec.denominator == "class_weights" else expected_weight
    counted = counted if values.class_weight is None else np.where(mask, counted, 0.0)
    at = Positions(values.labels, None, None, mask, weight, counted)
    return reduction.divisor_of(spec, at, values.normalizer, FUNCTIONS)


def _target(spec: Spec, k: Coefficients, w: Any, label: Any, classes: int) -> Any:
    """q with the class weights, the classes last; None if a position may have a single one, though mass is spread."""
    own = label[..., None] == np.arange(classes)
    if w is None:
        return np.where(own, k.on, k.off) if is_shared(k, classes) else None
    others = _column(k.off) * w if spec.class_weight_rule == "per_class" else _column(k.off)
    q = np.where(own, _column(k.on), others)
    return q if ((q >= LEAST * _column(k.mass)).sum(-1) >= 2).all() else None


def _others(w: Any) -> Any:
    """The sum without each: only where it is most of the total does that less it lose digits."""
    rest, largest = w.sum() - w, w.argmax()
    rest[largest] = np.delete(w, largest).sum()
    return rest


def _column(value: Any) -> Any:
    """A number of each position, to meet its classes."""
    return value if isinstance(value, float) else value[..., None]
