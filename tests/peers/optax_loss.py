"""optax: a smoothed one-hot, then the loss of each position."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tests.peers.bridges import jax_in
from tests.peers.case import CLASSES, Batch, Case, Fact, Peer, with_gap


def smoothed(epsilon: float) -> Any:
    def loss(x: jax.Array, b: Batch) -> jax.Array:
        one_hot = jax.nn.one_hot(b.y, CLASSES, dtype=x.dtype)
        return optax.softmax_cross_entropy(x, optax.smooth_labels(one_hot, epsilon))

    return loss


def by_index(x: jax.Array, b: Batch) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(b.y))


def out_of_range() -> str:
    x = jnp.arange(float(CLASSES))
    losses = [float(optax.softmax_cross_entropy_with_integer_labels(x, jnp.array(y))) for y in (-1, 6, 7)]
    gradient = jax.grad(lambda x: optax.softmax_cross_entropy_with_integer_labels(x, jnp.array(7)))(x)
    assert losses[0] == losses[1]
    assert jnp.isnan(losses[2])
    assert jnp.isfinite(gradient).all()
    return f"K = 7: label −1 {losses[0]:.6f}, label 6 {losses[1]:.6f}, label 7 {losses[2]} with a finite gradient"


PEER = Peer(
    "optax",
    "optax.softmax_cross_entropy, smooth_labels",
    jax_in("float64"),
    [
        *(Case("optax", f"ε = {e:g}", smoothed(e), {"label_smoothing": e}) for e in (0.0, 0.1, 1.0)),
        Case("optax", "ε = 0, integer labels", by_index),
        Case("optax", "a gap of 200", smoothed(0.1), {"label_smoothing": 0.1}, batch=with_gap()),
    ],
    [Fact("a negative label counts from the end, and one too large gives a NaN with a gradient", out_of_range)],
)
