"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from multismooth.errors import InputError
from multismooth.torch.functions import loss_dtype

FEW = 256
"""Numbers that may be added one after another; sums of more lose digits that show in the loss."""
LANES = 8
"""How many numbers of a row a processor adds side by side, or more."""


class LabelRow(NamedTuple):
    """The statistics of each row; the class axis is kept, with length 1."""

    m: Tensor
    L: Tensor
    own: Tensor
    """x_y − m"""
    rest: Tensor
    """Σ_{k≠y} v_k·(x_k − m)"""


def label_statistics(
    logits: Tensor,
    labels: Tensor,
    receivers: Tensor | None,
    allowed: Tensor | None,
    dim: int,
    smooths: bool,
    outweighs: bool = False,
) -> LabelRow:
    """Statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones.

    A class that is not ``allowed``, which meets the logits, has a logit of −inf and no gradient. ``outweighs`` says
    that the label's part may be taken off a sum over all classes.
    """
    if torch.compiler.is_compiling():
        row = _CompiledLabelStatistics.apply(logits, labels, receivers, allowed, dim, smooths, outweighs)
    else:
        row = _LabelStatistics.apply(logits, labels, receivers, allowed, dim, smooths)
    return LabelRow(*row)


def soft_statistics(
    logits: Tensor, targets: tuple[Tensor, ...], allowed: Tensor | None, dim: int
) -> tuple[Tensor, ...]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t."""
    function = _CompiledSoftStatistics if torch.compiler.is_compiling() else _SoftStatistics
    return function.apply(logits, allowed, dim, *targets)


def _widened(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """In the loss's dtype, −inf where a class is not allowed."""
    x = logits.to(loss_dtype(logits))
    return x if allowed is None else x.masked_fill(~allowed, -torch.inf)


