"""The sums over the classes of each row, plane by plane, for XLA.

What XLA sums over the last axis it holds if another sum needs it too, and over another axis it sums badly. A plane is
one class of all rows; or where the classes come last, so many of each row that lie side by side: its lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import tensorflow as tf

from multismooth.blocks import SIZES
from multismooth.tensorflow.rows import (
    MANY,
    Rest,
    class_sum,
    loss_dtype,
    only,
    only_numbers,
    others_by_parts,
    take_label,
    weighted_by,
    without,
)

Tensor = tf.Tensor
Add = Callable[[Any, Tensor, Sequence[Tensor]], Sequence[Tensor]]
"""From the index of a plane, the plane, and what was collected before, to what is collected with it."""

STEP = 16
"""Planes of one step of the loop, for what it collects is read and written at each."""

PAST = "XLA has none in half precision past the custom gradient, where tf.vectorized_map goes: take it inside of that"
"""Why a gradient raises."""


def lanes_of(x: Tensor) -> int | None:
    """How many classes of a row make a plane, or None where there would be one plane, or more than ``MANY``.

    Of rows about twice as many as there are planes.
    """
    classes = x.shape[1]
    if len(x.shape) == 3:
        return 1 if classes <= MANY else None
    planes = [n for n in range(2, MANY + 1) if classes % n == 0 and classes // n >= SIZES[0]]
    return classes // min(planes, key=lambda n: abs(n - math.sqrt(classes / 2))) if planes else None


def row_by_planes(
    x: Tensor, labels: Tensor, used: Tensor | None, v: Tensor | None, lanes: int, *, rest: Rest
) -> list[Tensor]:
    """As ``row_statistics``, but for what only its gradient needs."""
    but_for = labels if v is not None or rest is Rest.OTHERS else None
    m, L, *sums = soft_row_by_planes(x, used, [] if rest is Rest.NONE else [v], lanes, but_for)
    own = only_numbers(tf.cast(take_label(x, labels), m.dtype) - m, used)
    summed = sums[0] if sums else tf.zeros_like(own)
    return [m, L, own, without(own, summed) if sums and but_for is None else summed]


def soft_row_by_planes(
    x: Tensor, used: Tensor | None, shares: Sequence[Tensor | None], lanes: int, but_for: Tensor | None = None
) -> list[Tensor]:
    """As ``soft_row_statistics``, of any shares of the classes; the class ``but_for`` is left out."""
    by_lanes = len(x.shape) == 2
    planes = tf.reshape(x, [-1, x.shape[1] // lanes, lanes]) if by_lanes else x
    maxima = _maxima(planes)
    m = only(tf.reduce_max(maxima[:, 0], 1, keepdims=True) if by_lanes else maxima, used)
    if by_lanes:
        others, sums = _sums_by_lanes(x, planes, m, but_for, used, shares)
    else:
        others, sums = _sums(planes, m, but_for, used, shares)
    return [m, only(tf.math.log1p(others), used), *sums]


def _maxima(planes: Tensor) -> Tensor:
    if planes.dtype == loss_dtype(planes):
        return tf.stop_gradient(tf.reduce_max(planes, 1, keepdims=True))
    # XLA is slow to reduce what it has to widen.
    lowest = tf.zeros_like(planes[:, :1], loss_dtype(planes)) - math.inf
    return tf.stop_gradient(_collect(planes, [lowest], lambda _, x, m: [tf.maximum(m[0], x)])[0])


def _sums(
    planes: Tensor, m: Tensor, but_for: Tensor | None, used: Tensor | None, shares: Sequence[Tensor | None]
) -> tuple[Tensor, list[Tensor]]:
    """Σ exp(z) without one maximum, and for each of the shares Σ v_k·z_k."""

    def add(k: Any, x: Tensor, sums: Sequence[Tensor]) -> Sequence[Tensor]:
        others, ties, *rests = sums
        z = only_numbers(x - m, used)
        top, e, zeros = z == 0, tf.exp(z), tf.zeros_like(z)
        # Not a count of the maxima, whose derivative ``rows.others_of`` tells of.
        rests = [rest + _shared(k, z, but_for, v) for rest, v in zip(rests, shares, strict=True)]
        return others + tf.where(top, zeros, e), ties + tf.where(top, 1 + z, zeros), *rests

    others, ties, *rests = _collect(planes, [tf.zeros_like(m)] * (2 + len(shares)), add)
    return others + (ties - 1), rests


def _sums_by_lanes(
    x: Tensor,
    planes: Tensor,
    m: Tensor,
    but_for: Tensor | None,
    used: Tensor | None,
    shares: Sequence[Tensor | None],
) -> tuple[Tensor, list[Tensor]]:
    """The same. A maximum hides the digits of its own lane only, whose classes are summed once more without it.

    That is the lane of the largest sum; if another one's is as large, no digit is missed.
    """
    lanes = planes.shape[2]
    m_of_lanes, used_of_lanes = (None if array is None else array[:, tf.newaxis] for array in (m, used))
    if but_for is not None:  # in its lane the plane it is in, and in every other none
        but_for = tf.where(but_for % lanes == tf.range(lanes), but_for // lanes, -1)[:, tf.newaxis]
    shares = [v if v is None else tf.reshape(v, [-1, *planes.shape[1:]]) for v in shares]

    def add(k: Any, x: Tensor, sums: Sequence[Tensor]) -> Sequence[Tensor]:
        z = only_numbers(x - m_of_lanes, used_of_lanes)
        total, *rests = sums
        return total + tf.exp(z), *(rest + _shared(k, z, but_for, v) for rest, v in zip(rests, shares, strict=True))

    zeros = tf.zeros_like(planes[:, :1], m.dtype)
    sums, *rests = (array[:, 0] for array in _collect(planes, [zeros] * (1 + len(shares)), add))
    lane = tf.argmax(sums, 1, tf.int32)[:, tf.newaxis]
    z = only_numbers(tf.cast(take_label(x, lane + tf.range(0, x.shape[1], lanes)), m.dtype) - m, used)
    return others_by_parts(sums, lane, tf.exp(z), z), [class_sum(rest, 1) for rest in rests]


def _shared(k: Any, z: Tensor, but_for: Tensor | None, v: Tensor | None) -> Tensor:
    """v_k·z_k, or 0 where k is the class to leave out."""
    weighted = z if v is None else weighted_by(v[:, k, tf.newaxis], z)
    return weighted if but_for is None else tf.where(but_for == k, tf.zeros_like(z), weighted)


def _collect(planes: Tensor, start: Sequence[Tensor], add: Add) -> Sequence[Tensor]:
    """What ``add`` makes of one plane after another, each widened by itself."""
    dtype, half = loss_dtype(planes), planes.dtype != loss_dtype(planes)
    # XLA would widen all of half-precision logits before the loop, unless it takes them for integers.
    bits = tf.bitcast(planes, tf.uint16) if half else planes

    def with_plane(collected: Sequence[Tensor], k: Any) -> Sequence[Tensor]:
        plane = bits[:, k, tf.newaxis]
        return add(k, tf.cast(tf.bitcast(plane, planes.dtype), dtype) if half else plane, collected)

    def step(k: Tensor, *collected: Tensor) -> Sequence[Tensor]:
        # Each index is k and a number: a chain of sums would take XLA seconds to compile.
        return k + STEP, *reduce(with_plane, [k + i for i in range(STEP)], collected)

    count, collected = planes.shape[1], start
    end = count - count % STEP
    if end:  # XLA cannot differentiate a loop of none
        _, *collected = tf.while_loop(lambda k, *_: k < end, step, (0, *start), maximum_iterations=end // STEP)
    collected = reduce(with_plane, range(end, count), collected)
    return [_guarded(value, planes) for value in collected] if half else collected


def _guarded(value: Tensor, planes: Tensor) -> Tensor:
    """The same. Integers have no derivative, and TensorFlow would say 0 to whoever goes past the custom gradient."""
    guard = tf.raw_ops.PreventGradient(input=tf.cast(planes[:, :1], value.dtype), message=PAST)
    return tf.where(tf.constant(False), guard, value)
