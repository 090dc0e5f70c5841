"""The article's worked case: a small network whose logits are upsampled, and labels that are ignored in part."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import dialects
from multismooth.tensorflow import smoothed_cross_entropy
from tests.article import IGNORED, IMAGES, LABELS, OFF, ON

SPEC = dialects.article()


def network(first: tf.Tensor, second: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Two convolutions at half the size, to logits upsampled to [2, 5, 5, 3]; the classes are last."""
    hidden = tf.nn.relu(tf.nn.conv2d(images, first, 2, "SAME"))
    coarse = tf.nn.conv2d(hidden, second, 1, "SAME")
    # tf.image.resize gives float32 always.
    return tf.einsum("ph,qw,nhwc->npqc", *[tf.constant(upsampling(3, 5), coarse.dtype)] * 2, coarse)


def upsampling(size: int, to: int) -> np.ndarray:
    """The matrix of linear interpolation between aligned corners."""
    places = np.arange(to) * (size - 1) / (to - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size)))


def formula(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The article's: a one-hot filled with 0.9 and 0.005, ignored pixels 0."""
    ignored = labels == IGNORED
    target = tf.one_hot(labels, 3, tf.constant(ON, logits.dtype), tf.constant(OFF, logits.dtype))
    target = tf.where(ignored[..., None], tf.zeros_like(target), target)
    count = tf.cast(tf.math.count_nonzero(~ignored), logits.dtype)
    return -tf.reduce_sum(tf.nn.log_softmax(logits) * target) / count


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_loss_and_gradients_are_the_article_s(compiled: bool, dtype: str) -> None:
    random = np.random.default_rng(1)
    first, second = (tf.Variable(random.normal(0, 0.5, s).astype(dtype)) for s in ((3, 3, 3, 6), (1, 1, 6, 3)))
    images, labels = tf.constant(IMAGES.transpose(0, 2, 3, 1), dtype), tf.constant(LABELS)

    def both(loss: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            value = loss(network(first, second, images), labels)
        return value, tape.gradient(value, [first, second])

    step = tf.function(both) if compiled else both
    actual = step(lambda logits, labels: smoothed_cross_entropy(logits, labels, SPEC))
    expected = both(formula)
    bound: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    assert actual[0].dtype == dtype
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, **bound), actual, expected)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in expected[1])


def test_nothing_but_ignored_pixels_is_nan_with_a_gradient_of_zero() -> None:
    logits = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, np.full((2, 5, 5), IGNORED), SPEC, axis=1)
    assert np.isnan(loss)
    assert not np.any(tape.gradient(loss, logits))
