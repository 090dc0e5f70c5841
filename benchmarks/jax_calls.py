"""JAX's contenders, jitted: value and gradient of a mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy

REFERENCE = "optax, one-hot"
Loss = Callable[[Array, Array, int], Array]


def one_hot(logits: Array, labels: Array, axis: int) -> Array:
    """optax's documentation: a one-hot, smoothed; the mean over the labels that count."""
    logits, counts = jnp.moveaxis(logits, axis, -1), labels != IGNORED
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), LABEL_SMOOTHING)
    return optax.softmax_cross_entropy(logits, targets).mean(where=counts)


def plain(logits: Array, labels: Array, axis: int) -> Array:
    """From its formula, with autodiff: lse less the label's logit and the mean logit."""
    logits, counts = jnp.moveaxis(logits, axis, -1), labels != IGNORED
    logits = logits.astype(jnp.float32)
    own = jnp.take_along_axis(logits, jnp.where(counts, labels, 0)[..., None], -1)[..., 0]
    dot = (1 - LABEL_SMOOTHING) * own + LABEL_SMOOTHING * logits.mean(-1)
    return (jax.nn.logsumexp(logits, -1) - dot).mean(where=counts)


def ours(logits: Array, labels: Array, axis: int) -> Array:
    return smoothed_cross_entropy(logits, labels, dialects.torch(LABEL_SMOOTHING, IGNORED), axis=axis)


LOSSES: dict[str, Loss] = {REFERENCE: one_hot, "logsumexp and gather": plain, "multismooth": ours}


def _compiled(shape: Shape) -> dict[str, Any]:
    given, labels = map(jnp.asarray, arrays(shape))
    logits = given.astype(shape.dtype)
    step = jax.value_and_grad(lambda loss, *batch: loss(*batch, shape.axis), argnums=1)
    lowered = {name: jax.jit(step, static_argnums=0).lower(loss, logits, labels) for name, loss in LOSSES.items()}
    return {name: (found.compile(), logits, labels) for name, found in lowered.items()}


def calls(shape: Shape) -> dict[str, Callable[[], Any]]:
    def call(step: Any, *batch: Array) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(step(*batch))

    return {name: call(*found) for name, found in _compiled(shape).items()}


def memory(shape: Shape) -> dict[str, float]:
    """Of each contender the gradient and the temporaries, in parts of the logits' bytes."""
    whole = shape.size * jnp.dtype(shape.dtype).itemsize
    found = {name: step.memory_analysis() for name, (step, *_) in _compiled(shape).items()}
    return {name: (of.output_size_in_bytes + of.temp_size_in_bytes) / whole for name, of in found.items()}
