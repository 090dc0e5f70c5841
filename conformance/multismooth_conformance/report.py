"""One table from the results of any number of implementations: ``python -m multismooth_conformance FILE …``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multismooth_conformance import vectors
from multismooth_conformance.plugin import OUTCOMES
from multismooth_conformance.tolerances import PAIR, compute_dtype


class Column(NamedTuple):
    """One implementation in one mode."""

    name: str
    results: Mapping[str, Mapping[str, Any]]


class Pair(NamedTuple):
    """How far two implementations are apart, in parts of what is allowed between any two."""

    difference: float
    names: tuple[str, str]
    vector: str


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m multismooth_conformance", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="what --multismooth-report wrote")
    columns = [column for file in parser.parse_args(arguments).files for column in _columns(file)]
    print("\n".join(_table(columns)))
    worst = {dtype: _worst_pair(columns, dtype) for dtype in PAIR}
    for dtype, pair in worst.items():
        print(_sentence(dtype, pair))
    failed = any(row["outcome"] == "failed" for column in columns for row in column.results.values())
    return int(failed or any(pair is not None and pair.difference > 1 for pair in worst.values()))


def _columns(file: Path) -> list[Column]:
    document = json.loads(file.read_text(encoding="utf-8"))
    return [
        Column(
            f"{document['adapter']} {mode}",
            {row["id"]: row for row in document["results"] if row["mode"] == mode},
        )
        for mode in document["modes"]
    ]


def _table(columns: Sequence[Column]) -> list[str]:
    width = max(len(column.name) for column in columns)
    head = f"{'implementation':{width}}  {'vectors':>7}" + "".join(f"  {name:>11}" for name in OUTCOMES)
    lines = [f"{head}  {'loss, ULP':>9}  {'gradient, of bound':>18}", ""]
    for name, results in columns:
        counts = [sum(row["outcome"] == outcome for row in results.values()) for outcome in OUTCOMES]
        loss, gradient = (
            max((row[key] for row in results.values() if key in row), default=0.0) for key in ("loss_ulp", "gradient")
        )
        numbers = "".join(f"  {count:>11}" for count in counts)
        lines.append(f"{name:{width}}  {len(results):>7}{numbers}  {loss:>9.2f}  {gradient:>18.2f}")
    return lines


def _worst_pair(columns: Sequence[Column], dtype: str) -> Pair | None:
    """The two implementations that differ most in a loss, over the vectors that both pass."""
    worst: Pair | None = None
    for vector in vectors.load().values():
        if vector.scale is None or compute_dtype(str(vector.inputs.arrays["logits"].dtype)).name != dtype:
            continue
        passed = [
            (column.name, np.asarray(column.results[vector.id]["loss"], np.longdouble))
            for column in columns
            if column.results.get(vector.id, {}).get("outcome") == "passed"
        ]
        scale = np.maximum(vector.scale["loss"].values, np.finfo(dtype).smallest_normal)
        for (left, a), (right, b) in combinations(passed, 2):
            finite = np.isfinite(a) & np.isfinite(b)
            apart = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)) / (scale * PAIR[dtype])
            size = float(np.max(apart, initial=0.0))
            if worst is None or size > worst.difference:
                worst = Pair(size, (left, right), vector.id)
    return worst


def _sentence(dtype: str, pair: Pair | None) -> str:
    if pair is None:
        return f"{dtype}: nothing to compare"
    left, right = pair.names
    return (
        f"{dtype}: no two losses differ by more than {pair.difference * PAIR[dtype]:.1e} of their scale "
        f"({PAIR[dtype]:.0e} is allowed): {left} and {right} on {pair.vector}"
    )
