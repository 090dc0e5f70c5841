"""From the targets of some labels to the fields of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.lowering import ClassSums, lower
from multismooth.numpy.functional import FUNCTIONS
from multismooth.spec import Spec

Array = NDArray[Any]
Targets = Mapping[int, Array]
"""q of each label"""


class Candidate(NamedTuple):
    """A spec's target that agrees."""

    spec: Spec
    short: bool
    """whether its numbers are those that a person would type"""


def snapped(value: float, tolerance: float) -> float:
    """The shortest decimal within the tolerance, or a fraction such as 1/11, which is 0.1/1.1."""
    for digits in range(1, 9):
        if abs(round(value, digits) - value) <= tolerance:
            return round(value, digits) + 0.0
        fraction = float(Fraction(value).limit_denominator(1000))
        if digits == 4 and abs(fraction - value) <= tolerance:
            return fraction
    return value


def is_short(value: float) -> bool:
    return abs(round(value, 4) - value) < 1e-12


def target(spec: Spec, label: int, classes: int) -> Array:
    """q without class weights."""
    c = np.ones(classes)
    c[list(spec.exclude)] = 0.0
    sums = ClassSums(own=c[label], rest=c.sum() - c[label])
    on, off, *_ = lower(spec, sums, FUNCTIONS)
    q = np.asarray(off * c)
    q[label] = on
    return q


def excluded(targets: Targets, tolerance: float) -> tuple[int, ...]:
    """Classes that receive nothing where others do."""
    classes = len(next(iter(targets.values())))
    off = np.array([np.where(np.arange(classes) == y, np.nan, q) for y, q in targets.items()])
    most = np.nanmax(np.abs(off), axis=0, initial=0.0)
    return () if (most <= tolerance).all() else tuple(np.flatnonzero(most <= tolerance).tolist())


def candidates(targets: Targets, tolerance: float) -> list[Candidate]:
    """The specs whose targets these are, at this number of classes: those with short numbers first, then the simple."""
    exclude = excluded(targets, tolerance)
    y = next((label for label in targets if label not in exclude), None)
    if y is None:
        return []
    q = targets[y]
    rest = np.delete(q, [*exclude, y])
    on, off = float(q[y]), float(rest.mean()) if rest.size else 0.0
    everyone = len(q) - len(exclude)
    tries: list[dict[str, Any]] = [
        {"label_smoothing": off * everyone},
        {"label_smoothing": 1 - on, "spread": "others"},
        {"label_smoothing": 1 - on, "spread": "leaky"},
        {"values": (on, off)},
    ]
    found = []
    for fields in tries:
        spec = _spec(fields, exclude, tolerance)
        if spec is not None and agrees(spec, targets, tolerance):
            numbers = spec.values or (spec.label_smoothing,)
            found.append(Candidate(spec, all(map(is_short, numbers))))
    if found and found[0].spec.label_smoothing == 0 and found[0].spec.values is None:
        return found[:1]  # without smoothing the spreads are one
    return sorted(found, key=lambda candidate: not candidate.short)


def agrees(spec: Spec, targets: Targets, tolerance: float) -> bool:
    return all(np.abs(target(spec, y, len(q)) - q).max() <= tolerance for y, q in targets.items())


def _spec(fields: dict[str, Any], exclude: tuple[int, ...], tolerance: float) -> Spec | None:
    values = fields.get("values", (fields.get("label_smoothing"),))
    numbers = [snapped(value, tolerance) for value in values]
    if not all(0 <= number <= 1 for number in numbers) and "values" not in fields:
        return None
    if min(numbers) < 0:
        return None
    changed = {"values": tuple(numbers)} if "values" in fields else {"label_smoothing": numbers[0]}
    return Spec(**{**fields, **changed, "exclude": exclude})
