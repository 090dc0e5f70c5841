"""``multismooth.keras`` on its jax backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

from multismooth_conformance.adapters.jax_room import JaxAdapter
from multismooth_conformance.adapters.keras_loss import KerasCall


class KerasOnJaxAdapter(KerasCall, JaxAdapter):
    name = "keras-jax"
    modes = ("compiled", "mixed-precision", "unreduced")
    slow = modes
    unread = ("compiled", "mixed-precision")


ADAPTER = KerasOnJaxAdapter()
