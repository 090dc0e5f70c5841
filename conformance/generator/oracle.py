"""The definition of the loss, evaluated with mpmath: the judge of every implementation.

Written to be seen to be right, and never to be fast: the target is a plain vector q, the
probabilities are a plain softmax, a position's loss is Σ_k q_k·(−log p_k). None of the fused
formulas that implementations use appears here, so that an error in them cannot hide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

Number: TypeAlias = Any  # an mpmath real
Spec: TypeAlias = dict[str, Any]

ZERO = mp.mpf(0)
ONE = mp.mpf(1)


@dataclass(frozen=True)
class Position:
    """One row: its logits, its target and how it counts. `sequence` is its first-axis index."""

    logits: tuple[Number, ...]
    allowed: tuple[bool, ...]
    label: int | None
    soft: tuple[Number, ...] | None
    mask: bool
    weight: Number
    sequence: int

    @property
    def counts(self) -> bool:
        """Whether anything of this position reaches the loss."""
        return self.mask and self.weight != 0

    @property
    def label_in_range(self) -> bool:
        """Whether the label names a class that exists here."""
        if self.label is None:
            return True
        return 0 <= self.label < len(self.logits) and self.allowed[self.label]


@dataclass(frozen=True)
class Problem:
    """One call: a spec, the positions, and the arguments that all positions share."""

    spec: Spec
    positions: tuple[Position, ...]
    class_weight: tuple[Number, ...] | None
    prior: tuple[Number, ...] | None
    normalizer: Number | None
    first_axis: int

    def with_vector(self, name: str, values: tuple[Number, ...]) -> Problem:
        """The same call with another class_weight or prior."""
        if name == "class_weight":
            return replace(self, class_weight=values)
        assert name == "prior"
        return replace(self, prior=values)


@dataclass(frozen=True)
class Row:
    """What the logits of one position say: p, −log p, log Σ exp, and the largest finite logit."""

    probabilities: tuple[Number, ...]
    surprises: tuple[Number, ...]
    lse: Number
    top: Number
    valid: bool


def row(position: Position) -> Row:
    """Softmax over the allowed classes; invalid for NaN, +inf, or nothing but −inf.

    −log p_k is log(1 + Σ_{j≠k} e_j / e_k): the definition, with the 1 apart so that the digits of
    a confident row survive at any precision. A class that is not allowed does not exist: p = 0.
    What a class gets depends on its logit alone, so that a logit is worked out once.
    """
    pairs = counted(x for x, is_allowed in zip(position.logits, position.allowed, strict=True) if is_allowed)
    finite = [x for x, _ in pairs if mp.isfinite(x)]
    if not finite or any(mp.isnan(x) or x == mp.inf for x, _ in pairs):
        return _invalid_row(len(position.logits))
    weights = [mp.exp(x) for x, _ in pairs]
    multiples = [n * e for (_, n), e in zip(pairs, weights, strict=True)]
    partition = mp.fsum(multiples)
    found = {
        id(x): (e / partition, _surprise(e, rest + (n - 1) * e))
        for (x, n), e, rest in zip(pairs, weights, _sums_of_others(multiples), strict=True)
    }
    nothing = (ZERO, mp.inf)
    each_class = [
        found[id(x)] if is_allowed else nothing for x, is_allowed in zip(position.logits, position.allowed, strict=True)
    ]
    probabilities, surprises = zip(*each_class, strict=True)
    return Row(probabilities, surprises, mp.log(partition), max(finite), True)


def _invalid_row(classes: int) -> Row:
    nothing = (mp.nan,) * classes
    return Row(nothing, nothing, mp.nan, mp.nan, False)


def _sums_of_others(weights: Sequence[Number]) -> list[Number]:
    """Σ_{j≠k} e_j for each k, without subtracting: what comes before plus what comes after."""
    before, after = [ZERO], [ZERO]
    for e in weights[:-1]:
        before.append(before[-1] + e)
    for e in reversed(weights[1:]):
        after.append(after[-1] + e)
    return [a + b for a, b in zip(before, reversed(after), strict=True)]


def _surprise(e: Number, rest: Number) -> Number:
    return mp.inf if e == 0 else mp.log1p(rest / e)


def receivers(problem: Problem, position: Position) -> list[Number]:
    """c_k = prior (or 1) × not excluded × allowed: the classes that smoothing mass goes to."""
    prior = problem.prior or (ONE,) * len(position.logits)
    excluded = set(problem.spec["exclude"])
    return [
        u if is_allowed and k not in excluded else ZERO
        for k, (u, is_allowed) in enumerate(zip(prior, position.allowed, strict=True))
    ]


def target(problem: Problem, position: Position) -> list[Number]:
    """The target q of one position, before class weights."""
    c = receivers(problem, position)
    if position.soft is not None:
        return _soft_target(problem.spec, position.soft, c)
    assert position.label is not None
    hot = [ONE if k == position.label else ZERO for k in range(len(c))]
    if problem.spec["values"] is not None:
        on, off = (mp.mpf(value) for value in problem.spec["values"])
        return each(lambda h, c_k: on if h else off * c_k, hot, c)
    return _spread_target(problem.spec, hot, c)


def total(values: Iterable[Number]) -> Number:
    """Σ v, where the same number, which a wide row has very often, is multiplied and not added."""
    return mp.fsum(n * v for v, n in counted(values))


def counted(values: Iterable[Number]) -> list[tuple[Number, int]]:
    """The numbers and how often each is there: the same object, since to hash a number takes longer than to add it."""
    numbers = list(values)
    first = {id(v): v for v in numbers}
    return [(first[i], n) for i, n in Counter(map(id, numbers)).items()]


def each(formula: Callable[..., Number], *columns: Iterable[Number]) -> list[Number]:
    """The formula of each row of some columns, worked out once for rows of the same objects."""
    rows = list(zip(*columns, strict=True))
    keys = [tuple(map(id, row)) for row in rows]
    values = {key: formula(*row) for key, row in dict(zip(keys, rows, strict=True)).items()}
    return [values[key] for key in keys]


def _soft_target(spec: Spec, soft: Sequence[Number], c: Sequence[Number]) -> list[Number]:
    epsilon, everything = mp.mpf(spec["label_smoothing"]), total(c)
    if everything == 0:
        return list(soft)
    return each(lambda t, c_k: (1 - epsilon) * t + epsilon * c_k / everything, soft, c)


def _spread_target(spec: Spec, hot: Sequence[Number], c: Sequence[Number]) -> list[Number]:
    """uniform, others and leaky, each written out as a vector."""
    epsilon = mp.mpf(spec["label_smoothing"])
    everything = total(c)
    other = total(c_k for h, c_k in zip(hot, c, strict=True) if not h)
    if spec["spread"] == "leaky":
        share = epsilon / everything if everything else ZERO
        return each(lambda h, c_k: 1 - epsilon if h else share * c_k, hot, c)
    if spec["spread"] == "others":
        if other == 0:
            return list(hot)
        return each(lambda h, c_k: 1 - epsilon if h else epsilon * c_k / other, hot, c)
    if everything == 0:
        return list(hot)
    return each(lambda h, c_k: (1 - epsilon) * h + epsilon * c_k / everything, hot, c)


def weighted_target(problem: Problem, position: Position) -> list[Number]:
    """q with the class weights in it: every rule is a cross-entropy with other weights on q."""
    q = target(problem, position)
    w, y = problem.class_weight, position.label
    if w is None:
        return q
    rule = problem.spec["class_weight_rule"]
    if rule == "per_class":
        return each(lambda w_k, q_k: w_k * q_k, w, q)
    if rule == "expected":
        expected = expected_class_weight(problem, position)
        return each(lambda q_k: expected * q_k, q)
    assert y is not None
    if rule == "per_label":
        return each(lambda q_k: w[y] * q_k, q)
    hit = kept(problem, position)
    hit_only = [hit if k == y else ZERO for k in range(len(q))]
    return [q_k - h + w[y] * h for q_k, h in zip(q, hit_only, strict=True)]


def kept(problem: Problem, position: Position) -> Number:
    """1 − ε, or all of it where no class can receive ε."""
    return 1 - mp.mpf(problem.spec["label_smoothing"]) if any(receivers(problem, position)) else ONE


def expected_class_weight(problem: Problem, position: Position) -> Number:
    """Σ_k q_k·w_k; without class weights they are all 1."""
    w = problem.class_weight or (ONE,) * len(position.logits)
    return total(each(lambda q_k, w_k: q_k * w_k, target(problem, position), w))


def dot(coefficients: Sequence[Number], values: Sequence[Number]) -> Number:
    """Σ a_k·v_k, where a term whose coefficient is 0 is skipped: 0·inf never happens."""
    return total(each(lambda a, v: a * v if a != 0 else ZERO, coefficients, values))


def entropy(q: Sequence[Number]) -> Number:
    """H(q) = −Σ q_k·log q_k, with 0·log 0 = 0."""
    return -total(each(lambda q_k: q_k * mp.log(q_k) if q_k != 0 else ZERO, q))


def position_loss(problem: Problem, position: Position, at: Row) -> Number:
    """ℓ = class-weighted cross-entropy + z_loss·lse² − H(q)."""
    if not position.label_in_range or not at.valid:
        return mp.nan
    loss = dot(weighted_target(problem, position), at.surprises)
    if problem.spec["kl"]:
        loss -= entropy(target(problem, position))
    return loss + position_z_loss(problem, position, at)


def position_z_loss(problem: Problem, position: Position, at: Row) -> Number:
    """z_loss·lse², exactly 0 where the coefficient is."""
    z = mp.mpf(problem.spec["z_loss"])
    return ZERO if z == 0 else z * at.lse**2


def position_nll(problem: Problem, position: Position, at: Row) -> Number:
    """The unsmoothed part: −log p_y, or Σ_k t_k·(−log p_k) for a soft label."""
    if not position.label_in_range or not at.valid:
        return mp.nan
    if position.soft is not None:
        return dot(position.soft, at.surprises)
    assert position.label is not None
    return at.surprises[position.label]


@dataclass(frozen=True)
class Counting:
    """How positions add up: which of them count is settled once, before any differentiation."""

    counted: tuple[bool, ...]
    nonempty: tuple[bool, ...]

    @staticmethod
    def of(problem: Problem) -> Counting:
        """Settle it for the problem as it is given."""
        weights = _sequence_weights(problem)
        return Counting(
            tuple(position.counts for position in problem.positions),
            tuple(weight != 0 for weight in weights),
        )


def per_sequence(spec: Spec) -> bool:
    """Whether each element of the first axis has a mean of its own."""
    return spec["denominator"] in ("sequences", "nonempty_sequences")


def _sequence_weights(problem: Problem) -> list[Number]:
    """W_b = Σ_t w_bt."""
    totals = [ZERO] * problem.first_axis
    for position in problem.positions:
        if position.mask:
            totals[position.sequence] += position.weight
    return totals


def coefficients(problem: Problem, counting: Counting) -> list[Number]:
    """What multiplies each position's value in the numerator: w, or w/W_b for sequences."""
    weights = [p.weight if p.mask else ZERO for p in problem.positions]
    if not per_sequence(problem.spec):
        return weights
    totals = _sequence_weights(problem)
    return [
        w / totals[p.sequence] if counting.nonempty[p.sequence] else ZERO
        for w, p in zip(weights, problem.positions, strict=True)
    ]


