"""What one row's gradients tell.

At a position the gradient is

    g(x) = (mass + 2·z_loss·lse)·softmax(x) − q

times w/D, which is 1 for a batch of one position. With a few x it is a linear system in mass, z_loss and q.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SETTINGS = 4
"""Logits for each row: 4·K equations for K + 2 unknowns."""
SHIFTS = (0.0, 4.0, -4.0, 12.0)
"""Added to them, so that lse moves where softmax does not."""


class Row(NamedTuple):
    """Of a position's gradient."""

    mass: float
    """what multiplies softmax"""
    z_loss: float
    q: Array
    residual: float
    """of the fit, in parts of the largest entry"""


def log_sum_exp(x: Array) -> Array:
    m = x.max(-1)
    return np.asarray(m + np.log(np.exp(x - m[..., None]).sum(-1)))


def log_softmax(x: Array) -> Array:
    return np.asarray(x - log_sum_exp(x)[..., None])


def softmax(x: Array) -> Array:
    return np.exp(log_softmax(x))


def settings(classes: int) -> Array:
    """[settings, classes]; no two logits of a row are equal, and none is far from the others."""
    random = np.random.default_rng(classes)
    ladder = np.linspace(-1.5, 1.5, classes)
    return np.stack([random.permutation(ladder) + shift for shift in SHIFTS])


def fit(x: Array, gradients: Array) -> Row:
    """The row whose gradient at x [settings, classes] is nearest to the gradients, by least squares."""
    p, lse = softmax(x), log_sum_exp(x)[:, None]
    columns = [p, 2 * lse * p]
    # A constant in every setting is q's, and goes out with the mean.
    moving = np.stack([(column - column.mean(0)).ravel() for column in columns], -1)
    (mass, z_loss), *_ = np.linalg.lstsq(moving, (gradients - gradients.mean(0)).ravel(), rcond=None)
    slope = mass * columns[0] + z_loss * columns[1]
    q = (slope - gradients).mean(0)
    scale = max(np.abs(gradients).max(), np.abs(q).max(), np.finfo(float).tiny)
    return Row(float(mass), float(z_loss), q, float(np.abs(slope - q - gradients).max() / scale))


def offset(row: Row, x: Array, losses: Array) -> tuple[float, float]:
    """What the losses at x have beyond the row's own, mass·lse − ⟨q, x⟩ + z_loss·lse²: the mean and the range."""
    lse = log_sum_exp(x)
    rest = losses - (row.q.sum() * lse - x @ row.q + row.z_loss * lse**2)
    return float(rest.mean()), float(np.ptp(rest))
