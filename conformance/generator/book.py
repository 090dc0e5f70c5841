"""A book of vectors: names, seeds and dyadic draws, so that a catalogue is a list of cases."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from generator.arrays import Array, Entry, Recipe, batch_shape, class_offsets, from_recipe
from generator.vector import Vector

NAN, INF = math.nan, math.inf
Change: TypeAlias = Mapping[int, Entry] | Sequence[Entry]
Fields: TypeAlias = dict[str, Any]
"""Fields of a spec that differ from its defaults."""

SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "rows": ((4, 5), -1),
    "pairs": ((4, 2), -1),
    "single": ((4, 1), -1),
    "tokens": ((3, 4, 5), -1),
    "middle": ((3, 5, 4), 1),
    "first": ((5, 3, 4), 0),
    "pixels": ((2, 4, 3, 2), 1),
    "scalar": ((5,), -1),
    "empty": ((0, 5), -1),
    "article": ((2, 3, 5, 5), 1),
    "wide": ((2, 1024), -1),
    "wide-first": ((1024, 2, 3), 0),
    "three": ((2, 4, 3), -1),
    "seventeen": ((2, 17, 3), 1),
    "hundred": ((100, 2, 3), 0),
    "volume": ((2, 1, 5, 2, 2), 2),
    "uneven": ((4, 6, 3), -1),
    "no-tokens": ((3, 0, 5), -1),
    "no-pixels": ((2, 5, 0, 4), 1),
    "many": ((512, 12), -1),
    "vocabulary": ((1, 3, 2**15), -1),
    "vocabulary-first": ((2**15, 1, 3), 0),
    "large-vocabulary": ((1, 3, 2**17), -1),
}
"""Few shapes: a compiled framework recompiles for each."""

SINGLE, DOUBLE, BRAIN, HALF = "float32", "float64", "bfloat16", "float16"
DTYPES = (
    *(SINGLE, DOUBLE, SINGLE, BRAIN, SINGLE, DOUBLE, SINGLE, SINGLE, HALF, SINGLE),
    *(DOUBLE, SINGLE, BRAIN, SINGLE, DOUBLE, SINGLE, SINGLE, HALF, SINGLE, DOUBLE),
)
REDUCTIONS = ("mean", "none", "sum")
LABEL_DTYPES = ("int32", "int64")
WEIGHTS = (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0)
WIDE_RECIPE = Recipe(a=37, b=11, mod=101, offset=50, scale=0.125)
VOCABULARY = 1024
"""More classes than these are written as recipes, exact in bfloat16 like everything else."""
VOCABULARY_RECIPE = Recipe(a=137, b=11, mod=509, offset=254, scale=2.0**-5)
CLASS_WEIGHT_RECIPE = Recipe(a=5, b=1, mod=7, offset=-1, scale=0.25)
FEATURES = 7
"""Of a linear layer in half precision: a row of 2 times a column of 2, with a bias, is still exact in bfloat16."""
WRITTEN = 1024
"""Larger arrays of a linear layer are written as recipes too."""
POSITIVE_RECIPE = Recipe(a=5, b=3, mod=9, offset=-1, scale=0.5)
COARSE_RECIPE = Recipe(a=7, b=3, mod=17, offset=8, scale=0.25)
"""A kernel in half precision."""
HIDDEN_RECIPE = Recipe(a=5, b=3, mod=9, offset=4, scale=0.5)
KERNEL_RECIPE = Recipe(a=137, b=11, mod=509, offset=254, scale=2.0**-7)
ALLOWED_RECIPE = Recipe(a=1, b=0, mod=4, offset=0, scale=1.0)
"""Every fourth class does not exist."""


def half_of_them(classes: int) -> Recipe:
    """Probabilities that are equal for the odd classes, and 0 for the even ones."""
    return Recipe(a=1, b=0, mod=2, offset=0, scale=2.0 / classes)


class Book:
    """The vectors of one file, in order. An id is a family and a number; it seeds the draws."""

    def __init__(self) -> None:
        self.vectors: list[Vector] = []
        self._numbers: Counter[str] = Counter()

    def add(
        self,
        family: str,
        comment: str,
        *,
        shape: str = "rows",
        dtype: str | None = None,
        axis: int | None = None,
        give: str = "",
        put: Mapping[str, Change] | None = None,
        rows: Mapping[int, Sequence[float]] | None = None,
        label_dtype: str | None = None,
        indices: Sequence[int] | None = None,
        without: str = "",
        tangent: bool = False,
        features: int | None = None,
        numbers: Mapping[str, float] | None = None,
        **spec: Any,
    ) -> Vector:
        """Draw what `give` names, then `put` values in it and whole `rows` in the logits.

        With `features` hidden and kernel are in the place of the logits, and `rows` are those of hidden; `numbers`
        are logit_scale and softcap.
        """
        turn = len(self.vectors)
        spec.setdefault("reduction", "mean" if "normalizer" in give else REDUCTIONS[turn % 3])
        sizes, default_axis = SHAPES[shape]
        kind = Draw if features is None else partial(LinearDraw, features, numbers or {})
        draw = kind(
            self._next_id(family),
            sizes,
            default_axis if axis is None else axis,
            dtype or DTYPES[turn % len(DTYPES)],
            label_dtype or LABEL_DTYPES[turn % 2],
            set(give.split()),
            spec,
        )
        inputs = {name: _put(array, (put or {}).get(name)) for name, array in draw.inputs().items()}
        main = "logits" if features is None else "hidden"
        inputs[main] = _put_rows(inputs[main], draw.axis, rows or {})
        vector = Vector(
            draw.id,
            comment,
            spec,
            draw.axis,
            inputs,
            draw.cotangent(),
            indices=None if indices is None else tuple(indices),
            without=tuple(without.split()),
            tangent=draw.tangent() if tangent else None,
        )
        self.vectors.append(vector)
        return vector

    def spoil(
        self,
        twin: Vector,
        family: str,
        reason: str,
        comment: str,
        *,
        change: Mapping[str, Mapping[int, Entry]] | None = None,
        dtype: dict[str, str] | None = None,
        rows: Iterable[int] = (),
        spec: dict[str, Any] | None = None,
    ) -> None:
        """Add an invalid vector: its twin with one input, or one field of the spec, gone bad."""
        inputs = dict(twin.inputs)
        for name, entries in (change or {}).items():
            inputs[name] = inputs[name].with_entries(entries)
        for name, other in (dtype or {}).items():
            inputs[name] = replace(inputs[name], dtype=other)
        bad = replace(
            twin,
            id=self._next_id(family),
            comment=comment,
            inputs=inputs,
            spec=twin.spec | (spec or {}),
            reason=reason,
            twin=twin.id,
            rows=tuple(rows),
        )
        self.vectors.append(bad)

    def _next_id(self, family: str) -> str:
        self._numbers[family] += 1
        return f"{family}-{self._numbers[family]:03d}"


def _put(array: Array, change: Change | None) -> Array:
    if change is None:
        return array
    if isinstance(change, Mapping):
        return array.with_entries(change)
    assert len(change) == len(array.data), "a full replacement has as many entries"
    return replace(array, data=tuple(change), recipe=None)


def _put_rows(logits: Array, axis: int, rows: Mapping[int, Sequence[float]]) -> Array:
    offsets = class_offsets(logits.shape, axis)
    entries = {flat: x for i, row in rows.items() for flat, x in zip(offsets[i], row, strict=True)}
    return logits.with_entries(entries) if entries else logits


class Draw:
    """Dyadic inputs for one vector, each from its own seed: an input added later moves no other."""

    def __init__(
        self,
        id: str,
        shape: tuple[int, ...],
        axis: int,
        dtype: str,
        label_dtype: str,
        give: set[str],
        spec: dict[str, Any],
    ) -> None:
        self.id = id
        self.shape = shape
        self.axis = axis
        self.dtype = dtype
        self.label_dtype = label_dtype
        self.give = give
        self.spec = spec
        self.batch = batch_shape(shape, axis)
        self.size = math.prod(self.batch)
        self.classes = shape[axis]
        self.other = "float64" if dtype == "float64" else "float32"

    def random(self, name: str) -> random.Random:
        """A generator of this vector and this input alone."""
        return random.Random(f"{self.id}/{name}")

    def inputs(self) -> dict[str, Array]:
        """Every input that was asked for, in the order of the call's signature."""
        allowed = self._allowed()
        mask = self._mask("where", [True] * self.size)
        unignored = self._mask("ignored", mask)
        inputs = self._head() | {"labels": self._labels(allowed, unignored)}
        if "where" in self.give:
            inputs["where"] = Array("bool", self.batch, tuple(mask))
        if "sample_weight" in self.give:
            inputs["sample_weight"] = self._float(self.batch, self._sample_weight(mask, unignored))
        if "class_weight" in self.give:
            inputs["class_weight"] = self._class_weight()
        if "prior" in self.give:
            inputs["prior"] = self._prior()
        if allowed is not None:
            inputs["allowed"] = allowed
        if "normalizer" in self.give:
            inputs["normalizer"] = self._float((), [7.5])
        return inputs

    def cotangent(self) -> Array:
        """A random cotangent: never 0, never 1, with a negative entry where there are several."""
        draw = self.random("cotangent")
        shape = self.batch if self.spec["reduction"] == "none" else ()
        size = math.prod(shape)
        data = [draw.choice(WEIGHTS) * draw.choice((1, -1)) for _ in range(size)]
        if size > 1:
            data[0] = -abs(data[0])
            data[1] = abs(data[1])
        return Array(self.other, shape, tuple(data))

    def tangent(self) -> Array:
        """A random direction for the logits."""
        draw = self.random("tangent")
        data = tuple(draw.choice(WEIGHTS) * draw.choice((1, -1)) for _ in range(math.prod(self.shape)))
        return Array(self.other, self.shape, data)

    def _class_weight(self) -> Array:
        if self.classes > VOCABULARY:
            return from_recipe(self.other, (self.classes,), CLASS_WEIGHT_RECIPE)
        draw = self.random("class_weight")
        return self._float((self.classes,), [draw.choice(WEIGHTS) for _ in range(self.classes)])

    def _prior(self) -> Array:
        if self.classes > VOCABULARY:
            return from_recipe(self.other, (self.classes,), half_of_them(self.classes))
        total = 32 if self.classes < 32 else 256
        parts = composition(self.random("prior"), self.classes, total, least=1)
        return self._float((self.classes,), [p / total for p in parts])

    def _float(self, shape: tuple[int, ...], values: Iterable[float]) -> Array:
        return Array(self.other, shape, tuple(values))

    def _head(self) -> dict[str, Array]:
        """The logits, or what makes them."""
        return {"logits": self._logits()}

    def _logits(self) -> Array:
        if self.classes > 128:
            recipe = VOCABULARY_RECIPE if self.classes > VOCABULARY else WIDE_RECIPE
            return from_recipe(self.dtype, self.shape, recipe)
        draw = self.random("logits")
        data = tuple(draw.randint(-32, 32) / 8 for _ in range(math.prod(self.shape)))
        return Array(self.dtype, self.shape, data)

    def _allowed(self) -> Array | None:
        draw = self.random("allowed")
        if "allowed" in self.give and self.classes > VOCABULARY:
            return from_recipe("bool", (self.classes,), ALLOWED_RECIPE)
        if "allowed" in self.give:
            return Array("bool", (self.classes,), tuple(_some(draw, self.classes)))
        if "allowed_here" not in self.give:
            return None
        data = [True] * math.prod(self.shape)
        for offsets in class_offsets(self.shape, self.axis):
            for flat, is_allowed in zip(offsets, _some(draw, self.classes), strict=True):
                data[flat] = is_allowed
        return Array("bool", self.shape, tuple(data))

    def _choices(self, allowed: Array | None) -> list[list[int]]:
        """The classes that exist, for each position."""
        offsets = class_offsets(self.shape, self.axis)
        if allowed is None:
            return [list(range(self.classes)) for _ in offsets]
        per_class = allowed.shape == (self.classes,)
        return [[k for k, j in enumerate(flat) if allowed.data[k if per_class else j]] for flat in offsets]

    def _labels(self, allowed: Array | None, unignored: list[bool]) -> Array:
        choices = self._choices(allowed)
        if "soft" in self.give:
            return self._soft_labels(choices)
        draw = self.random("labels")
        data = [draw.choice(among) for among in choices]
        if "ignored" in self.give:
            index = self.spec["ignore_index"]
            data = [y if keep else index for y, keep in zip(data, unignored, strict=True)]
        return Array(self.label_dtype, self.batch, tuple(data))

    def _soft_labels(self, choices: list[list[int]]) -> Array:
        if self.classes > VOCABULARY:
            return from_recipe(self.other, self.shape, half_of_them(self.classes))
        draw = self.random("labels")
        data = [0.0] * math.prod(self.shape)
        sharp = self.spec.get("kl") and (not self.spec.get("label_smoothing") or self.spec.get("exclude"))
        for offsets, among in zip(class_offsets(self.shape, self.axis), choices, strict=True):
            parts = composition(draw, len(among), 32, least=1 if sharp else 0)
            for k, part in zip(among, parts, strict=True):
                data[offsets[k]] = part / 32
        return self._float(self.shape, data)

    def _mask(self, name: str, among: list[bool]) -> list[bool]:
        """A mask that leaves counts that differ: from N, from B, and from sequence to sequence."""
        draw = self.random(name)
        if name not in self.give or self.size < 2:
            return [True] * self.size
        return _until(
            lambda: [draw.random() < 0.6 for _ in range(self.size)],
            lambda mask: self._is_uneven([a and b for a, b in zip(mask, among, strict=True)]),
        )

    def _is_uneven(self, mask: list[bool]) -> bool:
        n, first = sum(mask), self.batch[0]
        each = [sum(part) for part in _split(mask, first)]
        flat = len(self.batch) == 1 or first == 1
        return 1 < n < self.size and n != first and (flat or (min(each) > 0 and len(set(each)) > 1))

    def _sample_weight(self, mask: list[bool], unignored: list[bool]) -> list[float]:
        """Weights with one 0 among the positions that count, whose sum is no other count."""
        draw = self.random("sample_weight")
        kept = [a and b for a, b in zip(mask, unignored, strict=True)]
        if self.size < 4:
            return [draw.choice(WEIGHTS) for _ in range(self.size)]

        def attempt() -> list[float]:
            weights = [draw.choice(WEIGHTS) for _ in range(self.size)]
            zero = draw.choice([i for i, keep in enumerate(kept) if keep])
            return [0.0 if i == zero else w for i, w in enumerate(weights)]

        return _until(attempt, lambda weights: self._is_telling(weights, kept))

    def _is_telling(self, weights: list[float], kept: list[bool]) -> bool:
        effective = [w if keep else 0.0 for w, keep in zip(weights, kept, strict=True)]
        n, first = sum(kept), self.batch[0]
        each = [sum(part) for part in _split(effective, first)]
        alive = len(self.batch) == 1 or min(each) > 0
        return alive and sum(effective) not in (n, n - 1, self.size, first)


