"""``linear_smoothed_cross_entropy`` is the loss of logits that are made, and never makes them all."""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, ShapeDtypeStruct

from multismooth import InputError, Spec
from multismooth.jax import linear as linear_room
from multismooth.jax import linear_smoothed_cross_entropy, smoothed_cross_entropy

RANDOM = np.random.default_rng(0)
ROWS, FEATURES, CLASSES = 7, 5, 11
HIDDEN = RANDOM.normal(size=(ROWS, FEATURES))
LABELS = RANDOM.integers(0, CLASSES, ROWS)
WHERE = np.array([1, 1, 0, 1, 0, 1, 1], bool)
WEIGHT = np.array([1, 0, 2, 0.5, 0, 1, 3])
ALLOWED = (RANDOM.random((ROWS, CLASSES)) < 0.8) | (np.arange(CLASSES) == LABELS[:, None])
ARRAYS = {
    "hidden": HIDDEN,
    "kernel": RANDOM.normal(size=(FEATURES, CLASSES)),
    "bias": RANDOM.normal(size=CLASSES),
}
CLASS_WEIGHT = {"class_weight": RANDOM.uniform(0.5, 2, CLASSES)}
PRIOR = {"prior": RANDOM.dirichlet(np.ones(CLASSES))}
SIZES = (1, 2, 3, 7, 256)
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
DIFFERENTIABLE = (*ARRAYS, "sample_weight", "class_weight", "prior")

CASES: dict[str, tuple[Spec, dict[str, Any]]] = {
    "plain": (Spec(), {}),
    "masked": (Spec(0.1, z_loss=0.1), {"where": WHERE}),
    "capped": (Spec(0.1), {"logit_scale": 0.7, "softcap": 3.0}),
    "sum": (Spec(0.1, "others", reduction="sum"), {"where": WHERE}),
    "none": (Spec(0.1, "others", reduction="none"), {"where": WHERE, "sample_weight": WEIGHT}),
    "weighted": (Spec(0.2, denominator="weights"), {"sample_weight": WEIGHT} | CLASS_WEIGHT),
    "class-weights": (Spec(0.2, denominator="expected_class_weights"), {"where": WHERE} | CLASS_WEIGHT),
    "prior": (Spec(0.2, "leaky", kl=True), {"where": WHERE, "softcap": 5.0} | PRIOR),
    "allowed": (Spec(0.2), {"allowed": ALLOWED, "where": WHERE} | PRIOR),
    "sequences": (Spec(0.2, denominator="sequences"), {"where": WHERE}),
    "normalizer": (Spec(0.1, ignore_index=3), {"normalizer": 4.5}),
}
every = pytest.mark.parametrize("name", CASES)
Loss = Callable[[dict[str, Array]], Array]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def explicit(
    hidden: Array, kernel: Array, bias: Array, logit_scale: Any = None, softcap: Any = None, **rest: Any
) -> Array:
    """The loss of logits that are made."""
    logits = (hidden @ kernel + bias) * (logit_scale or 1.0)
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    return smoothed_cross_entropy(logits, **rest)


def losses(name: str, size: int = 2, arrays: dict[str, Any] = ARRAYS) -> tuple[Loss, Loss, dict[str, Array]]:
    """The linear loss, the other, and what both are functions of."""
    spec, options = CASES[name]
    given = {key: jnp.asarray(value) for key, value in (arrays | options).items() if key in DIFFERENTIABLE}
    fixed = {key: value for key, value in options.items() if key not in given} | {"labels": LABELS, "spec": spec}

    def scalar(function: Callable[..., Array]) -> Loss:
        return lambda given: (
            function(**fixed | given) * jnp.arange(1.0, ROWS + 1)[: 7 if spec.reduction == "none" else 1]
        ).sum()

    return scalar(partial(linear_smoothed_cross_entropy, rows=size)), scalar(explicit), given


def same(actual: Any, expected: Any, **close: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, **close or CLOSE), actual, expected)


@every
@pytest.mark.parametrize("size", SIZES)
def test_loss_and_gradients(name: str, size: int) -> None:
    linear, other, given = losses(name, size)
    same(jax.value_and_grad(linear)(given), jax.value_and_grad(other)(given))


@every
@pytest.mark.parametrize("classes", [1, 3, 11])
def test_the_kernel_s_gradient_is_added_up_by_classes(name: str, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_room, "PRODUCT", classes * FEATURES)
    test_loss_and_gradients(name, 3)


@every
def test_forward_mode_and_second_derivatives(name: str) -> None:
    linear, other, given = losses(name)
    moved = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(1).normal(size=a.shape)), given)
    for of in (lambda f: f, jax.grad):
        derivatives = [jax.jvp(of(function), (given,), (moved,)) for function in (linear, other)]
        same(*derivatives)


@pytest.mark.parametrize("name", ["masked", "none", "weighted"])
@pytest.mark.parametrize("transform", [jax.jit, jax.checkpoint], ids=["jit", "checkpoint"])
def test_transformed(name: str, transform: Any) -> None:
    linear, _, given = losses(name)
    same(jax.value_and_grad(transform(linear))(given), jax.value_and_grad(linear)(given))


@pytest.mark.parametrize("name", ["masked", "none"])
def test_mapped(name: str) -> None:
    linear, _, given = losses(name)
    two = jax.tree.map(lambda array: jnp.stack([array, 2 * array]), given)
    one_by_one = [jax.grad(linear)(jax.tree.map(lambda array, i=i: array[i], two)) for i in range(2)]
    same(jax.vmap(jax.grad(linear))(two), jax.tree.map(lambda *parts: jnp.stack(parts), *one_by_one))


