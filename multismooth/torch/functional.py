"""The loss in PyTorch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.masked import MaskedTensor

from multismooth import checks, reduction
from multismooth.checks import UNREAD, Batch, Described, Layout
from multismooth.lowering import Functions, lower, lower_soft, smooths, xlogx
from multismooth.reduction import Positions, Totals
from multismooth.spec import Spec, as_spec
from multismooth.torch.classes import along, at_label, class_sums, shares
from multismooth.torch.statistics import label_statistics, loss_dtype, soft_statistics


def smoothed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    prior: Tensor | None = None,
    allowed: Tensor | None = None,
    normalizer: Tensor | float | None = None,
) -> Tensor:
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
        InputError: a wrong shape, dtype or option; or a bad value where it can be read at once, in eager mode on
            the CPU; elsewhere the position's loss and gradient are NaN.
            A derivative of the derivative that is forward-mode twice, as in ``jacfwd(jacfwd(f))``, raises too.

    Take second derivatives of the uncompiled loss: ``torch.compile`` has none, and with ``allow_unused=True`` it says
    None or 0 where it should raise.

    >>> import torch
    >>> logits = torch.zeros(2, 3, 4)  # [batch, time, classes]
    >>> labels = torch.tensor([[0, 1, 3], [2, 0, 0]])
    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> smoothed_cross_entropy(logits, labels, 0.1, where=mask)
    tensor(1.3863)

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7; every edge is written
    down in ``multismooth.numpy.functional``.
    """
    call = "smoothed_cross_entropy"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    positions = _positions(call, spec, batch, axis)
    return reduction.reduce(spec, positions, normalizer, functions_for(positions.loss))


def smoothed_cross_entropy_totals(
    logits: Tensor,
    labels: Tensor,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    prior: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Totals:
    """The sums that the mean of ``smoothed_cross_entropy`` is made of, which add up over parts of a batch.

    The arguments are those of ``smoothed_cross_entropy``, without a normalizer; ``spec.reduction`` plays no part. Add
    the totals of microbatches, devices or hosts, then call ``mean(spec)`` once.

    Returns:
        ``Totals(loss, weight, nll, z_loss)``, four scalars.

    Raises:
        InputError: as in ``smoothed_cross_entropy``.

    >>> import torch
    >>> parts = [smoothed_cross_entropy_totals(torch.zeros(n, 4), torch.arange(n)) for n in (1, 3)]
    >>> sum(parts).mean(Spec())
    tensor(1.3863)
    """
    call = "smoothed_cross_entropy_totals"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed)
    positions = _positions(call, spec, batch, axis, totals=True)
    return reduction.totals(spec, positions, functions_for(positions.loss))


class _Targets(NamedTuple):
    labels: Tensor
    """class indices, or probabilities; made harmless where they are bad"""
    mask: Tensor | None
    bad: Tensor | None
    """labels that no loss is defined for, or None if there are none"""


class _Terms(NamedTuple):
    """The loss of each position in parts, and what they were made from."""

    cross_entropy: Tensor
    nll: Tensor
    lse: Tensor
    entropy: Any
    keep: Tensor | None
    """the positions whose statistics are used, or None for all"""
    class_weight: Any


def _positions(call: str, spec: Spec, batch: Batch, axis: int, *, totals: bool = False) -> Positions:
    layout = checks.check_call(call, spec, batch, axis, _describe, totals=totals)
    compiling = torch.compiler.is_compiling()
    good = not compiling and checks.check_values(call, spec, batch, layout, _read)
    batch = _cast(batch)
    functions = functions_for(batch.logits)
    find = _soft_labels if layout.soft else _labels
    targets = find(spec, batch, layout, good)
    evaluate = _soft_terms if layout.soft else _terms
    terms = evaluate(spec, batch, layout, targets, functions, totals)
    z_loss = spec.z_loss * terms.lse.square() if spec.z_loss else torch.zeros_like(terms.nll)
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
    if isinstance(counted, Tensor):
        counted = _only(counted, targets.mask)
        counted = counted if targets.bad is None else counted.masked_fill(targets.bad, 0.0)
    return Positions(
        loss,
        nll,
        z_loss,
        mask=targets.mask,
        sample_weight=None if weight is None else _only(weight, targets.mask),
        class_weight=counted,
    )


def _cast(batch: Batch) -> Batch:
    """Weights in the loss's dtype."""
    dtype = loss_dtype(batch.logits)
    floats = ("sample_weight", "class_weight", "prior")
    cast = {name: getattr(batch, name).to(dtype) for name in floats if getattr(batch, name) is not None}
    return batch._replace(**cast)


def _labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
    """int64 labels that are safe to index with, and which of them count."""
    labels, mask = batch.labels.long(), batch.where
    info = torch.iinfo(batch.labels.dtype)
    if spec.ignore_index is not None and info.min <= spec.ignore_index <= info.max:
        counts = labels != spec.ignore_index
        mask = counts if mask is None else mask & counts
    if good and mask is None and batch.sample_weight is None:
        return _Targets(labels, None, None)
    bad = (labels < 0) | (labels >= layout.classes)
    labels = labels.masked_fill(bad, 0)
    if batch.allowed is not None:
        bad = bad | ~at_label(batch.allowed, labels, layout.axis)
    return _Targets(labels, mask, bad)


