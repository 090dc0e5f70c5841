"""Reads the vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import ml_dtypes
import numpy as np

from multismooth_conformance.adapter import NUMBERS, Array, Inputs

VERSION = "v1"


@dataclass(frozen=True)
class Expected:
    """An array of the vector: all of it, or some elements."""

    values: Array
    """float64, or longdouble where that holds more of the 20 digits"""
    indices: Array | None
    dtype: str
    shape: tuple[int, ...]

    def of(self, array: Array) -> Array:
        """The elements of an output that belong to these values."""
        return array.reshape(-1)[self.indices] if self.indices is not None else array

    def times(self, factor: Array) -> Expected:
        """Each element times that of an array which is broadcast to the output's shape."""
        values = self.values * self.of(np.broadcast_to(factor, self.shape))
        return Expected(values, self.indices, self.dtype, self.shape)


@dataclass(frozen=True)
class Contracted(Expected):
    """A reduced loss, of positions that come unreduced."""

    shares: Array
    """what each of them counts for"""

    def of(self, array: Array) -> Array:
        return np.asarray((array * self.shares).sum())


@dataclass(frozen=True)
class Vector:
    """One call, and what it must give."""

    file: str
    id: str
    comment: str
    flags: tuple[str, ...]
    inputs: Inputs
    cotangent: Array
    tangent: Array | None
    expected: Mapping[str, Any] | None
    scale: Mapping[str, Any] | None
    reason: str | None
    twin: str | None
    rows: tuple[int, ...]

    @property
    def positions(self) -> int:
        _, shape = self.inputs.logits
        return math.prod(shape) // shape[self.inputs.axis]

    def features(self) -> frozenset[object]:
        """Its flags, its reason if it is invalid, and otherwise its options; of the linear loss they are others."""
        features = (*self.flags, *((self.reason,) if self.reason is not None else self.options().items()))
        if not self.inputs.linear:
            return frozenset(features)
        return frozenset(("linear", feature) for feature in (*features, *self.linear_options().items()))

    def options(self) -> dict[str, object]:
        """What the call chooses, by the names in the generator's ``options.py``."""
        spec, given, (logits_dtype, shape) = self.inputs.spec, self.inputs.arrays, self.inputs.logits
        axis, allowed = self.inputs.class_axis, given.get("allowed")
        masks = {"ignored": spec["ignore_index"] is not None, "where": "where" in given}
        return {
            "spread": "values" if spec["values"] else spec["spread"],
            "label_smoothing": spec["label_smoothing"],
            "class_weight_rule": spec["class_weight_rule"] if "class_weight" in given else None,
            "denominator": spec["denominator"],
            "kl": spec["kl"],
            "z_loss": spec["z_loss"] > 0,
            "reduction": spec["reduction"],
            "labels": "soft" if self.inputs.soft else "indices",
            "prior": "prior" in given,
            "exclude": bool(spec["exclude"]),
            "allowed": None if allowed is None else "by class" if allowed.ndim == 1 else "by position",
            "axis": "last" if axis == len(shape) - 1 else "first" if axis == 0 else "middle",
            "dtype": logits_dtype,
            "mask": " ".join(name for name, given in masks.items() if given) or None,
            "sample_weight": "sample_weight" in given,
        }

    def linear_options(self) -> dict[str, object]:
        """What a call of the linear loss chooses beside these."""
        hidden, kernel = self.inputs.arrays["hidden"], self.inputs.arrays["kernel"]
        return {
            "bias": "bias" in self.inputs.arrays,
            **{name: name in self.inputs.numbers for name in NUMBERS},
            "batch axes": ("none", "one", "two", "three")[hidden.ndim - 1],
            "features": "one" if kernel.shape[0] == 1 else "several",
            "classes": "one" if kernel.shape[1] == 1 else "thousands" if kernel.shape[1] > 1024 else "several",
            "positions": "none" if hidden.size == 0 else "hundreds" if self.positions > 100 else "some",
        }


@cache
def load() -> dict[str, Vector]:
    """All vectors by their ids."""
    vectors: dict[str, Vector] = {}
    folder = files("multismooth_conformance") / "vectors" / VERSION
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".json") or file.name == "schema.json":
            continue
        for raw in json.loads(file.read_text(encoding="utf-8"))["vectors"]:
            if raw["id"] in vectors:
                raise ValueError(f"{file.name}: the id {raw['id']} stands in another place too")
            vectors[raw["id"]] = _vector(file.name, raw)
    return vectors


@cache
def core() -> frozenset[str]:
    """The ids of few vectors that have, all together, every feature that any vector has: a greedy cover."""
    features = {id: vector.features() for id, vector in load().items()}
    missing, chosen = set().union(*features.values()), []
    while missing:
        chosen.append(max(features, key=lambda id: len(features[id] & missing)))
        missing -= features.pop(chosen[-1])
    return frozenset(chosen)


def _vector(file: str, raw: Mapping[str, Any]) -> Vector:
    arrays = {name: array(value) for name, value in raw["inputs"].items() if name not in NUMBERS}
    numbers = {name: float(array(raw["inputs"][name])) for name in NUMBERS if name in raw["inputs"]}
    return Vector(
        file=file,
        id=raw["id"],
        comment=raw["comment"],
        flags=tuple(raw["flags"]),
        inputs=Inputs(raw["spec"], raw["axis"], arrays, numbers),
        cotangent=array(raw["cotangent"]),
        tangent=array(raw["tangent"]) if "tangent" in raw else None,
        expected=None if raw["expected"] is None else _outputs(raw["expected"]),
        scale=None if raw["scale"] is None else _outputs(raw["scale"]),
        reason=raw["reason"],
        twin=raw.get("twin"),
        rows=tuple(raw.get("rows", ())),
    )


def _outputs(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _expected(value) if "dtype" in value else _outputs(value) for name, value in raw.items()}


def _expected(raw: Mapping[str, Any]) -> Expected:
    values, shape = np.array([np.longdouble(value) for value in raw["data"]], np.longdouble), tuple(raw["shape"])
    indices = np.array(raw["indices"]) if "indices" in raw else None
    return Expected(values if indices is not None else values.reshape(shape), indices, raw["dtype"], shape)


def array(raw: Mapping[str, Any]) -> Array:
    """An input: its numbers are exact in its dtype."""
    kind = dtype(raw["dtype"])
    if "recipe" in raw:
        recipe = raw["recipe"]
        j = np.arange(int(np.prod(raw["shape"])), dtype=np.int64)
        numbers = ((recipe["a"] * j + recipe["b"]) % recipe["mod"] - recipe["offset"]) * recipe["scale"]
        return np.asarray(numbers).astype(kind).reshape(raw["shape"])
    if kind.kind in "iub":
        return np.array(raw["data"], kind).reshape(raw["shape"])
    return np.array([float(value) for value in raw["data"]], np.float64).astype(kind).reshape(raw["shape"])


def dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
