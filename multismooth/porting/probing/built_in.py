"""Class weights and priors that are inside a loss, where nobody passes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.porting.probing import layouts, rows, targets
from multismooth.spec import Spec

Array = NDArray[Any]


class BuiltIn(NamedTuple):
    spec: Spec
    arrays: Mapping[str, Array]
    by_weights: bool = False
    """whether a batch of one position is divided by its own weight"""


def prior(alone: Mapping[int, Array], tolerance: float) -> BuiltIn | None:
    """q_y = 1 − ε + ε·u_y and q_k = ε·u_k, of every label alone."""
    if sorted(alone) != list(range(len(alone[min(alone)]))):
        return None
    q = np.stack([alone[label] for label in sorted(alone)])
    off = q.copy()
    np.fill_diagonal(off, np.nan)
    received = np.nanmean(off, 0)
    epsilon = targets.snapped(float(received.sum()), tolerance)
    right = received + (1 - epsilon) * np.eye(len(q))
    if not 0 < epsilon <= 1 or received.min() < -tolerance or np.abs(right - q).max() > 10 * tolerance:
        return None
    shares = np.clip(received, 0, None)
    return BuiltIn(Spec(epsilon), {"prior": shares / shares.sum()})


def class_weights(callee: layouts.Callee, alone: Mapping[int, Array], tolerance: float) -> Iterator[BuiltIn]:
    """Of every label alone, and of all labels in one batch, which is divided by one number."""
    classes = len(alone[min(alone)])
    if sorted(alone) != list(range(classes)):
        return
    together = _together(callee, classes)
    if together is None:
        return
    one, all_ = np.stack([alone[label] for label in range(classes)]), together
    ratio = np.diag(one) / np.diag(all_)
    by_weights = bool(np.ptp(ratio) > 100 * tolerance * np.abs(ratio).max())
    for rule, q, weights in _rules(one, all_, by_weights):
        found = targets.candidates(dict(enumerate(q)), 10 * tolerance)
        if found and weights.min() > 0:
            absolute = weights * classes / weights.sum() if by_weights else weights * np.median(ratio)
            spec = replace(found[0].spec, class_weight_rule=rule)
            yield BuiltIn(spec, {"class_weight": absolute}, by_weights)


def _together(callee: layouts.Callee, classes: int) -> Array | None:
    """q of every label, up to a factor."""
    x = rows.settings(classes)
    inner = (1,) * (callee.layout.axes - 2)
    labels = np.arange(classes).reshape(classes, *inner)
    answers = [callee(np.tile(row, (classes, 1)).reshape(classes, *inner, classes), labels) for row in x]
    if not all(answer.finite for answer in answers):
        return None
    gradients = np.stack([answer.gradient.reshape(classes, classes) for answer in answers])
    return np.stack([rows.fit(x, gradients[:, label]).q for label in range(classes)])


def _rules(one: Array, all_: Array, by_weights: bool) -> Iterator[tuple[str, Array, Array]]:
    """Targets and weights, up to a factor, as each rule would have them; a target's mass is taken for 1."""
    diagonal = np.diag(all_)
    if diagonal.min() > 0:
        q = all_ / diagonal
        mass = q.sum(-1).mean()
        yield "per_class", q / mass, diagonal * mass
    mass = all_.sum(-1, keepdims=True)
    if mass.min() > 0:
        q = all_ / mass
        yield "per_label", q, mass[:, 0]
    if not by_weights:
        classes = len(one)
        off = (one.sum() - np.diag(one).sum()) / (classes * (classes - 1))
        epsilon = off * classes
        if 0 < epsilon < 1:
            q = off + (1 - epsilon) * np.eye(classes)
            right = off + np.diag(np.diag(one) - off)
            if np.abs(right - one).max() < 1e-5:
                factor = np.median(np.diag(one) / diagonal)
                yield "label_term", q, (np.diag(one) - off) / (1 - epsilon) / factor
