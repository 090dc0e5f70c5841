"""The reference: float64, written to be read beside the formula, and slow.

A position has logits x, a target q, and, with lse = log Σ_k exp x_k and mass = Σ_k q_k,

    ℓ      = mass·lse − ⟨q, x⟩ + z_loss·lse² − H                                                          (1)
    q      = on·e_y + off·c without y     (a label)     or     q = (1 − ε)·t + ε·c / Σc     (soft labels t)      (2)
    ∂ℓ/∂x  = (mass + 2·z_loss·lse)·softmax(x) − q                                                         (3)

Edges, the same in every room:

=============================================== ===================================================================
a masked position, or one of sample weight 0    contributes exactly 0, and its gradient is 0, whatever its logits
the derivative to a sample weight of 0          exact; as of ℓ = 0 where ℓ is not finite
nothing counts, or an empty batch               sum 0; mean 0 or NaN as ``spec.empty`` says; gradient 0
K = 1                                           q = e_y: loss 0 (``leaky`` and ``values`` apart); gradient mass − q
ε = 0                                           q = e_y; a confident row keeps its relative accuracy
ε = 1                                           the label gets only what every class gets (``others``: nothing)
nobody may receive ε                            q = e_y, soft labels t (``leaky`` and ``values`` apart)
a logit of −inf under q_k > 0                   loss +inf, with the finite gradient of (3)
a logit of −inf under q_k = 0                   its term is skipped; softmax 0; no derivative to that q_k
``kl`` and the derivative to a q_k of 0         −1e30 in the place of −inf, so that 0 times it is 0
only −inf, or a +inf or NaN                     loss and gradient of that row are NaN
a class that is not allowed                     takes no probability and no mass; its gradient is 0, always
logits of ±1e4, gaps of 200 and more            no overflow: everything is formed from x − max x
a label outside [0, K), or not allowed          an ``InputError``; NaN loss and gradient where it cannot be read
=============================================== ===================================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multismooth import checks, reduction
from multismooth.checks import Batch, Described, Layout
from multismooth.lowering import ClassSums, lower, lower_soft, xlogx
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec, as_spec
from multismooth.values import FUNCTIONS

Float = NDArray[np.float64]


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
) -> Any:
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
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions; float64 for logits of every dtype.

    Masked positions contribute exactly 0, with a gradient of 0, whatever their logits hold. Where nothing counts the
    sum is 0 and the mean what ``spec.empty`` says. A logit of −inf under q_k > 0 gives +inf with a finite gradient; a
    row that holds +inf or NaN gives NaN. The gradient to the
    logits is ``smoothed_cross_entropy_vjp``.

    Raises:
        InputError: a wrong shape, dtype or option; or a bad value at a position that counts.

    >>> logits = np.zeros((2, 3, 4))  # [batch, time, classes]
    >>> labels = np.array([[0, 1, 3], [2, 0, 0]])
    >>> mask = np.array([[True, True, True], [True, False, False]])
    >>> print(smoothed_cross_entropy(logits, labels, 0.1, where=mask).round(4))
    1.3863

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7; every edge is in the
    table above.
    """
    call = "smoothed_cross_entropy"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    rows = evaluate(call, spec, batch, axis)
    return reduction.reduce(spec, rows.positions, normalizer, FUNCTIONS)


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

    >>> parts = [smoothed_cross_entropy_totals(np.zeros((n, 4)), np.arange(n)) for n in (1, 3)]
    >>> print(sum(parts).mean(Spec()).round(4))
    1.3863
    """
    call = "smoothed_cross_entropy_totals"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed)
    rows = evaluate(call, spec, batch, axis, totals=True)
    return reduction.totals(spec, rows.positions, FUNCTIONS)


def smoothed_cross_entropy_vjp(
    cotangent: ArrayLike,
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
) -> Float:
    """The gradient to the logits of ``cotangent · loss``, by equation (3).

    Args:
        cotangent: float, of the loss's shape.
        logits, labels, …: as in ``smoothed_cross_entropy``.

    Returns:
        float64 of the logits' shape.

    >>> smoothed_cross_entropy_vjp(1.0, np.zeros((1, 4)), np.array([2]), 0.1)
    array([[ 0.225,  0.225, -0.675,  0.225]])
    """
    call = "smoothed_cross_entropy_vjp"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    rows = evaluate(call, spec, batch, axis)
    return np.moveaxis(pullback(cotangent, spec, rows, normalizer), -1, axis)


class Rows(NamedTuple):
    """What is known of each position."""

    positions: Positions
    slope: Float
    """∂ℓ/∂x with the class axis last"""


class _Target(NamedTuple):
    """q after class weights, dense, with the class axis last, and what belongs to it."""

    q: Float
    mass: Any
    entropy: Any
    nll: Float
    """what multiplies −log p in the unsmoothed loss: the label's one-hot, or soft labels"""
    counted: Any
    """what the denominators of class weights count"""


