"""The loss in a graph of ``torch.compile``, as one call that Dynamo does not look into.

What it looks into it guards: some 250 comparisons before every call of the compiled graph. It has to, where the graph
leaves the number of classes or a number of the spec open.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import SymInt, Tensor

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.errors import InputError
from multismooth.spec import Spec
from multismooth.torch.functions import describe, functions_for, loss_dtype
from multismooth.torch.positions import positions


def open_number(normalizer: Any, logits: Any) -> Any:
    """A number as a tensor, so that the next batch's number needs no other graph."""
    known = type(normalizer) is float or (type(normalizer) is int and abs(normalizer) < 2**63)
    if not known or not isinstance(logits, Tensor):
        return normalizer
    return torch.ones((), dtype=loss_dtype(logits), device=logits.device) * normalizer


def loss_in_graph(call: str, spec: Spec, axis: int, arrays: tuple[Any, ...]) -> Tensor | None:
    """None for what Dynamo has to see: a call that is refused, numbers that the graph leaves open, a jvp."""
    for array in arrays:
        if array is not None and not isinstance(array, Tensor):  # of NumPy's the graph would make one
            return None
    values = (  # not by their names, each of which would be guarded too
        spec.label_smoothing,
        spec.spread,
        spec.values,
        spec.exclude,
        spec.kl,
        spec.class_weight_rule,
        spec.z_loss,
        spec.ignore_index,
        spec.out_of_range,
        spec.reduction,
        spec.denominator,
        spec.empty,
    )
    return _loss(call, values, axis, *arrays)


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
