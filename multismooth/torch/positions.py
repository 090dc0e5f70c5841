"""From the arrays of a call to the loss of each position, in plain code that PyTorch differentiates."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from multismooth import checks
from multismooth.checks import Batch, Layout
from multismooth.lowering import lower, lower_soft, smooths, xlogx
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.torch.classes import along, at_label, class_sums, shares
from multismooth.torch.functions import functions_for, loss_dtype
from multismooth.torch.statistics import label_statistics, soft_statistics, with_held_cotangent


class Targets(NamedTuple):
    labels: Tensor
    """class indices, or probabilities; made harmless where they are bad"""
    mask: Tensor | None
    """the positions that count, or None for all"""
    bad: Tensor | None
    """labels that no loss is defined for, or None if there are none"""


class Coefficients(NamedTuple):
    """What a position's statistics are multiplied with, each a number or a tensor like the labels."""

    on: Any
    off: Any
    mass: Any
    entropy: Any
    counted: Any
    """what the denominators of class weights add up"""
    receivers: Tensor | None
    """v, shaped to meet the logits; None for ones"""

    @property
    def outweighs(self) -> bool:
        """Whether Σ_k (x_k − m) less the label's will do for the sum over the others.

        Then what the label's rounds off the sum is a share of what it adds to the loss itself.
        """
        numbers = isinstance(self.on, float) and isinstance(self.off, float)
        return self.receivers is None and numbers and 8 * self.off <= self.on


class SoftCoefficients(NamedTuple):
    """Of a target q = keep·t + share·c, where t and c are those below with the class weights of ``per_class``."""

    keep: Any
    share: Any
    mass: Any
    scale: Any
    """Σ_k q_k·w_k under the rule ``expected``, else 1"""
    labels: Tensor
    """t where it is allowed"""
    weighted: Tensor
    """the same with these weights; without any the very same"""
    receivers: Tensor | None
    """c with these weights, shaped to meet the logits; None for ones"""

    def target(self, axis: int) -> Tensor:
        keep, share = (_meet(coefficient, self.labels, axis) for coefficient in (self.keep, self.share))
        return keep * self.weighted + share * (1.0 if self.receivers is None else self.receivers)


class Losses(NamedTuple):
    """Of each position: 0 where it is not kept, NaN where it is bad."""

    loss: Tensor
    nll: Tensor | None
    """for totals, as is the next"""
    z_loss: Tensor | None
    keep: Tensor | None
    """the positions whose statistics are used, or None for all"""


def positions(spec: Spec, batch: Batch, layout: Layout, good: bool, *, totals: bool) -> Positions:
    """What the reduction needs; ``good`` says that every value is known to be."""
    batch = cast(batch)
    axis, targets = layout.axis, targets_of(spec, batch, layout, good)
    allowed = None if batch.allowed is None else along(batch.allowed, axis, batch.logits)
    if layout.soft:
        soft = soft_coefficients(spec, batch, layout, targets.labels)
        target = soft.target(axis)
        used = (target, soft.labels) if totals else (target,)
        row = [part.squeeze(axis) for part in soft_statistics(batch.logits, used, allowed, axis)]
        return reducible(batch, targets, soft_losses(spec, batch, layout, targets, soft, row, good, totals=totals), 1.0)
    k = coefficients(spec, batch, layout, targets.labels)
    labels = targets.labels.unsqueeze(axis)
    statistics = label_statistics(batch.logits, labels, k.receivers, allowed, axis, smooths(spec), k.outweighs)
    row = [part.squeeze(axis) for part in statistics]
    return reducible(batch, targets, label_losses(spec, batch, targets, k, row, good, totals=totals), k.counted)


def reducible(batch: Batch, targets: Targets, losses: Losses, counted: Any) -> Positions:
    """The losses with what they are weighted and counted by."""
    weight = None if batch.sample_weight is None else only(batch.sample_weight, targets.mask)
    return Positions(*losses[:3], targets.mask, weight, counted_where(counted, batch, targets))


def counted_where(counted: Any, batch: Batch, targets: Targets) -> Any:
    """What the denominators of class weights add up: 0 where a position does not count, or has no class."""
    if targets.bad is not None:
        counted = functions_for(batch.logits).where(targets.bad, 0.0, counted)
    return only(counted, targets.mask) if isinstance(counted, Tensor) else counted


