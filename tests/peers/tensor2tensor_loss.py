"""tensor2tensor's: the numerator and the denominator that it returns, divided."""

from typing import Any

import tensorflow as tf

from tests.peers.bridges import tensorflow_in
from tests.peers.case import PAD, Batch, Case, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("tensor2tensor", "tensor2tensor", "tensor2tensor.layers", "tensor2tensor.utils")
absent("tensor2tensor.utils.contrib", "tensorflow_probability", "tensorflow.python.ops.inplace_ops")
from tensor2tensor.layers.common_layers import padded_cross_entropy  # noqa: E402


def padded(epsilon: float) -> Any:
    def loss(x: tf.Tensor, b: Batch) -> tf.Tensor:
        # Its logits and labels have an axis or two of length 1 between time and classes.
        labels = tf.constant(b.labels(PAD)[..., None, None])
        numerator, denominator = padded_cross_entropy(x[:, :, None, None, :], labels, epsilon)
        return numerator / denominator

    return loss


PEER = Peer(
    "tensor2tensor",
    "tensor2tensor.layers.common_layers.padded_cross_entropy",
    tensorflow_in("float32"),
    [
        *(Case("tensor2tensor", f"ε = {e:g}", padded(e), {"label_smoothing": e}) for e in (0.1, 0.9)),
        Case("tensor2tensor", "a gap of 200", padded(0.1), {"label_smoothing": 0.1}, batch=with_gap()),
    ],
    precision="float32",
)
