"""How the arithmetic on logits is run: as one graph in eager mode, and in blocks that stay in the cache.

TensorFlow writes the result of every operation to memory of its own, unless in a graph it may overwrite the argument.
With many logits most of the time goes there. Under XLA most sums go another way, by planes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

Tensor = tf.Tensor
Arrays = Sequence[Tensor | None]

BLOCK = 2**20
"""Logits of a block: few enough for the cache, and enough to outweigh the dozen operations on them."""


def compiles_with_xla() -> bool:
    """Whether what is being traced will be compiled by XLA."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def as_graph(function: Callable[..., Any], axis: int, arrays: Arrays, **choices: Any) -> Any:
    """``function(*arrays, axis, **choices)``; in eager mode as a graph, the same for every length but the class axis's.

    No tape sees what happens inside: the caller gives the derivatives.
    """
    if not tf.executing_eagerly():
        return function(*arrays, axis=axis, **choices)
    rank = len(arrays[0].shape)
    kinds = tuple(None if array is None else (_lengths(array, axis, rank), array.dtype) for array in arrays)
    with tf.init_scope():
        graph = _graph(function, axis, kinds, tuple(choices.items()))
        return graph(*(array for array in arrays if array is not None))


def _lengths(array: Tensor, axis: int, rank: int) -> tuple[int | None, ...]:
    """The class axis's, and the 1 of an array that may be meant for all."""
    classes = axis if len(array.shape) == rank else None
    return tuple(n if n == 1 or i == classes else None for i, n in enumerate(array.shape))


@lru_cache(maxsize=256)
def _graph(function: Callable[..., Any], axis: int, kinds: tuple[Any, ...], choices: tuple[Any, ...]) -> Any:
    def given(*arrays: Tensor) -> Any:
        left = iter(arrays)
        return function(*(None if kind is None else next(left) for kind in kinds), axis=axis, **dict(choices))

    signature = [tf.TensorSpec(*kind) for kind in kinds if kind is not None]
    return tf.function(given, autograph=False).get_concrete_function(*signature)


def in_blocks(
    function: Callable[..., Any], arrays: Arrays, along: int, results: Sequence[tf.TensorSpec]
) -> list[Tensor]:
    """``function(*arrays)`` by slices of the axis ``along``, which is of unknown length in ``results``.

    Arrays of length 1 there are for all slices.
    """
    length = tf.shape(arrays[0])[along]
    step = tf.maximum(1, BLOCK // tf.maximum(1, tf.size(arrays[0]) // tf.maximum(1, length)))
    count = tf.maximum(1, -(-length // step))

    def part(array: Tensor | None, start: Tensor) -> Tensor | None:
        if array is None or array.shape[along] == 1:
            return array
        return array[(slice(None),) * along + (slice(start, start + step),)]

    def body(i: Tensor, *collected: tf.TensorArray) -> Any:
        parts = function(*(part(array, i * step) for array in arrays))
        return i + 1, *(into.write(i, _to_front(one, along)) for into, one in zip(collected, parts, strict=True))

    def empty(result: tf.TensorSpec) -> tf.TensorArray:
        return tf.TensorArray(result.dtype, count, infer_shape=False, element_shape=_front(result.shape, along))

    _, *collected = tf.while_loop(lambda i, *_: i < count, body, (0, *map(empty, results)), parallel_iterations=1)
    return [_from_front(into.concat(), along) for into in collected]


def _front(order: Sequence[Any], along: int) -> list[Any]:
    return [order[along], *order[:along], *order[along + 1 :]]


def _to_front(array: Tensor, along: int) -> Tensor:
    return tf.transpose(array, _front(range(len(array.shape)), along)) if along else array


def _from_front(array: Tensor, along: int) -> Tensor:
    order = [*range(1, along + 1), 0, *range(along + 1, len(array.shape))]
    return tf.transpose(array, order) if along else array
