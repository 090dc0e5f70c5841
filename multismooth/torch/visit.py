"""A block of positions: its losses, and the gradient to its logits, part by part."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multismooth.checks import Batch, Layout, bad_positions
from multismooth.few import LARGEST
from multismooth.lowering import smooths
from multismooth.spec import Spec
from multismooth.torch.classes import along
from multismooth.torch.functions import functions_for, loss_dtype
from multismooth.torch.parts import Slopes, Within, cut, in_parts, label_part, soft_part
from multismooth.torch.positions import (
    Coefficients,
    Losses,
    SoftCoefficients,
    Targets,
    coefficients,
    label_losses,
    less,
    only,
    soft_coefficients,
    soft_losses,
    targets_of,
    times,
)

Worked = Callable[[Tensor, Tensor | None, int], Within]
Cotangents = tuple[Any, Any, Any]
"""Of loss, nll and z-loss: numbers, or tensors like the labels."""


class Call(NamedTuple):
    """What a loss is computed from, beside the arrays."""

    spec: Spec
    layout: Layout
    good: bool
    """whether every value is known to be"""


def visit(
    call: Call,
    batch: Batch,
    cotangents: Cotangents | None = None,
    gradient: Tensor | None = None,
    *,
    totals: bool = False,
    targets: Targets | None = None,
    worked: Worked | None = None,
) -> Losses:
    """The losses of a block, and the gradient to its logits, whose place it may take."""
    targets = targets or targets_of(call.spec, batch, call.layout, call.good)
    at = None if cotangents is None else _by_position(call, batch, targets, cotangents)
    within = (worked or in_parts)(batch.logits, gradient, call.layout.axis)
    return (_visit_soft if call.layout.soft else _visit)(call, batch, targets, at, gradient, within, totals)


def _visit(
    call: Call,
    batch: Batch,
    targets: Targets,
    at: Cotangents | None,
    gradient: Tensor | None,
    within: Within,
    totals: bool,
) -> Losses:
    (spec, layout, good), axis = call, call.layout.axis
    k = coefficients(spec, batch, layout, targets.labels)
    wide = Coefficients(*(_meet(value, axis) for value in k[:-1]), k.receivers)
    slopes = None if at is None else _label_slopes(spec, wide, at, axis)
    labels, allowed, rows = targets.labels.unsqueeze(axis), _allowed(batch, axis), _rows(batch, axis, 4)
    for part, x, out in within:
        if part is None:
            label_part(x, labels, allowed, wide, rows, slopes, out, axis, smooths=smooths(spec))
            continue
        row = rows[(slice(None), *part[:axis], slice(None), *part[axis + 1 :])]
        some = Coefficients(*(cut(value, part) for value in wide))
        here = None if slopes is None else Slopes(*(cut(slope, part) for slope in slopes))
        label_part(x, cut(labels, part), cut(allowed, part), some, row, here, out, axis, smooths=smooths(spec))
    _, L, own, rest = rows.unbind()
    L.log1p_()
    shared = smooths(spec) and k.outweighs
    if shared:
        rest.sub_(own)
    if not isfinite(rows.sum().item()):
        _clear(gradient, slopes, L)
        if shared:
            rest.nan_to_num_(0.0, posinf=torch.inf, neginf=-torch.inf)  # of a label's −inf, whose loss is infinite
    return label_losses(spec, batch, targets, k, rows.squeeze(axis + 1).unbind(), good, totals=totals)


def _visit_soft(
    call: Call,
    batch: Batch,
    targets: Targets,
    at: Cotangents | None,
    gradient: Tensor | None,
    within: Within,
    totals: bool,
) -> Losses:
    (spec, layout, good), axis = call, call.layout.axis
    soft = soft_coefficients(spec, batch, layout, targets.labels)
    is_weighted = soft.weighted is not soft.labels
    slopes = None if at is None else _soft_slopes(spec, soft, at, axis, apart=totals and is_weighted)
    rows = _rows(batch, axis, 5 if totals and is_weighted else 4)
    for _, x, out in within:
        soft_part(x, _allowed(batch, axis), soft, rows, slopes, out, axis, smooths=smooths(spec))
    m, L, own, rest, *nll = rows.squeeze(axis + 1).unbind()
    L.log1p_()
    if not isfinite(L.sum().item()):
        _clear(gradient, slopes, L.unsqueeze(axis))
    dot = -less(less(0.0, soft.keep, own), soft.share, rest)
    row = [m, L, dot, *(nll or [own])] if totals else [m, L, dot]
    return soft_losses(spec, batch, layout, targets, soft, row, good, totals=totals)


def _clear(gradient: Tensor | None, slopes: Slopes | None, L: Tensor) -> None:
    """A row that no cotangent reaches has a gradient of 0, though 0 times it may be none."""
    if gradient is None or slopes is None:
        return
    dead = ~L.isfinite()
    for slope in slopes:
        dead = dead if slope is None else dead & (slope == 0)
    gradient.masked_fill_(dead, 0.0)


def _rows(batch: Batch, axis: int, count: int) -> Tensor:
    """Room for so many statistics of each row."""
    shape = batch.logits.shape
    return batch.logits.new_zeros((count, *shape[:axis], 1, *shape[axis + 1 :]), dtype=loss_dtype(batch.logits))


def _allowed(batch: Batch, axis: int) -> Tensor | None:
    return None if batch.allowed is None else along(batch.allowed, axis, batch.logits)


def _by_position(call: Call, batch: Batch, targets: Targets, cotangents: Cotangents) -> Cotangents:
    """What each position's loss, nll and z-loss add to the result: 0 where it does not count, NaN where it is bad."""
    weight, mask, bad, dtype = batch.sample_weight, targets.mask, None, loss_dtype(batch.logits)
    if not call.good:
        bad = bad_positions(batch, targets.bad, functions_for(batch.logits))
        bad = bad if weight is None else bad & (weight != 0)
        bad = bad if mask is None else bad & mask

    def of(cotangent: Any, bad: Tensor | None) -> Any:
        if isinstance(cotangent, float) and weight is None and bad is None and abs(cotangent) <= LARGEST:
            # The fewest operations, for calls of few logits.
            return cotangent if mask is None or cotangent == 0 else mask.to(dtype).mul_(cotangent)
        cotangent = torch.as_tensor(cotangent, dtype=dtype)
        if weight is not None:
            cotangent = cotangent * weight + 0.0  # the sign of a 0 must not tell what is masked
        cotangent = only(cotangent, mask)
        return cotangent if bad is None else torch.where(bad, torch.nan, cotangent)

    loss, nll, z_loss = cotangents
    return of(loss, bad), of(nll, bad), of(z_loss, None)


