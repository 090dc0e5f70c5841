"""A loss over few logits is Σ slope·log p: to the digits of float64, or the call is for somebody else."""

from typing import Any

import numpy as np
import pytest

from multismooth import Spec, few
from multismooth.checks import Batch, Layout, check_values
from multismooth.numpy import smoothed_cross_entropy

CLASSES = 5
WHERE = np.array([[True, False, True], [True, False, True]])
LABELS = np.array([[0, 4, 2], [1, 1, 3]])
LOGITS = np.random.default_rng(0).normal(0, 3, (2, 3, CLASSES))
WEIGHT = np.array([[2.0, 1.5, 0.0], [0.5, 1.0, 0.25]])
CLASS_WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
LOGARITHMS = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
SPECS = [
    Spec(),
    Spec(0.1),
    Spec(1.0),
    Spec(0.3, "others", reduction="sum"),
    Spec(0.1, "leaky"),
    Spec(values=(2.0, 0.25)),
    Spec(values=(2.0, 0.0), reduction="sum"),
    Spec(0.1, denominator="class_weights"),
    Spec(0.1, ignore_index=2),
    Spec(ignore_index=2),
]
DENOMINATORS = ["valid", "all", "batch", "weights", "nonzero_weights", "class_weights", "expected_class_weights"]


def slopes(spec: Spec, classes: int = CLASSES, **given: Any) -> few.Slopes | None:
    values = Batch(None, **{"labels": LABELS, "where": WHERE} | given)
    soft = values.labels.dtype.kind == "f"
    layout = Layout(values.labels.ndim - soft, classes, soft)
    good = check_values("call", spec, values, layout, np.asarray)
    assert good is not None
    return few.slopes_of(spec, good, layout)


def loss(given: few.Slopes, logarithms: np.ndarray = LOGARITHMS) -> Any:
    if given.label is not None:
        logarithms = np.take_along_axis(logarithms, given.label, -1)
    return (given.slopes * logarithms).sum()


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        *((spec, given) for spec in SPECS for given in ({}, {"where": None})),
        (Spec(0.1), {"normalizer": np.float32(3.0)}),
        (Spec(0.1), {"normalizer": few.SMALLEST}),
        (Spec(0.1), {"normalizer": few.LARGEST}),
    ],
    ids=str,
)
def test_the_slopes_make_the_loss(spec: Spec, given: dict[str, Any]) -> None:
    found = slopes(spec, **given)
    assert found is not None
    expected = smoothed_cross_entropy(LOGITS, LABELS, spec, **{"where": WHERE} | given)
    assert loss(found) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("rule", ["per_class", "per_label", "expected", "label_term"])
@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("weight", [None, WEIGHT, WEIGHT.astype(np.float16)], ids=["alike", "weighted", "half"])
def test_weights_ride_along(weight: np.ndarray | None, denominator: str, rule: str, epsilon: float) -> None:
    spec = Spec(epsilon, class_weight_rule=rule, denominator=denominator)
    given = {"sample_weight": weight, "class_weight": CLASS_WEIGHT}
    found = slopes(spec, **given)
    assert found is not None
    expected = smoothed_cross_entropy(LOGITS, LABELS, spec, where=WHERE, **given)
    assert loss(found) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("label", [-1, CLASSES, 100])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_under_a_weight_of_0_a_label_may_be_anything(
    denominator: str, class_weight: np.ndarray | None, epsilon: float, label: int
) -> None:
    spec, labels = Spec(epsilon, denominator=denominator), np.where(WEIGHT == 0, label, LABELS)
    given = {"labels": labels, "sample_weight": WEIGHT, "class_weight": class_weight}
    found = slopes(spec, **given)
    assert found is not None
    expected = smoothed_cross_entropy(LOGITS, spec=spec, where=WHERE, **given)
    assert loss(found) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("label", [0, 1])
def test_a_weight_that_outweighs_the_others_takes_no_digits_of_them(label: int) -> None:
    spec = Spec(1.0, "others", class_weight_rule="expected")
    given = {"labels": np.array([label]), "class_weight": np.array([1e12, 1e-6, 1e-6, 1e-6, 2e-6])}
    found = slopes(spec, where=None, **given)
    assert found is not None
    expected = smoothed_cross_entropy(LOGITS[0, :1], spec=spec, **given)
    assert loss(found, LOGARITHMS[0, :1]) == pytest.approx(expected, rel=1e-14)


