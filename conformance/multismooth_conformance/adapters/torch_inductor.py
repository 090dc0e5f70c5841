"""``multismooth.torch`` through torch.compile's own code generator."""

from __future__ import annotations

from multismooth_conformance.adapters.torch_room import TorchAdapter


class InductorAdapter(TorchAdapter):
    name = "torch-inductor"
    modes = ("compiled",)
    slow = ()
    backend = "inductor"


ADAPTER = InductorAdapter()
