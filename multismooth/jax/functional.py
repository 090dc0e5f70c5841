"""The loss in JAX."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from multismooth import checks, reduction
from multismooth.checks import Batch, Layout
from multismooth.jax.classes import along, at_label, class_sums, shares
from multismooth.jax.functions import describe, functions_for, read
from multismooth.jax.rows import class_min, class_sum, loss_dtype, soft_row
from multismooth.jax.statistics import label_statistics, soft_statistics
from multismooth.lowering import Coefficients, Functions, lower, lower_soft, smooths, xlogx
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec, as_spec


def smoothed_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
) -> Array:
    """Label-smoothed, masked softmax cross-entropy, in nats.

    For a position with logits x, target q, lse = log Σ_k exp x_k and mass = Σ_k q_k,

        ℓ = mass·lse − ⟨q, x⟩ + z_loss·lse² − H,        loss = Σ_i w_i·ℓ_i / Σ_i d_i

    where the ``spec`` says what q, H (with ``kl``) and d are, and w is mask × sample weight.

    Args:
        logits: float16, bfloat16, float32 or float64 [*batch] with the classes on ``axis``.
        labels: class indices [*batch] of any integer dtype, or probabilities of a floating dtype in the logits' shape.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        axis: the class axis of the logits.
        where: bool [*batch]; the positions that count.
        sample_weight: float [*batch], ≥ 0. A weight of 0 masks the position's loss; ``where`` also uncounts it.
        class_weight: float [classes], ≥ 0; enters as ``spec.class_weight_rule`` says.
        prior: float [classes], sums to 1; who receives the smoothing, in the place of everybody alike.
        allowed: bool [classes] or the logits' shape; the classes that exist. The others take no probability.
        normalizer: a number ≥ 0 in the place of the mean's denominator, such as the count over a whole
            accumulated batch.

    Returns:
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions. float64 for float64 logits, else
        float32, which is also what it is computed in; gradients are rounded once to the logits' dtype.

    Masked positions contribute exactly 0, with a gradient of 0, whatever their logits hold. Where nothing counts the
    sum is 0 and the mean what ``spec.empty`` says. A logit of −inf under q_k > 0 gives +inf with a finite gradient; a
    row that holds +inf or NaN gives NaN. Derivatives of every
    order are exact, to logits, soft labels, sample_weight, class_weight and prior.

    Raises:
        InputError: a wrong shape, dtype or option; or a bad value where it can be read, outside of transformations;
            elsewhere the position's loss and gradient are NaN.

    Outside of ``jax.jit`` the loss is compiled by itself, for each spec and each shape; jit the whole step where you
    can. ``spec`` is static, so that a schedule of ε compiles anew at every value. NumPy's 64-bit labels are checked
    before JAX narrows them, but those that are arguments of a jitted function JAX has narrowed by then.

    >>> import jax.numpy as jnp
    >>> logits = jnp.zeros((2, 3, 4))  # [batch, time, classes]
    >>> labels = jnp.array([[0, 1, 3], [2, 0, 0]])
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> print(smoothed_cross_entropy(logits, labels, 0.1, where=mask))
    1.3862944

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7; every edge is written
    down in ``multismooth.numpy.functional``.
    """
    call = "smoothed_cross_entropy"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    return _loss(*_prepared(call, spec, batch, axis, totals=False))


def smoothed_cross_entropy_totals(
    logits: ArrayLike,
    labels: ArrayLike,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
) -> Totals:
    """The sums that the mean of ``smoothed_cross_entropy`` is made of, which add up over parts of a batch.

    The arguments are those of ``smoothed_cross_entropy``, without a normalizer; ``spec.reduction`` plays no part. Add
    the totals of microbatches, devices or hosts, then call ``mean(spec)`` once.

    Returns:
        ``Totals(loss, weight, nll, z_loss)``, four scalars.

    Raises:
        InputError: as in ``smoothed_cross_entropy``.

    >>> import jax.numpy as jnp
    >>> parts = [smoothed_cross_entropy_totals(jnp.zeros((n, 4)), jnp.arange(n)) for n in (1, 3)]
    >>> print(sum(parts).mean(Spec()))
    1.3862944
    """
    call = "smoothed_cross_entropy_totals"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed)
    return _totals(*_prepared(call, spec, batch, axis, totals=True))


class Targets(NamedTuple):
    labels: Array
    """class indices, or probabilities; made harmless where they are bad"""
    mask: Array | None
    bad: Array | None
    """labels that no loss is defined for, or None if there are none"""
    total: Array | None = None
    """Σ_k t_k of soft labels"""


class _Terms(NamedTuple):
    """The loss of each position in parts, and what they were made from."""

    cross_entropy: Array
    nll: Array
    lse: Array
    entropy: Any
    keep: Array | None
    """the positions whose statistics are used, or None for all"""
    class_weight: Any


def _prepared(
    call: str, spec: Spec, batch: Batch, axis: int, *, totals: bool
) -> tuple[Spec, Layout, bool, Batch, Targets]:
    """A call that is checked: what is static of it, and JAX's arrays."""
    layout = checks.check_call(call, spec, batch, axis, describe, totals=totals)
    good = checks.check_values(call, spec, batch, layout, read) is not None
    targets = (_soft_labels if layout.soft else hard_labels)(spec, batch, layout, good)
    batch = cast(batch)._replace(labels=None)
    if batch.normalizer is not None:
        batch = batch._replace(normalizer=functions_for(batch.logits).array(batch.normalizer))
    return spec, layout, good, batch, targets


