"""``multismooth.keras.SmoothedCrossEntropy`` on the active Keras backend: masks of Keras, sample weights, dtype."""

from __future__ import annotations

from typing import Any

import keras
from keras.src.backend import set_keras_mask

from multismooth import Spec
from multismooth.keras import SmoothedCrossEntropy

ARGUMENTS = ("where", "sample_weight")


class KerasCall:
    """The loss as Keras calls it; mixed into the adapter of the backend."""

    arguments = ARGUMENTS

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        logits = keras.ops.convert_to_tensor(arrays["logits"])
        if "where" in arrays:
            set_keras_mask(logits, arrays["where"])
        dtype = "float64" if keras.backend.standardize_dtype(logits.dtype) == "float64" else "float32"
        loss = SmoothedCrossEntropy(spec=spec, axis=axis, dtype=dtype)
        return loss(arrays["labels"], logits, arrays.get("sample_weight"))
