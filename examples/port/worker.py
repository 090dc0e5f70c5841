"""What every stack's process does: read a list of jobs, and for each one train, record the losses and write the state.

A job is one unbroken stretch of a run in one framework. Everything it needs comes from files (the data, the spec as
JSON, the state), and everything it leaves is in files, so that a hand-over is nothing but the next job's `state_in`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from data import Data
from state import State

from multismooth import Spec

OURS = "multismooth"
OWN = "own"
OWN_LABELLED = "own, mean over the labelled"


@dataclass(frozen=True)
class Job:
    """Steps `first` to `last` (excluded) of one run; then, if asked, the loss of a batch without an update.

    `loss` is OURS, or OWN for the framework's own loss as its documentation shows it, or OWN_LABELLED for the same
    with the mean taken over the labelled pixels. `probe` is "next" (the batch of step `last`), "all" (the whole set)
    or "". Without `state_out` no state is written.
    """

    loss: str
    dtype: str
    first: int
    last: int
    state_in: str
    state_out: str
    record: str
    probe: str = ""

    def ticks(self) -> int:
        """How many lines of progress it prints."""
        return self.last - self.first + bool(self.probe)


@dataclass(frozen=True)
class Setup:
    """The numbers of the run. Our loss takes the spec, the frameworks' own losses the label smoothing."""

    spec: Spec
    label_smoothing: float
    learning_rate: float
    momentum: float


@dataclass(frozen=True)
class Task:
    """The jobs of one process, with what they share; `spec` and `data` are paths."""

    stack: str
    data: str
    spec: str
    label_smoothing: float
    learning_rate: float
    momentum: float
    jobs: list[Job]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Task:
        stored = json.loads(path.read_text())
        return cls(**{**stored, "jobs": [Job(**job) for job in stored["jobs"]]})

    def setup(self) -> Setup:
        spec = Spec.from_json(Path(self.spec).read_text())
        return Setup(spec, self.label_smoothing, self.learning_rate, self.momentum)


class Trainer(Protocol):
    """A model, an optimizer and a loss in one framework. Images come as [B, H, W, 1], labels as uint8 [B, H, W]."""

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Update the weights on this batch and return its loss from before the update."""

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The loss of this batch, without an update."""

    def state(self, step: int) -> State:
        """Weights and momentum in the neutral layout."""


def main(make_trainer: Callable[[Setup, Job, State], Trainer]) -> None:
    """Work through the task file named on the command line."""
    task = Task.load(Path(sys.argv[1]))
    data = Data.load(Path(task.data))
    for job in task.jobs:
        trainer = make_trainer(task.setup(), job, State.load(Path(job.state_in)))
        run_job(job, task.stack, trainer, data)


def run_job(job: Job, stack: str, trainer: Trainer, data: Data) -> None:
    for step in range(job.first, job.last):
        images, labels = data.batch(step)
        loss = trainer.step(images.astype(job.dtype), labels)
        append(job, stack=stack, kind="step", step=step, loss=loss)
    if job.probe:
        images, labels = data.batch(job.last) if job.probe == "next" else (data.images, data.labels)
        loss = trainer.evaluate(images.astype(job.dtype), labels)
        append(job, stack=stack, kind=job.probe, step=job.last, loss=loss)
    if job.state_out:
        trainer.state(job.last).save(Path(job.state_out))


def append(job: Job, **line: Any) -> None:
    """Add a line to the run's record, and print one that tells run.py of the progress."""
    with Path(job.record).open("a") as file:
        print(json.dumps(line), file=file)
    print("+", flush=True)
