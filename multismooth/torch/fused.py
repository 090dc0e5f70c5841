"""The loss with its gradient in one visit, where the values are at hand and only the logits want a gradient.

Where the cotangent of each position is known beforehand, as that of a mean or a sum is, the gradient is made in the
forward pass, from the exponentials that the loss has needed: in the fewest calls by ``alike``, if labels and mask are
all that tells a position from another. Where it is not known, the backward pass visits the logits once more. What else
somebody differentiates or traces takes the plain way, through ``positions`` and ``statistics``; so does a derivative of
the derivative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import frexp, isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import Parameter

from multismooth import reduction
from multismooth.checks import Batch, Good, Layout
from multismooth.errors import InputError
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec
from multismooth.torch import alike
from multismooth.torch.alike import Alike
from multismooth.torch.functions import functions_for, loss_dtype
from multismooth.torch.parts import SIZE, Part, cut, parts
from multismooth.torch.positions import (
    Losses,
    Targets,
    cast,
    counted_at,
    counted_where,
    mask_of,
    only,
    positions,
    targets_of,
)
from multismooth.torch.visit import Call, Cotangents, visit

BLOCK = 2**16
"""Positions whose targets and coefficients are worked out at once: some arrays of a part's size at most."""


def applies(batch: Batch) -> bool:
    """Whether the values are at hand, nobody traces what is done to them, and only the logits want a gradient."""
    logits, *others = batch
    if not at_hand(logits) or _traced():
        return False
    return not (torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in others))


def at_hand(array: Tensor | None) -> bool:
    """Whether this is nothing but a tensor of the processor's, or none."""
    return array is None or (type(array) in (Tensor, Parameter) and array.is_cpu)


def _traced() -> bool:
    """By torch.compile or torch.jit, by vmap and the like, by forward mode, or by a mode such as FakeTensorMode."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def _block_of(batch: Batch, layout: Layout, part: Part) -> Batch:
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


def loss(call: Call, batch: Batch, good: Good | None, *, inplace: bool = False) -> Tensor:
    """What ``call.spec.reduction`` says."""
    batch = cast(batch)
    given = None if good is None else alike.alike(call.spec, good, call.layout)
    mean = mean_of(call, batch) if given is None else Mean(given.divisor, alike=given)
    wanted = torch.is_grad_enabled() and batch.logits.requires_grad
    if inplace and wanted:
        return _Overwriting.apply(call, mean, batch.logits, *batch._replace(sample_weight=mean.weight)[1:-1])
    return _Loss.apply(call, mean, wanted, *batch._replace(sample_weight=mean.weight)[:-1])


def totals(call: Call, batch: Batch) -> Totals:
    batch = cast(batch)
    mean = mean_of(call._replace(spec=replace(call.spec, reduction="mean")), batch)
    loss, nll, z_loss = _Sums.apply(call, *batch._replace(sample_weight=mean.weight)[:-1])
    return Totals(loss, loss.new_tensor(mean.divisor), nll, z_loss)


class Mean(NamedTuple):
    divisor: float
    weight: Tensor | None = None
    """what a position's loss is multiplied with"""
    targets: Targets | None = None
    """of the whole batch, if this is one block"""
    alike: Alike | None = None
    """if the positions are"""


def mean_of(call: Call, batch: Batch) -> Mean:
    """What a mean divides and multiplies by; of a sum, or without a reduction, 1 and the sample weights."""
    spec, layout = call.spec, call.layout
    if spec.reduction != "mean":
        return Mean(1.0, batch.sample_weight, None)
    counted: Any = 1.0
    weighs_classes = spec.denominator in ("class_weights", "expected_class_weights")
    targets = None
    if weighs_classes or batch.logits.numel() <= _size_of_block(batch, layout):
        targets = targets_of(spec, batch, layout, call.good)
    mask = targets.mask if targets else mask_of(spec, batch, layout)
    if targets and weighs_classes:
        counted = counted_where(counted_at(spec, batch, layout, targets.labels), batch, targets)
    like = batch.logits.new_empty((), dtype=loss_dtype(batch.logits)).expand(_positions(batch, layout))
    weight = None if batch.sample_weight is None else only(batch.sample_weight, mask)
    at = Positions(like, None, None, mask, weight, counted)
    functions = functions_for(batch.logits)
    divisor = reduction.divisor_of(spec, at, batch.normalizer, functions).item()
    weight = reduction.weights_of(spec, at, functions)
    is_theirs = weight is batch.sample_weight and batch.logits.numel() <= _size_of_block(batch, layout)
    return Mean(divisor, weight, targets if is_theirs else None)


