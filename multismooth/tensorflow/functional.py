"""The loss in TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from multismooth import checks, reduction
from multismooth.checks import Batch, Layout
from multismooth.lowering import Functions, lower, lower_soft, smooths, xlogx
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec, as_spec
from multismooth.tensorflow import few
from multismooth.tensorflow.classes import along, at_label, class_sums, counted, shares
from multismooth.tensorflow.functions import describe, functions_for, is_at_hand, read
from multismooth.tensorflow.projection import Projection, projected_statistics
from multismooth.tensorflow.rows import Rest, loss_dtype
from multismooth.tensorflow.statistics import label_statistics, soft_statistics

Array = tf.Tensor | tf.Variable | np.ndarray


@tf.autograph.experimental.do_not_convert
def smoothed_cross_entropy(
    logits: Array,
    labels: Array,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Array | None = None,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    prior: Array | None = None,
    allowed: Array | None = None,
    normalizer: Array | float | None = None,
) -> tf.Tensor:
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
        float32, which is also what it is computed in, if not in float64 where that takes fewer operations; gradients
        are rounded once to the logits' dtype.

    Masked positions contribute exactly 0, with a gradient of 0, whatever their logits hold. Where nothing counts the
    sum is 0 and the mean what ``spec.empty`` says. A logit of −inf under q_k > 0 gives +inf with a finite gradient; a
    row that holds +inf or NaN gives NaN. Derivatives of every order are exact, to logits, soft labels, sample_weight,
    class_weight and prior.

    Raises:
        InputError: a wrong shape, dtype or option; or a bad value where it can be read at once, in eager mode on
            the CPU; elsewhere the position's loss and gradient are NaN.

    The number of classes must be static; the other dimensions may be unknown. A gradient that is taken of
    ``tf.vectorized_map`` from outside goes past the custom one: with XLA and in half precision it raises a LookupError,
    where the sums are taken in a loop.

    >>> import tensorflow as tf
    >>> logits = tf.zeros([2, 3, 4])  # [batch, time, classes]
    >>> labels = tf.constant([[0, 1, 3], [2, 0, 0]])
    >>> mask = tf.constant([[True, True, True], [True, False, False]])
    >>> print(smoothed_cross_entropy(logits, labels, 0.1, where=mask).numpy().round(4))
    1.3863

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7; every edge is written
    down in ``multismooth.numpy.functional``.
    """
    call = "smoothed_cross_entropy"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    layout = checks.check_call(call, spec, batch, axis, describe)
    good = checks.check_values(call, spec, batch, layout, read)
    if good is not None and is_at_hand(logits) and (loss := few.loss(spec, batch, good, layout)) is not None:
        return loss
    if (loss := few.loss_in_graph(spec, batch, layout)) is not None:
        return loss
    positions = positions_of(spec, batch, layout, good is not None)
    return reduction.reduce(spec, positions, normalizer, functions_for(positions.loss))


@tf.autograph.experimental.do_not_convert
def smoothed_cross_entropy_totals(
    logits: Array,
    labels: Array,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Array | None = None,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    prior: Array | None = None,
    allowed: Array | None = None,
) -> Totals:
    """The sums that the mean of ``smoothed_cross_entropy`` is made of, which add up over parts of a batch.

    The arguments are those of ``smoothed_cross_entropy``, without a normalizer; ``spec.reduction`` plays no part. Add
    the totals of microbatches, devices or hosts, then call ``mean(spec)`` once.

    Returns:
        ``Totals(loss, weight, nll, z_loss)``, four scalars.

    Raises:
        InputError: as in ``smoothed_cross_entropy``.

    >>> import tensorflow as tf
    >>> parts = [smoothed_cross_entropy_totals(tf.zeros([n, 4]), tf.range(n)) for n in (1, 3)]
    >>> print(sum(parts).mean(Spec()).numpy().round(4))
    1.3863
    """
    call = "smoothed_cross_entropy_totals"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed)
    layout = checks.check_call(call, spec, batch, axis, describe, totals=True)
    good = checks.check_values(call, spec, batch, layout, read) is not None
    positions = positions_of(spec, batch, layout, good, totals=True)
    return reduction.totals(spec, positions, functions_for(positions.loss))


