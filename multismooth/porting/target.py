"""What a loss wants of the softmax."""

from __future__ import annotations

import math
from typing import NamedTuple

from multismooth.errors import InputError
from multismooth.lowering import ClassSums, lower
from multismooth.spec import Spec, brief
from multismooth.values import FUNCTIONS


class Target(NamedTuple):
    """The target of one position whose label is a class that may receive smoothing mass."""

    on: float
    """the label's"""
    off: float
    """that of each other class that receives any"""
    receivers: int
    """how many other classes receive it"""
    mass: float
    """of all together"""
    entropy: float
    """H(q), in nats"""


def target(spec: Spec, classes: int) -> Target:
    """The target of ``spec`` at K = ``classes``.

    >>> target(Spec(0.25, "others"), 6)
    Target(on=0.75, off=0.05, receivers=5, mass=1.0, entropy=0.96469...)
    """
    check_classes(classes)
    receivers = max(classes - 1 - sum(k < classes for k in spec.exclude), 0)
    on, off, mass, *_ = lower(spec, ClassSums(own=1.0, rest=float(receivers)), FUNCTIONS)
    off = off if receivers else 0.0
    entropy = -sum(count * q * math.log(q) for q, count in ((on, 1), (off, receivers)) if q > 0)
    return Target(float(on), float(off), receivers, float(mass), entropy)


def check_classes(classes: object) -> None:
    """At least the label and another class."""
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 2:
        raise InputError("bad_classes", "multismooth", f"classes is {brief(classes)}", "Pass an integer of at least 2")
