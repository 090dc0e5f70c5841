"""TensorFlow's and Keras's losses: the mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_losses
import tensorflow as tf
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays

from multismooth import dialects
from multismooth.tensorflow import smoothed_cross_entropy
from tensorflow_room.call import MODES, Call

REFERENCE = "Keras, graph"
CORE = (REFERENCE, "Keras, XLA", "multismooth, graph", "multismooth, XLA", "multismooth.keras, graph", "floor")
GROWING = (REFERENCE, "multismooth, graph")
SPEC = dialects.torch(LABEL_SMOOTHING, IGNORED)
Loss = Callable[[tf.Tensor, tf.Tensor, Shape], tf.Tensor]


def ours(logits: tf.Tensor, labels: tf.Tensor, shape: Shape) -> tf.Tensor:
    return smoothed_cross_entropy(logits, labels, SPEC, axis=shape.axis)


LOSSES: dict[str, Loss] = {"Keras": keras_losses.own, "multismooth": ours, "multismooth.keras": keras_losses.ours}


def contenders(shape: Shape, part: str) -> dict[str, Any]:
    """Forward alone, or with the gradient; in a graph, eagerly, and through XLA.

    Labels are an argument: few of them that a graph finds outside are constants to it, and what is one-hot is then
    worked out but once.
    """
    given, labels = map(tf.constant, arrays(shape))
    logits = tf.cast(given, shape.dtype)

    def step(loss: Loss) -> Callable[..., Any]:
        def with_gradient(logits: tf.Tensor, labels: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(logits, labels, shape)
            return value, tape.gradient(value, logits)

        return with_gradient if part == "gradient" else lambda *batch: (loss(*batch, shape),)

    def call(compiled: Callable[..., Any]) -> Call:
        return Call(lambda: compiled(logits, labels))

    def floor() -> Any:
        tf.reduce_sum(logits)
        return (None, logits * 2) if part == "gradient" else (None,)

    return {
        **{f"{name}, {mode}": call(MODES[mode](step(loss))) for name, loss in LOSSES.items() for mode in MODES},
        "floor": Call(floor),
    }
