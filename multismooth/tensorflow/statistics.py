"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from multismooth.tensorflow.graphs import BLOCK, as_graph, compiles_with_xla, in_blocks
from multismooth.tensorflow.planes import lanes_of, row_by_planes, soft_row_by_planes
from multismooth.tensorflow.rows import (
    Rest,
    cached_lane,
    class_sum,
    is_label,
    loss_dtype,
    only,
    only_numbers,
    row_statistics,
    shaped_like,
    slope_of,
    soft_row_statistics,
    take_label,
)

Tensor = tf.Tensor


LARGE = 2**24
"""Logits, or half as many in half precision. So many go in blocks, and those whose number is not known, where
TensorFlow's operations are not in place: for half of the memory and more of the time, since the gradient takes the
exponentials anew."""


class LabelRow(NamedTuple):
    """The statistics of each row, in the labels' shape; 0 where a row is not used."""

    m: Tensor
    L: Tensor
    own: Tensor
    """x_y − m"""
    rest: Tensor
    """Σ_{k≠y} v_k·(x_k − m)"""


def label_statistics(
    logits: Tensor, labels: Tensor, used: Tensor | None, receivers: Tensor | None, axis: int, rest: Rest
) -> LabelRow:
    """Statistics for integer labels; ``used`` tells the rows that count, and ``receivers`` is v, or None for ones.

    Whatever stands in a row that is not used, nothing of it reaches a derivative.
    """
    blocks = _blocks(logits, axis, in_place=True)
    labels = tf.cast(labels, tf.int32)
    keeps = blocks is None
    if compiles_with_xla():
        keeps = axis == len(logits.shape) - 1 and cached_lane(logits.shape) is not None

    @tf.custom_gradient
    def statistics(logits: Tensor, *receivers: Tensor) -> Any:
        arrays = (logits, labels, used, *receivers)
        m, L, own, summed, *kept = as_graph(_label_row, axis, arrays, rest=rest, blocks=blocks, keeps=keeps)
        fixed = (labels, used, m, L)

        def gradient(_m: Tensor, *g: Tensor) -> Any:
            exponentials = (own, *kept) if kept else None
            grad = _label_gradient(logits, fixed, (*g, *receivers), exponentials, axis, blocks)
            return [grad, *(_receivers_gradient(logits, fixed, g[-1], v, axis) for v in receivers)]

        return (m, L, own, summed), gradient

    given = [] if receivers is None or rest is Rest.NONE else [receivers]
    return LabelRow(*statistics(logits, *given))


# --- Views: [rows, classes], or where the classes are not last [outer, classes, inner] ---------------------------


def _view(array: Tensor | None, axis: int, rank: int) -> Tensor | None:
    """An array of the logits' rank or of the labels', with the classes on axis 1, of length 1 if it has none."""
    if array is None:
        return None
    shape = list(array.shape)
    lengths = [n if n is not None else tf.shape(array)[i] for i, n in enumerate(shape)]
    if len(shape) < rank:
        lengths.insert(axis, 1)
    classes, inner = lengths[axis], lengths[axis + 1 :]
    if axis == rank - 1:
        return tf.reshape(array, [-1, classes])
    return tf.reshape(array, [_product(lengths[:axis]), classes, _product(inner)])


def _product(lengths: list[Any]) -> Any:
    product: Any = 1
    for length in lengths:
        product *= length
    return product


def _blocks(logits: Tensor, axis: int, *, in_place: bool) -> int | None:
    """The axis of the view that is cut into blocks; None for logits as they are, and for XLA.

    ``in_place`` says that TensorFlow's operations on rows that need no cast are.
    """
    shape, is_last, is_half = logits.shape, axis == len(logits.shape) - 1, logits.dtype != loss_dtype(logits)
    if (in_place and is_last and not is_half) or compiles_with_xla():
        return None
    if None in shape:
        return 0
    if shape.num_elements() * (1 + is_half) < LARGE:
        return None
    return 0 if is_last or _product(shape[axis:]) < 2 * BLOCK else 2


