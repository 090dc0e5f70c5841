"""``multismooth.tensorflow``."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from multismooth import Spec
from multismooth import tensorflow as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, spec_of


class TensorFlowAdapter(RoomAdapter):
    """Eager, as a tf.function, and compiled with XLA."""

    name = "tensorflow"
    modes = ("eager", "compiled", "xla")
    unread = ("compiled", "xla")

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        spec, wanted = spec_of(inputs.spec), inputs.differentiable()

        def both(arrays: dict[str, tf.Tensor], cotangent: tf.Tensor) -> Any:
            watched = [arrays[name] for name in wanted]
            with tf.GradientTape() as tape:
                tape.watch(watched)
                loss = self.call(spec, inputs.axis, arrays)
            gradients = tape.gradient(loss, watched, cotangent, unconnected_gradients="zero")
            return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

        run = both if mode == "eager" else tf.function(both, jit_compile=mode == "xla", autograph=False)
        arrays = {name: tf.constant(array) for name, array in inputs.arrays.items()}
        loss, gradients = run(arrays, tf.constant(cotangent))
        return loss.numpy(), {name: gradient.numpy() for name, gradient in zip(wanted, gradients, strict=True)}

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        totals = room.smoothed_cross_entropy_totals(spec=spec_of(inputs.spec), axis=inputs.axis, **inputs.arrays)
        return {name: np.asarray(value) for name, value in totals._asdict().items()}


ADAPTER = TensorFlowAdapter()
