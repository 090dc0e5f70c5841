"""How many classes are summed together, where a row's sum leaves one class out.

A row's classes are summed block by block. Then the sum without one class is that of all blocks but its own, and of the
other classes in this one: nothing is compared with every class, and nothing is subtracted.
"""

from __future__ import annotations

import math

SIZES = range(16, 513)
"""With few classes in a block there are as many sums as there were logits, and with many a block is large."""


def classes_of_block(classes: int) -> int | None:
    """A divisor of the number of classes, or None if none will do.

    About √(2K): then the sums of blocks and the classes of a block are about as many.

    >>> classes_of_block(1000), classes_of_block(32768), classes_of_block(10)
    (40, 256, None)
    """
    sizes = [size for size in SIZES if classes % size == 0 and size < classes]
    return min(sizes, key=lambda size: abs(size - math.sqrt(2 * classes)), default=None)
