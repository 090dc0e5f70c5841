"""The masked mean, as the rooms call it: nothing masked is no mask, and one class weight for all is a number."""

from typing import Any

import numpy as np
import pytest

from multismooth import InputError, Spec, Totals, reduction
from multismooth.reduction import Positions
from multismooth.spec import DENOMINATORS
from multismooth.values import FUNCTIONS

LOSS = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
MASK = np.array([[True, True, False], [False, False, False]])
WEIGHT = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])


def positions(loss: Any = LOSS, mask: Any = None, sample_weight: Any = None, class_weight: Any = 1.0) -> Positions:
    return Positions(loss, 10 * loss, 100 * loss, mask, sample_weight, class_weight)


COUNTED = {
    "valid": (6, 2),
    "all": (6, 6),
    "batch": (2, 2),
    "weights": (6, 0.5),
    "nonzero_weights": (6, 1),
    "class_weights": (6 * 1.5, 2 * 1.5),
    "expected_class_weights": (6 * 1.5, 2 * 1.5),
    "sequences": (2, 2),
    "nonempty_sequences": (2, 1),
}
"""What each denominator counts without mask and weights, and with them, where every class weighs 1.5."""


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_what_is_not_given_is_all_ones(denominator: str) -> None:
    spec, ones = Spec(denominator=denominator), np.ones((2, 3))
    bare = positions(class_weight=1.5)
    for given in (
        bare,
        bare._replace(mask=ones > 0),
        bare._replace(sample_weight=ones),
        bare._replace(mask=ones > 0, class_weight=1.5 * ones),
    ):
        assert reduction.totals(spec, given, FUNCTIONS).weight == COUNTED[denominator][0]
        np.testing.assert_array_equal(
            reduction.slope(spec, given, None, FUNCTIONS), reduction.slope(spec, bare, None, FUNCTIONS)
        )
        assert reduction.reduce(spec, given, None, FUNCTIONS) == reduction.reduce(spec, bare, None, FUNCTIONS)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_what_masks_and_weights_count(denominator: str) -> None:
    masked = positions(LOSS * MASK, MASK, WEIGHT, 1.5)
    totals = reduction.totals(Spec(denominator=denominator), masked, FUNCTIONS)
    assert totals.weight == COUNTED[denominator][1]
    counted = totals.weight if denominator in ("weights", "nonzero_weights") else COUNTED[denominator][1]
    assert reduction.reduce(Spec(denominator=denominator), masked, None, FUNCTIONS) == totals.loss / counted
    by_position = masked._replace(class_weight=1.5 * MASK)
    assert reduction.totals(Spec(denominator=denominator), by_position, FUNCTIONS) == totals


def test_a_mask_without_weights() -> None:
    masked = positions(LOSS * MASK, MASK)
    assert reduction.totals(Spec(denominator="weights"), masked, FUNCTIONS) == (3.0, 2.0, 30.0, 300.0)
    assert reduction.totals(Spec(denominator="sequences"), masked, FUNCTIONS) == (1.5, 2.0, 15.0, 150.0)
    np.testing.assert_array_equal(reduction.slope(Spec(), masked, None, FUNCTIONS), MASK / 2)
    for name in ("sum", "none"):
        np.testing.assert_array_equal(reduction.slope(Spec(reduction=name), masked, None, FUNCTIONS), MASK)


def test_one_element_is_a_sequence_of_one() -> None:
    """PyTorch sums over all axes where it is asked to sum over none."""

    def sum_like_torch(values: Any, axes: Any = None, keepdims: bool = False) -> Any:
        return np.sum(values, axes or None, keepdims=keepdims)

    spec, functions = Spec(denominator="sequences"), FUNCTIONS._replace(sum=sum_like_torch)
    given = positions(np.array([1.0, 2.0, 4.0]), sample_weight=np.array([0.5, 3.0, 0.0]))
    assert reduction.reduce(spec, given, None, functions) == 1.0
    assert reduction.totals(Spec(denominator="nonempty_sequences"), given, functions)[:2] == (3.0, 2.0)


@pytest.mark.parametrize("normalizer", [4.0, 4, np.float32(4)], ids=repr)
def test_a_normalizer_takes_the_denominator_s_place(normalizer: Any) -> None:
    assert reduction.reduce(Spec(), positions(), normalizer, FUNCTIONS) == LOSS.sum() / 4
    np.testing.assert_array_equal(reduction.slope(Spec(), positions(), normalizer, FUNCTIONS), np.full((2, 3), 0.25))


def test_a_normalizer_keeps_its_digits() -> None:
    assert reduction.reduce(Spec(), positions(), 0.1, FUNCTIONS) == LOSS.sum() / 0.1


@pytest.mark.parametrize("normalizer", [-1.0, -np.inf, np.inf, np.nan])
def test_a_bad_normalizer_that_nobody_could_read_makes_the_mean_nan(normalizer: float) -> None:
    assert np.isnan(reduction.reduce(Spec(), positions(), normalizer, FUNCTIONS))
    assert np.isnan(reduction.slope(Spec(), positions(), normalizer, FUNCTIONS)).all()


@pytest.mark.parametrize(("empty", "mean"), [("zero", 0.0), ("nan", np.nan)])
@pytest.mark.filterwarnings("error")
def test_nothing_is_divided_by_zero(empty: str, mean: float) -> None:
    spec = Spec(empty=empty)
    np.testing.assert_equal(reduction.reduce(spec, positions(), 0.0, FUNCTIONS), mean)
    np.testing.assert_array_equal(reduction.slope(spec, positions(), 0.0, FUNCTIONS), np.zeros((2, 3)))
    np.testing.assert_equal(Totals(*map(np.float64, (3, 0, 3, 0))).mean(spec), mean)


class Meters(float):
    """An array of a room that is not there yet."""


class Feet:
    weight = 1.0


def test_a_room_registers_its_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "_rooms", [])
    totals = Totals(Meters(6), Meters(4), Meters(0), Meters(0))
    with pytest.raises(InputError, match="weight is a Meters"):
        totals.mean(Spec())
    asked = []

    def functions_for(like: Any) -> Any:
        asked.append(like)
        return FUNCTIONS

    reduction.register(Feet, pytest.fail)
    reduction.register((str, Meters), functions_for)
    assert totals.mean(Spec()) == 1.5
    assert asked == [totals.loss]


@pytest.mark.parametrize("other", [(1, 2, 3, 4), 1, None])
def test_what_does_not_add_is_named(other: Any) -> None:
    totals, words = Totals(1.0, 2.0, 3.0, 4.0), f"^Totals are added to Totals, not to a {type(other).__name__}$"
    with pytest.raises(TypeError, match=words):
        totals + other
    with pytest.raises(TypeError, match=words):
        other + totals
