"""Arrays as the files hold them: a dtype, a shape, and exact numbers in row-major order."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

Json: TypeAlias = Any
Entry: TypeAlias = int | float | bool

INTEGER_BITS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """A large array as a rule: value_j = (((a·j + b) mod m) − offset)·scale at flat index j.

    A boolean is true where that is not 0.
    """

    a: int
    b: int
    mod: int
    offset: int
    scale: float

    def value(self, index: int) -> float:
        """The number at one flat index; the scale is a power of two, so the product is exact."""
        return ((self.a * index + self.b) % self.mod - self.offset) * self.scale

    def to_json(self) -> dict[str, Json]:
        """The rule with the names that the files use."""
        return {
            "a": self.a,
            "b": self.b,
            "mod": self.mod,
            "offset": self.offset,
            "scale": self.scale,
        }


@dataclass(frozen=True)
class Array:
    """One input of a vector: exact numbers, flat and row-major, or a recipe for them."""

    dtype: str
    shape: tuple[int, ...]
    data: tuple[Entry, ...]
    recipe: Recipe | None = None

    def with_entries(self, entries: Mapping[int, Entry]) -> Array:
        """The same array with some flat entries replaced."""
        data = tuple(entries.get(j, old) for j, old in enumerate(self.data))
        return replace(self, data=data)

    def to_json(self) -> dict[str, Json]:
        """The array as the files hold it."""
        head: dict[str, Json] = {"dtype": self.dtype, "shape": list(self.shape)}
        if self.recipe is not None:
            return head | {"recipe": self.recipe.to_json()}
        return head | {"data": [encode(entry) for entry in self.data]}


def from_recipe(dtype: str, shape: tuple[int, ...], recipe: Recipe) -> Array:
    """The array that a recipe describes."""
    period: list[Entry] = [recipe.value(j) for j in range(recipe.mod)]
    if dtype == "bool":
        period = [value != 0 for value in period]
    data = tuple(period[j % recipe.mod] for j in range(math.prod(shape)))
    return Array(dtype, shape, data, recipe)


def from_json(value: dict[str, Json]) -> Array:
    """The inverse of `Array.to_json`."""
    shape = tuple(value["shape"])
    if "recipe" in value:
        return from_recipe(value["dtype"], shape, Recipe(**value["recipe"]))
    return Array(value["dtype"], shape, tuple(decode(entry) for entry in value["data"]))


def encode(entry: Entry) -> Json:
    """A JSON number; NaN and the infinities, which JSON lacks, become strings."""
    if isinstance(entry, float) and not math.isfinite(entry):
        return "nan" if math.isnan(entry) else ("inf" if entry > 0 else "-inf")
    if isinstance(entry, float) and entry == int(entry) and abs(entry) < 1e6:
        return int(entry)
    return entry


def decode(entry: Json) -> Entry:
    """The number that a file's entry means."""
    number: Entry = float(entry) if isinstance(entry, str) else entry
    return number


def representable(entry: Entry, dtype: str) -> bool:
    """Whether a dtype holds this number exactly, so that every framework reads the same input."""
    if dtype == "bool":
        return isinstance(entry, bool)
    if dtype in INTEGER_BITS:
        return isinstance(entry, int) and _fits_integer(entry, dtype)
    value: float = float(entry)
    return not math.isfinite(value) or rounded(value, dtype) == value


def _fits_integer(entry: int, dtype: str) -> bool:
    bits = INTEGER_BITS[dtype]
    if dtype.startswith("u"):
        return 0 <= entry < 1 << bits
    return -(1 << bits - 1) <= entry < 1 << bits - 1


def rounded(value: float, dtype: str) -> float:
    """A finite number cut to a dtype; enough to see whether it was exact in it."""
    if dtype == "float64":
        return value
    if dtype == "bfloat16":
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        return float(struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0])
    code = {"float32": "<f", "float16": "<e"}[dtype]
    return float(struct.unpack(code, struct.pack(code, value))[0])


def class_axis(rank: int, axis: int) -> int:
    """The class axis counted from the front."""
    return axis % rank


def batch_shape(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """The labels' shape: the logits' without the class axis."""
    at = class_axis(len(shape), axis)
    return tuple(shape[:at]) + tuple(shape[at + 1 :])


def class_offsets(shape: Sequence[int], axis: int) -> list[list[int]]:
    """Flat indices of the logits, as one list of K for each position in row-major order."""
    at = class_axis(len(shape), axis)
    outer, classes, inner = math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :])
    return [[(o * classes + k) * inner + i for k in range(classes)] for o in range(outer) for i in range(inner)]