def _soft_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> _Targets:
    axis = layout.axis
    labels = batch.labels.to(loss_dtype(batch.logits))
    if good and batch.where is None and batch.sample_weight is None:
        return _Targets(labels, None, None)
    bad = ~((labels >= 0) & (labels < torch.inf)).all(axis)
    bad = bad | ((labels.sum(axis) - 1).abs() > checks.SUM_TOLERANCE)
    if batch.allowed is not None:
        allowed = along(batch.allowed, axis, labels)
        bad = bad | (~allowed & (labels > 0)).any(axis)
    return _Targets(labels.masked_fill(bad.unsqueeze(axis), 0.0), batch.where, bad)


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
    allowed = None if batch.allowed is None else along(batch.allowed, axis, batch.logits)
    row = label_statistics(batch.logits, labels.unsqueeze(axis), v, allowed, axis, smooths(spec))
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
    allowed = None if batch.allowed is None else along(batch.allowed, axis, t)
    if allowed is not None:
        t = torch.where(allowed, t, 0.0)
    c = shares(spec, batch, layout).c
    total = float(layout.classes) if c is None else c.sum(axis if c.dim() > 1 else 0)
    keep, share = lower_soft(spec, total, functions)
    c = 1.0 if c is None else along(c, axis, t)
    q = _meet(keep, t, axis) * t + _meet(share, t, axis) * c
    weighted = q if w is None else q * along(w, axis, q)
    mass = keep * t.sum(axis) + share * total if w is None else weighted.sum(axis)
    used, scale = weighted, 1.0
    if w is not None and spec.class_weight_rule == "expected":
        used, mass, scale = q, q.sum(axis), mass
    row = soft_statistics(batch.logits, (used, t) if totals else (used,), allowed, axis)
    (m, L, dot, *nll), kept = _kept(spec, batch, targets, [part.squeeze(axis) for part in row])
    entropy = -xlogx(q, functions).sum(axis) if spec.kl else 0.0
    cross_entropy = scale * (mass * L - dot)
    nll = t.sum(axis) * L - nll[0] if totals else torch.zeros_like(L)
    return _Terms(cross_entropy, nll, m + L, entropy, kept, 1.0)


def _kept(spec: Spec, batch: Batch, targets: _Targets, statistics: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
    """The statistics, and which are used: those that count, and of weight 0 the ones that are numbers.

    The loss of a weight of 0 is the derivative to that weight, so it is computed wherever it exists.
    """
    keep, weight = targets.mask, batch.sample_weight
    if weight is not None:
        # m + L may be a number whose square is none.
        terms = [*statistics, (statistics[0] + statistics[1]).square()] if spec.z_loss else statistics
        number = torch.stack(terms).isfinite().all(0)
        number = number if targets.bad is None else number & ~targets.bad
        live = (weight != 0) | number
        keep = live if keep is None else keep & live
    return [_only(statistic, keep) for statistic in statistics], keep


def _times(coefficient: Any, statistic: Tensor) -> Tensor | float:
    """The product, where a coefficient of 0 skips its term: 0·−inf is no number."""
    if not isinstance(coefficient, Tensor):
        return coefficient * statistic if coefficient else 0.0
    skipped = (coefficient == 0) & statistic.isinf()
    return coefficient * statistic.masked_fill(skipped, 0.0)


def _only(values: Tensor, keep: Tensor | None) -> Tensor:
    return values if keep is None else torch.where(keep, values, 0.0)


def _meet(coefficient: Any, like: Tensor, axis: int) -> Any:
    """A coefficient of each position, shaped to meet an array with classes."""
    by_position = isinstance(coefficient, Tensor) and coefficient.dim() == like.dim() - 1
    return coefficient.unsqueeze(axis) if by_position else coefficient


# --- What the shared code asks of PyTorch -----------------------------------------------------------------------


def functions_for(like: Tensor) -> Functions:
    """The shared code's functions, in the dtype that the loss of these logits has."""
    dtype, device = loss_dtype(like), like.device

    def array(value: Any) -> Tensor:
        # torch.where(condition, 0.9, 1.0) would be float32.
        return torch.as_tensor(value, dtype=dtype, device=device)

    def where(condition: Any, a: Any, b: Any) -> Any:
        if isinstance(condition, torch.SymBool):  # of a number of classes that is traced
            return a if condition else b
        return torch.where(condition, array(a), array(b))

    return Functions(
        where=where,
        log=torch.log,
        any=torch.any,
        sum=torch.sum,
        count=lambda condition: condition.sum().to(dtype),
        array=array,
        ones_like=torch.ones_like,
        size=torch.numel,
        length=len,
    )


def _describe(array: Any) -> Described | None:
    if not isinstance(array, Tensor) or isinstance(array, MaskedTensor):
        return None
    if array.layout is not torch.strided or array.is_nested:
        return None
    return Described(tuple(array.shape), str(array.dtype).removeprefix("torch."))


def _read(array: Any) -> Any:
    """As NumPy's, if the values are at hand: not on another device, nor inside a transformation."""
    if not isinstance(array, Tensor):
        return np.asarray(array)
    if array.device.type != "cpu":
        return UNREAD
    array = array.detach()
    try:
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    except (RuntimeError, TypeError):  # vmapped, fake, or another tensor without a storage
        return UNREAD


reduction.register(Tensor, functions_for)