# Where nobody else compiles them, to dispatch the operations one by one takes several times as long.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _loss(spec: Spec, layout: Layout, good: bool, batch: Batch, targets: Targets) -> Array:
    positions = evaluate(spec, batch, layout, targets, good)
    return reduction.reduce(spec, positions, batch.normalizer, functions_for(positions.loss))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _totals(spec: Spec, layout: Layout, good: bool, batch: Batch, targets: Targets) -> Totals:
    positions = evaluate(spec, batch, layout, targets, good, totals=True)
    return reduction.totals(spec, positions, functions_for(positions.loss))


def evaluate(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: Targets,
    good: bool,
    *,
    totals: bool = False,
) -> Positions:
    """The loss of each position of a batch that has been cast; ``good`` if no value can be bad."""
    batch = _used(batch, layout, targets)
    functions = functions_for(batch.logits)
    terms = (_soft_terms if layout.soft else _terms)(spec, batch, layout, targets, functions, totals)
    z_loss = spec.z_loss * terms.lse**2 if spec.z_loss else jnp.zeros_like(terms.nll)
    loss, nll = terms.cross_entropy + z_loss - terms.entropy, terms.nll
    if not good:
        bad = checks.bad_positions(batch, targets.bad, functions)
        bad = bad if terms.keep is None else bad & terms.keep
        # A product, since its derivative is NaN too.
        poison = functions.where(bad, float("nan"), 1.0)
        loss, nll = loss * poison, nll * poison
    loss, nll, z_loss = (_only(part, terms.keep) for part in (loss, nll, z_loss))
    return counted(batch, targets, terms.class_weight)._replace(loss=loss, nll=nll, z_loss=z_loss)


def counted(batch: Batch, targets: Targets, class_weight: Any) -> Positions:
    """What the denominators count of each position; its losses are still to be computed."""
    if targets.bad is not None:
        class_weight = functions_for(batch.logits).where(targets.bad, 0.0, class_weight)
    if isinstance(class_weight, Array):
        class_weight = _only(class_weight, targets.mask)
    weight = batch.sample_weight
    weight = None if weight is None else _only(weight, targets.mask)
    return Positions(None, None, None, targets.mask, weight, class_weight)


