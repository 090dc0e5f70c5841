"""The article's worked case: a small network whose logits are upsampled, and labels that are ignored in part."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy
from tests.article import IGNORED, IMAGES, LABELS, OFF, ON

SPEC = dialects.article()


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def network(parameters: dict[str, Array], images: Array) -> Array:
    """Two convolutions at half the size, to logits upsampled to [2, 5, 5, 3]; the classes are last."""
    layout = ("NHWC", "HWIO", "NHWC")
    hidden = jax.lax.conv_general_dilated(images, parameters["first"], (2, 2), "SAME", dimension_numbers=layout)
    coarse = jax.lax.conv_general_dilated(
        jax.nn.relu(hidden), parameters["second"], (1, 1), "SAME", dimension_numbers=layout
    )
    return jax.image.resize(coarse, (2, 5, 5, 3), "bilinear")


def initial(dtype: str) -> dict[str, Array]:
    random = np.random.default_rng(1)
    shapes = {"first": (3, 3, 3, 6), "second": (1, 1, 6, 3)}
    return {name: jnp.asarray(random.normal(0, 0.5, shape), dtype) for name, shape in shapes.items()}


def formula(logits: Array, labels: Array) -> Array:
    """The article's: a one-hot filled with 0.9 and 0.005, ignored pixels 0."""
    target = jnp.where(labels[..., None] == jnp.arange(3), jnp.asarray(ON, logits.dtype), OFF)
    target = jnp.where((labels == IGNORED)[..., None], 0, target)
    return -(jax.nn.log_softmax(logits) * target).sum() / (labels != IGNORED).sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_and_gradients_are_the_article_s(dtype: str) -> None:
    images = jnp.asarray(IMAGES.transpose(0, 2, 3, 1), dtype)

    def ours(parameters: dict[str, Array]) -> Array:
        return smoothed_cross_entropy(network(parameters, images), LABELS, SPEC)

    def theirs(parameters: dict[str, Array]) -> Array:
        return formula(network(parameters, images), jnp.asarray(LABELS))

    bound: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    actual, expected = (jax.jit(jax.value_and_grad(loss))(initial(dtype)) for loss in (ours, theirs))
    assert network(initial(dtype), images).shape == (2, 5, 5, 3)
    assert actual[0].dtype == dtype
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **bound), actual, expected)
    assert all(jnp.abs(gradient).max() > 1e-3 for gradient in expected[1].values())


def test_nothing_but_ignored_pixels_is_nan_with_a_gradient_of_zero() -> None:
    labels = np.full((2, 5, 5), IGNORED)
    loss, gradient = jax.value_and_grad(lambda x: smoothed_cross_entropy(x, labels, SPEC, axis=1))(IMAGES)
    assert jnp.isnan(loss)
    assert not gradient.any()
