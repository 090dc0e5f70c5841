"""Looks for calls that an implementation gets wrong, for as long as it is told, and keeps what it finds.

    python conformance/fuzz.py --minutes 60 --adapter multismooth_conformance.adapters.reference:ADAPTER

Hypothesis draws the calls and shrinks what fails, mpmath says what is right, the suite's own bounds judge. A call that
an adapter gets wrong becomes a vector of ``vectors/v1/found.json``, which is a source like ``by_hand.json``: it only
grows, and is checked against mpmath. Exits 1 if it found something.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import hypothesis
import numpy as np
from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types
from rich.console import Console
from rich.markup import escape

from generator import arrays, oracle
from generator.files import document, finished, render
from generator.vector import Vector, problem_of
from multismooth_conformance import judge, tolerances, vectors
from multismooth_conformance.adapter import Adapter, Array, completed, unsupported
from multismooth_conformance.strategies import Call, calls

FOUND = Path(vectors.__file__).parent / "vectors" / vectors.VERSION / "found.json"
ROUND = 20
"""Calls drawn from one seed; between rounds an adapter may sit out, never within: Hypothesis repeats what it did."""
ENOUGH = 2
"""Finds of one kind that are shrunk and kept. More of them are counted."""
REPORT = 15
"""Seconds between two lines of progress."""
MANY = 2000
"""Terms in the loss times numbers in an input: more derivatives by differences take seconds."""

SETTINGS = hypothesis.settings(
    max_examples=ROUND,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Wrong(Exception):
    """An adapter is wrong."""

    def __init__(self, adapter: str, what: str) -> None:
        super().__init__(f"{adapter}: {what}")
        self.kind = f"{adapter}: {what.partition('[')[0].partition(' is ')[0][:60]}"


# --- The truth ----------------------------------------------------------------------------------------------------


def source(id: str, comment: str, call: Call) -> Vector:
    """A call in the generator's words."""
    inputs = call.inputs
    given = {name: exact(array) for name, array in inputs.arrays.items()}
    vector = Vector(id, comment, dict(inputs.spec), inputs.axis, given, exact(call.cotangent))
    return replace(vector, without=tuple(left_open(vector)))


def exact(array: Array) -> arrays.Array:
    flat = array.reshape(-1)
    numbers = flat if array.dtype.kind in "iub" else flat.astype(np.float64)
    return arrays.Array(str(array.dtype), array.shape, tuple(numbers.tolist()))


def left_open(vector: Vector) -> list[str]:
    """The inputs whose derivative is infinite somewhere, rounded to a narrower dtype, or one of very many."""
    problem = problem_of(vector)
    live = [position for position in problem.positions if position.counts]
    rows = [oracle.row(position) for position in live]
    losses = [oracle.position_loss(problem, position, row) for position, row in zip(live, rows, strict=True)]
    infinite = any(not mp.isfinite(x) for p in live for x, exists in zip(p.logits, p.allowed, strict=True) if exists)
    targets = [oracle.target(problem, position) for position in live]
    prior, kl = problem.prior or (), problem.spec["kl"]
    terms = math.prod(vector.inputs["logits"].shape)
    reasons = {
        "labels": infinite or (kl and any(q_k == 0 for q in targets for q_k in q)),
        "sample_weight": not all(mp.isfinite(loss) for loss in losses) or divides_by_lost_weights(problem),
        "class_weight": infinite,
        "prior": infinite or (kl and 0 in prior) or any(nobody_receives(problem, p) for p in problem.positions),
    }
    kind = tolerances.compute_dtype(vector.dtype)
    for name, array in vector.inputs.items():
        if name in reasons:
            reasons[name] |= vectors.dtype(array.dtype).itemsize < kind.itemsize or terms * len(array.data) > MANY
    return [name for name, is_open in reasons.items() if name in vector.inputs and is_open]


def divides_by_lost_weights(problem: oracle.Problem) -> bool:
    """Whether a weight of 0 on what is no number is part of a divisor: its derivative is as if its loss were 0."""
    weights = problem.spec["denominator"] in ("weights", "sequences", "nonempty_sequences")
    unweighted = [p for p in problem.positions if p.mask and p.weight == 0]
    return weights and not all(mp.isfinite(oracle.position_loss(problem, p, oracle.row(p))) for p in unweighted)


def nobody_receives(problem: oracle.Problem, position: oracle.Position) -> bool:
    c = oracle.receivers(problem, position)
    if problem.spec["spread"] == "others" and position.label is not None and position.label_in_range:
        c[position.label] = oracle.ZERO
    return not any(c)


# --- The judgement ------------------------------------------------------------------------------------------------


def outputs(adapter: Adapter, mode: str, vector: vectors.Vector) -> Array:
    """The loss, if everything is right."""
    try:
        loss, gradients = judge.run(adapter, vector.inputs, vector.cotangent, mode)
        judge.judge(vector, loss, gradients)
        given = {name: array for name, array in vector.inputs.arrays.items() if name != "normalizer"}
        totals = adapter.totals(vector.inputs._replace(arrays=given))
        if totals is not None:
            judge.judge_totals(vector, totals)
    except AssertionError as error:
        raise Wrong(adapter.name, str(error)) from error
    except Exception as error:
        raise Wrong(adapter.name, f"{type(error).__name__}: {error}") from error
    return loss


