"""``python -m multismooth``: one batch, as the libraries in use compute its loss. It needs NumPy only.

With arguments it is the command ``multismooth``.

What it prints is ASCII, so that every terminal can show it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import multismooth
from multismooth.dialects import DIALECTS, Dialect
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth.porting.target import target
from multismooth.spec import Spec

SMOOTHING = 0.1
LENGTHS = (5, 3, 1)
CLASSES = 8
SPREADS = {
    "uniform": "shared by all classes",
    "others": "shared by the other classes",
    "leaky": "shared by all classes, the label's own share lost",
}
COUNTED = {
    "batch": "sequences",
    "sequences": "sequences, by their means",
    "nonempty_sequences": "sequences, by their means",
    "weights": "sum of the weights",
    "nonzero_weights": "weights that are not 0",
}
"""What a mean divides by; on this batch every other denominator counts tokens, or all positions."""


class Batch(NamedTuple):
    """A padded batch."""

    logits: NDArray[np.float64]
    """[sequences, positions, classes]"""
    labels: NDArray[np.int64]
    """[sequences, positions]; without meaning where ``mask`` is False"""
    mask: NDArray[np.bool_]
    """[sequences, positions]"""


class Row(NamedTuple):
    """One line of the table."""

    library: str
    spec: Spec
    loss: float
    label: float
    """the label's probability in the target"""
    other: float
    """that of each other class that receives any"""
    divisor: str


def example() -> Batch:
    """Sequences of uneven length. No label is 0 or 1, which several libraries keep for padding."""
    shape = len(LENGTHS), max(LENGTHS), CLASSES
    mask = np.arange(shape[1]) < np.array(LENGTHS)[:, None]
    labels = 2 + np.arange(mask.size).reshape(mask.shape) * 5 % (CLASSES - 2)
    logits = (np.arange(math.prod(shape)).reshape(shape) * 37 % 64 - 32) / 16
    logits += 2.5 * (labels[..., None] == np.arange(CLASSES))
    return Batch(logits, labels, mask)


def row(dialect: Dialect, batch: Batch) -> Row:
    """The batch through one dialect, its padding told in the way that the library knows."""
    spec, (logits, labels, mask) = dialect.smoothed(SMOOTHING), batch
    tokens, library = mask.sum(), dialect.library
    weights: dict[str, Any] = {}
    match dialect.padding, spec.ignore_index:
        case "label", int(padding):
            labels = np.where(mask, labels, padding)
        case "mask", _:
            weights["where"] = mask
        case "weight", _:
            weights["sample_weight"] = mask.astype(float)
        case _:
            logits, labels, library = logits[mask], labels[mask], library + " *"
    loss = np.sum(smoothed_cross_entropy(logits, labels, spec, **weights))
    if spec.reduction == "mean":
        count = smoothed_cross_entropy_totals(logits, labels, spec, **weights).weight
        counted = "tokens" if count == tokens else "positions, padding included"
        divisor = f"{count:2.0f} {COUNTED.get(spec.denominator, counted)}"
    else:
        divisor = " - nothing: a sum" if spec.reduction == "sum" else " - per position; summed here"
    on, off, *_ = target(spec, CLASSES)
    return Row(library, spec, float(loss), on, off, divisor)


def rows(batch: Batch) -> list[Row]:
    """One row for each dialect, those of one target side by side."""
    found = [row(dialect, batch) for dialect in DIALECTS.values()]
    families = list(dict.fromkeys(family(each.spec) for each in found))
    return sorted(found, key=lambda each: families.index(family(each.spec)))


def family(spec: Spec) -> str:
    """The kind of target, in words."""
    if spec.values is not None:
        return "both values given outright"
    if spec.label_smoothing == 0:
        return "nothing shared"
    excluded = ", none to the padding" if spec.exclude else ""
    entropy = ", minus the target's entropy" if spec.kl else ""
    return f"{spec.label_smoothing:.4g} {SPREADS[spec.spread]}{excluded}{entropy}"


def table(found: list[Row]) -> Iterator[str]:
    yield f"  {'library':36}{'loss':>8}{'label':>9}{'others':>9}   divides by"
    for words, group in groupby(found, lambda row: family(row.spec)):
        yield ""
        yield f"  -- {words} --"
        for library, _, loss, label, other, divisor in group:
            yield f"  {library:36}{loss:8.4f}{label:9.4f}{other:9.4f}   {divisor}"


def explanation(batch: Batch) -> Iterator[str]:
    """From PyTorch's loss to T5X's, one field of the spec at a time."""
    logits, labels, mask = batch
    count = int(mask.sum())

    def loss(spec: Spec) -> float:
        return float(smoothed_cross_entropy(logits, labels, replace(spec, ignore_index=None), where=mask))

    mean = DIALECTS["torch"].smoothed(SMOOTHING)
    total = replace(mean, reduction="sum")
    others = replace(total, spread="others")
    divergence = replace(others, kl=True)
    entropy = target(others, CLASSES).entropy
    same = SMOOTHING * CLASSES / (CLASSES - 1)

    steps = [
        ("PyTorch", mean, ""),
        ("reduction='sum'", total, f"x {count}, the tokens that PyTorch divides by"),
        ("spread='others'", others, f"+ {loss(others) - loss(total):.4f}: the label gives its share to the others"),
        ("kl=True", divergence, f"- {count} x {entropy:.4f}, the entropy of the target; no gradient changes"),
    ]
    yield "Why do PyTorch and T5X differ? Three fields of their specs, one after the other:"
    yield ""
    yield from (f"  {name:18}{loss(spec):9.4f}   {words}".rstrip() for name, spec, words in steps)
    yield f"  {'T5X':18}{row(DIALECTS['t5x'], batch).loss:9.4f}"
    yield ""
    by_torch = count * (loss(replace(mean, label_smoothing=same)) - entropy)
    yield f"The targets are one family: 'others' at {SMOOTHING} is 'uniform' at {SMOOTHING} x K/(K-1) = {same:.6f}."
    yield f"So PyTorch with that label_smoothing has T5X's gradient / {count}, and its loss is T5X's:"
    yield f"{count} x ({loss(replace(mean, label_smoothing=same)):.4f} - {entropy:.4f}) = {by_torch:.4f}."


def report() -> Iterator[str]:
    batch = example()
    found = rows(batch)
    sequences, length = batch.mask.shape
    yield f"multismooth {multismooth.__version__}: one batch, label_smoothing={SMOOTHING}, in {len(found)} ways"
    yield ""
    yield f"  {sequences} sequences of {', '.join(map(str, LENGTHS))} tokens in {sequences} x {length} positions:"
    yield f"  {batch.mask.sum()} tokens count, {(~batch.mask).sum()} positions are padding. K = {CLASSES} classes."
    yield ""
    yield from table(found)
    yield ""
    yield "  * knows no padding: the caller has cut it out"
    yield ""
    yield from explanation(batch)
    yield ""
    yield "Each row is a function of multismooth.dialects that returns a Spec; its docstring cites the source."


def main() -> None:
    if sys.argv[1:]:
        from multismooth import cli  # here, for it needs more than NumPy

        cli.main()
    else:
        print("\n".join(report()))


if __name__ == "__main__":
    main()
