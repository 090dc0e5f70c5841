"""A whole training step in JAX with Flax NNX, with optax's loss and with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from shapes import Training
from text import BYTES, allowed, batches
from training import BLOCKS, LEARNING_RATE, MOMENTUM, SEED, TAPS, WIDTH

from multismooth import Spec
from multismooth.jax import linear_smoothed_cross_entropy, smoothed_cross_entropy

REFERENCE = "optax"
Loss = Callable[[Array, Array, Array], Array]


class Model(nnx.Module):
    """Bytes [rows, length] to hidden states [rows, length, width]; the head is the loss's to apply."""

    def __init__(self, classes: int) -> None:
        rngs = nnx.Rngs(SEED)
        self.embedding = nnx.Embed(BYTES, WIDTH, rngs=rngs)
        self.blocks = nnx.List([nnx.Conv(WIDTH, WIDTH, TAPS, padding="CAUSAL", rngs=rngs) for _ in range(BLOCKS)])
        self.head = nnx.Linear(WIDTH, classes, use_bias=False, rngs=rngs)

    def __call__(self, given: Array) -> Array:
        x = self.embedding(given)
        for block in self.blocks:
            x = x + jax.nn.gelu(block(x))
        return x


class Run:
    """One step at each call, compiled whole, the old parameters' memory given to the new ones."""

    def __init__(self, shape: Training, loss: Loss) -> None:
        structure, parameters = nnx.split(Model(shape.classes))
        optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
        self.state = parameters, optimizer.init(parameters)
        self.batches, self.losses = batches(shape), []

        def value(parameters: Any, given: Array, following: Array) -> Array:
            model = nnx.merge(structure, parameters)
            return loss(model(given), model.head.kernel[...], following)

        def step(state: Any, given: Array, following: Array) -> tuple[Any, Array]:
            parameters, momenta = state
            found, gradients = jax.value_and_grad(value)(parameters, given, following)
            updates, momenta = optimizer.update(gradients, momenta, parameters)
            return (optax.apply_updates(parameters, updates), momenta), found

        lowered = jax.jit(step, donate_argnums=0).lower(self.state, *map(jnp.asarray, next(batches(shape))))
        self.step = lowered.compile()

    def __call__(self) -> Any:
        self.state, loss = self.step(self.state, *map(jnp.asarray, next(self.batches)))
        self.losses.append(float(loss))
        return (loss,)

    def peak(self) -> int:
        """What the compiler has planned beside the parameters."""
        plan = self.step.memory_analysis()
        return plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes


def contenders(shape: Training, part: str) -> dict[str, Run]:
    exists = jnp.asarray(allowed(shape))

    def theirs(hidden: Array, kernel: Array, labels: Array) -> Array:
        logits = jnp.where(exists, hidden @ kernel, -jnp.inf)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def ours(hidden: Array, kernel: Array, labels: Array) -> Array:
        return smoothed_cross_entropy(hidden @ kernel, labels, Spec(), allowed=exists)

    def linear(hidden: Array, kernel: Array, labels: Array) -> Array:
        return linear_smoothed_cross_entropy(hidden, kernel, labels, Spec(), allowed=exists)

    losses = {REFERENCE: theirs, "multismooth": ours, "multismooth, linear": linear}
    return {name: Run(shape, loss) for name, loss in losses.items()}