class _Targets(NamedTuple):
    labels: tf.Tensor
    """class indices, or probabilities; made harmless where they are bad"""
    mask: tf.Tensor | None
    bad: tf.Tensor | None
    """labels that no loss is defined for, or None if there are none"""


class _Terms(NamedTuple):
    """The loss of each position in parts, and what they were made from."""

    cross_entropy: tf.Tensor
    nll: tf.Tensor | None
    """for totals"""
    lse: tf.Tensor | None
    """for z-loss"""
    entropy: Any
    keep: tf.Tensor | None
    """the positions whose statistics are used, or None for all"""
    is_masked: bool
    """whether the loss is 0 at the others as it stands"""
    class_weight: Any


def positions_of(spec: Spec, batch: Batch, layout: Layout, good: bool, *, totals: bool = False) -> Positions:
    """What the reduction needs; ``good`` says that every value is known to be."""
    batch = _cast(batch)
    targets = (_soft_labels if layout.soft else _labels)(spec, batch, layout, good)
    batch = _without_absent(batch, layout, targets.mask)
    functions = functions_for(batch.logits)
    evaluate = _soft_terms if layout.soft else _terms
    terms = evaluate(spec, batch, layout, targets, functions, totals)
    loss, z_loss = terms.cross_entropy, None
    if spec.z_loss:
        z_loss = spec.z_loss * tf.square(terms.lse)
        loss += z_loss
    if spec.kl:
        loss -= terms.entropy
    parts = [loss]
    if totals:
        parts += [terms.nll, tf.zeros_like(loss) if z_loss is None else z_loss]
    if not good:
        bad = checks.bad_positions(batch, targets.bad, functions)
        bad = bad if terms.keep is None else bad & terms.keep
        # A product, since its derivative is NaN too.
        poison = functions.where(bad, float("nan"), 1.0)
        parts[:2] = [part * poison for part in parts[:2]]
    if not terms.is_masked:
        parts = [_only(part, terms.keep) for part in parts]
    weight = batch.sample_weight
    counted = terms.class_weight
    if targets.bad is not None:
        counted = functions.where(targets.bad, 0.0, counted)
    if tf.is_tensor(counted):
        counted = _only(counted, targets.mask)
    return Positions(
        *(parts if totals else (*parts, None, None)),
        mask=targets.mask,
        sample_weight=None if weight is None else _only(weight, targets.mask),
        class_weight=counted,
    )


def _cast(batch: Batch) -> Batch:
    """Tensors, the weights in the loss's dtype."""
    logits = batch.logits if isinstance(batch.logits, Projection) else tf.convert_to_tensor(batch.logits)
    arrays = {"logits": logits, "labels": tf.convert_to_tensor(batch.labels)}
    for name in ("where", "sample_weight", "class_weight", "prior", "allowed"):
        if getattr(batch, name) is not None:
            arrays[name] = tf.convert_to_tensor(getattr(batch, name))
            if arrays[name].dtype != tf.bool:
                arrays[name] = tf.cast(arrays[name], loss_dtype(logits))
    return batch._replace(**arrays)


def _without_absent(batch: Batch, layout: Layout, mask: tf.Tensor | None) -> Batch:
    """Classes that are not allowed get no probability; ``where`` becomes the rows whose statistics are used.

    These are not the masked rows, nor those that have the weight 0 and no finite loss.
    """
    logits, axis, used = batch.logits, layout.axis, mask
    is_projection = isinstance(logits, Projection)
    if is_projection:
        logits = replace(logits, allowed=batch.allowed)
    elif batch.allowed is not None:
        allowed = along(batch.allowed, axis, logits)
        logits = tf.where(allowed, logits, tf.constant(-np.inf, logits.dtype))
    if batch.sample_weight is not None:
        if is_projection:
            finite = tf.reduce_all(tf.math.is_finite(logits.hidden), -1)
        else:
            # Not the maximum's finiteness: XLA's maximum passes over NaN.
            finite = tf.reduce_all(logits < np.inf, axis) & tf.reduce_any(logits > -np.inf, axis)
        live = (batch.sample_weight != 0) | finite
        used = live if used is None else used & live
    return batch._replace(logits=logits, where=used)


