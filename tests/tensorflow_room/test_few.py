"""The way of few logits: which calls take it, and to how many digits."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec
from multismooth.tensorflow import few, functional, smoothed_cross_entropy
from multismooth_conformance import Vector, judge, load
from multismooth_conformance.adapters.tensorflow_room import ADAPTER

WHERE = np.array([True, False, True, True, False, True])
LABELS = np.array([0, 4, 2, 1, 1, 3])
LOGITS = np.random.default_rng(0).normal(0, 4, (6, 5)).astype(np.float32)
VECTORS = [
    vector
    for vector in load().values()
    if vector.reason is None and not vector.inputs.linear and vector.inputs.spec["reduction"] != "none"
]
SHAPES = {"rows": ((6, 5), -1), "planes": ((5, 6), 0), "images": ((2, 5, 3), 1), "one": ((5,), 0)}
SPECS = [
    Spec(),
    Spec(0.1),
    Spec(1.0),
    Spec(0.3, "others", reduction="sum"),
    Spec(0.1, "leaky", denominator="expected_class_weights"),
    Spec(values=(2.0, 0.25), denominator="all"),
    Spec(values=(2.0, 0.0), reduction="sum"),
]


def arrays(shape: str) -> dict[str, Any]:
    """Logits, labels and a mask of this shape."""
    size, axis = SHAPES[shape]
    positions = [n for i, n in enumerate(size) if i != axis % len(size)]
    count = int(np.prod(positions))
    logits = tf.constant(LOGITS.ravel()[: 5 * count].reshape(size))
    labels, where = (tf.constant(given[:count].reshape(positions)) for given in (LABELS, WHERE))
    return {"logits": logits, "labels": labels, "where": where, "axis": axis}


def outcome(spec: Spec, g: float = 1.0, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The loss and g times its gradient."""
    logits = given.pop("logits")
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, spec=spec, **given)
    return loss.numpy(), tape.gradient(loss, logits, tf.constant(g, loss.dtype)).numpy()


def takes(**given: Any) -> bool:
    with patch.object(functional, "positions_of", side_effect=ZeroDivisionError):
        try:
            smoothed_cross_entropy(**given)
        except ZeroDivisionError:
            return False
        return True


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_to_the_last_digit(spec: Spec, shape: str) -> None:
    """Beside the way of many logits, in float64."""
    given = arrays(shape)
    assert takes(spec=spec, **given)
    exact = outcome(spec, **given | {"logits": tf.cast(given["logits"], tf.float64)})
    for got, expected in zip(outcome(spec, **given), exact, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=2.0**-23, atol=1e-15)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("shape", ["rows", "planes", "images"])
def test_weights_that_are_no_tensors_ride_along(shape: str, epsilon: float) -> None:
    given = arrays(shape)
    weight = np.linspace(2.0, 0.0, 6, dtype=np.float32).reshape(given["where"].shape)
    given |= {"sample_weight": weight, "class_weight": np.array([0.5, 2.0, 0.0, 1.0, 3.0], np.float32)}
    spec = Spec(epsilon, denominator="class_weights")
    assert takes(spec=spec, **given)
    exact = outcome(spec, **given | {"logits": tf.cast(given["logits"], tf.float64)})
    for got, expected in zip(outcome(spec, **given), exact, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2.0**-23, atol=1e-15)


