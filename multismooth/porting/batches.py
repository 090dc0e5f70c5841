"""Batches on which two losses that differ show it: small, and no two of their counts coincide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.errors import InputError
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth.porting.target import check_classes
from multismooth.spec import Spec

Arrays = Mapping[str, Any]

ARGUMENTS = ("logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed", "normalizer")
LENGTHS = (3, 1, 0)
"""Of three sequences of three positions: n = 4, N = 9 and B = 3 differ, and so do the sequences."""


class Outcome(NamedTuple):
    """What a loss makes of a batch."""

    loss: NDArray[np.float64]
    gradient: NDArray[np.float64]
    """of the loss to the logits; of its sum, where it is not reduced"""


def outcome(spec: Spec, arrays: Arrays) -> Outcome | str:
    """The loss and its gradient in float64, or the reason of the error that it raises."""
    try:
        loss = np.asarray(smoothed_cross_entropy(spec=spec, **arrays))
        gradient = smoothed_cross_entropy_vjp(np.ones_like(loss), spec=spec, **arrays)
    except InputError as error:
        return error.reason
    return Outcome(loss, np.asarray(gradient))


def batches(classes: int, ignored: Iterable[int] = ()) -> dict[str, Arrays]:
    """A batch for every way in which two losses can part, by when that is.

    ``ignored`` are labels that one of them ignores; no other label is one of these, nor 0 or 1 where K allows it.
    """
    check_classes(classes)
    shape = len(LENGTHS), max(LENGTHS)
    size = shape[0] * shape[1]
    random = np.random.default_rng(0)
    logits = random.normal(size=(*shape, classes)) * 2
    # From the largest class down, and past those that a loss ignores.
    free = [k for k in range(classes - 1, -1, -1) if k not in set(ignored)][: max(classes - 2, 1)] or [0]
    labels = np.array([free[i * 5 % len(free)] for i in range(size)]).reshape(shape)
    mask = np.arange(shape[1]) < np.array(LENGTHS)[:, None]
    weights = random.uniform(0.25, 2.0, shape) * np.where(np.arange(size).reshape(shape) % 4, 1.0, 0.0)
    plain = {"logits": logits, "labels": labels}
    found: dict[str, Arrays] = {
        "always": plain,
        "with a mask": plain | {"where": mask},
        "with sample weights": plain | {"where": mask, "sample_weight": weights},
        "with class weights": plain | {"where": mask, "class_weight": random.uniform(0.25, 2.0, classes)},
    }
    for label in sorted(set(ignored)):
        found[f"with the label {label}"] = plain | {"labels": np.where(mask, labels, label)}
    found["where nothing counts"] = plain | {"where": np.zeros(shape, bool)}
    found["without positions"] = {name: array[:0] for name, array in plain.items()}
    bad = np.where(np.arange(size).reshape(shape) == 1, classes + 1_000_003, labels)
    found["with a label out of range"] = plain | {"labels": bad}
    return found


def read(path: str | Path) -> Arrays:
    """A batch of the user's own: an ``.npz`` of the arguments' names, the classes last.

    Raises:
        InputError: the file cannot be read, lacks logits or labels, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        fact = f"{path} is no .npz of arrays: {error}"
        raise InputError("unreadable_file", "multismooth", fact, "Pass what numpy.savez wrote") from error
    unknown = sorted(arrays.keys() - set(ARGUMENTS))
    if unknown or not {"logits", "labels"} <= arrays.keys():
        held = f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}"
        names = f"Pass logits and labels, and of {', '.join(ARGUMENTS[2:])} those that there are"
        raise InputError("not_a_batch", "multismooth", held, names)
    return arrays
