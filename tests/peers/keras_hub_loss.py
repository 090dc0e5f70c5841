"""KerasHub's CausalLM as it is compiled by default, on the TensorFlow backend."""

from typing import Any

import keras_hub
import tensorflow as tf

from multismooth import Spec
from tests.peers.bridges import tensorflow_in
from tests.peers.case import CLASSES, NOTHING, Batch, Case, Peer, with_gap

BACKBONE = keras_hub.models.GPT2Backbone(CLASSES, 1, 1, 2, 2, max_sequence_length=5)
MODEL = keras_hub.models.GPT2CausalLM(BACKBONE)
MODEL.compile(optimizer="sgd", loss="auto", weighted_metrics=None)


def of_model(weights: str | None) -> Any:
    def loss(x: tf.Tensor, b: Batch) -> tf.Tensor:
        given = None if weights is None else getattr(b, weights).astype("float32")
        return MODEL.compute_loss(y=tf.constant(b.y), y_pred=x, sample_weight=given)

    return loss


SPEC = Spec(denominator="all")
PEER = Peer(
    "keras-hub",
    "keras_hub.models.CausalLM, compiled with its own loss",
    tensorflow_in("float32"),
    [
        Case("keras_hub", "unweighted", of_model(None), spec=SPEC),
        Case("keras_hub", "padding as weights", of_model("kept"), {}, {"sample_weight": "kept"}, spec=SPEC),
        Case("keras_hub", "weights", of_model("weights"), {}, {"sample_weight": "weights"}, spec=SPEC),
        Case("keras_hub", "nothing counts", of_model("kept"), {}, {"sample_weight": "kept"}, NOTHING, SPEC),
        Case("keras_hub", "a gap of 200", of_model("kept"), {}, {"sample_weight": "kept"}, with_gap(), SPEC),
    ],
    precision="float32",
)
