"""Implementations against flags: what each flag's vectors came to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from multismooth_conformance.report.results import STATES, Results, notes

EVERY = "every vector"


class Cell(NamedTuple):
    """The vectors of one flag, in all modes of one implementation."""

    passed: int
    failed: int
    unsupported: int
    gap: int
    not_run: int
    loss: float | None
    """the worst error in ULP, among the vectors that passed"""

    @property
    def supported(self) -> int:
        return self.passed + self.failed + self.gap

    @property
    def share(self) -> float:
        """Passed, of what is supported: a gap is not passed."""
        return self.passed / self.supported if self.supported else 0.0

    @property
    def kind(self) -> str:
        """The worst that happened."""
        if self.failed:
            return "failed"
        if self.gap:
            return "gap"
        if self.passed:
            return "passed"
        return "unsupported" if self.unsupported else "not-run"


def heat(results: Results) -> dict[str, list[Cell]]:
    """For every flag, and for all vectors at the top, a cell for each implementation."""
    flags = [EVERY, *notes()]
    member = np.array([[flag == EVERY or flag in vector.flags for flag in flags] for vector in results.vectors])
    cells = []
    for name in results.implementations:
        states, loss = results.states[results.of(name)], results.loss[results.of(name)]
        counts = [(states == k).sum(axis=0) @ member for k in range(len(STATES))]
        # [modes, vectors, flags]; -1 where nothing was measured
        measured = np.where(member & ~np.isnan(loss)[..., None], loss[..., None], -1.0).max(axis=(0, 1))
        cells.append([_cell([int(n[f]) for n in counts], float(measured[f])) for f in range(len(flags))])
    return {flag: [column[f] for column in cells] for f, flag in enumerate(flags)}


def _cell(counts: list[int], loss: float) -> Cell:
    named = dict(zip((state.replace(" ", "_") for state in STATES), counts, strict=True))
    return Cell(**named, loss=None if loss < 0 else loss)