def _label_slopes(spec: Spec, k: Coefficients, at: Cotangents, axis: int) -> Slopes:
    loss, nll, z_loss = (_meet(slope, axis) for slope in at)
    return Slopes(
        _plus(times(k.mass, loss), nll),
        _plus(times(-k.on, loss), -nll),
        times(-k.off, loss),
        spec.z_loss * _plus(loss, z_loss) if spec.z_loss else None,
    )


def _soft_slopes(spec: Spec, soft: SoftCoefficients, at: Cotangents, axis: int, *, apart: bool) -> Slopes:
    """Those of the labels with and without class weights ``apart``, or added."""
    loss, nll, z_loss = at
    scaled = times(soft.scale, loss)
    own = -soft.keep * scaled
    slopes = (
        _plus(soft.mass * scaled, soft.labels.sum(axis) * nll),
        own if apart else _plus(own, -nll),
        -soft.share * scaled,
        spec.z_loss * _plus(loss, z_loss) if spec.z_loss else None,
        -nll if apart else None,
    )
    return Slopes(*(_meet(slope, axis) for slope in slopes))


def _plus(slope: Any, other: Any) -> Any:
    """The sum; that with 0 takes no operation."""
    return slope if isinstance(other, float) and other == 0 else slope + other


def _meet(value: Any, axis: int) -> Any:
    """A number of each position, to meet the logits."""
    return value.unsqueeze(axis) if isinstance(value, Tensor) and value.dim() else value