@pytest.mark.parametrize("kind", [tf.constant, tf.Variable])
@pytest.mark.parametrize("name", ["sample_weight", "class_weight", "normalizer"])
def test_what_a_tape_may_watch_has_its_gradient(name: str, kind: Any) -> None:
    array = kind(tf.ones([] if name == "normalizer" else [6 if name == "sample_weight" else 5]))
    given = arrays("rows") | {name: array}
    assert not takes(spec=Spec(0.1), **given)
    with tf.GradientTape() as tape:
        tape.watch(array)
        loss = smoothed_cross_entropy(spec=Spec(0.1), **given)
    assert tape.gradient(loss, array) is not None


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Spec(), {"logits": tf.constant([[20.0, 0, 0, 0, 0]] * 6), "labels": tf.zeros(6, tf.int64)}),
        (Spec(), {"logits": tf.zeros([6, 1]), "labels": tf.zeros(6, tf.int64)}),
        (Spec(1e-7), {}),
        (Spec(0.1, out_of_range="nan"), {}),
        (Spec(0.1), {"logits": tf.zeros([6, 5], tf.float64)}),
        (Spec(0.1), {"logits": np.zeros([6, 5], np.float32)}),
        (Spec(0.1), {"logits": tf.fill([6, 5], np.inf)}),
        (Spec(0.1), {"logits": tf.zeros([6, few.SIZE])}),
    ],
    ids=str,
)
def test_what_needs_more_goes_elsewhere(spec: Spec, change: dict[str, Any]) -> None:
    assert not takes(spec=spec, **arrays("rows") | change)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_a_graph_has_its_own_way(xla: bool) -> None:
    """Though the labels, or all that it is given, are at hand."""
    given = arrays("rows")
    logits = given.pop("logits")
    eager = smoothed_cross_entropy(logits, spec=Spec(0.1), **given)

    def captured() -> tf.Tensor:
        assert not takes(logits=logits, spec=Spec(0.1), **given)
        return smoothed_cross_entropy(logits, spec=Spec(0.1), **given)

    assert not tf.function(lambda logits: takes(logits=logits, spec=Spec(0.1), **given))(logits)
    np.testing.assert_allclose(tf.function(captured, jit_compile=xla)(), eager, rtol=2.0**-22)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=lambda dtype: dtype.name)
def test_half_precision_is_rounded_once(dtype: tf.DType) -> None:
    given = arrays("rows")
    given["logits"] = tf.cast(given["logits"], dtype)
    assert takes(spec=Spec(0.1), **given)
    loss, gradient = outcome(Spec(0.1), 3.0, **given)
    exact, slopes = outcome(Spec(0.1), 3.0, **given | {"logits": tf.cast(given["logits"], tf.float64)})
    assert loss == exact.astype(np.float32)
    np.testing.assert_array_equal(gradient, slopes.astype(gradient.dtype))


@pytest.mark.parametrize("g", [1.0, -1.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("shape", ["rows", "planes", "images"])
def test_what_is_masked_does_not_show_in_a_bit(shape: str, epsilon: float, g: float) -> None:
    """Nor in the sign of a 0, where the cotangent is negative."""

    def filled(garbage: float) -> tuple[bytes, bytes]:
        given = arrays(shape)
        masked = ~np.broadcast_to(np.expand_dims(given["where"], given["axis"]), given["logits"].shape)
        logits = tf.where(masked, tf.constant(garbage, tf.float32), given["logits"])
        loss, gradient = outcome(Spec(epsilon), g, **given | {"logits": logits})
        assert not gradient[masked].any()
        assert not np.signbit(gradient[masked]).any()
        return loss.tobytes(), gradient.tobytes()

    assert len({filled(garbage) for garbage in (0.0, 1e30, np.inf, -np.inf, np.nan)}) == 1


@pytest.mark.parametrize("spec", [Spec(), Spec(0.1)], ids=repr)
def test_second_derivatives(spec: Spec) -> None:
    def hessian(logits: tf.Tensor) -> Any:
        given = arrays("rows") | {"logits": logits}
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                loss = smoothed_cross_entropy(spec=spec, **given)
            gradient = inner.gradient(loss, logits)
        return outer.jacobian(gradient, logits)

    logits = arrays("rows")["logits"]
    np.testing.assert_allclose(hessian(logits), hessian(tf.cast(logits, tf.float64)), rtol=2.0**-22, atol=1e-9)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.id)
def test_vectors_go_the_way_of_many_too(vector: Vector) -> None:
    with patch.object(few, "SIZE", -1):
        judge.judge(vector, *judge.run(ADAPTER, vector.inputs, vector.cotangent, "eager"))
