"""A linear layer with the loss: the logits are made, and differentiated, block by block, and never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from multismooth import checks, reduction
from multismooth.checks import Batch, Layout
from multismooth.reduction import Positions
from multismooth.spec import Spec, as_spec
from multismooth.torch import fused
from multismooth.torch.functions import describe, functions_for, loss_dtype, read
from multismooth.torch.fused import Mean
from multismooth.torch.parts import SIZE, Part, cut, in_parts, parts
from multismooth.torch.positions import Losses, cast, positions, targets_of
from multismooth.torch.visit import Call, Cotangents, visit

CALL = "linear_smoothed_cross_entropy"

ELEMENTS = 2**25
"""Logits of a block: the rows of one are enough to keep a matrix product at its speed, at 2¹⁷ classes still 256."""

CLASSES = 2**14
"""Terms that one product adds up: at 2¹⁷ in one, its error was 200 units of float32."""


def linear_smoothed_cross_entropy(
    hidden: Tensor,
    kernel: Tensor,
    labels: Tensor,
    spec: Spec | float = Spec(),
    *,
    bias: Tensor | None = None,
    logit_scale: float | None = None,
    softcap: float | None = None,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    prior: Tensor | None = None,
    allowed: Tensor | None = None,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """``smoothed_cross_entropy`` of a linear layer's logits, which are never held as a whole.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    or without a ``softcap`` its argument times that. Blocks of rows are made one after another; where the cotangent is
    known, as a mean's or a sum's is, each block's gradients are made while its logits are there, in three matrix
    products like the layer's own. Rows that do not count take no part in them.

    Args:
        hidden: float16, bfloat16, float32 or float64 [*batch, D].
        kernel: [D, K] of the same dtype; of an ``nn.Linear`` it is ``weight.T``.
        labels: class indices [*batch] of any integer dtype. Probabilities are refused: they are as large as the logits.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        bias: [K] of the same dtype.
        logit_scale: a finite number. One that is learned multiplies ``hidden`` before.
        softcap: a number > 0.
        where, sample_weight, class_weight, prior, allowed, normalizer: as in ``smoothed_cross_entropy``, with the
            classes on the last axis.

    Returns:
        As ``smoothed_cross_entropy``. The layer's output is of ``hidden``'s dtype, and under autocast of autocast's;
        all that follows is in float32, or in float64 for float64, and the gradient to that output is rounded to its
        dtype once. Gradients to kernel and bias are added up over the blocks in float32.

    A row that does not count has a gradient of 0 and adds nothing to the kernel's, whatever ``hidden`` holds there.

    Where somebody compiles, transforms or differentiates more than hidden, kernel and bias, a block's logits are made
    again for the derivative (``torch.utils.checkpoint``); within ``torch.func`` they are kept.

    Raises:
        InputError: as in ``smoothed_cross_entropy``.

    >>> import torch
    >>> layer = torch.nn.Linear(8, 4)
    >>> hidden, labels = torch.randn(2, 3, 8), torch.tensor([[0, 1, 3], [2, 0, 0]])
    >>> loss = linear_smoothed_cross_entropy(hidden, layer.weight.T, labels, 0.1, bias=layer.bias)
    >>> torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(
    ...     layer(hidden).flatten(0, 1), labels.flatten(), label_smoothing=0.1))
    """
    spec = as_spec(spec, CALL)
    hidden, kernel, bias = _autocast(hidden, kernel, bias)
    described = checks.check_linear(CALL, hidden, kernel, bias, logit_scale, softcap, labels, describe)
    # Stands for the logits: their shape, dtype and device, and no memory.
    logits = hidden.detach().new_empty(()).expand(described.shape)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    layout = checks.check_call(CALL, spec, batch, -1, describe)
    good = not torch.compiler.is_compiling() and checks.check_values(CALL, spec, batch, layout, read) is not None
    call, linear = Call(spec, layout, good), Linear(hidden, kernel, bias, logit_scale, softcap)
    if fused.applies(batch) and all(map(fused.at_hand, linear[:3])):
        return _fused(call, batch, linear)
    at = _positions(call, batch, linear)
    return reduction.reduce(spec, at, normalizer, functions_for(at.loss))


class Linear(NamedTuple):
    """What logits are made from."""

    hidden: Tensor
    kernel: Tensor
    bias: Tensor | None
    scale: float | None
    softcap: float | None

    def output(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """The layer's."""
        if self.bias is None:
            return torch.mm(hidden, self.kernel, out=out)
        return torch.addmm(self.bias, hidden, self.kernel, out=out)

    def logits(self, output: Tensor) -> Tensor:
        if self.scale is None and self.softcap is None:
            return output
        x = output.to(loss_dtype(output))
        x = x if self.scale is None else x * self.scale
        return x if self.softcap is None else (x / self.softcap).tanh() * self.softcap


