"""The statistics of logits that are made from hidden·kernel, block by block, and never held as a whole.

Rows that do not count are left out before the product; XLA, which needs fixed shapes, gets zeros. Forward, the blocks
are of rows, since a row's statistics need all of it. Backward, where these are known, they are of classes: a block
finishes its part of the kernel's gradient, and only the gradient of hidden is summed over the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from multismooth.tensorflow.graphs import as_graph, compiles_with_xla
from multismooth.tensorflow.rows import Rest, loss_dtype, row_statistics, shaped_like
from multismooth.tensorflow.statistics import LabelRow, class_gradient, label_statistics, receivers_gradient

Tensor = tf.Tensor

BLOCK = 2**24
"""Logits of a block: 64 MiB of float32, and enough of them for products of matrices at full speed."""
CLASSES = 1024
"""of a block, where the number of rows is not known"""


class Cap(NamedTuple):
    """From z = hidden·kernel + bias to the logits."""

    scale: float = 1.0
    softcap: float | None = None

    def logits(self, z: Tensor) -> Tensor:
        """In the loss's dtype, whatever z's is."""
        x = self.scale * tf.cast(z, loss_dtype(z))
        return x if self.softcap is None else self.softcap * tf.tanh(x / self.softcap)

    def slope(self, logits: Tensor) -> Any:
        """The derivative of the logits to z."""
        return self.scale if self.softcap is None else self.scale * (1 - tf.square(logits / self.softcap))


@dataclass(frozen=True)
class Projection:
    """Stands for the logits that it would make."""

    hidden: Tensor
    kernel: Tensor
    bias: Tensor | None
    cap: Cap
    allowed: Tensor | None = None
    """the classes that exist, [classes] or [*batch, classes]"""

    @property
    def dtype(self) -> tf.DType:
        return self.hidden.dtype

    @property
    def shape(self) -> tf.TensorShape:
        return self.hidden.shape[:-1] + self.kernel.shape[-1:]


class _Head(NamedTuple):
    """What the logits are made from, and v; only to these derivatives are taken. Rows and classes are one axis each."""

    hidden: Tensor
    kernel: Tensor
    bias: Tensor | None
    v: Tensor | None
    """[1, classes] or [rows, classes]"""

    def given(self) -> list[Tensor]:
        return [array for array in self if array is not None]

    def like(self, arrays: Sequence[Tensor]) -> _Head:
        """Other arrays in the places of those that are given."""
        left = iter(arrays)
        return _Head(*(None if array is None else next(left) for array in self))


class _Rows(NamedTuple):
    labels: Tensor
    used: Tensor | None
    allowed: Tensor | None
    """[1, classes] or [rows, classes]"""


def projected_statistics(
    logits: Projection, labels: Tensor, used: Tensor | None, receivers: Tensor | None, rest: Rest
) -> LabelRow:
    """``label_statistics`` of the logits, whose classes are on the last axis."""
    by_class = [
        None if array is None else tf.reshape(array, [-1, logits.shape[-1]]) for array in (receivers, logits.allowed)
    ]
    v = None if rest is Rest.NONE else by_class[0]
    head = _Head(tf.reshape(logits.hidden, [-1, logits.hidden.shape[-1]]), logits.kernel, logits.bias, v)
    used = None if used is None else tf.reshape(used, [-1])
    rows = _Rows(tf.reshape(tf.cast(labels, tf.int32), [-1]), used, by_class[1])

    @tf.custom_gradient
    def statistics(*given: Tensor) -> Any:
        row = as_graph(_statistics, 1, (*head.like(given), *rows), cap=logits.cap, rest=rest)

        @tf.custom_gradient
        def pullback(*arrays: Tensor) -> Any:
            g, given = arrays[:3], arrays[3:]

            def second(*h: Tensor) -> list[Tensor]:
                with tf.GradientTape() as tape:
                    tape.watch(arrays)
                    gradients = _explicit_gradients(g, head.like(given), rows, row, logits.cap, rest)
                return _gradients_of(tape, gradients, arrays, h)

            everything = (*head.like(given), *rows, *row[:2], *g)
            gradients = as_graph(_gradients, 1, everything, cap=logits.cap, width=_width(head))
            return tuple(gradients), second

        return tuple(row), lambda _m, *g: pullback(*g, *given)

    row = statistics(*head.given())
    return LabelRow(*(shaped_like(part, labels) for part in row))


def _explicit_gradients(
    g: Sequence[Tensor], head: _Head, rows: _Rows, row: Sequence[Tensor], cap: Cap, rest: Rest
) -> list[Tensor]:
    """The gradients that can be derived again, from logits that are held: only second derivatives need them."""
    # A row of weight 0 that has no statistics is not used either.
    used = tf.math.is_finite(row[0] + row[1]) | tf.reduce_any(tf.stack(g) != 0, 0)
    used = used if rows.used is None else used & rows.used
    given = head.given()
    with tf.GradientTape() as tape:
        tape.watch(given)
        hidden = tf.where(used[:, tf.newaxis], head.hidden, tf.zeros_like(head.hidden))
        logits = _logits(hidden, head.kernel, head.bias, rows.allowed, cap)
        statistics = label_statistics(logits, rows.labels, used, head.v, 1, rest)
    return _gradients_of(tape, statistics[1:], given, g)


def _gradients_of(tape: tf.GradientTape, values: Any, arrays: Sequence[Tensor], cotangents: Any) -> list[Tensor]:
    """As arrays: that of a gather would be IndexedSlices."""
    gradients = tape.gradient(values, arrays, cotangents, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _logits(hidden: Tensor, kernel: Tensor, bias: Tensor | None, allowed: Tensor | None, cap: Cap) -> Tensor:
    if hidden.shape[1] == 0:
        # oneDNN aborts the process over a product without features that it has fused with the bias.
        z = tf.zeros([tf.shape(hidden)[0], kernel.shape[1]], hidden.dtype)
    else:
        z = tf.matmul(hidden, kernel)
    return _existing(cap.logits(z if bias is None else z + bias), allowed)


def _existing(x: Tensor, allowed: Tensor | None) -> Tensor:
    return x if allowed is None else tf.where(allowed, x, tf.constant(float("-inf"), x.dtype))


def _classes(array: Tensor | None, start: Any, width: int) -> Tensor | None:
    """Some of the last axis."""
    if array is None:
        return None
    outer = len(array.shape) - 1
    return tf.slice(array, [0] * outer + [start], [-1] * outer + [width])


def _statistics(
    hidden: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    v: Tensor | None,
    labels: Tensor,
    used: Tensor | None,
    allowed: Tensor | None,
    *,
    axis: int,
    cap: Cap,
    rest: Rest,
) -> list[Tensor]:
    chosen = _Chosen(used)
    hidden = chosen.rows(hidden)
    parts = _Parts(hidden, max(1, BLOCK // kernel.shape[1]))
    arrays = (hidden, chosen.rows(labels), chosen.of_rows(v), chosen.of_rows(allowed))
    cut = [parts.cut(array) for array in arrays]

    def add(i: Tensor, *collected: Tensor) -> Any:
        h, y, weights, exists = (part(i) for part in cut)
        x = _logits(h, kernel, bias, exists, cap)
        row = row_statistics(x, y[:, tf.newaxis], None, weights, rest=rest)[:4]
        return i + 1, *(parts.put(into, i, part[:, 0]) for into, part in zip(collected, row, strict=True))

    empty = parts.empty(loss_dtype(hidden))
    _, *row = tf.while_loop(lambda i, *_: i < parts.count, add, (0, *[empty] * 4), parallel_iterations=1)
    return [chosen.back(parts.joined(part)) for part in row]


def _gradients(
    hidden: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    v: Tensor | None,
    labels: Tensor,
    used: Tensor | None,
    allowed: Tensor | None,
    *row: Tensor,
    axis: int,
    cap: Cap,
    width: int,
) -> list[Tensor]:
    """To those of the first four that are given. ``row`` are m and L, and the cotangents of L, own and rest."""
    # A row that has no part in the loss has none in the gradients, even if it is no number: 0·NaN.
    active = tf.reduce_any(tf.stack(row[2:]) != 0, 0)
    chosen = _Chosen(active if used is None else active & used)
    labels, v_of_rows, allowed = chosen.rows(labels), chosen.of_rows(v), chosen.of_rows(allowed)
    columns = [chosen.rows(part)[:, tf.newaxis] for part in row]
    h = chosen.rows(hidden)
    exact = tf.cast(h, columns[0].dtype)

    def of_classes(start: Any, width: int) -> tuple[Tensor, ...]:
        """What the classes from ``start`` on add to hidden's gradient, and their part of the others."""
        w, offset, weights, exists = (_classes(array, start, width) for array in (kernel, bias, v_of_rows, allowed))
        own = labels[:, tf.newaxis] - start
        x = _logits(h, w, offset, None, cap)
        slope = cap.slope(x)
        x = _existing(x, exists)
        # Rounded to the dtype that hidden·kernel has, as if this had been computed by itself.
        to_z = tf.cast(slope * class_gradient(x, own, None, *columns, weights), h.dtype)
        to_z = tf.cast(to_z, exact.dtype)
        parts = [tf.cast(tf.matmul(exact, to_z, transpose_a=True), kernel.dtype)]
        if bias is not None:
            parts.append(tf.cast(tf.reduce_sum(to_z, 0, keepdims=True), bias.dtype))
        if weights is not None:
            parts.append(receivers_gradient(x, own, None, columns[0], columns[-1], weights))
        return tf.matmul(to_z, tf.cast(w, exact.dtype), transpose_b=True), *parts

    to_hidden, *parts = _over_classes(of_classes, kernel.shape[1], width)
    to_hidden = tf.ensure_shape(to_hidden, [None, hidden.shape[1]])
    gradients = [chosen.back(tf.cast(to_hidden, hidden.dtype)), parts[0]]
    if bias is not None:
        gradients.append(parts[1][0])
    if v is not None:
        gradients.append(parts[-1] if v.shape[0] == 1 else chosen.back(parts[-1]))
    return gradients


