"""PyTorch's linear layers with their loss: forward alone, or with the gradients to hidden states and weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cut_cross_entropy import linear_cross_entropy as apple
from peers import Unfit, without_init
from shapes import IGNORED, LABEL_SMOOTHING, Linear, linear_arrays
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions
from torch.nn import functional as F

from multismooth import dialects
from multismooth.torch import linear_smoothed_cross_entropy, smoothed_cross_entropy
from torch_room.call import Call

without_init("liger-kernel", "liger_kernel", "liger_kernel.ops")
from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction  # noqa: E402

REFERENCE = "F.linear and F.cross_entropy"
CORE = (REFERENCE, "F.linear_cross_entropy, in chunks, no smoothing", "multismooth, linear")
SPEC = dialects.torch(LABEL_SMOOTHING, IGNORED)
SMOOTHED = {"ignore_index": IGNORED, "label_smoothing": LABEL_SMOOTHING}


def unfused(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), labels, **SMOOTHED)


def half_fused(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return smoothed_cross_entropy(F.linear(hidden, weight), labels, SPEC)


def theirs(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """PyTorch's own, which works in chunks where there is no smoothing."""
    return F.linear_cross_entropy(hidden, weight, labels, **SMOOTHED)


def in_chunks(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return F.linear_cross_entropy(hidden, weight, labels, ignore_index=IGNORED, options=LinearCrossEntropyOptions())


def liger(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    options = (None, None, IGNORED, 0.0, LABEL_SMOOTHING)
    try:
        return LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, labels, *options)[0]
    except RuntimeError as error:
        raise Unfit(f"its kernels are Triton's, which find no GPU: {error}") from error


def cut(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Apple's: its kernels need a GPU, and on a CPU it compiles the plain formula."""
    return apple(hidden, weight, labels, ignore_index=IGNORED, impl="torch_compile")


def ours(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return linear_smoothed_cross_entropy(hidden, weight.T, labels, SPEC)


def contenders(shape: Linear, part: str) -> dict[str, Call]:
    torch.compiler.reset()
    *given, labels = map(torch.from_numpy, linear_arrays(shape))
    hidden, kernel = (array.to(getattr(torch, shape.dtype)) for array in given)
    hidden, weight = (array.requires_grad_(part == "gradient") for array in (hidden, kernel.T.contiguous()))
    losses: dict[str, Callable[..., Tensor]] = {
        REFERENCE: unfused,
        "F.linear and F.cross_entropy, compiled": torch.compile(unfused),
        "F.linear_cross_entropy": theirs,
        "F.linear_cross_entropy, in chunks, no smoothing": in_chunks,
        "Liger": liger,
        "cut-cross-entropy, no smoothing": cut,
        "F.linear and multismooth": half_fused,
        "multismooth, linear": ours,
    }

    def step(loss: Callable[..., Tensor]) -> Any:
        value = loss(hidden, weight, labels)
        if part == "forward":
            return (value,)
        return value.detach(), *torch.autograd.grad(value, (hidden, weight))

    return {name: Call(lambda loss=loss: step(loss)) for name, loss in losses.items()}
