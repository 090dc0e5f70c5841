"""How far an implementation may be from the truth. Every bound is here, with where it comes from.

A vector's ``scale`` holds, for each output, the size s of what rounds: the result itself, or a larger term that
cancels in it. The arithmetic is in float32 for half-precision logits, whose gradient is rounded once more.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.vectors import Expected, dtype

POSITION = 4
"""ULP of a position's loss: x − m, the exponential, log1p and the products round about once each."""

EXPECTED_WEIGHT = 2.5
"""ULP more where Σ_k q_k·w_k multiplies the loss: q_k rounds three times, its product with w_k and the sum once."""

CONTRACTED = 2 * POSITION
"""ULP of a sum of positions that is formed without rounding: its ULP may be half of what theirs add up to."""

GRADIENT = 4
"""Half-ULP of (mass + |q|)·|cotangent| in an element of the logits' gradient."""

OTHER_GRADIENT = 16
"""Half-ULP of the terms' absolute sum in the gradient to a weight, a prior or a soft label: the loss of a position
(8 half-ULP), times a cotangent that has been divided, times the slope of its coefficient, some products each."""

LINEAR_GRADIENT = 8
"""Half-ULP of the terms' absolute sum in the gradients of the linear loss. A term is an element g of the logits'
gradient times an entry of kernel or hidden; in g, p = exp((x − m) − L) is off by what its exponent is, and so by
1 + (m − x) + L of its own half-ULP, and the slope, the mass and the cotangent round about once each. Unlike
``GRADIENT`` this is small for a small p: many small terms must add up to a small error."""

LOGIT_SCALE = 1
"""ULP more of a loss whose logits are multiplied by a number, of the terms q·(|x| + Σ p·|x|) that these move: the
number and the product round once each."""

SOFTCAP = 6
"""ULP more where they are bounded: the quotient, the product and the constant round, and a tanh is off by 3 ULP."""

SECOND = 8
"""Half-ULP of e·(mass + 2λ·(max(|x|, L) + 1))·max|v| in the change of the logits' gradient along v: the softmax and
the slope of log Σ exp, both a gradient's element, times one another."""

PAIR = {"float32": 1e-6, "float64": 1e-13}
"""Of s, between any two implementations."""


def position(inputs: Inputs) -> float:
    """ULP of a position's loss in this call."""
    expects = inputs.spec["class_weight_rule"] == "expected" and "class_weight" in inputs.arrays
    return POSITION + EXPECTED_WEIGHT * expects + head(inputs)


def head(inputs: Inputs) -> int:
    """ULP more for logits that are not exact: what is done to hidden·kernel + bias, which is exact in the vectors."""
    return LOGIT_SCALE * ("logit_scale" in inputs.numbers) + SOFTCAP * ("softcap" in inputs.numbers)


def linear_gradient(inputs: Inputs, name: str) -> float:
    """Half-ULP of the terms of a gradient to hidden, which are as many as the classes; to others, as the positions.

    A matrix product adds n terms up in a few accumulators: not pairwise, but as a random walk of n steps.
    """
    _, shape = inputs.logits
    terms = shape[-1] if name == "hidden" else math.prod(shape[:-1])
    return LINEAR_GRADIENT + 2 * head(inputs) + max(2 * reduction(terms), math.sqrt(terms) / 2)


def terms(scale: Array, name: str) -> Array:
    """Half an ULP of each term, where half-precision logits have a gradient of their dtype that is multiplied."""
    if name not in ("float16", "bfloat16"):
        return np.zeros(np.shape(scale), np.longdouble)
    info = ml_dtypes.finfo(dtype(name))  # type: ignore[no-untyped-call]  # ml_dtypes has no types there
    return scale * np.longdouble(info.eps) / 2


def reduction(positions: int) -> int:
    """Half-ULP bounds grow with the depth of a pairwise sum."""
    return math.ceil(math.log2(positions)) if positions > 1 else 0


def compute_dtype(name: str) -> np.dtype[np.floating]:
    """The dtype of the arithmetic for logits of this dtype."""
    return np.dtype(np.float64 if name == "float64" else np.float32)


def ulp(scale: Array, kind: np.dtype[np.floating]) -> Array:
    """One unit in the last place of s, which is at least the smallest normal number."""
    tiny = np.finfo(kind).smallest_normal
    return np.spacing(np.maximum(np.abs(scale), tiny).astype(kind)).astype(np.longdouble)


def half_ulp(scale: Array, kind: np.dtype[np.floating]) -> Array:
    """What rounding adds to a term of size s at most, or the smallest normal number, below which is 0."""
    info = np.finfo(kind)
    size: Array = np.maximum(scale * info.eps / 2, info.smallest_normal)
    return size


def rounded(expected: Array, name: str) -> Array:
    """Half an ULP of a result in the dtype of half-precision logits; 0 in the others."""
    if name not in ("float16", "bfloat16"):
        return np.zeros(np.shape(expected), np.longdouble)
    info = ml_dtypes.finfo(dtype(name))  # type: ignore[no-untyped-call]  # ml_dtypes has no types there
    exponent = np.floor(np.log2(np.maximum(np.abs(expected), info.smallest_normal)))
    # A value just below a power of two may round up across it.
    return np.exp2(exponent) * np.longdouble(info.eps) * (0.5 + 2.0**-8)


def stored(expected: Array, name: str) -> Array:
    """Results as an output of this dtype can hold them: float16 rounds to an infinity from 65520 on."""
    overflows = np.abs(expected) >= 65520 if name == "float16" else np.zeros(np.shape(expected), bool)
    return np.where(overflows, np.copysign(np.inf, expected), expected)


def flushed(actual: Array, expected: Array, name: str) -> Array:
    """Where a 0 stands for a result below the smallest normal number of the arithmetic."""
    tiny = np.finfo(compute_dtype(name)).smallest_normal
    return np.asarray((actual == 0) & (np.abs(expected) < tiny))


def check(what: str, actual: Array, expected: Expected, allowed: Array, unit: Array) -> float:
    """Raises unless every element is within ``allowed``; the worst error in ``unit``s otherwise."""
    name = str(np.asarray(actual).dtype)
    got = expected.of(np.asarray(actual)).astype(np.longdouble)
    want = stored(expected.values, name)
    if got.shape != want.shape:
        raise AssertionError(f"{what} has shape {got.shape}, not {want.shape}")
    if want.size == 0:
        return 0.0
    special = ~np.isfinite(want)
    same = (got == want) | (np.isnan(got) & np.isnan(want)) | flushed(got, want, name)
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(got - want))
    wrong = np.where(special, ~same, ~(error <= allowed))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        size = float(np.broadcast_to(error / unit, error.shape)[index])
        raise AssertionError(
            f"{what}{list(index)} is {got[index]!s}, and {want[index]!s} is right: off by {size:.3g} units, "
            f"{float(np.broadcast_to(allowed / unit, error.shape)[index]):.3g} are allowed "
            f"({int(wrong.sum())} of {want.size} elements are wrong)"
        )
    return float(np.max(np.where(special, 0.0, error / unit)))
