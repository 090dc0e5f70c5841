"""JAX refuses the same calls as NumPy, in the same words; traced too."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

from multismooth import Spec
from multismooth import jax as room
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


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray], ids=["jax-arrays", "numpy-arrays"])
@pytest.mark.parametrize("call", CALLS + LINEAR_CALLS, ids=[call.id for call in CALLS + LINEAR_CALLS])
def test_refused(call: BadCall, array: Any) -> None:
    check(call, refusal(call, room, array))


@pytest.mark.parametrize("call", TRACED, ids=IDS)
def test_refused_while_compiling(call: BadCall) -> None:
    check(call, refusal(call, room, jnp.asarray, jax.jit))


@pytest.mark.parametrize("call", TRACED[::10], ids=IDS[::10])
def test_refused_while_mapped(call: BadCall) -> None:
    """The shapes are those of one element."""

    def mapped(function: Any) -> Any:
        return lambda arrays: jax.vmap(function)({k: array[None] for k, array in arrays.items()})

    check(call, refusal(call, room, jnp.asarray, mapped))


@pytest.mark.parametrize("name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed"])
@pytest.mark.parametrize("value", [[0.0, 1.0], "0", object()], ids=["list", "str", "object"])
def test_only_arrays_are_arrays(name: str, value: Any) -> None:
    arguments = {"logits": jnp.asarray(LOGITS), "labels": jnp.asarray(LABELS)} | {name: value}
    error = caught(lambda: room.smoothed_cross_entropy(**arguments), name)
    assert error.reason == "not_an_array"
    assert f"{name} is a {type(value).__name__}" in str(error)


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("logits", jnp.asarray(LOGITS, jnp.float8_e4m3fn), "logits have dtype float8_e4m3fn. Pass real logits"),
        ("logits", jax.random.split(jax.random.key(0), (2, 3, 4)), "logits have dtype key<fry>. Pass real logits"),
        ("logits", BCOO.fromdense(LOGITS), "logits is a BCOO. Pass a dense array"),
        ("logits", jax.ShapeDtypeStruct((2, 3, 4), np.float32), "logits is a ShapeDtypeStruct. Pass a dense array"),
        ("logits", LOGITS.astype(">f4"), "logits have dtype >f4. Pass real logits"),
        ("logits", LOGITS.astype(object), "logits have dtype object. Pass real logits"),
        ("labels", jnp.asarray(LABELS, jnp.int4), "labels have dtype int4. Pass integer class indices"),
        (
            "labels",
            jax.random.split(jax.random.key(0), (2, 3)),
            "labels have dtype key<fry>. Pass integer class indices",
        ),
        ("labels", LABELS.astype(">i4"), "labels have dtype >i4. Pass integer class indices"),
        ("labels", LABELS.astype("M8[s]"), "labels have dtype datetime64[s]. Pass integer class indices"),
        ("where", jnp.ones((2, 3), jnp.uint8), "where has dtype uint8. Pass booleans"),
        ("normalizer", jax.random.key(0), "normalizer has dtype key<fry>. Pass a real number"),
    ],
)
def test_arrays_of_jax_alone(argument: str, value: Any, words: str) -> None:
    arguments = {"logits": jnp.asarray(LOGITS), "labels": jnp.asarray(LABELS)} | {argument: value}
    assert words in str(caught(lambda: room.smoothed_cross_entropy(**arguments), words))


@pytest.mark.parametrize(
    "number", [7, 7.5, np.float64(7.5), np.float32(7.5), np.float16(7.5), np.int8(7), np.uint64(7), 3_000_000_000]
)
@pytest.mark.parametrize("transform", [lambda function: function, jax.jit], ids=["eager", "compiled"])
def test_every_real_number_is_a_normalizer(number: Any, transform: Any) -> None:
    """The tokens of a large batch are more than an int32 holds."""
    function = transform(lambda logits: room.smoothed_cross_entropy(logits, LABELS, normalizer=number))
    total = room.smoothed_cross_entropy(LOGITS, LABELS, Spec(reduction="sum"))
    np.testing.assert_allclose(function(LOGITS), total / float(number), rtol=1e-6)


@pytest.mark.parametrize("ignored", [2**63, 2**64 - 1])
def test_the_largest_labels_can_be_ignored(ignored: int) -> None:
    labels = changed(LABELS.astype(np.uint64), (0, 1), ignored)
    loss = room.smoothed_cross_entropy(LOGITS, labels, Spec(ignore_index=ignored))
    assert loss == room.smoothed_cross_entropy(LOGITS, LABELS, where=labels != ignored)


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
        found = room.smoothed_cross_entropy(**{name: jnp.asarray(a) for name, a in (arrays | more).items()}, spec=spec)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
