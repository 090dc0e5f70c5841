"""Sums over the classes of each row of logits, along the way that XLA makes fast.

For a row x with m = max x and v the classes' shares,

    L = log Σ_k exp(x_k − m),        own = x_y − m,        rest = Σ_{k≠y} v_k·(x_k − m)

L is log1p of the sum without one maximum, which keeps a confident row's digits. Both sums leave one class out, and a
comparison with every class does that in the same words everywhere: ``_whole``. On the CPU, though, XLA then takes a
pass for each of the sums, and of large logits it holds a copy for each. So there are other ways there: ``_by_planes``
where the classes do not come last; where they do, ``_at_once`` for few classes, ``_by_lanes`` for logits that fit the
cache, else ``_by_blocks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType

from multismooth.blocks import CACHED, classes_of_block, classes_of_lane

LARGE = 2**16
"""So many logits are worth another way; below it the number of operations is what a call costs."""

AT_ONCE = 24
"""Of so many classes at most, which come last, all sums are taken in one pass.

Measured on an AVX-512 processor: 24 classes gain by it, forward and backward; 32 lose forward.
"""


class LabelRow(NamedTuple):
    """The statistics of each row; the class axis is kept, with length 1."""

    m: Array
    L: Array
    own: Array
    """x_y − m"""
    rest: Array
    """Σ_{k≠y} v_k·(x_k − m)"""
    e: Array | None
    """exp(x − m), for the gradient, or None where it takes them anew"""


def loss_dtype(logits: Array) -> jnp.dtype:
    """The dtype that the loss is computed and returned in."""
    return jnp.dtype(jnp.float64 if logits.dtype == jnp.float64 else jnp.float32)


def widened(logits: Array) -> Array:
    return logits.astype(loss_dtype(logits))


def weighted(coefficients: Array, z: Array) -> Array:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    return coefficients * jnp.where(coefficients == 0, 0.0, z)


def is_label(labels: Array, axis: int, classes: int) -> Array:
    """Where the class is the label's. XLA fuses this comparison into the sum around it."""
    shape = [1] * labels.ndim
    shape[axis] = classes
    return jax.lax.broadcasted_iota(labels.dtype, shape, axis) == labels


def take_label(values: Array, labels: Array, axis: int) -> Array:
    """Each row's value at its label: a gather, but under explicit sharding, where JAX has none."""
    if not _is_explicit():
        return jnp.take_along_axis(values, labels, axis)
    mine = is_label(labels, axis, values.shape[axis])
    return jnp.where(mine, values, 0).sum(axis, keepdims=True, dtype=values.dtype)


def label_row(logits: Array, labels: Array, receivers: Array | None, axis: int, smooths: bool) -> LabelRow:
    """The statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones."""
    m, L, rest, e = _sums(logits, labels if smooths else None, receivers, axis)
    own = widened(take_label(logits, labels, axis)) - m
    return LabelRow(m, L, own, jnp.zeros_like(L) if rest is None else rest, e)


def maximum_and_log(logits: Array, axis: int) -> tuple[Array, Array]:
    """m and L; the class axis is kept."""
    return _sums(logits, None, None, axis)[:2]


def _sums(logits: Array, labels: Array | None, receivers: Array | None, axis: int) -> Any:
    """m, L, with labels the rest, and the exponentials if they are to be kept."""
    classes, is_last = logits.shape[axis], axis == logits.ndim - 1
    cached, whole = logits.size < CACHED, partial(_whole, axis=axis)
    alone, at_once = partial(whole, keeps=cached), is_last and classes <= AT_ONCE
    if _is_explicit() or (logits.size < LARGE and not at_once):
        return alone(logits, labels, receivers)
    if at_once:
        way, whole = partial(_at_once, keeps=cached), alone
    elif is_last and cached and (size := classes_of_lane(classes)):
        way, whole = partial(_by_lanes, size=size), alone
    elif is_last and (size := classes_of_block(classes)):
        way = partial(_by_blocks, size=size)
    elif not is_last and logits.size >= classes**2:
        way = partial(_by_planes, axis=axis)
    else:
        return alone(logits, labels, receivers)
    return jax.lax.platform_dependent(logits, labels, receivers, cpu=way, default=whole)