def _size_of_block(batch: Batch, layout: Layout) -> int:
    """In logits. Soft labels are as large as these, and so is what the classes receive if that differs by position."""
    differs = layout.soft or (batch.allowed is not None and batch.allowed.dim() > 1)
    return SIZE if differs else BLOCK * layout.classes


def _visits(
    call: Call,
    batch: Batch,
    cotangents: Cotangents | None = None,
    gradient: Tensor | None = None,
    *,
    totals: bool = False,
    targets: Targets | None = None,
) -> Iterator[tuple[Any, Losses]]:
    """Where each block is, and its weighted losses, while the gradient to all logits is filled."""
    size = _size_of_block(batch, call.layout)
    if batch.logits.numel() <= size:
        yield (...,), weighted(batch, visit(call, batch, cotangents, gradient, totals=totals, targets=targets))
        return
    axis = call.layout.axis
    for block in parts(batch.logits.shape, axis, size):
        here = block[:axis] + block[axis + 1 :]
        some = _block_of(batch, call.layout, block)
        slopes = cotangents and tuple(cut(slope, here) for slope in cotangents)
        yield here, weighted(some, visit(call, some, slopes, cut(gradient, block), totals=totals))


def weighted(batch: Batch, losses: Losses) -> Losses:
    if batch.sample_weight is None:
        return losses
    weight = only(batch.sample_weight, losses.keep)
    return Losses(*(value if value is None else weight * value for value in losses[:3]), *losses[3:])


class _Loss(Function):
    """The mean or the sum, or without a reduction the loss of each position."""

    @staticmethod
    def forward(ctx: Any, call: Call, mean: Mean, wanted: bool, *arrays: Tensor | None) -> Tensor:
        batch = Batch(*arrays)
        ctx.save_for_backward(*arrays)
        ctx.call, ctx.divisor, ctx.gradient = call, mean.divisor, None
        if call.spec.reduction == "none":
            losses = batch.logits.new_empty(_positions(batch, call.layout), dtype=loss_dtype(batch.logits))
            for here, block in _visits(call, batch):
                losses[here] = block.loss
            return losses
        if wanted and worth_knowing(batch.logits):
            ctx.gradient = torch.empty_like(batch.logits)
        ctx.is_alike = mean.alike is not None
        return _reduced(call, batch, mean, ctx.gradient)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if differentiated_again(g):
            return None, None, None, _differentiable(ctx, g), *[None] * 6
        call, batch = ctx.call, Batch(*ctx.saved_tensors)
        if call.spec.reduction == "none":
            return None, None, None, _gradient(call, batch, (g, 0.0, 0.0)), *[None] * 6
        # It is the caller's from here on: what a second backward pass returns is another tensor of the same bits.
        gradient, ctx.gradient = ctx.gradient, None
        g = g.item()
        scaled = g != 1 and can_be_scaled(batch.logits, g)
        if gradient is None or (g != 1 and not scaled):
            gradient = None  # so that two of them are never held
            slope = 0.0 if ctx.divisor == 0 else (1.0 if scaled else g) / ctx.divisor
            gradient = alike.gradient(call.spec, batch, call.layout, slope) if ctx.is_alike else None
            gradient = _gradient(call, batch, (slope, 0.0, 0.0)) if gradient is None else gradient
        return None, None, None, gradient.mul_(g) if scaled else gradient, *[None] * 6


class _Overwriting(Function):
    """The mean or the sum, whose gradient takes the logits' place."""

    @staticmethod
    def forward(ctx: Any, call: Call, mean: Mean, *arrays: Tensor | None) -> Tensor:
        batch = Batch(*arrays)
        gradient = batch.logits.detach()
        loss = _reduced(call, batch, mean, gradient)
        # Shares the logits' version: autograd notices if somebody else writes there before the backward pass.
        ctx.save_for_backward(gradient)
        ctx.spent = False
        return loss

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        if differentiated_again(g):
            raise _overwritten("a derivative of its gradient is asked for")
        if ctx.spent:
            raise _overwritten("its backward pass is asked for twice")
        ctx.spent, g = True, g.item()
        if g != 1:
            if gradient.dtype != loss_dtype(gradient) and frexp(g)[0] != 0.5:
                raise _overwritten(f"the gradient, rounded to {gradient.dtype}, is to be multiplied by {g:.6g}")
            gradient.mul_(g)
        return None, None, gradient, *[None] * 6