@pytest.mark.parametrize("name", ["masked", "none"])
@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_masked_rows_may_hold_anything(name: str, garbage: float) -> None:
    linear, _, given = losses(name)
    filled = losses(name, arrays=ARRAYS | {"hidden": np.where(WHERE[:, None], HIDDEN, garbage)})[2]
    clean, found = jax.value_and_grad(linear)(given), jax.value_and_grad(linear)(filled)
    jax.tree.map(np.testing.assert_array_equal, found, clean)
    assert not found[1]["hidden"][~WHERE].any()


def test_a_weight_of_0_hides_a_row_that_is_no_number() -> None:
    linear, _, given = losses("weighted")
    filled = losses("weighted", arrays=ARRAYS | {"hidden": np.where(WEIGHT[:, None] > 0, HIDDEN, np.nan)})[2]
    clean, found = jax.grad(linear)(given), jax.grad(linear)(filled)
    same(found["kernel"], clean["kernel"])
    assert np.isfinite(found["sample_weight"]).all()


@pytest.mark.parametrize("empty", ["zero", "nan"])
def test_nothing_counts(empty: str) -> None:
    def loss(hidden: Array) -> Array:
        options = {"where": np.zeros(ROWS, bool), "rows": 2}
        return linear_smoothed_cross_entropy(hidden, ARRAYS["kernel"], LABELS, Spec(0.1, empty=empty), **options)

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(HIDDEN))
    assert value == 0 if empty == "zero" else np.isnan(value)
    assert not gradient.any()


def test_a_bad_label_is_nan_in_its_row() -> None:
    def loss(hidden: Array, labels: Array) -> Array:
        return linear_smoothed_cross_entropy(hidden, ARRAYS["kernel"], labels, Spec(0.1, reduction="none"), rows=2)

    found, pullback = jax.vjp(lambda h: jax.jit(loss)(h, jnp.asarray(LABELS).at[2].set(CLASSES)), jnp.asarray(HIDDEN))
    bad = np.arange(ROWS) == 2
    np.testing.assert_array_equal(np.isnan(found), bad)
    np.testing.assert_array_equal(np.isnan(pullback(jnp.ones(ROWS))[0]).all(1), bad)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype: str, reduction: str) -> None:
    """The gradients have hidden's dtype and are summed in float32: many rows change nothing that a half could hold."""
    rows, spec = 4096, Spec(0.1, reduction=reduction)
    hidden, kernel = jnp.ones((rows, 2), dtype), jnp.asarray([[0.5, 0.25, 0.0]] * 2, dtype)

    def loss(hidden: Array, kernel: Array) -> Array:
        return linear_smoothed_cross_entropy(hidden, kernel, np.zeros(rows, int), spec, rows=8).mean()

    def wide(hidden: Array, kernel: Array) -> Array:
        return smoothed_cross_entropy(hidden @ kernel, np.zeros(rows, int), spec).mean()

    arrays = hidden, kernel
    found, expected = (jax.value_and_grad(f, (0, 1)) for f in (loss, wide))
    value, gradients = found(*arrays)
    assert value.dtype == "float32"
    assert [gradient.dtype for gradient in gradients] == [dtype, dtype]
    exact = expected(*(array.astype("float32") for array in arrays))
    same((value, gradients[1].astype("float32")), (exact[0], exact[1][1]), rtol=2 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "8"])
def test_refuses_rows(rows: Any) -> None:
    with pytest.raises(InputError, match="Pass how many rows a block has") as caught:
        linear_smoothed_cross_entropy(HIDDEN, ARRAYS["kernel"], LABELS, rows=rows)
    assert caught.value.reason == "bad_rows"


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_logits_are_never_held(reduction: str) -> None:
    rows, features, classes, block = 1024, 16, 4096, 32
    shapes = [ShapeDtypeStruct(shape, "float32") for shape in ((rows, features), (features, classes))]

    def loss(hidden: Array, kernel: Array, labels: Array) -> Array:
        spec = Spec(0.1, ignore_index=-100, reduction=reduction)
        return linear_smoothed_cross_entropy(hidden, kernel, labels, spec, rows=block).sum()

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes, ShapeDtypeStruct((rows,), "int32")).compile()
    assert step.memory_analysis().temp_size_in_bytes < 0.2 * rows * classes * 4
    sizes = [math.prod(map(int, sides.split(","))) for sides in re.findall(r"\w+\[([\d,]+)\]", step.as_text())]
    assert max(sizes) < rows * classes


@pytest.mark.parametrize("ignore_index", [None, -100])
def test_few_rows_hold_less_than_a_kernel(ignore_index: int | None) -> None:
    """Neither its transpose nor the product that is added to its gradient: the block's logits, and a part of that."""
    rows, features, classes, block = 512, 256, 65536, 16
    shapes = [ShapeDtypeStruct(shape, "float32") for shape in ((rows, features), (features, classes))]

    def loss(hidden: Array, kernel: Array, labels: Array) -> Array:
        spec = Spec(0.1, ignore_index=ignore_index)
        return linear_smoothed_cross_entropy(hidden, kernel, labels, spec, rows=block)

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes, ShapeDtypeStruct((rows,), "int32")).compile()
    held = 3 * block * classes + 2 * linear_room.PRODUCT + 2 * rows * features
    assert step.memory_analysis().temp_size_in_bytes < 4 * held < 4 * features * classes / 2
