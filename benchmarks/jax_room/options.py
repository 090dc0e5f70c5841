"""JAX's losses with each option, forward and backward."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array
from options import named, options
from shapes import LABEL_SMOOTHING, Shape, arrays

from jax_room.call import Call
from jax_room.losses import REFERENCE as THEIRS
from jax_room.losses import one_hot
from multismooth.jax import smoothed_cross_entropy

REFERENCE = named(THEIRS, "none")


def contenders(shape: Shape, part: str) -> dict[str, Call]:
    logits = jnp.asarray(arrays(shape)[0])

    def soft(logits: Array, labels: Array) -> Array:
        logits, labels = (jnp.moveaxis(array, shape.axis, -1) for array in (logits, labels))
        return optax.softmax_cross_entropy(logits, optax.smooth_labels(labels, LABEL_SMOOTHING)).mean()

    theirs = {"none": partial(one_hot, shape=shape), "soft labels": soft}
    calls = {}
    for option, (spec, given) in options(shape).items():
        given = {name: jnp.asarray(array) for name, array in given.items()}
        ours = partial(smoothed_cross_entropy, spec=spec, axis=shape.axis)
        losses = {THEIRS: theirs[option]} if option in theirs else {}
        for name, loss in (losses | {"multismooth": ours}).items():
            # ``Call`` hands its arguments over by position.
            step = jax.value_and_grad(lambda logits, given, loss=loss: loss(logits, **given))
            calls[named(name, option)] = Call(step, logits, given)
    return calls
