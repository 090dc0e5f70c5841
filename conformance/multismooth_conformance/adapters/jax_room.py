"""``multismooth.jax``."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from multismooth import jax as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, spec_of


class JaxAdapter(RoomAdapter):
    """Op by op, and compiled. 64-bit types are on where the vector has any: without them JAX narrows its arguments."""

    name = "jax"
    modes = ("eager", "compiled")
    unread = ("compiled",)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        spec, wanted = spec_of(inputs.spec), inputs.differentiable()
        given = {name: array for name, array in inputs.arrays.items() if name not in wanted}

        def call(differentiable: dict[str, Any], given: dict[str, Any]) -> Any:
            return room.smoothed_cross_entropy(spec=spec, axis=inputs.axis, **differentiable, **given)

        def both(differentiable: Any, given: Any, cotangent: Any) -> Any:
            loss, pullback = jax.vjp(lambda arrays: call(arrays, given), differentiable)
            return loss, pullback(cotangent)[0]

        with jax.enable_x64(_has_64_bits(inputs)):
            differentiable = {name: inputs.arrays[name] for name in wanted}
            if mode == "compiled":
                loss, gradients = jax.jit(both)(differentiable, given, cotangent)
            else:
                call(differentiable, given)  # with every value at hand; what is differentiated cannot be read
                loss, gradients = both(differentiable, given, cotangent)
            return np.asarray(loss), {name: np.asarray(gradient) for name, gradient in gradients.items()}

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        with jax.enable_x64(_has_64_bits(inputs)):
            totals = room.smoothed_cross_entropy_totals(spec=spec_of(inputs.spec), axis=inputs.axis, **inputs.arrays)
            return {name: np.asarray(value) for name, value in totals._asdict().items()}


def _has_64_bits(inputs: Inputs) -> bool:
    return any(array.dtype.itemsize == 8 for array in inputs.arrays.values())


ADAPTER = JaxAdapter()
