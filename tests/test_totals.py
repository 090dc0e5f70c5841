"""``Totals``: sums that add up, and the one division at the end."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from multismooth import InputError, Spec, Totals
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals

LOGITS = np.random.default_rng(0).normal(0, 2, (3, 4, 5))
LABELS = np.array([[0, 1, 2, 3], [4, 0, 1, 2], [3, 4, 0, 1]])
WHERE = np.array([[True, True, True, False], [True, False, False, False], [False, False, False, False]])
WEIGHT = np.array([[0.5, 0.0, 2.0, 1.0], [3.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
CLASS_WEIGHT = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
ARGUMENTS = {"where": WHERE, "sample_weight": WEIGHT, "class_weight": CLASS_WEIGHT}

COUNTED = {
    "valid": 4,
    "all": 12,
    "batch": 3,
    "weights": 0.5 + 0 + 2 + 3,
    "nonzero_weights": 3,
    "class_weights": 1 + 2 + 4 + 16,
    "expected_class_weights": 0.9 * (1 + 2 + 4 + 16) + 4 * 0.1 * 31 / 5,
    "sequences": 3,
    "nonempty_sequences": 2,
}


def totals_of(*numbers: float) -> Totals:
    return Totals(*map(np.float64, numbers))


def test_it_is_a_named_tuple() -> None:
    totals = totals_of(1, 2, 3, 4)
    assert isinstance(totals, tuple)
    assert Totals._fields == ("loss", "weight", "nll", "z_loss")
    loss, weight, nll, z_loss = totals
    assert (loss, weight, nll, z_loss) == (1, 2, 3, 4)
    assert pickle.loads(pickle.dumps(totals)) == totals


def test_adding_adds_each_sum() -> None:
    added = totals_of(1, 2, 3, 4) + totals_of(10, 20, 30, 40)
    assert type(added) is Totals
    assert added == totals_of(11, 22, 33, 44)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sum_of_a_list(count: int) -> None:
    summed = sum([totals_of(1, 2, 3, 4)] * count)
    assert type(summed) is Totals
    assert summed == totals_of(count, 2 * count, 3 * count, 4 * count)


@pytest.mark.parametrize("other", [(1, 2, 3, 4), 1, 0.0, None, "0", True], ids=repr)
def test_it_adds_to_nothing_else(other: object) -> None:
    with pytest.raises(TypeError):
        totals_of(1, 2, 3, 4) + other
    with pytest.raises(TypeError):
        other + totals_of(1, 2, 3, 4)


@pytest.mark.parametrize(("denominator", "weight"), COUNTED.items())
def test_weight_is_what_the_denominator_counts(denominator: str, weight: float) -> None:
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(0.1, denominator=denominator), **ARGUMENTS)
    assert totals.weight == pytest.approx(weight, rel=1e-15)


@pytest.mark.parametrize("denominator", COUNTED)
def test_mean_is_the_loss_of_the_mean(denominator: str) -> None:
    spec = Spec(0.1, "others", z_loss=0.01, denominator=denominator)
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, spec, **ARGUMENTS)
    assert totals.mean(spec) == smoothed_cross_entropy(LOGITS, LABELS, spec, **ARGUMENTS)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reduction_does_not_change_the_totals(reduction: str) -> None:
    spec = Spec(0.1, reduction=reduction, denominator="weights")
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, spec, **ARGUMENTS)
    assert totals == smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(0.1, denominator="weights"), **ARGUMENTS)


@pytest.mark.parametrize("denominator", [name for name in COUNTED if name != "all"])
@pytest.mark.parametrize(("empty", "expected"), [("zero", 0.0), ("nan", math.nan)])
def test_an_empty_mean_is_what_the_spec_says(denominator: str, empty: str, expected: float) -> None:
    spec = Spec(0.1, denominator=denominator, empty=empty)
    nothing = {"where": WHERE & False, "sample_weight": WEIGHT, "class_weight": CLASS_WEIGHT}
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, spec, **nothing)
    assert totals.loss == 0.0
    if denominator in ("batch", "sequences"):
        assert totals.mean(spec) == 0.0
        totals = smoothed_cross_entropy_totals(LOGITS[:0], LABELS[:0], spec)
    np.testing.assert_equal(totals.mean(spec), expected)


@pytest.mark.parametrize(("empty", "expected"), [("zero", 0.0), ("nan", math.nan)])
def test_the_mean_over_all_of_an_empty_batch(empty: str, expected: float) -> None:
    spec = Spec(denominator="all", empty=empty)
    totals = smoothed_cross_entropy_totals(LOGITS[:0], LABELS[:0], spec)
    np.testing.assert_equal(totals.mean(spec), expected)


def test_python_numbers_can_be_divided_too() -> None:
    assert Totals(3.0, 4.0, 0.0, 0.0).mean(Spec()) == 0.75


@pytest.mark.parametrize("denominator", COUNTED)
def test_microbatches_add_up_to_the_batch(denominator: str) -> None:
    spec = Spec(0.1, denominator=denominator)

    def part(rows: slice) -> Totals:
        per_position = {"where": WHERE[rows], "sample_weight": WEIGHT[rows]}
        return smoothed_cross_entropy_totals(
            LOGITS[rows], LABELS[rows], spec, class_weight=CLASS_WEIGHT, **per_position
        )

    summed = sum(part(slice(i, i + 1)) for i in range(3))
    np.testing.assert_allclose(summed, part(slice(None)), rtol=1e-14)
    np.testing.assert_allclose(summed.mean(spec), part(slice(None)).mean(spec), rtol=1e-14)


def test_a_mean_of_means_is_another_number() -> None:
    spec = Spec(0.1)
    parts = [smoothed_cross_entropy_totals(LOGITS[i], LABELS[i], spec, where=WHERE[i]) for i in range(2)]
    of_means = np.mean([part.mean(spec) for part in parts])
    assert abs(sum(parts).mean(spec) - of_means) > 0.01


def test_nll_is_neither_smoothed_nor_class_weighted() -> None:
    logged = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    nll = -np.take_along_axis(logged, LABELS[..., None], -1)[..., 0]
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(0.3, kl=False), **ARGUMENTS)
    assert totals.nll == pytest.approx(np.sum(WHERE * WEIGHT * nll), rel=1e-14)


def test_z_loss_is_the_part_of_the_loss_that_it_adds() -> None:
    lse = np.log(np.exp(LOGITS).sum(-1))
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(0.1, z_loss=0.5), **ARGUMENTS)
    without = smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(0.1), **ARGUMENTS)
    assert totals.z_loss == pytest.approx(np.sum(WHERE * WEIGHT * 0.5 * lse**2), rel=1e-14)
    assert totals.loss - without.loss == pytest.approx(totals.z_loss, rel=1e-13)
    assert without.z_loss == 0.0


def test_arrays_of_no_room_are_named() -> None:
    with pytest.raises(InputError) as caught:
        Totals("3", "4", "0", "0").mean(Spec())
    assert caught.value.reason == "unknown_array"
    assert str(caught.value) == (
        "Totals.mean: weight is a str. Import the room of multismooth that these totals came from."
    )


@pytest.mark.parametrize(("spec", "mass"), [(Spec(0.5, "leaky"), 0.9), (Spec(values=(0.5, 0.25)), 1.5)], ids=repr)
def test_expected_class_weights_without_weights_count_the_mass(spec: Spec, mass: float) -> None:
    spec = replace(spec, denominator="expected_class_weights")
    totals = smoothed_cross_entropy_totals(LOGITS, LABELS, spec, where=WHERE)
    assert totals.weight == pytest.approx(4 * mass, rel=1e-15)
