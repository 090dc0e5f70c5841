"""Reads the figures of ``benchmarks.json``: by framework, kind, shape, part and process those of every contender."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import slope
from shapes import TRAINING

Cell = dict[str, Any]
"""the figures of one shape: ``reference``, and by process those of every contender"""
ABSENT = "–"
LARGE = 2**18
"""logits from which on a call's time is its work, and not its dispatch"""


def load(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "benchmarks.json").read_text(encoding="utf-8"))


def cells(found: dict[str, Any], framework: str, kind: str, part: str = "gradient") -> dict[str, Cell]:
    """By shape."""
    shapes = found["frameworks"].get(framework, {}).get(kind, {})
    return {shape: parts[part] for shape, parts in shapes.items() if part in parts}


def having(found: dict[str, Any], kind: str) -> list[str]:
    """The frameworks in which this kind was measured."""
    return [framework for framework in found["frameworks"] if cells(found, framework, kind)]


def contenders(shapes: dict[str, Cell]) -> list[str]:
    """All that took part in any shape, in their order."""
    processes = [rows for cell in shapes.values() for rows in cell.values() if isinstance(rows, dict)]
    return list(dict.fromkeys(name for rows in processes for name in rows))


def row(cell: Cell, process: str, name: str, figure: str) -> dict[str, Any] | None:
    """A contender's figures, if it has this one."""
    found = cell.get(process, {}).get(name, {})
    return found if figure in found else None


def ratio(cell: Cell, process: str, name: str) -> float | None:
    """The median time in parts of the reference's."""
    found, reference = (row(cell, process, who, "median") for who in (name, cell["reference"]))
    return found["median"] / reference["median"] if found and reference else None


def time(process: str) -> Callable[[Cell, str], str]:
    """Ratio ± half the distance between the quartiles; of the reference, what it takes."""

    def show(cell: Cell, name: str) -> str:
        found, part = row(cell, process, name, "median"), ratio(cell, process, name)
        if found is None or part is None:
            return ABSENT
        spread = (found["high"] - found["low"]) / 2 / found["median"] * part
        return seconds(found["median"]) if name == cell["reference"] else f"{part:.2f} ±{spread:.2f}"

    return show


def seconds(number: float) -> str:
    """With three digits."""
    unit, scale = ("s", 1.0) if number >= 1 else ("ms", 1e3) if number >= 1e-3 else ("µs", 1e6)
    return f"{number * scale:.{max(0, 3 - len(str(int(number * scale))))}f} {unit}"


def tokens(cell: Cell, shape: str, process: str, name: str) -> float | None:
    """Per second of training."""
    found = row(cell, process, name, "median")
    return TRAINING[shape].rows * TRAINING[shape].length / found["median"] if found else None


def spoken(cell: Cell, name: str) -> bool:
    """Whether a contender has times here."""
    return any(row(cell, process, name, "median") for process in ("default", "warm"))


def peak(cell: Cell, name: str) -> str:
    """Bytes in parts of the logits'."""
    found = row(cell, "memory", name, "peak")
    return f"{found['peak']:.2f}" if found else ABSENT


def error(cell: Cell, name: str) -> str:
    found = row(cell, "memory", name, "error")
    return f"{found['error']:.1e}" if found else ABSENT


def error_factor(cell: Cell, name: str) -> float | None:
    """How many times the reference's error is that of this contender."""
    found, reference = (row(cell, "memory", who, "error") for who in (name, cell["reference"]))
    return reference["error"] / found["error"] if found and reference else None


def agreement(trained: Sequence[Cell]) -> tuple[int, float]:
    """The number of steps that all runs have made, and the largest relative difference from the reference's loss."""
    steps, differences = [], []
    for cell in trained:
        for rows in (cell[process] for process in ("default", "warm") if process in cell):
            reference = rows[cell["reference"]]["losses"]
            steps.append(len(reference))
            differences += [
                abs(loss / true - 1)
                for found in rows.values()
                for loss, true in zip(found.get("losses", ()), reference, strict=False)
            ]
    return min(steps), max(differences)


def grid(shapes: dict[str, Cell], show: Callable[[Cell, str], str]) -> Iterator[tuple[str, ...]]:
    """A row for every contender that has anything to show."""
    for name in contenders(shapes):
        shown = tuple(show(cell, name) for cell in shapes.values())
        if set(shown) != {ABSENT}:
            yield name, *shown


def reasons(shapes: dict[str, Cell]) -> dict[tuple[str, str], list[str]]:
    """By contender and reason, the shapes that it has no figures for."""
    found: dict[tuple[str, str], list[str]] = {}
    for shape, cell in shapes.items():
        for rows in (rows for rows in cell.values() if isinstance(rows, dict)):
            for name, figures in rows.items():
                if "reason" in figures:
                    named = found.setdefault((name, figures["reason"]), [])
                    named += [shape] * (shape not in named)
    return found


def growth(shapes: dict[str, Cell], axis: str, name: str) -> tuple[list[int], list[float], float]:
    """Sizes along N or K, the median seconds at each, and the exponent of the large ones, from ``LARGE`` logits on."""
    other = {"N": 1024, "K": 256}[axis]
    points = {}
    for shape, cell in shapes.items():
        found = row(cell, "warm", name, "median")
        if found and shape.startswith(axis):
            points[int(shape.partition(" = ")[2])] = found["median"]
    large = {size: spent for size, spent in points.items() if size * other >= LARGE}
    return list(points), list(points.values()), slope(list(large), list(large.values()))
