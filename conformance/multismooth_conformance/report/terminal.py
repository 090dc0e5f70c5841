"""The results as one table in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from multismooth_conformance.report.pairs import OUTPUTS, Matrix
from multismooth_conformance.report.results import STATES, Failure, Results, Summary
from multismooth_conformance.tolerances import PAIR

WIDTH = 140
"""where the output is no terminal, and has no width of its own"""
NAMED = 10
"""failures of an implementation that are named; the page names all"""
STYLES = {"failed": "bold red", "gap": "yellow", "unsupported": "dim", "not run": "dim"}


def show(results: Results, apart: Sequence[Matrix]) -> None:
    """Print the table, what failed, and the worst difference between any two."""
    # Names are printed as they are: no markup, no colours by guess.
    plain = None if sys.stdout.isatty() else WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=plain)
    console.print(_table(results.summaries()))
    for text in (*_failed(results.failures()), *map(sentence, apart)):
        console.print(text, soft_wrap=True)


def _table(summaries: Sequence[Summary]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("implementation", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    for state in STATES:
        table.add_column(state, justify="right", style=STYLES.get(state, ""))
    table.add_column("loss, ULP", justify="right")
    table.add_column("gradient, of its bound", justify="right")
    for implementation, group in groupby(summaries, lambda summary: summary.column.implementation):
        for i, summary in enumerate(group):
            counts = [str(summary.counts[state]) if summary.counts[state] else "·" for state in STATES]
            errors = f"{summary.loss:.2f}", f"{summary.gradient:.2f}"
            table.add_row("" if i else implementation, summary.column.mode, *counts, *errors)
    return table


def _failed(failures: Sequence[Failure]) -> Iterator[str]:
    for name, group in groupby(failures, lambda failure: failure.column.name):
        ids = [failure.vector.id for failure in group]
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        yield f"{name} failed {', '.join(ids[:NAMED])}{more}"


def sentence(matrix: Matrix) -> str:
    """The worst pair of a matrix."""
    what, limit = f"{matrix.dtype}, {OUTPUTS[matrix.output]}", PAIR[matrix.dtype]
    if not matrix.pairs:
        return f"{what}: no two implementations to compare"
    difference, (left, right), vector = matrix.ranked()[0]
    return (
        f"{what}: no two differ by more than {difference:.2g} of what is allowed ({limit:.0e} of the scale): "
        f"{left} and {right} on {vector}"
    )
