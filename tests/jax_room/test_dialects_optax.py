"""``dialects.optax`` against optax's own loss."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_loss_and_gradient(label_smoothing: float, dtype: str) -> None:
    random = np.random.default_rng(0)
    logits = jnp.asarray(3 * random.normal(size=(4, 5, 7)), dtype)
    labels = jnp.asarray(random.integers(0, 7, (4, 5)))
    cotangent = jnp.asarray(random.normal(size=(4, 5)), dtype)
    mask = jnp.arange(5) < jnp.array([5, 3, 1, 0])[:, None]

    def ours(x: jax.Array) -> jax.Array:
        return smoothed_cross_entropy(x, labels, dialects.optax(label_smoothing), where=mask)

    def theirs(x: jax.Array) -> jax.Array:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, 7, dtype=dtype), label_smoothing)
        return jnp.where(mask, optax.softmax_cross_entropy(x, targets), 0)

    (mine, my_vjp), (other, other_vjp) = jax.vjp(ours, logits), jax.vjp(theirs, logits)
    assert mine.dtype == other.dtype == dtype
    bound = TOLERANCE[dtype]
    np.testing.assert_allclose(mine, other, rtol=bound, atol=bound)
    np.testing.assert_allclose(my_vjp(cotangent)[0], other_vjp(cotangent)[0], rtol=bound, atol=bound)
