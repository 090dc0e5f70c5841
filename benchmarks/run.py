"""Time, memory and accuracy of the losses beside one another.

    python benchmarks/run.py [--quick] [--out results/benchmarks] [--frameworks torch jax] [--kinds losses]
                             [--shapes LM1 tiny] [--only REGEX]

Every framework has processes of its own, in which its contenders take turns. Two measure times, since with many logits
the system's allocator, which hands every page out anew, takes longer than the loss: once as it is, and once told to
keep its memory ("warm", by glibc's settings). A third measures bytes at the peak and the gradients' errors. What is
compared are ratios within one process. ``--quick`` leaves out the first, the large shapes and forward alone.

Writes ``benchmarks.json``; ``docs/benchmarks.py`` makes the page and its pictures of it. Where frameworks, kinds or
shapes are chosen, the other figures of this machine that the file has stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tables import tables
from tasks import FRAMEWORKS, KINDS, PROCESSES, processes, tasks

HERE = Path(__file__).parent
OUT = {False: Path("results/benchmarks"), True: Path("results/benchmarks-quick")}


def main() -> int:
    arguments = parse_arguments()
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    out = arguments.out or OUT[arguments.quick]
    found = figures(out / "benchmarks.json", arguments)
    with Progress(*columns, console=console) as progress:
        failed = [
            f"{framework}, {process}"
            for framework in arguments.frameworks
            for process in processes(arguments.quick)
            if not worker(framework, process, arguments, found, progress)
        ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for table in tables(found):
        console.print(table)
    console.print(f"figures: {out}/benchmarks.json")
    for name in failed:
        console.print(f"failed, its figures are not whole: {name}", style="bold red")
    return 1 if failed else 0


def figures(file: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Those that are there and stay: the cells that are not chosen, if they were measured here and in the same way."""
    found: dict[str, Any] = {"quick": arguments.quick, "machine": machine(), "frameworks": {}}
    everything = (tuple(arguments.frameworks), tuple(arguments.kinds), arguments.shapes) == (FRAMEWORKS, KINDS, [])
    if everything or arguments.only or not file.exists():
        return found
    there = json.loads(file.read_text(encoding="utf-8"))
    return there if all(there[name] == found[name] for name in ("quick", "machine")) else found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes and few rounds, in about two minutes")
    parser.add_argument("--out", type=Path, help="folder of the figures")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--shapes", nargs="+", default=[], help="such as LM1 or head; all by default")
    parser.add_argument("--only", default="", metavar="REGEX", help="contenders, by their names")
    return parser.parse_args()


def worker(
    framework: str, process: str, arguments: argparse.Namespace, found: dict[str, Any], progress: Progress
) -> bool:
    """Run one process, and put its figures in their places as they come; whether it came to its end."""
    chosen = tasks(process, arguments.quick, tuple(arguments.kinds), tuple(arguments.shapes))
    bar = progress.add_task(f"{framework}, {process}", total=len(chosen))
    command = [sys.executable, str(HERE / "worker.py"), framework, process, f"--only={arguments.only}"]
    command += ["--quick"] * arguments.quick + ["--kinds", *arguments.kinds, "--shapes", *arguments.shapes]
    out = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=environment(framework, process), text=True, stdout=out, stderr=log) as running,
    ):
        assert running.stdout is not None
        for line in filter(lambda line: line.startswith("{"), running.stdout):
            said = json.loads(line)
            if "begins" in said:
                progress.update(bar, description=f"{framework}, {process}: {said['begins']}")
            else:
                place(found, framework, process, said)
                progress.advance(bar)
        if running.wait():
            log.seek(0)
            progress.console.print(log.read(), markup=False, highlight=False, soft_wrap=True)
    progress.update(bar, description=f"{framework}, {process}")
    return running.returncode == 0


def environment(framework: str, process: str) -> dict[str, str]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return os.environ | PROCESSES[process] | quiet | {"KERAS_BACKEND": framework}


def place(found: dict[str, Any], framework: str, process: str, said: dict[str, Any]) -> None:
    """By framework, kind, shape, part, process and contender."""
    cell = found["frameworks"].setdefault(framework, {})
    for name in said["task"]:
        cell = cell.setdefault(name, {})
    cell |= {"reference": said["reference"], process: said["rows"]}


if __name__ == "__main__":
    sys.exit(main())