def cast(batch: Batch) -> Batch:
    """Weights in the loss's dtype."""
    dtype = loss_dtype(batch.logits)
    floats = ("sample_weight", "class_weight", "prior")
    made = {name: getattr(batch, name).to(dtype) for name in floats if getattr(batch, name) is not None}
    return batch._replace(**made) if made else batch


def targets_of(spec: Spec, batch: Batch, layout: Layout, good: bool) -> Targets:
    """Labels that are safe to use, and which of them count."""
    return (_soft_labels if layout.soft else _labels)(spec, batch, layout, good)


def mask_of(spec: Spec, batch: Batch, layout: Layout) -> Tensor | None:
    """The positions that count, or None for all."""
    if layout.soft or spec.ignore_index is None:
        return batch.where
    info = torch.iinfo(batch.labels.dtype)
    if not info.min <= spec.ignore_index <= info.max:
        return batch.where
    counts = batch.labels.long() != spec.ignore_index
    return counts if batch.where is None else batch.where & counts


def _labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> Targets:
    labels, mask = batch.labels.long(), mask_of(spec, batch, layout)
    if good and batch.sample_weight is None:
        return Targets(labels if mask is None else torch.where(mask, labels, 0), mask, None)
    bad = (labels < 0) | (labels >= layout.classes)
    labels = labels.masked_fill(bad, 0)
    if batch.allowed is not None:
        bad = bad | ~at_label(batch.allowed, labels, layout.axis)
    return Targets(labels, mask, bad)


def _soft_labels(spec: Spec, batch: Batch, layout: Layout, good: bool) -> Targets:
    axis = layout.axis
    labels = batch.labels.to(loss_dtype(batch.logits))
    if good and batch.where is None and batch.sample_weight is None:
        return Targets(labels, None, None)
    bad = ~((labels >= 0) & (labels < torch.inf)).all(axis)
    bad = bad | ((labels.sum(axis) - 1).abs() > checks.SUM_TOLERANCE)
    if batch.allowed is not None:
        allowed = along(batch.allowed, axis, labels)
        bad = bad | (~allowed & (labels > 0)).any(axis)
    return Targets(labels.masked_fill(bad.unsqueeze(axis), 0.0), batch.where, bad)


def coefficients(spec: Spec, batch: Batch, layout: Layout, labels: Tensor) -> Coefficients:
    functions = functions_for(batch.logits)
    given = shares(spec, batch, layout)
    v = given.weighted if spec.class_weight_rule == "per_class" else given.c
    sums = class_sums(batch, layout, labels, given, functions)
    on, off, mass, entropy, expected = lower(spec, sums, functions)
    label_weight = 1.0 if sums.label_weight is None else sums.label_weight
    counted = expected if spec.denominator == "expected_class_weights" else label_weight
    v = None if v is None else along(v, layout.axis, batch.logits)
    return Coefficients(on, off, mass, entropy, counted, v)


def counted_at(spec: Spec, batch: Batch, layout: Layout, labels: Tensor) -> Any:
    """``counted`` alone."""
    if spec.denominator == "expected_class_weights":
        return coefficients(spec, batch, layout, labels).counted
    return 1.0 if batch.class_weight is None else at_label(batch.class_weight, labels, layout.axis)


def soft_coefficients(spec: Spec, batch: Batch, layout: Layout, labels: Tensor) -> SoftCoefficients:
    axis, t, w = layout.axis, labels, batch.class_weight
    if batch.allowed is not None:
        t = torch.where(along(batch.allowed, axis, t), t, 0.0)
    given = shares(spec, batch, layout)
    total, weighted_total = (float(layout.classes) if c is None else c.sum(axis if c.dim() > 1 else 0) for c in given)
    keep, share = lower_soft(spec, total, functions_for(batch.logits))
    mass, scale = keep * t.sum(axis) + share * total, 1.0
    weighted, receivers = t, given.c
    if w is not None:
        weighted = t * along(w, axis, t)
        weight = keep * weighted.sum(axis) + share * weighted_total
        if spec.class_weight_rule == "expected":
            weighted, scale = t, weight
        else:
            receivers, mass = given.weighted, weight
    return SoftCoefficients(
        keep, share, mass, scale, t, weighted, None if receivers is None else along(receivers, axis, t)
    )


