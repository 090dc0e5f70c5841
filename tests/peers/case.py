"""What a module of this folder says about its package: on which inputs its loss is run, and as which dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.spec import Spec


class Batch(NamedTuple):
    """Sequences of uneven length. Every number is one of float32, so that a package computes on the same in both."""

    x: NDArray[np.float64]
    """logits [B, T, K]"""
    y: NDArray[np.int64]
    """labels [B, T], none of them ``PAD`` or 1"""
    mask: NDArray[np.bool_]
    s: NDArray[np.float64]
    """weights of positions [B, T], one of them 0 and none of them 1"""
    w: NDArray[np.float64]
    """weights of classes [K], none of them 0 or 1"""
    t: NDArray[np.float64]
    """soft labels [B, T, K]"""

    def labels(self, ignored: int) -> NDArray[np.int64]:
        """The labels with ``ignored`` wherever the mask is not."""
        return np.where(self.mask, self.y, ignored)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of positions, 0 wherever the mask is not."""
        return self.s * self.mask

    @property
    def kept(self) -> NDArray[np.float64]:
        """The mask as weights of 0 and 1."""
        return self.mask * 1.0


PAD = 0
CLASSES = 7


def _batch(lengths: Sequence[int], steps: int = 5) -> Batch:
    random = np.random.default_rng(4)
    shape = (len(lengths), steps)
    s = random.choice(np.arange(2, 17) / 8, shape)
    s[s == 1] = 0.375
    s[:1, 1] = 0
    w = random.choice(np.arange(2, 17) / 8, CLASSES, replace=False)
    w[w == 1] = 2.25
    return Batch(
        x=np.round(2 * random.normal(size=(*shape, CLASSES)) * 1024) / 1024,
        y=random.integers(2, CLASSES, shape),
        mask=np.arange(steps) < np.array(lengths, int).reshape(-1, 1),
        s=s,
        w=w,
        t=random.multinomial(64, np.ones(CLASSES) / CLASSES, shape) / 64,
    )


BATCH = _batch((5, 3, 1, 0))
"""n = 9 positions count, 8 of them with a weight that is not 0, of N = 20 in B = 4 sequences, 3 of them not empty"""
NOTHING = _batch((0, 0, 0, 0))
"""nothing counts"""
NO_POSITIONS = _batch(())
"""an empty batch"""


def with_gap(batch: Batch = BATCH, gap: float = 200.0) -> Batch:
    """The batch with one class far above the others, which is the label's of some positions and not of others."""
    x = batch.x.copy()
    x[..., 3] += gap
    return batch._replace(x=x)


def with_impossible_class() -> Batch:
    """The batch with a logit of −inf everywhere for a class that is no position's label."""
    x = BATCH.x.copy()
    x[..., 1] = -np.inf
    return BATCH._replace(x=x)


class Case(NamedTuple):
    """One comparison."""

    dialect: str
    name: str
    """what is compared, in a few words"""
    theirs: Callable[[Any, Batch], Any]
    """the package's loss, from its own kind of logits [B, T, K] and the batch"""
    parameters: Mapping[str, Any] = MappingProxyType({})
    """of the dialect"""
    arguments: Mapping[str, str | float] = MappingProxyType({})
    """which array of the batch goes to which argument of the multismooth loss, or a number itself"""
    batch: Batch = BATCH
    spec: Spec | None = None
    """what the package computes here, where ``DIALECTS`` has no spec for it"""
    added: float = 0.0
    """what the package adds to the mean's denominator: a note of the dialect, and no field of its spec"""


class Fact(NamedTuple):
    """Something that the package does and no spec says, shown by running it."""

    says: str
    shows: Callable[[], str]
    """the numbers; raises an AssertionError where the package does something else"""


class Peer(NamedTuple):
    """One package."""

    package: str
    """as the registry spells it"""
    loss: str
    """where its loss is imported from"""
    differentiate: Callable[..., tuple[Any, Any]]
    """the loss and its gradient, times ``cotangent``, from a bridge"""
    cases: Sequence[Case]
    facts: Sequence[Fact] = ()
    precision: str = "float64"
    """what the package computes in"""
    misfits: Mapping[str, Sequence[str]] = MappingProxyType({})
    """for the dialects whose loss, seen as a black box, no spec computes: the deviations that ``identify`` names"""
    reads_outside: bool = False
    """whether its loss reads beyond its arrays at a label out of range"""


def cotangent(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Not ones, which would hide a wrong scale of a position; a number of float32 for every element."""
    return np.round(np.random.default_rng(1).normal(size=shape) * 256) / 256
