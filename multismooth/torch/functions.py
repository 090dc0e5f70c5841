"""What the code that all frameworks share asks of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.masked import MaskedTensor

from multismooth import reduction
from multismooth.checks import UNREAD, Described
from multismooth.lowering import Functions


def loss_dtype(logits: Tensor) -> torch.dtype:
    """The dtype that the loss is computed and returned in."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def functions_for(like: Tensor) -> Functions:
    """The shared code's functions, in the dtype that the loss of these logits has."""
    dtype, device = loss_dtype(like), like.device

    def array(value: Any) -> Tensor:
        if isinstance(value, (int, torch.SymInt)):  # as_tensor would make it a constant of a graph
            return torch.full((), value, dtype=dtype, device=device)
        # torch.where(condition, 0.9, 1.0) would be float32.
        return torch.as_tensor(value, dtype=dtype, device=device)

    def where(condition: Any, a: Any, b: Any) -> Any:
        if isinstance(condition, torch.SymBool):  # of a number of classes that is traced
            return a if condition else b
        return torch.where(condition, array(a), array(b))

    return Functions(
        where=where,
        log=torch.log,
        any=torch.any,
        sum=torch.sum,
        count=lambda condition: condition.sum().to(dtype),
        array=array,
        ones_like=torch.ones_like,
        size=lambda array: array.numel(),  # which torch.jit traces, and torch.numel is a number
        length=lambda array: array.shape[0],  # which may be open, and len() is a number
    )


def describe(array: Any) -> Described | None:
    if not isinstance(array, Tensor) or isinstance(array, MaskedTensor):
        return None
    if array.layout is not torch.strided or array.is_nested:
        return None
    return Described(tuple(array.shape), str(array.dtype).removeprefix("torch."))


def read(array: Any) -> Any:
    """As NumPy's, if the values are at hand: not on another device, nor inside a transformation."""
    if not isinstance(array, Tensor):
        return np.asarray(array)
    if not array.is_cpu or torch.jit.is_tracing():
        return UNREAD
    array = array.detach() if array.requires_grad else array
    try:
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    except (RuntimeError, TypeError):  # vmapped, fake, or another tensor without a storage
        return UNREAD


reduction.register(Tensor, functions_for)