def _labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
    """int64 labels that are safe to index with, and which of them count."""
    labels, mask = counted(spec, batch)
    if good and batch.sample_weight is None:
        return _Targets(_only(labels, mask), mask, None)
    bad = (labels < 0) | (labels >= layout.classes)
    labels = tf.where(bad, tf.zeros_like(labels), labels)
    if batch.allowed is not None:
        bad = bad | ~at_label(batch.allowed, labels, layout.axis)
    return _Targets(labels, mask, bad)


def _soft_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
    axis = layout.axis
    labels = tf.cast(batch.labels, loss_dtype(batch.logits))
    if good and batch.where is None and batch.sample_weight is None:
        return _Targets(labels, None, None)
    # NaN makes a sum of NaN, and an infinity one that is far from 1.
    even = tf.abs(tf.reduce_sum(labels, axis) - 1) <= checks.SUM_TOLERANCE
    bad = ~even | (tf.reduce_min(labels, axis) < 0)
    if batch.allowed is not None:
        allowed = along(batch.allowed, axis, labels)
        bad = bad | tf.reduce_any(~allowed & (labels > 0), axis)
    return _Targets(labels, batch.where, bad)


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
    if isinstance(batch.logits, Projection):
        row = projected_statistics(batch.logits, labels, batch.where, v, _rest(spec))
    else:
        row = label_statistics(batch.logits, labels, batch.where, v, axis, _rest(spec))
    (m, L, own, rest), keep = _kept(spec, batch, targets, list(row))
    sums = class_sums(batch, layout, labels, given, functions)
    on, off, mass, entropy, expected = lower(spec, sums, functions)
    numbers = not any(map(tf.is_tensor, (on, off, mass)))
    combine = _combined if numbers else _cross_entropy
    label_weight = 1.0 if sums.label_weight is None else sums.label_weight
    counted = expected if spec.denominator == "expected_class_weights" else label_weight
    return _Terms(
        combine(L, own, rest, on, off, mass),
        L - own if totals else None,
        m + L if spec.z_loss else None,
        entropy,
        keep,
        is_masked=numbers and not spec.kl,
        class_weight=counted,
    )


def _cross_entropy(L: tf.Tensor, own: tf.Tensor, rest: tf.Tensor, on: Any, off: Any, mass: Any) -> tf.Tensor:
    return _scaled(mass, L) - _times(on, own) - _times(off, rest)


def _combined(L: tf.Tensor, own: tf.Tensor, rest: tf.Tensor, on: float, off: float, mass: float) -> tf.Tensor:
    """The same for coefficients that are numbers, in few operations, each of which costs in eager mode."""

    @tf.custom_gradient
    def combined(L: tf.Tensor, own: tf.Tensor, rest: tf.Tensor) -> Any:
        return _cross_entropy(L, own, rest, on, off, mass), lambda g: (_scaled(mass, g), -on * g, -off * g)

    return combined(L, own, rest)


def _rest(spec: Spec) -> Rest:
    """With a spread that is uniform the label's share is never less than another's."""
    if not smooths(spec):
        return Rest.NONE
    return Rest.ALL if spec.values is None and spec.spread == "uniform" else Rest.OTHERS


