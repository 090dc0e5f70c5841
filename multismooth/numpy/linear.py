"""The reference of a model's last linear layer and its loss in one: here the logits are simply made.

    z = hidden·kernel + bias,     x = softcap·tanh(logit_scale·z / softcap),     ℓ by equation (1) of these logits x

With g = ∂loss/∂z = logit_scale·(1 − tanh²(logit_scale·z / softcap))·∂loss/∂x, for every position i,

    ∂loss/∂hidden_i = g_i·kernelᵀ,     ∂loss/∂kernel = Σ_i hidden_i ⊗ g_i,     ∂loss/∂bias = Σ_i g_i

Without a softcap x = logit_scale·z. Every edge of the logits is that of ``multismooth.numpy.functional``, and the sums
over i leave out the positions that do not count: hidden_i may hold anything there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.numpy.functional import Float, describe, evaluate, pullback
from multismooth.spec import Spec, as_spec
from multismooth.values import FUNCTIONS


class LinearGradients(NamedTuple):
    """The gradients of ``linear_smoothed_cross_entropy``, each in the shape of its array."""

    hidden: Float
    kernel: Float
    bias: Float | None
    """None without a bias"""


def linear_smoothed_cross_entropy(
    hidden: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    spec: Spec | float = Spec(),
    *,
    bias: ArrayLike | None = None,
    logit_scale: float | None = None,
    softcap: float | None = None,
    where: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
) -> Any:
    """``smoothed_cross_entropy`` of the logits that a linear layer makes.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    Args:
        hidden: float16, bfloat16, float32 or float64 [*batch, features].
        kernel: [features, classes], of hidden's dtype.
        labels: class indices [*batch] of any integer dtype.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        bias: [classes], of hidden's dtype.
        logit_scale: a finite number; 1 if it is None.
        softcap: a finite number > 0 that no logit exceeds, or None for no bound.
        where, sample_weight, …: as in ``smoothed_cross_entropy``, with the classes last.

    Returns:
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions; float64 for hidden of every dtype.

    The gradients are ``linear_smoothed_cross_entropy_vjp``. A masked position contributes exactly 0 to the loss and
    to all of them, whatever its row of hidden holds.

    Raises:
        InputError: a wrong shape, dtype or option, soft labels among them; or a bad value at a position that counts.

    >>> hidden, kernel = np.ones((2, 3)), np.zeros((3, 4))
    >>> print(linear_smoothed_cross_entropy(hidden, kernel, np.array([0, 3]), 0.1).round(4))
    1.3863

    Reference: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2024); for softcap, Gemma Team,
    Gemma 2 (2024), section 2.
    """
    call = "linear_smoothed_cross_entropy"
    spec = as_spec(spec, call)
    head = _head(call, hidden, kernel, bias, logit_scale, softcap, labels)
    batch = Batch(head.logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    rows = evaluate(call, spec, batch, -1)
    return reduction.reduce(spec, rows.positions, normalizer, FUNCTIONS)


def linear_smoothed_cross_entropy_vjp(
    cotangent: ArrayLike,
    hidden: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    spec: Spec | float = Spec(),
    *,
    bias: ArrayLike | None = None,
    logit_scale: float | None = None,
    softcap: float | None = None,
    where: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
) -> LinearGradients:
    """The gradients of ``cotangent · loss``, by the formulas above.

    Args:
        cotangent: float, of the loss's shape.
        hidden, kernel, labels, …: as in ``linear_smoothed_cross_entropy``.

    Returns:
        ``LinearGradients(hidden, kernel, bias)``, float64 in the shapes of the arrays.

    >>> hidden, kernel = np.array([[1.0, 2.0]]), np.zeros((2, 4))
    >>> linear_smoothed_cross_entropy_vjp(1.0, hidden, kernel, np.array([2]), 0.1).kernel
    array([[ 0.225,  0.225, -0.675,  0.225],
           [ 0.45 ,  0.45 , -1.35 ,  0.45 ]])
    """
    call = "linear_smoothed_cross_entropy_vjp"
    spec = as_spec(spec, call)
    head = _head(call, hidden, kernel, bias, logit_scale, softcap, labels)
    batch = Batch(head.logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    rows = evaluate(call, spec, batch, -1)
    with np.errstate(invalid="ignore"):
        g = head.slope * pullback(cotangent, spec, rows, normalizer)
        counts = reduction.slope(spec, rows.positions, normalizer, FUNCTIONS) != 0
        g[~counts] = 0.0  # and not 0·NaN
        h = np.where(counts[..., None], np.asarray(hidden, np.float64), 0.0)
        k = np.asarray(kernel, np.float64)
        to_hidden = np.where(counts[..., None], g @ k.T, 0.0)
        positions = tuple(range(counts.ndim))
        to_kernel = np.tensordot(h, g, (positions, positions))
    return LinearGradients(to_hidden, to_kernel, None if bias is None else g.sum(positions))


class _Head(NamedTuple):
    logits: Float
    slope: Any
    """of the logits to hidden·kernel + bias: a number, or an array in their shape"""


def _head(
    call: str,
    hidden: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    logit_scale: float | None,
    softcap: float | None,
    labels: ArrayLike,
) -> _Head:
    checks.check_linear(call, hidden, kernel, bias, logit_scale, softcap, labels, describe)
    scale = 1.0 if logit_scale is None else float(logit_scale)
    with np.errstate(invalid="ignore", over="ignore"):
        z = np.asarray(hidden, np.float64) @ np.asarray(kernel, np.float64)
        z = z if bias is None else z + np.asarray(bias, np.float64)
        if softcap is None:
            return _Head(scale * z, scale)
        t = np.tanh(scale * z / float(softcap))
    return _Head(float(softcap) * t, scale * (1 - t * t))
