"""A mean or a sum over few logits, in the fewest eager operations of TensorFlow's, which differentiates log_softmax."""

from __future__ import annotations

from math import isfinite

import numpy as np
import tensorflow as tf

from multismooth.checks import Batch, Good, Layout
from multismooth.few import LEAST, slopes_of
from multismooth.spec import Spec

SIZE = 2**16
"""Logits. From twice as many on, the exponentials of float64 take longer than the operations that they save."""


def loss(spec: Spec, batch: Batch, good: Good, layout: Layout) -> tf.Tensor | None:
    """The loss, or None for a call that needs more; ``good`` are the other arrays."""
    logits = batch.logits
    if not tf.executing_eagerly() or logits.shape.num_elements() > SIZE or logits.dtype == tf.float64:
        return None
    if any(map(_may_be_differentiated, batch[2:])):
        return None
    given = slopes_of(spec, good, layout)
    if given is None:
        return None
    rank = logits.shape.rank
    axes = [axis for axis in range(rank) if axis != layout.axis]
    rows = tf.cast(logits if layout.axis == rank - 1 else tf.transpose(logits, [*axes, layout.axis]), tf.float64)
    if given.idle.any():
        # The gradient of this takes fewer operations than that of ``tf.where``.
        rows = tf.math.multiply_no_nan(rows, np.broadcast_to(1.0 - given.idle, rows.shape))
    logs = tf.nn.log_softmax(rows)
    if given.label is not None:
        logs = tf.gather(logs, given.label, batch_dims=rank - 1)
        if (logs.numpy() > -LEAST).any():
            return None
    total = tf.reduce_sum(given.slopes * logs)
    return tf.cast(total, tf.float32) if isfinite(total.numpy()) else None


def _may_be_differentiated(array: object) -> bool:
    """Nobody can say whether a tape watches it."""
    return (tf.is_tensor(array) or isinstance(array, tf.Variable)) and array.dtype.is_floating
