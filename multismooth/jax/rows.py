"""Sums over the classes of each row of logits, along the way that XLA makes fast.

For a row x with m = max x and v the classes' shares,

    L = log Σ_k exp(x_k − m),        own = x_y − m,        rest = Σ_{k≠y} v_k·(x_k − m)

L is log1p of the sum without one maximum, which keeps a confident row's digits. Both sums leave one class out, and a
comparison with every class does that in the same words everywhere: ``_whole``. On the CPU, though, XLA then takes a
pass for each of the sums, and of large logits it holds a copy for each. So there are other ways there: ``_by_planes``
where the classes do not come last; where they do, ``_at_once`` for few classes, ``_by_blocks`` for logits that do not
fit the cache if all classes exist and share alike, else ``_by_lanes``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType

from multismooth.blocks import CACHED, classes_of_block, size_of_lane

LARGE = 2**16
"""So many logits are worth another way; below it the number of operations is what a call costs."""

AT_ONCE = 31
"""Of so many classes at most, which come last, all sums are taken in one pass.

Measured on an AVX-512 processor: with a gradient 31 classes gain by it and 36 lose. Forward alone 24 gain, and 26 to 31
take 1.1 to 1.4 times as long as in lanes, which hold four times as much.
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


def widened(logits: Array, allowed: Array | None = None) -> Array:
    """In the loss's dtype, −inf where a class is not allowed. To do it wherever they are read makes no copy of them."""
    x = logits.astype(loss_dtype(logits))
    return x if allowed is None else jnp.where(allowed, x, -jnp.inf)


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


def label_row(
    logits: Array, labels: Array, receivers: Array | None, allowed: Array | None, axis: int, smooths: bool
) -> LabelRow:
    """The statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones.

    A class that is not ``allowed``, which meets the logits, has a logit of −inf and receives nothing.
    """
    m, L, rest, e = _sums(logits, labels, (receivers,) if smooths else (), allowed, axis)
    own = widened(take_label(logits, labels, axis)) - m
    return LabelRow(m, L, own, rest[0] if rest else jnp.zeros_like(L), e)


