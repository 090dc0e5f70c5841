"""Who receives smoothing mass, and the sums over the classes that the lowering asks for, in PyTorch.

A vector over the classes has the shape [classes]; where the allowed classes differ by position, the logits' shape.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from multismooth.checks import Batch, Layout
from multismooth.lowering import ClassSums, Functions, smooths, xlogx
from multismooth.spec import Spec
from multismooth.torch import statistics
from multismooth.torch.functions import loss_dtype


class Shares(NamedTuple):
    """What the classes receive of the smoothing mass; None stands for ones."""

    c: Tensor | None
    weighted: Tensor | None
    """c times the class weights"""


def shares(spec: Spec, batch: Batch, layout: Layout) -> Shares:
    """c = prior (or 1) × not excluded × allowed. Without smoothing nobody's share matters."""
    if not smooths(spec):
        return Shares(None, None)
    included, prior, weight = _included(spec, batch, layout), batch.prior, batch.class_weight
    weighted = weight if prior is None else prior if weight is None else prior * weight
    if included is None:
        return Shares(prior, weighted)

    def masked(vector: Tensor | None) -> Tensor:
        if vector is None:
            return included.to(loss_dtype(batch.logits))
        return torch.where(included, along(vector, layout.axis, included), 0.0)

    return Shares(masked(prior), masked(weighted))


def _included(spec: Spec, batch: Batch, layout: Layout) -> Tensor | None:
    """Which classes are neither excluded nor not allowed; None for all."""
    if not spec.exclude:
        return batch.allowed
    device = batch.logits.device
    excluded = torch.tensor(spec.exclude, device=device)
    kept = torch.ones(layout.classes, dtype=torch.bool, device=device).index_fill(0, excluded, False)
    return kept if batch.allowed is None else batch.allowed & along(kept, layout.axis, batch.allowed)


def class_sums(batch: Batch, layout: Layout, labels: Tensor, given: Shares, functions: Functions) -> ClassSums:
    """What each label's row receives in all, with and without the label itself."""
    axis, (c, weighted) = layout.axis, given
    own: Any = 1.0
    rest: Any = layout.classes - 1.0
    xlogx_rest: Any = 0.0
    if c is not None:
        own, rest = at_label(c, labels, axis), without_label(c, labels, axis)
    if batch.prior is not None and c is not None:
        xlogx_rest = without_label(xlogx(c, functions), labels, axis)
    if batch.class_weight is None:
        return ClassSums(own, rest, xlogx_rest)
    weighted_rest = 0.0 if weighted is None else without_label(weighted, labels, axis)
    return ClassSums(own, rest, xlogx_rest, at_label(batch.class_weight, labels, axis), weighted_rest)


def at_label(vector: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Each position's value of its own class."""
    if vector.dim() == 1:
        # vector[labels] would read a scalar label on the host when compiled.
        return vector.index_select(0, labels.reshape(-1)).reshape(labels.shape)
    return vector.gather(axis, labels.unsqueeze(axis)).squeeze(axis)


def without_label(vector: Tensor, labels: Tensor, axis: int) -> Tensor:
    """The sum over all classes but the position's own.

    The total less one entry loses digits only where that entry is most of the total. At most one entry is: for
    the largest the rest is summed by itself.
    """
    if vector.dim() > 1:
        return statistics.without_label(vector, labels.unsqueeze(axis), axis).sum(axis)
    largest = torch.arange(len(vector), device=vector.device) == vector.argmax()
    rest = torch.where(largest, vector.masked_fill(largest, 0.0).sum(), vector.sum() - vector)
    return at_label(rest, labels, axis)


def along(vector: Tensor, axis: int, like: Tensor) -> Tensor:
    """A vector over the classes, shaped to meet an array that has them on ``axis``."""
    if vector.dim() != 1:
        return vector
    return vector.reshape(-1, *[1] * max(like.dim() - 1 - axis, 0))
