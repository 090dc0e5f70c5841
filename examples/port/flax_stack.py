"""The run in JAX: Flax NNX and optax, class axis last, one jitted train step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import worker
from data import CLASSES
from flax import nnx
from state import HIDDEN, KERNELS, Arrays, State

from multismooth.jax import smoothed_cross_entropy

jax.config.update("jax_enable_x64", True)

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]


class Net(nnx.Module):
    """Two convolutions with a tanh between them."""

    def __init__(self, dtype: str, rngs: nnx.Rngs) -> None:
        def conv(features_in: int, features_out: int, side: int) -> nnx.Conv:
            return nnx.Conv(features_in, features_out, (side, side), dtype=dtype, param_dtype=dtype, rngs=rngs)

        self.conv1 = conv(1, HIDDEN, KERNELS[0])
        self.conv2 = conv(HIDDEN, CLASSES, KERNELS[1])

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.conv2(jnp.tanh(self.conv1(images)))


def own_loss(label_smoothing: float, over_labelled: bool) -> LossFunction:
    """What optax's documentation leads to: smoothed rows, masked, then the mean of all pixels or of the labelled."""

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        one_hot = jax.nn.one_hot(labels, CLASSES, dtype=logits.dtype)
        targets = optax.smooth_labels(one_hot, label_smoothing)
        mask = labels < CLASSES
        losses = optax.softmax_cross_entropy(logits, targets) * mask
        return losses.mean(where=mask) if over_labelled else losses.mean()

    return loss


def make_loss(loss: str, setup: worker.Setup) -> LossFunction:
    if loss == worker.OURS:
        return lambda logits, labels: smoothed_cross_entropy(logits, labels, setup.spec)
    return own_loss(setup.label_smoothing, over_labelled=loss == worker.OWN_LABELLED)


class FlaxTrainer:
    """Trains with `nnx.value_and_grad` inside `nnx.jit`."""

    def __init__(self, setup: worker.Setup, job: worker.Job, state: State) -> None:
        loss_function = make_loss(job.loss, setup)
        self.net = Net(job.dtype, nnx.Rngs(0))
        self.optimizer = nnx.Optimizer(self.net, optax.sgd(setup.learning_rate, setup.momentum), wrt=nnx.Param)
        write(self.net, state.weights)
        write(self.trace, state.momentum)

        def loss_of(net: Net, images: jax.Array, labels: jax.Array) -> jax.Array:
            return loss_function(net(images), labels)

        def train_step(net: Net, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array):
            loss, gradients = nnx.value_and_grad(loss_of)(net, images, labels)
            optimizer.update(net, gradients)
            return loss

        self.loss_of = nnx.jit(loss_of)
        self.train_step = nnx.jit(train_step)

    @property
    def trace(self) -> nnx.State:
        """optax.sgd is a chain of trace (the momentum) and the learning rate's scale."""
        return self.optimizer.opt_state[0].trace

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.train_step(self.net, self.optimizer, images, labels))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.loss_of(self.net, images, labels))

    def state(self, step: int) -> State:
        return State(read(self.net), read(self.trace), step)


def write(tree: nnx.Module | nnx.State, arrays: Arrays) -> None:
    for name, variable in variables(tree).items():
        variable.set_value(jnp.asarray(arrays[name]))


def read(tree: nnx.Module | nnx.State) -> Arrays:
    return {name: np.asarray(variable.get_value()) for name, variable in variables(tree).items()}


def variables(tree: nnx.Module | nnx.State) -> dict[str, nnx.Variable]:
    """The neutral names are Flax's own paths; the kernels have its layout already."""
    flat = nnx.to_flat_state(nnx.state(tree))
    return {"/".join(path): variable for path, variable in flat}


if __name__ == "__main__":
    worker.main(FlaxTrainer)
