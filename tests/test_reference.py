"""The reference: its gradient against finite differences, and the table of edges in its docstring."""

import warnings
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp
from tests.cases import CASES, COTANGENT, IDS, LABELS, LOGITS, SOFT, WHERE, Case

INF, NAN = np.inf, np.nan
PLAIN = Spec(reduction="none")
ROW = [1.0, 2.0, 0.5]


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    """Infinite logits are no surprise, and nobody is warned of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def loss(logits: Any, labels: Any, spec: Spec | float = PLAIN, **more: Any) -> Any:
    return smoothed_cross_entropy(np.array(logits, float), np.array(labels), spec, **more)


def gradient(logits: Any, labels: Any, spec: Spec | float = Spec(reduction="sum"), **more: Any) -> Any:
    return smoothed_cross_entropy_vjp(1.0, np.array(logits, float), np.array(labels), spec, **more)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_gradient_is_the_slope(case: Case) -> None:
    """In three directions, for any cotangent."""
    cotangent = COTANGENT if case.spec.reduction == "none" else np.array(-1.75)
    call: dict[str, Any] = {**case.arrays, "spec": case.spec, "axis": case.axis}
    slope = smoothed_cross_entropy_vjp(cotangent, **call)
    assert slope.dtype == np.float64
    random = np.random.default_rng(3)
    for _ in range(3):
        direction = random.normal(size=slope.shape)
        step = direction * 2.0**-17
        ahead, behind = (smoothed_cross_entropy(**call | {"logits": call["logits"] + s}) for s in (step, -step))
        rise = np.sum(cotangent * (ahead - behind)) * 2.0**16
        assert np.sum(slope * direction) == pytest.approx(rise, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    "function", [smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp]
)
def test_a_number_is_the_label_smoothing(function: Any) -> None:
    cotangent = (1.0,) if function is smoothed_cross_entropy_vjp else ()
    np.testing.assert_array_equal(
        function(*cotangent, LOGITS, LABELS, 0.25), function(*cotangent, LOGITS, LABELS, Spec(0.25))
    )
    np.testing.assert_array_equal(function(*cotangent, LOGITS, LABELS), function(*cotangent, LOGITS, LABELS, Spec()))
    with pytest.raises(InputError, match=f"^{function.__name__}: spec is a str"):
        function(*cotangent, LOGITS, LABELS, "0.25")


@pytest.mark.parametrize(
    "name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed", "normalizer"]
)
@pytest.mark.parametrize(
    "function", [smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp]
)
def test_every_argument_is_checked(function: Any, name: str) -> None:
    if function is smoothed_cross_entropy_totals and name == "normalizer":
        return
    cotangent = (1.0,) if function is smoothed_cross_entropy_vjp else ()
    with pytest.raises(InputError, match=f"^{function.__name__}: {name} ha(s|ve) dtype complex128"):
        function(*cotangent, **{"logits": LOGITS, "labels": LABELS, name: np.array(1j)})


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_shape_of_the_batch_does_not_matter(case: Case) -> None:
    """[2, 3] positions, 6 of them, and each alone; the class axis first and last."""
    spec = replace(case.spec, reduction="none")
    every = smoothed_cross_entropy(**case.arrays, spec=spec, axis=case.axis)
    assert every.shape == (2, 3)
    shape = case.arrays["logits"].shape
    flat = {}
    for name, array in case.arrays.items():
        if array.shape == shape:
            array = np.moveaxis(array, case.axis, -1)
        per_class = name in ("class_weight", "prior") or array.ndim == 1
        flat[name] = array if per_class else array.reshape(6, *array.shape[2:])
    np.testing.assert_allclose(smoothed_cross_entropy(**flat, spec=spec), every.reshape(6), rtol=1e-14)
    first = {name: array.T if array.shape == (6, 4) else array for name, array in flat.items()}
    np.testing.assert_allclose(smoothed_cross_entropy(**first, spec=spec, axis=0), every.reshape(6), rtol=1e-14)
    slope = smoothed_cross_entropy_vjp(np.arange(6.0), **flat, spec=spec)
    np.testing.assert_array_equal(smoothed_cross_entropy_vjp(np.arange(6.0), **first, spec=spec, axis=0), slope.T)
    for i in range(6):
        one = {name: array[i] if array.shape[:1] == (6,) else array for name, array in flat.items()}
        alone = smoothed_cross_entropy(**one, spec=spec)
        assert alone.shape == ()
        np.testing.assert_allclose(alone, every.reshape(6)[i], rtol=1e-14)


def test_a_single_position_has_a_sum() -> None:
    spec = Spec(0.1, reduction="sum", denominator="batch")
    assert smoothed_cross_entropy(np.array(ROW), np.array(2), spec) == loss([ROW], [2], 0.1)
    assert smoothed_cross_entropy_vjp(1.0, np.array(ROW), np.array(2), spec).shape == (3,)


def test_soft_labels_may_miss_1_by_the_tolerance() -> None:
    soft = np.array([[0.25, 0.25, 0.5 + 2.0**-8]])
    assert np.isfinite(loss([ROW], soft))
    assert np.isfinite(gradient([ROW], soft)).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_it_computes_in_float64(dtype: Any) -> None:
    narrow, wide = LOGITS.astype(dtype), LOGITS.astype(dtype).astype(np.float64)
    assert smoothed_cross_entropy(narrow, LABELS, 0.1).dtype == np.float64
    assert smoothed_cross_entropy(narrow, LABELS, 0.1) == smoothed_cross_entropy(wide, LABELS, 0.1)
    slopes = [smoothed_cross_entropy_vjp(1.0, x, LABELS, 0.1) for x in (narrow, wide)]
    assert slopes[0].dtype == np.float64
    np.testing.assert_array_equal(*slopes)


def test_lists_will_do() -> None:
    arguments = {"where": WHERE, "sample_weight": WHERE * 2.0, "class_weight": np.ones(4), "prior": np.full(4, 0.25)}
    lists = {name: array.tolist() for name, array in arguments.items()}
    assert smoothed_cross_entropy(LOGITS.tolist(), LABELS.tolist(), 0.1, **lists) == smoothed_cross_entropy(
        LOGITS, LABELS, 0.1, **arguments
    )


def test_nothing_that_is_given_changes() -> None:
    """Arrays of the right dtype are not copied on the way in."""
    given = {
        "logits": LOGITS.copy(),
        "labels": SOFT.copy(),
        "where": WHERE.copy(),
        "sample_weight": WHERE * 2.0,
        "class_weight": np.arange(4.0),
        "prior": np.array([0.5, 0.5, 0, 0]),
        "allowed": np.ones((2, 3, 4), bool),
    }
    before = {name: array.copy() for name, array in given.items()}
    spec = Spec(0.1, exclude=(1,), z_loss=0.1)
    smoothed_cross_entropy(**given, spec=spec)
    smoothed_cross_entropy_vjp(1.0, **given, spec=spec)
    for name, array in given.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


# --- The table of edges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [NAN, INF, -INF, 1e308])
@pytest.mark.parametrize("by", ["where", "ignore_index", "sample_weight"])
def test_a_masked_position_contributes_exactly_nothing(garbage: float, by: str) -> None:
    logits, labels = [ROW, [garbage] * 3], [0, 2]
    spec, more = Spec(0.1, z_loss=2.0, reduction="none"), {}
    if by == "where":
        more = {"where": np.array([True, False])}
    elif by == "sample_weight":
        more = {"sample_weight": np.array([1.0, 0.0])}
    else:
        spec, labels = Spec(0.1, z_loss=2.0, reduction="none", ignore_index=-7), [0, -7]
    assert loss(logits, labels, spec, **more).tolist() == [loss([ROW], [0], spec)[0], 0.0]
    slope = smoothed_cross_entropy_vjp(np.ones(2), np.array(logits), np.array(labels), spec, **more)
    assert np.isfinite(slope[0]).all()
    assert slope[1].tolist() == [0.0] * 3
    totals = smoothed_cross_entropy_totals(np.array(logits), np.array(labels), spec, **more)
    assert np.isfinite(totals).all()


@pytest.mark.parametrize("garbage", [[NAN] * 3, [INF, 0, 0], [-INF, 1, 1], [-1, 2, 0], [2, 2, 2]], ids=repr)
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kl", [False, True])
def test_masked_soft_labels_contribute_exactly_nothing(garbage: list[float], epsilon: float, kl: bool) -> None:
    soft, where = np.array([[0.25, 0.25, 0.5], garbage]), np.array([True, False])
    spec = Spec(epsilon, kl=kl, reduction="none")
    alone = loss([ROW], soft[:1], spec)
    for allowed in (None, np.ones(3, bool)):
        more = {"where": where, "allowed": allowed}
        assert loss([ROW, ROW], soft, spec, **more).tolist() == [alone[0], 0.0]
        assert gradient([ROW, ROW], soft, Spec(epsilon, kl=kl), **more)[1].tolist() == [0.0] * 3
        totals = smoothed_cross_entropy_totals(np.array([ROW, ROW]), soft, spec, **more)
        assert totals.loss == alone[0]
        assert np.isfinite(totals).all()


def test_one_class_and_a_masked_label() -> None:
    where, allowed = np.array([True, False]), np.array([True])
    assert loss([[7.0], [7.0]], [0, 5], where=where, allowed=allowed).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("empty", "mean"), [("zero", 0.0), ("nan", NAN)])
@pytest.mark.parametrize("logits", [np.zeros((0, 3)), np.full((2, 3), NAN)], ids=["empty", "masked"])
def test_nothing_counts(empty: str, mean: float, logits: Any) -> None:
    labels, where = np.zeros(len(logits), int), np.zeros(len(logits), bool)
    assert smoothed_cross_entropy(logits, labels, Spec(0.1, reduction="sum"), where=where) == 0.0
    spec = Spec(0.1, empty=empty)
    np.testing.assert_equal(smoothed_cross_entropy(logits, labels, spec, where=where), mean)
    assert (
        smoothed_cross_entropy_vjp(1.0, logits, labels, spec, where=where).tolist() == np.zeros(logits.shape).tolist()
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("spread", "mass"), [("uniform", 1.0), ("others", 1.0), ("leaky", None)])
def test_one_class(epsilon: float, spread: str, mass: float | None) -> None:
    spec = Spec(epsilon, spread, reduction="none")
    mass = 1 - epsilon if mass is None else mass
    assert loss([[7.0]], [0], spec).tolist() == [0.0]
    assert smoothed_cross_entropy_vjp(np.ones(1), np.array([[7.0]]), np.array([0]), spec).tolist() == [[0.0]]


def test_a_confident_row_keeps_its_digits() -> None:
    assert loss([[0.0, -40.0, -50.0]], [0])[0] == pytest.approx(np.exp(-40.0) + np.exp(-50.0), rel=1e-15)
    assert loss([[-80.0, 0.0, -81.0]], [1])[0] == pytest.approx(np.exp(-80.0) + np.exp(-81.0), rel=1e-15)


def test_two_maxima() -> None:
    assert loss([[3.0, 3.0, -INF]], [1])[0] == pytest.approx(np.log(2), rel=1e-15)


def test_minus_infinity_under_mass() -> None:
    assert loss([[-INF, 0.0, 0.0]], [0]).tolist() == [INF]
    assert gradient([[-INF, 0.0, 0.0]], [0]).tolist() == [[-1.0, 0.5, 0.5]]
    assert loss([[-INF, 0.0, 0.0]], [1], Spec(0.3, reduction="none")).tolist() == [INF]
    np.testing.assert_allclose(gradient([[-INF, 0.0, 0.0]], [1], Spec(0.3, reduction="sum")), [[-0.1, -0.3, 0.4]])


def test_an_infinite_loss_has_its_weight() -> None:
    row = [[-INF, 0.0, 0.0]]
    assert loss(row, [0], sample_weight=np.array([0.5])).tolist() == [INF]
    assert loss(row, [0], sample_weight=np.array([0.0])).tolist() == [0.0]


def test_minus_infinity_under_no_mass() -> None:
    assert loss([[-INF, 0.0, 0.0]], [1])[0] == pytest.approx(np.log(2), rel=1e-15)
    assert gradient([[-INF, 0.0, 0.0]], [1]).tolist() == [[0.0, -0.5, 0.5]]
    soft = np.array([[0.0, 0.25, 0.75]])
    assert loss([[-INF, 0.0, 0.0]], soft)[0] == pytest.approx(np.log(2), rel=1e-15)


@pytest.mark.parametrize(
    "row", [[-INF, -INF], [0.0, INF], [INF, INF], [INF, -INF], [NAN, 0.0], [NAN, -INF], [0.0, NAN]]
)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_row_without_an_answer_is_nan(row: list[float], label: int, epsilon: float) -> None:
    losses = loss([row, [0.0, 1.0]], [label, 0], Spec(epsilon, reduction="none"))
    assert np.isnan(losses).tolist() == [True, False]
    slope = gradient([row, [0.0, 1.0]], [label, 0], Spec(epsilon, reduction="sum"))
    assert np.isnan(slope).tolist() == [[True, True], [False, False]]
    assert np.isnan(smoothed_cross_entropy_totals(np.array([row]), np.array([label])).nll)


@pytest.mark.parametrize("scale", [1e4, 1e300])
def test_nothing_overflows(scale: float) -> None:
    logits = np.array([[scale, -scale, 0.0], [-scale, scale, scale]])
    assert loss(logits, [0, 1]).tolist() == pytest.approx([0.0, np.log(2)], rel=1e-15)
    assert loss(logits, [1, 0]).tolist() == pytest.approx([2 * scale, 2 * scale + np.log(2)], rel=1e-15)
    assert gradient(logits, [1, 0]).tolist() == [[1.0, -1.0, 0.0], [-1.0, 0.5, 0.5]]


def test_a_class_that_is_not_allowed() -> None:
    allowed = np.array([True, False, True])
    for there in (allowed, np.broadcast_to(allowed, (1, 3))):
        for hidden in (0.0, INF, NAN, -INF):
            row = [[0.0, hidden, 0.0]]
            assert loss(row, [2], Spec(0.1, reduction="none"), allowed=there)[0] == pytest.approx(np.log(2), rel=1e-15)
            np.testing.assert_allclose(
                gradient(row, [2], Spec(0.1, reduction="sum"), allowed=there), [[0.45, 0.0, -0.45]], rtol=1e-14
            )


@pytest.mark.parametrize("label", [-1, 3, 2**32 + 1, -(2**63)])
def test_a_label_out_of_range_may_be_nan(label: int) -> None:
    spec = Spec(0.1, out_of_range="nan", reduction="none", z_loss=0.1)
    logits, labels = [ROW, ROW], [label, 1]
    assert np.isnan(loss(logits, labels, spec)).tolist() == [True, False]
    slope = smoothed_cross_entropy_vjp(np.ones(2), np.array(logits), np.array(labels), spec)
    assert np.isnan(slope).tolist() == [[True] * 3, [False] * 3]
    totals = smoothed_cross_entropy_totals(np.array(logits), np.array(labels), spec)
    assert np.isnan([totals.loss, totals.nll]).all()


def test_labels_are_not_rounded_to_a_float() -> None:
    spec = Spec(ignore_index=2**53, out_of_range="nan", reduction="none")
    assert np.isnan(loss([ROW, ROW], [2**53, 2**53 + 1], spec)).tolist() == [False, True]


def test_a_label_that_is_not_allowed_may_be_nan() -> None:
    spec = Spec(0.1, out_of_range="nan", reduction="none")
    allowed = np.array([True, False, True])
    for there in (allowed, np.broadcast_to(allowed, (2, 3))):
        assert np.isnan(loss([ROW, ROW], [1, 2], spec, allowed=there)).tolist() == [True, False]
    soft = np.array([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]])
    assert np.isnan(loss([ROW, ROW], soft, spec, allowed=allowed)).tolist() == [True, False]


def test_a_bad_label_of_weight_zero_is_masked() -> None:
    spec = Spec(0.1, out_of_range="nan", reduction="none")
    assert loss([ROW, ROW], [9, 1], spec, sample_weight=np.array([0.0, 1.0]))[0] == 0.0


@pytest.mark.parametrize("denominator", ["class_weights", "expected_class_weights"])
def test_a_bad_label_counts_nothing(denominator: str) -> None:
    spec = Spec(0.1, out_of_range="nan", denominator=denominator)
    totals = smoothed_cross_entropy_totals(
        np.zeros((2, 3)), np.array([9, 1]), spec, class_weight=np.array([8.0, 8.0, 8.0])
    )
    assert totals.weight == pytest.approx(8.0, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("garbage", [[INF, -INF, 0.0], [NAN, NAN, -1.0]], ids=["infinities", "nan"])
def test_soft_labels_under_a_mask_may_be_anything(dtype: Any, garbage: list[float]) -> None:
    labels = np.array([[0.25, 0.25, 0.5], garbage], dtype)
    weight = np.array([1.0, NAN], dtype)
    both = {"where": np.array([True, False]), "sample_weight": weight}
    assert smoothed_cross_entropy(np.zeros((2, 3)), labels, **both) == pytest.approx(np.log(3))
