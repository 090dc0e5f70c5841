"""Start the stacks' processes, two at a time, and show how far they are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

from plan import LANES, Part
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from worker import Task

HERE = Path(__file__).parent
PROGRAMS: dict[str, tuple[str, dict[str, str]]] = {
    "torch": ("torch_stack.py", {}),
    "flax": ("flax_stack.py", {}),
    "keras-tf": ("keras_stack.py", {"KERAS_BACKEND": "tensorflow"}),
    "keras-jax": ("keras_stack.py", {"KERAS_BACKEND": "jax"}),
}
SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""On the CPU, where every stack has float64, and with one thread each, so that a sum has one order."""


class StackError(Exception):
    """A stack's process has failed."""


class Launcher:
    """Runs each task in a process of its own."""

    def __init__(self, tasks: dict[Part, Task], folder: Path, console: Console) -> None:
        self.tasks, self.folder, self.console = tasks, folder, console
        self.seconds: dict[Part, float] = {}
        self.running: list[subprocess.Popen[str]] = []
        self.progress = Progress(
            TextColumn("{task.description:<17}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps and looks"),
            TimeElapsedColumn(),
            console=console,
        )
        self.bars = {part: self._bar(part, task) for part, task in tasks.items()}

    def run(self) -> dict[Part, float]:
        """Do all tasks; the seconds that each took.

        Raises:
            StackError: one failed; the others are ended.
        """
        with self.progress, ThreadPoolExecutor(len(LANES)) as pool:
            lanes = [pool.submit(self._run_lane, lane) for lane in LANES]
            try:
                wait(lanes, return_when=FIRST_EXCEPTION)
                for lane in lanes:
                    if lane.done():
                        lane.result()
            finally:
                self._end_all()
        return self.seconds

    def _bar(self, part: Part, task: Task) -> TaskID:
        return self.progress.add_task(str(part), start=False, total=sum(job.ticks() for job in task.jobs))

    def _run_lane(self, lane: tuple[Part, ...]) -> None:
        for part in lane:
            self._run_part(part)

    def _run_part(self, part: Part) -> None:
        started = time.monotonic()
        self.progress.start_task(self.bars[part])
        log = self.folder / f"{part.stack}-{part.share}.log"
        with log.open("w") as errors, self._start(part, errors) as process:
            self.running.append(process)
            self._follow(part, process)
        if process.returncode != 0:
            raise StackError(f"{part} ended with code {process.returncode}; the end of {log}:\n{tail(log)}")
        self.seconds[part] = time.monotonic() - started
        self.progress.stop_task(self.bars[part])
        if not self.console.is_terminal:  # no bars there, so a log shows at least who is done
            self.console.print(f"{part} done in {self.seconds[part]:.0f} s", highlight=False)

    def _start(self, part: Part, errors: IO[str]) -> subprocess.Popen[str]:
        program, extra = PROGRAMS[part.stack]
        task_file = self.folder / f"{part.stack}-{part.share}.task.json"
        self.tasks[part].save(task_file)
        return subprocess.Popen(
            [sys.executable, HERE / program, task_file],
            env=os.environ | SURROUNDINGS | extra,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def _follow(self, part: Part, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "+\n":
                self.progress.advance(self.bars[part])

    def _end_all(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.terminate()


def tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
