"""JAX's losses: the mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras_losses
import optax
from jax import Array
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays

from jax_room.call import Call, Eager
from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy

REFERENCE = "optax, one-hot"
CORE = (REFERENCE, "logsumexp and gather", "multismooth", "multismooth.keras", "floor")
GROWING = (REFERENCE, "multismooth")
SPEC = dialects.torch(LABEL_SMOOTHING, IGNORED)
Loss = Callable[[Array, Array, Shape], Array]


def one_hot(logits: Array, labels: Array, shape: Shape) -> Array:
    """optax's documentation: a one-hot, smoothed."""
    logits, counts = jnp.moveaxis(logits, shape.axis, -1), labels != IGNORED
    targets = optax.smooth_labels(jax.nn.one_hot(labels, shape.classes), LABEL_SMOOTHING)
    return optax.softmax_cross_entropy(logits, targets).mean(where=counts)


def plain(logits: Array, labels: Array, shape: Shape) -> Array:
    """From its formula: lse less the label's logit and the mean logit."""
    logits, counts = jnp.moveaxis(logits, shape.axis, -1), labels != IGNORED
    logits = logits.astype(jnp.float32)
    own = jnp.take_along_axis(logits, jnp.where(counts, labels, 0)[..., None], -1)[..., 0]
    dot = (1 - LABEL_SMOOTHING) * own + LABEL_SMOOTHING * logits.mean(-1)
    return (jax.nn.logsumexp(logits, -1) - dot).mean(where=counts)


def ours(logits: Array, labels: Array, shape: Shape) -> Array:
    return smoothed_cross_entropy(logits, labels, SPEC, axis=shape.axis)


LOSSES: dict[str, Loss] = {
    REFERENCE: one_hot,
    "logsumexp and gather": plain,
    "Keras on JAX": keras_losses.own,
    "multismooth": ours,
    "multismooth.keras": keras_losses.ours,
}


def contenders(shape: Shape, part: str) -> dict[str, Any]:
    """Forward alone, or with the gradient."""
    given, labels = map(jnp.asarray, arrays(shape))
    logits = given.astype(shape.dtype)

    def step(loss: Loss) -> Callable[..., Any]:
        def value(logits: Array, labels: Array) -> Array:
            return loss(logits, labels, shape)

        return jax.value_and_grad(value) if part == "gradient" else lambda *batch: (value(*batch),)

    read, twice = jax.jit(jnp.sum), jax.jit(lambda logits: logits * 2)

    def floor(logits: Array, labels: Array) -> Any:
        jax.block_until_ready(read(logits))
        return (None, twice(logits)) if part == "gradient" else (None,)

    return {
        **{name: Call(step(loss), logits, labels) for name, loss in LOSSES.items()},
        "multismooth, not jitted": Eager(step(ours), logits, labels),
        "floor": Eager(floor, logits, labels),
    }
