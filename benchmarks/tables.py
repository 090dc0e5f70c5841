"""The figures as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import figures
from rich.table import Table


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """Of every framework and kind: warm time in parts of the reference's, and bytes in parts of the logits'."""
    for framework, kinds in found["frameworks"].items():
        for kind in kinds:
            for part in ("gradient", "forward"):
                shapes = figures.cells(found, framework, kind, part)
                if shapes:
                    yield table(f"{framework}, {kind}, {part}", shapes)


def table(title: str, shapes: dict[str, figures.Cell]) -> Table:
    shown = Table("", *shapes, title=title)
    for name, *texts in figures.grid(shapes, both):
        shown.add_row(name, *texts)
    return shown


def both(cell: figures.Cell, name: str) -> str:
    """What there is of time and peak, or the error."""
    timed = next((process for process in ("warm", "default") if process in cell), "warm")
    texts = (figures.time(timed)(cell, name), figures.peak(cell, name), figures.error(cell, name))
    return ", ".join(text for text in texts if text != figures.ABSENT) or figures.ABSENT
