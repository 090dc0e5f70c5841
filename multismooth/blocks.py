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


def classes_of_lane(classes: int) -> int | None:
    """A divisor of the number of classes, the largest that is at most ``MOST``, or None if none will do.

    >>> classes_of_lane(1000), classes_of_lane(32768), classes_of_lane(10), classes_of_lane(1009)
    (10, 16, 2, None)
    """
    return max((n for n in range(2, MOST + 1) if classes % n == 0 and classes // n >= LANES), default=None)
