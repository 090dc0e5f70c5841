"""The functions of the room that belongs to the active Keras backend."""

from __future__ import annotations

from importlib import import_module

import keras

BACKENDS = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in BACKENDS:
    raise ImportError(
        f"multismooth.keras runs on the backends {', '.join(BACKENDS)}, and the active one is "
        f"{keras.backend.backend()}: set KERAS_BACKEND before Keras is imported"
    )

_room = import_module(f"multismooth.{keras.backend.backend()}")
smoothed_cross_entropy = _room.smoothed_cross_entropy
smoothed_cross_entropy_totals = _room.smoothed_cross_entropy_totals
linear_smoothed_cross_entropy = _room.linear_smoothed_cross_entropy
