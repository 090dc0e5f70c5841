"""What one process measures, cell by cell."""

from __future__ import annotations

from typing import Any, NamedTuple

from shapes import ACCURACY, GROWTH, LINEAR, LOSSES, OPTIONS, TRAINING

FRAMEWORKS = ("torch", "jax", "tensorflow")
PROCESSES: dict[str, dict[str, str]] = {
    "default": {},
    "warm": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "99999999999"},
    "memory": {"TF_CPU_ALLOCATOR_USE_BFC": "true"},
}
"""Times with the system's allocator as it is; times where it keeps its memory; and no times, but bytes and errors.
TensorFlow counts what it allocates on a CPU with an allocator of its own only."""

SHAPES: dict[str, dict[str, Any]] = {
    "losses": LOSSES,
    "options": OPTIONS,
    "linear": LINEAR,
    "training": TRAINING,
    "growth": GROWTH,
    "accuracy": ACCURACY,
}
KINDS = tuple(SHAPES)
KINDS_OF = {
    "default": ("losses", "linear", "training"),
    "warm": ("losses", "options", "growth", "linear", "training"),
    "memory": ("losses", "options", "accuracy", "linear", "training"),
}
QUICK: dict[str, tuple[str, ...]] = {
    "losses": ("seg1", "cls", "tiny"),
    "options": (),
    "linear": ("small head",),
    "training": ("short",),
    "growth": ("N = 256", "N = 4096", "K = 4096", "K = 16384"),
    "accuracy": ("K = 32768, σ = 8",),
}
FULL = {kind: tuple(shapes) for kind, shapes in SHAPES.items()} | {
    "linear": ("head",),
    "training": ("text",),
}
"""The large head takes minutes for each contender, and a product of bfloat16 matrices as long on most processors: they
are measured where they are asked for by name."""
LARGE = ("LM2", "seg2", "large head")
"""a step of these takes seconds"""


class Task(NamedTuple):
    """One cell: the contenders of a kind at a shape, forward alone or with the gradient."""

    kind: str
    name: str
    part: str

    @property
    def shape(self) -> Any:
        return SHAPES[self.kind][self.name]

    @property
    def room(self) -> str:
        """The file in a framework's folder that has the contenders."""
        return self.kind if self.kind in ("options", "linear", "training") else "losses"

    def few(self, process: str) -> str:
        """What a room calls the few contenders that are measured where all would take too long, or nothing."""
        if self.kind == "growth":
            return "GROWING"
        often = process == "default" and self.kind in ("losses", "linear")
        return "CORE" if often or self.name in LARGE else ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}, {self.part}"


def processes(quick: bool) -> tuple[str, ...]:
    return ("warm", "memory") if quick else tuple(PROCESSES)


def tasks(process: str, quick: bool, kinds: tuple[str, ...], names: tuple[str, ...]) -> list[Task]:
    """The cells of one process; those with these ``names`` where any are given."""
    chosen = QUICK if quick else FULL
    return [
        Task(kind, name, part)
        for kind in KINDS_OF[process]
        if kind in kinds
        for name in (names or chosen[kind])
        if name in SHAPES[kind]
        for part in parts(process, quick, kind, name)
    ]


def parts(process: str, quick: bool, kind: str, name: str) -> tuple[str, ...]:
    """Forward alone is measured warm, in float32, and not where it takes seconds."""
    apart = kind in ("losses", "linear") and process == "warm" and not quick
    return ("gradient", "forward") if apart and name not in LARGE and "bfloat16" not in name else ("gradient",)
