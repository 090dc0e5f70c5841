"""What the adapters of the library's own rooms share."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from multismooth import Spec
from multismooth_conformance.adapter import Adapter, Inputs

PER_CLASS = ("class_weight", "prior", "normalizer")
"""What every part of a batch takes whole."""


class RoomAdapter(Adapter):
    """Everything but the calls."""

    gradients: Sequence[str] = ("logits", "labels", "sample_weight", "class_weight", "prior")
    refuses = True

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        rank, axis, mode = len(spec["shape"]), spec["axis"], spec["mode"]
        if mode == "accumulated" and spec["linear"]:
            return "has no totals of the linear loss"
        if mode == "accumulated" and rank == 1:
            return "has no batch to split"
        if mode == "channels-last" and axis == rank - 1:
            return "has the classes last by itself"
        return None


def spec_of(fields: Mapping[str, Any]) -> Spec:
    return Spec.from_json(json.dumps(dict(fields)))


def cuts(inputs: Inputs) -> tuple[int, ...]:
    """Where two or three random parts of the labels' first axis begin and end; one of them may be empty."""
    logits = inputs.arrays["logits"]
    length = logits.shape[1] if inputs.class_axis == 0 else logits.shape[0]
    draw = np.random.default_rng(zlib.crc32(logits.tobytes()))
    inner = np.sort(draw.integers(0, length, draw.integers(1, 3), endpoint=True))
    return (0, *inner.tolist(), length)


def split(arrays: Mapping[str, Any], axis: int, ends: Sequence[int]) -> list[dict[str, Any]]:
    """The parts of arrays, NumPy's or a framework's, whose logits have the class axis on ``axis``."""
    rank = len(arrays["logits"].shape)

    def part(name: str, array: Any, here: slice) -> Any:
        with_classes = len(array.shape) == rank
        if name in PER_CLASS or (name == "allowed" and not with_classes):
            return array
        return array[:, here] if with_classes and axis % rank == 0 else array[here]

    return [{name: part(name, array, slice(*pair)) for name, array in arrays.items()} for pair in pairwise(ends)]


def accumulated(
    spec: Spec,
    parts: list[dict[str, Any]],
    call: Callable[[dict[str, Any]], Any],
    totals: Callable[[dict[str, Any]], Any],
    concatenate: Callable[[list[Any]], Any],
) -> Any:
    """The loss of a batch from its parts."""
    if spec.reduction == "none":
        return concatenate([call(part) for part in parts])
    if spec.reduction == "sum" or "normalizer" in parts[0]:
        return sum(call(part) for part in parts)
    return sum(totals(part) for part in parts).mean(spec)


def same_bits(one: Any, other: Any) -> None:
    """Raises unless two backward passes gave the same; NumPy does not know a bfloat16 NaN from a difference."""
    if np.asarray(one).tobytes() != np.asarray(other).tobytes():
        raise AssertionError(f"the second backward pass gives {other}, and the first gave {one}")


def plain_target(spec: Mapping[str, Any]) -> str | None:
    """Why a loss that knows nothing but ε/K for every class cannot compute this, or None."""
    if spec["dtype"] in ("float16", "bfloat16"):
        return "computes in half precision"
    if spec["spread"] != "uniform" or spec["values"] is not None:
        return "spreads ε over all classes only"
    for field in ("exclude", "kl", "z_loss"):
        if spec[field]:
            return f"has no {field}"
    return "has no out_of_range='nan'" if spec["out_of_range"] == "nan" else None