def _width(head: _Head) -> int:
    """How many classes are a block. A power of 2, so that not every number of rows has a graph of its own."""
    rows, classes = head.hidden.shape[0], head.kernel.shape[1]
    return min(classes, CLASSES if rows is None else max(256, 2 ** (BLOCK // max(1, rows)).bit_length() // 2))


def _over_classes(of_classes: Callable[[Any, int], tuple[Tensor, ...]], classes: int, width: int) -> list[Tensor]:
    """The sum of the first results of all blocks; the others side by side."""
    count, left = divmod(classes, width)
    if count == 1 and not left:
        return list(of_classes(0, width))
    total, *last = of_classes(count * width, left) if left else of_classes(0, width)
    done = 0 if left else 1
    pieces = [tf.TensorArray(part.dtype, count, element_shape=[part.shape[0], width]) for part in last]
    if not left:
        pieces = [into.write(0, part) for into, part in zip(pieces, last, strict=True)]

    def add(i: Tensor, total: Tensor, *pieces: tf.TensorArray) -> Any:
        more, *parts = of_classes(i * width, width)
        return i + 1, total + more, *(into.write(i, part) for into, part in zip(pieces, parts, strict=True))

    _, total, *pieces = tf.while_loop(
        lambda i, *_: i < count, add, (done, total, *pieces), parallel_iterations=1, maximum_iterations=count
    )
    joined = [tf.transpose(into.stack(), [1, 0, 2]) for into in pieces]
    joined = [tf.reshape(part, [tf.shape(part)[0], count * width]) for part in joined]
    return [total, *(tf.concat([part, end], 1) if left else part for part, end in zip(joined, last, strict=True))]


class _Chosen:
    """The rows that a mask tells: by themselves, or for XLA, which needs fixed shapes, among rows of zeros."""

    def __init__(self, mask: Tensor | None) -> None:
        self._mask = mask
        self._index = None if mask is None or compiles_with_xla() else tf.where(mask)

    def rows(self, array: Tensor) -> Tensor:
        if self._mask is None:
            return array
        if self._index is not None:
            return tf.gather(array, self._index[:, 0])
        return tf.where(self._column(array), array, tf.zeros_like(array))

    def of_rows(self, array: Tensor | None) -> Tensor | None:
        """Of an array that may be the same for every row, with a first axis of length 1."""
        return array if array is None or array.shape[0] == 1 else self.rows(array)

    def back(self, array: Tensor) -> Tensor:
        """Where the rows were, and zeros elsewhere."""
        if self._mask is None:
            return array
        if self._index is not None:
            shape = tf.concat([tf.shape(self._mask), tf.shape(array)[1:]], 0)
            if 0 in array.shape[1:]:  # no features, which scatter_nd refuses
                return tf.zeros(shape, array.dtype)
            return tf.scatter_nd(self._index, array, tf.cast(shape, self._index.dtype))
        return tf.where(self._column(array), array, tf.zeros_like(array))

    def _column(self, array: Tensor) -> Tensor:
        return tf.reshape(self._mask, [-1] + [1] * (len(array.shape) - 1))


class _Parts:
    """Rows in parts of equal size, the last of which is filled up with zeros."""

    def __init__(self, rows: Tensor, most: int) -> None:
        length, largest = rows.shape[0], max
        if length is None:
            length, largest = tf.shape(rows)[0], tf.maximum
        self._length = length
        self.count = largest(1, -(-length // most))
        self._size = largest(1, -(-length // self.count))

    def cut(self, array: Tensor | None) -> Callable[[Any], Tensor | None]:
        """A function from a part's number to the part. What is the same for every row is so for every part."""
        if array is None or array.shape[0] == 1:
            return lambda _: array
        inner = list(array.shape[1:])
        filled = tf.pad(array, [[0, self.count * self._size - self._length], *[[0, 0] for _ in inner]])
        parts = tf.reshape(filled, [self.count, self._size, *inner])
        return lambda i: parts[i]

    def empty(self, dtype: tf.DType) -> Tensor:
        return tf.zeros([self.count, self._size], dtype)

    def put(self, into: Tensor, i: Tensor, part: Tensor) -> Tensor:
        here = tf.range(self.count)[:, tf.newaxis] == i
        return tf.ensure_shape(tf.where(here, part, into), into.shape)

    def joined(self, parts: Tensor) -> Tensor:
        return tf.reshape(parts, [-1])[: self._length]
