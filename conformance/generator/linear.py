"""The logits that a linear layer makes, and the chain rule through it.

The definition is three lines: a dot product, a product, a tanh. The gradients to hidden, kernel and bias are the
logits' gradient, which has a definition of its own, times the slope of these lines, and all of it is checked against
a central difference of the definition, along a random direction of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import gradients, oracle
from generator.oracle import ZERO, Number, Problem, Row

Columns = tuple[tuple[Number, ...], ...]


@dataclass(frozen=True)
class Head:
    """hidden by position, kernel by class: each a tuple of the features; and one bias for each class.

    Equal columns of the kernel are one object, and so are equal numbers.
    """

    hidden: Columns
    kernel: Columns
    bias: tuple[Number, ...]
    scale: Number
    cap: Number | None

    @cached_property
    def distinct(self) -> tuple[list[int], list[int]]:
        """Classes whose column or bias differ, and which of them each class is like: a vocabulary has few."""
        keys = [(id(column), id(b)) for column, b in zip(self.kernel, self.bias, strict=True)]
        first = {key: k for k, key in reversed(list(enumerate(keys)))}
        places = {key: i for i, key in enumerate(first)}
        return list(first.values()), [places[key] for key in keys]

    def linear(self) -> list[list[Number]]:
        """hidden·kernel + bias, for each position."""
        classes, like = self.distinct
        rows = [
            [mp.fsum(h * w for h, w in zip(row, self.kernel[k], strict=True)) + self.bias[k] for k in classes]
            for row in self.hidden
        ]
        return [[row[i] for i in like] for row in rows]

    def logit(self, z: Number) -> Number:
        """softcap·tanh(logit_scale·z / softcap), or logit_scale·z."""
        x = self.scale * z
        return x if self.cap is None else self.cap * mp.tanh(x / self.cap)

    def slope(self, z: Number) -> Number:
        """∂x/∂z"""
        return self.scale * (1 - self.saturation(z))

    def saturation(self, z: Number) -> Number:
        """tanh²"""
        return ZERO if self.cap is None else mp.tanh(self.scale * z / self.cap) ** 2

    def logits(self) -> list[tuple[Number, ...]]:
        """For each position; equal ones are one object."""
        return [tuple(oracle.each(self.logit, row)) for row in self.linear()]


def with_logits(problem: Problem, logits: Sequence[tuple[Number, ...]]) -> Problem:
    """The same call on other logits."""
    pairs = zip(problem.positions, logits, strict=True)
    return replace(problem, positions=tuple(replace(p, logits=x) for p, x in pairs))


class Gradients:
    """To hidden, kernel and bias, as lists in the shape of these; the kernel's as one list for each feature."""

    def __init__(self, head: Head, problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number]) -> None:
        self.head = head
        self.problem = problem
        self.rows = rows
        self.cotangent = cotangent
        effective = gradients.effective_cotangents(problem, cotangent)
        self.counts = [e != 0 for e in effective]
        self.logits = gradients.logits_gradient(problem, rows, cotangent)
        self.z = head.linear()
        self.slopes = [
            oracle.each(lambda g, z: g * head.slope(z) if g != 0 else ZERO, g_row, z_row)
            for g_row, z_row in zip(self.logits, self.z, strict=True)
        ]
        """∂(cotangent·loss)/∂(hidden·kernel + bias)"""

    def hidden(self) -> list[list[Number]]:
        features = list(zip(*self.head.kernel, strict=True))
        return [
            [oracle.dot(g, w) if counts else ZERO for w in features]
            for g, counts in zip(self.slopes, self.counts, strict=True)
        ]

    def kernel(self, classes: Sequence[int]) -> list[list[Number]]:
        """Of these classes."""
        live = [(h, g) for h, g, counts in zip(self.head.hidden, self.slopes, self.counts, strict=True) if counts]
        features = range(len(self.head.kernel[0]))
        return [[mp.fsum(h[d] * g[k] for h, g in live) for k in classes] for d in features]

    def bias(self, classes: Sequence[int]) -> list[Number]:
        """Of these classes."""
        live = [g for g, counts in zip(self.slopes, self.counts, strict=True) if counts]
        return [mp.fsum(g[k] for g in live) for k in classes]

    def check(self, seed: str) -> None:
        """Compare with differences of the definition, or raise.

        Rows whose loss is not finite have none; of many classes one row is enough.
        """
        base = oracle.losses(self.problem, self.rows)
        live = [bool(mp.isfinite(loss)) and counts for loss, counts in zip(base, self.counts, strict=True)]
        if len(self.head.kernel) > gradients.MANY and any(live):
            live = [i == live.index(True) for i in range(len(live))]
        if any(live):
            for name, direction in self._directions(random.Random(seed)).items():
                found = gradients.central_difference(self._along(name, direction, live))
                claimed = self._claimed(name, direction, live)
                if abs(found - claimed) > mp.mpf(10) ** -25 * (1 + abs(claimed)):
                    raise AssertionError(f"{seed}: the gradient to {name} gives {claimed}, the definition {found}")

    def _directions(self, draw: random.Random) -> dict[str, Columns]:
        """Equal columns of the kernel move alike, and so do their biases."""
        features = range(len(self.head.kernel[0]))
        classes, like = self.head.distinct

        def some(count: int) -> list[Number]:
            return [mp.mpf(draw.randint(-8, 8)) / 4 for _ in range(count)]

        columns, offsets = [tuple(some(len(features))) for _ in classes], some(len(classes))
        return {
            "hidden": tuple(tuple(some(len(features))) for _ in self.head.hidden),
            "kernel": tuple(columns[i] for i in like),
            "bias": (tuple(offsets[i] for i in like),),
        }

    def _along(self, name: str, direction: Columns, live: Sequence[bool]) -> Callable[[Number], Number]:
        """Σ effective cotangent·ℓ of the live rows, as one array moves."""
        effective = gradients.effective_cotangents(self.problem, self.cotangent)

        def moved(t: Number) -> Head:
            if name == "bias":
                return replace(self.head, bias=tuple(oracle.each(lambda b, d: b + t * d, self.head.bias, direction[0])))
            columns = oracle.each(
                lambda x, d: tuple(x_d + t * d_d for x_d, d_d in zip(x, d, strict=True)),
                getattr(self.head, name),
                direction,
            )
            return replace(self.head, **{name: tuple(columns)})

        def along(t: Number) -> Number:
            problem = with_logits(self.problem, moved(t).logits())
            triples = zip(problem.positions, effective, live, strict=True)
            return mp.fsum(e * oracle.position_loss(problem, p, oracle.row(p)) for p, e, alive in triples if alive)

        return along

    def _claimed(self, name: str, direction: Columns, live: Sequence[bool]) -> Number:
        rows = [(h, g) for h, g, alive in zip(self.head.hidden, self.slopes, live, strict=True) if alive]
        if name == "hidden":
            pairs = zip(self.hidden(), direction, live, strict=True)
            return mp.fsum(oracle.dot(g, d) for g, d, alive in pairs if alive)
        if name == "bias":
            return mp.fsum(oracle.dot(g, direction[0]) for _, g in rows)
        features = list(zip(*direction, strict=True))
        return mp.fsum(h_d * oracle.dot(g, d) for h, g in rows for h_d, d in zip(h, features, strict=True))
