"""A whole training step in TensorFlow with Keras, with Keras's own loss and with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from shapes import Training
from text import BYTES, allowed, batches
from training import BLOCKS, LEARNING_RATE, MOMENTUM, SEED, TAPS, WIDTH

from multismooth import Spec
from multismooth.tensorflow import linear_smoothed_cross_entropy, smoothed_cross_entropy
from tensorflow_room.call import Call

REFERENCE = "Keras"
Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def network() -> keras.Model:
    """Bytes [rows, length] to hidden states [rows, length, width]."""
    given = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(BYTES, WIDTH)(given)
    for _ in range(BLOCKS):
        x = x + keras.layers.Conv1D(WIDTH, TAPS, padding="causal", activation="gelu")(x)
    return keras.Model(given, x)


class Run(Call):
    """One step at each call, in a graph; the losses so far."""

    def __init__(self, shape: Training, loss: Loss) -> None:
        keras.utils.set_random_seed(SEED)
        self.model, self.head, self.loss = network(), keras.layers.Dense(shape.classes, use_bias=False), loss
        self.head.build((None, None, WIDTH))
        self.variables = self.model.trainable_variables + self.head.trainable_variables
        self.optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM)
        self.optimizer.build(self.variables)
        self.batches, self.losses = batches(shape), []
        self.update = tf.function(self.updated)
        super().__init__(self.run)

    def updated(self, given: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.loss(self.model(given, training=True), self.head.kernel.value, following)
        self.optimizer.apply(tape.gradient(loss, [variable.value for variable in self.variables]))
        return loss

    def run(self) -> Any:
        loss = self.update(*map(tf.constant, next(self.batches)))
        self.losses.append(float(loss))
        return (loss,)


def contenders(shape: Training, part: str) -> dict[str, Run]:
    exists = tf.constant(allowed(shape))

    def theirs(hidden: tf.Tensor, kernel: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = tf.where(exists, hidden @ kernel, -float("inf"))
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)

    def ours(hidden: tf.Tensor, kernel: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return smoothed_cross_entropy(hidden @ kernel, labels, Spec(), allowed=exists)

    def linear(hidden: tf.Tensor, kernel: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return linear_smoothed_cross_entropy(hidden, kernel, labels, Spec(), allowed=exists)

    losses: dict[str, Loss] = {REFERENCE: theirs, "multismooth": ours, "multismooth, linear": linear}
    return {name: Run(shape, loss) for name, loss in losses.items()}
