"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "jax",
    "optax",
    "flax",
    "tensorflow",
    "keras",
    "timm",
    "liger-kernel",
    "cut-cross-entropy",
    "numpy",
    "multismooth",
)


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(_cores()),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": dict(_versions()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
