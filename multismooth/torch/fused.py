"""The loss with its gradient in one visit: part by part, so that a part stays in the processor's cache.

Where the cotangent of each position is known beforehand, as that of a mean or a sum is, a part's gradient is made from
the exponentials that its loss has needed. Where it is not, the backward pass visits the logits once more. Nothing of
the logits' size is held but the gradient.

    ∂(a·ℓ)/∂x = a·((mass + 2·z_loss·lse)·softmax(x) − q)

This is for tensors whose values are at hand, and for a gradient to the logits alone: ``statistics`` has all the rest,
which is what a derivative of the derivative is taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import isfinite, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import Parameter

from multismooth import reduction
from multismooth.checks import Batch, Layout
from multismooth.errors import InputError
from multismooth.lowering import smooths
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec
from multismooth.torch.classes import along
from multismooth.torch.functions import functions_for, loss_dtype
from multismooth.torch.positions import (
    Losses,
    Targets,
    cast,
    coefficients,
    counted_where,
    label_losses,
    only,
    positions,
    soft_coefficients,
    soft_losses,
    targets_of,
)
from multismooth.torch.statistics import others, weighted

SIZE = 2**20
"""Elements of a part: smaller ones cost more in calls than they save, and larger ones leave the cache.

Of 2¹⁷ … 2²² the fastest, at 2048×32768 in float32 on two cores of an AMD EPYC.
"""

Part = tuple[slice, ...]
Slopes = tuple[Any, Any, Any]
"""Cotangents of loss, nll and z_loss: numbers, or tensors like the labels; None for none."""


class Call(NamedTuple):
    """What a loss is computed from, beside the arrays."""

    spec: Spec
    layout: Layout
    good: bool
    """whether every value is known to be"""


def applies(batch: Batch) -> bool:
    """Whether the values are at hand, nobody traces what is done to them, and only the logits want a gradient."""
    logits, *others = batch
    plain = type(logits) in (Tensor, Parameter) and logits.device.type == "cpu"
    return plain and not _traced() and not (torch.is_grad_enabled() and any(map(_differentiated, others)))


def _differentiated(array: Any) -> bool:
    return isinstance(array, Tensor) and array.requires_grad


def _traced() -> bool:
    """By torch.compile, by vmap and the like, by forward mode, or by a mode such as FakeTensorMode."""
    return bool(
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def parts(shape: tuple[int, ...], dim: int) -> Iterator[Part]:
    """Indices that cut a shape into parts, along all axes but the classes': the first ones first."""
    lengths = list(shape)
    for axis, length in enumerate(shape):
        if axis != dim and prod(lengths) > SIZE:
            lengths[axis] = max(1, SIZE * length // prod(lengths))
    starts = (range(0, whole, max(1, length)) for whole, length in zip(shape, lengths, strict=True))
    for corner in product(*starts):
        yield tuple(slice(start, start + length) for start, length in zip(corner, lengths, strict=True))


def part_of(batch: Batch, layout: Layout, part: Part) -> Batch:
    """A part of the batch, whose arrays of the classes stay whole."""
    here = part[: layout.axis] + part[layout.axis + 1 :]
    rank = len(part)

    def cut(array: Any, index: Part) -> Any:
        return array if array is None else array[index]

    allowed = batch.allowed
    return batch._replace(
        logits=batch.logits[part],
        labels=batch.labels[part if layout.soft else here],
        where=cut(batch.where, here),
        sample_weight=cut(batch.sample_weight, here),
        allowed=allowed if allowed is None or allowed.dim() < rank else allowed[part],
    )


# --- One part ---------------------------------------------------------------------------------------------------


def visit(
    call: Call, batch: Batch, slopes: Slopes | None = None, out: Tensor | None = None, *, totals: bool = False
) -> Losses:
    """The losses of a part, and the gradient to its logits in ``out``, which may be the logits themselves."""
    dtype = loss_dtype(batch.logits)
    work = out if out is not None and out.dtype == dtype else torch.empty_like(batch.logits, dtype=dtype)
    m, z = _shifted(batch, call.layout, work)
    evaluate = _soft_part if call.layout.soft else _label_part
    targets = targets_of(call.spec, batch, call.layout, call.good)
    losses, pull = evaluate(call, batch, targets, m, z, totals=totals)
    if slopes is not None:
        pull(slopes)
        if out is not work:
            out.copy_(work)
    return losses


def _shifted(batch: Batch, layout: Layout, work: Tensor) -> tuple[Tensor, Tensor]:
    """m and x − m, −inf where a class is not allowed."""
    x = batch.logits
    if batch.allowed is not None:
        x = torch.where(along(batch.allowed, layout.axis, x), x, -torch.inf)
    m = x.amax(layout.axis, keepdim=True)
    return m, torch.sub(x, m, out=work) if work.dtype == x.dtype else torch.sub(x, m.to(work.dtype), out=work)


Evaluated = tuple[Losses, Callable[[Slopes], None]]


def _label_part(call: Call, batch: Batch, targets: Targets, m: Tensor, z: Tensor, *, totals: bool) -> Evaluated:
    axis, smoothed = call.layout.axis, smooths(call.spec)
    k = coefficients(call.spec, batch, call.layout, targets.labels)
    y = targets.labels.unsqueeze(axis)
    own = z.gather(axis, y)
    rest = torch.zeros_like(own)
    if smoothed:
        z.scatter_(axis, y, 0.0)
        rest = (z if k.receivers is None else weighted(k.receivers, z)).sum(axis, keepdim=True)
    # Without the label's, the sum needs no other care where the label is the maximum.
    e = z.scatter_(axis, y, -torch.inf).exp_()
    own_e = own.exp()
    rest_e = e.sum(axis, keepdim=True)
    total = rest_e + own_e
    L = _log1p(e, rest_e, own_e, total, axis)
    row = [statistic.squeeze(axis) for statistic in (m.to(L.dtype), L, own, rest)]
    losses = label_losses(call.spec, batch, targets, k, row, call.good)

    def pull(slopes: Slopes) -> None:
        g, g_nll, g_z = _by_position(slopes, batch, targets, losses)
        g_L = k.mass * g + g_nll + _lse_slope(call.spec, losses, g + g_z)
        g_L, g_own, g_rest = (_with_classes(slope, axis) for slope in (g_L, k.on * g + g_nll, k.off * g))
        share = g_L / total
        e.mul_(share)
        if smoothed and k.receivers is None:
            e.sub_(g_rest)
        elif smoothed:
            e.addcmul_(g_rest, k.receivers, value=-1)
        # Set, and not corrected: g_rest may be larger than all that is right at the label.
        e.scatter_(axis, y, own_e * share - g_own)
        _clear(e, (g_L == 0) & (g_own == 0) & (g_rest == 0), L)

    return losses, pull


def _log1p(e: Tensor, rest_e: Tensor, own_e: Tensor, total: Tensor, axis: int) -> Tensor:
    """L: log1p of the sum of the exponentials without one maximum, which keeps a confident row's digits.

    Where the maximum is not the label's and most of the sum, the others are summed by themselves.
    """
    right = own_e == 1
    sums = torch.where(right, rest_e, total - 1)
    near = ~right & (total < 2)
    if near.any():
        rows = near.squeeze(axis)
        sums.squeeze(axis)[rows] = others(e.movedim(axis, -1)[rows], -1)[..., 0] + own_e.squeeze(axis)[rows]
    return sums.log1p_()


def _soft_part(call: Call, batch: Batch, targets: Targets, m: Tensor, z: Tensor, *, totals: bool) -> Evaluated:
    axis = call.layout.axis
    soft = soft_coefficients(call.spec, batch, call.layout, targets.labels)
    used = (soft.target, soft.labels) if totals else (soft.target,)
    dots = [weighted(target, z).sum(axis, keepdim=True) for target in used]
    e = z.exp_()
    sums = others(e, axis)
    total, L = sums + 1, sums.log1p()
    row = [statistic.squeeze(axis) for statistic in (m.to(L.dtype), L, *dots)]
    losses = soft_losses(call.spec, batch, call.layout, targets, soft, row, call.good)

    def pull(slopes: Slopes) -> None:
        g, g_nll, g_z = _by_position(slopes, batch, targets, losses)
        g_L = soft.scale * soft.mass * g + soft.labels.sum(axis) * g_nll + _lse_slope(call.spec, losses, g + g_z)
        g_L, g_dot, g_nll = (_with_classes(slope, axis) for slope in (g_L, soft.scale * g, g_nll))
        e.mul_(g_L / total).addcmul_(g_dot, soft.target, value=-1)
        if totals:
            e.addcmul_(g_nll, soft.labels, value=-1)
        _clear(e, (g_L == 0) & (g_dot == 0) & (g_nll == 0), L)

    return losses, pull


def _by_position(slopes: Slopes, batch: Batch, targets: Targets, losses: Losses) -> tuple[Any, Any, Any]:
    """What the loss, the nll and the z-loss of each position add to the result: 0 where it is not kept, NaN where bad."""
    weight = batch.sample_weight

    def of(slope: Any, bad: Tensor | None) -> Any:
        if type(slope) is float and slope == 0.0:
            return slope
        # Plus 0, since a row's sign of 0 must not tell of what is masked.
        slope = slope if weight is None else slope * weight + 0.0
        slope = torch.as_tensor(slope, dtype=losses.loss.dtype)
        slope = only(slope, losses.keep)
        return slope if bad is None else slope.masked_fill(bad, torch.nan)

    loss, nll, z_loss = slopes
    return of(loss, losses.bad), of(nll, losses.bad), of(z_loss, None)


def _lse_slope(spec: Spec, losses: Losses, slope: Any) -> Any:
    return 2 * spec.z_loss * losses.lse * slope if spec.z_loss else 0.0


def _with_classes(slope: Any, axis: int) -> Tensor:
    """A number of all positions, or one of each, to meet the logits."""
    slope = torch.as_tensor(slope)
    return slope.unsqueeze(axis) if slope.dim() else slope


def _clear(gradient: Tensor, dead: Tensor, L: Tensor) -> None:
    """A row that no cotangent reaches has a gradient of 0, though 0 times it may be none."""
    lost = dead & ~L.isfinite()
    if lost.any():
        gradient.masked_fill_(lost, 0.0)


# --- All of them ------------------------------------------------------------------------------------------------


def loss(call: Call, batch: Batch, *, inplace: bool = False) -> Tensor:
    """What ``call.spec.reduction`` says."""
    batch, divisor = cast(batch), 1.0
    if call.spec.reduction == "mean":
        batch, divisor = _mean_of(call, batch)
    wanted = torch.is_grad_enabled() and batch.logits.requires_grad
    return _Loss.apply(call, divisor, wanted, inplace, *batch[:-1])


def totals(call: Call, batch: Batch) -> Totals:
    batch, weight = _mean_of(call, cast(batch))
    loss, nll, z_loss = _Sums.apply(call, *batch[:-1])
    return Totals(loss, loss.new_tensor(weight), nll, z_loss)


def _mean_of(call: Call, batch: Batch) -> tuple[Batch, float]:
    """The batch with the weights of a mean, and what this divides by."""
    spec, functions, axis = call.spec, functions_for(batch.logits), call.layout.axis
    targets = targets_of(spec, batch, call.layout, call.good)
    counted: Any = 1.0
    if spec.denominator == "expected_class_weights" or (
        spec.denominator == "class_weights" and batch.class_weight is not None
    ):
        counted = counted_where(coefficients(spec, batch, call.layout, targets.labels).counted, targets)
    shape = batch.logits.shape[:axis] + batch.logits.shape[axis + 1 :]
    like = batch.logits.new_empty((), dtype=loss_dtype(batch.logits)).expand(shape)
    weight = None if batch.sample_weight is None else only(batch.sample_weight, targets.mask)
    positions = Positions(like, None, None, targets.mask, weight, counted)
    divisor = reduction.divisor_of(spec, positions, batch.normalizer, functions)
    return batch._replace(sample_weight=reduction.weights_of(spec, positions, functions)), divisor.item()


Visited = tuple[Part, Losses]


def _visits(
    call: Call, batch: Batch, slopes: Slopes | None = None, gradient: Tensor | None = None, *, totals: bool = False
) -> Iterator[Visited]:
    """The weighted losses of each part, while the gradient to all logits is filled."""
    axis = call.layout.axis
    for part in parts(batch.logits.shape, axis):
        here = part[:axis] + part[axis + 1 :]
        some = part_of(batch, call.layout, part)
        cut = slopes and tuple(slope[here] if _varies(slope) else slope for slope in slopes)
        out = None if gradient is None else gradient[part]
        losses = visit(call, some, cut, out, totals=totals)
        if some.sample_weight is not None:
            weight = only(some.sample_weight, losses.keep)
            losses = Losses(*(weight * value for value in losses[:3]), *losses[3:])
        yield here, losses


def _varies(slope: Any) -> bool:
    return isinstance(slope, Tensor) and slope.dim() > 0


class _Loss(Function):
    """The mean or the sum, or without a reduction the loss of each position."""

    @staticmethod
    def forward(ctx: Any, call: Call, divisor: float, wanted: bool, inplace: bool, *arrays: Tensor | None) -> Tensor:
        batch = Batch(*arrays)
        ctx.call, ctx.divisor, ctx.inplace, ctx.gradient = call, divisor, inplace, None
        if call.spec.reduction == "none":
            ctx.save_for_backward(*arrays)
            losses = batch.logits.new_empty(_positions(batch, call.layout), dtype=loss_dtype(batch.logits))
            for here, part in _visits(call, batch):
                losses[here] = part.loss
            return losses
        if wanted and (inplace or _worth_knowing(batch.logits)):
            ctx.gradient = batch.logits.detach() if inplace else torch.empty_like(batch.logits)
        ctx.save_for_backward(*((ctx.gradient,) if inplace else arrays))
        if divisor == 0:
            if ctx.gradient is not None:
                ctx.gradient.zero_()
            fill = 0.0 if call.spec.empty == "zero" else torch.nan
            return batch.logits.new_full((), fill, dtype=loss_dtype(batch.logits))
        slopes = None if ctx.gradient is None else (1 / divisor, 0.0, 0.0)
        return _sum([part.loss for _, part in _visits(call, batch, slopes, ctx.gradient)], batch.logits) / divisor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        call, divisor = ctx.call, ctx.divisor
        if ctx.inplace:
            return None, None, None, None, _overwritten(ctx, g), *[None] * 6
        if _differentiated_again(g):
            return None, None, None, None, _differentiable(ctx, g), *[None] * 6
        batch = Batch(*ctx.saved_tensors)
        if call.spec.reduction == "none":
            return None, None, None, None, _gradient(call, batch, (g, 0.0, 0.0)), *[None] * 6
        # It is the caller's from here on: what a second backward pass returns is another tensor of the same bits.
        gradient, ctx.gradient = ctx.gradient, None
        g = g.item()
        scaled = g != 1 and _can_be_scaled(batch.logits, g)
        if g != 1 and not scaled:
            gradient = None
        if gradient is None:
            slope = 0.0 if divisor == 0 else (1.0 if scaled else g) / divisor
            gradient = _gradient(call, batch, (slope, 0.0, 0.0))
        return None, None, None, None, gradient.mul_(g) if scaled else gradient, *[None] * 6


class _Sums(Function):
    """Loss, nll and z-loss, added up: nobody knows yet what they will be divided by."""

    @staticmethod
    def forward(ctx: Any, call: Call, *arrays: Tensor | None) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(*arrays)
        batch = Batch(*arrays)
        visited = [losses for _, losses in _visits(call, batch, totals=True)]
        return tuple(_sum([losses[i] for losses in visited], batch.logits) for i in range(3))

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        if _differentiated_again(*g):
            return None, _differentiable(ctx, *g), *[None] * 6
        gradient = _gradient(ctx.call, Batch(*ctx.saved_tensors), tuple(slope.item() for slope in g), totals=True)
        return None, gradient, *[None] * 6


def _positions(batch: Batch, layout: Layout) -> torch.Size:
    return batch.logits.shape[: layout.axis] + batch.logits.shape[layout.axis + 1 :]


def _worth_knowing(logits: Tensor) -> bool:
    """Whether the gradient is computed with the loss.

    Not in float16, whose gradients are scaled before they are rounded; nor where saved tensors are packed, as they are
    under checkpointing, where the first of two forward passes would hold a gradient for nothing.
    """
    return logits.dtype != torch.float16 and torch._C._autograd._top_saved_tensors_default_hooks(False) is None


def _can_be_scaled(logits: Tensor, g: float) -> bool:
    """Whether the gradient times g is that of g times the loss: not after it was rounded to half precision."""
    return logits.dtype == loss_dtype(logits) and g != 0 and isfinite(g)


def _gradient(call: Call, batch: Batch, slopes: Slopes, *, totals: bool = False) -> Tensor:
    gradient = torch.empty_like(batch.logits)
    for _ in _visits(call, batch, slopes, gradient, totals=totals):
        pass
    return gradient


def _sum(sums: list[Tensor], like: Tensor) -> Tensor:
    """Of all parts; an empty batch has none."""
    return torch.stack([part.sum() for part in sums]).sum() if sums else like.new_zeros((), dtype=loss_dtype(like))


def _overwritten(ctx: Any, g: Tensor) -> Tensor:
    """The gradient that took the logits' place."""
    raise NotImplementedError


def _differentiated_again(*g: Tensor) -> bool:
    """Whether somebody records, or vmaps, what the backward pass does."""
    functorch = torch._C._functorch
    return torch.is_grad_enabled() or any(
        functorch.is_functorch_wrapped_tensor(slope) or functorch.is_legacy_batchedtensor(slope) for slope in g
    )


def _differentiable(ctx: Any, *g: Tensor) -> Tensor:
    """The gradient for a second derivative: by PyTorch, of the plain loss."""
    batch, call = Batch(*ctx.saved_tensors), ctx.call
    with torch.enable_grad():
        at = positions(call.spec, batch, call.layout, call.good, totals=len(g) > 1)
        values = [reduction.weighted(value, at.sample_weight) for value in at[: len(g)]]
        if len(g) > 1:
            values = [value.sum() for value in values]
        elif call.spec.reduction != "none":
            values = [values[0].sum() / ctx.divisor if ctx.divisor else values[0].sum() * 0.0]
    return torch.autograd.grad(values, batch.logits, g, create_graph=torch.is_grad_enabled())[0]