def _is_explicit() -> bool:
    return AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def _whole(logits: Array, labels: Array | None, receivers: Array | None, axis: int, keeps: bool = False) -> Any:
    x = widened(logits)
    m = x.max(axis, keepdims=True)
    z = x - m
    e = jnp.exp(z)
    L = jnp.log1p(_others(z, e, axis))
    rest = None if labels is None else _rest(z, labels, receivers, axis)
    return m, L, rest, e if keeps else None


def _rest(z: Array, labels: Array, receivers: Array | None, axis: int) -> Array:
    z = z if receivers is None else weighted(receivers, z)
    return jnp.where(is_label(labels, axis, z.shape[axis]), 0.0, z).sum(axis, keepdims=True)


def _others(z: Array, e: Array, axis: int) -> Array:
    """Σ exp(z) without one maximum. Each is exp(0) = 1: the sum omits all of them, and all but one are put back."""
    top = z == 0
    others = jnp.where(top, 0.0, e).sum(axis, keepdims=True)
    return others + (top.sum(axis, keepdims=True, dtype=z.dtype) - 1)


def _by_planes(logits: Array, labels: Array | None, receivers: Array | None, axis: int) -> Any:
    """One class at a time: what lies side by side in memory are positions, and these are summed side by side."""
    classes, dtype = logits.shape[axis], loss_dtype(logits)
    axis -= logits.ndim  # which meets receivers of fewer axes too
    # Several classes in one step, for the sums are read and written at each.
    loop = partial(jax.lax.fori_loop, 0, classes, unroll=4)

    # XLA would widen all of half-precision logits before the loop, unless it takes them for integers.
    bits = logits if dtype == logits.dtype else jax.lax.bitcast_convert_type(logits, jnp.uint16)

    def plane(k: Array) -> Array:
        here = jax.lax.dynamic_slice_in_dim(bits, k, 1, axis)
        return jax.lax.bitcast_convert_type(here, logits.dtype).astype(dtype)

    zero = jnp.zeros_like(plane(0))
    m = loop(lambda k, m: jnp.maximum(m, plane(k)), zero - jnp.inf)

    def add(k: Array, sums: Any) -> Any:
        others, ties, rest = sums
        z = plane(k) - m
        top = z == 0
        others, ties = others + jnp.where(top, 0.0, jnp.exp(z)), ties + jnp.where(top, 1.0, 0.0)
        if labels is None:
            return others, ties, None
        z = z if receivers is None else weighted(jax.lax.dynamic_slice_in_dim(receivers, k, 1, axis), z)
        return others, ties, rest + jnp.where(labels == k, 0.0, z)

    others, ties, rest = loop(add, (zero, zero - 1, None if labels is None else zero))
    return m, jnp.log1p(others + ties), rest, None


def _by_blocks(logits: Array, labels: Array | None, receivers: Array | None, size: int) -> Any:
    """Sums over blocks of classes, which compare nothing; then once more the one block that has something to leave out.

    XLA would hold what two sums have in common, in full size: a barrier makes each wait for the one before it.
    """

    def after(*before: Array) -> Any:
        """The logits in blocks, and what is needed of the sums before."""
        blocks = logits.reshape(*logits.shape[:-1], -1, size)
        return jax.lax.optimization_barrier((blocks, *before))

    (blocks,) = after()
    blocks, maxima = after(widened(blocks.max(-1)))
    m, first = maxima.max(-1, keepdims=True), maxima.argmax(-1, keepdims=True)
    sums = jnp.exp(widened(blocks) - m[..., None]).sum(-1)
    z = _block(logits, first, size) - m
    L = jnp.log1p(_but_for(first, sums) + _others(z, jnp.exp(z), -1))
    if labels is None:
        return m, L, None, None
    if receivers is not None:
        return m, L, _rest(widened(logits) - m, labels, receivers, logits.ndim - 1), None
    blocks, _, below = after(L, m)
    block, place = labels // size, labels % size
    rest = _but_for(block, (below[..., None] - widened(blocks)).sum(-1))
    return m, L, -rest - _but_for(place, below - _block(logits, block, size)), None