def soft_row(logits: Array, targets: tuple[Array, ...], allowed: Array | None, axis: int) -> tuple[Array, ...]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t."""
    m, L, dots, _ = _sums(logits, None, targets, allowed, axis)
    return m, L, *dots


def _sums(logits: Array, labels: Array | None, shares: Sequence[Array | None], allowed: Array | None, axis: int) -> Any:
    """m, L, for each of the shares v its Σ v_k·(x_k − m), and the exponentials if they are to be kept.

    Where there are labels these sums leave them out; shares of None are ones.
    """
    classes, is_last = logits.shape[axis], axis == logits.ndim - 1
    cached, whole = logits.size < CACHED, partial(_whole, axis=axis)
    alone, at_once = partial(whole, keeps=cached), is_last and classes <= AT_ONCE
    plain = allowed is None and all(v is None for v in shares)
    if _is_explicit() or (logits.size < LARGE and not at_once):
        return alone(logits, labels, shares, allowed)
    if at_once:
        way, whole = partial(_at_once, keeps=cached), alone
    elif is_last and plain and not cached and (size := classes_of_block(classes)):
        way = partial(_by_blocks, size=size)
    elif is_last:
        is_half = logits.dtype != loss_dtype(logits)
        is_long = bool(shares) and (labels is None or (is_half and allowed is not None))
        way, whole = partial(_by_lanes, size=size_of_lane(classes, is_long), keeps=cached), alone
    elif _has_planes(logits, axis):
        way = partial(_by_planes, axis=axis)
    else:
        return alone(logits, labels, shares, allowed)
    return jax.lax.platform_dependent(logits, labels, shares, allowed, cpu=way, default=whole)


def _has_planes(values: Array, axis: int) -> bool:
    """Whether a class of all positions is worth a step."""
    return axis != values.ndim - 1 and values.size >= max(LARGE, values.shape[axis] ** 2)


def _is_explicit() -> bool:
    return AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def _whole(
    logits: Array,
    labels: Array | None,
    shares: Sequence[Array | None],
    allowed: Array | None,
    axis: int,
    keeps: bool = False,
) -> Any:
    x = widened(logits, allowed)
    m = x.max(axis, keepdims=True)
    z = x - m
    e = jnp.exp(z)
    L = jnp.log1p(_others(z, e, axis))
    sums = [_summand(z, labels, v, axis).sum(axis, keepdims=True) for v in shares]
    return m, L, sums, e if keeps else None


def _summand(z: Array, labels: Array | None, v: Array | None, axis: int) -> Array:
    """v_k·(x_k − m), 0 at the label."""
    z = z if v is None else weighted(v, z)
    return z if labels is None else jnp.where(is_label(labels, axis, z.shape[axis]), 0.0, z)


def _others(z: Array, e: Array, axis: int) -> Array:
    """Σ exp(z) without one maximum. Each is exp(0) = 1: the sum omits all of them, and all but one are put back."""
    top = z == 0
    others = jnp.where(top, 0.0, e).sum(axis, keepdims=True)
    return others + (top.sum(axis, keepdims=True, dtype=z.dtype) - 1)


def _by_planes(
    logits: Array, labels: Array | None, shares: Sequence[Array | None], allowed: Array | None, axis: int
) -> Any:
    """One class at a time: what lies side by side in memory are positions, and these are summed side by side."""
    classes, dtype = logits.shape[axis], loss_dtype(logits)
    axis -= logits.ndim  # which meets shares of fewer axes too
    # Several classes in one step, for the sums are read and written at each.
    loop = partial(jax.lax.fori_loop, 0, classes, unroll=4)

    # XLA would widen all of half-precision logits before the loop, unless it takes them for integers.
    bits = logits if dtype == logits.dtype else jax.lax.bitcast_convert_type(logits, jnp.uint16)

    def plane(of: Array, k: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(of, k, 1, axis)

    def here(k: Array) -> Array:
        x = jax.lax.bitcast_convert_type(plane(bits, k), logits.dtype)
        return widened(x, None if allowed is None else plane(allowed, k))

    zero = jnp.zeros_like(here(0))
    m = loop(lambda k, m: jnp.maximum(m, here(k)), zero - jnp.inf)

    def add(k: Array, sums: Any) -> Any:
        z = here(k) - m
        terms = _terms(z, jnp.exp(z))
        for v in shares:
            term = z if v is None else weighted(plane(v, k), z)
            terms.append(term if labels is None else jnp.where(labels == k, 0.0, term))
        return _plus(sums, terms)

    others, ties, *sums = loop(add, [zero, zero - 1, *(zero for _ in shares)])
    return m, jnp.log1p(others + ties), sums, None


def _by_blocks(logits: Array, labels: Array | None, shares: Sequence[None], allowed: None, size: int) -> Any:
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
    if not shares:
        return m, L, [], None
    blocks, _, below = after(L, m)
    block, place = labels // size, labels % size
    rest = _but_for(block, (below[..., None] - widened(blocks)).sum(-1))
    return m, L, [-rest - _but_for(place, below - _block(logits, block, size))], None


def _at_once(
    logits: Array, labels: Array | None, shares: Sequence[Array | None], allowed: Array | None, keeps: bool
) -> Any:
    """All sums in one pass along each row."""
    x = widened(logits, allowed)
    m = _largest(x, x.ndim - 1)[..., None]
    z = x - m
    e = jnp.exp(z)
    terms = [*_terms(z, e), *(_summand(z, labels, v, z.ndim - 1) for v in shares)]
    others, ties, *sums = (total[..., None] for total in _add_up(terms, z.ndim - 1))
    return m, jnp.log1p(others + (ties - 1)), sums, e if keeps else None


def _by_lanes(
    logits: Array, labels: Array | None, shares: Sequence[Array | None], allowed: Array | None, size: int, keeps: bool
) -> Any:
    """All sums in one pass, in lanes side by side: the few classes of a lane lie apart.

    The classes that are left over are lanes of their own.
    """
    count, axis = logits.shape[-1] // size, logits.ndim - 1
    in_lanes, left = slice(size * count), slice(size * count, None)

    def lanes(values: Array) -> Array:
        return values.reshape(*values.shape[:-1], size, count)

    def x(some: slice) -> Array:
        return widened(logits[..., some], None if allowed is None else allowed[..., some])

    def terms(some: slice) -> list[Array]:
        z = x(some) - m
        return [*_terms(z, jnp.exp(z)), *(_summand(z, None, v if v is None else v[..., some], axis) for v in shares)]

    if keeps and allowed is None:  # XLA's library is faster, if it needs no copy
        m = widened(logits.max(-1, keepdims=True))
    else:
        maxima = jnp.concatenate([_largest(lanes(x(in_lanes)), axis), x(left)], -1)
        # The barrier keeps the two steps apart.
        m = _largest(jax.lax.optimization_barrier(maxima), axis)[..., None]
    if not keeps:  # XLA would hold what the maximum and the sums have in common
        logits, m = jax.lax.optimization_barrier((logits, m))
    added = _add_up([lanes(term) for term in terms(in_lanes)], axis)
    others, ties, *sums = (jnp.concatenate(pair, -1) for pair in zip(added, terms(left), strict=True))
    L = jnp.log1p(others.sum(-1, keepdims=True) + (ties.sum(-1, keepdims=True) - 1))
    e = jnp.exp(x(slice(None)) - m) if keeps else None
    if labels is None or not shares:
        return m, L, [total.sum(-1, keepdims=True) for total in sums], e
    alone, lane = labels >= size * count, labels % count

    def its_lane(values: Array) -> Array:
        return jnp.take_along_axis(lanes(values[..., in_lanes]), lane[..., None], -1)[..., 0]

    z = widened(its_lane(logits)) - m
    ((v, total),) = zip(shares, sums, strict=True)
    z = z if v is None else weighted(its_lane(jnp.broadcast_to(v, logits.shape)), z)
    others_in_lane = jnp.where(alone, 0.0, _but_for(labels // count, z))
    lane = jnp.where(alone, labels - (size - 1) * count, lane)
    return m, L, [_but_for(lane, total) + others_in_lane], e


def _largest(x: Array, axis: int) -> Array:
    """The maximum; or another number, where one is NaN.

    For floats XLA calls a library, which holds what it reads, and takes longer over few classes. Of integers it makes a
    loop; the bits of floats are ordered as they are, but for those below 0, whose order is turned round.
    """
    bits = jnp.int64 if x.dtype == jnp.float64 else jnp.int32

    def turned(values: Array) -> Array:
        return jnp.where(values < 0, values ^ jnp.iinfo(bits).max, values)

    ordered = turned(jax.lax.bitcast_convert_type(x, bits))
    return jax.lax.bitcast_convert_type(turned(ordered.max(axis)), x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def class_sum(values: Array, axis: int) -> Array:
    """Σ over the classes."""
    return _over_classes(values, axis, jnp.add, 0.0, jnp.sum)


def _class_sum_jvp(axis: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return class_sum(*primals, axis), tangents[0].sum(axis)


class_sum.defjvp(_class_sum_jvp)


def class_min(values: Array, axis: int) -> Array:
    """The smallest of the classes' values, without a derivative."""
    return _over_classes(jax.lax.stop_gradient(values), axis, jnp.minimum, jnp.inf, jnp.min)


def _over_classes(
    values: Array, axis: int, pair: Callable[[Array, Array], Array], start: float, whole: Callable[..., Array]
) -> Array:
    """Plane by plane, as XLA does not do it."""
    if _is_explicit() or not _has_planes(values, axis):
        return whole(values, axis)

    def by_planes(values: Array) -> Array:
        def take(k: Array, taken: Array) -> Array:
            return pair(taken, jax.lax.dynamic_index_in_dim(values, k, axis, keepdims=False))

        first = jax.lax.index_in_dim(values, 0, axis, keepdims=False)
        return jax.lax.fori_loop(0, values.shape[axis], take, jnp.full_like(first, start), unroll=4)

    return jax.lax.platform_dependent(values, cpu=by_planes, default=partial(whole, axis=axis))


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