def _widened_compiled(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """The same in a compiled forward pass, which would take three times as long along a row that is read with bools.

    So it is read with numbers. The scatter keeps a compiler from making these of bools where it reads them.
    """
    if allowed is None or allowed.dim() > 1:
        return _widened(logits, allowed)
    x = logits.to(loss_dtype(logits))
    most = torch.where(allowed, torch.inf, -torch.inf).to(x.dtype)
    most = torch.zeros_like(most).scatter(0, torch.arange(most.shape[0], device=most.device), most)
    return torch.where(x < most, x, most)


def _only(values: Tensor, allowed: Tensor | None) -> Tensor:
    """0 where a class is not allowed."""
    return values if allowed is None else values.masked_fill(~allowed, 0.0)


def _shifted(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """m, L and x − m; L is log1p of the sum without one maximum, which keeps a confident row's digits."""
    if torch.compiler.is_compiling():
        m = x.amax(dim, keepdim=True)
        z = x - m
        # The maxima are told from z, in sums alone: exp(z) is used once, or else it would be stored.
        top = z == 0
        ties = _sum(top.to(z.dtype), dim) - 1
        return m, (_sum(torch.where(top, 0.0, z.exp()), dim) + ties).log1p(), z
    m, top = x.max(dim, keepdim=True)
    z = x - m
    # z is 0 at the maximum, or NaN in a row that has no finite one.
    others = z.exp().scatter(dim, top, z.gather(dim, top))
    return m, _sum(others, dim).log1p(), z


def _sum(values: Tensor, dim: int) -> Tensor:
    """Over an axis, which is kept. PyTorch itself adds in pairs, and on a CPU its compiler one after another."""
    classes, rows = values.shape[dim], dim == values.dim() - 1
    if not (torch.compiler.is_compiling() and values.is_cpu) or classes <= (FEW * LANES if rows else FEW):
        return values.sum(dim, keepdim=True)
    size = _classes_of_block(classes) if rows else None
    if size is None:
        return values.sum(dim, keepdim=True, dtype=torch.float64).to(values.dtype)
    return values.unflatten(dim, (-1, size)).sum(dim + 1).sum(dim, keepdim=True)


def _classes_of_block(classes: int) -> int | None:
    """A divisor of the number of classes, of about as many numbers to a lane as there are ``FEW``."""
    if torch.compiler.is_dynamo_compiling():  # where the number may be open
        return None
    most = FEW * LANES
    return next((size for size in range(most, most // 4, -1) if classes % size == 0), None)


def weighted(coefficients: Tensor, z: Tensor) -> Tensor:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    return coefficients * z.masked_fill(coefficients == 0, 0.0)


def _refuse_nested_jvp() -> None:
    """PyTorch runs a Function's jvp with forward mode off: a jvp of a jvp would silently lack terms."""
    levels = torch._C._functorch.get_interpreter_stack() or ()
    if sum(level.key() == torch._C._functorch.TransformType.Jvp for level in levels) > 1:
        raise InputError(
            "nested_forward_mode",
            "smoothed_cross_entropy",
            "PyTorch differentiates no autograd.Function twice in forward mode",
            "Take one of the two derivatives in reverse mode, as torch.func.hessian does",
        )


def _slope(g: Tensor, coefficients: Tensor, z: Tensor) -> Tensor:
    """The gradient to the coefficients; a term that is skipped under a −inf logit has none."""
    skipped = z.isinf() & ((coefficients == 0) | (g == 0))
    return g * z.masked_fill(skipped, 0.0)


def without_label(z: Tensor, labels: Tensor, dim: int) -> Tensor:
    """0 at the label; a compiler compares, which takes no memory."""
    if torch.compiler.is_compiling():
        return z.masked_fill(_hit(z, labels, dim), 0.0)
    return z.scatter(dim, labels, 0.0)


def _dead(L: Tensor, *cotangents: Tensor) -> Tensor:
    """The rows that no cotangent reaches: their gradient is 0.

    As a function of the cotangent it has a slope there, and who differentiates it wants that of each row that has one.
    """
    dead = cotangents[0] == 0
    for cotangent in cotangents[1:]:
        dead = dead & (cotangent == 0)
    return dead & ~L.isfinite() if torch.is_grad_enabled() else dead


def _pullback(x: Tensor, m: Tensor, L: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
    """x − m and L for the backward pass.

    A dead row may hold NaN. In a second derivative it would leak through 0·NaN, and so it is emptied.
    """
    if torch.is_grad_enabled():
        x, m, L = (tensor.masked_fill(dead, 0.0) for tensor in (x, m, L))
    return x - m, L


def _pushforward(x: Tensor, m: Tensor, L: Tensor, t: Tensor | None, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """x − m, the tangent of L, and that of x. A row without a finite L is emptied, and its tangent is NaN.

    If it is masked, a derivative of this one would leak 0·NaN.
    """
    lost = ~L.isfinite()
    z = (x - m).masked_fill(lost, 0.0)
    t = torch.zeros_like(z) if t is None else t.to(z.dtype)
    t_L = ((z - L.masked_fill(lost, 0.0)).exp() * t).sum(dim, keepdim=True)
    return z, t_L.masked_fill(lost, torch.nan), t


class _LabelStatistics(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor, labels: Tensor, receivers: Tensor | None, allowed: Tensor | None, dim: int, smooths: bool
    ) -> tuple[Tensor, ...]:
        m, L, z = _shifted(_widened(logits, allowed), dim)
        own = z.gather(dim, labels)
        if not smooths:
            return m, L, own, torch.zeros_like(L)
        z = without_label(z, labels, dim)
        if receivers is not None:
            z = weighted(receivers, z)
        return m, L, own, z.sum(dim, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, labels, receivers, allowed, ctx.dim, ctx.smooths = inputs
        m, L, *_ = output
        ctx.mark_non_differentiable(m)
        # L is saved as an output, so that a second derivative finds its way through it.
        ctx.save_for_backward(logits, labels, receivers, allowed, m, L)
        ctx.save_for_forward(logits, labels, receivers, allowed, m, L)

    @staticmethod
    def backward(ctx: Any, _m: Tensor, g: Tensor, g_own: Tensor, g_rest: Tensor) -> Any:
        logits, labels, receivers, allowed, m, L = ctx.saved_tensors
        dim = ctx.dim
        dead = _dead(L, g, g_own, g_rest)
        z, L = _pullback(_widened(logits, allowed), m, L, dead)
        grad_logits = grad_receivers = None
        if ctx.needs_input_grad[0]:
            grad = g * (z - L).exp()
            own = grad.gather(dim, labels) + g_own
            if ctx.smooths:
                grad = grad + (g_rest if receivers is None else g_rest * receivers)
            # Set, and not corrected: g_rest may be larger than all that is right at the label.
            grad = grad.scatter(dim, labels, own)
            grad_logits = _only(grad.masked_fill(dead, 0.0), allowed).to(logits.dtype)
        if ctx.needs_input_grad[2]:
            rest = without_label(_slope(g_rest, receivers, z), labels, dim)
            grad_receivers = rest.masked_fill(dead, 0.0).sum_to_size(receivers.shape)
        return grad_logits, None, grad_receivers, None, None, None

    @staticmethod
    def jvp(ctx: Any, t_logits: Tensor, _labels: Any, t_receivers: Any, *_: Any) -> Any:
        _refuse_nested_jvp()
        logits, labels, receivers, allowed, m, L = ctx.saved_tensors
        dim = ctx.dim
        t_logits = None if t_logits is None else _only(t_logits, allowed)
        z, t_L, t = _pushforward(_widened(logits, allowed), m, L, t_logits, dim)
        t_rest = torch.zeros_like(L)
        if ctx.smooths:
            rest = t if receivers is None else receivers * t
            if t_receivers is not None:
                rest = rest + _slope(t_receivers, receivers, z)
            t_rest = without_label(rest.expand_as(z), labels, dim).sum(dim, keepdim=True)
        return None, t_L, t.gather(dim, labels), t_rest


class _SoftStatistics(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, allowed: Tensor | None, dim: int, *targets: Tensor) -> tuple[Tensor, ...]:
        m, L, z = _shifted(_widened(logits, allowed), dim)
        return m, L, *(_sum(weighted(target, z), dim) for target in targets)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, allowed, ctx.dim, *targets = inputs
        m, L, *_ = output
        ctx.mark_non_differentiable(m)
        ctx.save_for_backward(logits, allowed, m, L, *targets)
        ctx.save_for_forward(logits, allowed, m, L, *targets)

    @staticmethod
    def backward(ctx: Any, _m: Tensor, g: Tensor, *g_dots: Tensor) -> Any:
        logits, allowed, m, L, *targets = ctx.saved_tensors
        dead = _dead(L, g, *g_dots)
        z, L = _pullback(_widened(logits, allowed), m, L, dead)
        grad_logits = None
        if ctx.needs_input_grad[0]:
            grad = g * (z - L).exp()
            for g_dot, target in zip(g_dots, targets, strict=True):
                grad = grad + g_dot * target
            grad_logits = _only(grad.masked_fill(dead, 0.0), allowed).to(logits.dtype)
        grad_targets = (
            _slope(g_dot, target, z).masked_fill(dead, 0.0) if needed else None
            for g_dot, target, needed in zip(g_dots, targets, ctx.needs_input_grad[3:], strict=True)
        )
        return grad_logits, None, None, *grad_targets

    @staticmethod
    def jvp(ctx: Any, t_logits: Tensor, _allowed: Any, _dim: Any, *t_targets: Any) -> Any:
        _refuse_nested_jvp()
        logits, allowed, m, L, *targets = ctx.saved_tensors
        dim = ctx.dim
        t_logits = None if t_logits is None else _only(t_logits, allowed)
        z, t_L, t = _pushforward(_widened(logits, allowed), m, L, t_logits, dim)
        dots = []
        for target, t_target in zip(targets, t_targets, strict=True):
            dot = target * t
            if t_target is not None:
                dot = dot + _slope(t_target, target, z)
            dots.append(dot.sum(dim, keepdim=True))
        return None, t_L, *dots


class _CompiledLabelStatistics(_LabelStatistics):
    """Dynamo traces no Function that has a jvp of its own.

    A compiler makes each sum and the gradient on its way through the logits. Along a row each class's index is compared
    with the label only where no sum over all will do, for these comparisons take as long as all the rest.
    """

    jvp = Function.jvp

    @staticmethod
    def forward(
        logits: Tensor,
        labels: Tensor,
        receivers: Tensor | None,
        allowed: Tensor | None,
        dim: int,
        smooths: bool,
        outweighs: bool,
    ) -> tuple[Tensor, ...]:
        add = partial(_sum, dim=dim)
        x = _widened_compiled(logits, allowed)
        m, L, z = _shifted(x, dim)
        own = x.gather(dim, labels) - m
        if not smooths:
            return m, L, own, torch.zeros_like(L)
        if outweighs:
            # A label's −inf makes the loss infinite, whatever the others add to it.
            return m, L, own, torch.where(own == -torch.inf, 0.0, add(z) - own)
        hit = _hit(logits, labels, dim)
        skipped = hit if receivers is None else hit | (receivers == 0)
        rest = torch.where(skipped, 0.0, z if receivers is None else receivers * z)
        return m, L, own, add(rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, labels, receivers, allowed, ctx.dim, *_ = inputs
        m, L, own, _rest = output
        ctx.mark_non_differentiable(m)
        # If the label's logit were read again, the gradient could not take the place of logits that are used no more.
        ctx.save_for_backward(logits, labels, receivers, allowed, m, L, own)

    @staticmethod
    def backward(ctx: Any, _m: Tensor, g: Tensor, g_own: Tensor, g_rest: Tensor) -> Any:
        logits, labels, receivers, allowed, m, L, own = ctx.saved_tensors
        z = _widened(logits, allowed) - m
        grad_logits = grad_receivers = None
        if ctx.needs_input_grad[0]:
            # A row that no cotangent reaches may hold NaN. For every class one comparison is made, not three.
            unused = g == 0
            grad = torch.where(unused, 0.0, g * (z - L).exp())
            rest = g_rest if receivers is None else torch.where(g_rest == 0, 0.0, g_rest * receivers)
            if ctx.dim < logits.dim() - 1:
                # A plane's class is one number, and its labels are compared side by side: a scatter would jump about.
                grad_logits = (grad + torch.where(_hit(logits, labels, ctx.dim), g_own, rest)).to(logits.dtype)
            else:
                at_label = torch.where(unused, 0.0, g * (own - L).exp()) + g_own
                grad_logits = (grad + rest).to(logits.dtype).scatter(ctx.dim, labels, at_label.to(logits.dtype))
        if ctx.needs_input_grad[2]:
            unused = _hit(logits, labels, ctx.dim) | (g_rest == 0)
            rest = _slope(g_rest, receivers, z).masked_fill(unused, 0.0)
            grad_receivers = rest.sum_to_size(receivers.shape)
        return grad_logits, None, grad_receivers, None, None, None, None


class _CompiledSoftStatistics(_SoftStatistics):
    jvp = Function.jvp


class _Held(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.as_strided(g.size(), g.stride())


def with_held_cotangent(losses: Tensor) -> Tensor:
    """The same. In a compiled backward pass on a CPU their cotangent is worked out once, and not anew for every class.

    What would be fused is held where a stride is asked for. Dynamo, where it looks in, vmaps no such Function.
    """
    compiled = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    return _Held.apply(losses) if compiled and losses.is_cpu else losses


def _hit(logits: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Where the class is the label; in int32, of which a vector register holds twice as many."""
    classes = torch.arange(logits.shape[dim], device=logits.device, dtype=torch.int32)
    return classes.view(-1, *[1] * (logits.dim() - 1 - dim)) == labels.int()