def added(problem: Problem, counting: Counting, values: Sequence[Number]) -> Number:
    """Σ coefficient·value; what does not count is skipped, and so is a bad value at weight 0."""
    terms = zip(coefficients(problem, counting), values, counting.counted, strict=True)
    return mp.fsum(a * v for a, v, counts in terms if a != 0 and (counts or mp.isfinite(v)))


def denominator(problem: Problem, counting: Counting) -> Number:
    """D, without regard to a normalizer."""
    name, masked_in = problem.spec["denominator"], [p for p in problem.positions if p.mask]
    if name == "all":
        return mp.mpf(len(problem.positions))
    if name in ("batch", "sequences"):
        return mp.mpf(problem.first_axis)
    if name == "valid":
        return mp.mpf(len(masked_in))
    if name == "nonempty_sequences":
        return mp.mpf(sum(counting.nonempty))
    if name == "nonzero_weights":
        return mp.mpf(sum(counting.counted))
    if name == "weights":
        return mp.fsum(p.weight for p in masked_in)
    labelled = [p for p in masked_in if p.label_in_range]
    if name == "class_weights":
        return mp.fsum(_class_weight_of_label(problem, p) for p in labelled)
    assert name == "expected_class_weights"
    return mp.fsum(expected_class_weight(problem, p) for p in labelled)


