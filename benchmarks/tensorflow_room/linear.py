"""TensorFlow's linear layers with their loss: forward alone, or with the gradients to hidden states and kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_losses
import tensorflow as tf
from shapes import Linear, linear_arrays

from multismooth.tensorflow import linear_smoothed_cross_entropy
from tensorflow_room.call import MODES, Call
from tensorflow_room.losses import SPEC
from tensorflow_room.losses import ours as loss_of_logits

REFERENCE = "matmul and Keras, graph"
CORE = (REFERENCE, "multismooth, linear, graph")


def contenders(shape: Linear, part: str) -> dict[str, Call]:
    """In a graph and through XLA."""
    *given, labels = map(tf.constant, linear_arrays(shape))
    hidden, kernel = (tf.cast(array, shape.dtype) for array in given)

    def unfused(loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        return lambda hidden, kernel: loss(hidden @ kernel, labels, shape.logits)

    losses = {
        "matmul and Keras": unfused(keras_losses.own),
        "matmul and multismooth": unfused(loss_of_logits),
        "multismooth, linear": lambda hidden, kernel: linear_smoothed_cross_entropy(hidden, kernel, labels, SPEC),
    }

    def step(loss: Callable[..., tf.Tensor]) -> Callable[..., Any]:
        def with_gradients(*sources: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(sources)
                value = loss(*sources)
            return value, *tape.gradient(value, sources)

        return with_gradients if part == "gradient" else lambda *sources: (loss(*sources),)

    def call(compiled: Callable[..., Any]) -> Call:
        return Call(lambda: compiled(hidden, kernel))

    return {
        f"{name}, {mode}": call(MODES[mode](step(loss))) for name, loss in losses.items() for mode in ("graph", "XLA")
    }
