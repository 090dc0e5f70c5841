"""The loss in JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from multismooth import checks, reduction
from multismooth.checks import UNREAD, Batch, Described, Layout
from multismooth.jax.classes import along, at_label, class_sums, shares
from multismooth.jax.statistics import label_statistics, loss_dtype, soft_statistics
from multismooth.lowering import Functions, lower, lower_soft, smooths, xlogx
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

    ``spec`` is static under ``jax.jit``, so that a schedule of ε compiles anew at every value. NumPy's 64-bit labels
    are checked before JAX narrows them, but those that are arguments of a jitted function JAX has narrowed by then.

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
    positions = _positions(call, spec, batch, axis)
    return reduction.reduce(spec, positions, normalizer, functions_for(positions.loss))


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
    positions = _positions(call, spec, batch, axis, totals=True)
    return reduction.totals(spec, positions, functions_for(positions.loss))


class _Targets(NamedTuple):
    labels: Array
    """class indices, or probabilities; made harmless where they are bad"""
    mask: Array | None
    bad: Array | None
    """labels that no loss is defined for, or None if there are none"""


class _Terms(NamedTuple):
    """The loss of each position in parts, and what they were made from."""

    cross_entropy: Array
    nll: Array
    lse: Array
    entropy: Any
    keep: Array | None
    """the positions whose statistics are used, or None for all"""
    class_weight: Any


def _positions(call: str, spec: Spec, batch: Batch, axis: int, *, totals: bool = False) -> Positions:
    layout = checks.check_call(call, spec, batch, axis, _describe, totals=totals)
    good = checks.check_values(call, spec, batch, layout, _read)
    targets = (_soft_labels if layout.soft else _labels)(spec, batch, layout, good)
    batch = _cast(batch, layout, targets)
    functions = functions_for(batch.logits)
    evaluate = _soft_terms if layout.soft else _terms
    terms = evaluate(spec, batch, layout, targets, functions, totals)
    z_loss = spec.z_loss * terms.lse**2 if spec.z_loss else jnp.zeros_like(terms.nll)
    loss, nll = terms.cross_entropy + z_loss - terms.entropy, terms.nll
    if not good:
        bad = checks.bad_positions(batch, targets.bad, functions)
        bad = bad if terms.keep is None else bad & terms.keep
        # A product, since its derivative is NaN too.
        poison = functions.where(bad, float("nan"), 1.0)
        loss, nll = loss * poison, nll * poison
    loss, nll, z_loss = (_only(part, terms.keep) for part in (loss, nll, z_loss))
    weight = batch.sample_weight
    counted = terms.class_weight
    if isinstance(counted, Array):
        counted = _only(counted, targets.mask)
        counted = counted if targets.bad is None else jnp.where(targets.bad, 0.0, counted)
    return Positions(
        loss,
        nll,
        z_loss,
        mask=targets.mask,
        sample_weight=None if weight is None else _only(weight, targets.mask),
        class_weight=counted,
    )


def _cast(batch: Batch, layout: Layout, targets: _Targets) -> Batch:
    """JAX arrays, weights in the loss's dtype, and no number that could leak out of logits that do not count.

    Classes that are not allowed get no probability. A row that is masked, or that has the weight 0 and no finite
    loss, is emptied, for the derivative of its statistics would be 0·NaN; ``where`` then tells which rows are used.
    """
    arrays = {name: jnp.asarray(a) for name, a in batch._replace(normalizer=None)._asdict().items() if a is not None}
    logits = arrays["logits"]
    dtype = loss_dtype(logits)
    for name in ("sample_weight", "class_weight", "prior"):
        if name in arrays:
            arrays[name] = arrays[name].astype(dtype)
    if "allowed" in arrays:
        allowed = along(arrays["allowed"], layout.axis, logits)
        logits = jnp.where(allowed, logits, -jnp.inf)
    used = targets.mask
    if "sample_weight" in arrays:
        finite = jnp.isfinite(jax.lax.stop_gradient(logits).max(layout.axis))
        live = (arrays["sample_weight"] != 0) | finite
        used = live if used is None else used & live
    if used is not None:
        logits = jnp.where(jnp.expand_dims(used, layout.axis), logits, 0.0)
    return batch._replace(**arrays | {"logits": logits, "where": used})


def _labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
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
        return _Targets(jnp.asarray(labels, jnp.int32), None, None)
    outside = (labels < 0) | (labels >= layout.classes)
    labels = jnp.where(outside, 0, labels).astype(jnp.int32)
    bad = jnp.asarray(outside)
    if batch.allowed is not None:
        bad = bad | ~at_label(jnp.asarray(batch.allowed), labels, layout.axis)
    return _Targets(labels, mask, bad)


def _soft_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
    axis = layout.axis
    labels = jnp.asarray(batch.labels)
    labels = labels.astype(loss_dtype(jnp.asarray(batch.logits)))
    mask = None if batch.where is None else jnp.asarray(batch.where)
    if good and mask is None and batch.sample_weight is None:
        return _Targets(labels, None, None)
    bad = ~((labels >= 0) & (labels < jnp.inf)).all(axis)
    bad = bad | (jnp.abs(labels.sum(axis) - 1) > checks.SUM_TOLERANCE)
    if batch.allowed is not None:
        allowed = along(jnp.asarray(batch.allowed), axis, labels)
        bad = bad | (~allowed & (labels > 0)).any(axis)
    return _Targets(jnp.where(jnp.expand_dims(bad, axis), 0.0, labels), mask, bad)


def _terms(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: _Targets,
    functions: Functions,
    totals: bool,
) -> _Terms:
    axis, labels = layout.axis, targets.labels
    given = shares(spec, batch, layout)
    v = given.weighted if spec.class_weight_rule == "per_class" else given.c
    v = None if v is None else along(v, axis, batch.logits)
    row = label_statistics(batch.logits, jnp.expand_dims(labels, axis), v, axis, smooths(spec))
    (m, L, own, rest), keep = _kept(spec, batch, targets, [part.squeeze(axis) for part in row])
    sums = class_sums(batch, layout, labels, given, functions)
    on, off, mass, entropy, expected = lower(spec, sums, functions)
    cross_entropy = mass * L - _times(on, own) - _times(off, rest)
    label_weight = 1.0 if sums.label_weight is None else sums.label_weight
    counted = expected if spec.denominator == "expected_class_weights" else label_weight
    return _Terms(cross_entropy, L - own, m + L, entropy, keep, counted)


def _soft_terms(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: _Targets,
    functions: Functions,
    totals: bool,
) -> _Terms:
    axis, t, w = layout.axis, targets.labels, batch.class_weight
    if batch.allowed is not None:
        t = jnp.where(along(batch.allowed, axis, t), t, 0.0)
    c = shares(spec, batch, layout).c
    total = float(layout.classes) if c is None else c.sum(axis if c.ndim > 1 else 0)
    keep, share = lower_soft(spec, total, functions)
    c = 1.0 if c is None else along(c, axis, t)
    q = _meet(keep, t, axis) * t + _meet(share, t, axis) * c
    weighted = q if w is None else q * along(w, axis, q)
    mass = keep * t.sum(axis) + share * total if w is None else weighted.sum(axis)
    used, scale = weighted, 1.0
    if w is not None and spec.class_weight_rule == "expected":
        used, mass, scale = q, q.sum(axis), mass
    row = soft_statistics(batch.logits, (used, t) if totals else (used,), axis)
    (m, L, dot, *nll), kept = _kept(spec, batch, targets, [part.squeeze(axis) for part in row])
    entropy = -xlogx(q, functions).sum(axis) if spec.kl else 0.0
    cross_entropy = scale * (mass * L - dot)
    nll = t.sum(axis) * L - nll[0] if totals else jnp.zeros_like(L)
    return _Terms(cross_entropy, nll, m + L, entropy, kept, 1.0)


def _kept(spec: Spec, batch: Batch, targets: _Targets, statistics: list[Array]) -> tuple[list[Array], Array | None]:
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


# --- What the shared code asks of JAX ---------------------------------------------------------------------------


def functions_for(like: Array) -> Functions:
    """The shared code's functions, in the dtype that the loss of these logits has."""
    dtype = loss_dtype(like)

    def array(value: Any) -> Array:
        return jnp.asarray(value, dtype)

    return Functions(
        where=lambda condition, a, b: jnp.where(condition, array(a), array(b)),
        log=jnp.log,
        any=jnp.any,
        sum=lambda values, axes=None, keepdims=False: values.sum(axes, keepdims=keepdims),
        count=lambda condition: condition.sum().astype(dtype),
        array=array,
        ones_like=jnp.ones_like,
        size=jnp.size,
        length=len,
    )


def _describe(array: Any) -> Described | None:
    if not isinstance(array, (Array, np.ndarray, np.generic)) or isinstance(array, np.ma.MaskedArray):
        return None
    foreign = not isinstance(array, Array) and not array.dtype.isnative
    return Described(array.shape, array.dtype.str if foreign else array.dtype.name)


def _read(array: Any) -> Any:
    """As NumPy's, if the values are at hand: neither traced nor on another device."""
    if isinstance(array, jax.core.Tracer):
        return UNREAD
    if isinstance(array, Array):
        at_hand = array.is_fully_addressable and {d.platform for d in array.devices()} == {"cpu"}
        return np.asarray(array) if at_hand else UNREAD
    return np.asarray(array)


reduction.register(Array, functions_for)
