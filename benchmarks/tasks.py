"""What one process measures, cell by cell."""

from __future__ import annotations

from typing import Any, NamedTuple

from shapes import ACCURACY, GROWTH, LINEAR, LOSSES, TRAINING

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
    "linear": LINEAR,
    "training": TRAINING,
    "growth": GROWTH,
    "accuracy": ACCURACY,
}
KINDS = tuple(SHAPES)
KINDS_OF = {
    "default": ("losses", "linear", "training"),
    "warm": ("losses", "linear", "training", "growth"),
    "memory": ("losses", "linear", "training", "accuracy"),
}
QUICK = {
    "losses": ("seg1", "cls", "tiny"),
    "linear": ("small head",),
    "training": ("short",),
    "growth": ("N = 256", "N = 1024", "N = 4096", "K = 256", "K = 4096", "K = 16384"),
    "accuracy": ("K = 32768, σ = 8",),
}
FULL = {kind: tuple(shapes) for kind, shapes in SHAPES.items()} | {
    "linear": ("head", "large head"),
    "training": ("text",),
}

LARGE = ("LM2", "seg2", "large head", "target head")


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
        return self.kind if self.kind in ("linear", "training") else "losses"

    @property
    def few(self) -> bool:
        """Whether it takes so long that the main contenders alone are measured."""
        return self.kind == "linear" and self.name in LARGE

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
    """Forward alone is measured once, and not where a step takes seconds."""
    if quick or process != "warm" or kind not in ("losses", "linear") or name in LARGE:
        return ("gradient",)
    return ("gradient", "forward")
