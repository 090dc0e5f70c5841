"""Real data that ship with scikit-learn: scanned digits, and the sentences that describe its data sets."""

from __future__ import annotations

import re

import numpy as np
from sklearn import datasets

DIGITS = 10
CHARACTERS = 128
PAD = 0


def digits(steps: int, batch: int = 64, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of (scans [batch, 64] in [0, 1], int64 labels), most of them small digits, as counts in the world are."""
    rng = np.random.default_rng(seed)
    scans, labels = datasets.load_digits(return_X_y=True)
    rare = 0.75 ** labels.astype(np.float64)
    chosen = rng.choice(len(labels), (steps, batch), p=rare / rare.sum())
    return [(scans[rows] / 16, labels[rows].astype(np.int64)) for rows in chosen]


def sheets(steps: int, batch: int = 32, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of sheets with four places, of which one to four hold a digit.

    Scans [batch, 4, 64] in [0, 1], and uint8 labels [batch, 4]: 255, which is no class, where a place is empty.
    """
    rng = np.random.default_rng(seed)
    scans, labels = datasets.load_digits(return_X_y=True)
    chosen = rng.integers(len(labels), size=(steps, batch, 4))
    filled = rng.integers(1, 5, (steps, batch))[..., None] > np.arange(4)
    found = np.where(filled, labels[chosen], 255).astype(np.uint8)
    return list(zip(scans[chosen] / 16 * filled[..., None], found, strict=True))


def sentences(steps: int, batch: int = 16, longest: int = 80, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of (characters, next characters), int64 [batch, longest], 0 where a sentence has ended."""
    rng = np.random.default_rng(seed)
    loaders = (datasets.load_digits, datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer)
    text = " ".join(" ".join(load().DESCR.split()) for load in (*loaders, datasets.load_diabetes))
    found = [s for s in re.split(r"(?<=[.:]) ", text) if 2 <= len(s) <= longest and s.isascii()]
    rows = np.full((len(found), longest + 1), PAD)
    for row, sentence in zip(rows, found, strict=True):
        row[: len(sentence)] = list(sentence.encode())
    chosen = rows[rng.integers(len(rows), size=(steps, batch))]
    return [(rows[:, :-1], rows[:, 1:]) for rows in chosen]
