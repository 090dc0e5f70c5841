"""What the code that all frameworks share asks of JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from multismooth import reduction
from multismooth.checks import UNREAD, Described
from multismooth.jax.rows import loss_dtype
from multismooth.lowering import Functions


def functions_for(like: Array) -> Functions:
    """The shared code's functions, in the dtype that the loss of these logits has."""
    dtype = loss_dtype(like)

    def array(value: Any) -> Array:
        return jnp.asarray(value, dtype)

    return Functions(
        where=lambda condition, a, b: jnp.where(condition, array(a), array(b)),
        log=jnp.log,
        any=jnp.any,
        sum=lambda values, axes=None, keepdims=False: values.sum(axes, keepdims=keepdims),
        count=lambda condition: condition.sum().astype(dtype),
        array=array,
        ones_like=jnp.ones_like,
        size=jnp.size,
        length=len,
    )


def describe(array: Any) -> Described | None:
    if not isinstance(array, (Array, np.ndarray, np.generic)) or isinstance(array, np.ma.MaskedArray):
        return None
    foreign = not isinstance(array, Array) and not array.dtype.isnative
    return Described(array.shape, array.dtype.str if foreign else array.dtype.name)


def read(array: Any) -> Any:
    """As NumPy's, if the values are at hand: neither traced nor on another device."""
    if isinstance(array, jax.core.Tracer):
        return UNREAD
    if isinstance(array, Array):
        at_hand = array.is_fully_addressable and {d.platform for d in array.devices()} == {"cpu"}
        return np.asarray(array) if at_hand else UNREAD
    return np.asarray(array)


reduction.register(Array, functions_for)
