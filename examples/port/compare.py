"""How far two runs are apart, and what that says about (a), the stacks, and (b), the hand-over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from plan import DTYPES, ROUTE, STACKS, Plan
from state import NAMES, Arrays, State

BOUNDS = {"float32": 1e-4, "float64": 1e-9}


@dataclass(frozen=True)
class Row:
    """One run against the others: the worst relative difference of its losses and of its final weights."""

    run: str
    dtype: str
    final_loss: float
    farthest: str
    losses: float
    weights: float

    @property
    def bound(self) -> float:
        return BOUNDS[self.dtype]

    @property
    def ok(self) -> bool:
        return max(self.losses, self.weights) <= self.bound

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bound": self.bound, "ok": self.ok}


@dataclass(frozen=True)
class Seam:
    """The loss of one batch with the same weights, by the framework before a hand-over and by the one after it."""

    step: int
    giver: str
    taker: str
    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before

    def factor(self) -> str:
        """The ratio for people: what is nearly 1 with its distance from it."""
        if self.ratio == 1:
            return "1"
        return f"1 ({self.ratio - 1:+.0e})" if abs(self.ratio - 1) < 1e-3 else f"{self.ratio:.4f}"


Record = list[dict[str, Any]]


def read_record(plan: Plan, run: str, dtype: str) -> Record:
    return [json.loads(line) for line in plan.record(run, dtype).read_text().splitlines()]


def losses(record: Record) -> np.ndarray:
    """The loss of each step in order."""
    steps = {line["step"]: line["loss"] for line in record if line["kind"] == "step"}
    return np.array([steps[step] for step in sorted(steps)])


def loss_difference(one: np.ndarray, other: np.ndarray) -> float:
    """The worst relative difference of one step; infinite if a loss is not finite, because NaN agrees with nothing."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return np.inf
    larger = np.maximum(np.abs(one), np.abs(other))
    return float((np.abs(one - other) / np.where(larger > 0, larger, 1)).max())


def weight_difference(one: Arrays, other: Arrays) -> float:
    """The largest absolute difference of a weight, relative to the largest weight."""
    left, right = (np.concatenate([arrays[name].ravel() for name in NAMES]) for arrays in (one, other))
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return np.inf
    return float(np.abs(left - right).max() / np.abs(right).max())


@dataclass(frozen=True)
class Run:
    """The losses and the last weights of one whole run."""

    losses: np.ndarray
    weights: Arrays

    def against(self, others: Mapping[str, Run]) -> tuple[str, float, float]:
        """Which run is farthest, and the worst differences of losses and of weights."""
        losses = {name: loss_difference(self.losses, other.losses) for name, other in others.items()}
        weights = {name: weight_difference(self.weights, other.weights) for name, other in others.items()}
        farthest = max(others, key=lambda name: max(losses[name], weights[name]))
        return farthest, max(losses.values()), max(weights.values())


def read_run(plan: Plan, run: str, dtype: str) -> Run:
    weights = State.load(plan.state(run, dtype, plan.steps)).weights
    return Run(losses(read_record(plan, run, dtype)), weights)


def read_wholes(plan: Plan, dtype: str) -> dict[str, Run]:
    return {stack: read_run(plan, f"whole-{stack}", dtype) for stack in STACKS}


def compare_stacks(plan: Plan) -> list[Row]:
    """(a): each stack against the three others."""
    rows = []
    for dtype in DTYPES:
        runs = read_wholes(plan, dtype)
        for stack, run in runs.items():
            others = {name: other for name, other in runs.items() if name != stack}
            rows.append(Row(stack, dtype, run.losses[-1], *run.against(others)))
    return rows


def compare_handover(plan: Plan) -> list[Row]:
    """(b): the run that changes hands against the unbroken run of every stack."""
    rows = []
    for dtype in DTYPES:
        run = read_run(plan, "handover", dtype)
        rows.append(Row("handed over", dtype, run.losses[-1], *run.against(read_wholes(plan, dtype))))
    return rows


def find_seams(plan: Plan, run: str, dtype: str) -> list[Seam]:
    """At each hand-over, the giver's probe and the loss that the taker reports for its first step."""
    record = read_record(plan, run, dtype)
    probes = {line["step"]: line["loss"] for line in record if line["kind"] == "next"}
    steps = {line["step"]: line["loss"] for line in record if line["kind"] == "step"}
    edges = zip((plan.first, plan.second), pairwise(ROUTE), strict=True)
    return [Seam(step, giver, taker, probes[step], steps[step]) for step, (giver, taker) in edges]


def labelled_seams(plan: Plan) -> list[Seam]:
    """The own losses at the same weights, if each of them takes its mean over the labelled pixels."""
    looks = {(line["stack"], line["step"]): line["loss"] for line in read_record(plan, "own-labelled", "float64")}
    edges = zip((plan.first, plan.second), pairwise(ROUTE), strict=True)
    return [Seam(step, giver, taker, looks[giver, step], looks[taker, step]) for step, (giver, taker) in edges]


def final_losses(plan: Plan) -> dict[str, float]:
    """The loss of all images after the last step."""
    looks = {}
    for run in ("whole-torch", "handover", "own-whole", "own-handover"):
        record = read_record(plan, run, "float64")
        looks[run] = next(line["loss"] for line in record if line["kind"] == "all")
    return looks
