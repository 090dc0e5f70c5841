"""Derivatives of the cotangent-weighted loss: closed form for the logits, differences for the rest.

The closed form ∂ℓ/∂x = (mass + 2·z_loss·lse)·p − q is itself checked against a central difference
of the definition along a random direction, so no derivative rests on algebra alone. At p digits of
working precision the step is 10^(−p/3): truncation and rounding both vanish far below 20 digits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import oracle
from generator.oracle import ZERO, Counting, Number, Position, Problem, Row

MANY = 2048
"""Classes whose softmax is too slow to work out one by one, at every step of a difference."""


MARGIN = 10**10
"""How much larger than h² the rounding may be, and the third derivative than the function."""


def step() -> Number:
    """The half width of a central difference at the working precision."""
    return mp.mpf(10) ** -(mp.dps // 3)


def central_difference(f: Callable[[Number], Number]) -> Number:
    """f′(0) of a smooth f; what is 0 by algebra comes out as exactly 0, however small f is."""
    h = step()
    above, below = f(h), f(-h)
    slope = (above - below) / (2 * h)
    # Rounding and truncation leave about h² of f.
    return ZERO if abs(slope) < MARGIN * h**2 * max(abs(above), abs(below)) else slope


def effective_cotangents(problem: Problem, cotangent: Sequence[Number]) -> list[Number]:
    """∂(cotangent·loss)/∂ℓ_i for each position; 0 everywhere when nothing divides."""
    counting = Counting.of(problem)
    if problem.spec["reduction"] == "none":
        pairs = zip(cotangent, problem.positions, strict=True)
        return [c * p.weight if p.counts else ZERO for c, p in pairs]
    (outer,) = cotangent
    if problem.spec["reduction"] == "sum":
        return [outer * p.weight if p.counts else ZERO for p in problem.positions]
    by = oracle.divisor(problem, counting)
    scale = outer / by if by else ZERO
    weights = oracle.coefficients(problem, counting)
    return [scale * a if counts else ZERO for a, counts in zip(weights, counting.counted, strict=True)]


def vanishes(problem: Problem) -> bool:
    """Whether the mean divides by 0: then its value is fixed and every gradient exactly 0."""
    is_mean = problem.spec["reduction"] == "mean"
    return is_mean and not oracle.divisor(problem, Counting.of(problem))


def logits_gradient(problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number]) -> list[list[Number]]:
    """Equation (3) times the effective cotangent, one list of K for each position."""
    effective = effective_cotangents(problem, cotangent)
    triples = zip(problem.positions, rows, effective, strict=True)
    return [_row_gradient(problem, p, r, e) for p, r, e in triples]


def _row_gradient(problem: Problem, position: Position, at: Row, effective: Number) -> list[Number]:
    if effective == 0:
        return [ZERO] * len(position.logits)
    if not at.valid or not position.label_in_range:
        return [mp.nan if is_allowed else ZERO for is_allowed in position.allowed]
    q = oracle.weighted_target(problem, position)
    z = mp.mpf(problem.spec["z_loss"])
    factor = oracle.total(q) + 2 * z * at.lse
    return oracle.each(
        lambda p_k, q_k, is_allowed: effective * (factor * p_k - q_k) if is_allowed else ZERO,
        at.probabilities,
        q,
        position.allowed,
    )


def objective(
    problem: Problem,
    counting: Counting,
    rows: Sequence[Row],
    cotangent: Sequence[Number],
) -> Number:
    """Σ cotangent·loss, as one number to differentiate."""
    outputs = oracle.reduced(problem, counting, oracle.losses(problem, rows))
    return mp.fsum(c * loss for c, loss in zip(cotangent, outputs, strict=True))


def check_logits_gradient(
    problem: Problem,
    rows: Sequence[Row],
    cotangent: Sequence[Number],
    gradient: Sequence[Sequence[Number]],
    seed: str,
) -> None:
    """Compare the closed form with a difference of the definition, or raise.

    Rows whose loss is not finite have no difference to compare with; where there are some, the
    others are compared through their effective cotangents.
    """
    draw = random.Random(seed)
    direction = [_direction(p, draw) for p in problem.positions]
    base = oracle.losses(problem, rows)
    live = [bool(mp.isfinite(loss)) and p.counts for loss, p in zip(base, problem.positions, strict=True)]
    if vanishes(problem) or not any(live):
        return
    everything = all(a or not p.counts for a, p in zip(live, problem.positions, strict=True))
    effective = effective_cotangents(problem, cotangent)
    counting = Counting.of(problem)

    def along(t: Number) -> Number:
        moved = _moved(problem, direction, t)
        at = [oracle.row(p) if alive else r for p, alive, r in zip(moved.positions, live, rows, strict=True)]
        if everything:
            return objective(moved, counting, at, cotangent)
        values = oracle.losses(moved, at)
        return mp.fsum(e * v for e, v, alive in zip(effective, values, live, strict=True) if alive)

    found = central_difference(along)
    claimed = mp.fsum(
        oracle.dot(g_row, d_row) for g_row, d_row, alive in zip(gradient, direction, live, strict=True) if alive
    )
    if abs(found - claimed) > mp.mpf(10) ** -25 * (1 + abs(claimed)):
        raise AssertionError(f"{seed}: eq. (3) gives {claimed}, the definition {found}")


def _direction(position: Position, draw: random.Random) -> list[Number]:
    """A random direction; over many classes it moves equal logits alike, the label's apart."""
    if len(position.logits) <= MANY:
        return [mp.mpf(draw.randint(-8, 8)) / 4 for _ in position.logits]
    by_value = {i: mp.mpf(draw.randint(-8, 8)) / 4 for i in dict.fromkeys(map(id, position.logits))}
    own = mp.mpf(draw.choice((-7, -3, 5, 9))) / 4
    return [own if k == position.label else by_value[id(x)] for k, x in enumerate(position.logits)]


