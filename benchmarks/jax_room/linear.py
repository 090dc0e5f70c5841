"""JAX's linear layers with their loss: forward alone, or with the gradients to hidden states and kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from shapes import Linear, linear_arrays

from jax_room.call import Call
from jax_room.losses import SPEC, one_hot, plain
from jax_room.losses import ours as loss_of_logits
from multismooth.jax import linear_smoothed_cross_entropy

REFERENCE = "matmul and optax, one-hot"
CORE = (REFERENCE, "multismooth, linear")


def contenders(shape: Linear, part: str) -> dict[str, Call]:
    *given, labels = map(jnp.asarray, linear_arrays(shape))
    hidden, kernel = (array.astype(shape.dtype) for array in given)

    def unfused(loss: Callable[..., Array]) -> Callable[..., Array]:
        return lambda hidden, kernel, labels: loss(hidden @ kernel, labels, shape.logits)

    losses = {
        REFERENCE: unfused(one_hot),
        "matmul, logsumexp and gather": unfused(plain),
        "matmul and multismooth": unfused(loss_of_logits),
        "multismooth, linear": lambda *batch: linear_smoothed_cross_entropy(*batch, SPEC),
        "multismooth, linear, 64 rows": lambda *batch: linear_smoothed_cross_entropy(*batch, SPEC, rows=64),
    }

    def step(loss: Callable[..., Array]) -> Callable[..., Any]:
        return jax.value_and_grad(loss, argnums=(0, 1)) if part == "gradient" else lambda *batch: (loss(*batch),)

    return {name: Call(step(loss), hidden, kernel, labels) for name, loss in losses.items()}