def test_half_precision_is_not_added_in_it() -> None:
    labels = np.zeros(64, int)
    weight = np.full(64, 2000, np.float16)
    found = slopes(Spec(0.1, denominator="weights"), labels=labels, where=None, sample_weight=weight)
    assert found is not None
    assert found.slopes.sum() == pytest.approx(-1)


@pytest.mark.parametrize("labels", [LABELS.astype(np.uint8), np.where(WHERE, LABELS, -100)], ids=["narrow", "padded"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_idle_rows_are_told(epsilon: float, labels: np.ndarray) -> None:
    """Whatever label they have, of any dtype."""
    found = slopes(Spec(epsilon), labels=labels, sample_weight=WEIGHT)
    assert found is not None
    np.testing.assert_array_equal(found.idle[..., 0], ~WHERE | (WEIGHT == 0))
    assert not found.slopes[found.idle[..., 0]].any()
    assert (found.label is None) == (epsilon > 0)
    if found.label is not None:
        np.testing.assert_array_equal(found.label[..., 0], np.where(WHERE, labels, 0))
        assert found.label.dtype == np.int64


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT], ids=["alike", "weighted"])
def test_one_position_alone(class_weight: np.ndarray | None, epsilon: float) -> None:
    given = {"labels": np.asarray(3), "where": None, "class_weight": class_weight}
    found = slopes(Spec(epsilon), **given)
    assert found is not None
    assert found.slopes.shape == (CLASSES if epsilon else 1,)
    assert found.idle.shape == (1,)
    expected = smoothed_cross_entropy(LOGITS[0, 0], np.asarray(3), Spec(epsilon), class_weight=class_weight)
    assert loss(found, LOGARITHMS[0, 0]) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Spec(1e-7), {}),
        (Spec(1.0, "others"), {"class_weight": np.array([1.0, 1, 0, 0, 0])}),
        (Spec(values=(1e6, 0.1)), {}),
        (Spec(values=(0.1, 1e6)), {}),
        (Spec(0.1, z_loss=0.1), {}),
        (Spec(0.1, kl=True), {}),
        (Spec(0.1, exclude=(1,)), {}),
        (Spec(0.1, denominator="sequences"), {}),
        (Spec(0.1, denominator="nonempty_sequences"), {}),
        (Spec(0.1, reduction="none"), {}),
        (Spec(0.1), {"labels": np.full((2, 3, CLASSES), 0.2)}),
        (Spec(0.1), {"class_weight": np.array([1.0, 0, 0, 0, 0])}),
        (Spec(0.1, denominator="weights"), {"sample_weight": np.zeros((2, 3))}),
        (Spec(0.1), {"prior": np.full(CLASSES, 0.2)}),
        (Spec(0.1), {"allowed": np.ones(CLASSES, bool)}),
        (Spec(0.1), {"normalizer": 0.0}),
        (Spec(0.1), {"normalizer": 1e-50}),
        (Spec(0.1), {"normalizer": 1e-310}),
        (Spec(0.1), {"normalizer": 1e300}),
        (Spec(0.1, denominator="weights"), {"sample_weight": np.full((2, 3), 1e308)}),
        (Spec(0.1, denominator="class_weights"), {"class_weight": np.full(CLASSES, 1e308)}),
        (Spec(0.1), {"where": np.zeros((2, 3), bool)}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_what_needs_more_goes_elsewhere(spec: Spec, change: dict[str, Any]) -> None:
    assert slopes(spec, **change) is None


def test_a_single_class_goes_elsewhere() -> None:
    assert slopes(Spec(0.1), classes=1, labels=LABELS * 0) is None


@pytest.mark.parametrize("factor", [0.5, 1.0])
@pytest.mark.parametrize("class_weight", [None, np.ones(2)], ids=["alike", "weighted"])
def test_the_least_share_is_enough(class_weight: np.ndarray | None, factor: float) -> None:
    """Of the other class, where there are two: ε/2 of a mass of 1."""
    given = {"labels": np.array([0, 1]), "where": None, "class_weight": class_weight}
    assert (slopes(Spec(2 * factor * few.LEAST), classes=2, **given) is not None) == (factor == 1)
