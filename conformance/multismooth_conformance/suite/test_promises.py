"""Promises that hold between calls, in the plain mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from multismooth_conformance import judge
from multismooth_conformance.adapter import LINEAR, Array, Inputs, unsupported
from multismooth_conformance.plugin import Run
from multismooth_conformance.vectors import Vector

RUNS = 100


def test_totals(plain: Vector, mode: str, run: Run) -> None:
    """The sums before the division are right."""
    judge.judge_totals(plain, _totals(run, plain.inputs))


def test_split(plain: Vector, mode: str, run: Run) -> None:
    """The totals of two parts of the batch add up to those of the whole."""
    _totals(run, plain.inputs)
    length = plain.inputs.arrays["labels"].shape[0] if plain.inputs.arrays["labels"].ndim else 0
    if length < 2 or plain.inputs.axis % plain.inputs.arrays["logits"].ndim == 0:
        pytest.skip("one sequence cannot be split")
    halves = [_totals(run, _part(plain.inputs, part)) for part in (slice(None, length // 2), slice(length // 2, None))]
    summed = {key: np.add(halves[0][key], halves[1][key]) for key in halves[0]}
    judge.judge_totals(plain, summed)


def test_second_order(plain: Vector, mode: str, run: Run) -> None:
    """The logits' gradient changes along the tangent as it must."""
    _supported(run, plain.inputs)
    assert plain.tangent is not None
    hvp = run.adapter.hvp(plain.inputs, plain.cotangent, plain.tangent)
    if hvp is None:
        pytest.skip("unsupported: has no second derivative")
    judge.judge_hvp(plain, np.asarray(hvp))


def test_masked(plain: Vector, mode: str, run: Run) -> None:
    """What stands at a masked position changes no bit."""
    _supported(run, plain.inputs)
    masked = ~plain.inputs.counts()
    if not masked.any():
        pytest.skip("nothing is masked")
    outputs = [
        judge.run(run.adapter, _filled(plain.inputs, masked, value), plain.cotangent, mode)
        for value in (0.0, np.nan, np.inf)
    ]
    for loss, gradients in outputs[1:]:
        np.testing.assert_array_equal(loss, outputs[0][0])
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, outputs[0][1][name], err_msg=name)


def test_reruns(plain: Vector, mode: str, run: Run) -> None:
    """The same call gives the same bits, a hundred times."""
    _supported(run, plain.inputs)
    first, gradients = judge.run(run.adapter, plain.inputs, plain.cotangent, mode)
    for _ in range(RUNS - 1):
        again, others = judge.run(run.adapter, plain.inputs, plain.cotangent, mode)
        np.testing.assert_array_equal(again, first)
        for name in {"logits", *LINEAR} & gradients.keys():
            np.testing.assert_array_equal(others[name], gradients[name], err_msg=name)


def _supported(run: Run, inputs: Inputs) -> None:
    reason = unsupported(run.adapter, inputs)
    if reason is not None:
        pytest.skip(f"unsupported: {reason}")


def _totals(run: Run, inputs: Inputs) -> Mapping[str, Array]:
    _supported(run, inputs)
    arrays = {name: array for name, array in inputs.arrays.items() if name != "normalizer"}
    totals = run.adapter.totals(inputs._replace(arrays=arrays))
    if totals is None:
        pytest.skip("unsupported: has no totals")
    return dict(totals)


def _part(inputs: Inputs, part: slice) -> Inputs:
    """Some elements of the labels' first axis, which is the logits' first too."""
    per_class = ("class_weight", "prior", "normalizer")
    shape = inputs.arrays["logits"].shape
    arrays = {
        name: array if name in per_class or (name == "allowed" and array.shape != shape) else array[part]
        for name, array in inputs.arrays.items()
    }
    return inputs._replace(arrays=arrays)


def _filled(inputs: Inputs, masked: Array, value: float) -> Inputs:
    name, axis = ("hidden", -1) if inputs.linear else ("logits", inputs.axis)
    filled = inputs.arrays[name].copy()
    np.moveaxis(filled, axis, -1)[masked] = value
    return inputs._replace(arrays=dict(inputs.arrays) | {name: filled})