def cast(batch: Batch) -> Batch:
    """JAX arrays, the weights in the loss's dtype; but the normalizer, and logits that are none yet, as they are."""
    given = {name: array for name, array in batch._asdict().items() if array is not None}
    arrays = {name: jnp.asarray(a) for name, a in given.items() if name not in ("logits", "labels", "normalizer")}
    if not isinstance(batch.logits, jax.ShapeDtypeStruct):
        arrays["logits"] = jnp.asarray(batch.logits)
    dtype = loss_dtype(arrays.get("logits", batch.logits))
    for name in ("sample_weight", "class_weight", "prior"):
        if name in arrays:
            arrays[name] = arrays[name].astype(dtype)
    return batch._replace(**arrays)


def _used(batch: Batch, layout: Layout, targets: Targets) -> Batch:
    """No number that could leak out of logits that do not count.

    ``where`` tells which rows are used: not those that are masked, nor those of weight 0 that have no finite loss, for
    the derivative of their statistics would be 0·NaN.
    """
    used, axis = targets.mask, layout.axis
    if batch.sample_weight is not None:
        # Not the maximum's: on a CPU it may be a number where a logit is NaN.
        _, L = soft_row(jax.lax.stop_gradient(batch.logits), (), _allowed(batch, axis), axis)
        live = (batch.sample_weight != 0) | jnp.isfinite(L.squeeze(axis))
        used = live if used is None else used & live
    return batch._replace(where=used)


def _allowed(batch: Batch, axis: int) -> Array | None:
    """Shaped to meet the logits."""
    return None if batch.allowed is None else along(batch.allowed, axis, batch.logits)


def hard_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> Targets:
    """Labels that are safe to index with, and which of them count."""
    labels, mask = batch.labels, batch.where
    info = np.iinfo(labels.dtype)
    if not isinstance(labels, np.ndarray) and info.bits < 32:
        labels = labels.astype(jnp.int32)
    # NumPy's labels are compared before JAX narrows them to 32 bits.
    if spec.ignore_index is not None and info.min <= spec.ignore_index <= info.max:
        counts = labels != spec.ignore_index
        mask = counts if mask is None else mask & counts
    mask = None if mask is None else jnp.asarray(mask)
    if good and mask is None and batch.sample_weight is None:
        return Targets(jnp.asarray(labels, jnp.int32), None, None)
    outside = (labels < 0) | (labels >= layout.classes)
    labels = jnp.where(outside, 0, labels).astype(jnp.int32)
    bad = jnp.asarray(outside)
    if batch.allowed is not None:
        bad = bad | ~at_label(jnp.asarray(batch.allowed), labels, layout.axis)
    return Targets(labels, mask, bad)


def _soft_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> Targets:
    axis = layout.axis
    labels = jnp.asarray(batch.labels)
    labels = labels.astype(loss_dtype(jnp.asarray(batch.logits)))
    mask = None if batch.where is None else jnp.asarray(batch.where)
    total = class_sum(labels, axis)
    if good and mask is None and batch.sample_weight is None:
        return Targets(labels, None, None, total)
    # NaN makes a sum of NaN, and an infinity one that is far from 1.
    bad = (class_min(labels, axis) < 0) | ~(jnp.abs(total - 1) <= checks.SUM_TOLERANCE)
    if batch.allowed is not None:
        allowed = along(jnp.asarray(batch.allowed), axis, labels)
        bad = bad | (~allowed & (labels > 0)).any(axis)
    return Targets(jnp.where(jnp.expand_dims(bad, axis), 0.0, labels), mask, bad, jnp.where(bad, 0.0, total))


def _terms(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: Targets,
    functions: Functions,
    totals: bool,
) -> _Terms:
    axis, labels = layout.axis, targets.labels
    v, (on, off, mass, entropy, _), weight = coefficients(spec, batch, layout, labels, functions)
    v = None if v is None else along(v, axis, batch.logits)
    used = None if batch.where is None else jnp.expand_dims(batch.where, axis)
    allowed = _allowed(batch, axis)
    row = label_statistics(batch.logits, jnp.expand_dims(labels, axis), used, v, allowed, axis, smooths(spec))
    (m, L, own, rest), keep = _kept(spec, batch, targets, [part.squeeze(axis) for part in row[:-1]])
    cross_entropy = mass * L - _times(on, own) - _times(off, rest)
    return _Terms(cross_entropy, L - own, m + L, entropy, keep, weight)


