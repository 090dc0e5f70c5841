"""``multismooth.torch``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from multismooth import Spec
from multismooth import torch as room
from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.adapters.rooms import RoomAdapter, accumulated, cuts, same_bits, spec_of, split

Tensors = dict[str, torch.Tensor]
Call = Callable[[Tensors], torch.Tensor]


class TorchAdapter(RoomAdapter):
    """Compiled is traced whole with aot_eager, which keeps the semantics of torch.compile and needs no compiler."""

    name = "torch"
    modes = (
        "eager",
        "compiled",
        "vmapped",
        "noncontiguous",
        "channels-last",
        "autocast",
        "checkpointed",
        "second-backward",
        "accumulated",
        "unreduced",
    )
    slow = modes[1:]
    unread = ("compiled", "vmapped")
    backend = "aot_eager"

    def call(self, spec: Spec, axis: int, arrays: Tensors) -> torch.Tensor:
        return room.smoothed_cross_entropy(spec=spec, axis=axis, **arrays)

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        if spec["linear"] and spec["mode"] == "autocast":
            return "has bfloat16 logits there"
        return super().supports(spec)

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        return self._gradients(partial(self.call, spec_of(inputs.spec), inputs.axis), inputs, cotangent, mode)

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        spec, numbers = spec_of(inputs.spec), inputs.numbers

        def call(arrays: Tensors) -> torch.Tensor:
            return room.linear_smoothed_cross_entropy(spec=spec, **arrays, **numbers)

        return self._gradients(call, inputs, cotangent, mode)

    def _gradients(self, call: Call, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        arrays, wanted = tensors(inputs), inputs.differentiable()
        for name in wanted:
            arrays[name].requires_grad_()
        loss = self._loss(call, inputs, arrays, mode)
        pullback = partial(
            torch.autograd.grad,
            loss,
            [arrays[name] for name in wanted],
            tensor(cotangent),
            allow_unused=True,
            materialize_grads=True,
        )
        if mode == "second-backward":
            first = pullback(retain_graph=True)
            gradients = pullback()
            for one, other in zip(first, gradients, strict=True):
                same_bits(numpy(one), numpy(other))
        else:
            gradients = pullback()
        return numpy(loss), {name: numpy(g) for name, g in zip(wanted, gradients, strict=True)}

    def _loss(self, call: Call, inputs: Inputs, arrays: Tensors, mode: str) -> torch.Tensor:
        spec, axis = spec_of(inputs.spec), inputs.axis
        match mode:
            case "compiled":
                return self._compiled(call, arrays)
            case "vmapped":
                # Beside a call with other logits, which may be +inf.
                turned = ("logits", "hidden")
                other = {name: -x.detach() if name in turned else x.detach() for name, x in arrays.items()}
                pairs = {name: torch.stack([x, other[name]]) for name, x in arrays.items()}
                return torch.func.vmap(call)(pairs)[0]
            case "noncontiguous":
                return call({name: torch.stack([x, x], -1)[..., 0] for name, x in arrays.items()})
            case "channels-last":
                return call({name: _classes_last(x, axis, arrays) for name, x in arrays.items()})
            case "autocast":
                with torch.autocast("cpu", torch.bfloat16):
                    return call(arrays)
            case "checkpointed":
                return checkpoint(call, arrays, use_reentrant=False)
            case "accumulated":
                totals = partial(self._totals, spec, axis)
                return accumulated(spec, split(arrays, axis, cuts(inputs)), call, totals, torch.cat)
            case _:
                return call(arrays)

    def _compiled(self, call: Call, arrays: Tensors) -> torch.Tensor:
        torch.compiler.reset()
        try:
            return torch.compile(call, backend=self.backend, fullgraph=True)(arrays)
        except torch._dynamo.exc.Unsupported:
            # A whole graph has no place for an error that is raised; without that demand the user sees it.
            torch.compile(call, backend=self.backend)(arrays)
            raise

    def _totals(self, spec: Spec, axis: int, arrays: Tensors) -> Any:
        return room.smoothed_cross_entropy_totals(spec=spec, axis=axis, **arrays)

    def totals(self, inputs: Inputs) -> dict[str, Array]:
        totals = self._totals(spec_of(inputs.spec), inputs.axis, tensors(inputs))
        return {name: numpy(value) for name, value in totals._asdict().items()}

    def hvp(self, inputs: Inputs, cotangent: Array, tangent: Array) -> Array:
        """In reverse mode twice; forward mode over reverse mode must agree."""
        arrays = tensors(inputs)
        call = partial(self.call, spec_of(inputs.spec), inputs.axis)

        def gradient(logits: torch.Tensor) -> torch.Tensor:
            _, pullback = torch.func.vjp(lambda logits: call(arrays | {"logits": logits}), logits)
            return pullback(tensor(cotangent))[0]

        logits = arrays["logits"]
        return numpy(torch.func.jvp(gradient, (logits,), (tensor(tangent).to(logits.dtype),))[1])


def _classes_last(x: torch.Tensor, axis: int, arrays: Tensors) -> torch.Tensor:
    """The same array, in memory with the class axis last: of images, torch.channels_last."""
    if x.dim() != arrays["logits"].dim():
        return x
    return x.movedim(axis, -1).contiguous().movedim(-1, axis)


def tensors(inputs: Inputs) -> Tensors:
    return {name: tensor(array) for name, array in inputs.arrays.items()}


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