def _label_row(
    logits: Tensor,
    labels: Tensor,
    used: Tensor | None,
    receivers: Tensor | None = None,
    *,
    axis: int,
    rest: Rest,
    blocks: int | None,
    keeps: bool,
) -> list[Tensor]:
    """The statistics, and with ``keeps`` what the gradient can be made of: the exponentials and their sum."""
    arrays = [_view(array, axis, len(logits.shape)) for array in (logits, labels, used, receivers)]
    x = arrays[0]
    if blocks is not None:
        lengths = [1 if i == 1 else None if i == blocks else n for i, n in enumerate(x.shape)]
        row = in_blocks(
            lambda *parts: row_statistics(*parts, rest=rest)[:4],
            arrays,
            blocks,
            [tf.TensorSpec(lengths, loss_dtype(logits))] * 4,
        )
    elif compiles_with_xla() and not keeps and (lanes := lanes_of(x)):
        row = row_by_planes(*arrays, lanes, rest=rest)
    else:
        row = row_statistics(*arrays, rest=rest)
    like = [*[labels] * 5, logits] if keeps else [labels] * 4
    return [shaped_like(row[i], whole) for i, whole in enumerate(like)]


def _indices(classes: Tensor) -> Tensor:
    """One class of each row, [rows, 1], as scatters want it."""
    return tf.concat([tf.range(tf.shape(classes)[0])[:, tf.newaxis], classes], 1)


Fixed = tuple[Tensor, Tensor | None, Tensor, Tensor]
"""labels, the rows that are used, m and L"""


def _label_gradient(
    logits: Tensor,
    fixed: Fixed,
    given: tuple[Tensor, ...],
    exponentials: tuple[Tensor, ...] | None,
    axis: int,
    blocks: int | None,
) -> Tensor:
    """``given`` are the cotangents of L, own and rest, and v if there is one."""

    @tf.custom_gradient
    def gradient(logits: Tensor, *given: Tensor) -> Any:
        def second(h: Tensor) -> list[Tensor]:
            views = [_view(array, axis, len(logits.shape)) for array in (logits, *fixed, h, *given)]
            derivatives = _row_second(*views)
            return [
                tf.reshape(tf.cast(derivative, array.dtype), tf.shape(array))
                for derivative, array in zip(derivatives, (logits, *given), strict=True)
            ]

        if exponentials is not None:
            return as_graph(_gradient_of_exponentials, axis, (logits, *fixed[:2], *exponentials, *given)), second
        return as_graph(_row_gradients, axis, (logits, *fixed, *given), blocks=blocks), second

    return gradient(logits, *given)


def _row_gradients(logits: Tensor, *given: Tensor | None, axis: int, blocks: int | None) -> Tensor:
    arrays = [_view(array, axis, len(logits.shape)) for array in (logits, *given)]
    # Blocks of the inner axis would have to be transposed.
    if blocks == 0:
        shape = [None, *arrays[0].shape[1:]]
        [grad] = in_blocks(_row_gradient, arrays, 0, [tf.TensorSpec(shape, logits.dtype)])
    else:
        [grad] = _row_gradient(*arrays)
    return shaped_like(grad, logits)


def _gradient_of_exponentials(logits: Tensor, *given: Tensor | None, axis: int) -> Tensor:
    """Of what ``_label_row`` has kept."""
    views = [_view(array, axis, len(logits.shape)) for array in given]
    labels, used, own, others, e, g, g_own, g_rest, *receivers = views
    g, g_own, g_rest = (only(cotangent, used) for cotangent in (g, g_own, g_rest))
    share = g / (1 + others)
    spread = g_rest * receivers[0] if receivers else g_rest
    if len(e.shape) == 3 or compiles_with_xla():  # XLA would make loops of a scatter, and planes transpose
        grad = e * share + tf.where(is_label(labels, 1, e), g_own, spread)
    else:
        at_label = tf.exp(own) * share + g_own
        grad = tf.tensor_scatter_nd_update(e * share + spread, _indices(labels), at_label[:, 0])
    return shaped_like(tf.cast(grad, logits.dtype), logits)


