"""Modes that the suite makes of an adapter's plain one, so that any adapter may declare them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from multismooth_conformance.adapter import Adapter, Array, Inputs
from multismooth_conformance.vectors import Contracted, Expected, Vector

UNREDUCED = "unreduced"

COTANGENTS = np.array([-2, -1.5, -1, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1, 1.5, 2])


def native(adapter: Adapter, mode: str) -> str:
    """The mode that the adapter itself runs in."""
    return adapter.modes[0] if mode == UNREDUCED else mode


def prepared(vector: Vector, mode: str) -> Vector | str:
    """What is run and judged in this mode, or why the vector is not for it."""
    return unreduced(vector) if mode == UNREDUCED else vector


def unreduced(vector: Vector) -> Vector | str:
    """The same call with ``reduction="none"`` and a random cotangent r, or why there is none.

    With loss = Σ_i a_i·ℓ_i the logits' gradient of r·ℓ is r_i / (cotangent·a_i) times that of the vector, row by row,
    and the losses of the positions, contracted with a, are the vector's; so is hidden's, of the linear loss.
    Gradients to class weights, to a prior, to kernel and bias are sums over the rows, and those to sample weights may
    go through the denominator: these are not judged.
    """
    inputs = vector.inputs
    if inputs.spec["reduction"] == "none":
        return "is unreduced as it stands"
    if vector.reason == "bad_normalizer":
        return "divides by nothing"
    arrays = {name: array for name, array in inputs.arrays.items() if name != "normalizer"}
    call = inputs._replace(spec=dict(inputs.spec) | {"reduction": "none"}, arrays=arrays)
    draw = np.random.default_rng(zlib.crc32(vector.id.encode()))
    cotangent = draw.choice(COTANGENTS, inputs.counts().shape).astype(vector.cotangent.dtype)
    if vector.expected is None or vector.scale is None:
        return replace(vector, inputs=call, cotangent=cotangent)
    shares = _shares(inputs, vector.expected["totals"]["weight"])
    if shares is None or vector.cotangent == 0:
        return "says nothing of a position: its mean is of nothing, or its cotangent 0"
    whole = shares * np.longdouble(vector.cotangent)
    ratio = np.divide(cotangent, whole, out=np.zeros_like(whole), where=whole != 0)
    kept = ["logits", "hidden", "labels"] if _by_weights(inputs) else ["logits", "hidden", "labels", "sample_weight"]
    ratios = {name: ratio if name == "sample_weight" else np.expand_dims(ratio, inputs.class_axis) for name in kept}
    loss = vector.expected["loss"]
    contracted = Contracted(loss.values, None, loss.dtype, loss.shape, shares)
    return replace(
        vector,
        inputs=call,
        cotangent=cotangent,
        expected={"loss": contracted, "grad": _times(vector.expected, ratios)},
        scale={"loss": vector.scale["loss"], "grad": _times(vector.scale, {k: abs(r) for k, r in ratios.items()})},
    )


def _times(outputs: Mapping[str, Any], ratios: Mapping[str, Array]) -> dict[str, Expected]:
    """The gradients, each row times its ratio."""
    return {name: expected.times(ratios[name]) for name, expected in outputs["grad"].items() if name in ratios}


def _shares(inputs: Inputs, weight: Expected) -> Array | None:
    """What each position's weighted loss counts for in the loss, or None where a mean is of nothing."""
    shares = np.ones(inputs.counts().shape, np.longdouble)
    if inputs.spec["reduction"] == "sum":
        return shares
    divisor = np.longdouble(inputs.arrays.get("normalizer", weight.values))
    if divisor == 0:
        return None
    if "sequences" in inputs.spec["denominator"]:
        weights = np.where(inputs.counts(), inputs.arrays.get("sample_weight", shares), 0)
        whole = weights.sum(tuple(range(1, weights.ndim)), np.longdouble, keepdims=True)
        shares = np.divide(shares, whole, out=np.zeros_like(shares), where=whole != 0)
    return shares / divisor


def _by_weights(inputs: Inputs) -> bool:
    """Whether the loss is divided by sample weights."""
    denominator = inputs.spec["denominator"]
    by_sum = denominator == "weights" and "normalizer" not in inputs.arrays
    return inputs.spec["reduction"] == "mean" and (by_sum or "sequences" in denominator)
