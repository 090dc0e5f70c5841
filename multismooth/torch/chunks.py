"""The statistics of many logits and their gradient, part by part, so that a part stays in the processor's cache.

They are what ``statistics`` computes for a few logits at once, and take no memory of the logits' size but the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import torch
from torch import Tensor
from torch.nn import Parameter

SIZE = 2**20
"""Elements of a part: smaller ones cost more in calls than they save, and larger ones leave the cache.

Of 2¹⁷ … 2²² the fastest, at 2048×32768 in float32 on two cores of an AMD EPYC.
"""
MANY = 2**17
"""Elements from which the fewest passes are faster than the fewest calls; measured there with 10 to 1000 classes."""

Part = tuple[slice, ...]


def pays(logits: Tensor) -> bool:
    """Whether there are many logits, whose values are at hand, and nobody traces what is done to them."""
    at_hand = type(logits) in (Tensor, Parameter) and logits.device.type == "cpu"
    return logits.numel() >= MANY and at_hand and not _traced(logits)


def _traced(logits: Tensor) -> bool:
    """By vmap, for a second derivative, by torch.compile, or by a mode such as FakeTensorMode."""
    modes = torch._C._len_torch_dispatch_stack()
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(logits)
    return bool(modes) or wrapped or torch.is_grad_enabled() or torch.compiler.is_compiling()


def parts(shape: tuple[int, ...], dim: int) -> Iterator[Part]:
    """Indices that cut a shape into parts, along all axes but the classes': the first ones first."""
    lengths = list(shape)
    for axis, length in enumerate(shape):
        if axis != dim and prod(lengths) > SIZE:
            lengths[axis] = max(1, SIZE * length // prod(lengths))
    starts = (range(0, whole, length) for whole, length in zip(shape, lengths, strict=True))
    for corner in product(*starts):
        yield tuple(slice(start, start + length) for start, length in zip(corner, lengths, strict=True))


def label_statistics(
    logits: Tensor,
    labels: Tensor,
    receivers: Tensor | None,
    allowed: Tensor | None,
    dim: int,
    smooths: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """m, L, x_y − m and Σ_{k≠y} v_k·(x_k − m)."""
    m, L, own, rest = logits.new_zeros((4, *labels.shape), dtype=dtype).unbind()
    receivers, allowed = (None if array is None else array.expand_as(logits) for array in (receivers, allowed))
    work = None
    for part in parts(logits.shape, dim):
        x, y = logits[part], labels[part]
        if allowed is not None:
            x = x.masked_fill(~allowed[part], -torch.inf)
        work = logits.new_empty(x.numel(), dtype=dtype) if work is None else work
        z = work[: x.numel()].view(x.shape)
        m[part] = x.amax(dim, keepdim=True)
        torch.sub(x, m[part], out=z)
        own[part] = z.gather(dim, y)
        if smooths:
            z.scatter_(dim, y, 0.0)
            rest[part] = (z if receivers is None else weighted(receivers[part], z)).sum(dim, keepdim=True)
            z.scatter_(dim, y, own[part])
        L[part] = _others_at_once(z.exp_(), dim).log1p_()
    return m, L, own, rest


def label_gradient(
    logits: Tensor,
    labels: Tensor,
    receivers: Tensor | None,
    allowed: Tensor | None,
    statistics: tuple[Tensor, Tensor],
    cotangents: tuple[Tensor, Tensor, Tensor],
    dead: Tensor,
    dim: int,
    smooths: bool,
) -> Tensor:
    """The gradient to the logits, from m and L and the cotangents of L, x_y − m and the sum; 0 in ``dead`` rows."""
    (m, L), (g, g_own, g_rest) = statistics, (cotangent.masked_fill(dead, 0.0) for cotangent in cotangents)
    lost = dead & ~L.isfinite()  # where 0 times the row is no 0
    gradient = torch.empty_like(logits)
    receivers, allowed = (None if array is None else array.expand_as(logits) for array in (receivers, allowed))
    for part in parts(logits.shape, dim):
        x, y, out = logits[part], labels[part], gradient[part]
        p = out if out.dtype == m.dtype else torch.empty_like(x, dtype=m.dtype)
        torch.sub(x, m[part], out=p).sub_(L[part]).exp_().mul_(g[part])
        own = p.gather(dim, y).add_(g_own[part])
        if smooths and receivers is None:
            p.add_(g_rest[part])
        elif smooths:
            p.addcmul_(g_rest[part], receivers[part])
        # Set, and not corrected: g_rest may be larger than all that is right at the label.
        p.scatter_(dim, y, own)
        if lost[part].any():
            p.masked_fill_(lost[part], 0.0)
        if allowed is not None:
            p.masked_fill_(~allowed[part], 0.0)
        if p is not out:
            out.copy_(p)
    return gradient


def weighted(coefficients: Tensor, z: Tensor) -> Tensor:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    return coefficients * z.masked_fill(coefficients == 0, 0.0)


def others(e: Tensor, dim: int) -> Tensor:
    """Σ exp z less the 1 of one maximum: each 1 is counted, and the rest summed by itself, which keeps its digits."""
    ones = e == 1
    return torch.where(ones, 0.0, e).sum(dim, keepdim=True) + (ones.sum(dim, keepdim=True) - 1)


def _others_at_once(e: Tensor, dim: int) -> Tensor:
    """The same, faster: from the whole sum, where the maximum is not most of it."""
    total = e.sum(dim, keepdim=True)
    rest, near = total - 1, (total < 2).squeeze(dim)
    if near.any():
        rest.squeeze(dim)[near] = others(e.movedim(dim, -1)[near], -1).squeeze(-1)
    return rest
