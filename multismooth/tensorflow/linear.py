"""The loss of a model's last linear layer, in TensorFlow."""

from __future__ import annotations

import tensorflow as tf

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.spec import Spec, as_spec
from multismooth.tensorflow.functional import Array, positions_of
from multismooth.tensorflow.functions import describe, functions_for, read
from multismooth.tensorflow.projection import Cap, Projection


@tf.autograph.experimental.do_not_convert
def linear_smoothed_cross_entropy(
    hidden: Array,
    kernel: Array,
    labels: Array,
    spec: Spec | float = Spec(),
    *,
    bias: Array | None = None,
    logit_scale: float | None = None,
    softcap: float | None = None,
    where: Array | None = None,
    sample_weight: Array | None = None,
    class_weight: Array | None = None,
    prior: Array | None = None,
    allowed: Array | None = None,
    normalizer: Array | float | None = None,
) -> tf.Tensor:
    """``smoothed_cross_entropy`` of the logits that a linear layer makes, which are never held as a whole.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    Forward, blocks of rows are multiplied with the kernel; backward, blocks of classes once more.

    Args:
        hidden: float16, bfloat16, float32 or float64 [*batch, features].
        kernel: [features, classes], of hidden's dtype.
        labels: class indices [*batch] of any integer dtype. Soft labels are as many as the logits, and refused.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        bias: [classes], of hidden's dtype.
        logit_scale: a finite number; 1 if it is None.
        softcap: a finite number > 0 that no logit exceeds, or None for no bound.
        where, sample_weight, …: as in ``smoothed_cross_entropy``, with the classes last.

    Returns:
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions. float64 for float64 hidden, else
        float32. With half precision hidden·kernel + bias and the gradient to it are of that precision, as a dense
        layer's would be; everything else is float32, and each gradient is rounded once.

    Rows that do not count are left out of the products, and nothing of them gets into a gradient, whatever they hold;
    with XLA, which needs fixed shapes, they are computed as zeros. Gradients to hidden, kernel, bias, sample_weight,
    class_weight and prior are exact. So are second derivatives, for which the logits are held.
    ``tf.vectorized_map`` goes past these gradients: there TensorFlow derives the operations, and in half precision it
    rounds their products.

    Raises:
        InputError: as in ``smoothed_cross_entropy``; and for hidden, kernel, bias or numbers that do not fit.

    >>> import tensorflow as tf
    >>> hidden, kernel = tf.ones([2, 3]), tf.zeros([3, 4])  # [batch, features], [features, classes]
    >>> print(linear_smoothed_cross_entropy(hidden, kernel, tf.constant([0, 3]), 0.1).numpy().round(4))
    1.3863

    Reference: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2024).
    """
    call = "linear_smoothed_cross_entropy"
    spec = as_spec(spec, call)
    checks.check_linear(call, hidden, kernel, bias, logit_scale, softcap, labels, describe)
    cap = Cap(1.0 if logit_scale is None else float(logit_scale), None if softcap is None else float(softcap))
    hidden, kernel, bias = (None if array is None else tf.convert_to_tensor(array) for array in (hidden, kernel, bias))
    logits = Projection(hidden, kernel, bias, cap)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    layout = checks.check_call(call, spec, batch, -1, describe)
    good = checks.check_values(call, spec, batch, layout, read) is not None
    positions = positions_of(spec, batch, layout, good)
    return reduction.reduce(spec, positions, normalizer, functions_for(positions.loss))