def _class_weight_of_label(problem: Problem, position: Position) -> Number:
    assert position.label is not None
    return problem.class_weight[position.label] if problem.class_weight else ONE


def divisor(problem: Problem, counting: Counting) -> Number:
    """What the mean divides by: the normalizer if there is one, else D."""
    if problem.normalizer is not None:
        return problem.normalizer
    return denominator(problem, counting)


def reduced(problem: Problem, counting: Counting, losses: Sequence[Number]) -> list[Number]:
    """The loss as the call returns it, flat: one number, or one for each position."""
    spec = problem.spec
    if spec["reduction"] == "none":
        return [
            p.weight * loss if p.mask and (counts or mp.isfinite(loss)) else ZERO
            for p, loss, counts in zip(problem.positions, losses, counting.counted, strict=True)
        ]
    if spec["reduction"] == "sum":
        return [added(_plain(problem), counting, losses)]
    by = divisor(problem, counting)
    if by == 0:
        return [mp.nan if spec["empty"] == "nan" else ZERO]
    return [added(problem, counting, losses) / by]


def _plain(problem: Problem) -> Problem:
    """The same call with a denominator that plays no part, for reduction sum."""
    return replace(problem, spec=problem.spec | {"denominator": "valid"})


def totals(problem: Problem, rows: Sequence[Row]) -> dict[str, Number]:
    """The four sums, with the weights that the mean uses, whatever the reduction."""
    counting, pairs = Counting.of(problem), list(zip(problem.positions, rows, strict=True))
    values = {
        "loss": [position_loss(problem, p, r) for p, r in pairs],
        "nll": [position_nll(problem, p, r) for p, r in pairs],
        "z_loss": [position_z_loss(problem, p, r) for p, r in pairs],
    }
    sums = {name: added(problem, counting, each) for name, each in values.items()}
    weight = denominator(problem, counting)
    return {"loss": sums["loss"], "weight": weight} | sums


def losses(problem: Problem, rows: Sequence[Row]) -> list[Number]:
    """Every position's loss, NaN where its label or its logits are bad."""
    return [position_loss(problem, p, r) for p, r in zip(problem.positions, rows, strict=True)]
