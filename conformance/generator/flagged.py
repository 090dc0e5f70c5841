"""The flags of a vector."""

from __future__ import annotations

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator.catches import CATCHES, DIGITS, Facts
from generator.flags import FLAGS
from generator.linear_catches import LINEAR_CATCHES
from generator.vector import Vector


def flags_of(vector: Vector) -> tuple[str, ...]:
    """The flags of a vector, in the order of `FLAGS`: of the linear loss those of its own."""
    conditions = LINEAR_CATCHES if vector.linear else CATCHES
    with mp.workdps(DIGITS):
        facts = Facts(vector)
        return tuple(flag for flag in FLAGS if flag in conditions and conditions[flag](facts))
