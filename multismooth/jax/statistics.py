"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.

``used`` tells which rows count, or is None for all. Another row may hold anything: its statistics are 0, and so are
their derivatives. The logits themselves are never masked, for that would be a copy of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from multismooth.jax.rows import LabelRow, is_label, label_row, soft_row, widened


def _slope(coefficients: Array, z: Array) -> Array:
    """The derivative to the coefficients; a term that is skipped under a −inf logit has none."""
    return jnp.where((coefficients == 0) & jnp.isinf(z), 0.0, z)


def _only(values: Any, used: Array | None) -> Any:
    return values if used is None else jax.tree.map(lambda value: jnp.where(used, value, 0.0), values)


@partial(jax.custom_jvp, nondiff_argnums=(5, 6))
def label_statistics(
    logits: Array,
    labels: Array,
    used: Array | None,
    receivers: Array | None,
    allowed: Array | None,
    axis: int,
    smooths: bool,
) -> LabelRow:
    """Statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones.

    A class that is not ``allowed``, which meets the logits, has a logit of −inf and no gradient.
    """
    row = label_row(logits, labels, receivers, allowed, axis, smooths)
    return _only(row._replace(e=None), used)._replace(e=row.e)


def _label_jvp(axis, smooths, primals, tangents):
    logits, labels, used, receivers, allowed = primals
    t_logits, _, _, t_receivers, _ = tangents
    row = label_statistics(logits, labels, used, receivers, allowed, axis, smooths)
    z = _only(widened(logits, allowed) - row.m, used)
    t = None if isinstance(t_logits, SymbolicZero) else _only(t_logits.astype(z.dtype), allowed)
    mine = is_label(labels, axis, logits.shape[axis])
    t_L = t_own = t_rest = jnp.zeros_like(row.L)
    e, t_e = _only(row.e, used), None if row.e is None else jnp.zeros_like(row.e)
    if t is not None:
        if e is None:
            t_L = (jnp.exp(z - row.L) * t).sum(axis, keepdims=True)
        else:
            t_e = e * t
            t_L = jnp.exp(-row.L) * t_e.sum(axis, keepdims=True)
        t_own = jnp.where(mine, t, 0.0).sum(axis, keepdims=True)
    if smooths and t is not None:
        moved = t if receivers is None else receivers * t
        t_rest = jnp.where(mine, 0.0, moved).sum(axis, keepdims=True)
    if smooths and not (receivers is None or isinstance(t_receivers, SymbolicZero)):
        moved = jnp.where(mine, 0.0, _slope(receivers, z)) * t_receivers
        t_rest += moved.sum(axis, keepdims=True)
    return row, LabelRow(jnp.zeros_like(row.m), t_L, t_own, t_rest, t_e)


label_statistics.defjvp(_label_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def soft_statistics(
    logits: Array, targets: tuple[Array, ...], used: Array | None, allowed: Array | None, axis: int
) -> tuple[Array, ...]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t."""
    return _only(soft_row(logits, targets, allowed, axis), used)


def _soft_jvp(axis, primals, tangents):
    logits, targets, used, allowed = primals
    t_logits, t_targets, _, _ = tangents
    row = soft_statistics(logits, targets, used, allowed, axis)
    m, L, *dots = row
    z = _only(widened(logits, allowed) - m, used)
    t_L, t_dots = jnp.zeros_like(L), [jnp.zeros_like(dot) for dot in dots]
    if not isinstance(t_logits, SymbolicZero):
        t = _only(t_logits.astype(z.dtype), allowed)
        t_L = (jnp.exp(z - L) * t).sum(axis, keepdims=True)
        t_dots = [(target * t).sum(axis, keepdims=True) for target in targets]
    for i, t_target in enumerate(t_targets):
        if not isinstance(t_target, SymbolicZero):
            t_dots[i] += (_slope(targets[i], z) * t_target).sum(axis, keepdims=True)
    return row, (jnp.zeros_like(m), t_L, *t_dots)


soft_statistics.defjvp(_soft_jvp, symbolic_zeros=True)
