"""Which flags a vector deserves: its content decides whether the bug that a flag names would show.

A flag is a promise: an implementation with that bug fails this vector. So no flag is set by hand; each has a condition
on what the vector poses to the oracle, and tests/sabotage sees that implementations with the bugs are rejected there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import oracle
from generator.arrays import INTEGER_BITS
from generator.gradients import effective_cotangents
from generator.linear import Head
from generator.oracle import ZERO, Counting, Number, Position, Problem
from generator.vector import Vector, head_of, problem_of

DIGITS = 17
HALF_PRECISION = ("float16", "bfloat16")
SIGNIFICANT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
LARGEST_FLOAT16 = 65504
SMALLEST = {"float32": 2.0**-126, "float64": 2.0**-1022}
"""The smallest normal numbers."""
LAST = {"float32": 2.0**-150, "float64": 2.0**-1074}
"""Below this a number becomes 0, in float32, or in the float64 of this file."""
MANY = 1024
"""With more classes than these one position tells enough, as the others differ in the label only."""
LARGEST_LABEL = {f"{u}int{b}": 2 ** (b if u else b - 1) - 1 for u in ("", "u") for b in (8, 16, 32, 64)}
MANY_POSITIONS = 48
PARTITION = 512
"""Classes that one device of a vocabulary-parallel loss holds, at least."""


class Class(NamedTuple):
    """What one class, or all classes alike, has at a position."""

    exists: bool
    is_label: bool
    share: float
    """c_k, what it gets of the smoothing mass"""
    open_share: float
    """c_k if no class were excluded"""
    target: float
    """q_k before class weights"""
    weighted: float
    """q_k with them"""
    weight: float
    """w_k"""
    probability: float
    surprise: float
    """−log p_k"""

    @property
    def reached(self) -> bool:
        """Whether the loss depends on its logit through q."""
        return self.weighted != 0


class Live(NamedTuple):
    """A position whose loss is a number that reaches the result."""

    position: Position
    classes: list[Class]
    """those that differ, as a vocabulary has many that do not"""
    mass: float
    spills: bool
    """whether more than one class has mass, or another than the label"""
    top: float
    lse: float
    surprise: float
    """Σ −log p of the classes with mass"""

    @property
    def speaks(self) -> bool:
        """Whether the loss or its slope is not 0."""
        return any(k.reached and k.surprise != 0 for k in self.classes)

    @property
    def moves(self) -> bool:
        """Whether the slope is not almost 0."""
        return any(abs(self.mass * k.probability - k.weighted) > 1e-6 for k in self.classes)


class Facts:
    """What a vector poses, as the conditions ask for it."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        self.problem: Problem = problem_of(vector)
        self.spec = self.problem.spec
        self.given = vector.inputs.keys()
        self.valid = vector.reason is None
        self.dtype = "float64" if vector.dtype == "float64" else "float32"

    @cached_property
    def head(self) -> Head:
        """What makes the logits, of the linear loss."""
        return head_of(self.vector)

    @property
    def positions(self) -> tuple[Position, ...]:
        return self.problem.positions

    @property
    def classes(self) -> int:
        return self.vector.shape[self.vector.axis]

    @property
    def masked_out(self) -> list[Position]:
        return [p for p in self.positions if not p.mask]

    @property
    def soft(self) -> bool:
        return any(p.soft is not None for p in self.positions)

    @property
    def smoothing(self) -> float:
        return float(self.spec["label_smoothing"])

    @property
    def is_mean(self) -> bool:
        """A mean that one of the denominators divides."""
        return self.valid and self.spec["reduction"] == "mean" and "normalizer" not in self.given

    @cached_property
    def divisor(self) -> Number:
        return oracle.divisor(self.problem, Counting.of(self.problem))

    def divided_by(self, name: str) -> Number:
        """The divisor if the denominator were another."""
        other = replace(self.problem, spec=self.spec | {"denominator": name})
        return oracle.denominator(other, Counting.of(other))

    @property
    def vanishes(self) -> bool:
        """A mean over nothing, whatever the positions hold."""
        return bool(self.spec["reduction"] == "mean" and self.divisor == 0)

    @cached_property
    def live(self) -> list[Live]:
        if not self.valid or self.vanishes:
            return []
        cotangent = [mp.mpf(c) for c in self.vector.cotangent.data]
        effective = effective_cotangents(self.problem, cotangent)
        pairs = zip(self.positions, effective, strict=True)
        heard = [p for p, scale in pairs if scale != 0 and p.label_in_range]
        alike = 1 if self.classes > MANY else len(heard)
        rows = ((p, softmax(p)) for p in heard[:alike])
        return [_live(self.problem, p, row) for p, row in rows if row is not None]

    @property
    def speaks(self) -> bool:
        """Whether a factor before the loss would show."""
        return any(at.speaks or self.spec["z_loss"] for at in self.live)

    @property
    def readable(self) -> bool:
        """Whether no NaN hides the rest."""
        rows = (p for p in self.positions if p.counts)
        apart = self.spec["reduction"] == "none"
        return apart or not (self.bad_labels or any(is_broken(p) for p in rows))

    def misdivided(self, name: str) -> bool:
        """Whether the mean would be another with this denominator."""
        if not self.is_mean or self.divided_by(name) == self.divisor:
            return False
        to_nan = self.spec["empty"] == "nan" and 0 in (self.divided_by(name), self.divisor)
        return self.speaks or to_nan or (self.divisor == 0 and any(p.counts for p in self.positions))

    @property
    def bad_labels(self) -> list[int]:
        """Labels that count and name no class."""
        return [p.label for p in self.positions if p.counts and p.label is not None and not p.label_in_range]

    @property
    def has_no_class_to_count(self) -> bool:
        """Whether the mean would be another if a label of weight 0 that names no class were given one."""
        weightless = [p.label for p in self.positions if p.mask and p.weight == 0 and p.label is not None]
        outside = any(not 0 <= y < self.classes for y in weightless)
        return outside and self.is_mean and self.speaks and "class_weights" in self.spec["denominator"]

    @property
    def labels(self) -> list[int]:
        """The labels of positions whose loss is a number."""
        return [p.label for p in self.positions if self.live and p.counts and p.label is not None and p.label_in_range]

    @cached_property
    def receives(self) -> list[Live]:
        """Live positions where smoothing reaches another class than the label."""
        return [at for at in self.live if self.smoothing > 0 and any(k.share and not k.is_label for k in at.classes)]

    @property
    def label_dtype(self) -> str:
        return self.vector.inputs["labels"].dtype

    @property
    def ignored(self) -> list[int]:
        """Labels of the positions that the ignore_index alone takes out."""
        where, index = self.vector.inputs.get("where"), self.spec["ignore_index"]
        keep = where.data if where is not None else (True,) * len(self.positions)
        return [
            p.label
            for p, kept in zip(self.positions, keep, strict=True)
            if kept and p.label is not None and p.label == index
        ]

    @property
    def parts(self) -> list[Number]:
        """The divisors of the two halves along the first axis."""
        half = self.problem.first_axis // 2
        first = [p for p in self.positions if p.sequence < half]
        second = [replace(p, sequence=p.sequence - half) for p in self.positions if p.sequence >= half]
        halves = ((first, half), (second, self.problem.first_axis - half))
        problems = [replace(self.problem, positions=tuple(part), first_axis=size) for part, size in halves]
        return [oracle.denominator(problem, Counting.of(problem)) for problem in problems]


