"""How far any two implementations are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from multismooth_conformance.adapter import LINEAR, Array
from multismooth_conformance.report.results import Column, Results
from multismooth_conformance.tolerances import PAIR, compute_dtype, half_ulp, linear_gradient, rounded, terms
from multismooth_conformance.vectors import Expected, Vector

OUTPUTS = {
    "loss": "loss",
    "logits_gradient": "the logits' gradient",
    "hidden_gradient": "hidden's gradient",
    "kernel_gradient": "the kernel's gradient",
}


class Pair(NamedTuple):
    """Two implementations where they differ most."""

    difference: float
    """in parts of what is allowed between any two"""
    names: tuple[str, str]
    """each with its mode"""
    vector: str


class Matrix(NamedTuple):
    """The worst difference between any two implementations, in one output and one dtype."""

    output: str
    dtype: str
    pairs: dict[tuple[str, str], Pair]
    """by the implementations in the order of the results; without those that share no vector"""

    @property
    def worst(self) -> float:
        return max((pair.difference for pair in self.pairs.values()), default=0.0)

    def ranked(self) -> list[Pair]:
        """The pairs, those that differ most first."""
        return sorted(self.pairs.values(), key=lambda pair: -pair.difference)


def differences(results: Results) -> list[Matrix]:
    """For each output and dtype, over all vectors that both implementations pass, in any of their modes."""
    return [_matrix(results, output, dtype) for output in OUTPUTS for dtype in PAIR]


def _matrix(results: Results, output: str, dtype: str) -> Matrix:
    """The columns are compared first, then those of an implementation put together."""
    count = len(results.columns)
    worst, at = np.full((count, count), -1.0), np.full((count, count), -1)
    for j, vector in enumerate(results.vectors):
        name, _ = vector.inputs.logits
        if compute_dtype(name).name != dtype or _of(vector.expected, output) is None:
            continue
        present, values = _values(results.columns, vector, output)
        if len(present) < 2:
            continue
        block = np.ix_(present, present)
        apart = _apart(values / _allowed(vector, output, name, dtype))
        larger = apart > worst[block]
        worst[block] = np.where(larger, apart, worst[block])
        at[block] = np.where(larger, j, at[block])
    return Matrix(output, dtype, dict(_pairs(results, worst, at)))


def _values(columns: Sequence[Column], vector: Vector, output: str) -> tuple[list[int], Array]:
    """Which columns passed, and what they gave less the truth: small numbers, whose differences are exact."""
    truth = _given(vector.expected, output).values.astype(np.float64).reshape(-1)
    found = {}
    for i, column in enumerate(columns):
        entry = column.entries.get(vector.id, {})
        if entry.get("outcome") == "passed" and entry.get(output) is not None:
            value = np.asarray(entry[output], np.float64).reshape(-1)
            if value.shape == truth.shape:
                found[i] = value
    values = np.array([*found.values()]).reshape(len(found), truth.size)
    # Where the truth is infinite or no number, all that passed are the same.
    return list(found), np.where(np.isfinite(truth), values - np.where(np.isfinite(truth), truth, 0), 0)


def _of(outputs: Any, output: str) -> Expected | None:
    """None where a vector expects no such output."""
    if outputs is None:
        return None
    found: Expected | None = outputs["loss"] if output == "loss" else outputs["grad"].get(_input(output))
    return found


def _given(outputs: Any, output: str) -> Expected:
    found = _of(outputs, output)
    assert found is not None
    return found


def _input(output: str) -> str:
    return output.removesuffix("_gradient")


def _allowed(vector: Vector, output: str, name: str, dtype: str) -> Array:
    """What two may differ by. Results below the smallest normal number may be 0; half precision rounds once more."""
    scale = _given(vector.scale, output).values
    allowed = np.maximum(scale * PAIR[dtype], np.finfo(dtype).smallest_normal)
    if output != "loss":
        allowed = allowed + 2 * rounded(_given(vector.expected, output).values, name)
    if _input(output) in LINEAR:
        # Sums over very many terms, each of which may be as far from the truth as its bound.
        steps = 2 * linear_gradient(vector.inputs, _input(output))
        allowed = np.maximum(allowed, steps * half_ulp(scale, compute_dtype(name))) + 2 * terms(scale, name)
    return allowed.astype(np.float64).reshape(-1)


def _apart(values: Array) -> Array:
    """The largest difference between any two rows. Many are the same to the bit, and are compared once."""
    distinct, back = np.unique(values, axis=0, return_inverse=True)

    def differences(row: Array) -> Array:
        with np.errstate(invalid="ignore"):  # where both have rounded to infinity they are the same
            return np.where(distinct == row, 0.0, np.abs(distinct - row))

    table = np.array([differences(row).max(axis=1, initial=0.0) for row in distinct])
    back = back.reshape(-1)
    return table.reshape(len(distinct), len(distinct))[np.ix_(back, back)]


def _pairs(results: Results, worst: Array, at: Array) -> Iterator[tuple[tuple[str, str], Pair]]:
    names = results.implementations
    for a, left in enumerate(names):
        for right in names[a + 1 :]:
            rows, columns = results.of(left), results.of(right)
            block = worst[np.ix_(rows, columns)]
            i, k = np.unravel_index(int(np.argmax(block)), block.shape)
            row, column = rows[int(i)], columns[int(k)]
            if block[i, k] >= 0:
                pair = results.columns[row].name, results.columns[column].name
                yield (left, right), Pair(float(block[i, k]), pair, results.vectors[at[row, column]].id)