def _autocast(*tensors: Any) -> list[Any]:
    """As autocast treats a linear layer's arguments."""
    kinds = {x.device.type for x in tensors if isinstance(x, Tensor)}
    kind = kinds.pop() if len(kinds) == 1 else "cpu"
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    dtype = torch.get_autocast_dtype(kind)
    castable = (torch.float16, torch.bfloat16, torch.float32)
    return [x.to(dtype) if isinstance(x, Tensor) and x.dtype in castable else x for x in tensors]


# --- The plain way ----------------------------------------------------------------------------------------------


def _positions(call: Call, batch: Batch, linear: Linear) -> Positions:
    """Of all blocks, whose logits a derivative makes again."""
    rows, classes, call = batch.labels.numel(), call.layout.classes, _by_rows(call)
    flat, hidden = _flat(batch, classes), _rows(linear.hidden)
    size = max(1, ELEMENTS // classes)
    transformed = torch._C._functorch.peek_interpreter_stack() is not None

    def block(some: Batch, hidden: Tensor) -> Positions:
        used = _used(call, some, hidden)
        # The kernel's derivative would be 0·NaN, and a loss that is no number is not kept.
        hidden = hidden if used is None else torch.where(used, hidden, 0.0)
        logits = linear.logits(linear.output(hidden))
        logits = logits if used is None else torch.where(used, logits, torch.nan)
        return positions(call.spec, some._replace(logits=logits), call.layout, call.good, totals=False)

    keep = transformed or not torch.is_grad_enabled()
    make = block if keep else partial(checkpoint, block, use_reentrant=False)
    blocks = [
        make(_rows_of(flat, slice(start, start + size)), hidden[start : start + size])
        for start in range(0, max(1, rows), size)
    ]
    shape = batch.labels.shape
    return Positions(*(_joined(list(parts), shape) for parts in zip(*blocks, strict=True)))


def _used(call: Call, batch: Batch, hidden: Tensor) -> Tensor | None:
    """The rows that count, and of weight 0 those of numbers; None for all."""
    mask, weight = targets_of(call.spec, batch, call.layout, call.good).mask, batch.sample_weight
    if weight is not None:
        live = (weight != 0) | hidden.isfinite().all(-1)
        mask = live if mask is None else mask & live
    return None if mask is None else mask.unsqueeze(-1)


def _joined(blocks: list[Any], shape: torch.Size) -> Any:
    return torch.cat(blocks).reshape(shape) if isinstance(blocks[0], Tensor) else blocks[0]


def _by_rows(call: Call) -> Call:
    return call._replace(layout=Layout(1, call.layout.classes, False))


def _rows(hidden: Tensor) -> Tensor:
    return hidden.reshape(hidden.shape[:-1].numel(), hidden.shape[-1])


def _flat(batch: Batch, classes: int) -> Batch:
    """With one axis of positions."""

    def flat(array: Tensor | None) -> Tensor | None:
        return array if array is None else array.reshape(-1)

    allowed = batch.allowed
    return batch._replace(
        labels=batch.labels.reshape(-1),
        where=flat(batch.where),
        sample_weight=flat(batch.sample_weight),
        allowed=allowed if allowed is None or allowed.dim() == 1 else allowed.reshape(-1, classes),
    )


def _rows_of(batch: Batch, rows: Any) -> Batch:
    def cut(array: Tensor | None) -> Tensor | None:
        return array if array is None else array[rows]

    allowed = batch.allowed
    return batch._replace(
        labels=batch.labels[rows],
        where=cut(batch.where),
        sample_weight=cut(batch.sample_weight),
        allowed=allowed if allowed is None or allowed.dim() == 1 else allowed[rows],
    )


# --- Eager, for a gradient to hidden, kernel and bias -----------------------------------------------------------


def _fused(call: Call, batch: Batch, linear: Linear) -> Tensor:
    batch = cast(batch)
    mean = fused.mean_of(call, batch)
    wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in linear[:3])
    arrays = batch._replace(sample_weight=mean.weight)[1:-1]
    return _Linear.apply(call, mean._replace(targets=None), wanted, *linear, *arrays)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, call: Call, mean: Mean, wanted: bool, *given: Any) -> Tensor:
        ctx.save_for_backward(*given[:3], *given[5:])
        ctx.call, ctx.divisor, ctx.numbers, ctx.gradients = call, mean.divisor, given[3:5], None
        linear, batch = Linear(*given[:5]), _batch(call, *given)
        if call.spec.reduction == "none":
            losses = linear.hidden.new_zeros(batch.labels.shape, dtype=loss_dtype(linear.hidden))
            for rows, block in _visits(call, batch, linear):
                losses[rows] = block.loss
            return losses.reshape(given[5].shape)
        if mean.divisor == 0:
            fill = 0.0 if call.spec.empty == "zero" else torch.nan
            return linear.hidden.new_full((), fill, dtype=loss_dtype(linear.hidden))
        cotangents = None
        if wanted and fused.worth_knowing(linear.hidden):
            ctx.gradients = Gradients.of(linear, ctx.needs_input_grad[3:6])
            cotangents = (1 / mean.divisor, 0.0, 0.0)
        visits = _visits(call, batch, linear, cotangents, ctx.gradients)
        losses = fused.total((block.loss for _, block in visits), linear.hidden) / mean.divisor
        ctx.gradients = ctx.gradients and ctx.gradients.rounded(linear)
        return losses

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        given = (*saved[:3], *ctx.numbers, *saved[3:])
        if fused.differentiated_again(g):
            return None, None, None, *_differentiable(ctx, given, g), *[None] * 8
        gradients, ctx.gradients = ctx.gradients, None
        linear, call, scale = Linear(*given[:5]), ctx.call, 1.0
        if call.spec.reduction == "none":
            cotangent = g.reshape(-1)
        else:
            g = g.item()
            scale = g if fused.can_be_scaled(linear.hidden, g) else 1.0
            cotangent = 0.0 if ctx.divisor == 0 else g / scale / ctx.divisor
            gradients = gradients if g == scale else None
        if gradients is None:
            gradients = Gradients.of(linear, ctx.needs_input_grad[3:6])
            for _ in _visits(call, _batch(call, *given), linear, (cotangent, 0.0, 0.0), gradients):
                pass
            gradients = gradients.rounded(linear)
        if scale != 1:
            gradients = Gradients(*(x if x is None else x.mul_(scale) for x in gradients))
        return None, None, None, *gradients, *[None] * 8


