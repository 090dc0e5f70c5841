"""``multismooth.keras.SmoothedCrossEntropy`` on the active Keras backend: masks of Keras, sample weights, dtype."""

from __future__ import annotations

from typing import Any

import keras
from keras.src.backend import set_keras_mask

from multismooth import Spec
from multismooth.keras import SmoothedCrossEntropy
from multismooth_conformance.adapter import Array, Inputs

ARGUMENTS = ("where", "sample_weight")


class KerasCall:
    """The loss as Keras calls it; mixed into the adapter of the backend."""

    arguments = ARGUMENTS

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        if mode != "mixed-precision":
            return super().run(inputs, cotangent, mode)
        # A policy for layers, which a loss with a dtype of its own does not heed.
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            return super().run(inputs, cotangent, mode)
        finally:
            keras.config.set_dtype_policy(before)

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        logits = keras.ops.convert_to_tensor(arrays["logits"])
        if "where" in arrays:
            set_keras_mask(logits, arrays["where"])
        dtype = "float64" if keras.backend.standardize_dtype(logits.dtype) == "float64" else "float32"
        loss = SmoothedCrossEntropy(spec=spec, axis=axis, dtype=dtype)
        return loss(arrays["labels"], logits, arrays.get("sample_weight"))