def check_inplace(spec: Spec, batch: Batch, applies: bool) -> None:
    """Raises if the gradient of such a call cannot take the logits' place."""
    logits = batch.logits
    if spec.reduction == "none":
        raise _overwritten("without a reduction it is not known before the backward pass")
    if not applies:
        raise _overwritten("it is for eager mode on the CPU, and for a gradient to the logits alone")
    if logits.is_leaf and logits.requires_grad:
        raise _overwritten("these are a leaf, which autograd keeps")
    if logits.dtype == torch.float16:
        raise _overwritten("those of float16 are scaled before they are rounded")


def _overwritten(fact: str) -> InputError:
    return InputError(
        "inplace",
        "smoothed_cross_entropy",
        f"inplace lets the gradient take the logits' place, and {fact}",
        "Pass inplace=False",
    )


def _reduced(call: Call, batch: Batch, mean: Mean, gradient: Tensor | None) -> Tensor:
    """The mean or the sum, while the gradient is filled if there is one."""
    if mean.divisor == 0:
        if gradient is not None:
            gradient.zero_()
        fill = 0.0 if call.spec.empty == "zero" else torch.nan
        return batch.logits.new_full((), fill, dtype=loss_dtype(batch.logits))
    if mean.alike is not None:
        return alike.loss(mean.alike, batch.logits, gradient, call.layout.axis)
    cotangents = None if gradient is None else (1 / mean.divisor, 0.0, 0.0)
    visits = _visits(call, batch, cotangents, gradient, targets=mean.targets)
    return total((losses.loss for _, losses in visits), batch.logits) / mean.divisor


class _Sums(Function):
    """Loss, nll and z-loss, added up: nobody knows yet what they will be divided by."""

    @staticmethod
    def forward(ctx: Any, call: Call, *arrays: Tensor | None) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.save_for_backward(*arrays)
        batch = Batch(*arrays)
        sums = [[part.sum() for part in losses[:3]] for _, losses in _visits(call, batch, totals=True)]
        return tuple(total((block[i] for block in sums), batch.logits) for i in range(3))

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        if differentiated_again(*g):
            return None, _differentiable(ctx, *g), *[None] * 6
        gradient = _gradient(ctx.call, Batch(*ctx.saved_tensors), tuple(slope.item() for slope in g), totals=True)
        return None, gradient, *[None] * 6


def _positions(batch: Batch, layout: Layout) -> torch.Size:
    return batch.logits.shape[: layout.axis] + batch.logits.shape[layout.axis + 1 :]


def worth_knowing(logits: Tensor) -> bool:
    """Whether the gradient is computed with the loss.

    Not in float16, whose gradients are scaled before they are rounded; nor where saved tensors are packed, as they are
    under checkpointing, where the first of two forward passes would hold a gradient for nothing.
    """
    return logits.dtype != torch.float16 and torch._C._autograd._top_saved_tensors_default_hooks(False) is None


def can_be_scaled(logits: Tensor, g: float) -> bool:
    """Whether the gradient times g is that of g times the loss: not after it was rounded to half precision."""
    return logits.dtype == loss_dtype(logits) and g != 0 and isfinite(g)


def _gradient(call: Call, batch: Batch, cotangents: Cotangents, *, totals: bool = False) -> Tensor:
    gradient = torch.empty_like(batch.logits)
    for _ in _visits(call, batch, cotangents, gradient, totals=totals):
        pass
    return gradient


def total(losses: Iterable[Tensor], like: Tensor) -> Tensor:
    """Of all blocks, none of which is held."""
    sums = [block.sum() for block in losses]
    if len(sums) == 1:
        return sums[0]
    return torch.stack(sums).sum() if sums else like.new_zeros((), dtype=loss_dtype(like))


def differentiated_again(*g: Tensor) -> bool:
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