def agree(vector: vectors.Vector, losses: Mapping[str, Array]) -> None:
    """Raises unless any two of the losses are as near as any two implementations must be."""
    assert vector.scale is not None
    for (a, first), (b, second) in combinations(losses.items(), 2):
        apart = np.abs(np.where(first == second, 0, first.astype(np.longdouble) - second))
        kind = tolerances.compute_dtype(str(vector.inputs.arrays["logits"].dtype))
        scale = np.maximum(vector.scale["loss"].values, np.finfo(kind).smallest_normal)
        if (apart > tolerances.PAIR[str(kind)] * scale).any():
            raise Wrong(f"{a} and {b}", f"differ by {(apart / scale).max()} of the scale")


# --- The search ---------------------------------------------------------------------------------------------------


class Find(NamedTuple):
    call: Call
    wrong: Wrong


class Fuzz:
    """A search with a time limit."""

    def __init__(self, adapters: Sequence[Adapter], seconds: float, seed: int) -> None:
        self.adapters = adapters
        self.modes = {adapter.name: adapter.modes[0] for adapter in adapters}
        self.seeds = random.Random(seed)
        self.begin = time.monotonic()
        self.seconds = seconds
        self.spent = dict.fromkeys(self.modes, 0.0)
        self.judged = Counter[str]()
        self.kinds = Counter[str]()
        self.finds: list[Find] = []
        self.console = Console()
        self.reported = self.begin

    def run(self) -> list[Find]:
        """Rounds until the time is over."""
        while self._left() > 0:
            self.round()
        self._report()
        return self.finds

    def round(self) -> None:
        """A few calls. An adapter sits out while it has had more than its share of the time."""
        share = (time.monotonic() - self.begin) / len(self.adapters)
        turn = [adapter for adapter in self.adapters if self.spent[adapter.name] <= share]
        find = self._search(turn or self.adapters, self.seeds.getrandbits(32))
        if find is not None:
            self.finds.append(find)
            keep(find)
            self.console.print("[red]found[/]", escape(str(find.wrong)), highlight=False)

    def _left(self) -> float:
        return self.begin + self.seconds - time.monotonic()

    def _report(self) -> None:
        counts = ", ".join(f"{adapter.name} {self.judged[adapter.name]}" for adapter in self.adapters)
        again = f"; kinds {dict(self.kinds)}" if self.kinds else ""
        self.reported = time.monotonic()
        minutes = (self.reported - self.begin) / 60
        self.console.print(f"{minutes:6.1f} min: {counts}; found {len(self.finds)}{again}", highlight=False)

    def _search(self, adapters: Sequence[Adapter], seed: int) -> Find | None:
        found: Find | None = None

        @hypothesis.seed(seed)
        @SETTINGS
        @hypothesis.given(calls())
        def all_are_right(call: Call) -> None:
            nonlocal found
            if self._left() < 0 and found is None:
                return
            try:
                self._judge(adapters, call)
            except Wrong as wrong:
                found = Find(call, wrong)
                raise

        try:
            all_are_right()
        except Wrong:
            assert found is not None
            self.kinds[found.wrong.kind] += 1
        return found

    def _judge(self, adapters: Sequence[Adapter], call: Call) -> None:
        if time.monotonic() > self.reported + REPORT:
            self._report()
        vector = vectors._vector("found.json", source("found", "drawn", call).to_json())
        losses = {}
        for adapter in adapters:
            if unsupported(adapter, call.inputs) is not None:
                continue
            begin = time.monotonic()
            try:
                losses[adapter.name] = outputs(adapter, self.modes[adapter.name], vector)
            except Wrong as wrong:
                self._raise_if_new(wrong)
            self.spent[adapter.name] += time.monotonic() - begin
            self.judged[adapter.name] += 1
        try:
            agree(vector, losses)
        except Wrong as wrong:
            self._raise_if_new(wrong)

    def _raise_if_new(self, wrong: Wrong) -> None:
        if self.kinds[wrong.kind] < ENOUGH:
            raise wrong
        self.kinds[wrong.kind] += 1


def keep(find: Find) -> None:
    """Append the call as a vector."""
    kept = json.loads(FOUND.read_text(encoding="utf-8"))["vectors"] if FOUND.exists() else []
    vector = source(f"found-{len(kept) + 1:03d}", f"Found by fuzzing: {find.wrong}", find.call)
    FOUND.write_text(render(document([*kept, finished(vector)])), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--adapter", action="append", required=True, metavar="MODULE:NAME", dest="adapters")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args(arguments)
    # A truth of 1e-9000 has no long double but 0.
    warnings.filterwarnings("ignore", "overflow encountered in conversion from string")
    print(f"seed {options.seed}")
    adapters = [load(name) for name in options.adapters]
    finds = Fuzz(adapters, options.minutes * 60, options.seed).run()
    return 1 if finds else 0


def load(name: str) -> Adapter:
    module, _, attribute = name.partition(":")
    return completed(getattr(import_module(module), attribute or "ADAPTER"))


if __name__ == "__main__":
    sys.exit(main())
