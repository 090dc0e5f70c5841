"""``identify`` on losses that are written with TensorFlow."""

from typing import Any

import tensorflow as tf

from multismooth import dialects
from multismooth.porting import identify
from multismooth.tensorflow import smoothed_cross_entropy


def smoothed(logits: Any, labels: Any) -> Any:
    return tf.compat.v1.losses.softmax_cross_entropy(tf.one_hot(labels, logits.shape[-1]), logits, label_smoothing=0.1)


def test_tensorflow_1() -> None:
    found = identify(smoothed, "tensorflow")
    assert found.spec is not None, found
    assert abs(found.spec.label_smoothing - 0.1) < 1e-6  # it computes in float32
    assert (found.spec.spread, found.spec.reduction) == ("uniform", "mean")


def test_our_own() -> None:
    def loss(logits: Any, labels: Any) -> Any:
        return smoothed_cross_entropy(logits, labels, dialects.fairseq(0.1))

    assert identify(loss, "tensorflow").spec == dialects.fairseq(0.1)
