"""What implementations did with the vectors, as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multismooth_conformance import vectors
from multismooth_conformance.adapter import Array
from multismooth_conformance.plugin import OUTCOMES

NOT_RUN = "not run"
STATES = (*OUTCOMES, NOT_RUN)
RANK = ("unsupported", "passed", "gap", "failed")
"""Of several entries for one vector in one mode, the last of these is what happened."""

Entry = Mapping[str, Any]


class UnreadableError(ValueError):
    """A file that is no report of this suite's vectors."""


class Column(NamedTuple):
    """One implementation in one mode."""

    implementation: str
    mode: str
    entries: Mapping[str, Entry]
    """by the vector's id"""

    @property
    def name(self) -> str:
        return f"{self.implementation} {self.mode}"


class Note(NamedTuple):
    """The bug that a flag names."""

    bug: str
    link: str


class Failure(NamedTuple):
    """What an implementation got wrong, or a gap that it is known to have."""

    column: Column
    vector: vectors.Vector
    outcome: str

    @property
    def reason(self) -> str:
        return str(self.column.entries[self.vector.id].get("reason") or "")


class Summary(NamedTuple):
    """One implementation in one mode, in numbers."""

    column: Column
    counts: Mapping[str, int]
    """by state; they add up to the number of vectors"""
    loss: float
    """the worst error among the vectors that passed, in ULP"""
    gradient: float
    """the worst error among them, in parts of its bound"""


@dataclass(frozen=True)
class Results:
    """All columns; the arrays are [columns, vectors]."""

    columns: tuple[Column, ...]
    vectors: tuple[vectors.Vector, ...]
    states: Array
    """indices into ``STATES``"""
    loss: Array
    """ULP; NaN where there is none"""
    gradient: Array

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Results:
        """From the files that ``--multismooth-report`` wrote."""
        every = vectors.load()
        columns: list[Column] = []
        for path in paths:
            columns += _columns(path, {column.implementation for column in columns})
        shape = len(columns), len(every)
        states = np.full(shape, STATES.index(NOT_RUN))
        loss, gradient = np.full(shape, np.nan), np.full(shape, np.nan)
        places = {id: j for j, id in enumerate(every)}
        for i, column in enumerate(columns):
            for id, entry in column.entries.items():
                j = places[id]
                states[i, j] = STATES.index(entry["outcome"])
                loss[i, j], gradient[i, j] = (_number(entry.get(key)) for key in ("loss_ulp", "gradient"))
        return cls(tuple(columns), tuple(every.values()), states, loss, gradient)

    @property
    def implementations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column.implementation for column in self.columns))

    def of(self, implementation: str) -> list[int]:
        """The columns of an implementation."""
        return [i for i, column in enumerate(self.columns) if column.implementation == implementation]

    def summaries(self) -> list[Summary]:
        return [
            Summary(
                column,
                {state: int((self.states[i] == k).sum()) for k, state in enumerate(STATES)},
                float(np.max(self.loss[i], initial=0.0, where=~np.isnan(self.loss[i]))),
                float(np.max(self.gradient[i], initial=0.0, where=~np.isnan(self.gradient[i]))),
            )
            for i, column in enumerate(self.columns)
        ]

    def failures(self, outcome: str = "failed") -> list[Failure]:
        """Every vector with this outcome."""
        found = np.argwhere(self.states == STATES.index(outcome))
        return [Failure(self.columns[i], self.vectors[j], outcome) for i, j in found]


@cache
def notes() -> dict[str, Note]:
    """The bug behind every flag, in the order of the alphabet."""
    found: dict[str, Note] = {}
    for file in (files("multismooth_conformance") / "vectors" / vectors.VERSION).iterdir():
        if file.name.endswith(".json") and file.name != "schema.json":
            for flag, note in json.loads(file.read_text(encoding="utf-8"))["notes"].items():
                found[flag] = Note(**note)
    return dict(sorted(found.items()))


def _columns(path: Path, taken: set[str]) -> list[Column]:
    """One column for each mode. A second file of the same implementation is told by its name."""
    document = _document(path)
    name = document["adapter"]
    if name in taken:
        name = f"{name} ({path.stem})"
    if name in taken:
        raise UnreadableError(f"{path}: {name} is given twice")
    return [Column(name, mode, _merged(document["results"], mode)) for mode in document["modes"]]


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fits = all({row["outcome"]} <= {*OUTCOMES} and row["mode"] in document["modes"] for row in document["results"])
        ids = {row["id"] for row in document["results"]}
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: cannot be read: {error}") from None
    except (KeyError, TypeError):
        fits, ids = False, set()
    if not fits or not isinstance(document.get("adapter"), str):
        raise UnreadableError(f"{path}: is not what --multismooth-report writes")
    unknown = sorted(map(str, ids - vectors.load().keys()))
    if unknown:
        raise UnreadableError(f"{path}: {unknown[0]} is no vector of this suite; run its version again")
    return document


def _merged(rows: Sequence[Entry], mode: str) -> dict[str, Entry]:
    """The entries of a mode. Several of one vector become one, with the worst outcome."""
    found: dict[str, Entry] = {}
    for row in rows:
        if row["mode"] == mode:
            before = found.get(row["id"], row)
            worst = max(before, row, key=lambda entry: RANK.index(entry["outcome"]))
            found[row["id"]] = {**before, **row, "outcome": worst["outcome"]}
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
