"""``dialects.keras`` against Keras's own losses, on the backend that is active."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.backend.common.masking import set_keras_mask  # nothing public gives an eager tensor a mask

from multismooth import dialects
from multismooth.keras import smoothed_cross_entropy

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]
CLASSES = 7


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def value_and_gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """The gradient is that of the function's values times a fixed random cotangent."""

    def scalar(x: Any) -> tuple[Any, Any]:
        value = function(x)
        cotangent = np.random.default_rng(1).normal(size=tuple(value.shape))
        return ops.sum(value * ops.convert_to_tensor(cotangent, value.dtype)), value

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            x = tf.Variable(x)
            with tf.GradientTape() as tape:
                total, value = scalar(tf.identity(x))
            gradient = tape.gradient(total, x)
        case "jax":
            import jax

            (_, value), gradient = jax.value_and_grad(scalar, has_aux=True)(x)
        case _:
            x = ops.convert_to_tensor(x).requires_grad_()
            total, value = scalar(x)
            total.backward()
            gradient = x.grad
    return ops.convert_to_numpy(value), ops.convert_to_numpy(gradient)


def check(ours: Callable[[Any], Any], theirs: Callable[[Any], Any], x: Any) -> None:
    mine, other = value_and_gradient(ours, x), value_and_gradient(theirs, x)
    assert mine[0].dtype == x.dtype
    bound = TOLERANCE[str(other[0].dtype)]  # on the torch backend Keras divides float64 in float32
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


def batch(dtype: str) -> tuple[Any, Any, Any, Any]:
    """Logits [4, 5, 7], labels, the mask of sequences of 5, 3, 1 and 0 tokens, and uneven weights."""
    random = np.random.default_rng(0)
    mask = np.arange(5) < np.array([5, 3, 1, 0])[:, None]
    logits = (3 * random.normal(size=(4, 5, CLASSES))).astype(dtype)
    labels = random.integers(1, CLASSES, mask.shape)
    return logits, labels, mask, random.uniform(0.2, 2, mask.shape).astype(dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_categorical(reduction: str | None, masked: bool, weighted: bool, dtype: str) -> None:
    logits, labels, mask, weight = batch(dtype)
    native = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction=reduction, dtype=dtype
    )
    weight = weight if weighted else None

    def ours(x: Any) -> Any:
        spec = dialects.keras(0.1, reduction=reduction)
        where = ops.convert_to_tensor(mask) if masked else None
        weights = None if weight is None else ops.convert_to_tensor(weight)
        return smoothed_cross_entropy(x, ops.convert_to_tensor(labels), spec, where=where, sample_weight=weights)

    def theirs(x: Any) -> Any:
        if masked:
            set_keras_mask(x, ops.convert_to_tensor(mask))
        return native(np.eye(CLASSES, dtype=dtype)[labels], x, sample_weight=weight)

    check(ours, theirs, logits)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_sparse_with_an_ignored_class(reduction: str | None, weighted: bool, dtype: str) -> None:
    logits, labels, mask, weight = batch(dtype)
    labels = np.where(mask, labels, 0)
    native = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=0, reduction=reduction, dtype=dtype
    )
    weight = weight if weighted else None

    def ours(x: Any) -> Any:
        spec = dialects.keras(ignore_class=0, reduction=reduction)
        weights = None if weight is None else ops.convert_to_tensor(weight)
        return smoothed_cross_entropy(x, ops.convert_to_tensor(labels), spec, sample_weight=weights)

    check(ours, lambda x: native(labels, x, sample_weight=weight), logits)


def test_nothing_counts_is_zero() -> None:
    logits, labels, *_ = batch("float32")
    native = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    assert float(native(0 * labels, logits)) == 0
    mine = smoothed_cross_entropy(
        ops.convert_to_tensor(logits), ops.convert_to_tensor(0 * labels), dialects.keras(ignore_class=0)
    )
    assert float(mine) == 0
