"""One vector: its inputs, the problem they pose to the oracle, and the answer as stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import gradients, linear, oracle
from generator.arrays import (
    FLOATS,
    Array,
    Entry,
    Json,
    batch_shape,
    class_offsets,
    encode,
    from_json,
)
from generator.linear import Head
from generator.linear_scales import LinearYardsticks
from generator.oracle import ONE, ZERO, Number, Position, Problem, Row
from generator.scales import Yardsticks, shortened

DEFAULT_SPEC: dict[str, Any] = {
    "label_smoothing": 0.0,
    "spread": "uniform",
    "values": None,
    "exclude": [],
    "kl": False,
    "class_weight_rule": "per_class",
    "z_loss": 0.0,
    "ignore_index": None,
    "out_of_range": "raise",
    "reduction": "mean",
    "denominator": "valid",
    "empty": "zero",
}
DIGITS = 20
MANY = 100
"""Positions, of whose gradients a linear vector stores some."""
BASE_PRECISION = 120
WIDEST_GAP = 700.0
DIFFERENTIATED = ("sample_weight", "class_weight", "prior")


@dataclass(frozen=True)
class Vector:
    """One row of the catalogue.

    `indices` picks the logits' gradients that are stored, of a large vector or where one entry is
    left open; of the linear loss it picks classes, whose gradients to kernel and bias are stored.
    `without` names inputs whose derivative is left open: it is infinite in the limit, or one of very
    many. Along the `tangent`, where there is one, the logits' gradient is differentiated.
    """

    id: str
    comment: str
    spec: dict[str, Any]
    axis: int
    inputs: dict[str, Array]
    cotangent: Array
    flags: tuple[str, ...] = ()
    reason: str | None = None
    twin: str | None = None
    rows: tuple[int, ...] = ()
    indices: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()
    tangent: Array | None = None

    @property
    def dtype(self) -> str:
        """The dtype of the logits."""
        return self.inputs["hidden" if self.linear else "logits"].dtype

    @property
    def linear(self) -> bool:
        """Whether a linear layer makes the logits."""
        return "hidden" in self.inputs

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        if not self.linear:
            return self.inputs["logits"].shape
        return self.inputs["hidden"].shape[:-1] + self.inputs["kernel"].shape[1:]

    def to_json(self) -> dict[str, Json]:
        """The vector with its answer, which the oracle works out here."""
        invalid = self.reason is not None
        answer = {"expected": None, "scale": None} if invalid else answers(self)
        record: dict[str, Json] = {
            "id": self.id,
            "comment": self.comment,
            "flags": list(self.flags),
            "spec": DEFAULT_SPEC | self.spec,
            "axis": self.axis,
            "dtype": self.dtype,
            "inputs": {name: array.to_json() for name, array in self.inputs.items()},
            "cotangent": self.cotangent.to_json(),
            **({} if self.tangent is None else {"tangent": self.tangent.to_json()}),
            **answer,
            "result": "invalid" if invalid else "valid",
            "reason": self.reason,
        }
        return record | ({"twin": self.twin, "rows": list(self.rows)} if invalid else {})


def vector_from_json(record: dict[str, Json]) -> Vector:
    """A vector as a file holds it, without its answer: how those that no catalogue makes meet the oracle."""
    inputs = {name: from_json(array) for name, array in record["inputs"].items()}
    answered = record["expected"]["grad"] if record["expected"] else {}
    floating = [name for name in (*DIFFERENTIATED, "labels") if name in inputs and inputs[name].dtype in FLOATS]
    indices = answered.get("logits", {}).get("indices")
    return Vector(
        record["id"],
        record["comment"],
        record["spec"],
        record["axis"],
        inputs,
        from_json(record["cotangent"]),
        tuple(record["flags"]),
        record["reason"],
        record.get("twin"),
        tuple(record.get("rows", ())),
        indices=None if indices is None else tuple(indices),
        without=tuple(name for name in floating if answered and name not in answered),
        tangent=from_json(record["tangent"]) if "tangent" in record else None,
    )


def problem_of(vector: Vector) -> Problem:
    """The problem that a vector's inputs pose."""
    inputs = vector.inputs
    labels_shape = batch_shape(vector.shape, vector.axis)
    offsets = class_offsets(vector.shape, vector.axis)
    inner = math.prod(labels_shape[1:])
    positions = tuple(
        _position(vector, i, x, flat, i // inner if labels_shape else 0)
        for i, (x, flat) in enumerate(zip(logits_of(vector), offsets, strict=True))
    )
    normalizer = _numbers(inputs.get("normalizer"))
    return Problem(
        DEFAULT_SPEC | vector.spec,
        positions,
        _numbers(inputs.get("class_weight")),
        _numbers(inputs.get("prior")),
        normalizer[0] if normalizer else None,
        labels_shape[0] if labels_shape else 1,
    )


def logits_of(vector: Vector) -> list[tuple[Number, ...]]:
    """The logits of each position, given or made."""
    if vector.linear:
        return head_of(vector).logits()
    flat = vector.inputs["logits"].data
    return [_exact([flat[j] for j in offsets]) for offsets in class_offsets(vector.shape, vector.axis)]


def head_of(vector: Vector) -> Head:
    """The linear layer of a vector; a bias that is not given is 0."""
    inputs = vector.inputs
    features, classes = inputs["kernel"].shape
    h, w = _exact(inputs["hidden"].data), _exact(inputs["kernel"].data)
    columns: dict[tuple[int, ...], tuple[Number, ...]] = {}
    each_class = [w[k::classes] for k in range(classes)]
    scale, cap = _numbers(inputs.get("logit_scale")), _numbers(inputs.get("softcap"))
    return Head(
        tuple(h[i * features : (i + 1) * features] for i in range(math.prod(vector.shape[:-1]))),
        tuple(columns.setdefault(tuple(map(id, column)), column) for column in each_class),
        _numbers(inputs.get("bias")) or (ZERO,) * classes,
        scale[0] if scale else ONE,
        cap[0] if cap else None,
    )


def _numbers(array: Array | None) -> tuple[Number, ...] | None:
    return None if array is None else _exact(array.data)


def _exact(entries: Sequence[Entry]) -> tuple[Number, ...]:
    """mpmath's numbers; equal entries become one object, which the oracle works out once."""
    numbers = {entry: mp.mpf(entry) for entry in dict.fromkeys(entries)}
    return tuple(numbers[entry] for entry in entries)


def _position(vector: Vector, i: int, x: tuple[Number, ...], flat: Sequence[int], sequence: int) -> Position:
    inputs, labels = vector.inputs, vector.inputs["labels"]
    soft = labels.shape == vector.shape and labels.dtype.startswith(("float", "bfloat"))
    label = None if soft else int(labels.data[i])
    mask = bool(inputs["where"].data[i]) if "where" in inputs else True
    if label is not None and label == vector.spec.get("ignore_index"):
        mask = False
    weight = inputs["sample_weight"].data[i] if "sample_weight" in inputs else 1
    target = _exact([labels.data[j] for j in flat]) if soft else None
    if target is not None and not (mask and weight):
        # What nobody may read is no number, lest a negative one make the entropy complex.
        target = tuple(q if q >= 0 else mp.nan for q in target)
    return Position(
        x,
        _allowed(inputs.get("allowed"), flat),
        label,
        target,
        mask,
        mp.mpf(weight) if mask else ZERO,
        sequence,
    )


def _allowed(allowed: Array | None, flat: Sequence[int]) -> tuple[bool, ...]:
    if allowed is None:
        return (True,) * len(flat)
    if len(allowed.shape) == 1 and len(flat) == allowed.shape[0]:
        return tuple(bool(entry) for entry in allowed.data)
    return tuple(bool(allowed.data[j]) for j in flat)


def precision(vector: Vector) -> int:
    """Working digits: enough that 1 − p keeps 20 of its own at the widest gap within a row.

    Past a gap of 700 that difference is below the smallest float64, and 0 is as good.
    """
    finite = [[float(x) for x in dict.fromkeys(row) if mp.isfinite(x)] for row in logits_of(vector)]
    gap = max((max(row) - min(row) for row in finite if row), default=0.0)
    return BASE_PRECISION + math.ceil(min(gap, WIDEST_GAP) / math.log(10))


def answers(vector: Vector) -> dict[str, Json]:
    """Expected values and scales of one vector."""
    with mp.workdps(precision(vector)):
        problem = problem_of(vector)
        rows = [oracle.row(position) for position in problem.positions]
        return (_LinearAnswer if vector.linear else _Answer)(vector, problem, rows).to_json()


class _Answer:
    """Everything that the oracle says about one vector, in the files' layout."""

    def __init__(self, vector: Vector, problem: Problem, rows: list[Row]) -> None:
        self.vector = vector
        self.problem = problem
        self.rows = rows
        self.cotangent = [mp.mpf(entry) for entry in vector.cotangent.data]
        self.yardsticks = self._yardsticks()
        self.result = "float64" if vector.dtype == "float64" else "float32"

    def _yardsticks(self) -> Yardsticks:
        return Yardsticks(self.problem, self.rows, self.cotangent)

    def to_json(self) -> dict[str, Json]:
        """The keys `expected` and `scale`."""
        counting = oracle.Counting.of(self.problem)
        loss = oracle.reduced(self.problem, counting, oracle.losses(self.problem, self.rows))
        shape = self.vector.cotangent.shape
        totals, sizes = oracle.totals(self.problem, self.rows), self.yardsticks.totals()
        grads, scales = self._gradients()
        hvp, hvp_size = self._hvp()
        return {
            "expected": {
                "loss": self._exact(shape, loss),
                "grad": grads,
                **hvp,
                "totals": {name: self._exact((), [value]) for name, value in totals.items()},
            },
            "scale": {
                "loss": self._size(shape, self.yardsticks.loss()),
                "grad": scales,
                **hvp_size,
                "totals": {name: self._size((), [value]) for name, value in sizes.items()},
            },
        }

    def _hvp(self) -> tuple[dict[str, Json], dict[str, Json]]:
        """The derivative of the logits' gradient along the tangent, if the vector has one."""
        if self.vector.tangent is None:
            return {}, {}
        flat = self.vector.tangent.data
        offsets = class_offsets(self.vector.tangent.shape, self.vector.axis)
        tangent = [[mp.mpf(flat[j]) for j in row] for row in offsets]
        exact = self._classwise(gradients.logits_hvp(self.problem, self.cotangent, tangent), written)
        size = self._classwise(self.yardsticks.hvp(tangent), _short)
        exact["dtype"] = size["dtype"] = self.vector.dtype
        return {"hvp": exact}, {"hvp": size}

    def _exact(self, shape: Sequence[int], values: Sequence[Number]) -> dict[str, Json]:
        return {
            "dtype": self.result,
            "shape": list(shape),
            "data": [written(value) for value in values],
        }

    def _size(self, shape: Sequence[int], values: Sequence[Number]) -> dict[str, Json]:
        data = [encode(shortened(value)) for value in values]
        return {"dtype": self.result, "shape": list(shape), "data": data}

    def _gradients(self) -> tuple[dict[str, Json], dict[str, Json]]:
        arguments = (self.problem, self.rows, self.cotangent)
        exact, sizes = self._main_gradients()
        soft = any(position.soft is not None for position in self.problem.positions)
        if soft and "labels" not in self.vector.without:
            exact["labels"] = self._classwise(gradients.soft_labels_gradient(*arguments), written)
            sizes["labels"] = self._classwise(self.yardsticks.soft_labels(), _short)
        for name in (n for n in DIFFERENTIATED if n in self.vector.inputs):
            if name not in self.vector.without:
                shape = self.vector.inputs[name].shape
                exact[name] = self._exact(shape, self._gradient_of(name))
                sizes[name] = self._size(shape, getattr(self.yardsticks, name)())
        return exact, sizes

    def _main_gradients(self) -> tuple[dict[str, Json], dict[str, Json]]:
        """To the logits, in their dtype."""
        arguments = (self.problem, self.rows, self.cotangent)
        logits = gradients.logits_gradient(*arguments)
        gradients.check_logits_gradient(*arguments, logits, self.vector.id)
        exact = self._classwise(logits, written)
        sizes = self._classwise(self.yardsticks.logits(), _short)
        exact["dtype"] = sizes["dtype"] = self.vector.dtype
        return {"logits": exact}, {"logits": sizes}

    def _gradient_of(self, name: str) -> list[Number]:
        arguments = (self.problem, self.rows, self.cotangent)
        if name == "sample_weight":
            return gradients.sample_weight_gradient(*arguments)
        return gradients.vector_gradient(*arguments, name)

    def _classwise(self, values: Sequence[Sequence[Number]], write: Callable[[Number], Json]) -> dict[str, Json]:
        """Values per position and class, put back where the logits lie."""
        shape = self.vector.shape
        flat: list[Number] = [ZERO] * math.prod(shape)
        for offsets, row in zip(class_offsets(shape, self.vector.axis), values, strict=True):
            for j, value in zip(offsets, row, strict=True):
                flat[j] = value
        head: dict[str, Json] = {"dtype": self.result, "shape": list(shape)}
        indices = self.vector.indices
        if indices is None:
            return head | {"data": [write(value) for value in flat]}
        return head | {"indices": list(indices), "data": [write(flat[j]) for j in indices]}


class _LinearAnswer(_Answer):
    """The gradients to hidden, kernel and bias in the place of the logits'."""

    def _yardsticks(self) -> Yardsticks:
        self.gradients = linear.Gradients(head_of(self.vector), self.problem, self.rows, self.cotangent)
        self.linear_yardsticks = LinearYardsticks(self.gradients)
        return self.linear_yardsticks.of_the_rest()

    def _main_gradients(self) -> tuple[dict[str, Json], dict[str, Json]]:
        self.gradients.check(self.vector.id)
        return self._of(self.gradients, written), self._of(self.linear_yardsticks, _short)

    def _of(self, source: linear.Gradients | LinearYardsticks, write: Callable[[Number], Json]) -> dict[str, Json]:
        """A large kernel's at some classes, and at some positions where there are many of them."""
        inputs, some = self.vector.inputs, self.vector.indices
        features, classes = inputs["kernel"].shape
        positions = math.prod(self.vector.shape[:-1])
        at = range(0, positions, positions // 8) if positions > MANY else range(positions)
        chosen = range(classes) if some is None else some
        hidden = source.hidden()
        found = {
            "hidden": ([hidden[i] for i in at], [i * features + d for i in at for d in range(features)]),
            "kernel": (source.kernel(chosen), [d * classes + k for d in range(features) for k in chosen]),
            "bias": ([source.bias(chosen)], list(chosen)),
        }
        return {name: self._given(name, *pair, write) for name, pair in found.items() if name in inputs}

    def _given(
        self,
        name: str,
        values: Sequence[Sequence[Number]],
        places: list[int],
        write: Callable[[Number], Json],
    ) -> dict[str, Json]:
        """In the dtype and the shape of an input; without the places if these are all."""
        shape = self.vector.inputs[name].shape
        head = {"dtype": self.vector.dtype, "shape": list(shape)}
        data = [write(value) for row in values for value in row]
        return head | ({} if len(places) == math.prod(shape) else {"indices": places}) | {"data": data}


def _short(value: Number) -> Json:
    return encode(shortened(value))


def written(value: Number) -> str:
    """Twenty significant digits, as a string."""
    if mp.isnan(value):
        return "nan"
    if mp.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    return str(mp.nstr(value, DIGITS, strip_zeros=True, min_fixed=-5, max_fixed=15)).removesuffix(".0")
