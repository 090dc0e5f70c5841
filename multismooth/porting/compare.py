"""Two losses: whether they are the same, what makes them the same, and what nothing does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from multismooth.errors import InputError
from multismooth.porting.batches import Arrays, Outcome, batches, outcome
from multismooth.porting.explain import CLASS_WEIGHTS, CLASSES, DENOMINATORS
from multismooth.porting.losses import Loss, loss
from multismooth.porting.target import Target, target
from multismooth.spec import Spec

ROUNDING = 1e-12
"""Relative: a few hundred float64 operations apart, two ways to compute the same agree to this."""

GROUPS: dict[str, tuple[str, ...]] = {
    "target": ("label_smoothing", "spread", "values", "exclude"),
    "class_weight_rule": ("class_weight_rule",),
    "kl": ("kl",),
    "z_loss": ("z_loss",),
    "ignore_index": ("ignore_index",),
    "out_of_range": ("out_of_range",),
    "reduction": ("reduction", "denominator"),
    "empty": ("empty",),
}
"""The choices, and the fields that make each. They are changed one after the other."""


class Difference(NamedTuple):
    """One choice in which two losses differ, and it shows."""

    choice: str
    words: str
    when: tuple[str, ...]
    """the batches on which it shows, see ``batches``"""
    gradient: bool
    """whether it shows in the gradient too"""


class Distance(NamedTuple):
    """How far apart two losses are on one batch."""

    losses: tuple[float, float]
    """each summed, where it is not reduced"""
    loss: float
    """of the second relative to the first"""
    gradient: float
    """‖g_b − g_a‖ / ‖g_a‖"""
    angle: float
    """between the gradients, in degrees: 0 where only the learning rate differs"""


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` says."""

    a: Loss
    b: Loss
    classes: int
    targets: tuple[Target, Target]
    differences: tuple[Difference, ...]
    parameters: dict[str, Any]
    """those of ``a`` that bring it nearest to ``b``, where they are not its own already"""
    factor: float
    """what remains to be multiplied with ``a``'s loss then: the mass of ``b``'s target, mostly 1"""
    remaining: tuple[Difference, ...]
    """what no parameter makes the same"""
    distance: Distance
    """on the batch, as they are"""
    distance_with_parameters: Distance

    @property
    def same(self) -> bool:
        """Whether nothing that the two compute differs."""
        return not self.differences


def compare(
    a: str | Path | Spec | Loss,
    b: str | Path | Spec | Loss,
    classes: int = CLASSES,
    label_smoothing: float = 0.1,
    batch: Arrays | None = None,
) -> Comparison:
    """What changes from the loss ``a`` to the loss ``b`` at K = ``classes``.

    Each is the name of a dialect with this ``label_smoothing``, a file, or a spec. The ``batch`` holds the arguments of
    the loss by name, the classes last; without one a small padded batch is made.

    Raises:
        InputError: there is no such loss, no spec computes it, or the batch's classes are not K.

    >>> found = compare("huggingface", "fairseq", classes=32000)
    >>> found.parameters
    {'epsilon': 0.100003125..., 'ignore_index': 1}
    >>> [difference.choice for difference in found.remaining]
    ['reduction']
    """
    first, second = loss(a, label_smoothing), loss(b, label_smoothing)
    if batch is not None and np.shape(batch["logits"])[-1:] != (classes,):
        raise InputError(
            "other_classes",
            "compare",
            f"classes is {classes}, and the batch's logits have shape {np.shape(batch['logits'])}",
            "Pass the number of the last axis",
        )
    arrays = batches(classes, _ignored(first.spec, second.spec))["with a mask"] if batch is None else batch
    parameters, adapted, factor = _nearest(first, second.spec, classes)
    return Comparison(
        a=first,
        b=second,
        classes=classes,
        targets=(target(first.spec, classes), target(second.spec, classes)),
        differences=tuple(_differences(first.spec, second.spec, classes)),
        parameters=parameters,
        factor=factor,
        remaining=tuple(_differences(adapted, second.spec, classes, factor)),
        distance=_distance(first.spec, second.spec, arrays),
        distance_with_parameters=_distance(adapted, second.spec, arrays, factor),
    )


# --- What differs -------------------------------------------------------------------------------------------------


