"""Sums over the classes of each row of logits, with the operations that TensorFlow does fastest.

For a row x with m = max x and v the classes' shares,

    L = log Σ_k exp(x_k − m),        own = x_y − m,        rest = Σ_{k≠y} v_k·(x_k − m)

L is log1p of the sum without one maximum, which keeps a confident row's digits. XLA has another way to the same sums,
``planes``, for many logits; of few it takes the classes of each lane together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import reduce

import tensorflow as tf

from multismooth.blocks import CACHED, classes_of_block, classes_of_lane
from multismooth.tensorflow.graphs import compiles_with_xla

Tensor = tf.Tensor


class Rest(Enum):
    """How the statistic ``rest`` is summed."""

    NONE = "not at all: nobody but the label receives anything"
    OTHERS = "over the other classes"
    ALL = "over all classes, less the label: where that receives the most, the loss loses no digits"


FEW = 128
"""Classes of a row that are not worth blocks. Of 100 these take longer, and of 400 less time; between, as long."""

MANY = 256
"""Classes whose sum one by one stays within the bounds: its rounding is about √K / 3 half-ULP, 5 at this many."""


def loss_dtype(logits: Tensor) -> tf.DType:
    """The dtype that the loss is computed and returned in."""
    return tf.float64 if logits.dtype == tf.float64 else tf.float32


def cached_lane(shape: tf.TensorShape) -> int | None:
    """Of rows: how many classes XLA takes together, with exponentials that it keeps; None if it does neither."""
    is_cached = shape.is_fully_defined() and shape.num_elements() < CACHED
    return classes_of_lane(shape[-1]) if is_cached and compiles_with_xla() else None


def shaped_like(values: Tensor, like: Tensor) -> Tensor:
    """The same values in another tensor's shape, and as much of it known beforehand."""
    return tf.reshape(values, like.shape if like.shape.is_fully_defined() else tf.shape(like))


def row_statistics(x: Tensor, labels: Tensor, used: Tensor | None, v: Tensor | None, *, rest: Rest) -> list[Tensor]:
    """Of a view, the class axis kept with length 1; last come the sum without one maximum, and exp(x − m)."""
    x = tf.cast(x, loss_dtype(x))  # once, so that its derivative is rounded once
    m, z, others, e = _shifted(x, used)
    own = only_numbers(take_label(x, labels) - m, used)  # XLA would hold z for a gather
    return [m, only(tf.math.log1p(others), used), own, _rest(z, own, labels, v, rest), others, e]


def soft_row_statistics(x: Tensor, used: Tensor | None, targets: Sequence[Tensor | None]) -> list[Tensor]:
    """m, L and for each of the targets t, or None for ones, Σ_k t_k·(x_k − m)."""
    m, z, others, _ = _shifted(tf.cast(x, loss_dtype(x)), used)
    dots = (class_sum(z if t is None else weighted_by(t, z), 1) for t in targets)
    return [m, only(tf.math.log1p(others), used), *dots]


