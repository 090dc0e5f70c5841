"""``multismooth.keras`` on its torch backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from multismooth_conformance.adapters.keras_loss import KerasCall
from multismooth_conformance.adapters.torch_room import TorchAdapter


class KerasOnTorchAdapter(KerasCall, TorchAdapter):
    name = "keras-torch"
    modes = ("eager", "mixed-precision", "unreduced")
    slow = modes[1:]


ADAPTER = KerasOnTorchAdapter()