class LinearDraw(Draw):
    """Hidden, kernel and bias for few features: hidden·kernel + bias is exact in bfloat16, in whatever order."""

    def __init__(self, features: int, numbers: Mapping[str, float], *rest: Any) -> None:
        super().__init__(*rest)
        assert features <= FEATURES or self.dtype in (SINGLE, DOUBLE)
        self.features = features
        self.numbers = numbers

    def _head(self) -> dict[str, Array]:
        fine = KERNEL_RECIPE if self.dtype in (SINGLE, DOUBLE) else COARSE_RECIPE
        rows = POSITIVE_RECIPE if "positive" in self.give else HIDDEN_RECIPE
        head = {
            "hidden": self._dyadic("hidden", (*self.batch, self.features), rows, 4, 0.5),
            "kernel": self._dyadic("kernel", (self.features, self.classes), fine, 8, 0.25),
        }
        if "bias" in self.give:
            head["bias"] = self._dyadic("bias", (self.classes,), fine, 8, 0.25)
        return head | {name: Array(DOUBLE, (), (value,)) for name, value in self.numbers.items()}

    def _dyadic(self, name: str, shape: tuple[int, ...], recipe: Recipe, most: int, unit: float) -> Array:
        """Up to `most` units."""
        size = math.prod(shape)
        if size > WRITTEN:
            return from_recipe(self.dtype, shape, recipe)
        draw = self.random(name)
        return Array(self.dtype, shape, tuple(draw.randint(-most, most) * unit for _ in range(size)))


def _split(values: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    width = len(values) // parts
    return [values[p * width : (p + 1) * width] for p in range(parts)]


def _until(attempt: Callable[[], list[Any]], good: Callable[[list[Any]], bool]) -> list[Any]:
    """The first attempt that is good."""
    for _ in range(10_000):
        values = attempt()
        if good(values):
            return values
    raise AssertionError("no draw satisfies the condition")


def _some(draw: random.Random, classes: int) -> list[bool]:
    """Two or more of the classes, and never all."""
    return _until(lambda: [draw.random() < 0.6 for _ in range(classes)], lambda m: 1 < sum(m) < classes)


def composition(draw: random.Random, parts: int, total: int, least: int) -> list[int]:
    """Integers of at least `least` that add up to the total."""
    room = total - least * parts
    cuts = sorted(draw.randint(0, room) for _ in range(parts - 1))
    return [b - a + least for a, b in zip([0, *cuts], [*cuts, room], strict=True)]
