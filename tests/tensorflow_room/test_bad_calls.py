"""TensorFlow refuses the same calls as NumPy, in the same words; traced too."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec
from multismooth import tensorflow as room
from multismooth.numpy import smoothed_cross_entropy as reference
from tests.bad_calls import (
    CALLS,
    LABELS,
    LINEAR_CALLS,
    LOGITS,
    OF_SHAPES_AND_DTYPES,
    BadCall,
    caught,
    changed,
    check,
    refusal,
)

TRACED = OF_SHAPES_AND_DTYPES + [call for call in LINEAR_CALLS if not call.values]
IDS = [call.id for call in TRACED]


@pytest.mark.parametrize("array", [tf.constant, np.asarray], ids=["tensors", "numpy-arrays"])
@pytest.mark.parametrize("call", CALLS + LINEAR_CALLS, ids=[call.id for call in CALLS + LINEAR_CALLS])
def test_refused(call: BadCall, array: Any) -> None:
    check(call, refusal(call, room, array))


@pytest.mark.parametrize("call", TRACED, ids=IDS)
def test_refused_while_tracing(call: BadCall) -> None:
    check(call, refusal(call, room, tf.constant, tf.function))


@pytest.mark.parametrize("call", TRACED, ids=IDS)
def test_refused_while_compiling(call: BadCall) -> None:
    check(call, refusal(call, room, tf.constant, partial(tf.function, jit_compile=True)))


@pytest.mark.parametrize(
    ("reason", "words", "logits", "labels"),
    [
        ("unknown_classes", "logits of shape (?, 3, ?) have", [None, 3, None], [None, 3]),
        ("labels_shape", "labels have shape (?, 4)", [None, 3, 4], [None, 4]),
        ("labels_shape", "labels have shape (?,)", [None, None, 4], [None]),
        ("unknown_rank", "the number of axes of logits is unknown. Set", None, [None, 3]),
        ("unknown_rank", "the number of axes of labels is unknown. Set", [None, 3, 4], None),
    ],
)
def test_unknown_sizes_are_shown_as_such(reason: str, words: str, logits: Any, labels: Any) -> None:
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


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("logits", tf.cast(LOGITS, "float8_e4m3fn"), "logits have dtype float8_e4m3fn. Pass real logits"),
        ("logits", tf.constant([["a"]]), "logits have dtype string. Pass real logits"),
        ("logits", tf.quantization.quantize(LOGITS, 0, 3, tf.quint8)[0], "logits have dtype quint8. Pass real logits"),
        ("logits", tf.RaggedTensor.from_tensor(LOGITS), "logits is a RaggedTensor. Pass a dense array"),
        ("logits", tf.sparse.from_dense(LOGITS), "logits is a SparseTensor. Pass a dense array"),
        ("logits", tf.TensorSpec((2, 3, 4)), "logits is a TensorSpec. Pass a dense array"),
        ("logits", tf.Variable(LOGITS, shape=tf.TensorShape(None)), "the number of axes of logits is unknown. Set"),
        ("logits", LOGITS.astype(object), "logits have dtype object. Pass real logits"),
        ("labels", tf.ragged.constant([[0, 1, 2], [3]]), "labels is a RaggedTensor. Pass a dense array"),
        ("labels", tf.sparse.from_dense(LABELS), "labels is a SparseTensor. Pass a dense array"),
        ("labels", LABELS.astype("M8[s]"), "labels have dtype datetime64[s]. Pass integer class indices"),
        ("labels", LABELS.astype(str), "labels have dtype str352. Pass integer class indices"),
        ("where", tf.ones((2, 3), tf.uint8), "where has dtype uint8. Pass booleans"),
        ("class_weight", tf.IndexedSlices(tf.ones(4), tf.range(4)), "class_weight is a IndexedSlices. Pass a dense"),
    ],
)
def test_arrays_of_tensorflow_alone(argument: str, value: Any, words: str) -> None:
    arguments = {"logits": tf.constant(LOGITS), "labels": tf.constant(LABELS)} | {argument: value}
    assert words in str(caught(lambda: room.smoothed_cross_entropy(**arguments), words))


@pytest.mark.parametrize(
    "number", [7, 7.5, np.float64(7.5), np.float32(7.5), np.float16(7.5), np.int8(7), np.uint64(7), 3_000_000_000]
)
@pytest.mark.parametrize("transform", [lambda function: function, tf.function], ids=["eager", "compiled"])
def test_every_real_number_is_a_normalizer(number: Any, transform: Any) -> None:
    function = transform(lambda logits: room.smoothed_cross_entropy(logits, LABELS, normalizer=number))
    total = room.smoothed_cross_entropy(LOGITS, LABELS, Spec(reduction="sum"))
    np.testing.assert_allclose(function(tf.constant(LOGITS)), total / float(number), rtol=1e-6)


@pytest.mark.parametrize("ignored", [2**63, 2**64 - 1])
@pytest.mark.parametrize("options", [None, {}, {"jit_compile": True}], ids=["eager", "traced", "compiled"])
def test_the_largest_labels_can_be_ignored(ignored: int, options: Any) -> None:
    """They are negative once they are int64."""
    labels = tf.constant(changed(LABELS.astype(np.uint64), (0, 1), ignored))
    function = room.smoothed_cross_entropy if options is None else tf.function(room.smoothed_cross_entropy, **options)
    loss = function(tf.constant(LOGITS), labels, Spec(ignore_index=ignored))
    np.testing.assert_allclose(loss, room.smoothed_cross_entropy(LOGITS, LABELS, where=labels != ignored), rtol=1e-6)


def test_a_matrix_is_an_array() -> None:
    allowed = np.array([True, True, True, True])
    loss = room.smoothed_cross_entropy(LOGITS, np.asmatrix(LABELS), allowed=allowed)
    assert loss == room.smoothed_cross_entropy(LOGITS, LABELS)


@pytest.mark.parametrize("denominator", ["class_weights", "expected_class_weights"])
def test_a_bad_label_under_a_weight_of_0_has_no_class_to_count(denominator: str) -> None:
    """As with class weights of 1, so without."""
    spec = Spec(0.1, denominator=denominator)
    arrays = {"logits": np.linspace(-2, 3, 15).reshape(3, 5), "labels": np.array([0, 100, 2])}
    arrays["sample_weight"] = np.array([1.0, 0.0, 2.0])
    expected = reference(**arrays, spec=spec)
    for more in ({}, {"class_weight": np.ones(5)}):
        found = room.smoothed_cross_entropy(**{name: tf.constant(a) for name, a in (arrays | more).items()}, spec=spec)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
