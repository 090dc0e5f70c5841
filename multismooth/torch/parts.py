"""A part of many logits: the statistics of its rows, and its gradient from the same exponentials.

    ∂(a·ℓ)/∂x = a·((mass + 2·z_loss·lse)·softmax(x) − q)

One part after another stays in the processor's cache, and its gradient is all that is held. This is arithmetic on
values, which nobody differentiates or traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import ceil, isfinite, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multismooth.torch.functions import loss_dtype
from multismooth.torch.positions import Coefficients, SoftCoefficients
from multismooth.torch.statistics import weighted

SIZE = 2**20
"""Elements of a part: smaller ones cost more in calls than they save, and larger ones leave the cache.

Of 2¹⁹ … 2²² this and 2²¹ are the fastest, at 4096×32768 and 2×150×512×512 in float32 on two cores of a Xeon.
"""

Part = tuple[slice, ...]
Within = Iterator[tuple[Part | None, Tensor, Tensor]]
"""Each part, its logits, and room for its exponentials and its gradient."""


def parts(shape: tuple[int, ...], dim: int, size: int) -> Iterator[Part]:
    """Indices that cut a shape into parts along all axes but the classes', the first ones first.

    Of about that size, at most half as much again; and alike, for a small part costs as many calls as a large one. None
    is larger than the first.
    """
    lengths, cuts = list(shape), []
    for axis, length in enumerate(shape):
        total, pieces = prod(lengths), 1
        if axis != dim and total:
            most = max(1, 3 * size * length // (2 * total))
            pieces = min(length, max(ceil(length / most), ceil(total / size - 0.5)))
            lengths[axis] = ceil(length / pieces)
        ends = [-(-i * length // pieces) for i in range(pieces + 1)]
        cuts.append([slice(*ends) for ends in pairwise(ends)])
    return product(*cuts)


def cut(value: Any, part: Part | None) -> Any:
    """A part of a tensor of the logits' rank, whose axes of length 1 stay whole; anything else as it is."""
    if part is None or not isinstance(value, Tensor) or value.dim() < len(part):
        return value
    return value[tuple(here if n > 1 else slice(None) for here, n in zip(part, value.shape, strict=True))]


def in_parts(logits: Tensor, gradient: Tensor | None, axis: int) -> Within:
    """The parts, and room to work in the loss's dtype: their gradient's, or else room that all of them share."""
    dtype, room = loss_dtype(logits), None
    in_place = gradient is not None and gradient.dtype == dtype
    for part in parts(logits.shape, axis, SIZE) if logits.numel() > SIZE else [None]:
        x = cut(logits, part)
        if in_place:
            yield part, x, cut(gradient, part)
            continue
        room = x.new_empty(x.numel(), dtype=dtype) if room is None else room
        work = room[: x.numel()].view(x.shape)
        yield part, x, work
        if gradient is not None:
            cut(gradient, part).copy_(work)


class Slopes(NamedTuple):
    """What the statistics of a row add to the result: numbers, or tensors that meet the logits."""

    L: Any
    own: Any
    """of x_y − m, or ⟨t, x − m⟩"""
    rest: Any
    """of Σ_{k≠y} v_k·(x_k − m), or ⟨c, x − m⟩"""
    lse: Any
    """of lse², as z-loss has it; None for none"""
    nll: Any = None
    """of ⟨t, x − m⟩ without class weights; None for none"""


def label_part(
    x: Tensor,
    labels: Tensor,
    allowed: Tensor | None,
    k: Coefficients,
    row: Tensor,
    slopes: Slopes | None,
    out: Tensor,
    axis: int,
    *,
    smooths: bool,
) -> None:
    """Fills ``row``, which is 0, with m, exp L − 1, x_y − m and the rest, and with slopes ``out`` with the gradient.

    ``out`` may be x. The rest is the sum over all classes where the label's may be taken off it.
    """
    m, less, own, rest = row.unbind()
    zero = less  # until it is written to, after both scatters; PyTorch scatters a number three times slower
    z, absent = _shifted(x, allowed, m, out, axis)
    torch.gather(z, axis, labels, out=own)
    if smooths:
        if not k.outweighs:
            z.scatter_(axis, labels, zero)
        _dot(k.receivers, z, axis, rest)
    # Without the label's, the sum needs no other care where the label is the maximum.
    e = _exponentials(z, absent).scatter_(axis, labels, zero)
    rest_e, own_e = e.sum(axis, True), own.exp()
    total = rest_e + own_e
    torch.add(rest_e, own_e - 1, out=less)
    _sum_others(k, e, own_e, total, less, axis)
    if slopes is None:
        return
    share = _slope_of_L(slopes, m, less) / total
    scale_and_add(e, share, slopes.rest if smooths else None, axis, k.receivers)
    # Set, and not corrected: the slope of the rest may be larger than all that is right at the label.
    e.scatter_(axis, labels, own_e * share + slopes.own)


