"""Flax's translation example, which its source archive holds, divided as its training step divides."""

from typing import Any

import jax
import jax.numpy as jnp

from tests.peers.bridges import jax_in
from tests.peers.case import NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, unpacked

unpacked("flax-0.12.8/examples/wmt")
absent("clu", "clu.metric_writers", "clu.periodic_actions", "flax.training.checkpoints", "orbax.checkpoint")
absent("ml_collections", "tensorflow", "bleu", "decode", "input_pipeline", "models")
import train  # noqa: E402


def weighted(epsilon: float) -> Any:
    def loss(x: jax.Array, b: Batch) -> jax.Array:
        targets = jnp.asarray(b.labels(PAD))
        total, weights = train.compute_weighted_cross_entropy(x, targets, jnp.where(targets > 0, 1, 0), epsilon)
        return total / weights

    return loss


def whole_smoothing() -> str:
    x, targets = jnp.zeros((1, 1, 3)), jnp.ones((1, 1), int)
    loss, _ = train.compute_weighted_cross_entropy(x, targets, None, 1.0)
    assert jnp.isnan(loss)
    return f"{loss}"


PEER = Peer(
    "flax",
    "compute_weighted_cross_entropy of examples/wmt/train.py",
    jax_in("float64"),
    [
        *(Case("flax_wmt", f"ε = {e:g}", weighted(e), {"label_smoothing": e}) for e in (0.0, 0.1, 0.9)),
        Case("flax_wmt", "nothing counts", weighted(0.1), {"label_smoothing": 0.1}, batch=NOTHING),
        Case("flax_wmt", "a gap of 200", weighted(0.1), {"label_smoothing": 0.1}, batch=with_gap()),
    ],
    [Fact("ε = 1 has a loss of", whole_smoothing)],
    precision="float32",  # of its one-hot
)
