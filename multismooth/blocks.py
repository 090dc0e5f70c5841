"""How many classes are summed together, where a row's sum leaves one class out.

A row's classes are summed block by block. Then the sum without one class is that of all blocks but its own, and of the
other classes in this one: nothing is compared with every class, and nothing is subtracted. The classes of a block lie
side by side; those of a lane lie apart, and it is the lanes that lie, and are summed, side by side.
"""

from __future__ import annotations

import math

SIZES = range(16, 513)
"""With few classes in a block there are as many sums as there were logits, and with many a block is large."""

MOST, LANES = 16, 4
"""A compiler spells out so many terms of a sum, and a processor adds at least so many of them at once."""

CACHED = 2**22
"""Of fewer logits, with the classes last, XLA keeps the exponentials for the gradient: at most 16 MiB of float32."""


def classes_of_block(classes: int) -> int | None:
    """A divisor of the number of classes, or None if none will do.

    About √(2K): then the sums of blocks and the classes of a block are about as many.

    >>> classes_of_block(1000), classes_of_block(32768), classes_of_block(10)
    (40, 256, None)
    """
    sizes = [size for size in SIZES if classes % size == 0 and size < classes]
    return min(sizes, key=lambda size: abs(size - math.sqrt(2 * classes)), default=None)


def classes_of_lane(classes: int, least: int = 2, most: int = MOST) -> int | None:
    """A divisor of the number of classes, the largest that is at most ``most``, or None if none will do.

    >>> classes_of_lane(1000), classes_of_lane(32768), classes_of_lane(10), classes_of_lane(1009)
    (10, 16, 2, None)
    """
    return next((n for n in range(min(most, classes // LANES), least - 1, -1) if classes % n == 0), None)


def size_of_lane(classes: int, is_long: bool) -> int:
    """How many classes a lane has where some may be left over: a divisor if it is at least half of what it may be.

    Where a term ``is_long``, a compiler spells out half as many.

    >>> size_of_lane(1000, False), size_of_lane(30522, False), size_of_lane(30522, True)
    (10, 16, 6)
    """
    most = min(MOST // 2 if is_long else MOST, classes // LANES)
    return classes_of_lane(classes, most // 2 + 1, most) or most
