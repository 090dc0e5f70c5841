"""The run in Keras, on the backend that KERAS_BACKEND names: compile, train_on_batch, class axis last."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["JAX_ENABLE_X64"] = "1"

import keras
import numpy as np
import worker
from data import CLASSES, SIDE
from state import HIDDEN, KERNELS, NAMES, State

from multismooth.keras import SmoothedCrossEntropy


def make_tanh() -> str | Callable[..., Any]:
    """On JAX, Keras's own tanh rounds float64 to float32 (up to 3.15; keras-team/keras#23225)."""
    return "tanh" if keras.backend.backend() != "jax" else import_module("jax.numpy").tanh


def make_net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(HIDDEN, KERNELS[0], padding="same", activation=make_tanh(), name="conv1"),
            keras.layers.Conv2D(CLASSES, KERNELS[1], padding="same", name="conv2"),
        ]
    )


def make_loss(loss: str, setup: worker.Setup) -> keras.losses.Loss:
    if loss == worker.OURS:
        return SmoothedCrossEntropy(spec=setup.spec)
    return keras.losses.CategoricalCrossentropy(
        from_logits=True,
        label_smoothing=setup.label_smoothing,
        reduction="mean_with_sample_weight" if loss == worker.OWN_LABELLED else "sum_over_batch_size",
    )


class KerasTrainer:
    """Trains with `model.train_on_batch`, the path that `model.fit` takes too."""

    def __init__(self, setup: worker.Setup, job: worker.Job, state: State) -> None:
        keras.config.set_floatx(job.dtype)
        keras.config.set_dtype_policy(job.dtype)
        self.ours = job.loss == worker.OURS
        self.net = make_net()
        # As a Python float, TensorFlow's cast would send 0.9 through float32: 2.6e-8 off.
        self.optimizer = keras.optimizers.SGD(setup.learning_rate, np.float64(setup.momentum))
        self.velocity_scale = -setup.learning_rate
        self.net.compile(self.optimizer, make_loss(job.loss, setup))
        self.write(state)

    def batch(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Keras's own smoothed loss needs one-hot labels, and the mask as a sample weight; ours takes the labels."""
        if self.ours:
            return images, labels
        one_hot = (labels[..., None] == np.arange(CLASSES)).astype(images.dtype)
        return images, one_hot, one_hot.sum(-1)

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.net.train_on_batch(*self.batch(images, labels)))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.net.test_on_batch(*self.batch(images, labels)))

    def write(self, state: State) -> None:
        self.optimizer.build(self.net.trainable_variables)
        for name, (variable, velocity) in self.variables().items():
            variable.assign(state.weights[name])
            velocity.assign(self.velocity_scale * state.momentum[name])

    def state(self, step: int) -> State:
        pairs = self.variables().items()
        weights = {name: keras.ops.convert_to_numpy(weight) for name, (weight, _) in pairs}
        momentum = {name: keras.ops.convert_to_numpy(velocity) / self.velocity_scale for name, (_, velocity) in pairs}
        return State(weights, momentum, step)

    def variables(self) -> dict[str, tuple[keras.Variable, keras.Variable]]:
        """Each weight with its velocity, by neutral name; the optimizer keeps them in the model's order."""
        weights = self.net.trainable_variables
        return dict(zip(NAMES, zip(weights, self.optimizer.momentums, strict=True), strict=True))


if __name__ == "__main__":
    worker.main(KerasTrainer)