class Gradients(NamedTuple):
    """To those of hidden, kernel and bias that want one; added up in the loss's dtype."""

    hidden: Tensor | None
    kernel: Tensor | None
    bias: Tensor | None

    @classmethod
    def of(cls, linear: Linear, wanted: tuple[bool, ...]) -> Gradients:
        hidden, kernel, bias = (x if wants else None for x, wants in zip(linear[:3], wanted, strict=True))
        dtype = loss_dtype(linear.hidden)
        return cls(
            hidden if hidden is None else torch.zeros_like(hidden),
            kernel if kernel is None else torch.zeros_like(kernel, dtype=dtype),
            bias if bias is None else torch.zeros_like(bias, dtype=dtype),
        )

    def add(self, rows: Any, hidden: Tensor, gradient: Tensor, linear: Linear) -> None:
        """From the gradient to the layer's output of these rows."""
        if self.hidden is not None:
            _rows(self.hidden)[rows] = _over_classes(gradient, linear.kernel)
        if self.kernel is not None and self.kernel.dtype == hidden.dtype:
            self.kernel.addmm_(hidden.T, gradient)
        elif self.kernel is not None:
            self.kernel.add_(hidden.T @ gradient)
        if self.bias is not None:
            self.bias.add_(gradient.sum(0, dtype=self.bias.dtype))

    def rounded(self, linear: Linear) -> Gradients:
        return Gradients(*(x if x is None else x.to(linear.hidden.dtype) for x in self))