class Softmax(NamedTuple):
    """p and −log p of each class, and where they come from."""

    probabilities: list[float]
    surprises: list[float]
    top: float
    lse: float


def softmax(position: Position) -> Softmax | None:
    """Good enough to tell sizes. None for a row that has no answer."""
    pairs = list(zip(map(float, position.logits), position.allowed, strict=True))
    existing = [x for x, exists in pairs if exists]
    top = max(existing, default=-math.inf)
    if not math.isfinite(top) or any(math.isnan(x) for x in existing):
        return None
    existing.remove(top)
    log_sum = math.log1p(math.fsum(math.exp(x - top) for x in existing))
    surprises = [top - x + log_sum if exists else math.inf for x, exists in pairs]
    return Softmax([math.exp(-s) for s in surprises], surprises, top, top + log_sum)


def _live(problem: Problem, position: Position, row: Softmax) -> Live:
    target = oracle.target(problem, position)
    weighted = oracle.weighted_target(problem, position) if problem.class_weight else target
    weights = problem.class_weight or (1.0,) * len(target)
    shares = oracle.receivers(problem, position)
    open_shares = oracle.receivers(replace(problem, spec=problem.spec | {"exclude": []}), position)
    label = [k == position.label for k in range(len(target))]
    columns = (
        (position.allowed, label),
        ([float(x) for x in column] for column in (shares, open_shares, target, weighted, weights)),
        (row.probabilities, row.surprises),
    )
    return Live(
        position,
        [Class(*each) for each in dict.fromkeys(zip(*chain(*columns), strict=True))],
        float(mp.fsum(weighted)),
        sum(q != 0 for q in target) > 1 or (position.label is not None and target[position.label] == 0),
        row.top,
        row.lse,
        math.fsum(s for s, q in zip(row.surprises, target, strict=True) if q != 0 and math.isfinite(s)),
    )


