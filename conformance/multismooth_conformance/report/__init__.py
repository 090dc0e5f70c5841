"""Any number of results that ``--multismooth-report`` wrote, as one table in the terminal and one page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multismooth_conformance.report import page, terminal
from multismooth_conformance.report.pairs import differences
from multismooth_conformance.report.results import Results, UnreadableError


def main(files: Sequence[Path], html: Path | None = None) -> int:
    """1 if anything failed, or two implementations differ by more than is allowed; 2 if a file cannot be read."""
    try:
        results = Results.read(files)
    except UnreadableError as error:
        print(error)
        return 2
    apart = differences(results)
    terminal.show(results, apart)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page.render(results, apart), encoding="utf-8")
    return int(bool(results.failures()) or any(matrix.worst > 1 for matrix in apart))
