"""The options of one call: the spec, and the arrays beside the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays

from multismooth import Spec, dialects


class Option(NamedTuple):
    spec: Spec
    arrays: dict[str, Any]
    """NumPy's, ``labels`` among them"""


def named(loss: str, option: str) -> str:
    """A contender."""
    return f"{loss}: {option}"


def loss_of(contender: str) -> str:
    return contender.rpartition(": ")[0]


def option_of(contender: str) -> str:
    return contender.rpartition(": ")[2]


def options(shape: Shape) -> dict[str, Option]:
    """By name. A tenth of the classes is not allowed, and no label is among them."""
    random, classes, spec = np.random.default_rng(1), shape.classes, dialects.torch(LABEL_SMOOTHING, IGNORED)
    allowed = np.arange(classes) < classes * 9 // 10
    _, drawn = arrays(shape)
    labels = {"labels": np.where(drawn == IGNORED, IGNORED, drawn % allowed.sum())}
    there = np.expand_dims(
        allowed, [axis for axis in range(len(shape.logits)) if axis != shape.axis % len(shape.logits)]
    )
    soft = random.random(shape.logits, np.float32)

    def shares(values: Any, axis: int = 0) -> Any:
        return values / values.sum(axis, keepdims=True)

    return {
        "none": Option(spec, labels),
        "z-loss": Option(replace(spec, z_loss=1e-4), labels),
        "sample weights": Option(spec, labels | {"sample_weight": random.random(shape.labels, np.float32)}),
        "class weights": Option(spec, labels | {"class_weight": random.random(classes, np.float32)}),
        "prior": Option(spec, labels | {"prior": shares(random.random(classes, np.float32))}),
        "allowed classes": Option(spec, labels | {"allowed": allowed}),
        "allowed by position": Option(spec, labels | {"allowed": np.broadcast_to(there, shape.logits).copy()}),
        "soft labels": Option(Spec(LABEL_SMOOTHING), {"labels": shares(soft, shape.axis)}),
    }
