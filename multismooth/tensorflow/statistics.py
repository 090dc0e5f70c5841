"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from multismooth.blocks import SIZES, classes_of_block
from multismooth.tensorflow.graphs import BLOCK, as_graph, compiles_with_xla, in_blocks

Tensor = tf.Tensor


class LabelRow(NamedTuple):
    """The statistics of each row, in the labels' shape; 0 where a row is not used."""

    m: Tensor
    L: Tensor
    own: Tensor
    """x_y − m"""
    rest: Tensor
    """Σ_{k≠y} v_k·(x_k − m)"""


class Rest(Enum):
    """How the statistic ``rest`` is summed."""

    NONE = "not at all: nobody but the label receives anything"
    OTHERS = "over the other classes"
    ALL = "over all classes, less the label: where that receives the most, the loss loses no digits"


MANY = 256
"""Classes whose sum one by one stays within the bounds: its rounding is about √K / 3 half-ULP, 5 at this many."""


PLANES = 4
"""Those of one step, for the sums are read and written at each."""


def loss_dtype(logits: Tensor) -> tf.DType:
    """The dtype that the loss is computed and returned in."""
    return tf.float64 if logits.dtype == tf.float64 else tf.float32


def label_statistics(
    logits: Tensor, labels: Tensor, used: Tensor | None, receivers: Tensor | None, axis: int, rest: Rest
) -> LabelRow:
    """Statistics for integer labels; ``used`` tells the rows that count, and ``receivers`` is v, or None for ones.

    Whatever stands in a row that is not used, nothing of it reaches a derivative.
    """
    blocks = _blocks(logits.shape, axis)
    labels = tf.cast(labels, tf.int32)
    keeps = blocks is None and axis == len(logits.shape) - 1 and not compiles_with_xla()

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


def _blocks(shape: tf.TensorShape, axis: int) -> int | None:
    """The axis of the view that is cut into blocks; None for few logits, and for XLA."""
    if compiles_with_xla():
        return None
    if None in shape:
        return 0
    if shape.num_elements() < 2 * BLOCK:
        return None
    return 0 if _product(shape[axis:]) < 2 * BLOCK or axis == len(shape) - 1 else 2


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
    elif compiles_with_xla() and (lanes := _lanes(x)):
        row = _row_by_planes(*arrays, lanes, rest=rest)
    else:
        row = row_statistics(*arrays, rest=rest)
    like = [*[labels] * 5, logits] if keeps else [labels] * 4
    return [tf.ensure_shape(tf.reshape(row[i], tf.shape(whole)), whole.shape) for i, whole in enumerate(like)]


def row_statistics(x: Tensor, labels: Tensor, used: Tensor | None, v: Tensor | None, *, rest: Rest) -> list[Tensor]:
    """Of a view, the class axis kept with length 1; last come the sum without one maximum, and exp(x − m)."""
    x = tf.cast(x, loss_dtype(x))
    size = None if len(x.shape) == 3 or compiles_with_xla() else classes_of_block(x.shape[1])
    maxima = x if size is None else tf.reduce_max(_in_classes(x, size), 2)
    m = _only(tf.stop_gradient(tf.reduce_max(maxima, 1, keepdims=True)), used)
    z = _only_numbers(x - m, used)
    e = tf.exp(z)
    others = _others(e, z, 1) if size is None else _others_by_blocks(_in_classes(e, size), tf.argmax(maxima, 1))
    return [m, _only(tf.math.log1p(others), used), *_own_and_rest(z, labels, v, rest), others, e]


def _own_and_rest(z: Tensor, labels: Tensor, v: Tensor | None, rest: Rest) -> tuple[Tensor, Tensor]:
    own = _at_label(z, labels)
    match rest:
        case Rest.NONE:
            return own, tf.zeros_like(own)
        case Rest.ALL if v is None:
            return own, _without(own, class_sum(z, 1))
        case _:
            weighted = z if v is None else _weighted(v, z)
            return own, class_sum(tf.where(is_label(labels, 1, z), tf.zeros_like(z), weighted), 1)


def _without(own: Tensor, whole: Tensor) -> Tensor:
    """The sum over all classes less the label's, whose −inf is the loss's too."""
    return tf.where(tf.math.is_inf(own), whole, whole - own)


