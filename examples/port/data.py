"""Images to segment, put together from scikit-learn's handwritten digits.

The digits are real scans (8×8 pixels, ink 0..16) that ship inside scikit-learn, so nothing is downloaded. What makes
the set hard for a loss is its labels: 255 ("unlabelled") in the gaps between the scans, around their ink, and at pixels
dropped at random, with a share that differs more than tenfold from batch to batch. A loss that divides by
anything else than the labelled pixels shows at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 10
UNLABELLED = 255
SIDE = 32
SCAN = 8
CELL = 10
"""A scan lies somewhere in a cell of this side, so at least some gap surrounds it."""
BATCH = 8
BATCHES = 20
SEED = 3
"""With 120 steps both hand-overs fall on a batch with a middling share of labels."""


@dataclass(frozen=True)
class Data:
    """`images` float32 [N, 32, 32, 1] in [0, 1]; `labels` uint8 [N, 32, 32]; `order` int64 [steps, BATCH]."""

    images: np.ndarray
    labels: np.ndarray
    order: np.ndarray

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels that every stack sees at this step."""
        chosen = self.order[step]
        return self.images[chosen], self.labels[chosen]

    def labelled_share(self) -> np.ndarray:
        """For each step, the share of its batch's pixels that carry a label."""
        return (self.labels[self.order] != UNLABELLED).mean(axis=(1, 2, 3))

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images, labels=self.labels, order=self.order)

    @classmethod
    def load(cls, path: Path) -> Data:
        with np.load(path) as stored:
            return cls(**stored)


def make_data(steps: int, seed: int = SEED) -> Data:
    """The same arrays for the same seed, on every machine."""
    from sklearn.datasets import load_digits  # here, because only the maker of the data needs it

    rng = np.random.default_rng(seed)
    scans, digits = load_digits(return_X_y=True)
    scans = (scans.reshape(-1, SCAN, SCAN) / 16).astype(np.float32)
    pages = [make_page(rng, scans, digits) for _ in range(BATCH * BATCHES)]
    images = np.stack([image for image, _ in pages])[..., None]
    labels = np.stack([label for _, label in pages])
    return Data(images, drop_labels(rng, labels), make_order(rng, steps))


def make_page(rng: np.random.Generator, scans: np.ndarray, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One image with about seven scans on a 3×3 grid of cells, each pixel of ink labelled with its digit."""
    image = np.zeros((SIDE, SIDE), np.float32)
    label = np.full((SIDE, SIDE), UNLABELLED, np.uint8)
    for cell in np.flatnonzero(rng.random(9) < 0.75):
        corner = np.array(divmod(cell, 3)) * CELL + rng.integers(0, CELL - SCAN + 1, 2)
        box = tuple(slice(start, start + SCAN) for start in corner)
        chosen = rng.integers(len(scans))
        image[box] = scans[chosen]
        label[box] = np.where(scans[chosen] > 0, digits[chosen], UNLABELLED)
    return image, label


def drop_labels(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Keep a share of the labels: the batch's own (5 % to 100 %, evenly in its logarithm) times the image's own."""
    of_batch = np.repeat(np.geomspace(0.05, 1.0, BATCHES), BATCH)
    of_image = rng.uniform(0.2, 1.0, len(labels))
    kept = rng.random(labels.shape) < (of_batch * of_image)[:, None, None]
    return np.where(kept, labels, np.uint8(UNLABELLED))


def make_order(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Batches stay together and change places from epoch to epoch, so the masks stay uneven."""
    batches = np.arange(BATCH * BATCHES).reshape(BATCHES, BATCH)
    epochs = [rng.permutation(batches) for _ in range(-(-steps // BATCHES))]
    return np.concatenate(epochs)[:steps]
