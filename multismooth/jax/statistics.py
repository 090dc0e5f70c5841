"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.sharding import AxisType


class LabelRow(NamedTuple):
    """The statistics of each row; the class axis is kept, with length 1."""

    m: Array
    L: Array
    own: Array
    """x_y − m"""
    rest: Array
    """Σ_{k≠y} v_k·(x_k − m)"""


def loss_dtype(logits: Array) -> jnp.dtype:
    """The dtype that the loss is computed and returned in."""
    return jnp.dtype(jnp.float64 if logits.dtype == jnp.float64 else jnp.float32)


def _widened(logits: Array) -> Array:
    return logits.astype(loss_dtype(logits))


def _row(logits: Array, axis: int) -> tuple[Array, Array, Array]:
    """m, L and x − m; L is log1p of the sum without one maximum, which keeps a confident row's digits."""
    x = _widened(logits)
    m = jax.lax.stop_gradient(x.max(axis, keepdims=True))
    z = x - m
    # Every maximum is exp(0) = 1. Counting them needs no argmax, and all but one are put back.
    others = jnp.where(z == 0, 0.0, jnp.exp(z)).sum(axis, keepdims=True)
    ties = (z == 0).sum(axis, keepdims=True) - 1
    return m, jnp.log1p(others + ties.astype(z.dtype)), z


def _weighted(coefficients: Array, z: Array) -> Array:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    return coefficients * jnp.where(coefficients == 0, 0.0, z)


def _slope(coefficients: Array, z: Array) -> Array:
    """The derivative to the coefficients; a term that is skipped under a −inf logit has none."""
    return jnp.where((coefficients == 0) & jnp.isinf(z), 0.0, z)


def is_label(labels: Array, axis: int, classes: int) -> Array:
    """Where the class is the label's. XLA fuses this comparison into the sum around it."""
    shape = [1] * labels.ndim
    shape[axis] = classes
    return jax.lax.broadcasted_iota(labels.dtype, shape, axis) == labels


def take_label(values: Array, labels: Array, axis: int) -> Array:
    """Each row's value at its label: a gather, but under explicit sharding, where JAX has none."""
    if AxisType.Explicit not in jax.sharding.get_abstract_mesh().axis_types:
        return jnp.take_along_axis(values, labels, axis)
    mine = is_label(labels, axis, values.shape[axis])
    return jnp.where(mine, values, 0).sum(axis, keepdims=True, dtype=values.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def label_statistics(logits: Array, labels: Array, receivers: Array | None, axis: int, smooths: bool) -> LabelRow:
    """Statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones."""
    m, L, z = _row(logits, axis)
    own = take_label(z, labels, axis)
    if not smooths:
        return LabelRow(m, L, own, jnp.zeros_like(L))
    z = z if receivers is None else _weighted(receivers, z)
    rest = jnp.where(is_label(labels, axis, logits.shape[axis]), 0.0, z).sum(axis, keepdims=True)
    return LabelRow(m, L, own, rest)


def _label_jvp(axis, smooths, primals, tangents):
    logits, labels, receivers = primals
    t_logits, _, t_receivers = tangents
    row = label_statistics(logits, labels, receivers, axis, smooths)
    z = _widened(logits) - row.m
    t = None if isinstance(t_logits, SymbolicZero) else t_logits.astype(z.dtype)
    mine = is_label(labels, axis, logits.shape[axis])
    t_L = t_own = t_rest = jnp.zeros_like(row.L)
    if t is not None:
        t_L = (jnp.exp(z - row.L) * t).sum(axis, keepdims=True)
        t_own = jnp.where(mine, t, 0.0).sum(axis, keepdims=True)
    if smooths and t is not None:
        moved = t if receivers is None else receivers * t
        t_rest = jnp.where(mine, 0.0, moved).sum(axis, keepdims=True)
    if smooths and not (receivers is None or isinstance(t_receivers, SymbolicZero)):
        moved = jnp.where(mine, 0.0, _slope(receivers, z)) * t_receivers
        t_rest += moved.sum(axis, keepdims=True)
    return row, LabelRow(jnp.zeros_like(row.m), t_L, t_own, t_rest)


label_statistics.defjvp(_label_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def soft_statistics(logits: Array, targets: tuple[Array, ...], axis: int) -> tuple[Array, ...]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t."""
    m, L, z = _row(logits, axis)
    return m, L, *(_weighted(target, z).sum(axis, keepdims=True) for target in targets)


def _soft_jvp(axis, primals, tangents):
    logits, targets = primals
    t_logits, t_targets = tangents
    row = soft_statistics(logits, targets, axis)
    m, L, *dots = row
    z = _widened(logits) - m
    t_L, t_dots = jnp.zeros_like(L), [jnp.zeros_like(dot) for dot in dots]
    if not isinstance(t_logits, SymbolicZero):
        t = t_logits.astype(z.dtype)
        t_L = (jnp.exp(z - L) * t).sum(axis, keepdims=True)
        t_dots = [(target * t).sum(axis, keepdims=True) for target in targets]
    for i, t_target in enumerate(t_targets):
        if not isinstance(t_target, SymbolicZero):
            t_dots[i] += (_slope(targets[i], z) * t_target).sum(axis, keepdims=True)
    return row, (jnp.zeros_like(m), t_L, *t_dots)


soft_statistics.defjvp(_soft_jvp, symbolic_zeros=True)
