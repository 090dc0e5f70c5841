"""Bytes to train on: the sources of Python's own library, which every machine has that runs this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from shapes import Training

BYTES = 256


def corpus(limit: int = 2_000_000) -> Any:
    """uint8, the modules in the order of their names."""
    modules = sorted(Path(os.__file__).parent.glob("*.py"))
    return np.frombuffer(b"".join(module.read_bytes() for module in modules), np.uint8)[:limit]


def batches(shape: Training, seed: int = 0) -> Any:
    """An endless supply of (bytes, the bytes that follow), int32 and int64 [rows, length]."""
    text, random = corpus(), np.random.default_rng(seed)
    while True:
        starts = random.integers(0, len(text) - shape.length, shape.rows)
        windows = text[starts[:, None] + np.arange(shape.length + 1)]
        yield windows[:, :-1].astype(np.int32), windows[:, 1:].astype(np.int64)


def allowed(shape: Training) -> Any:
    """bool [classes]: the vocabulary is padded, as that of large models is, and only the bytes exist."""
    return np.arange(shape.classes) < BYTES
