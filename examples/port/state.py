"""What one framework hands to the next: weights, momentum and step, in a layout that belongs to none of them.

Kernels are stored as [height, width, in, out]. The momentum is stored as `b` in `b ← μ·b + g`, `w ← w − lr·b`, which
is how torch and optax keep it; Keras keeps `v = −lr·b`. The learning rate of the example is a power of two, so that
even this conversion loses no digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import CLASSES

KERNELS = (7, 5)
HIDDEN = 16
LAYERS = ("conv1", "conv2")
NAMES = tuple(f"{layer}/{kind}" for layer in LAYERS for kind in ("kernel", "bias"))

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class State:
    """`weights` and `momentum` hold one array for each of NAMES; `step` is the number of steps taken."""

    weights: Arrays
    momentum: Arrays
    step: int = 0

    def save(self, path: Path) -> None:
        weights = {f"weights/{name}": array for name, array in self.weights.items()}
        momentum = {f"momentum/{name}": array for name, array in self.momentum.items()}
        np.savez(path, step=self.step, **weights, **momentum)

    @classmethod
    def load(cls, path: Path) -> State:
        with np.load(path) as stored:
            weights = {name: stored[f"weights/{name}"] for name in NAMES}
            momentum = {name: stored[f"momentum/{name}"] for name in NAMES}
            return cls(weights, momentum, int(stored["step"]))


def initial_state(dtype: str, seed: int = 0) -> State:
    """Random kernels, rounded to float32 so that both precisions start from the same numbers.

    The first layer is scaled up because the images are mostly empty, the second down for small first logits.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "conv1/kernel": 4.0 * random_kernel(rng, KERNELS[0], 1, HIDDEN),
        "conv1/bias": np.zeros(HIDDEN),
        "conv2/kernel": 0.3 * random_kernel(rng, KERNELS[1], HIDDEN, CLASSES),
        "conv2/bias": np.zeros(CLASSES),
    }
    weights = {name: array.astype(np.float32).astype(dtype) for name, array in weights.items()}
    return State(weights, {name: np.zeros_like(array) for name, array in weights.items()})


def random_kernel(rng: np.random.Generator, side: int, features_in: int, features_out: int) -> np.ndarray:
    """Variance 1/fan-in, so that a layer keeps the size of what passes through it."""
    return rng.standard_normal((side, side, features_in, features_out)) / (side * np.sqrt(features_in))
