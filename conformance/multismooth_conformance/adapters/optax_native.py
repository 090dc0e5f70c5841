"""``optax.softmax_cross_entropy`` of ``optax.smooth_labels``, a second judge of the vectors that it can express."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from multismooth import Spec
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.jax_room import JaxAdapter
from multismooth_conformance.adapters.rooms import plain_target


class OptaxAdapter(JaxAdapter):
    """One loss per position; sum and mean are the caller's, over all positions."""

    name = "optax-native"
    modes = ("compiled",)
    arguments = ()
    gradients = ("logits", "labels")
    refuses = False

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        if spec["reduction"] == "mean" and spec["denominator"] not in ("all", "valid"):
            return f"has no denominator {spec['denominator']}"
        if spec["ignore_index"] is not None:
            return "has no mask of positions"
        return plain_target(spec)

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        logits, labels = jnp.moveaxis(arrays["logits"], axis, -1), arrays["labels"]
        if jnp.issubdtype(labels.dtype, jnp.floating):
            target = jnp.moveaxis(labels, axis, -1)
        else:
            target = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        loss = optax.softmax_cross_entropy(logits, optax.smooth_labels(target, spec.label_smoothing))
        return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[spec.reduction]

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        labels = inputs.arrays["labels"]
        if np.issubdtype(labels.dtype, np.integer):
            # LLVM cannot compile jax.nn.one_hot of 16-bit labels on every CPU.
            inputs = inputs._replace(arrays=dict(inputs.arrays) | {"labels": labels.astype(np.int32)})
        return super().run(inputs, cotangent, mode)

    def totals(self, inputs: Any) -> None:
        return None


ADAPTER = OptaxAdapter()