def _differences(a: Spec, b: Spec, classes: int, factor: float = 1.0) -> Iterator[Difference]:
    """From a to b one choice after the other, and on which batches each of these steps shows."""
    given = batches(classes, _ignored(a, b))
    before = {when: outcome(a, arrays) for when, arrays in given.items()}
    for choice, fields in GROUPS.items():
        chosen = {field: getattr(b, field) for field in fields}
        try:
            changed = replace(a, **chosen)
        except InputError:  # its class-weight rule is not for this target: both change in one step
            chosen |= {field: getattr(b, field) for field in GROUPS["class_weight_rule"]}
            changed = replace(a, **chosen)
        after = {when: outcome(changed, arrays) for when, arrays in given.items()}
        if choice == "target":
            before = {when: _scaled(each, factor) for when, each in before.items()}
        shown = [when for when in given if _apart(before[when], after[when])]
        if shown:
            gradient = _gradients_differ([(before[when], after[when]) for when in shown])
            # What shows on a plain batch shows on the others too.
            when = ("always",) if "always" in shown else tuple(shown)
            yield Difference(choice, _words(choice, a, b, classes), when, gradient)
        a, before = changed, after


def _ignored(*specs: Spec) -> list[int]:
    return sorted({spec.ignore_index for spec in specs if spec.ignore_index is not None})


def _scaled(found: Outcome | str, factor: float) -> Outcome | str:
    return found if isinstance(found, str) else Outcome(found.loss * factor, found.gradient * factor)


def _apart(a: Outcome | str, b: Outcome | str, gradients: bool = False) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a != b
    pairs = [(a.gradient, b.gradient)] if gradients else [(a.loss, b.loss), (a.gradient, b.gradient)]
    for x, y in pairs:
        if x.shape != y.shape:
            return True
        size = max(float(np.abs(np.nan_to_num(each)).max(initial=0.0)) for each in (x, y))
        if not np.allclose(x, y, rtol=0, atol=ROUNDING * size, equal_nan=True):
            return True
    return False


def _gradients_differ(outcomes: list[tuple[Outcome | str, Outcome | str]]) -> bool:
    """Of the batches that both take; where there is none, one has a gradient and the other an error."""
    both = [(a, b) for a, b in outcomes if not isinstance(a, str) and not isinstance(b, str)]
    return not both or any(_apart(a, b, gradients=True) for a, b in both)


def _words(choice: str, a: Spec, b: Spec, classes: int) -> str:
    """One difference, for people."""
    one, other = target(a, classes), target(b, classes)
    match choice:
        case "target":
            return f"the label has {one.on:.6g} and {other.on:.6g}, each other class {one.off:.6g} and {other.off:.6g}"
        case "class_weight_rule":
            rules = CLASS_WEIGHTS[a.class_weight_rule][0], CLASS_WEIGHTS[b.class_weight_rule][0]
            return f"class weights enter as {rules[0]} and as {rules[1]}"
        case "kl":
            which = "the second" if b.kl else "the first"
            return f"{which} subtracts the entropy of the target, {other.entropy:.6g} at each position"
        case "z_loss":
            return f"z-loss of {a.z_loss:g} and {b.z_loss:g}"
        case "ignore_index":
            return f"ignored is {_label(a)}, and {_label(b)}"
        case "out_of_range":
            raises = {"raise": "an error where values can be read", "nan": "NaN"}
            return f"a label out of range is {raises[a.out_of_range]}, and {raises[b.out_of_range]}"
        case "empty":
            means = {"zero": "0", "nan": "NaN"}
            return f"a mean of nothing is {means[a.empty]}, and {means[b.empty]}"
        case _:
            return f"divided by: {_divisor(a)} – and: {_divisor(b)}"


def _label(spec: Spec) -> str:
    return "no label" if spec.ignore_index is None else f"the label {spec.ignore_index}"


def _divisor(spec: Spec) -> str:
    return DENOMINATORS[spec.denominator][1] if spec.reduction == "mean" else f"nothing ({spec.reduction})"


# --- What makes them the same -------------------------------------------------------------------------------------


class _Match(NamedTuple):
    """How near a spec is to the one that is wanted."""

    misses: int
    """choices that are not its, of those that a parameter of some dialect makes"""
    factor: float
    """what its loss is to be multiplied with"""