def _in_classes(x: Tensor, size: int) -> Tensor:
    return tf.reshape(x, [-1, x.shape[1] // size, size])


def _others_by_blocks(e: Tensor, first: Tensor) -> Tensor:
    """Σ exp(z) without one maximum, which lies in the block ``first``: all other blocks, and what else is in that."""
    first = first[:, tf.newaxis]
    sums, block = tf.reduce_sum(e, 2), tf.gather(e, first, batch_dims=1)[:, 0]
    return class_sum(tf.where(is_label(first, 1, sums), tf.zeros_like(sums), sums), 1) + _others(block, block - 1, 1)


def _indices(classes: Tensor) -> Tensor:
    """One class of each row, [rows, 1], as scatters want it."""
    return tf.concat([tf.range(tf.shape(classes)[0])[:, tf.newaxis], classes], 1)


def _lanes(x: Tensor) -> int | None:
    """How many classes of a row make a plane, or None for those that take another way: no more than ``MANY`` planes.

    Of rows about twice as many as there are planes, for the sums of all lanes are read and written at each step. Not of
    rows in half precision, which XLA would widen as a whole before the loop.
    """
    classes = x.shape[1]
    if len(x.shape) == 3:
        return 1 if classes <= MANY else None
    if x.dtype != loss_dtype(x):
        return None
    planes = [n for n in range(2, MANY + 1) if classes % n == 0 and classes // n >= SIZES[0]]
    return classes // min(planes, key=lambda n: abs(n - math.sqrt(classes / 2))) if planes else None


def _row_by_planes(
    x: Tensor, labels: Tensor, used: Tensor | None, v: Tensor | None, lanes: int, *, rest: Rest
) -> list[Tensor]:
    """As ``row_statistics``, by planes: what XLA reduces over the last axis it holds, over others it reduces badly.

    A plane is one class of all rows; or where the classes come last, so many of each row that lie side by side.
    """
    m = _only(tf.stop_gradient(tf.cast(tf.reduce_max(x, 1, keepdims=True), loss_dtype(x))), used)
    own = _only_numbers(tf.cast(_at_label(x, labels), m.dtype) - m, used)
    others_than = labels if v is not None or rest is Rest.OTHERS else None
    if lanes == 1:
        others, ties, summed = _sums_of_planes(x, m, others_than, used, v)
    else:
        if others_than is not None:  # in its lane the plane it is in, and in every other none
            others_than = tf.where(labels % lanes == tf.range(lanes), labels // lanes, -1)
        x, v = (None if array is None else tf.reshape(array, [-1, x.shape[1] // lanes, lanes]) for array in (x, v))
        by_row = (None if array is None else array[:, tf.newaxis] for array in (m, others_than, used))
        others, ties, summed = (class_sum(sums[:, 0], 1) for sums in _sums_of_planes(x, *by_row, v))
    if rest is Rest.NONE:
        summed = tf.zeros_like(own)
    elif others_than is None:
        summed = _without(own, summed)
    return [m, _only(tf.math.log1p(others + (ties - 1)), used), own, summed]


def _sums_of_planes(
    x: Tensor, m: Tensor, labels: Tensor | None, used: Tensor | None, v: Tensor | None
) -> Sequence[Tensor]:
    """Σ exp(z) without the maxima, Σ (1 + z) of these, and Σ v_k·z_k, which leaves out the label if there is one."""

    def add(k: Tensor, others: Tensor, ties: Tensor, rest: Tensor) -> tuple[Tensor, ...]:
        z = _only_numbers(tf.cast(x[:, k, tf.newaxis], m.dtype) - m, used)
        top, e, zeros = z == 0, tf.exp(z), tf.zeros_like(z)
        weighted = z if v is None else _weighted(v[:, k, tf.newaxis], z)
        weighted = weighted if labels is None else tf.where(labels == k, zeros, weighted)
        return k + 1, others + tf.where(top, zeros, e), ties + tf.where(top, 1 + z, zeros), rest + weighted

    def step(k: Tensor, *sums: Tensor) -> tuple[Tensor, ...]:
        for _ in range(PLANES):
            k, *sums = add(k, *sums)
        return k, *sums

    zeros = tf.zeros_like(x[:, :1], m.dtype)
    steps, left = divmod(x.shape[1], PLANES)
    sums: Any = (0, zeros, zeros, zeros)
    if steps:  # XLA cannot differentiate a loop of none
        sums = tf.while_loop(lambda k, *_: k < steps * PLANES, step, sums, maximum_iterations=steps)
    for _ in range(left):
        sums = add(*sums)
    return sums[1:]


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
    return tf.ensure_shape(tf.reshape(grad, tf.shape(logits)), logits.shape)


def _gradient_of_exponentials(logits: Tensor, *given: Tensor | None, axis: int) -> Tensor:
    """Of what ``_label_row`` has kept."""
    views = [_view(array, axis, len(logits.shape)) for array in given]
    labels, used, own, others, e, g, g_own, g_rest, *receivers = views
    g, g_own, g_rest = (_only(cotangent, used) for cotangent in (g, g_own, g_rest))
    share = g / (1 + others)
    spread = g_rest * receivers[0] if receivers else g_rest
    at_label = tf.exp(own) * share + g_own
    grad = tf.tensor_scatter_nd_update(e * share + spread, _indices(labels), at_label[:, 0])
    return tf.ensure_shape(tf.reshape(tf.cast(grad, logits.dtype), tf.shape(logits)), logits.shape)


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
    g, g_own, g_rest = (_only(cotangent, used) for cotangent in (g, g_own, g_rest))
    exact = tf.cast(x, g.dtype)
    if len(x.shape) == 2 and not compiles_with_xla():
        # What TensorFlow does fastest, and in part in place; XLA would make loops of it.
        own = _softmax_times(_at_label(exact, labels), m, L, g, used) + g_own
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
    of_softmax = _softmax_derivative(tf.cast(x, g.dtype), m, L, _only(g, used), h, used)
    others = tf.where(is_label(labels, 1, x), tf.zeros_like(h), h)
    of_rest = class_sum(others if v is None else v * others, 1)
    of_v = [] if v is None else [_sum_to(_only(g_rest, used) * others, v)]
    return [*of_softmax, _only(_at_label(h, labels), used), _only(of_rest, used), *of_v]


def _receivers_gradient(logits: Tensor, fixed: Fixed, g_rest: Tensor, receivers: Tensor, axis: int) -> Tensor:
    labels, used, m, _ = fixed
    views = (_view(array, axis, len(logits.shape)) for array in (logits, labels, used, m, g_rest, receivers))
    return tf.reshape(receivers_gradient(*views), tf.shape(receivers))


def receivers_gradient(x: Tensor, labels: Tensor, used: Tensor | None, m: Tensor, g_rest: Tensor, v: Tensor) -> Tensor:
    """To v, of a view of all classes or of some."""
    z = _only_numbers(tf.cast(x, m.dtype) - m, used)
    slope = _only(g_rest, used) * _slope(v, z)
    return _sum_to(tf.where(is_label(labels, 1, z), tf.zeros_like(slope), slope), v)


def soft_statistics(logits: Tensor, targets: tuple[Tensor, ...], axis: int) -> list[Tensor]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t; the class axis is kept, with length 1."""

    @tf.custom_gradient
    def statistics(logits: Tensor, *targets: Tensor) -> Any:
        x = tf.cast(logits, loss_dtype(logits))
        m = tf.stop_gradient(tf.reduce_max(x, axis, keepdims=True))
        z = x - m
        L = tf.math.log1p(_others(tf.exp(z), z, axis))
        dots = [class_sum(_weighted(target, z), axis) for target in targets]

        def gradient(_m: Tensor, g: Tensor, *g_dots: Tensor) -> Any:
            x = tf.cast(logits, g.dtype)
            grad = _softmax_times(x, m, L, g, None, axis)
            for g_dot, target in zip(g_dots, targets, strict=True):
                grad += g_dot * target
            slopes = [g_dot * _slope(target, x - m) for g_dot, target in zip(g_dots, targets, strict=True)]
            return [tf.cast(grad, logits.dtype), *slopes]

        return (m, L, *dots), gradient

    return list(statistics(logits, *targets))


def is_label(labels: Tensor, axis: int, like: Tensor) -> Tensor:
    """Where the class is the label's, in the shape of the logits."""
    classes = like.shape[axis]
    shape = [1] * len(like.shape)
    shape[axis] = classes
    return tf.reshape(tf.range(classes, dtype=labels.dtype), shape) == labels


def class_sum(values: Tensor, axis: int) -> Tensor:
    """Σ over the classes, whose axis is kept.

    TensorFlow adds in pairs over the last axis and one by one over any other, which over many classes loses digits:
    there the classes are added by parts.
    """
    classes, rank = values.shape[axis], len(values.shape)
    if classes <= MANY or axis == rank - 1:
        return tf.reduce_sum(values, axis, keepdims=True)
    sizes = [MANY] * (classes // MANY) + [classes % MANY] * (classes % MANY > 0)
    parts = [tf.reduce_sum(part, axis, keepdims=True) for part in tf.split(values, sizes, axis)]
    return class_sum(tf.concat(parts, axis), axis)


def _others(e: Tensor, z: Tensor, axis: int) -> Tensor:
    """Σ exp(z) without one maximum, which keeps a confident row's digits.

    Each maximum is exp(0) = 1: the sum omits all of them, and all but one are put back. Not as a count: forward-mode
    derivatives may go through these very operations, and not through the custom gradient.
    """
    others = tf.where(z == 0, tf.constant(0, z.dtype), e)
    return class_sum(others, axis) + (class_sum(e - others, axis) - 1)


def _softmax_times(x: Tensor, m: Tensor, L: Tensor, g: Tensor, used: Tensor | None, axis: int = 1) -> Tensor:
    """g·exp((x − m) − L), a function of x and g: m and L come with x, and have no derivatives of their own.

    g is 0 in rows that are not used, and so is the product, whatever x is.
    """

    @tf.custom_gradient
    def product(x: Tensor, g: Tensor) -> Any:
        return _times(tf.exp((x - m) - L), g, used), lambda h: _softmax_derivative(x, m, L, g, h, used, axis)

    return product(x, g)


def _softmax_derivative(
    x: Tensor, m: Tensor, L: Tensor, g: Tensor, h: Tensor, used: Tensor | None, axis: int = 1
) -> tuple[Tensor, Tensor]:
    """The derivatives of ⟨h, g·softmax(x)⟩ to x and to g."""
    times = partial(_softmax_times, x, m, L, used=used, axis=axis)
    row = times(g) * h
    return row - times(class_sum(row, axis)), class_sum(times(_only(tf.ones_like(g), used)) * h, axis)


def _at_label(z: Tensor, labels: Tensor) -> Tensor:
    """z_y of a view."""
    if len(z.shape) == 2:
        return tf.gather(z, labels, batch_dims=1)
    outer, classes, inner = (tf.cast(length, tf.int64) for length in tf.unstack(tf.shape(z)))
    a = tf.reshape(tf.range(outer), [-1, 1, 1])
    index = (a * classes + tf.cast(labels, tf.int64)) * inner + tf.range(inner)
    return tf.gather(tf.reshape(z, [-1]), index)


def _times(p: Tensor, g: Tensor, used: Tensor | None) -> Tensor:
    """p·g; 0 in rows that are not used, where g is 0 and p anything."""
    return p * g if used is None else tf.math.multiply_no_nan(p, g)


def _only(values: Tensor, used: Tensor | None) -> Tensor:
    return values if used is None else tf.where(used, values, tf.zeros_like(values))


def _only_numbers(values: Tensor, used: Tensor | None) -> Tensor:
    """The same in an operation that may overwrite its argument."""
    return values if used is None else tf.math.multiply_no_nan(values, tf.cast(used, values.dtype))


def _weighted(coefficients: Tensor, z: Tensor) -> Tensor:
    """The product, where a coefficient of 0 skips a −inf: 0·−inf is no number.

    Its own derivatives must be right too: forward mode and ``tf.vectorized_map`` go past the custom gradient.
    """
    return coefficients * _slope(coefficients, z)


def _slope(coefficients: Tensor, z: Tensor) -> Tensor:
    """The derivative to the coefficients; a term that is skipped under a −inf logit has none."""
    return tf.where((coefficients == 0) & tf.math.is_inf(z), tf.zeros_like(z), z)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sums over the axes along which ``like``, of the same rank, was broadcast."""
    axes = [i for i, n in enumerate(like.shape) if n == 1 and values.shape[i] != 1]
    return tf.reduce_sum(values, axes, keepdims=True)
