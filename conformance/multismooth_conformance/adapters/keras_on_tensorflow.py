"""``multismooth.keras`` on its tensorflow backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from multismooth_conformance.adapters.keras_loss import KerasCall
from multismooth_conformance.adapters.tensorflow_room import TensorFlowAdapter


class KerasOnTensorFlowAdapter(KerasCall, TensorFlowAdapter):
    name = "keras-tensorflow"
    modes = ("eager", "compiled", "mixed-precision", "unreduced")
    slow = modes[1:]


ADAPTER = KerasOnTensorFlowAdapter()
