"""tokamax's linear loss, with an identity in the place of the head. It has no smoothing and no mask."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import tokamax

from multismooth import Spec
from tests.peers.bridges import jax_in
from tests.peers.case import BATCH, CLASSES, Batch, Case, Peer, with_gap


def linear(reduction: str, implementation: str | None = "xla") -> Any:
    def loss(x: jax.Array, b: Batch) -> jax.Array:
        return tokamax.linear_softmax_cross_entropy_loss(
            x.reshape(-1, CLASSES),
            jnp.asarray(b.y.ravel()),
            jnp.eye(CLASSES, dtype=x.dtype),
            reduction=reduction,
            implementation=implementation,
        )

    return loss


CASES = [
    Case(
        "tokamax",
        f"{reduction}, {name}",
        linear(reduction),
        {"reduction": reduction},
        batch=batch,
        spec=Spec(reduction=reduction, denominator="all"),
    )
    for reduction, (name, batch) in product(("sum", "mean"), {"as it is": BATCH, "a gap of 200": with_gap()}.items())
]

PEER = Peer("tokamax", "tokamax.linear_softmax_cross_entropy_loss", jax_in("float32"), CASES, precision="float32")