def _soft_terms(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: _Targets,
    functions: Functions,
    totals: bool,
) -> _Terms:
    axis, t, w = layout.axis, targets.labels, batch.class_weight
    sound = None if targets.bad is None else ~targets.bad
    if batch.allowed is not None:
        t = tf.where(along(batch.allowed, axis, t), t, tf.zeros_like(t))
    if sound is not None and (w is not None or spec.kl):  # products whose derivatives would be 0·NaN
        t = tf.where(tf.expand_dims(sound, axis), t, tf.zeros_like(t))

    def over_classes(values: tf.Tensor) -> tf.Tensor:
        return _only(tf.reduce_sum(values, axis), sound)

    given = shares(spec, batch, layout)
    total, weighted_total = (
        float(layout.classes) if c is None else tf.reduce_sum(c, axis if len(c.shape) > 1 else 0) for c in given
    )
    keep, share = lower_soft(spec, total, functions)
    t_total = over_classes(t)
    mass, scale = keep * t_total + share * total, 1.0
    weighted, c = t, given.c
    if w is not None:
        weighted = t * along(w, axis, t)
        weight = keep * over_classes(weighted) + share * weighted_total
        if spec.class_weight_rule == "expected":
            weighted, scale = t, weight
        else:
            c, mass = given.weighted, weight
    vectors = [weighted]
    if smooths(spec):
        vectors.append(None if c is None else along(c, axis, t))
    if totals and weighted is not t:
        vectors.append(t)
    statistics = soft_statistics(batch.logits, batch.where, vectors, sound, axis)
    (m, L, own, *others), kept = _kept(spec, batch, targets, statistics)
    dot = _times(keep, own)
    if smooths(spec):
        dot += _times(share, others.pop(0))
    entropy = 0.0
    if spec.kl:
        q = _meet(keep, t, axis) * t + _meet(share, t, axis) * (1.0 if c is None else along(c, axis, t))
        entropy = -over_classes(xlogx(q, functions))
    cross_entropy = scale * (mass * L - dot)
    nll = t_total * L - (others[0] if others else own) if totals else tf.zeros_like(L)
    return _Terms(cross_entropy, nll, m + L, entropy, kept, is_masked=False, class_weight=1.0)


def _kept(
    spec: Spec, batch: Batch, targets: _Targets, statistics: list[tf.Tensor]
) -> tuple[list[tf.Tensor], tf.Tensor | None]:
    """The statistics, and which are used: those that count, and of weight 0 the ones that are numbers.

    The loss of a weight of 0 is the derivative to that weight, so it is computed wherever it exists.
    """
    keep, weight = batch.where, batch.sample_weight
    if weight is not None:
        # m + L may be a number whose square is none.
        terms = [*statistics, tf.square(statistics[0] + statistics[1])] if spec.z_loss else statistics
        number = tf.reduce_all(tf.math.is_finite(tf.stack(terms)), 0)
        number = number if targets.bad is None else number & ~targets.bad
        live = (weight != 0) | number
        keep = live if keep is None else keep & live
        statistics = [_only(statistic, keep) for statistic in statistics]
    return statistics, keep


def _scaled(coefficient: Any, value: tf.Tensor) -> tf.Tensor:
    """The product; that with 1 takes no operation."""
    return value if not tf.is_tensor(coefficient) and coefficient == 1 else coefficient * value


def _times(coefficient: Any, statistic: tf.Tensor) -> tf.Tensor | float:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    if not tf.is_tensor(coefficient):
        return coefficient * statistic if coefficient else 0.0
    skipped = (coefficient == 0) & tf.math.is_inf(statistic)
    return coefficient * tf.where(skipped, tf.zeros_like(statistic), statistic)


def _only(values: tf.Tensor, keep: tf.Tensor | None) -> tf.Tensor:
    return values if keep is None else tf.where(keep, values, tf.zeros_like(values))


def _meet(coefficient: Any, like: tf.Tensor, axis: int) -> Any:
    """A coefficient of each position, shaped to meet an array with classes."""
    by_position = tf.is_tensor(coefficient) and len(coefficient.shape) == len(like.shape) - 1
    return tf.expand_dims(coefficient, axis) if by_position else coefficient
