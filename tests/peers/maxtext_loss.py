"""MaxText's loss of each position, masked and divided as its training step does."""

from itertools import product
from typing import Any

import jax

from multismooth import Spec
from tests.peers.bridges import jax_in
from tests.peers.case import BATCH, CLASSES, NOTHING, Batch, Case, Peer, with_gap
from tests.peers.partly import absent, unpacked, without_init

unpacked("maxtext-0.2.5")
without_init("maxtext", "maxtext", "maxtext.utils", "maxtext.common")
absent("maxtext.utils.elastic_utils", "maxtext.utils.max_logging", "maxtext.common.gcloud_stub")
absent("maxtext.common.common_types", "psutil", "etils", "flax", "flax.core", "flax.core.spmd")
absent("orbax", "orbax.checkpoint", "orbax.checkpoint.experimental", "orbax.checkpoint.experimental.emergency")
absent("orbax.checkpoint.experimental.emergency.multi_tier_checkpointing")
from maxtext.utils.max_utils import cross_entropy_with_logits  # noqa: E402


def mean(z_loss: float) -> Any:
    def loss(x: jax.Array, b: Batch) -> jax.Array:
        xent, _ = cross_entropy_with_logits(x, jax.nn.one_hot(b.y, CLASSES, dtype=x.dtype), z_loss)
        return (xent * b.mask).sum() / (b.mask.sum() + 1e-8)

    return loss


CASES = [
    Case(
        "maxtext",
        name + ", z-loss" * bool(z_loss),
        mean(z_loss),
        {"z_loss": z_loss},
        {"where": "mask"},
        batch,
        Spec(z_loss=z_loss),
        1e-8,
    )
    for z_loss, (name, batch) in product(
        (0.0, 0.0078125), {"as it is": BATCH, "nothing counts": NOTHING, "a gap of 200": with_gap()}.items()
    )
]

PEER = Peer("maxtext", "maxtext.utils.max_utils.cross_entropy_with_logits", jax_in("float64"), CASES)
