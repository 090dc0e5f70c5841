"""The loss in a graph of ``torch.compile``, as one call that Dynamo does not look into.

What it looks into it guards: some 250 comparisons before every call of the compiled graph. It has to, where the graph
leaves the number of classes or a number of the spec open.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import SymInt, Tensor

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.errors import InputError
from multismooth.spec import Spec
from multismooth.torch.functions import describe, functions_for, loss_dtype
from multismooth.torch.positions import positions

FIELDS = tuple(field.name for field in fields(Spec))


def with_open_normalizer(batch: Batch) -> Batch:
    """A number as a tensor, so that the next batch's number needs no other graph."""
    number = batch.normalizer
    known = type(number) is float or (type(number) is int and abs(number) < 2**63)
    if not known or not isinstance(batch.logits, Tensor):
        return batch
    one = torch.ones((), dtype=loss_dtype(batch.logits), device=batch.logits.device)
    return batch._replace(normalizer=one * number)


def loss(call: str, spec: Spec, batch: Batch, axis: int) -> Tensor | None:
    """None for what Dynamo has to see: a call that is refused, numbers that the graph leaves open, a jvp."""
    if any(isinstance(array, np.ndarray) for array in batch):  # the graph would make a tensor of it
        return None
    return _loss(call, tuple(getattr(spec, name) for name in FIELDS), axis, *batch)


@torch.compiler.allow_in_graph
def _loss(call: str, values: tuple[Any, ...], axis: int, *arrays: Any) -> Tensor | None:
    batch = Batch(*arrays)
    try:
        spec = Spec(*values)  # a symbol is no number
        layout = checks.check_call(call, spec, batch, axis, describe)
        if isinstance(layout.classes, SymInt):
            return None
        at = positions(spec, batch, layout, good=False, totals=False)
    except (InputError, NotImplementedError):  # the latter of a jvp, in Dynamo's trace and in AOTAutograd's after it
        return None
    return reduction.reduce(spec, at, batch.normalizer, functions_for(at.loss))