def label_losses(
    spec: Spec, batch: Batch, targets: Targets, k: Coefficients, row: list[Tensor], good: bool, *, totals: bool
) -> Losses:
    """From m, L, x_y − m and Σ_{k≠y} v_k·(x_k − m) of each position."""
    # The loss's derivative to a statistic is then a number, which 0 can be multiplied with.
    constant = spec.z_loss == 0 and not any(isinstance(coefficient, Tensor) for coefficient in (k.on, k.off, k.mass))
    (m, L, own, rest), keep = _kept(spec, batch, targets, row, constant=constant)
    loss = less(less(times(k.mass, L), k.on, own), k.off, rest)
    nll = L - own if totals else None
    return _losses(spec, batch, targets, _without(loss, k.entropy), nll, (m, L), keep, good)


def soft_losses(
    spec: Spec,
    batch: Batch,
    layout: Layout,
    targets: Targets,
    soft: SoftCoefficients,
    row: list[Tensor],
    good: bool,
    *,
    totals: bool,
) -> Losses:
    """From m, L, ⟨q, x − m⟩ and, for totals, ⟨t, x − m⟩ of each position."""
    (m, L, dot, *labelled), keep = _kept(spec, batch, targets, row)
    loss, axis = times(soft.scale, soft.mass * L - dot), layout.axis
    if spec.kl:
        loss = loss + xlogx(soft.target(axis), functions_for(batch.logits)).sum(axis)
    nll = soft.labels.sum(axis) * L - labelled[0] if totals else None
    return _losses(spec, batch, targets, loss, nll, (m, L), keep, good)


def _losses(
    spec: Spec,
    batch: Batch,
    targets: Targets,
    loss: Tensor,
    nll: Tensor | None,
    m_and_L: tuple[Tensor, Tensor],
    keep: Tensor | None,
    good: bool,
) -> Losses:
    z_loss = spec.z_loss * torch.add(*m_and_L).square() if spec.z_loss else None
    loss = with_held_cotangent(loss if z_loss is None else loss + z_loss)
    if not good:
        functions = functions_for(loss)
        bad = checks.bad_positions(batch, targets.bad, functions)
        bad = bad if keep is None else bad & keep
        # A product, since its derivative is NaN too.
        poison = functions.where(bad, float("nan"), 1.0)
        loss, nll = loss * poison, nll if nll is None else nll * poison
    if nll is None:
        return Losses(only(loss, keep), None, None, keep)
    z_loss = torch.zeros_like(nll) if z_loss is None else z_loss
    return Losses(only(loss, keep), only(nll, keep), only(z_loss, keep), keep)


def _kept(
    spec: Spec, batch: Batch, targets: Targets, statistics: list[Tensor], *, constant: bool = False
) -> tuple[list[Tensor], Tensor | None]:
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
    if torch.is_grad_enabled() and not constant:  # else the losses not kept are left out, and nothing is 0·NaN
        statistics = [only(statistic, keep) for statistic in statistics]
    return statistics, keep


def times(coefficient: Any, value: Any) -> Any:
    """The product; that of 1 takes no operation."""
    return value if isinstance(coefficient, float) and coefficient == 1 else coefficient * value


def less(value: Tensor, coefficient: Any, statistic: Tensor) -> Tensor:
    """value − coefficient·statistic, where a coefficient of 0 skips its term: 0·−inf is no number."""
    if not isinstance(coefficient, Tensor):
        return value - coefficient * statistic if coefficient else value
    skipped = (coefficient == 0) & statistic.isinf()
    return value - coefficient * statistic.masked_fill(skipped, 0.0)


def _without(loss: Tensor, entropy: Any) -> Tensor:
    return loss if isinstance(entropy, float) and entropy == 0 else loss - entropy


def only(values: Tensor, keep: Tensor | None) -> Tensor:
    """0 where it is not kept."""
    return values if keep is None else torch.where(keep, values, 0.0)


def _meet(coefficient: Any, like: Tensor, axis: int) -> Any:
    """A coefficient of each position, shaped to meet a tensor with classes."""
    by_position = isinstance(coefficient, Tensor) and coefficient.dim() == like.dim() - 1
    return coefficient.unsqueeze(axis) if by_position else coefficient
