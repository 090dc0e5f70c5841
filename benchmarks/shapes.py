"""What is measured: the shapes of language models, segmentation and classification, and what fills them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LABEL_SMOOTHING = 0.1
IGNORED = -100
SHARE_IGNORED = 0.1


class Shape(NamedTuple):
    """The logits' shape, and where in it the classes are."""

    logits: tuple[int, ...]
    axis: int
    dtype: str = "float32"

    @property
    def classes(self) -> int:
        return self.logits[self.axis]

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(length for axis, length in enumerate(self.logits) if axis != self.axis % len(self.logits))

    @property
    def size(self) -> int:
        return int(np.prod(self.logits))


SHAPES = {
    "LM1": Shape((4096, 32768), -1),
    "LM1 bfloat16": Shape((4096, 32768), -1, "bfloat16"),
    "LM2": Shape((2048, 131072), -1),
    "seg1": Shape((8, 19, 256, 256), 1),
    "seg2": Shape((2, 150, 512, 512), 1),
    "cls": Shape((1024, 1000), -1),
    "tiny": Shape((32, 10), -1),
}
QUICK = ("seg1", "cls", "tiny")


def arrays(shape: Shape, seed: int = 0) -> tuple[Any, Any]:
    """float32 logits and int64 labels, a tenth of which is ``IGNORED``."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal(shape.logits, np.float32)
    labels = random.integers(0, shape.classes, shape.labels)
    return logits, np.where(random.random(shape.labels) < SHARE_IGNORED, IGNORED, labels)
