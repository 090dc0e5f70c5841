"""``multismooth.torch``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch

from multismooth import Spec
from multismooth import torch as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, spec_of

Call = Callable[[dict[str, torch.Tensor]], torch.Tensor]


class TorchAdapter(RoomAdapter):
    """Eager, and traced whole with aot_eager, which keeps the semantics of torch.compile and needs no compiler."""

    name = "torch"
    modes = ("eager", "compiled")
    unread = ("compiled",)
    backend = "aot_eager"

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        arrays = {name: tensor(array) for name, array in inputs.arrays.items()}
        wanted = inputs.differentiable()
        for name in wanted:
            arrays[name].requires_grad_()
        spec = spec_of(inputs.spec)

        def call(arrays: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.call(spec, inputs.axis, arrays)

        loss = self._compiled(call, arrays) if mode == "compiled" else call(arrays)
        gradients = torch.autograd.grad(
            loss, [arrays[name] for name in wanted], tensor(cotangent), allow_unused=True, materialize_grads=True
        )
        return numpy(loss), {name: numpy(g) for name, g in zip(wanted, gradients, strict=True)}

    def _compiled(self, call: Call, arrays: dict[str, torch.Tensor]) -> torch.Tensor:
        torch.compiler.reset()
        try:
            return torch.compile(call, backend=self.backend, fullgraph=True)(arrays)
        except torch._dynamo.exc.Unsupported:
            # A whole graph has no place for an error that is raised; without that demand the user sees it.
            torch.compile(call, backend=self.backend)(arrays)
            raise

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        arrays = {name: tensor(array) for name, array in inputs.arrays.items()}
        totals = room.smoothed_cross_entropy_totals(spec=spec_of(inputs.spec), axis=inputs.axis, **arrays)
        return {name: numpy(value) for name, value in totals._asdict().items()}


def tensor(array: Array) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.tensor(array)


def numpy(value: torch.Tensor) -> Array:
    value = value.detach()
    if value.dtype == torch.bfloat16:
        return value.float().numpy().astype(ml_dtypes.bfloat16)
    return value.numpy()


ADAPTER = TorchAdapter()
