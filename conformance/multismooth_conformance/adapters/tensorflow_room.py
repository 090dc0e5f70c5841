"""``multismooth.tensorflow``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from multismooth import Spec
from multismooth import tensorflow as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, accumulated, cuts, same_bits, spec_of, split

Tensors = dict[str, tf.Tensor]


class TensorFlowAdapter(RoomAdapter):
    """Eager, as a tf.function, and compiled with XLA."""

    name = "tensorflow"
    modes: tuple[str, ...] = (
        "eager",
        "compiled",
        "xla",
        "vectorized",
        "checkpointed",
        "second-backward",
        "accumulated",
        "unreduced",
    )
    slow = modes[1:]
    unread = ("compiled", "xla", "vectorized")

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        if spec["linear"] and spec["mode"] == "vectorized" and spec["dtype"] in ("float16", "bfloat16"):
            return "is derived by TensorFlow itself past its own gradient, and rounds the products to half precision"
        return super().supports(spec)

    def call(self, spec: Spec, axis: int, arrays: Tensors) -> tf.Tensor:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def call_linear(self, spec: Spec, numbers: Mapping[str, float], arrays: Tensors) -> tf.Tensor:
        return room.linear_smoothed_cross_entropy(spec=spec, **arrays, **numbers)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        wanted = inputs.differentiable()

        def both(arrays: Tensors, cotangent: tf.Tensor) -> Any:
            watched = [arrays[name] for name in wanted]
            with tf.GradientTape(persistent=mode == "second-backward") as tape:
                tape.watch(watched)
                loss = self._loss(inputs, arrays, mode)
            pullback = partial(tape.gradient, loss, watched, cotangent, unconnected_gradients="zero")
            gradients = [tf.convert_to_tensor(gradient) for gradient in pullback()]
            if mode == "second-backward":
                for one, other in zip(gradients, pullback(), strict=True):
                    same_bits(one, tf.convert_to_tensor(other))
            return loss, gradients

        is_function = mode in ("compiled", "xla")
        run = tf.function(both, jit_compile=mode == "xla", autograph=False) if is_function else both
        loss, gradients = run(tensors(inputs), tf.constant(cotangent))
        return loss.numpy(), {name: gradient.numpy() for name, gradient in zip(wanted, gradients, strict=True)}

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        return self.run(inputs, cotangent, mode)

    def _loss(self, inputs: Inputs, arrays: Tensors, mode: str) -> tf.Tensor:
        spec, axis = spec_of(inputs.spec), inputs.axis
        call = partial(self.call_linear, spec, inputs.numbers) if inputs.linear else partial(self.call, spec, axis)
        match mode:
            case "vectorized":
                # Beside a call with other logits, which may be +inf.
                negated = ("logits", "hidden")
                other = {name: tf.stop_gradient(-x if name in negated else x) for name, x in arrays.items()}
                return tf.vectorized_map(call, {name: tf.stack([x, other[name]]) for name, x in arrays.items()})[0]
            case "checkpointed":
                return tf.recompute_grad(lambda *given: call(dict(zip(arrays, given, strict=True))))(*arrays.values())
            case "accumulated":
                totals = partial(self._totals, spec, axis)
                parts = split(arrays, axis, cuts(inputs))
                return accumulated(spec, parts, call, totals, partial(tf.concat, axis=0))
            case _:
                return call(arrays)

    def _totals(self, spec: Spec, axis: int, arrays: Tensors) -> Any:
        return room.smoothed_cross_entropy_totals(spec=spec, axis=axis, **arrays)

    def totals(self, inputs: Inputs) -> dict[str, Array] | None:
        totals = self._totals(spec_of(inputs.spec), inputs.axis, tensors(inputs))
        return {name: np.asarray(value) for name, value in totals._asdict().items()}

    def hvp(self, inputs: Inputs, cotangent: Array, tangent: Array) -> Array | None:
        """The gradient of the gradient's product with the tangent."""
        arrays = tensors(inputs)
        logits = arrays["logits"]
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                loss = self.call(spec_of(inputs.spec), inputs.axis, arrays)
            gradient = inner.gradient(loss, logits, tf.constant(cotangent))
        return outer.gradient(gradient, logits, tf.constant(tangent, logits.dtype)).numpy()


def tensors(inputs: Inputs) -> Tensors:
    return {name: tf.constant(array) for name, array in inputs.arrays.items()}


ADAPTER = TensorFlowAdapter()
