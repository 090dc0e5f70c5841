"""One process of one framework: measures its cells, and writes a line of JSON when each begins and when it is done."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import exact
import numpy as np
from measure import digits, interleaved, summary
from options import option_of
from peers import Unfit
from shapes import arrays
from tasks import FRAMEWORKS, KINDS, PROCESSES, Task, tasks

SECONDS = {"full": 3.0, "quick": 0.5}
"""for one cell, but at least five rounds"""
LOSSES_AGREE = {"float32": 1e-4, "bfloat16": 5e-2}
"""relative difference from the reference's"""
OURS = "multismooth"
UNLIKE = "no smoothing"
"""ends the name of what computes another loss, since it has no other"""


def main() -> None:
    arguments = options().parse_args()
    quick, chosen = arguments.quick, re.compile(arguments.only)
    for task in tasks(arguments.process, quick, arguments.kinds, arguments.shapes):
        say(begins=str(task))
        room = import_module(f"{arguments.framework}_room.{task.room}")
        say(task=task, reference=room.REFERENCE, rows=measured(room, arguments.process, task, quick, chosen))


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("process", choices=PROCESSES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--shapes", nargs="*", default=())
    parser.add_argument("--only", default="")
    return parser


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def measured(room: Any, process: str, task: Task, quick: bool, chosen: re.Pattern[str]) -> dict[str, Any]:
    """The figures of one cell by contender; of one that does not run, why."""
    calls = room.contenders(task.shape, task.part)
    few = task.few(process)
    names = getattr(room, few) if few else calls
    calls = {name: call for name, call in calls.items() if name in names and chosen.search(name)}
    judge = error_of(task) if task.kind == "accuracy" else loss_of
    found = {name: first(name, call, judge) for name, call in calls.items()}
    rows: dict[str, Any] = {name: {"reason": reason} for name, reason in found.items() if isinstance(reason, str)}
    ran = {name: call for name, call in calls.items() if name not in rows}
    if task.kind == "accuracy":
        return rows | {name: {"error": digits(found[name])} for name in ran if name != "floor"}
    if process == "memory":
        rows |= {name: peak(call, task) for name, call in ran.items()}
    else:
        times = interleaved(ran, SECONDS["quick" if quick else "full"])
        rows |= {name: summary(spent) | curve(ran[name]) for name, spent in times.items()}
    losses = {name: getattr(call, "losses", [found[name]]) for name, call in ran.items()}
    for reference, comparable in of_one_loss(task, room.REFERENCE, losses):
        rows |= {name: {"reason": reason} for name, reason in strangers(task, reference, comparable)}
    return {name: rows[name] for name in calls}


def first(name: str, call: Any, judge: Callable[[Any], float | None]) -> float | str | None:
    """What is to be known of the first run, which also compiles; or why it fails, where the loss is not ours."""
    try:
        return judge(call())
    except Unfit as why:
        return str(why)
    except Exception as error:
        if name.startswith(OURS):
            raise
        return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def loss_of(result: Any) -> float | None:
    return None if result[0] is None else float(result[0])


def error_of(task: Task) -> Callable[[Any], float | None]:
    """Of the gradient, the worst."""
    true = exact.gradient(*arrays(task.shape))
    return lambda result: None if result[0] is None else exact.worst_error(np.asarray(result[1]), true)


def peak(call: Any, task: Task) -> dict[str, Any]:
    held = call.peak()
    return {} if held is None else {"bytes": held, "peak": digits(held / task.shape.bytes)}


def curve(call: Any) -> dict[str, Any]:
    """Of a training run its losses."""
    return {"losses": call.losses} if hasattr(call, "losses") else {}


def of_one_loss(task: Task, reference: str, losses: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All of them, beside the reference's; or those with an option, beside the first that has it."""
    if task.kind != "options":
        yield reference, losses
        return
    for option in dict.fromkeys(map(option_of, losses)):
        same = {name: found for name, found in losses.items() if option_of(name) == option}
        yield next(iter(same)), same


def strangers(task: Task, reference: str, losses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who computes another loss than the reference, at any step; raise where that is ours."""
    bound = LOSSES_AGREE[getattr(task.shape, "dtype", "float32")]
    for name, found in losses.items():
        if reference not in losses or found[0] is None or name.endswith(UNLIKE):
            continue
        if not np.allclose(found, losses[reference], rtol=bound, atol=0):
            if name.startswith(OURS):
                raise AssertionError(f"{task}: the loss of {name} is {found}, and of {reference} {losses[reference]}")
            yield name, f"computes another loss: {found[-1]:.6g} in the place of {losses[reference][-1]:.6g}"


if __name__ == "__main__":
    main()