def soft_part(
    x: Tensor,
    allowed: Tensor | None,
    soft: SoftCoefficients,
    row: Tensor,
    slopes: Slopes | None,
    out: Tensor,
    axis: int,
    *,
    smooths: bool,
) -> None:
    """The same for m, exp L − 1, ⟨t, x − m⟩, ⟨c, x − m⟩ and, if ``row`` has room for it, ⟨t, x − m⟩ without weights."""
    m, less, own, rest, *nll = row.unbind()
    z, absent = _shifted(x, allowed, m, out, axis)
    _dot(soft.weighted, z, axis, own)
    if smooths:
        _dot(soft.receivers, z, axis, rest)
    if nll:
        _dot(soft.labels, z, axis, nll[0])
    e = _exponentials(z, absent)
    torch.sub(e.sum(axis, True), 1, out=less)
    if (near := less < 1).any():  # else the sum less 1 has digits enough
        rows = near.squeeze(axis)
        less.squeeze(axis)[rows] = _others(e.movedim(axis, -1)[rows], -1)[..., 0]
    if slopes is None:
        return
    share = _slope_of_L(slopes, m, less) / (less + 1)
    scale_and_add(e, share, slopes.rest if smooths else None, axis, soft.receivers)
    _add(e, slopes.own, soft.weighted)
    if nll:
        _add(e, slopes.nll, soft.labels)


def _dot(coefficients: Tensor | None, z: Tensor, axis: int, out: Tensor) -> None:
    """Σ_k c_k·z_k, or without coefficients Σ_k z_k.

    A coefficient of 0 skips its term, which is looked for only where one, 0·−inf, is no number.
    """
    torch.sum(z if coefficients is None else coefficients * z, axis, True, out=out)
    if coefficients is not None and not isfinite(out.sum().item()):
        torch.sum(weighted(coefficients, z), axis, True, out=out)


def _shifted(x: Tensor, allowed: Tensor | None, m: Tensor, out: Tensor, axis: int) -> tuple[Tensor, Tensor | None]:
    """x − m, and which classes are not allowed: they have no part in m, and are 0."""
    absent = None if allowed is None else ~allowed
    if x.dtype != out.dtype or absent is not None:
        x = out.copy_(x)
    if absent is not None:
        x.masked_fill_(absent, -torch.inf)
    torch.amax(x, axis, True, out=m)
    z = torch.sub(x, m, out=out)
    return z if absent is None else z.masked_fill_(absent, 0.0), absent


def _exponentials(z: Tensor, absent: Tensor | None) -> Tensor:
    """exp(x − m), 0 where a class is not allowed: set afterwards, for MKL takes 20 times as long over −inf."""
    return z.exp_() if absent is None else z.exp_().masked_fill_(absent, 0.0)


def _others(e: Tensor, dim: int) -> Tensor:
    """Σ exp z less the 1 of one maximum: each 1 is counted, and the rest summed by itself, which keeps its digits."""
    ones = e == 1
    ties = ones.to(e.dtype).sum(dim, keepdim=True) - 1
    return torch.where(ones, 0.0, e).sum(dim, keepdim=True) + ties


def _sum_others(k: Coefficients, e: Tensor, own_e: Tensor, total: Tensor, less: Tensor, axis: int) -> None:
    """Sums the others by themselves where on is small and a wrong class has nearly all of the sum.

    Elsewhere the sum less 1 has digits enough: if the label's is no maximum, the loss is at least on·log 2.
    """
    small = 2 * k.on < k.mass
    if small is not False and (near := (total < 2) & (own_e < 1) & small).any():
        rows = near.squeeze(axis)
        less.squeeze(axis)[rows] = _others(e.movedim(axis, -1)[rows], -1)[..., 0] + own_e.squeeze(axis)[rows]


def scale_and_add(e: Tensor, share: Tensor, slope: Any, axis: int, receivers: Tensor | None = None) -> None:
    """e·share + slope·receivers in e's place, or without receivers e·share + slope; without a slope e·share.

    The share is one number along the class axis, and so is the slope if it is no number.
    """
    if slope is None or receivers is not None:
        e.mul_(share)
        if slope is not None:
            _add(e, slope, receivers)
    elif axis == e.dim() - 1:
        e.mul_(share).add_(slope)
    else:
        # One pass in the place of two; but slower where the share is one number along the last axis.
        torch.addcmul(torch.as_tensor(slope, dtype=e.dtype), e, share, out=e)


def _add(gradient: Tensor, slope: Any, coefficients: Tensor) -> None:
    if isinstance(slope, Tensor):
        gradient.addcmul_(slope, coefficients)
    else:
        gradient.add_(coefficients, alpha=slope)


def _slope_of_L(slopes: Slopes, m: Tensor, less: Tensor) -> Any:
    return slopes.L if slopes.lse is None else slopes.L + 2 * slopes.lse * (m + less.log1p())
