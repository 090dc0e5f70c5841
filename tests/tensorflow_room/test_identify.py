"""``identify`` on TensorFlow's own losses."""

from typing import Any

import pytest
import tensorflow as tf

from multismooth import InputError, Spec, dialects
from multismooth.porting import identify


def smoothed(labels: Any, logits: Any, weights: Any = 1.0) -> Any:
    return tf.compat.v1.losses.softmax_cross_entropy(labels, logits, weights, label_smoothing=0.1)


def test_the_loss_of_tensorflow_1() -> None:
    found = identify(smoothed, "tensorflow")
    assert found.spec == dialects.tf_v1(0.1), str(found)
    assert found.layout["labels"] == "one-hot"
    assert set(found.deviations) <= {"loss_through_float32", "nan_under_zero_weight"}, str(found)


@pytest.mark.parametrize(
    "loss", [tf.nn.sparse_softmax_cross_entropy_with_logits, tf.nn.softmax_cross_entropy_with_logits]
)
def test_losses_per_position(loss: Any) -> None:
    found = identify(loss, "tensorflow")
    assert found.spec == Spec(reduction="none"), str(found)
    assert set(found.deviations) <= {"minus_inf"}, str(found)  # a one-hot's 0 times it


def test_in_a_function() -> None:
    loss = tf.function(
        lambda y_true, y_pred: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred))
    )
    found = identify(loss, "tensorflow")
    assert found.spec == Spec(empty="nan"), str(found)


def test_no_gradient_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        identify(lambda labels, logits: tf.constant(1.0), "tensorflow")
    assert caught.value.reason == "not_differentiable"
