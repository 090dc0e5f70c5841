"""TensorFlow's and Keras's losses with each option, forward and backward, in a graph and through XLA."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import keras_losses
import tensorflow as tf
from options import named, options
from shapes import LABEL_SMOOTHING, Shape, arrays

from multismooth.tensorflow import smoothed_cross_entropy
from tensorflow_room.call import MODES, Call

REFERENCE = named("Keras, graph", "none")
KINDS = ("graph", "XLA")
Loss = Callable[..., tf.Tensor]


def contenders(shape: Shape, part: str) -> dict[str, Call]:
    logits = tf.constant(arrays(shape)[0])

    def soft(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING)
        return loss(*(keras.ops.moveaxis(array, shape.axis, -1) for array in (labels, logits)))

    def call(loss: Loss, mode: str, given: dict[str, tf.Tensor]) -> Call:
        def step(logits: tf.Tensor, given: dict[str, tf.Tensor]) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(logits, **given)
            return value, tape.gradient(value, logits)

        compiled = MODES[mode](step)
        return Call(lambda: compiled(logits, given))

    theirs: dict[str, Loss] = {"none": partial(keras_losses.own, shape=shape), "soft labels": soft}
    calls = {}
    for option, (spec, given) in options(shape).items():
        tensors = {name: tf.constant(array) for name, array in given.items()}
        ours = partial(smoothed_cross_entropy, spec=spec, axis=shape.axis)
        losses = {"Keras": theirs[option]} if option in theirs else {}
        for name, loss in (losses | {"multismooth": ours}).items():
            calls |= {named(f"{name}, {mode}", option): call(loss, mode, tensors) for mode in KINDS}
    return calls
