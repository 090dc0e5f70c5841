"""TensorFlow refuses the same calls as NumPy, in the same words; traced too."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import tensorflow as room
from tests.bad_calls import CALLS, LABELS, LOGITS, OF_SHAPES_AND_DTYPES, BadCall, caught, check, refusal

IDS = [call.id for call in OF_SHAPES_AND_DTYPES]


def traced(call: BadCall, **options: Any) -> None:
    function = room.smoothed_cross_entropy_totals if call.totals else room.smoothed_cross_entropy
    arrays = {k: tf.constant(v) for k, v in call.arguments.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in call.arguments.items() if k not in arrays}
    tf.function(lambda arrays: function(**arrays, **rest), **options)(arrays)


@pytest.mark.parametrize("array", [tf.constant, np.asarray], ids=["tensors", "numpy-arrays"])
@pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])
def test_refused(call: BadCall, array: Any) -> None:
    check(call, refusal(call, room, array))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES, ids=IDS)
def test_refused_while_tracing(call: BadCall) -> None:
    check(call, caught(lambda: traced(call), call.id))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES[::10], ids=IDS[::10])
def test_refused_while_compiling(call: BadCall) -> None:
    check(call, caught(lambda: traced(call, jit_compile=True), call.id))


@pytest.mark.parametrize(
    ("reason", "words", "logits", "labels"),
    [
        ("unknown_classes", "logits of shape (?, 3, ?) have", [None, 3, None], [None, 3]),
        ("labels_shape", "labels have shape (?, 4)", [None, 3, 4], [None, 4]),
        ("labels_shape", "labels have shape (?,)", [None, None, 4], [None]),
    ],
)
def test_unknown_sizes_are_shown_as_such(reason: str, words: str, logits: list[Any], labels: list[Any]) -> None:
    signature = [tf.TensorSpec(logits, tf.float32), tf.TensorSpec(labels, tf.int32)]
    function = tf.function(room.smoothed_cross_entropy, input_signature=signature)
    error = caught(function.get_concrete_function, reason)
    assert error.reason == reason
    assert words in str(error)


@pytest.mark.parametrize("name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed"])
@pytest.mark.parametrize("value", [[0.0, 1.0], "0", object()], ids=["list", "str", "object"])
def test_only_arrays_are_arrays(name: str, value: Any) -> None:
    arguments = {"logits": tf.constant(LOGITS), "labels": tf.constant(LABELS)} | {name: value}
    error = caught(lambda: room.smoothed_cross_entropy(**arguments), name)
    assert error.reason == "not_an_array"
    assert f"{name} is a {type(value).__name__}" in str(error)