# --- Conditions that take more than a line ------------------------------------------------------------------------


def exact(label: int, dtype: str) -> bool:
    """Whether a float dtype holds this label."""
    if dtype == "float16" and abs(label) > LARGEST_FLOAT16:
        return False
    odd = abs(label) >> max(0, (label & -label).bit_length() - 1)
    return odd.bit_length() <= SIGNIFICANT_BITS[dtype]


def wraps(f: Facts) -> bool:
    """A label, or K itself, that a narrower integer holds as something else, which is a label or ignored."""
    counted = [p.label for p in f.positions if p.counts and p.label is not None]
    if f.live and f.classes > LARGEST_LABEL.get(f.label_dtype, f.classes):
        return max(f.labels) >= wrapped(f.classes, f.label_dtype)
    if f.label_dtype == "uint8" and any(wrapped(y, "int8") == f.spec["ignore_index"] for y in counted):
        return True
    return any(_is_harmed(f, [(y, wrapped(y, dtype)) for y in counted]) for dtype in ("int16", "int32"))


def _is_harmed(f: Facts, narrowed: list[tuple[int, int]]) -> bool:
    """Whether a good label becomes another, or every bad one becomes good."""
    bad = [pair for pair in narrowed if not 0 <= pair[0] < f.classes]
    harmless = (0 <= other < f.classes or other == f.spec["ignore_index"] for _, other in bad)
    return all(harmless) if bad else any(y != other for y, other in narrowed)


def wrapped(label: int, dtype: str) -> int:
    """What is left of a number in a narrower integer."""
    size: int = 2 ** INTEGER_BITS[dtype]
    return label % size if dtype.startswith("u") or label % size < size // 2 else label % size - size


def is_broken(position: Position) -> bool:
    """Whether a row that counts is NaN."""
    existing = [x for x, exists in zip(position.logits, position.allowed, strict=True) if exists]
    return bool(any(mp.isnan(x) or x == mp.inf for x in existing) or all(x == -mp.inf for x in existing))


def is_garbage(position: Position) -> bool:
    """Whether a product with 0 would not be 0."""
    return any(not mp.isfinite(x) for x in position.logits)


def uneven(f: Facts) -> bool:
    """Whether sequences, or halves of the batch, count unevenly."""
    if not f.is_mean or not f.live or f.problem.first_axis < 2:
        return False
    if f.spec["denominator"] == "valid":
        sums = [w for w in sequence_weights(f) if w != 0]
        if any(w != f.divisor / len(sums) for w in sums):
            return True
    first, second = f.parts
    return bool(first != second)


def is_confident(f: Facts) -> bool:
    """A loss of its own, far below 1 and no subnormal, of a target that is all on the label."""
    if f.spec["reduction"] != "none" or f.spec["z_loss"] > 0 or f.smoothing > 0:
        return False
    alone = (at for at in f.live if not at.spills)
    return any(SMALLEST[f.dtype] < k.surprise < 0.05 for at in alone for k in at.classes if k.reached)


def loses_digits(at: Live) -> bool:
    """Whether exp(x − lse) with a rounded lse is wrong: lse is large, and no class has it all."""
    shared = max(k.probability * (1 - k.probability) for k in at.classes)
    return abs(at.lse) * shared >= 16


def reaches(f: Facts, condition: Callable[[Class], bool]) -> bool:
    """Whether there is such a class with mass, at a position that is live."""
    return any(k.reached and condition(k) for at in f.live for k in at.classes)


def padded_length(f: Facts) -> bool:
    """A sequence that is not empty, whose weights are not its length."""
    length = len(f.positions) // max(f.problem.first_axis, 1)
    return oracle.per_sequence(f.spec) and any(w not in (0, length) for w in sequence_weights(f))


def sequence_weights(f: Facts) -> list[Number]:
    """Σ w of each sequence."""
    sums = [ZERO] * f.problem.first_axis
    for p in f.positions:
        sums[p.sequence] += p.weight
    return sums


def entropic(f: Facts, position: Position) -> bool:
    """Whether the target that a masked position would have is not all on one class."""
    if position.label is not None and not 0 <= position.label < f.classes:
        position = replace(position, label=0)
    return any(q not in (0, 1) for q in oracle.target(f.problem, position))


