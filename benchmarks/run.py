"""Time and memory of the losses beside one another.

    python benchmarks/run.py [--quick] [--frameworks torch jax] [--shapes LM1 tiny] [--out results/benchmarks]

Each framework is measured in a process of its own, its contenders taking turns; twice, since with many logits the
system's allocator, which hands every page out anew, takes longer than the loss: once as it is, and once told to keep
its memory ("warm", by glibc's settings). What is compared are ratios of medians within one process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import measure
from rich.console import Console
from rich.table import Table
from shapes import QUICK, SHAPES

FRAMEWORKS = ("torch", "jax", "tensorflow")
ALLOCATORS = {"default": {}, "warm": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "99999999999"}}
ROUNDS = 50
SECONDS = {False: 30.0, True: 4.0}
"""for one shape, but at least five rounds; quick or not"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes and few rounds, in two minutes")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"), help="folder of the figures")
    parser.add_argument("--worker", choices=ALLOCATORS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.shapes or (QUICK if arguments.quick else tuple(SHAPES))
    if arguments.worker:
        print(json.dumps(measured(arguments.frameworks[0], names, SECONDS[arguments.quick])))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for framework in arguments.frameworks:
        for allocator, settings in ALLOCATORS.items():
            started = time.monotonic()
            with console.status(f"{framework}, {allocator} allocator: {', '.join(names)}"):
                found = worker(framework, allocator, settings, names, arguments.quick)
            (arguments.out / f"{framework}-{allocator}.json").write_text(json.dumps(found, indent=1) + "\n")
            console.print(table(f"{framework}, {allocator} allocator, {time.monotonic() - started:.0f} s", found))


def worker(framework: str, allocator: str, settings: dict[str, str], names: tuple[str, ...], quick: bool) -> Any:
    command = [sys.executable, __file__, "--worker", allocator, "--frameworks", framework, "--shapes", *names]
    command += ["--quick"] if quick else []
    environment = os.environ | settings | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(framework: str, names: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """The figures of one process."""
    contenders = import_module(f"{framework}_calls")
    found = {}
    for name in names:
        times = measure.interleaved(contenders.calls(SHAPES[name]), ROUNDS, seconds)
        memory = contenders.memory(SHAPES[name])
        rows = {who: measure.summary(spent) | {"memory": memory.get(who)} for who, spent in times.items()}
        reference = rows[contenders.REFERENCE]["median"]
        found[name] = {who: row | {"ratio": row["median"] / reference} for who, row in rows.items()}
    return {"machine": measure.machine(), "reference": contenders.REFERENCE, "shapes": found}


def table(title: str, found: dict[str, Any]) -> Table:
    """Time in parts of the reference's, and memory in parts of the logits'."""
    shown = Table(title=title)
    shown.add_column("")
    for name in found["shapes"]:
        shown.add_column(name, justify="right")
    first = next(iter(found["shapes"].values()))
    for who in first:
        shown.add_row(who, *(cell(shape[who]) for shape in found["shapes"].values()))
    return shown


def cell(row: dict[str, Any]) -> str:
    memory = "" if row["memory"] is None else f", {row['memory']:.2f}"
    return f"{row['ratio']:.2f}{memory}"


if __name__ == "__main__":
    main()
