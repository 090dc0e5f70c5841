"""The reference of the linear loss: its gradients against finite differences, and what it promises."""

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth.numpy import (
    LinearGradients,
    linear_smoothed_cross_entropy,
    linear_smoothed_cross_entropy_vjp,
    smoothed_cross_entropy,
    smoothed_cross_entropy_vjp,
)
from tests.cases import CASES, COTANGENT, LABELS, WHERE, Case

CASES_LAST = [case for case in CASES if case.axis == -1 and case.arrays["labels"].dtype != np.float64]
_random = np.random.default_rng(11)
HIDDEN, KERNEL, BIAS = (_random.normal(size=shape) for shape in ((2, 3, 5), (5, 4), (4,)))
HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": BIAS},
    "scale": {"bias": BIAS, "logit_scale": -0.7},
    "softcap": {"bias": BIAS, "softcap": 1.5},
    "both": {"logit_scale": 2, "softcap": np.float32(2)},
}
PARTS = [
    (id, name) for id, head in HEADS.items() for name in ("hidden", "kernel", "bias") if name != "bias" or name in head
]


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    """Nobody is warned of what stands where nothing counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def logits(hidden: Any, kernel: Any, *, bias: Any = 0.0, logit_scale: Any = 1.0, softcap: Any = None) -> Any:
    """The definition, once more."""
    x = float(logit_scale) * (hidden @ kernel + bias)
    return x if softcap is None else float(softcap) * np.tanh(x / float(softcap))


def rest(case: Case) -> dict[str, Any]:
    return {name: array for name, array in case.arrays.items() if name != "logits"} | {"spec": case.spec}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("case", CASES_LAST, ids=[case.id for case in CASES_LAST])
def test_it_is_the_loss_of_the_logits(case: Case, head: dict[str, Any]) -> None:
    hidden = np.where(WHERE[..., None], HIDDEN, 0.0)
    loss = linear_smoothed_cross_entropy(hidden, KERNEL, **rest(case), **head)
    np.testing.assert_allclose(loss, smoothed_cross_entropy(logits(hidden, KERNEL, **head), **rest(case)), rtol=1e-15)


@pytest.mark.parametrize(("head", "name"), PARTS)
@pytest.mark.parametrize("case", CASES_LAST[::3], ids=[case.id for case in CASES_LAST[::3]])
def test_the_gradients_are_slopes(case: Case, head: str, name: str) -> None:
    """In three directions, for any cotangent."""
    cotangent = COTANGENT if case.spec.reduction == "none" else np.array(-1.75)
    call: dict[str, Any] = {"hidden": HIDDEN, "kernel": KERNEL, **rest(case), **HEADS[head]}
    slope = getattr(linear_smoothed_cross_entropy_vjp(cotangent, **call), name)
    assert slope.shape == call[name].shape
    random = np.random.default_rng(3)
    for _ in range(3):
        direction = random.normal(size=slope.shape)
        step = direction * 2.0**-17
        ahead, behind = (linear_smoothed_cross_entropy(**call | {name: call[name] + s}) for s in (step, -step))
        rise = np.sum(cotangent * (ahead - behind)) * 2.0**16
        assert np.sum(slope * direction) == pytest.approx(rise, rel=1e-6, abs=1e-8)


def test_without_a_bias_there_is_no_gradient_to_it() -> None:
    gradients = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN, KERNEL, LABELS)
    assert isinstance(gradients, LinearGradients)
    assert gradients.bias is None


@pytest.mark.parametrize("shape", [(6,), (1, 6), (3, 1, 2), (2, 3)])
def test_the_shape_of_the_batch_does_not_matter(shape: tuple[int, ...]) -> None:
    call = (KERNEL, LABELS.reshape(shape), 0.1)
    loss = linear_smoothed_cross_entropy(HIDDEN.reshape(*shape, 5), *call, bias=BIAS)
    assert loss == pytest.approx(
        float(linear_smoothed_cross_entropy(HIDDEN, KERNEL, LABELS, 0.1, bias=BIAS)), rel=1e-15
    )
    gradients = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN.reshape(*shape, 5), *call, bias=BIAS)
    whole = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN, KERNEL, LABELS, 0.1, bias=BIAS)
    for mine, theirs in zip(gradients, whole, strict=True):
        np.testing.assert_allclose(mine.reshape(theirs.shape), theirs, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("by", ["where", "sample_weight", "ignore_index"])
def test_a_masked_position_contributes_exactly_nothing(garbage: float, by: str, softcap: float | None) -> None:
    masks: dict[str, dict[str, Any]] = {
        "where": {"where": WHERE, "labels": LABELS},
        "sample_weight": {"sample_weight": WHERE * 0.75, "labels": LABELS},
        "ignore_index": {"spec": Spec(0.1, ignore_index=-100), "labels": np.where(WHERE, LABELS, -100)},
    }
    call: dict[str, Any] = {"kernel": KERNEL, "bias": BIAS, "spec": Spec(0.1), "softcap": softcap, **masks[by]}
    clean, dirty = (np.where(WHERE[..., None], HIDDEN, value) for value in (0.0, garbage))
    assert linear_smoothed_cross_entropy(dirty, **call) == linear_smoothed_cross_entropy(clean, **call)
    right, found = (linear_smoothed_cross_entropy_vjp(-1.5, hidden, **call) for hidden in (clean, dirty))
    for one, other in zip(right, found, strict=True):
        np.testing.assert_array_equal(other, one)
    assert not found.hidden[~WHERE].any()


def test_an_infinite_kernel_is_no_gradient_of_a_masked_position() -> None:
    kernel = KERNEL.copy()
    kernel[0, 1] = np.inf
    hidden = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN, kernel, LABELS, where=WHERE).hidden
    assert not hidden[~WHERE].any()
    assert np.isnan(hidden[WHERE]).any()


@pytest.mark.parametrize("empty", ["zero", "nan"])
def test_nothing_counts(empty: str) -> None:
    call: dict[str, Any] = {"bias": BIAS, "where": WHERE & False, "spec": Spec(0.1, empty=empty)}
    hidden = np.full_like(HIDDEN, np.nan)
    loss = linear_smoothed_cross_entropy(hidden, KERNEL, LABELS, **call)
    np.testing.assert_array_equal(loss, 0.0 if empty == "zero" else np.nan)
    for gradient in linear_smoothed_cross_entropy_vjp(2.0, hidden, KERNEL, LABELS, **call):
        assert not gradient.any()


def test_an_empty_batch_and_no_features() -> None:
    empty = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN[:0], KERNEL, LABELS[:0], bias=BIAS)
    assert [g.shape for g in empty] == [(0, 3, 5), (5, 4), (4,)]
    assert not any(g.any() for g in empty)
    call = (HIDDEN[..., :0], KERNEL[:0], LABELS, 0.1)
    wide = np.broadcast_to(BIAS, (2, 3, 4))
    assert linear_smoothed_cross_entropy(*call, bias=BIAS) == smoothed_cross_entropy(wide, LABELS, 0.1)
    found = linear_smoothed_cross_entropy_vjp(1.0, *call, bias=BIAS)
    np.testing.assert_allclose(found.bias, smoothed_cross_entropy_vjp(1.0, wide, LABELS, 0.1).sum((0, 1)), rtol=1e-14)


def test_a_bias_of_minus_infinity_takes_a_class_out() -> None:
    bias, labels = np.array([0.0, 1.0, -np.inf, 2.0]), np.where(LABELS == 2, 0, LABELS)
    kept = [0, 1, 3]
    narrow = np.searchsorted(kept, labels)
    loss = linear_smoothed_cross_entropy(HIDDEN, KERNEL, labels, bias=bias)
    assert loss == pytest.approx(float(linear_smoothed_cross_entropy(HIDDEN, KERNEL[:, kept], narrow, bias=bias[kept])))
    found = linear_smoothed_cross_entropy_vjp(1.0, HIDDEN, KERNEL, labels, bias=bias)
    assert all(np.isfinite(gradient).all() for gradient in found)
    assert not found.kernel[:, 2].any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_it_computes_in_float64(dtype: Any) -> None:
    arrays = [array.astype(dtype) for array in (HIDDEN, KERNEL, BIAS)]
    hidden, kernel, bias = (array.astype(np.float64) for array in arrays)
    loss = linear_smoothed_cross_entropy(arrays[0], arrays[1], LABELS, 0.1, bias=arrays[2])
    assert loss.dtype == np.float64
    assert loss == linear_smoothed_cross_entropy(hidden, kernel, LABELS, 0.1, bias=bias)


def test_lists_will_do_and_nothing_that_is_given_changes() -> None:
    arrays = HIDDEN.copy(), KERNEL.copy(), LABELS.copy()
    loss = linear_smoothed_cross_entropy(HIDDEN.tolist(), KERNEL.tolist(), LABELS.tolist(), 0.1)
    assert loss == linear_smoothed_cross_entropy(*arrays, 0.1)
    linear_smoothed_cross_entropy_vjp(1.0, *arrays, 0.1, softcap=2.0, where=WHERE)
    for array, given in zip(arrays, (HIDDEN, KERNEL, LABELS), strict=True):
        np.testing.assert_array_equal(array, given)


@pytest.mark.parametrize("function", [linear_smoothed_cross_entropy, linear_smoothed_cross_entropy_vjp])
def test_a_message_names_the_function_that_was_called(function: Any) -> None:
    cotangent = (1.0,) if function is linear_smoothed_cross_entropy_vjp else ()
    with pytest.raises(InputError, match=f"^{function.__name__}: kernel has shape"):
        function(*cotangent, HIDDEN, KERNEL.T, LABELS)
    with pytest.raises(TypeError, match="positional"):
        function(*cotangent, HIDDEN, KERNEL, LABELS, Spec(), BIAS)
    with pytest.raises(TypeError, match="axis"):
        function(*cotangent, HIDDEN, KERNEL, LABELS, axis=-1)