def loosened(f: Facts, at: Live) -> bool:
    """Whether an excluded class would receive something."""
    total = f.spec["values"] is None and f.spec["spread"] != "others"
    off = f.smoothing if f.spec["values"] is None else f.spec["values"][1]
    return off > 0 and at.speaks and any(k.share != k.open_share and (total or not k.is_label) for k in at.classes)


def floored(f: Facts) -> bool:
    """Whether 1e-5 more shows in the divisor: the bounds are about 2e-7, and the divisor must not be large."""
    return f.is_mean and f.speaks and f.readable and (f.dtype == "float64" or 0 < f.divisor < MANY_POSITIONS)


def over_class_weights(f: Facts) -> bool:
    return f.is_mean and "class_weight" in f.given and f.spec["denominator"].endswith("class_weights")


def expects_class_weights(f: Facts) -> bool:
    return bool(f.spec["denominator"] == "expected_class_weights")


def counts_valid(f: Facts) -> bool:
    return bool(f.spec["denominator"] == "valid")


def rule(f: Facts, *names: str) -> bool:
    """Class weights under one of these rules, that differ among the classes with mass."""
    differ = any(len({k.weight for k in at.classes if k.target or k.is_label}) > 1 for at in f.live)
    return "class_weight" in f.given and f.spec["class_weight_rule"] in names and differ


def weights_move(f: Facts) -> bool:
    """Whether a weight or a prior that is differentiated has a slope."""
    given = f.given - set(f.vector.without)
    idle = f.spec["class_weight_rule"] == "label_term" and f.smoothing == 1
    if f.speaks and ("sample_weight" in given or ("class_weight" in given and not idle)):
        return True
    own = f.spec["spread"] != "others"
    return "prior" in given and any(
        sum(k.share > 0 and (own or not k.is_label) for k in at.classes) > 1 for at in f.receives
    )


BAD_WEIGHTS = ("bad_sample_weight", "bad_class_weight", "bad_prior", "prior_not_normalized", "bad_normalizer")
BAD_SOFT_LABELS = ("negative_soft_label", "soft_labels_not_normalized", "soft_label_not_allowed")