def evaluate(call: str, spec: Spec, batch: Batch, axis: int, *, totals: bool = False) -> Rows:
    layout = checks.check_call(call, spec, batch, axis, describe, totals=totals)
    batch = Batch(*(None if array is None else np.asarray(array) for array in batch))
    checks.check_values(call, spec, batch, layout, np.asarray)
    batch = _classes_last(batch, layout)
    labels, mask, bad = _labels(spec, batch, layout)
    target = (_soft_target if layout.soft else _target)(spec, batch, layout, labels)

    x = batch.logits if batch.allowed is None else np.where(batch.allowed, batch.logits, -np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        m = x.max(-1)
        z = x - m[..., None]
        L = _log_sum_exp(z)
        lse = m + L
        z_loss = spec.z_loss * lse**2 if spec.z_loss else np.zeros_like(L)
        loss = target.mass * L - _dot(target.q, z) + z_loss - target.entropy  # (1)
        nll = target.nll.sum(-1) * L - _dot(target.nll, z)
        softmax = np.exp(z - L[..., None])
        slope = np.asarray(target.mass + 2 * spec.z_loss * lse)[..., None] * softmax - target.q  # (3)
    loss, nll = np.where(bad, np.nan, loss), np.where(bad, np.nan, nll)
    slope[bad] = np.nan
    if batch.allowed is not None:
        slope = np.where(batch.allowed, slope, 0.0)

    weight, keep = batch.sample_weight, mask
    if weight is not None:
        keep = mask & (weight != 0)
        weight = np.where(mask, weight, 0.0)
    loss, nll, z_loss = (np.where(keep, part, 0.0) for part in (loss, nll, z_loss))
    counted = np.where(mask & ~bad, target.counted, 0.0)
    return Rows(Positions(loss, nll, z_loss, mask, weight, counted), slope)


def pullback(cotangent: ArrayLike, spec: Spec, rows: Rows, normalizer: Any) -> Float:
    """The gradient to the logits, with the class axis last."""
    g = cotangent * reduction.slope(spec, rows.positions, normalizer, FUNCTIONS)
    with np.errstate(invalid="ignore"):
        gradient: Float = g[..., None] * rows.slope
    gradient[g == 0] = 0.0  # and not 0·NaN
    return gradient


def _classes_last(batch: Batch, layout: Layout) -> Batch:
    """float64 arrays with the class axis last."""

    def last(array: Any) -> Any:
        return np.moveaxis(array, layout.axis, -1) if array.ndim > 1 else array

    arrays = {
        name: np.asarray(array, np.float64)
        for name, array in batch._asdict().items()
        if array is not None and (name != "labels" or layout.soft) and array.dtype != bool
    }
    arrays["logits"] = last(arrays["logits"])
    if layout.soft:
        arrays["labels"] = last(arrays["labels"])
    if batch.allowed is not None:
        arrays["allowed"] = last(batch.allowed)
    return batch._replace(**arrays)


def _labels(spec: Spec, batch: Batch, layout: Layout) -> tuple[Any, Any, Any]:
    """Labels made harmless where they are bad, the positions that count, and the bad ones."""
    labels = batch.labels
    mask = np.ones(batch.logits.shape[:-1], bool) if batch.where is None else batch.where
    if layout.soft:
        bad = ~((labels >= 0) & (labels < np.inf)).all(-1)
        with np.errstate(invalid="ignore"):  # of infinities where nothing counts
            bad |= np.abs(labels.sum(-1) - 1) > checks.SUM_TOLERANCE
        if batch.allowed is not None:
            bad |= (~batch.allowed & (labels > 0)).any(-1)
        return np.where(bad[..., None], 0.0, labels), mask, bad
    if spec.ignore_index is not None:
        mask = mask & (labels != spec.ignore_index)
    bad = (labels < 0) | (labels >= layout.classes)
    labels = np.where(bad, 0, labels).astype(np.int64)
    if batch.allowed is not None:
        bad = bad | ~_at(np.broadcast_to(batch.allowed, batch.logits.shape), labels)
    return labels, mask, bad


def _target(spec: Spec, batch: Batch, layout: Layout, labels: Any) -> _Target:
    """q = on·e_y + off·v without y, with on, off, and the mass from the lowering."""
    c = _shares(spec, batch)
    one_hot = np.arange(layout.classes) == labels[..., None]
    w = batch.class_weight
    sums = ClassSums(
        own=_at(c, labels),
        rest=_sum_where(~one_hot, c),
        xlogx_rest=_sum_where(~one_hot, xlogx(c, FUNCTIONS)),
        label_weight=None if w is None else w[labels],
        weighted_rest=None if w is None else _sum_where(~one_hot, c * w),
    )
    on, off, mass, entropy, expected = lower(spec, sums, FUNCTIONS)
    v = c * w if w is not None and spec.class_weight_rule == "per_class" else c
    q = np.where(one_hot, np.asarray(on)[..., None], np.asarray(off)[..., None] * v)
    label_weight = 1.0 if w is None else w[labels]
    counted = expected if spec.denominator == "expected_class_weights" else label_weight
    return _Target(q, mass, entropy, one_hot.astype(np.float64), counted)


def _soft_target(spec: Spec, batch: Batch, layout: Layout, t: Float) -> _Target:
    """q = keep·t + share·c."""
    c, w = _shares(spec, batch), batch.class_weight
    keep, share = lower_soft(spec, c.sum(-1), FUNCTIONS)
    q = keep[..., None] * t + share[..., None] * c
    entropy = -xlogx(q, FUNCTIONS).sum(-1) if spec.kl else 0.0
    if w is not None:
        rule = w if spec.class_weight_rule == "per_class" else (q * w).sum(-1, keepdims=True)
        q = q * rule
    return _Target(q, q.sum(-1), entropy, t, 1.0)


def _shares(spec: Spec, batch: Batch) -> Float:
    """c = prior (or 1) × not excluded × allowed, in the logits' shape."""
    c = np.ones(batch.logits.shape) if batch.prior is None else batch.prior
    c = np.broadcast_to(c, batch.logits.shape).copy()
    c[..., list(spec.exclude)] = 0.0
    return c if batch.allowed is None else np.where(batch.allowed, c, 0.0)


def _log_sum_exp(z: Float) -> Any:
    """log Σ exp z where max z is 0: log1p of the sum without one maximum keeps a confident row's digits."""
    others = np.exp(z)
    np.put_along_axis(others, z.argmax(-1)[..., None], np.where(np.isnan(z).any(-1), np.nan, 0.0)[..., None], -1)
    return np.log1p(others.sum(-1))


def _dot(q: Float, z: Float) -> Any:
    """⟨q, z⟩, where a coefficient of 0 skips its term: 0·−inf is no number."""
    return (q * np.where(q == 0, 0.0, z)).sum(-1)


def _at(array: Any, labels: Any) -> Any:
    return np.take_along_axis(array, labels[..., None], -1)[..., 0]


def _sum_where(condition: Any, array: Any) -> Any:
    return np.where(condition, array, 0.0).sum(-1)


def describe(array: Any) -> Described | None:
    """None for what NumPy makes no array of, or one of objects or strings, or one without its mask."""
    if isinstance(array, np.ma.MaskedArray):
        return None
    try:
        made = np.asarray(array)
    except (TypeError, ValueError, RuntimeError):  # ragged, or the array of another framework
        return None
    if made.dtype.kind in "OSU" and not isinstance(array, (np.ndarray, np.generic)):
        return None
    return Described(made.shape, made.dtype.name)


reduction.register((np.ndarray, np.generic, float), lambda like: FUNCTIONS)