def _over_classes(gradient: Tensor, kernel: Tensor) -> Tensor:
    """gradient·kernelᵀ. Over very many classes a product would add up its terms one to another, and lose digits."""
    products = [g @ k.T for g, k in zip(gradient.split(CLASSES, 1), kernel.split(CLASSES, 1), strict=True)]
    return products[0] if len(products) == 1 else torch.stack(products).sum(0)


def _batch(call: Call, *given: Any) -> Batch:
    """With one axis of positions, and something that stands for the logits."""
    hidden, labels = given[0], given[5]
    logits = hidden.new_empty(()).expand(*labels.shape, call.layout.classes)
    return _flat(Batch(logits, *given[5:]), call.layout.classes)


def _visits(
    call: Call,
    batch: Batch,
    linear: Linear,
    cotangents: Cotangents | None = None,
    gradients: Gradients | None = None,
) -> Iterator[tuple[Any, Losses]]:
    """The rows of each block and their weighted losses, while the gradients are added up."""
    call, hidden = _by_rows(call), _rows(linear.hidden)
    used, size = _live(call, batch), max(1, ELEMENTS // call.layout.classes)
    count = len(hidden) if used is None else len(used)
    room = hidden.new_empty(min(size, count), call.layout.classes)
    for start in range(0, count, size):
        rows = slice(start, start + size) if used is None else used[start : start + size]
        h = hidden[rows]
        output = linear.output(h, room[: len(h)])
        some = _rows_of(batch, rows)._replace(logits=output)
        slopes = cotangents and tuple(x[rows] if isinstance(x, Tensor) else x for x in cotangents)
        worked = partial(_worked, linear, wanted=gradients is not None)
        losses = visit(call, some, slopes, output if gradients is not None else None, worked=worked)
        if gradients is not None:
            gradients.add(rows, h, output, linear)
        yield rows, fused.weighted(some, losses)


def _live(call: Call, batch: Batch) -> Tensor | None:
    """The rows that add anything; None for all."""
    mask, weight = targets_of(call.spec, batch, call.layout, call.good).mask, batch.sample_weight
    if weight is not None:
        mask = weight != 0 if mask is None else mask & (weight != 0)
    return None if mask is None else mask.nonzero()[:, 0]


def _worked(
    linear: Linear, output: Tensor, gradient: Tensor | None, axis: int, *, wanted: bool
) -> Iterator[tuple[Part | None, Tensor, Tensor]]:
    """The parts of a block as logits, and what their gradient becomes through scale and cap."""
    if linear.scale is None and linear.softcap is None:
        yield from in_parts(output, gradient, axis)
        return
    scale = 1.0 if linear.scale is None else linear.scale
    cap, dtype = linear.softcap, loss_dtype(output)
    for part in parts(output.shape, axis, SIZE):
        x = cut(output, part).to(dtype) * scale
        t = None if cap is None else (x / cap).tanh_()
        x = x if t is None else torch.mul(t, cap, out=x)
        yield part, x, x
        if wanted:
            x = x if t is None else x.mul_(1 - t.square_())
            cut(gradient, part).copy_(x.mul_(scale))


def _differentiable(ctx: Any, given: tuple[Any, ...], g: Tensor) -> list[Tensor | None]:
    """The gradients for a second derivative: by PyTorch, of the plain loss."""
    call, linear = ctx.call, Linear(*given[:5])
    wanted = [x for x, needed in zip(given[:3], ctx.needs_input_grad[3:6], strict=True) if needed]
    with torch.enable_grad():
        logits = linear.hidden.detach().new_empty(()).expand(*given[5].shape, call.layout.classes)
        at = _positions(call, Batch(logits, *given[5:]), linear)
        value = reduction.weighted(at.loss, at.sample_weight)
        if call.spec.reduction != "none":
            value = value.sum() / ctx.divisor if ctx.divisor else value.sum() * 0.0
    found = iter(torch.autograd.grad(value, wanted, g, create_graph=torch.is_grad_enabled()))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[3:6]]