def _row_gradient(
    x: Tensor,
    labels: Tensor,
    used: Tensor | None,
    m: Tensor,
    L: Tensor,
    g: Tensor,
    g_own: Tensor,
    g_rest: Tensor,
    v: Tensor | None = None,
) -> list[Tensor]:
    g, g_own, g_rest = (only(cotangent, used) for cotangent in (g, g_own, g_rest))
    exact = tf.cast(x, g.dtype)
    if len(x.shape) == 2 and not compiles_with_xla():
        # What TensorFlow does fastest, and in part in place; XLA would make loops of it.
        own = _softmax_times(take_label(exact, labels), m, L, g, used) + g_own
        others = _times(tf.nn.softmax(exact), g, used) + (g_rest if v is None else g_rest * v)
        grad = tf.tensor_scatter_nd_update(others, _indices(labels), own[:, 0])
    else:
        grad = class_gradient(exact, labels, used, m, L, g, g_own, g_rest, v)
    return [tf.cast(grad, x.dtype)]


def class_gradient(
    x: Tensor,
    labels: Tensor,
    used: Tensor | None,
    m: Tensor,
    L: Tensor,
    g: Tensor,
    g_own: Tensor,
    g_rest: Tensor,
    v: Tensor | None,
) -> Tensor:
    """To some of the classes: a label that is not among them is any other number."""
    spread = g_rest if v is None else g_rest * v
    return _softmax_times(x, m, L, g, used) + tf.where(is_label(labels, 1, x), g_own, spread)


def _row_second(
    x: Tensor,
    labels: Tensor,
    used: Tensor | None,
    m: Tensor,
    L: Tensor,
    h: Tensor,
    g: Tensor,
    _g_own: Tensor,
    g_rest: Tensor,
    v: Tensor | None = None,
) -> list[Tensor]:
    """The derivatives of ⟨h, gradient⟩ to x, to the three cotangents, and to v if there is one."""
    h = tf.cast(h, g.dtype)
    of_softmax = _softmax_derivative(tf.cast(x, g.dtype), m, L, only(g, used), h, used)
    others = tf.where(is_label(labels, 1, x), tf.zeros_like(h), h)
    of_rest = class_sum(others if v is None else v * others, 1)
    of_v = [] if v is None else [_sum_to(only(g_rest, used) * others, v)]
    return [*of_softmax, only(take_label(h, labels), used), only(of_rest, used), *of_v]


def _receivers_gradient(logits: Tensor, fixed: Fixed, g_rest: Tensor, receivers: Tensor, axis: int) -> Tensor:
    labels, used, m, _ = fixed
    views = (_view(array, axis, len(logits.shape)) for array in (logits, labels, used, m, g_rest, receivers))
    return tf.reshape(receivers_gradient(*views), tf.shape(receivers))


def receivers_gradient(x: Tensor, labels: Tensor, used: Tensor | None, m: Tensor, g_rest: Tensor, v: Tensor) -> Tensor:
    """To v, of a view of all classes or of some."""
    z = only_numbers(tf.cast(x, m.dtype) - m, used)
    slope = only(g_rest, used) * slope_of(v, z)
    return _sum_to(tf.where(is_label(labels, 1, z), tf.zeros_like(slope), slope), v)


