"""The article's worked case: a small network whose logits are upsampled, and labels that are ignored in part."""

from typing import Any

import keras
import numpy as np
from keras import ops

from multismooth import dialects
from multismooth.keras import SmoothedCrossEntropy, smoothed_cross_entropy
from tests.article import IGNORED, IMAGES, LABELS, OFF, ON

SPEC = dialects.article()
RATE = 0.5


def network() -> keras.Model:
    """Two convolutions at half the size, to logits upsampled to [2, 6, 6, 3], and cropped to the labels."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((5, 5, 3)),
            keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(3, 1),
            keras.layers.UpSampling2D(2, interpolation="bilinear"),
            keras.layers.Cropping2D(((0, 1), (0, 1))),
        ]
    )


def formula(labels: Any, logits: Any) -> Any:
    """The article's: a one-hot filled with 0.9 and 0.005, ignored pixels 0."""
    labels = ops.cast(labels, "int32")
    counts = labels != IGNORED
    target = ops.where(labels[..., None] == ops.arange(3, dtype="int32"), ON, OFF)
    target = ops.where(counts[..., None], ops.cast(target, logits.dtype), 0.0)
    return -ops.sum(ops.log_softmax(logits) * target) / ops.cast(ops.sum(counts), logits.dtype)


def trained(loss: Any) -> tuple[float, list[np.ndarray]]:
    """The loss of the first batch, and the gradient that a step of gradient descent took."""
    model = network()
    model.compile(keras.optimizers.SGD(RATE), loss)
    before = model.get_weights()
    images = IMAGES.transpose(0, 2, 3, 1).astype("float32")
    history = model.fit(images, LABELS.astype("int32"), batch_size=2, verbose=0).history
    after = model.get_weights()
    return history["loss"][0], [(a - b) / RATE for a, b in zip(before, after, strict=True)]


def test_loss_and_gradients_are_the_article_s() -> None:
    loss, gradients = trained(SmoothedCrossEntropy(spec=SPEC))
    expected_loss, expected = trained(formula)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for actual, gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-4, atol=2e-6)
        assert np.abs(gradient).max() > 1e-3


def test_the_class_axis_may_be_the_second() -> None:
    logits, labels = ops.convert_to_tensor(IMAGES.astype("float32")), ops.convert_to_tensor(LABELS)
    ours = smoothed_cross_entropy(logits, labels, SPEC, axis=1)
    expected = formula(labels, ops.transpose(logits, (0, 2, 3, 1)))
    np.testing.assert_allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(expected), rtol=1e-5)