def _moved(problem: Problem, direction: Sequence[Sequence[Number]], t: Number) -> Problem:
    positions = tuple(
        replace(p, logits=tuple(oracle.each(lambda x, d: x + t * d, p.logits, d_row)))
        for p, d_row in zip(problem.positions, direction, strict=True)
    )
    return replace(problem, positions=positions)


def logits_hvp(
    problem: Problem, cotangent: Sequence[Number], tangent: Sequence[Sequence[Number]]
) -> list[list[Number]]:
    """How the logits' gradient changes along a tangent: a difference of equation (3), itself checked."""
    h = step()

    def at(t: Number) -> list[list[Number]]:
        moved = _moved(problem, tangent, t)
        return logits_gradient(moved, [oracle.row(p) for p in moved.positions], cotangent)

    pairs = zip(at(h), at(-h), strict=True)
    return [[(a - b) / (2 * h) if a != b else ZERO for a, b in zip(up, down, strict=True)] for up, down in pairs]


def vector_gradient(problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number], name: str) -> list[Number]:
    """The gradient of class_weight or prior, each entry free."""
    values: tuple[Number, ...] = getattr(problem, name)
    if vanishes(problem):
        return [ZERO for _ in values]
    counting = Counting.of(problem)

    def slope(k: int) -> Number:
        def along(t: Number) -> Number:
            changed = (*values[:k], values[k] + t, *values[k + 1 :])
            moved = problem.with_vector(name, changed)
            return objective(moved, counting, rows, cotangent)

        return central_difference(along)

    return [slope(k) for k in range(len(values))]


def sample_weight_gradient(problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number]) -> list[Number]:
    """The gradient of each sample weight; at weight 0 that of a finite loss, else 0."""
    counting, base = Counting.of(problem), oracle.losses(problem, rows)

    def slope(i: int) -> Number:
        position = problem.positions[i]
        if not position.mask or vanishes(problem):
            return ZERO
        if not mp.isfinite(base[i]):
            if position.weight != 0:
                raise AssertionError("a sample weight on a loss that is not finite")
            return ZERO

        def along(t: Number) -> Number:
            moved = replace(position, weight=position.weight + t)
            return objective(_with_position(problem, i, moved), counting, rows, cotangent)

        return central_difference(along)

    return [slope(i) for i in range(len(problem.positions))]


def soft_labels_gradient(problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number]) -> list[list[Number]]:
    """The gradient of each entry of the soft labels, one list of K for each position."""
    counting = Counting.of(problem)

    def slope(i: int, k: int) -> Number:
        position = problem.positions[i]
        assert position.soft is not None
        if not position.counts or vanishes(problem) or not position.allowed[k]:
            return ZERO
        soft = position.soft

        def along(t: Number) -> Number:
            moved = replace(position, soft=(*soft[:k], soft[k] + t, *soft[k + 1 :]))
            return objective(_with_position(problem, i, moved), counting, rows, cotangent)

        return central_difference(along)

    return [[slope(i, k) for k in range(len(p.logits))] for i, p in enumerate(problem.positions)]


def _with_position(problem: Problem, i: int, position: Position) -> Problem:
    positions = (*problem.positions[:i], position, *problem.positions[i + 1 :])
    return replace(problem, positions=positions)
