"""From a ``Spec`` to the few coefficients of the loss, once for every framework's arrays.

With an integer label every target is ``q_y = on`` and ``q_k = off·v_k`` for the other classes, and so

    ℓ = mass·L − on·(x_y − m) − off·Σ_{k≠y} v_k·(x_k − m) + z_loss·(m + L)² − H

where m = max x and L = lse − m. None of the first three terms is negative, so none cancels. The classes' vector
v is c, what each class receives of the smoothing mass (prior or 1, 0 where excluded or not allowed), times the
class weights under the rule ``per_class``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from multismooth.spec import Spec

STEEPEST = -1e30
"""Stands for the slope −inf of x·log x at 0: finite, and its sum over 10⁸ positions too, so that 0 times it is 0."""


class Functions(NamedTuple):
    """What the shared code needs from a framework, bound to the dtype that the loss is computed in."""

    where: Callable[[Any, Any, Any], Any]
    """of arrays, or Python numbers, which must not pass through another dtype on their way"""
    log: Callable[[Any], Any]
    any: Callable[[Any], Any]
    sum: Callable[..., Any]
    """of an array, over all axes; or ``sum(array, axes, keepdims)``"""
    count: Callable[[Any], Any]
    """how many are true, exact, as an array"""
    array: Callable[[Any], Any]
    ones_like: Callable[[Any], Any]
    size: Callable[[Any], Any]
    length: Callable[[Any], Any]


class ClassSums(NamedTuple):
    """Sums over the classes for each position, each a number or an array like the labels."""

    own: Any
    """c_y"""
    rest: Any
    """Σ_{k≠y} c_k"""
    xlogx_rest: Any = 0.0
    """Σ_{k≠y} c_k·log c_k, which only a prior makes other than 0"""
    label_weight: Any = None
    """w_y, or None without class weights"""
    weighted_rest: Any = None
    """Σ_{k≠y} c_k·w_k"""


class Coefficients(NamedTuple):
    """What equation (1) multiplies with, each a number or an array like the labels."""

    on: Any
    off: Any
    mass: Any
    entropy: Any
    expected_weight: Any
    """Σ_k q_k·w_k, which a denominator may count"""


def smooths(spec: Spec) -> bool:
    """Whether classes other than the label can receive anything."""
    return spec.label_smoothing > 0 if spec.values is None else spec.values[1] > 0


def lower(spec: Spec, sums: ClassSums, functions: Functions) -> Coefficients:
    """The coefficients for integer labels."""
    on, off, mass = _target(spec, sums, functions)
    entropy = _entropy(on, off, sums, functions) if spec.kl else 0.0
    w = sums.label_weight
    if w is None:
        return Coefficients(on, off, mass, entropy, mass)
    expected = on * w + off * sums.weighted_rest
    match spec.class_weight_rule:
        case "per_class":
            return Coefficients(on * w, off, expected, entropy, expected)
        case "per_label":
            return Coefficients(on * w, off * w, mass * w, entropy, expected)
        case "expected":
            return Coefficients(on * expected, off * expected, mass * expected, entropy, expected)
        case _:  # label_term
            on = kept(spec, sums.own + sums.rest, functions) * w + off * sums.own
            return Coefficients(on, off, on + off * sums.rest, entropy, expected)


def lower_soft(spec: Spec, total: Any, functions: Functions) -> tuple[Any, Any]:
    """``(keep, share)`` of soft labels t, for which q = keep·t + share·c; ``total`` is Σ_k c_k."""
    return kept(spec, total, functions), divide(spec.label_smoothing, total, functions)


def _target(spec: Spec, sums: ClassSums, functions: Functions) -> tuple[Any, Any, Any]:
    """q_y, s and the mass, such that q_k = s·c_k for every other class."""
    if spec.values is not None:
        on, off = spec.values
        return on, off, on + off * sums.rest
    epsilon, everyone = spec.label_smoothing, sums.own + sums.rest
    match spec.spread:
        case "uniform":
            share = divide(epsilon, everyone, functions)
            return kept(spec, everyone, functions) + share * sums.own, share, 1.0
        case "others":
            return kept(spec, sums.rest, functions), divide(epsilon, sums.rest, functions), 1.0
        case _:  # leaky
            share = divide(epsilon, everyone, functions)
            return 1 - epsilon, share, 1 - epsilon + share * sums.rest


def kept(spec: Spec, receivers: Any, functions: Functions) -> Any:
    """1 − ε, or all of it where no class can receive ε."""
    return _where(functions, receivers > 0, 1 - spec.label_smoothing, 1.0)


def _entropy(on: Any, share: Any, sums: ClassSums, functions: Functions) -> Any:
    """H(q) = −q_y·log q_y − Σ_{k≠y} s·c_k·log(s·c_k)."""
    spread = xlogx(share, functions) * sums.rest + share * sums.xlogx_rest
    return -xlogx(on, functions) - spread


def divide(a: Any, b: Any, functions: Functions) -> Any:
    """a / b, and 0 where b is 0."""
    nothing = b == 0
    return _where(functions, nothing, 0.0, a / _where(functions, nothing, 1.0, b))


def xlogx(x: Any, functions: Functions) -> Any:
    """x·log x, and 0 where x is 0, with the slope ``STEEPEST`` there."""
    nothing = x == 0
    logarithm = math.log if isinstance(x, float) else functions.log
    return x * _where(functions, nothing, STEEPEST, logarithm(_where(functions, nothing, 1.0, x)))


def _where(functions: Functions, condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, bool):
        return a if condition else b
    return functions.where(condition, a, b)