def soft_statistics(
    logits: Tensor, used: Tensor | None, targets: Sequence[Tensor | None], sound: Tensor | None, axis: int
) -> list[Tensor]:
    """m, L, and for each of the targets t, or None for ones, Σ_k t_k·(x_k − m); in the shape of ``used``.

    Whatever stands in a row that is not used, or in the targets of one that is not ``sound``, nothing of it reaches a
    derivative.
    """
    blocks = _blocks(logits, axis, in_place=False)
    ones = tuple(target is None for target in targets)
    given = [target for target in targets if target is not None]

    def all_of(given: Sequence[Tensor]) -> list[Tensor | None]:
        left = iter(given)
        return [None if one else next(left) for one in ones]

    def kept(values: Tensor) -> Tensor:
        return values if sound is None else tf.where(tf.expand_dims(sound, axis), values, tf.zeros_like(values))

    @tf.custom_gradient
    def statistics(logits: Tensor, *given: Tensor) -> Any:
        m, L, *dots = as_graph(_soft_row, axis, (logits, used, *all_of(given)), blocks=blocks)
        dots = [dot if sound is None else only(dot, sound) for dot in dots]

        def gradient(_m: Tensor, *g: Tensor) -> Any:
            g, *g_dots = (tf.expand_dims(only(cotangent, used), axis) for cotangent in g)
            g_dots = [kept(g_dot) for g_dot in g_dots]
            below, width, whole = (None if a is None else tf.expand_dims(a, axis) for a in (m, L, used))
            x = tf.cast(logits, g.dtype)
            grad = _softmax_times(x, below, width, g, whole, axis, has_all=True)
            slopes = []
            for g_dot, target in zip(g_dots, all_of(given), strict=True):
                if target is None:
                    grad += g_dot
                else:
                    grad += tf.math.multiply_no_nan(target, g_dot)
                    z = only_numbers(x - below, whole)
                    slopes.append(_sum_to(kept(g_dot * slope_of(target, z)), target))
            return [tf.cast(grad, logits.dtype), *slopes]

        return (m, L, *dots), gradient

    return list(statistics(logits, *given))


def _soft_row(
    logits: Tensor, used: Tensor | None, *targets: Tensor | None, axis: int, blocks: int | None
) -> list[Tensor]:
    x, used_view, *shares = (_view(array, axis, len(logits.shape)) for array in (logits, used, *targets))
    if blocks is not None:
        lengths = [1 if i == 1 else None if i == blocks else n for i, n in enumerate(x.shape)]
        row = in_blocks(
            lambda x, used, *shares: soft_row_statistics(x, used, shares),
            [x, used_view, *shares],
            blocks,
            [tf.TensorSpec(lengths, loss_dtype(logits))] * (2 + len(shares)),
        )
    elif compiles_with_xla() and cached_lane(logits.shape) is None and (lanes := lanes_of(x)):
        row = soft_row_by_planes(x, used_view, shares, lanes)
    else:
        row = soft_row_statistics(x, used_view, shares)
    lengths = [n if n is not None else tf.shape(logits)[i] for i, n in enumerate(logits.shape) if i != axis]
    return [tf.reshape(part, lengths) for part in row]


def _softmax_times(
    x: Tensor, m: Tensor, L: Tensor, g: Tensor, used: Tensor | None, axis: int = 1, *, has_all: bool = False
) -> Tensor:
    """g·exp((x − m) − L), a function of x and g: m and L come with x, and have no derivatives of their own.

    g is 0 in rows that are not used, and so is the product, whatever x is. Where x ``has_all`` of the classes that lie
    side by side, one operation makes it, but XLA's.
    """
    is_softmax = has_all and axis == len(x.shape) - 1 and not compiles_with_xla()

    @tf.custom_gradient
    def product(x: Tensor, g: Tensor) -> Any:
        p = tf.nn.softmax(x) if is_softmax else tf.exp((x - m) - L)
        return _times(p, g, used), lambda h: _softmax_derivative(x, m, L, g, h, used, axis)

    return product(x, g)


def _softmax_derivative(
    x: Tensor, m: Tensor, L: Tensor, g: Tensor, h: Tensor, used: Tensor | None, axis: int = 1
) -> tuple[Tensor, Tensor]:
    """The derivatives of ⟨h, g·softmax(x)⟩ to x and to g."""
    times = partial(_softmax_times, x, m, L, used=used, axis=axis)
    row = times(g) * h
    return row - times(class_sum(row, axis)), class_sum(times(only(tf.ones_like(g), used)) * h, axis)


def _times(p: Tensor, g: Tensor, used: Tensor | None) -> Tensor:
    """p·g; 0 in rows that are not used, where g is 0 and p anything."""
    return p * g if used is None else tf.math.multiply_no_nan(p, g)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sums over the axes along which ``like``, of the same rank, was broadcast."""
    axes = [i for i, n in enumerate(like.shape) if n == 1 and values.shape[i] != 1]
    return tf.reduce_sum(values, axes, keepdims=True)
