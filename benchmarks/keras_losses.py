"""Keras's own loss and ours in Keras, on whichever backend ``KERAS_BACKEND`` names."""

from __future__ import annotations

from typing import Any

import keras
from shapes import IGNORED, LABEL_SMOOTHING, Shape

from multismooth import dialects
from multismooth.keras import SmoothedCrossEntropy


def own(logits: Any, labels: Any, shape: Shape) -> Any:
    """One-hot labels, which is what Keras smooths; the mask as sample weights, and the mean over them.

    The classes are moved to the last axis: for another ``axis`` Keras divides ε by the length of the last one.
    """
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=LABEL_SMOOTHING, reduction="mean_with_sample_weight"
    )
    counts = labels != IGNORED
    one_hot = keras.ops.one_hot(keras.ops.where(counts, labels, 0), shape.classes, dtype=shape.dtype)
    logits = keras.ops.moveaxis(logits, shape.axis, -1)
    return loss(one_hot, logits, sample_weight=keras.ops.cast(counts, shape.dtype))


def ours(logits: Any, labels: Any, shape: Shape) -> Any:
    return SmoothedCrossEntropy(spec=dialects.torch(LABEL_SMOOTHING, IGNORED), axis=shape.axis)(labels, logits)