CATCHES: dict[str, Callable[[Facts], bool]] = {
    "which-formula": lambda f: not f.soft and bool(f.receives),
    "target-does-not-sum": lambda f: (
        not f.soft and "prior" not in f.given and any(k.share == 0 for at in f.receives for k in at.classes)
    ),
    "pad-column": lambda f: any(loosened(f, at) for at in f.live),
    "padded-classes": lambda f: any(not all(at.position.allowed) for at in f.live),
    "local-class-count": lambda f: f.classes > PARTITION and not f.soft and bool(f.receives),
    "mass-below-one": lambda f: any(abs(at.mass - 1) > 1e-5 for at in f.live),
    "kl-or-cross-entropy": lambda f: f.spec["kl"] and any(k.target not in (0, 1) for at in f.live for k in at.classes),
    "kl-at-full-smoothing": lambda f: f.spec["kl"] and f.smoothing == 1 and not f.soft and bool(f.live),
    "entropy-of-masked": lambda f: (
        f.spec["kl"] and f.valid and not f.vanishes and any(entropic(f, p) for p in f.masked_out)
    ),
    "soft-labels-smoothed": lambda f: f.soft and bool(f.receives),
    "bad-soft-label": lambda f: f.vector.reason in BAD_SOFT_LABELS,
    "ignored-leaks": lambda f: f.valid and not f.vanishes and f.smoothing > 0 and bool(f.masked_out),
    "nan-under-mask": lambda f: f.valid and not f.vanishes and any(is_garbage(p) for p in f.masked_out),
    "zero-weight": lambda f: (
        f.valid and not f.vanishes and any(p.mask and p.weight == 0 and is_garbage(p) for p in f.positions)
    ),
    "inverted-mask": lambda f: f.valid and "where" in f.given,
    "ignored-become-uniform": lambda f: f.valid and not f.vanishes and bool(f.ignored),
    "ignored-label-lookup": lambda f: f.valid and not f.vanishes and any(not 0 <= y < f.classes for y in f.ignored),
    "class-zero-ignored": lambda f: f.spec["ignore_index"] != 0 and 0 in f.labels and f.speaks,
    "compiled-differs": lambda f: f.valid and not f.vanishes and bool(f.masked_out),
    "nothing-counts": lambda f: f.valid and f.vanishes,
    "ignored-are-counted": lambda f: counts_valid(f) and f.misdivided("all"),
    "mean-of-means": uneven,
    "uneven-masks": lambda f: counts_valid(f) and f.problem.first_axis > 0 and f.misdivided("batch"),
    "normalizer": lambda f: f.valid and "normalizer" in f.given,
    "sequence-means": lambda f: (
        oracle.per_sequence(f.spec) and (f.misdivided("sequences") or f.misdivided("nonempty_sequences"))
    ),
    "padded-length": lambda f: f.is_mean and f.speaks and padded_length(f),
    "floor-in-denominator": floored,
    "two-denominators": lambda f: counts_valid(f) and f.misdivided("all") and bool(f.receives),
    "weights-dropped": lambda f: any(p.mask and p.weight != 1 for p in f.positions) and (f.speaks or f.vanishes),
    "weights-not-in-denominator": lambda f: (
        f.spec["denominator"] in ("valid", "weights") and (f.misdivided("valid") or f.misdivided("weights"))
    ),
    "class-weight-rules": lambda f: rule(f, "per_class", "per_label"),
    "class-weight-smoothing": lambda f: (
        rule(f, "per_class") and not f.soft and f.spec["spread"] == "uniform" and f.spec["values"] is None
    ),
    "class-weight-denominator": lambda f: over_class_weights(f) and f.misdivided("valid"),
    "ignored-class-weight": lambda f: over_class_weights(f) and f.speaks and bool(f.masked_out),
    "expected-class-weight": lambda f: (
        rule(f, "expected") or (expects_class_weights(f) and f.misdivided("class_weights"))
    ),
    "label-term-only": lambda f: rule(f, "label_term"),
    "bad-weight": lambda f: f.vector.reason in BAD_WEIGHTS,
    "z-loss-outside-mask": lambda f: (
        f.spec["z_loss"] > 0
        and f.valid
        and not f.vanishes
        and (bool(f.masked_out) or ("class_weight" in f.given and not f.soft and bool(f.live)))
    ),
    "bad-label": lambda f: any(not 0 <= y < f.classes for y in f.bad_labels) or f.has_no_class_to_count,
    "negative-label": lambda f: bool(f.bad_labels) and all(y < 0 for y in f.bad_labels),
    "label-wraps": lambda f: bool(f.bad_labels) and all(-f.classes <= y < 0 for y in f.bad_labels),
    "backends-disagree": lambda f: bool(f.bad_labels),
    "label-cast-to-half": lambda f: any(not exact(y, "bfloat16") for y in f.labels),
    "label-cast-to-float16": lambda f: any(not exact(y, "float16") for y in f.labels),
    "label-cast-to-float": lambda f: any(not exact(y, f.vector.dtype) for y in f.labels),
    "narrow-label-dtype": wraps,
    "wrong-class-axis": lambda f: (
        f.vector.axis % len(f.vector.shape) != len(f.vector.shape) - 1 and bool(f.live) and len(f.positions) > 1
    ),
    "unreduced-gradient": lambda f: f.spec["reduction"] == "none" and any(at.moves for at in f.live),
    "soft-label-gradient": lambda f: f.soft and "labels" not in f.vector.without and f.speaks and f.smoothing < 1,
    "weight-gradient": weights_move,
    "second-derivative": lambda f: f.vector.tangent is not None,
    "minus-inf-logit": lambda f: any(
        k.exists and not k.reached and k.surprise == math.inf for at in f.live for k in at.classes
    ),
    "minus-inf-smoothed": lambda f: reaches(f, lambda k: k.surprise == math.inf),
    "log-after-softmax": lambda f: reaches(f, lambda k: k.probability < LAST[f.dtype] and math.isfinite(k.surprise)),
    "subnormal": lambda f: reaches(f, lambda k: LAST[f.dtype] < k.probability < SMALLEST[f.dtype]),
    "clipped-probabilities": lambda f: reaches(f, lambda k: k.probability < 9e-8),
    "clipped-maximum": lambda f: any(at.top < -64 - 90 for at in f.live),
    "confident-row": is_confident,
    "large-shift": lambda f: (
        f.spec["z_loss"] == 0 and any(abs(at.top) > 64 and (loses_digits(at) or is_confident(f)) for at in f.live)
    ),
    "half-overflow": lambda f: f.vector.dtype == "float16" and any(at.surprise > LARGEST_FLOAT16 for at in f.live),
    "half-accumulation": lambda f: f.vector.dtype in HALF_PRECISION and f.speaks and f.readable,
    "large-vocabulary": lambda f: f.classes > 2**8 and f.speaks,
    "float64-through-float32": lambda f: f.dtype == "float64" and f.speaks and f.readable,
}
"""The condition of each flag."""
