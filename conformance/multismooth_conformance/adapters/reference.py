"""``multismooth.numpy``. Its arithmetic is float64 throughout; its results are rounded to the vector's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from multismooth import numpy as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, accumulated, cuts, spec_of, split
from multismooth_conformance.tolerances import compute_dtype


class ReferenceAdapter(RoomAdapter):
    name = "reference"
    modes = ("eager", "noncontiguous", "accumulated", "unreduced")
    gradients: tuple[str, ...] = ("logits",)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        if mode == "noncontiguous":
            inputs = strided(inputs)
        run = self._accumulated if mode == "accumulated" else self._whole
        loss, gradient = run(inputs, cotangent)
        logits = inputs.arrays["logits"].dtype
        return np.asarray(loss, compute_dtype(str(logits))), {"logits": gradient.astype(logits)}

    def _whole(self, inputs: Inputs, cotangent: Array) -> tuple[Array, Array]:
        call: dict[str, Any] = {"spec": spec_of(inputs.spec), "axis": inputs.axis, **inputs.arrays}
        return room.smoothed_cross_entropy(**call), room.smoothed_cross_entropy_vjp(cotangent, **call)

    def _accumulated(self, inputs: Inputs, cotangent: Array) -> tuple[Array, Array]:
        """The gradient of a part is that of a loss divided by the whole batch's weight."""
        spec, axis, ends = spec_of(inputs.spec), inputs.axis, cuts(inputs)

        def bound(function: Any) -> Any:
            return lambda part: function(**part, spec=spec, axis=axis)

        call, totals = bound(room.smoothed_cross_entropy), bound(room.smoothed_cross_entropy_totals)
        parts = split(inputs.arrays, axis, ends)
        loss = accumulated(spec, parts, call, totals, np.concatenate)
        if spec.reduction == "mean" and "normalizer" not in inputs.arrays:
            weight = sum(totals(part).weight for part in parts)
            parts = [part | {"normalizer": weight} for part in parts]
        if spec.reduction == "none":
            parts = split({**inputs.arrays, "cotangent": cotangent}, axis, ends)
        vjp = bound(room.smoothed_cross_entropy_vjp)
        gradients = [vjp({"cotangent": cotangent} | part) for part in parts]
        return loss, np.concatenate(gradients, int(inputs.class_axis == 0))

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        if mode == "noncontiguous":
            inputs = strided(inputs)
        call: dict[str, Any] = {"spec": spec_of(inputs.spec), **inputs.arrays, **inputs.numbers}
        loss = room.linear_smoothed_cross_entropy(**call)
        gradients = room.linear_smoothed_cross_entropy_vjp(cotangent, **call)._asdict()
        name, _ = inputs.logits
        return np.asarray(loss, compute_dtype(name)), {
            name: gradient.astype(inputs.arrays[name].dtype)
            for name, gradient in gradients.items()
            if gradient is not None
        }

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        call: dict[str, Any] = {"spec": spec_of(inputs.spec), "axis": inputs.axis, **inputs.arrays}
        return room.smoothed_cross_entropy_totals(**call)._asdict()


def strided(inputs: Inputs) -> Inputs:
    """The same numbers, every other one of what lies in memory."""
    return inputs._replace(arrays={name: np.stack([a, a], -1)[..., 0] for name, a in inputs.arrays.items()})


ADAPTER = ReferenceAdapter()