def _shifted(x: Tensor, used: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """m, z = x − m, Σ exp(z) without one maximum, and exp(z)."""
    at_once = len(x.shape) == 3 or compiles_with_xla() or x.shape[1] <= FEW
    size = None if at_once else classes_of_block(x.shape[1])
    if len(x.shape) == 2 and (lane := cached_lane(x.shape)):
        maxima = _lanes(tf.maximum, x, lane)
    else:
        maxima = x if size is None else tf.reduce_max(_in_classes(x, size), 2)
    m = only(tf.stop_gradient(tf.reduce_max(maxima, 1, keepdims=True)), used)
    z = only_numbers(x - m, used)
    e = tf.exp(z)
    if size is None:
        others = others_of(e, z, 1)
    else:
        blocks, first = _in_classes(e, size), tf.argmax(maxima, 1)[:, tf.newaxis]
        block = tf.gather(blocks, first, batch_dims=1)[:, 0]
        others = others_by_parts(tf.reduce_sum(blocks, 2), first, block, block - 1)
    return m, z, others, e


def _rest(z: Tensor, own: Tensor, labels: Tensor, v: Tensor | None, rest: Rest) -> Tensor:
    match rest:
        case Rest.NONE:
            return tf.zeros_like(own)
        case Rest.ALL if v is None:
            return without(own, class_sum(z, 1))
        case _:
            weighted = z if v is None else weighted_by(v, z)
            return class_sum(tf.where(is_label(labels, 1, z), tf.zeros_like(z), weighted), 1)


def without(own: Tensor, whole: Tensor) -> Tensor:
    """The sum over all classes less the label's, whose −inf is the loss's too."""
    return tf.where(tf.math.is_inf(own), whole, whole - own)


def _in_classes(x: Tensor, size: int) -> Tensor:
    return tf.reshape(x, [-1, x.shape[1] // size, size])


def others_by_parts(sums: Tensor, part: Tensor, e: Tensor, z: Tensor) -> Tensor:
    """Σ exp(z) without one maximum, from the sums of a row's parts: e = exp(z) and z are the part's that it lies in."""
    apart = tf.where(is_label(part, 1, sums), tf.zeros_like(sums), sums)
    return class_sum(apart, 1) + others_of(e, z, 1)


def is_label(labels: Tensor, axis: int, like: Tensor) -> Tensor:
    """Where the class is the label's, in the shape of the logits."""
    classes = like.shape[axis]
    shape = [1] * len(like.shape)
    shape[axis] = classes
    return tf.reshape(tf.range(classes, dtype=labels.dtype), shape) == labels


def class_sum(values: Tensor, axis: int) -> Tensor:
    """Σ over the classes, whose axis is kept.

    TensorFlow adds in pairs over the last axis and one by one over any other, which over many classes loses digits:
    there the classes are added by parts. XLA adds one by one over the last axis too, and of few logits lane by lane.
    """
    classes, rank = values.shape[axis], len(values.shape)
    if rank == 2 and (size := cached_lane(values.shape)):
        lanes = _lanes(tf.add, values, size)
        return class_sum(lanes, 1) if lanes.shape[1] > MANY else tf.reduce_sum(lanes, 1, keepdims=True)
    if classes <= MANY or axis == rank - 1:
        return tf.reduce_sum(values, axis, keepdims=True)
    sizes = [MANY] * (classes // MANY) + [classes % MANY] * (classes % MANY > 0)
    parts = [tf.reduce_sum(part, axis, keepdims=True) for part in tf.split(values, sizes, axis)]
    return class_sum(tf.concat(parts, axis), axis)


def _lanes(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """[rows, lanes]: of each lane its classes, which lie apart, taken together in one loop."""
    return reduce(function, tf.unstack(_in_classes(x, x.shape[1] // size), axis=1))


def others_of(e: Tensor, z: Tensor, axis: int) -> Tensor:
    """Σ exp(z) without one maximum, which keeps a confident row's digits.

    Each maximum is exp(0) = 1: the sum omits all of them, and all but one are put back. Their number has the derivative
    of their sum: forward mode may go through these very operations, and not through the custom gradient. Of a part of
    the classes, which may have none, it is the sum less 1.
    """
    others = class_sum(tf.where(z == 0, tf.constant(0, e.dtype), e), axis)
    ties = class_sum(e, axis) - others
    # Not as a sum with what rounding adds: TensorFlow's graphs add in another order. If these sums are so rough that
    # the integer is not the right one, the others are as rough.
    ties = tf.stop_gradient(tf.round(ties)) * tf.math.divide_no_nan(ties, tf.stop_gradient(ties))
    return others + (ties - 1)


def take_label(z: Tensor, labels: Tensor) -> Tensor:
    """z_y of a view."""
    if len(z.shape) == 2:
        return tf.gather(z, labels, batch_dims=1)
    outer, classes, inner = (tf.cast(length, tf.int64) for length in tf.unstack(tf.shape(z)))
    a = tf.reshape(tf.range(outer), [-1, 1, 1])
    index = (a * classes + tf.cast(labels, tf.int64)) * inner + tf.range(inner)
    return tf.gather(tf.reshape(z, [-1]), index)


def only(values: Tensor, used: Tensor | None) -> Tensor:
    return values if used is None else tf.where(used, values, tf.zeros_like(values))


def only_numbers(values: Tensor, used: Tensor | None) -> Tensor:
    """The same in an operation that may overwrite its argument, unless XLA compiles it."""
    if compiles_with_xla():
        return only(values, used)
    return values if used is None else tf.math.multiply_no_nan(values, tf.cast(used, values.dtype))


def weighted_by(coefficients: Tensor, z: Tensor) -> Tensor:
    """The product, where a coefficient of 0 skips a −inf: 0·−inf is no number.

    Its own derivatives must be right too: forward mode and ``tf.vectorized_map`` go past the custom gradient.
    """
    return coefficients * slope_of(coefficients, z)


def slope_of(coefficients: Tensor, z: Tensor) -> Tensor:
    """The derivative to the coefficients; a term that is skipped under a −inf logit has none."""
    return tf.where((coefficients == 0) & tf.math.is_inf(z), tf.zeros_like(z), z)
