"""TensorFlow's and Keras's contenders in graphs: value and gradient of a mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays

from multismooth import dialects
from multismooth.keras import SmoothedCrossEntropy
from multismooth.tensorflow import smoothed_cross_entropy

REFERENCE = "Keras's own"
SPEC = dialects.torch(LABEL_SMOOTHING, IGNORED)
Loss = Callable[[tf.Tensor, tf.Tensor, Shape], tf.Tensor]


def theirs(logits: tf.Tensor, labels: tf.Tensor, shape: Shape) -> tf.Tensor:
    """The mask as sample weights; the mean over them."""
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=LABEL_SMOOTHING, axis=shape.axis, reduction="mean_with_sample_weight"
    )
    counts = labels != IGNORED
    one_hot = tf.one_hot(tf.where(counts, labels, 0), shape.classes, axis=shape.axis, dtype=logits.dtype)
    return loss(one_hot, logits, sample_weight=tf.cast(counts, logits.dtype))


def room(logits: tf.Tensor, labels: tf.Tensor, shape: Shape) -> tf.Tensor:
    return smoothed_cross_entropy(logits, labels, SPEC, axis=shape.axis)


def layer(logits: tf.Tensor, labels: tf.Tensor, shape: Shape) -> tf.Tensor:
    return SmoothedCrossEntropy(spec=SPEC, axis=shape.axis)(labels, logits)


LOSSES: dict[str, Loss] = {REFERENCE: theirs, "multismooth.tensorflow": room, "multismooth.keras": layer}


def calls(shape: Shape) -> dict[str, Callable[[], Any]]:
    given, labels = arrays(shape)
    logits, labels = tf.cast(tf.constant(given), shape.dtype), tf.constant(labels)

    def call(loss: Loss, *, xla: bool) -> Callable[[], Any]:
        @tf.function(jit_compile=xla)
        def step(logits: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(logits, labels, shape)
            return value, tape.gradient(value, logits)

        return lambda: step(logits)[1][(0,) * len(shape.logits)].numpy()

    found = {name: call(loss, xla=False) for name, loss in LOSSES.items()}
    return found | {f"{name}, XLA": call(loss, xla=True) for name, loss in LOSSES.items()}


def memory(shape: Shape) -> dict[str, float]:
    """TensorFlow does not say what it allocates on a processor."""
    return {}
