"""Which flags a vector of the linear loss deserves; as in catches.py, a flag is a promise.

The flags of the loss of given logits are not set here: what they name is seen by the vectors with logits, and an
implementation has these wrong in its blocks, its chain rule, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable

from generator.catches import Facts, Live, is_confident, is_garbage, loses_digits, rule

BLOCK = 8
"""Classes, to a multiple of which a kernel fills up the last block."""
LARGE = 64
"""A logit, beside which those of 0 are not seen."""
TOO_MANY = 256
"""Positions, whose equal terms a sum in bfloat16 cannot tell from fewer."""


def moving(f: Facts) -> list[Live]:
    """Positions with a gradient, to hidden or to kernel, which no NaN of another hides."""
    return [] if f.bad_labels else [at for at in f.live if at.moves]


def counted(f: Facts) -> list[int]:
    """Places of the positions whose loss counts."""
    return [i for i, p in enumerate(f.positions) if f.live and p.counts and p.label_in_range]


def in_both_halves(f: Facts) -> bool:
    """Whether positions of both halves count."""
    half, places = (len(f.positions) + 1) // 2, counted(f)
    return any(i < half for i in places) and any(i >= half for i in places)


def numbers(f: Facts, name: str) -> list[float]:
    array = f.vector.inputs.get(name)
    return [] if array is None else [float(x) for x in array.data]


def scale(f: Facts) -> float:
    return next(iter(numbers(f, "logit_scale")), 1.0)


def capped(f: Facts, least: float) -> bool:
    """Whether a bound changes a logit that matters."""
    if not numbers(f, "softcap"):
        return False
    head = f.head
    heard = {id(at.position) for at in moving(f)}
    rows = [z for z, p in zip(head.linear(), f.positions, strict=True) if id(p) in heard]
    return any(head.saturation(z) > least for row in rows for z in row)


def uneven_cotangent(f: Facts) -> bool:
    """Whether the first position's cotangent is wrong for another that has a gradient."""
    if f.spec["reduction"] != "none":
        return False
    first = f.vector.cotangent.data[:1]
    heard = {id(at.position) for at in moving(f)}
    pairs = zip(f.positions, f.vector.cotangent.data, strict=True)
    return any(id(p) in heard and c != first[0] for p, c in pairs)


def in_first_half(f: Facts) -> bool:
    """Whether a position of the first half has a part in the kernel's gradient."""
    heard = {id(at.position) for at in moving(f)}
    half = (len(f.positions) + 1) // 2
    hidden = f.head.hidden
    return len(f.positions) > half and any(
        id(p) in heard and any(h != 0 for h in row) for p, row in zip(f.positions[:half], hidden[:half], strict=True)
    )


def in_second_half(f: Facts) -> bool:
    """Whether the weights of the classes would be missed in the second half of the positions."""
    heard = {id(at.position): at for at in f.live}
    half = (len(f.positions) + 1) // 2
    later = [heard[id(p)] for p in f.positions[half:] if id(p) in heard]
    return any(k.reached and k.weight != 1 and k.surprise > 1e-6 for at in later for k in at.classes)


def beyond_half(f: Facts) -> bool:
    """Whether a label lies in the second half of the classes, and matters."""
    half = (f.classes + 1) // 2
    return f.smoothing < 1 and bool(moving(f)) and any(y >= half for y in f.labels)


def differs(f: Facts) -> bool:
    """Whether logits with and without their scale say something else."""
    return scale(f) != 1 and bool(moving(f))


def biased(f: Facts) -> bool:
    """Whether the bias has a gradient, or tells classes apart."""
    return "bias" in f.given and bool(moving(f))


LINEAR_CATCHES: dict[str, Callable[[Facts], bool]] = {
    "linear-smoothing": lambda f: bool(f.receives) and any(at.speaks for at in f.receives),
    "linear-z-loss": lambda f: f.spec["z_loss"] > 0 and bool(f.live),
    "linear-bias": biased,
    "linear-logit-scale": differs,
    "linear-scale-gradient": differs,
    "linear-scale-sign": lambda f: scale(f) < 0 and bool(f.live),
    "linear-softcap": lambda f: capped(f, 1e-3),
    "linear-softcap-gradient": lambda f: capped(f, 1e-2),
    "linear-mean-of-blocks": lambda f: f.is_mean and not f.vanishes and f.speaks and in_both_halves(f),
    "linear-kernel-blocks": in_first_half,
    "linear-class-weights": lambda f: "class_weight" in f.given and rule_of_any(f) and in_second_half(f),
    "linear-weights": lambda f: any(at.position.weight != 1 for at in moving(f)),
    "linear-unreduced": uneven_cotangent,
    "linear-accumulator": lambda f: f.vector.dtype == "bfloat16" and len(counted(f)) > TOO_MANY,
    "linear-label-block": beyond_half,
    "linear-last-block": lambda f: f.classes % BLOCK != 0 and any(at.top < LARGE for at in f.live),
    "linear-garbage": lambda f: f.valid and any(is_garbage(p) for p in f.positions if not p.counts),
    "linear-nothing-counts": lambda f: f.valid and f.vanishes,
    "linear-bad-label": lambda f: any(not 0 <= y < f.classes for y in f.bad_labels),
    "linear-large-shift": lambda f: any(abs(at.top) > LARGE and (loses_digits(at) or is_confident(f)) for at in f.live),
}
"""The condition of each flag."""


def rule_of_any(f: Facts) -> bool:
    """Class weights under any rule, that differ."""
    return rule(f, "per_class", "per_label", "expected", "label_term")
