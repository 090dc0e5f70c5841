"""From the targets of some labels to the fields of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.lowering import ClassSums, lower
from multismooth.spec import Spec
from multismooth.values import FUNCTIONS

Array = NDArray[Any]
Targets = Mapping[int, Array]
"""q of each label"""


class Candidate(NamedTuple):
    """A spec's target that agrees."""

    spec: Spec
    digits: int
    """of its numbers: a person types few of them"""


def snapped(value: float, tolerance: float) -> float:
    """The shortest decimal within the tolerance, a fraction such as 1/11, which is 0.1/1.1, or a float32."""
    for digits in range(1, 9):
        if abs(round(value, digits) - value) <= tolerance:
            return round(value, digits) + 0.0
        fraction = float(Fraction(value).limit_denominator(1000))
        single = float(np.float32(round(value, digits)))
        for other in (fraction, single) if digits == 4 else ():
            if abs(other - value) <= tolerance:
                return other
    return value


def digits(spec: Spec) -> int:
    """The most decimals that one of the target's numbers has; 5 stands for more than 4."""
    numbers = spec.values or (spec.label_smoothing,)
    return max(next((n for n in range(5) if abs(round(x, n) - x) < 1e-12), 5) for x in numbers)


def target(spec: Spec, label: int, classes: int) -> Array:
    """q without class weights."""
    c = np.ones(classes)
    c[list(spec.exclude)] = 0.0
    sums = ClassSums(own=c[label], rest=c.sum() - c[label])
    on, off, *_ = lower(spec, sums, FUNCTIONS)
    q = np.asarray(off * c)
    q[label] = on
    return q


def law(values: Mapping[int, tuple[float, float]], tolerance: float) -> str:
    """How the label's part and each other class's depend on the number of classes, in words."""
    sizes = np.array(list(values))
    on, off = np.array(list(values.values())).T
    of_label = {"": on, " more than each other class": on - off}
    of_others = {"": off, "/K": off * sizes, "/(K − 1)": off * (sizes - 1), "/(K − 2)": off * (sizes - 2)}
    return f"the label gets {_constant(of_label, tolerance)}, each other class {_constant(of_others, tolerance)}"


def _constant(forms: Mapping[str, Array], tolerance: float) -> str:
    for words, numbers in forms.items():
        if np.ptp(numbers) <= 100 * tolerance:
            number = 0.0 if abs(numbers[0]) <= tolerance else numbers[0]
            return f"{number:.6g}{words}"
    return " or ".join(f"{number:.6g}" for number in forms[""])


def excluded(targets: Targets, tolerance: float) -> tuple[int, ...]:
    """Classes that receive nothing where others do."""
    classes = len(next(iter(targets.values())))
    off = np.array([np.where(np.arange(classes) == y, np.nan, q) for y, q in targets.items()])
    most = np.nanmax(np.abs(off), axis=0, initial=0.0)
    return () if (most <= tolerance).all() else tuple(np.flatnonzero(most <= tolerance).tolist())


def candidates(targets: Targets, tolerance: float) -> list[Candidate]:
    """The specs whose targets these are, at this number of classes: those of few digits first, then the simple."""
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
            found.append(Candidate(spec, digits(spec)))
    if found and found[0].spec.label_smoothing == 0 and found[0].spec.values is None:
        return found[:1]  # without smoothing the spreads are one
    return sorted(found, key=lambda candidate: candidate.digits)


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