def _at_once(logits: Array, labels: Array | None, receivers: Array | None, keeps: bool) -> Any:
    """All sums in one pass along each row."""
    x = widened(logits)
    m = _largest(x)
    z = x - m
    e = jnp.exp(z)
    terms = _terms(z, e)
    if labels is not None:
        rest = z if receivers is None else weighted(receivers, z)
        terms.append(jnp.where(is_label(labels, z.ndim - 1, z.shape[-1]), 0.0, rest))
    others, ties, *rest = (total[..., None] for total in _add_up(terms, z.ndim - 1))
    return m, jnp.log1p(others + (ties - 1)), rest[0] if rest else None, e if keeps else None


def _largest(x: Array) -> Array:
    """The maximum of each row; or another number, where one is NaN.

    For JAX's own XLA calls a library, which takes longer over few classes, and writes it down for each of them.
    """
    lowest = jnp.full((), -jnp.inf, x.dtype)
    return jax.lax.reduce(x, lowest, lambda a, b: jnp.where(a > b, a, b), (x.ndim - 1,))[..., None]


def _by_lanes(logits: Array, labels: Array | None, receivers: Array | None, size: int) -> Any:
    """All sums in one pass, in lanes side by side: the few classes of a lane lie apart."""

    def in_lanes(values: Array) -> Array:
        return values.reshape(*values.shape[:-1], size, -1)

    m = widened(logits.max(-1, keepdims=True))
    z = widened(logits) - m
    e = jnp.exp(z)
    terms = _terms(z, e)
    if labels is not None:
        terms.append(z if receivers is None else weighted(receivers, z))
    others, ties, *rest = _add_up([in_lanes(term) for term in terms], z.ndim - 1)
    L = jnp.log1p(others.sum(-1, keepdims=True) + (ties.sum(-1, keepdims=True) - 1))
    if labels is None:
        return m, L, None, e
    lanes = rest[0].shape[-1]
    lane, place = labels % lanes, labels // lanes

    def in_its_lane(values: Array) -> Array:
        return jnp.take_along_axis(in_lanes(values), lane[..., None], -1)[..., 0]

    z = widened(in_its_lane(logits)) - m
    z = z if receivers is None else weighted(in_its_lane(jnp.broadcast_to(receivers, logits.shape)), z)
    return m, L, _but_for(lane, rest[0]) + _but_for(place, z), e


def _terms(z: Array, e: Array) -> list[Array]:
    """Of Σ exp(z) without the maxima, and of how many there are."""
    top = z == 0
    return [jnp.where(top, 0.0, e), jnp.where(top, 1.0, jnp.zeros_like(z))]


def _add_up(terms: list[Array], axis: int) -> Sequence[Array]:
    """The sum of each, all of them in one pass."""
    return jax.lax.reduce(terms, [jnp.zeros((), term.dtype) for term in terms], _plus, (axis,))


def _plus(these: Sequence[Array], those: Sequence[Array]) -> list[Array]:
    return [this + that for this, that in zip(these, those, strict=True)]


def _but_for(index: Array, values: Array) -> Array:
    """The sum over the last axis without the one value."""
    return jnp.where(is_label(index, index.ndim - 1, values.shape[-1]), 0.0, values).sum(-1, keepdims=True)


def _block(logits: Array, index: Array, size: int) -> Array:
    """Each row's block of this index."""
    blocks = logits.reshape(*logits.shape[:-1], -1, size)
    return widened(jnp.take_along_axis(blocks, index[..., None], -2)[..., 0, :])
