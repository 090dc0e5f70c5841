"""What the code that all frameworks share asks of TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from multismooth import reduction
from multismooth.checks import UNREAD, Described
from multismooth.lowering import Functions
from multismooth.tensorflow.projection import Projection
from multismooth.tensorflow.rows import loss_dtype


def functions_for(like: tf.Tensor) -> Functions:
    """The shared code's functions, in the dtype that the loss of these logits has."""
    dtype = loss_dtype(like)

    def array(value: Any) -> tf.Tensor:
        # Neither tf.cast(0.1, tf.float64) nor tf.where(condition, 0.9, 1.0) keeps the digits of float64.
        is_array = tf.is_tensor(value) or isinstance(value, (np.ndarray, np.generic, tf.Variable))
        return tf.cast(value, dtype) if is_array else tf.constant(value, dtype)

    def where(condition: tf.Tensor, a: Any, b: Any) -> tf.Tensor:
        if not condition.shape.rank and is_at_hand(condition):
            return array(a if condition else b)
        return tf.where(condition, array(a), array(b))

    return Functions(
        where=where,
        log=tf.math.log,
        any=tf.reduce_any,
        sum=tf.reduce_sum,
        # In float64, which is exact and takes an operation less than whole numbers do.
        count=lambda condition: tf.cast(tf.reduce_sum(tf.cast(condition, tf.float64)), dtype),
        array=array,
        ones_like=tf.ones_like,
        size=tf.size,
        length=lambda values: tf.shape(values)[0],
    )


def describe(array: Any) -> Described | None:
    if isinstance(array, Projection):
        return Described(tuple(array.shape), array.dtype.name)
    if isinstance(array, (tf.RaggedTensor, tf.SparseTensor, tf.IndexedSlices, np.ma.MaskedArray)):
        return None
    if isinstance(array, (np.ndarray, np.generic)):
        return Described(array.shape, array.dtype.name)
    if not tf.is_tensor(array):
        return None
    shape, dtype = tf.TensorShape(array.shape), tf.as_dtype(array.dtype).name
    return Described((), dtype, rank_is_known=False) if shape.rank is None else Described(tuple(shape), dtype)


def read(array: Any) -> Any:
    """As NumPy's, if the values are at hand: neither symbolic nor on another device."""
    if not tf.is_tensor(array) and not isinstance(array, tf.Variable):
        return np.asarray(array)
    return array.numpy() if is_at_hand(array) else UNREAD


def is_at_hand(array: tf.Tensor | tf.Variable) -> bool:
    return hasattr(array, "numpy") and "CPU" in array.device and not isinstance(array, tf.Variable)


reduction.register(tf.Tensor, functions_for)
