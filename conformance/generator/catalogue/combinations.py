"""Every triple of options, and so every pair: a covering array of strength 3 over what a call can choose."""

from __future__ import annotations

from itertools import chain
from typing import Any

import covertable  # type: ignore[import-untyped]  # covertable ships no types

from generator.book import LABEL_DTYPES, Book
from generator.options import OPTIONS, UNDEFINED


def combinations() -> Book:
    """One vector for each row of the array."""
    book = Book()
    conditions = [_never(*pair) for pair in UNDEFINED]
    for row in covertable.make({k: list(v) for k, v in OPTIONS.items()}, strength=3, constraints=conditions):
        _add(book, row)
    return book


def _never(left: str, these: tuple[Any, ...], right: str, those: tuple[Any, ...]) -> dict[str, Any]:
    """The condition that two options do not meet, in covertable's words."""
    one, other = ({"operator": "in", "left": f, "values": list(v)} for f, v in ((left, these), (right, those)))
    return {"operator": "not", "condition": {"operator": "and", "conditions": [one, other]}}


def _add(book: Book, row: dict[str, Any]) -> None:
    turn = len(book.vectors)
    give = chain(
        ["soft"] if row["labels"] == "soft" else [],
        ["class_weight"] if row["class_weight_rule"] else [],
        ["prior"] if row["prior"] else [],
        ["sample_weight"] if row["sample_weight"] else [],
        filter(None, (row["allowed"], row["mask"])),
    )
    spec = {field: row[field] for field in ("denominator", "kl", "z_loss", "reduction")}
    if row["spread"] == "values":
        spec["values"] = (0.9, 0.025)
    else:
        spec |= {"spread": row["spread"], "label_smoothing": row["label_smoothing"]}
    if row["class_weight_rule"]:
        spec["class_weight_rule"] = row["class_weight_rule"]
    if row["exclude"]:
        spec["exclude"] = [turn % 5]
    if "ignored" in (row["mask"] or ""):
        spec["ignore_index"] = (-100, -1, 77)[turn % 3]
    book.add(
        "combined",
        ", ".join(str(row[option]) for option in OPTIONS if row[option]),
        shape=row["axis"],
        dtype=row["dtype"],
        give=" ".join(give),
        label_dtype=(*LABEL_DTYPES, "int16", "int8")[turn % 4],
        **spec,
    )
