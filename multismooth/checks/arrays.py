"""What a call is made of, and what is known of an array before anybody reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from multismooth.errors import InputError

FLOATS: Final = ("float16", "bfloat16", "float32", "float64")
INTEGERS: Final = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

BEYOND: Final = "int beyond 64 bits"

UNREAD: Final = object()
"""Stands for values that cannot be read without waiting: traced, compiled, or on another device."""


Refuse = Callable[[str, str, str], InputError]
"""Makes the error of a reason, a fact and a remedy."""


class Batch(NamedTuple):
    """The arrays of one call."""

    logits: Any
    labels: Any
    where: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    prior: Any = None
    allowed: Any = None
    normalizer: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether logits and labels are all there is."""
        _, _, where, sample_weight, class_weight, prior, allowed, normalizer = self
        return where is sample_weight is class_weight is prior is allowed is normalizer is None


class Described(NamedTuple):
    """All that ``check_call`` needs to know of an array; a dimension may be unknown (None)."""

    shape: tuple[int | None, ...]
    dtype: str
    rank_is_known: bool = True


class Layout(NamedTuple):
    """What ``check_call`` found out."""

    axis: int
    """The class axis of the logits, counted from the front."""
    classes: int
    soft: bool
    """Whether the labels are a probability for each class."""


def described(
    refuse: Refuse,
    name: str,
    array: Any,
    describe: Callable[[Any], Described | None],
) -> Described:
    described = describe(array)
    if described is None:
        raise refuse(
            "not_an_array",
            f"{name} is a {type(array).__name__}",
            "Pass a dense array of this framework",
        )
    if not described.rank_is_known:
        raise refuse("unknown_rank", f"the number of axes of {name} is unknown", "Set its static shape")
    return described


def number(value: Any) -> Described | None:
    """A number of Python or NumPy, described as a scalar array."""
    if isinstance(value, np.generic):
        return Described((), value.dtype.name)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return Described((), BEYOND)
    for kind, dtype in ((bool, "bool"), (int, "int64"), (float, "float64"), (complex, "complex128")):
        if isinstance(value, kind):
            return Described((), dtype)
    return None


def same(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    if shape == other:
        return True
    return len(shape) == len(other) and all(a == b or a is None or b is None for a, b in zip(shape, other, strict=True))


def show(shape: tuple[int | None, ...]) -> str:
    inside = ", ".join("?" if n is None else str(n) for n in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"
