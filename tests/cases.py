"""Calls in float64 whose derivatives every room checks against finite differences.

Weights, priors and soft labels are above 0, since a small step must not make them bad values.
"""

from typing import Any, NamedTuple

import numpy as np

from multismooth import Spec

_random = np.random.default_rng(7)


def _rows(*shape: int) -> np.ndarray:
    """Positive numbers that sum to 1 along the last axis."""
    numbers = _random.uniform(0.2, 1.0, shape)
    return numbers / numbers.sum(-1, keepdims=True)


LOGITS = _random.normal(0, 1.5, (2, 3, 4))
LABELS = np.array([[0, 1, 3], [2, 2, 1]])
WHERE = np.array([[True, False, True], [True, True, False]])
GARBAGE = np.where(WHERE[..., None], LOGITS, [np.nan, np.inf, -np.inf, 1e300])
IGNORED = np.where(WHERE, LABELS, -100)
SOFT = _rows(2, 3, 4)
SAMPLE_WEIGHT = _random.uniform(0.5, 2.0, (2, 3))
CLASS_WEIGHT = np.array([0.5, 1.0, 2.0, 3.0])
PRIOR = _rows(4)
ALLOWED = np.array([True, True, False, True])
ALLOWED_LABELS = np.array([[0, 1, 3], [0, 3, 1]])
ALLOWED_THERE = np.arange(24).reshape(2, 3, 4) % 3 != 0
ALLOWED_THERE |= np.arange(4) == LABELS[..., None]
COTANGENT = _random.normal(0, 1, (2, 3))


class Case(NamedTuple):
    id: str
    spec: Spec
    arrays: dict[str, np.ndarray]
    """logits, labels, and what else the call is given"""
    axis: int = -1

    @property
    def differentiable(self) -> list[str]:
        return [name for name, array in self.arrays.items() if array.dtype == np.float64]


def _case(id: str, spec: Spec, axis: int = -1, **changes: Any) -> Case:
    return Case(id, spec, {"logits": LOGITS, "labels": LABELS} | changes, axis)


CASES = [
    _case("hard", Spec()),
    _case("uniform", Spec(0.1)),
    _case("everything-smoothed", Spec(1.0, "others")),
    _case("z-loss", Spec(0.1, "others", z_loss=0.05)),
    _case("leaky", Spec(0.3, "leaky")),
    _case("values", Spec(values=(0.9, 0.005))),
    _case("exclude", Spec(0.1, "others", exclude=(0, 2))),
    _case("kl", Spec(0.2, "others", kl=True)),
    _case("axis-1", Spec(0.1), axis=1, logits=LOGITS.transpose(0, 2, 1)),
    _case("none", Spec(0.1, z_loss=0.1, reduction="none")),
    _case("masked-garbage", Spec(0.1, z_loss=0.1), logits=GARBAGE, where=WHERE),
    _case("ignored-garbage", Spec(0.1, ignore_index=-100), logits=GARBAGE, labels=IGNORED),
    _case("masked-and-none", Spec(0.1, "leaky", reduction="none"), logits=GARBAGE, where=WHERE),
    _case("allowed", Spec(0.1), labels=ALLOWED_LABELS, allowed=ALLOWED),
    _case("allowed-there", Spec(0.1, "others", kl=True), allowed=ALLOWED_THERE),
    _case("prior", Spec(0.2), prior=PRIOR),
    _case("prior-kl", Spec(0.2, "others", kl=True), prior=PRIOR, where=WHERE),
    _case("prior-exclude-allowed", Spec(0.3, exclude=(1,)), prior=PRIOR, allowed=ALLOWED_THERE),
    _case("sample-weight", Spec(0.1, denominator="weights"), sample_weight=SAMPLE_WEIGHT),
    _case("sample-weight-masked", Spec(0.1), sample_weight=SAMPLE_WEIGHT, where=WHERE, logits=GARBAGE),
    _case("sequences", Spec(0.1, denominator="sequences"), sample_weight=SAMPLE_WEIGHT, where=WHERE),
    *[
        _case(f"class-weight-{rule}", Spec(0.2, class_weight_rule=rule, z_loss=0.05), class_weight=CLASS_WEIGHT)
        for rule in ("per_class", "per_label", "expected", "label_term")
    ],
    *[
        _case(f"by-{denominator}", Spec(0.2, denominator=denominator), class_weight=CLASS_WEIGHT, prior=PRIOR)
        for denominator in ("class_weights", "expected_class_weights")
    ],
    _case("soft", Spec(), labels=SOFT),
    _case("soft-smoothed", Spec(0.2, z_loss=0.05), labels=SOFT),
    _case("soft-prior-kl", Spec(0.2, kl=True), labels=SOFT, prior=PRIOR),
    _case("soft-masked", Spec(0.2), labels=SOFT, logits=GARBAGE, where=WHERE, sample_weight=SAMPLE_WEIGHT),
    *[
        _case(f"soft-{rule}", Spec(0.2, class_weight_rule=rule), labels=SOFT, class_weight=CLASS_WEIGHT)
        for rule in ("per_class", "expected")
    ],
    _case("soft-axis-0", Spec(0.1), axis=0, logits=LOGITS.transpose(2, 0, 1), labels=SOFT.transpose(2, 0, 1)),
]
IDS = [case.id for case in CASES]