def _nearest(a: Loss, b: Spec, classes: int) -> tuple[dict[str, Any], Spec, float]:
    """The parameters that bring a nearest to b, the spec that they give, and the factor that remains."""
    own = a.arguments()
    found = []
    for parameters in _choices(a, b, classes):
        try:
            spec = a.dialect.spec(**parameters) if a.dialect else replace(a.spec, **parameters)
        except InputError:
            continue
        if any(k >= classes for k in spec.exclude):
            continue
        match = _match(spec, b, classes)
        changed = {name: value for name, value in parameters.items() if value != own[name]}
        found.append((match.misses, match.factor != 1, len(changed), changed, spec, match.factor))
    *_, parameters, spec, factor = min(found, key=lambda each: each[:3])
    return parameters, spec, factor


def _choices(a: Loss, b: Spec, classes: int) -> Iterator[dict[str, Any]]:
    """Every combination of the parameters that a has; its own values are among them.

    Of a spec of the caller's own, whose every field could be changed, the ε that would do alone.
    """
    function = a.dialect.spec if a.dialect else Spec
    smoothing = a.dialect.smoothing if a.dialect else "label_smoothing"
    hints = get_type_hints(function)
    options = {}
    for name, value in a.arguments().items():
        if name == smoothing:
            others: list[Any] = _smoothings(target(b, classes), classes)
        else:
            others = _values(hints[name], b, classes)
        options[name] = list(dict.fromkeys([value, *others]))
    for combination in itertools.product(*options.values()):
        yield dict(zip(options, combination, strict=True))


def _values(hint: Any, b: Spec, classes: int) -> list[Any]:
    """What a parameter of this type may be to come nearer to b: a word, a switch, a number or an ignored label."""
    words = [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]
    if words:
        return [*words, None] if type(None) in get_args(hint) else words
    if hint is bool:
        return [False, True]
    wanted = target(b, classes)
    return [b.z_loss, wanted.on, wanted.off] if hint is float else [b.ignore_index]


def _smoothings(wanted: Target, classes: int) -> list[float]:
    """The ε of each family that gives every other class what it has in ``wanted``."""
    share = wanted.off / wanted.mass if wanted.mass else 0.0
    uniform = share * classes
    found = [uniform, share * (classes - 1), share * wanted.receivers, wanted.off * classes]
    if uniform < 1:
        found.append(uniform / (1 - uniform))  # Classy Vision's
    return [epsilon for epsilon in found if 0 <= epsilon <= 1]


def _match(a: Spec, b: Spec, classes: int) -> _Match:
    one, other = target(a, classes), target(b, classes)
    factor = other.mass / one.mass if one.mass and not (a.z_loss or b.z_loss or a.kl or b.kl) else 1.0
    if math.isclose(factor, 1, rel_tol=ROUNDING):
        factor = 1.0
    close = all(math.isclose(x * factor, y, rel_tol=ROUNDING) for x, y in zip(one[:2], other[:2], strict=True))
    misses = [
        not close,
        a.z_loss != b.z_loss,
        a.ignore_index != b.ignore_index,
        2 * (a.reduction != b.reduction),  # a mean by another divisor is nearer
        a.reduction == b.reduction == "mean" and a.denominator != b.denominator,
    ]
    return _Match(sum(misses), factor if close else 1.0)


def _distance(a: Spec, b: Spec, arrays: Arrays, factor: float = 1.0) -> Distance:
    one, other = _scaled(outcome(a, arrays), factor), outcome(b, arrays)
    for spec, found in ((a, one), (b, other)):
        if isinstance(found, str):
            fact = f"the batch is none for {spec}: {found}"
            raise InputError("not_a_batch", "compare", fact, "Pass one that both losses take")
    assert isinstance(one, Outcome)
    assert isinstance(other, Outcome)
    before, after = float(one.loss.sum()), float(other.loss.sum())
    x, y = one.gradient.ravel(), other.gradient.ravel()
    length, other_length = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    return Distance(
        losses=(before, after),
        loss=_relative(after - before, abs(before)),
        gradient=_relative(float(np.linalg.norm(y - x)), length),
        angle=_angle(x / length, y / other_length) if length and other_length else 0.0,
    )


def _angle(x: Any, y: Any) -> float:
    """Between unit vectors, in degrees; accurate where it is small, as the arc cosine of x·y is not."""
    return math.degrees(2 * math.atan2(float(np.linalg.norm(x - y)), float(np.linalg.norm(x + y))))


def _relative(difference: float, size: float) -> float:
    return difference / size if size else math.copysign(math.inf, difference) if difference else 0.0
