"""``multismooth.jax``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

from multismooth import Spec
from multismooth import jax as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, spec_of


class JaxAdapter(RoomAdapter):
    """Compiled, and op by op. 64-bit types are on where the vector has any, for without them JAX narrows them."""

    name = "jax"
    modes: tuple[str, ...] = ("compiled", "eager")
    unread = ("compiled",)

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        wanted = inputs.differentiable()
        differentiable = {name: inputs.arrays[name] for name in wanted}
        given = {name: array for name, array in inputs.arrays.items() if name not in wanted}
        both = self._both(json.dumps(dict(inputs.spec)), inputs.axis, mode == "compiled")
        with jax.enable_x64(_has_64_bits(inputs)):
            loss, gradients = both(differentiable, given, cotangent)
            if mode == "eager" and np.isnan(loss).any():
                # What is being differentiated cannot be read. With every value at hand a bad one is refused.
                self.call(spec_of(inputs.spec), inputs.axis, dict(inputs.arrays))
            return np.asarray(loss), {name: np.asarray(gradient) for name, gradient in gradients.items()}

    @cache  # noqa: B019  # one adapter lives as long as the process, and a compiled function is worth keeping
    def _both(self, spec: str, axis: int, compiled: bool) -> Callable[..., Any]:
        """Loss and gradients of a call."""

        def both(differentiable: dict[str, Any], given: dict[str, Any], cotangent: Any) -> Any:
            def call(arrays: dict[str, Any]) -> Any:
                return self.call(Spec.from_json(spec), axis, arrays | given)

            loss, pullback = jax.vjp(call, differentiable)
            return loss, pullback(cotangent)[0]

        return jax.jit(both) if compiled else both

    def totals(self, inputs: Inputs) -> dict[str, Array] | None:
        with jax.enable_x64(_has_64_bits(inputs)):
            totals = room.smoothed_cross_entropy_totals(spec=spec_of(inputs.spec), axis=inputs.axis, **inputs.arrays)
            return {name: np.asarray(value) for name, value in totals._asdict().items()}


def _has_64_bits(inputs: Inputs) -> bool:
    return any(array.dtype.itemsize == 8 for array in inputs.arrays.values())


ADAPTER = JaxAdapter()
