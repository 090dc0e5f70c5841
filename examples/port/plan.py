"""Which stretch of which run every stack's process has to do, and in which files the stretches meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from worker import OURS, OWN, OWN_LABELLED, Job

DTYPES = ("float32", "float64")
STACKS = ("torch", "flax", "keras-tf", "keras-jax")
ROUTE = ("torch", "flax", "keras-tf")


class Part(NamedTuple):
    """What one process does: a stack's third of the runs that change hands, or its whole runs."""

    stack: str
    share: str

    def __str__(self) -> str:
        return f"{self.stack}, {self.share}"


LANES = (
    (*(Part(stack, "third") for stack in ROUTE), Part("torch", "whole")),
    (Part("keras-jax", "whole"), Part("flax", "whole"), Part("keras-tf", "whole")),
)
"""Two processes at a time; in a lane one after the other, because the thirds wait for each other's files."""


@dataclass(frozen=True)
class Plan:
    """The runs over `steps` steps; the route changes hands before step `first` and before step `second`.

    A run's name is its file name: "whole-<stack>" and "handover" with our loss, and with the frameworks' own losses
    "own-whole" (in torch), "own-handover", and "own-labelled" (losses at the hand-overs, no training).
    """

    folder: Path
    steps: int

    @property
    def first(self) -> int:
        return self.steps // 3

    @property
    def second(self) -> int:
        return 2 * self.steps // 3

    def state(self, run: str, dtype: str, step: int) -> Path:
        return self.folder / f"{run}-{dtype}-step{step}.npz"

    def record(self, run: str, dtype: str) -> Path:
        return self.folder / f"{run}-{dtype}.jsonl"

    def jobs(self, part: Part) -> list[Job]:
        return list(self._third(part.stack) if part.share == "third" else self._whole(part.stack))

    def bounds(self, stack: str) -> tuple[int, int]:
        """The steps that a stack of the route takes."""
        edges = (0, self.first, self.second, self.steps)
        place = ROUTE.index(stack)
        return edges[place], edges[place + 1]

    def _third(self, stack: str) -> Iterator[Job]:
        first, last = self.bounds(stack)
        probe = "next" if last < self.steps else ""
        for dtype in DTYPES:
            yield self._stretch("handover", OURS, dtype, first, last, probe)
        yield self._stretch("own-handover", OWN, "float64", first, last, probe)
        for step in (self.first, self.second):
            if first <= step <= last:
                yield self._look("own-labelled", OWN_LABELLED, step, "own-handover", "next")

    def _whole(self, stack: str) -> Iterator[Job]:
        for dtype in DTYPES:
            yield self._stretch(f"whole-{stack}", OURS, dtype, 0, self.steps)
        if stack == "torch":
            yield self._stretch("own-whole", OWN, "float64", 0, self.steps)
            yield from self._judge()

    def _judge(self) -> Iterator[Job]:
        """The loss of all images at the end of four runs, measured by torch so that they compare."""
        for run, loss in (("handover", OURS), ("whole-torch", OURS), ("own-handover", OWN), ("own-whole", OWN)):
            yield self._look(run, loss, self.steps, run, "all")

    def _stretch(
        self, run: str, loss: str, dtype: str, first: int, last: int, probe: str = "", origin: str = ""
    ) -> Job:
        state_in = str(self.state(origin or run, dtype, first))
        state_out = str(self.state(run, dtype, last))
        return Job(loss, dtype, first, last, state_in, state_out, str(self.record(run, dtype)), probe)

    def _look(self, run: str, loss: str, step: int, origin: str, probe: str) -> Job:
        """A loss without training, which leaves no state."""
        return replace(self._stretch(run, loss, "float64", step, step, probe, origin), state_out="")
