"""TensorFlow 1's, which has stayed."""

from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from tests.peers.bridges import tensorflow_in
from tests.peers.case import CLASSES, NOTHING, Batch, Case, Fact, Peer, with_gap

REDUCTIONS = (
    "weighted_sum_by_nonzero_weights",
    "weighted_mean",
    "weighted_sum_over_batch_size",
    "weighted_sum",
    "none",
)


def loss_of(epsilon: float, reduction: str, weights: str | None) -> Any:
    def loss(x: tf.Tensor, b: Batch) -> tf.Tensor:
        return tf.compat.v1.losses.softmax_cross_entropy(
            np.eye(CLASSES)[b.y],
            x,
            weights=1.0 if weights is None else getattr(b, weights),
            label_smoothing=epsilon,
            reduction=reduction,
        )

    return loss


WEIGHTS = {"unweighted": None, "sample weights": "s", "a mask as weights": "kept", "masked sample weights": "weights"}
CASES = [
    Case(
        "tf_v1",
        f"ε = {epsilon:g}, {reduction}, {name}",
        loss_of(epsilon, reduction, weights),
        {"label_smoothing": epsilon, "reduction": reduction},
        {"sample_weight": weights} if weights else {},
    )
    for epsilon, reduction, (name, weights) in product((0.0, 0.1, 1.0), REDUCTIONS, WEIGHTS.items())
]
for reduction, (name, batch) in product(REDUCTIONS, {"nothing counts": NOTHING, "a gap of 200": with_gap()}.items()):
    theirs, options = loss_of(0.1, reduction, "weights"), {"label_smoothing": 0.1, "reduction": reduction}
    CASES.append(Case("tf_v1", f"{name}, {reduction}", theirs, options, {"sample_weight": "weights"}, batch))


def float32_sums() -> str:
    x = tf.constant(np.full((3, 2), [0.0, 0.1]), "float64")
    mean = tf.compat.v1.losses.softmax_cross_entropy(np.eye(2)[[0, 1, 0]], x)
    exact = float(np.log1p(np.exp(0.1)) - 0.1 / 3)
    assert mean.dtype == tf.float64
    assert 1e-12 < abs(float(mean) - exact) < 1e-6
    return f"{float(mean):.10f}, where {exact:.10f} is exact"


PEER = Peer(
    "tensorflow",
    "tf.compat.v1.losses.softmax_cross_entropy",
    tensorflow_in("float64"),
    CASES,
    [Fact("float64 logits are summed in float32", float32_sums)],
    precision="float32",
)
