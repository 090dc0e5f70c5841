"""Who receives smoothing mass, and the sums over the classes that the lowering asks for, in TensorFlow.

A vector over the classes has the shape [classes]; where the allowed classes differ by position, the logits' shape.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from multismooth.checks import Batch, Layout
from multismooth.lowering import ClassSums, Functions, smooths, xlogx
from multismooth.spec import Spec
from multismooth.tensorflow.rows import is_label, loss_dtype


class Shares(NamedTuple):
    """What the classes receive of the smoothing mass; None stands for ones."""

    c: tf.Tensor | None
    weighted: tf.Tensor | None
    """c times the class weights"""


def shares(spec: Spec, batch: Batch, layout: Layout) -> Shares:
    """c = prior (or 1) × not excluded × allowed. Without smoothing nobody's share matters."""
    if not smooths(spec):
        return Shares(None, None)
    included, prior, weight = _included(spec, batch, layout), batch.prior, batch.class_weight
    weighted = weight if prior is None else prior if weight is None else prior * weight
    if included is None:
        return Shares(prior, weighted)

    def masked(vector: tf.Tensor | None) -> tf.Tensor:
        if vector is None:
            return tf.cast(included, loss_dtype(batch.logits))
        vector = along(vector, layout.axis, included)
        return tf.where(included, vector, tf.zeros_like(vector))

    return Shares(masked(prior), masked(weighted))


def _included(spec: Spec, batch: Batch, layout: Layout) -> tf.Tensor | None:
    """Which classes are neither excluded nor not allowed; None for all."""
    if not spec.exclude:
        return batch.allowed
    kept = tf.constant(np.isin(np.arange(layout.classes), spec.exclude, invert=True))
    return kept if batch.allowed is None else batch.allowed & along(kept, layout.axis, batch.allowed)


def class_sums(batch: Batch, layout: Layout, labels: tf.Tensor, given: Shares, functions: Functions) -> ClassSums:
    """What each label's row receives in all, with and without the label itself."""
    axis, (c, weighted) = layout.axis, given
    own: Any = 1.0
    rest: Any = layout.classes - 1.0
    xlogx_rest: Any = 0.0
    if c is not None:
        own, rest = at_label(c, labels, axis), without_label(c, labels, axis)
    if batch.prior is not None and c is not None:
        xlogx_rest = without_label(xlogx(c, functions), labels, axis)
    if batch.class_weight is None:
        return ClassSums(own, rest, xlogx_rest)
    weighted_rest = 0.0 if weighted is None else without_label(weighted, labels, axis)
    return ClassSums(own, rest, xlogx_rest, tf.gather(batch.class_weight, labels), weighted_rest)


def counted(spec: Spec, batch: Batch) -> tuple[tf.Tensor, tf.Tensor | None]:
    """int64 labels, and the positions that count; None for all."""
    labels, mask = tf.cast(batch.labels, tf.int64), batch.where
    lowest, highest = batch.labels.dtype.min, batch.labels.dtype.max
    if spec.ignore_index is not None and lowest <= spec.ignore_index <= highest:
        # As the cast from uint64 makes it.
        counts = labels != (spec.ignore_index + 2**63) % 2**64 - 2**63
        mask = counts if mask is None else mask & counts
    return labels, mask


def at_label(vector: tf.Tensor, labels: tf.Tensor, axis: int) -> tf.Tensor:
    """Each position's value of its own class."""
    if len(vector.shape) == 1:
        return tf.gather(vector, labels)
    mine = is_label(tf.expand_dims(labels, axis), axis, vector)
    if vector.dtype == tf.bool:
        return tf.reduce_any(mine & vector, axis)
    return tf.reduce_sum(tf.where(mine, vector, tf.zeros_like(vector)), axis)


def without_label(vector: tf.Tensor, labels: tf.Tensor, axis: int) -> tf.Tensor:
    """The sum over all classes but the position's own.

    The total less one entry loses digits only where that entry is most of the total. At most one entry is: for
    the largest the rest is summed by itself.
    """
    if len(vector.shape) > 1:
        mine = is_label(tf.expand_dims(labels, axis), axis, vector)
        return tf.reduce_sum(tf.where(mine, tf.zeros_like(vector), vector), axis)
    largest = tf.range(vector.shape[0]) == tf.argmax(vector, output_type=tf.int32)
    others = tf.reduce_sum(tf.where(largest, tf.zeros_like(vector), vector))
    return tf.gather(tf.where(largest, others, tf.reduce_sum(vector) - vector), labels)


def along(vector: tf.Tensor, axis: int, like: tf.Tensor) -> tf.Tensor:
    """A vector over the classes, shaped to meet an array that has them on ``axis``."""
    if len(vector.shape) != 1 or len(like.shape) == 1:
        return vector
    shape = [1] * len(like.shape)
    shape[axis] = -1
    return tf.reshape(vector, shape)
