"""``multismooth.numpy``. Its arithmetic is float64 throughout; its results are rounded to the vector's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from multismooth import numpy as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, spec_of
from multismooth_conformance.tolerances import compute_dtype


class ReferenceAdapter(RoomAdapter):
    name = "reference"
    gradients = ("logits",)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        call: dict[str, Any] = {"spec": spec_of(inputs.spec), "axis": inputs.axis, **inputs.arrays}
        logits = inputs.arrays["logits"].dtype
        loss = room.smoothed_cross_entropy(**call)
        gradient = room.smoothed_cross_entropy_vjp(cotangent, **call)
        return np.asarray(loss, compute_dtype(str(logits))), {"logits": gradient.astype(logits)}

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        call: dict[str, Any] = {"spec": spec_of(inputs.spec), "axis": inputs.axis, **inputs.arrays}
        return room.smoothed_cross_entropy_totals(**call)._asdict()


ADAPTER = ReferenceAdapter()
