"""What is measured: the shapes of language models, segmentation and classification, and what fills them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LABEL_SMOOTHING = 0.1
IGNORED = -100
SHARE_IGNORED = 0.1


class Shape(NamedTuple):
    """The logits' shape, where in it the classes are, and the standard deviation of what fills it."""

    logits: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    spread: float = 1.0

    @property
    def classes(self) -> int:
        return self.logits[self.axis]

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(length for axis, length in enumerate(self.logits) if axis != self.axis % len(self.logits))

    @property
    def bytes(self) -> int:
        """Of the logits."""
        return int(np.prod(self.logits)) * (2 if self.dtype == "bfloat16" else 4)


class Linear(NamedTuple):
    """Hidden states [rows, width] and a kernel [width, classes]."""

    rows: int
    width: int
    classes: int
    dtype: str = "float32"

    @property
    def logits(self) -> Shape:
        return Shape((self.rows, self.classes), -1, self.dtype)

    @property
    def bytes(self) -> int:
        return self.logits.bytes


class Training(NamedTuple):
    """A batch of ``rows`` sequences of ``length`` bytes."""

    rows: int
    length: int
    classes: int = 50304

    @property
    def bytes(self) -> int:
        return 4 * self.rows * self.length * self.classes


LOSSES = {
    "LM1": Shape((4096, 32768)),
    "LM1 bfloat16": Shape((4096, 32768), dtype="bfloat16"),
    "LM2": Shape((2048, 131072)),
    "seg1": Shape((8, 19, 256, 256), 1),
    "seg1 bfloat16": Shape((8, 19, 256, 256), 1, "bfloat16"),
    "seg2": Shape((2, 150, 512, 512), 1),
    "cls": Shape((1024, 1000)),
    "cls bfloat16": Shape((1024, 1000), dtype="bfloat16"),
    "tiny": Shape((32, 10)),
}
LINEAR = {
    "small head": Linear(256, 128, 8192),
    "head": Linear(4096, 256, 16384),
    "head bfloat16": Linear(4096, 256, 16384, "bfloat16"),
    "large head": Linear(4096, 512, 131072),
}
OPTIONS = {"rows": Shape((1024, 32768)), "planes": Shape((2, 150, 256, 256), 1)}
TRAINING = {"short": Training(4, 64), "text": Training(8, 128)}
GROWTH = {f"N = {4**n}": Shape((4**n, 1024)) for n in range(3, 9)} | {
    f"K = {4**n}": Shape((256, 4**n)) for n in range(3, 10)
}
ACCURACY = {
    f"K = {classes}, σ = {spread}": Shape((256, classes), spread=spread)
    for classes in (32768, 131072)
    for spread in (1, 8)  # of a network before training, and of a confident one
}


def arrays(shape: Shape, seed: int = 0) -> tuple[Any, Any]:
    """float32 logits and int64 labels, a tenth of which is ``IGNORED``."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal(shape.logits, np.float32) * np.float32(shape.spread)
    labels = random.integers(0, shape.classes, shape.labels)
    return logits, np.where(random.random(shape.labels) < SHARE_IGNORED, IGNORED, labels)


def linear_arrays(shape: Linear, seed: int = 0) -> tuple[Any, Any, Any]:
    """float32 hidden states and kernel, whose logits have a variance of 1, and int64 labels."""
    random = np.random.default_rng(seed)
    hidden = random.standard_normal((shape.rows, shape.width), np.float32)
    kernel = random.standard_normal((shape.width, shape.classes), np.float32) / np.float32(shape.width**0.5)
    labels = random.integers(0, shape.classes, shape.rows)
    return hidden, kernel, np.where(random.random(shape.rows) < SHARE_IGNORED, IGNORED, labels)
