"""Holds the outputs of an implementation against a vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from multismooth_conformance import tolerances
from multismooth_conformance.adapter import LINEAR, Adapter, Array, Inputs
from multismooth_conformance.vectors import Contracted, Vector


class Verdict(NamedTuple):
    """The worst errors: of the loss in ULP, of the gradients in parts of what is allowed."""

    loss: float
    gradient: float


def judge(vector: Vector, loss: Array, gradients: Mapping[str, Array]) -> Verdict:
    """Raises AssertionError unless loss and gradients are those of a valid vector."""
    assert vector.expected is not None
    assert vector.scale is not None
    name, _ = vector.inputs.logits
    kind = tolerances.compute_dtype(name)
    depth = tolerances.reduction(vector.positions) if vector.inputs.spec["reduction"] != "none" else 0
    contracted = isinstance(vector.expected["loss"], Contracted)
    steps = tolerances.CONTRACTED if contracted else tolerances.position(vector.inputs) + depth
    if np.asarray(loss).dtype != kind:
        raise AssertionError(f"the loss has dtype {np.asarray(loss).dtype}, not {kind}")
    unit = tolerances.ulp(vector.scale["loss"].values, kind)
    worst = tolerances.check("loss", loss, vector.expected["loss"], steps * unit, unit)
    gradient = 0.0
    for key in LINEAR[:2] if vector.inputs.linear else ("logits",):
        if key not in gradients:
            raise AssertionError(f"there is no gradient to {key}")
    for key in vector.expected["grad"].keys() & gradients.keys():
        gradient = max(gradient, _gradient(vector, key, gradients[key], name, kind, depth))
    return Verdict(worst, gradient)


def _gradient(vector: Vector, key: str, actual: Array, name: str, kind: np.dtype[np.floating], depth: int) -> float:
    assert vector.expected is not None
    assert vector.scale is not None
    expected, scale = vector.expected["grad"][key], vector.scale["grad"][key].values
    unit = tolerances.half_ulp(scale, kind)
    if key in ("logits", *LINEAR):
        if str(actual.dtype) != name:
            raise AssertionError(f"the gradient to {key} has dtype {actual.dtype}, not {name}")
        allowed = tolerances.rounded(expected.values, name)
        if key == "logits":
            allowed = tolerances.GRADIENT * unit + allowed
        else:
            allowed = tolerances.linear_gradient(vector.inputs, key) * unit + tolerances.terms(scale, name) + allowed
    else:
        allowed = (tolerances.OTHER_GRADIENT + 2 * depth) * unit
    return tolerances.check(f"the gradient to {key}", actual, expected, allowed, allowed)


def judge_totals(vector: Vector, totals: Mapping[str, Array]) -> None:
    """Raises AssertionError unless the sums before the division are those of the vector."""
    assert vector.expected is not None
    assert vector.scale is not None
    kind = tolerances.compute_dtype(vector.inputs.logits[0])
    steps = tolerances.position(vector.inputs) + tolerances.reduction(vector.positions)
    for key, expected in vector.expected["totals"].items():
        unit = tolerances.ulp(vector.scale["totals"][key].values, kind)
        tolerances.check(f"totals.{key}", totals[key], expected, steps * unit, unit)


def judge_hvp(vector: Vector, hvp: Array) -> float:
    """Raises AssertionError unless the logits' gradient changes along the tangent as the vector says."""
    assert vector.expected is not None
    assert vector.scale is not None
    name, _ = vector.inputs.logits
    if str(hvp.dtype) != name:
        raise AssertionError(f"the gradient's derivative has dtype {hvp.dtype}, not {name}")
    expected, scale = vector.expected["hvp"], vector.scale["hvp"].values
    unit = tolerances.half_ulp(scale, tolerances.compute_dtype(name))
    allowed = tolerances.SECOND * unit + tolerances.rounded(expected.values, name)
    return tolerances.check("the gradient's derivative", hvp, expected, allowed, allowed)


def judge_nan(vector: Vector, loss: Array, gradients: Mapping[str, Array]) -> None:
    """Raises AssertionError unless a bad value made its rows NaN, in the loss and in the gradient."""
    if not vector.rows:
        raise AssertionError(f"{vector.reason} is an error in every mode, and no error was raised")
    rows = list(vector.rows)
    loss = np.asarray(loss, np.float64)
    if vector.inputs.spec["reduction"] == "none":
        is_nan = np.isnan(loss).reshape(-1)
        if set(np.flatnonzero(is_nan)) != set(rows):
            raise AssertionError(f"the loss is NaN at {np.flatnonzero(is_nan)}, not at {rows}")
    elif not np.isnan(loss):
        raise AssertionError(f"the loss is {loss}, not NaN")
    name, axis = ("hidden", -1) if vector.inputs.linear else ("logits", vector.inputs.axis)
    gradient = np.moveaxis(np.asarray(gradients[name], np.float64), axis, -1)
    by_row = gradient.reshape(-1, gradient.shape[-1])[rows]
    if not np.isnan(by_row).any(-1).all() or not (np.isnan(by_row) | (by_row == 0)).all():
        raise AssertionError(f"the gradient's rows {rows} are not NaN: {by_row}")


def run(adapter: Adapter, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
    """Loss and gradients, those that the adapter says it has and the call asks for."""
    call = adapter.linear if inputs.linear else adapter.run
    assert call is not None
    loss, gradients = call(inputs, cotangent, mode)
    wanted = [name for name in inputs.differentiable() if name in (*LINEAR, *adapter.gradients)]
    missing = [name for name in wanted if name not in gradients]
    if missing:
        raise AssertionError(f"there is no gradient to {', '.join(missing)}")
    return np.asarray(loss), {name: np.asarray(gradients[name]) for name in wanted}
