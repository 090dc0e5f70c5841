"""What the loss needs of each row of logits, with exact derivatives of every order.

For a row x with m = max x these are m itself, L = log Σ_k exp(x_k − m), and sums of (x_k − m) weighted by the
target. m counts as a constant: shifting it changes nothing in a loss whose mass balances its target, and lse =
m + L has the right derivative, softmax(x), all the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

Tensor = tf.Tensor


class LabelRow(NamedTuple):
    """The statistics of each row; the class axis is kept, with length 1."""

    m: Tensor
    L: Tensor
    own: Tensor
    """x_y − m"""
    rest: Tensor
    """Σ_{k≠y} v_k·(x_k − m)"""


MANY = 256
"""Classes whose sum one by one stays within the bounds: its rounding is about √K / 3 half-ULP, 5 at this many."""


def loss_dtype(logits: Tensor) -> tf.DType:
    """The dtype that the loss is computed and returned in."""
    return tf.float64 if logits.dtype == tf.float64 else tf.float32


def label_statistics(logits: Tensor, labels: Tensor, receivers: Tensor | None, axis: int, smooths: bool) -> LabelRow:
    """Statistics for integer labels of the logits' rank; ``receivers`` is v, or None for ones."""

    @tf.custom_gradient
    def statistics(logits: Tensor, *receivers: Tensor) -> Any:
        x, m, L = _row(logits, axis)
        z = x - m
        own = _own(z, labels, axis)
        rest = tf.zeros_like(L)
        if smooths:
            weighted = _weighted(receivers[0], z) if receivers else z
            others = tf.where(is_label(labels, axis, logits), tf.zeros_like(z), weighted)
            rest = class_sum(others, axis)

        def gradient(_m: Tensor, g: Tensor, g_own: Tensor, g_rest: Tensor) -> Any:
            mine = is_label(labels, axis, logits)
            x = tf.cast(logits, g.dtype)
            spread = g_rest * receivers[0] if receivers else g_rest
            grad = g * _probabilities(x, m, L, axis) + tf.where(mine, g_own, spread)
            grads = [tf.cast(grad, logits.dtype)]
            if receivers:
                slope = g_rest * _slope(receivers[0], x - m)
                others = tf.where(mine, tf.zeros_like(slope), slope)
                grads.append(_sum_to(others, receivers[0]))
            return grads

        return (m, L, own, rest), gradient

    given = [] if receivers is None or not smooths else [receivers]
    return LabelRow(*statistics(logits, *given))


def soft_statistics(logits: Tensor, targets: tuple[Tensor, ...], axis: int) -> list[Tensor]:
    """m, L, and Σ_k t_k·(x_k − m) for each of the targets t."""

    @tf.custom_gradient
    def statistics(logits: Tensor, *targets: Tensor) -> Any:
        x, m, L = _row(logits, axis)
        z = x - m
        dots = [class_sum(_weighted(target, z), axis) for target in targets]

        def gradient(_m: Tensor, g: Tensor, *g_dots: Tensor) -> Any:
            x = tf.cast(logits, g.dtype)
            grad = g * _probabilities(x, m, L, axis)
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

    TensorFlow adds in pairs over the last axis and one by one over any other, which over many classes loses digits.
    """
    rank = len(values.shape)
    if values.shape[axis] <= MANY or axis == rank - 1:
        return tf.reduce_sum(values, axis, keepdims=True)
    last = tf.transpose(values, [*(i for i in range(rank) if i != axis), axis])
    return tf.expand_dims(tf.reduce_sum(last, -1), axis)


def _row(logits: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, m and L; L is log1p of the sum without one maximum, which keeps a confident row's digits."""
    x = tf.cast(logits, loss_dtype(logits))
    m = tf.stop_gradient(tf.reduce_max(x, axis, keepdims=True))
    z = x - m
    # Every maximum is exp(0) = 1, and all but one are put back. As exponentials, not as a count: forward-mode
    # derivatives go through these very operations, and not through the custom gradient.
    top, e, zeros = z == 0, tf.exp(z), tf.zeros_like(z)
    others = class_sum(tf.where(top, zeros, e), axis)
    ties = class_sum(tf.where(top, e, zeros), axis) - 1
    return x, m, tf.math.log1p(others + ties)


def _probabilities(x: Tensor, m: Tensor, L: Tensor, axis: int) -> Tensor:
    """exp((x − m) − L), a function of x alone: m and L come with it, and have no derivatives of their own."""

    @tf.custom_gradient
    def probabilities(x: Tensor) -> Any:
        def gradient(g: Tensor) -> Tensor:
            p = _probabilities(x, m, L, axis)
            return p * (g - class_sum(p * g, axis))

        return tf.exp((x - m) - L), gradient

    return probabilities(x)


def _own(z: Tensor, labels: Tensor, axis: int) -> Tensor:
    if axis == len(z.shape) - 1:
        return tf.gather(z, labels, batch_dims=axis)
    mine = is_label(labels, axis, z)
    return tf.reduce_sum(tf.where(mine, z, tf.zeros_like(z)), axis, keepdims=True)


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