def coefficients(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    labels: Array,
    functions: Functions,
) -> tuple[Array | None, Coefficients, Any]:
    """The classes' v, what equation (1) multiplies with, and what the denominators of class weights count."""
    given = shares(spec, batch, layout)
    v = given.weighted if spec.class_weight_rule == "per_class" else given.c
    sums = class_sums(batch, layout, labels, given, functions)
    lowered = lower(spec, sums, functions)
    label_weight = 1.0 if sums.label_weight is None else sums.label_weight
    weight = lowered.expected_weight if spec.denominator == "expected_class_weights" else label_weight
    return v, lowered, weight


def _soft_terms(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: Targets,
    functions: Functions,
    totals: bool,
) -> _Terms:
    axis, t, w = layout.axis, targets.labels, batch.class_weight
    allowed, t_total = _allowed(batch, axis), targets.total
    if allowed is not None:
        t = jnp.where(allowed, t, 0.0)
        t_total = class_sum(t, axis)
    c = shares(spec, batch, layout).c
    total = float(layout.classes) if c is None else c.sum(axis if c.ndim > 1 else 0)
    keep, share = lower_soft(spec, total, functions)
    c = 1.0 if c is None else along(c, axis, t)
    q = _meet(keep, t, axis) * t + _meet(share, t, axis) * c
    weighted = q if w is None else q * along(w, axis, q)
    mass = keep * t_total + share * total if w is None else class_sum(weighted, axis)
    used, scale = weighted, 1.0
    if w is not None and spec.class_weight_rule == "expected":
        used, mass, scale = q, class_sum(q, axis), mass
    counts = None if batch.where is None else jnp.expand_dims(batch.where, axis)
    row = soft_statistics(batch.logits, (used, t) if totals else (used,), counts, allowed, axis)
    (m, L, dot, *nll), kept = _kept(spec, batch, targets, [part.squeeze(axis) for part in row])
    entropy = -xlogx(q, functions).sum(axis) if spec.kl else 0.0
    cross_entropy = scale * (mass * L - dot)
    nll = t_total * L - nll[0] if totals else jnp.zeros_like(L)
    return _Terms(cross_entropy, nll, m + L, entropy, kept, 1.0)


def _kept(spec: Spec, batch: Batch, targets: Targets, statistics: list[Array]) -> tuple[list[Array], Array | None]:
    """The statistics, and which are used: those that count, and of weight 0 the ones that are numbers.

    The loss of a weight of 0 is the derivative to that weight, so it is computed wherever it exists.
    """
    keep, weight = batch.where, batch.sample_weight
    if weight is not None:
        # m + L may be a number whose square is none.
        terms = [*statistics, jnp.square(statistics[0] + statistics[1])] if spec.z_loss else statistics
        number = jnp.isfinite(jnp.stack(terms)).all(0)
        number = number if targets.bad is None else number & ~targets.bad
        live = (weight != 0) | number
        keep = live if keep is None else keep & live
    return [_only(statistic, keep) for statistic in statistics], keep


def _times(coefficient: Any, statistic: Array) -> Array | float:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    if not isinstance(coefficient, Array):
        return coefficient * statistic if coefficient else 0.0
    skipped = (coefficient == 0) & jnp.isinf(statistic)
    return coefficient * jnp.where(skipped, 0.0, statistic)


def _only(values: Array, keep: Array | None) -> Array:
    return values if keep is None else jnp.where(keep, values, 0.0)


def _meet(coefficient: Any, like: Array, axis: int) -> Any:
    """A coefficient of each position, shaped to meet an array with classes."""
    by_position = isinstance(coefficient, Array) and coefficient.ndim == like.ndim - 1
    return jnp.expand_dims(coefficient, axis) if by_position else coefficient
