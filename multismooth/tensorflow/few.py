"""A mean or a sum over few logits, in the fewest operations, with the softmax that TensorFlow differentiates itself."""

from __future__ import annotations

from math import isfinite, nan

import numpy as np
import tensorflow as tf

from multismooth import reduction
from multismooth.checks import Batch, Good, Layout
from multismooth.few import LEAST, alike, is_shared, slopes_of
from multismooth.reduction import Positions
from multismooth.spec import Spec
from multismooth.tensorflow.classes import counted
from multismooth.tensorflow.functions import functions_for
from multismooth.tensorflow.graphs import compiles_with_xla

SIZE, SIZE_IN_GRAPH = 2**16, 2**13
"""Logits. From twice as many on, the exponentials of float64 take longer than the operations that they save."""


def loss(spec: Spec, batch: Batch, good: Good, layout: Layout) -> tf.Tensor | None:
    """The loss, or None for a call that needs more; ``good`` are the other arrays."""
    logits = batch.logits
    if not tf.executing_eagerly() or not _has_at_most(SIZE, logits):
        return None
    if any(map(_may_be_differentiated, batch[2:])):
        return None
    given = slopes_of(spec, good, layout)
    if given is None:
        return None
    rows = _rows(logits, layout.axis)
    if given.idle.any():
        # The gradient of this takes fewer operations than that of ``tf.where``.
        rows = tf.math.multiply_no_nan(rows, np.broadcast_to(1.0 - given.idle, rows.shape))
    logs = tf.nn.log_softmax(rows)
    if given.label is not None:
        logs = tf.gather(logs, given.label, batch_dims=logits.shape.rank - 1)
        if (logs.numpy() > -LEAST).any():
            return None
    total = tf.reduce_sum(given.slopes * logs)
    return tf.cast(total, tf.float32) if isfinite(total.numpy()) else None


def loss_in_graph(spec: Spec, batch: Batch, layout: Layout) -> tf.Tensor | None:
    """The same for a graph, in which no value is at hand: a bad label makes its row NaN."""
    if tf.executing_eagerly() or compiles_with_xla() or layout.soft or any(given is not None for given in batch[3:]):
        return None
    k, classes = alike(spec, layout.classes), layout.classes
    logits, labels, where = (None if array is None else tf.convert_to_tensor(array) for array in batch[:3])
    # The softmax's own gradient is p − q, and the mass must be 1.
    if k is None or k.mass != 1 or not is_shared(k, classes) or not _has_at_most(SIZE_IN_GRAPH, logits):
        return None
    labels, mask = counted(spec, Batch(logits, labels, where))
    one, on, off = (tf.constant(number, tf.float64) for number in (1.0, k.on, k.off))
    exists = tf.bitcast(labels, tf.uint64) < classes  # a negative one is large
    kept, weight = tf.where(exists, one, nan), one
    if mask is not None:
        weight = tf.cast(mask, tf.float64)
        kept = tf.math.multiply_no_nan(kept, weight)
    rows = tf.math.multiply_no_nan(_rows(logits, layout.axis), tf.expand_dims(kept, -1))
    target = tf.one_hot(labels, classes, on, off)
    if rows.shape.rank == 2:  # without the reshapes of the public one
        losses, _ = tf.raw_ops.SoftmaxCrossEntropyWithLogits(features=rows, labels=target)
    else:
        losses = tf.nn.softmax_cross_entropy_with_logits(target, rows)
    if spec.reduction == "mean":
        positions = Positions(losses, None, None, mask, None, k.mass)
        divisor = reduction.divisor_of(spec, positions, None, functions_for(losses))
        # Where nothing counts, nothing of 0/0 gets through to the logits.
        weight = tf.math.divide_no_nan(weight, divisor) if spec.empty == "zero" else weight / divisor
    return tf.cast(tf.reduce_sum(weight * losses), tf.float32)


def _has_at_most(size: int, logits: tf.Tensor) -> bool:
    """Not if they are of float64 already, none, or unknown how many."""
    count = logits.shape.num_elements()
    return bool(count) and count <= size and logits.dtype != tf.float64


def _rows(logits: tf.Tensor, axis: int) -> tf.Tensor:
    """float64, with the classes last."""
    rank = logits.shape.rank
    axes = [i for i in range(rank) if i != axis]
    return tf.cast(logits if axis == rank - 1 else tf.transpose(logits, [*axes, axis]), tf.float64)


def _may_be_differentiated(array: object) -> bool:
    """Nobody can say whether a tape watches it."""
    return (tf.is_tensor(array) or isinstance(array, tf.Variable)) and array.dtype.is_floating
