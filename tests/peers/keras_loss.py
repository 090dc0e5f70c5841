"""Keras's categorical and sparse losses, on the TensorFlow backend."""

from itertools import product
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.masking import set_keras_mask  # nothing public gives an eager tensor a mask

from multismooth import Spec
from tests.peers.bridges import tensorflow_in
from tests.peers.case import CLASSES, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap


def categorical(
    epsilon: float = 0.1, reduction: str | None = "sum_over_batch_size", weights: str = "", masked: bool = False
) -> Any:
    native = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=epsilon, reduction=reduction, dtype="float64"
    )

    def loss(x: tf.Tensor, b: Batch) -> tf.Tensor:
        x = tf.identity(x)
        if masked:
            set_keras_mask(x, tf.constant(b.mask))
        return native(np.eye(CLASSES)[b.y], x, sample_weight=getattr(b, weights) if weights else None)

    return loss


def sparse(ignore_class: int | None, reduction: str | None = "sum_over_batch_size", weights: str = "") -> Any:
    native = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=ignore_class, reduction=reduction, dtype="float64"
    )

    def loss(x: tf.Tensor, b: Batch) -> tf.Tensor:
        labels = b.y if ignore_class is None else b.labels(ignore_class)
        return native(labels, x, sample_weight=getattr(b, weights) if weights else None)

    return loss


MEANS = {"sum_over_batch_size": "mean", "mean": "mean", "sum": "sum", "none": "none", None: "none"}
WEIGHTS = {"": "", "s": ", sample weights", "weights": ", masked sample weights"}
CASES = []
for epsilon, reduction, weights in product((0.0, 0.1, 1.0), MEANS, ("", "s", "weights")):
    options = {"label_smoothing": epsilon, "reduction": reduction}
    name = f"ε = {epsilon:g}, {reduction}" + WEIGHTS[weights]
    given = {"sample_weight": weights} if weights else {}
    CASES += [
        Case("keras", name, categorical(epsilon, reduction, weights), options, given),
        Case(
            "keras_mask",
            name,
            categorical(epsilon, reduction, weights, masked=True),
            options,
            {"where": "mask"} | given,
            spec=Spec(epsilon, reduction=MEANS[reduction]),
        ),
    ]
for epsilon, masked, weights in product((0.0, 0.1, 1.0), (False, True), ("", "s", "weights")):
    CASES.append(
        Case(
            "keras_weighted_mean",
            f"ε = {epsilon:g}" + ", mask" * masked + WEIGHTS[weights],
            categorical(epsilon, "mean_with_sample_weight", weights, masked),
            {"label_smoothing": epsilon},
            ({"where": "mask"} if masked else {}) | ({"sample_weight": weights} if weights else {}),
            spec=Spec(epsilon, denominator="weights"),
        )
    )
for reduction, ignored, weights in product(MEANS, (None, PAD, -1), ("", "s")):
    CASES.append(
        Case(
            "keras_sparse",
            f"ignore_class {ignored}, {reduction}" + WEIGHTS[weights],
            sparse(ignored, reduction, weights),
            {"ignore_class": ignored, "reduction": reduction},
            {"sample_weight": weights} if weights else {},
            spec=Spec(ignore_index=ignored, reduction=MEANS[reduction]),
        )
    )
SMOOTHED = {"label_smoothing": 0.1}
CASES += [
    Case("keras_mask", "a mask of nothing", categorical(masked=True), SMOOTHED, {"where": "mask"}, NOTHING, Spec(0.1)),
    Case("keras_sparse", "all ignored", sparse(PAD), {"ignore_class": PAD}, {}, NOTHING, Spec(ignore_index=PAD)),
    Case("keras", "a gap of 200", categorical(), SMOOTHED, batch=with_gap()),
]


def half_precision_labels() -> str:
    logits = np.zeros((1, 300), "float32")
    logits[0, 256] = 5
    native = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="bfloat16")
    losses = [float(native(np.array([y]), logits)) for y in (256, 257)]
    assert losses[0] == losses[1]
    return f"in bfloat16 the labels 256 and 257 both have the loss {losses[0]:.4f}"


PEER = Peer(
    "keras",
    "keras.losses.CategoricalCrossentropy, SparseCategoricalCrossentropy",
    tensorflow_in("float64"),
    CASES,
    [Fact("labels pass through the dtype of the loss", half_precision_labels)],
)
