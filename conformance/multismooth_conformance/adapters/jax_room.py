"""``multismooth.jax``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from multismooth import Spec
from multismooth import jax as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, accumulated, cuts, same_bits, spec_of, split

Arrays = dict[str, Any]
Call = Callable[[Arrays], Any]
Numbers = tuple[tuple[str, float], ...] | None
"""What the linear loss takes beside arrays; None for the other."""


class JaxAdapter(RoomAdapter):
    """Compiled, and op by op. 64-bit types are on where the vector has any, for without them JAX narrows them."""

    name = "jax"
    modes: tuple[str, ...] = (
        "compiled",
        "eager",
        "vmapped",
        "checkpointed",
        "second-backward",
        "accumulated",
        "unreduced",
    )
    slow: tuple[str, ...] = modes[1:]
    unread = ("compiled", "vmapped", "checkpointed", "second-backward", "accumulated")

    def call(self, spec: Spec, axis: int, arrays: Arrays) -> Any:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def call_linear(self, spec: Spec, numbers: dict[str, float], arrays: Arrays) -> Any:
        return room.linear_smoothed_cross_entropy(spec=spec, **arrays, **numbers)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        return self._run(inputs, cotangent, mode)

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        return self._run(inputs, cotangent, mode)

    def _run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        wanted = inputs.differentiable()
        differentiable = {name: inputs.arrays[name] for name in wanted}
        given = {name: array for name, array in inputs.arrays.items() if name not in wanted}
        ends = cuts(inputs) if mode == "accumulated" else ()
        numbers = tuple(inputs.numbers.items()) if inputs.linear else None
        both = self._both(json.dumps(dict(inputs.spec)), inputs.axis, mode, ends, numbers)
        with jax.enable_x64(_has_64_bits(inputs)):
            loss, *pulled = both(differentiable, given, cotangent)
            for gradients in pulled[1:]:
                jax.tree.map(same_bits, pulled[0], gradients)
            if mode == "eager" and np.isnan(loss).any():
                # What is being differentiated cannot be read. With every value at hand a bad one is refused.
                self._call(spec_of(inputs.spec), inputs.axis, numbers)(dict(inputs.arrays))
            return np.asarray(loss), {name: np.asarray(gradient) for name, gradient in pulled[0].items()}

    @lru_cache(maxsize=100)  # noqa: B019  # one adapter lives as long as the process
    def _both(self, spec: str, axis: int, mode: str, ends: tuple[int, ...], numbers: Numbers) -> Callable[..., Any]:
        """Loss and gradients of a call."""
        call = self._call(Spec.from_json(spec), axis, numbers)
        match mode:
            case "eager":
                return _pulled_back(call)
            case "vmapped":
                return jax.jit(_pulled_back(partial(_beside_another, call)))
            case "checkpointed":
                return jax.jit(_pulled_back(jax.checkpoint(call)))
            case "second-backward":
                return _pulled_back(jax.jit(call), times=2)
            case "accumulated":
                return jax.jit(_pulled_back(partial(self._accumulated, Spec.from_json(spec), axis, ends)))
            case _:
                return jax.jit(_pulled_back(call))

    def _call(self, spec: Spec, axis: int, numbers: Numbers) -> Call:
        return partial(self.call, spec, axis) if numbers is None else partial(self.call_linear, spec, dict(numbers))

    def _accumulated(self, spec: Spec, axis: int, ends: tuple[int, ...], arrays: Arrays) -> Any:
        call, totals = partial(self.call, spec, axis), partial(self._totals, spec, axis)
        return accumulated(spec, split(arrays, axis, ends), call, totals, jnp.concatenate)

    def _totals(self, spec: Spec, axis: int, arrays: Arrays) -> Any:
        return room.smoothed_cross_entropy_totals(spec=spec, axis=axis, **arrays)

    def totals(self, inputs: Inputs) -> dict[str, Array] | None:
        with jax.enable_x64(_has_64_bits(inputs)):
            totals = jax.jit(partial(self._totals, spec_of(inputs.spec), inputs.axis))(dict(inputs.arrays))
            return {name: np.asarray(value) for name, value in totals._asdict().items()}

    def hvp(self, inputs: Inputs, cotangent: Array, tangent: Array) -> Array | None:
        """Forward mode over reverse mode."""
        call, logits = partial(self.call, spec_of(inputs.spec), inputs.axis), inputs.arrays["logits"]

        def gradient(logits: Any) -> Any:
            _, pullback = jax.vjp(lambda x: call(dict(inputs.arrays) | {"logits": x}), logits)
            return pullback(cotangent)[0]

        with jax.enable_x64(_has_64_bits(inputs)):
            return np.asarray(jax.jit(partial(jax.jvp, gradient))((logits,), (tangent.astype(logits.dtype),))[1])


def _pulled_back(call: Call, times: int = 1) -> Callable[..., Any]:
    """The loss, and its gradients as many times as asked."""

    def run(differentiable: Arrays, given: Arrays, cotangent: Any) -> Any:
        loss, pullback = jax.vjp(lambda arrays: call(arrays | given), differentiable)
        return loss, *(pullback(cotangent)[0] for _ in range(times))

    return run


def _beside_another(call: Call, arrays: Arrays) -> Any:
    """The first of two calls in one; the other has other logits or hidden states, which may be +inf."""
    name = "hidden" if "hidden" in arrays else "logits"
    other = jax.lax.stop_gradient(arrays | {name: -arrays[name]})
    return jax.vmap(call)({name: jnp.stack([array, other[name]]) for name, array in arrays.items()})[0]


def _has_64_bits(inputs: Inputs) -> bool:
    return any(array.dtype.itemsize == 8 for array in inputs.arrays.values())


ADAPTER = JaxAdapter()
