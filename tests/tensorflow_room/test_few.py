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
def test_nothing_is_read_in_a_graph(xla: bool) -> None:
    """Though the labels, or all that it is given, are at hand."""
    given = arrays("rows")
    eager = smoothed_cross_entropy(spec=Spec(0.1), **given)

    def captured() -> tf.Tensor:
        with patch.object(few, "slopes_of", side_effect=ZeroDivisionError):
            return smoothed_cross_entropy(spec=Spec(0.1), **given)

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


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("spec", [Spec(), Spec(0.1)], ids=repr)
def test_second_derivatives(spec: Spec, graph: bool) -> None:
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
    run = tf.function(hessian, autograph=False) if graph else hessian
    np.testing.assert_allclose(run(logits), hessian(tf.cast(logits, tf.float64)), rtol=2.0**-22, atol=1e-9)


GRAPHED = [
    Spec(0.1),
    Spec(1.0),
    Spec(0.3, "others", reduction="sum"),
    Spec(0.1, ignore_index=2),
    Spec(0.1, denominator="all"),
    Spec(0.1, denominator="batch"),
    Spec(0.1, denominator="nonzero_weights"),
    Spec(0.1, denominator="class_weights", ignore_index=-100),
]
"""which take TensorFlow's own softmax in a graph too"""


def in_graph(spec: Spec, g: float = 1.0, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    """``outcome`` of a graph, which goes the way of few."""
    axis = given.pop("axis", -1)

    @tf.function(autograph=False)
    def run(given: dict[str, tf.Tensor]) -> Any:
        assert takes(spec=spec, axis=axis, **given)
        with tf.GradientTape() as tape:
            tape.watch(given["logits"])
            loss = smoothed_cross_entropy(spec=spec, axis=axis, **given)
        return loss, tape.gradient(loss, given["logits"], tf.constant(g, loss.dtype))

    loss, gradient = run({name: tf.convert_to_tensor(array) for name, array in given.items() if array is not None})
    return loss.numpy(), gradient.numpy()


@pytest.mark.parametrize("where", [True, False], ids=["where", "all"])
@pytest.mark.parametrize(
    ("spec", "shape"),
    [(spec, shape) for spec in GRAPHED for shape in SHAPES if (spec.denominator, shape) != ("batch", "one")],
    ids=str,
)
def test_to_the_last_digit_in_a_graph(spec: Spec, shape: str, where: bool) -> None:
    given = arrays(shape)
    given["where"] = given["where"] if where else None
    exact = outcome(spec, **given | {"logits": tf.cast(given["logits"], tf.float64)})
    for got, expected in zip(in_graph(spec, **given), exact, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=2.0**-23, atol=1e-15)


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Spec(), {}),
        (Spec(1e-7), {}),
        (Spec(0.1, "leaky"), {}),
        (Spec(values=(2.0, 0.25)), {}),
        (Spec(0.1, z_loss=0.1), {}),
        (Spec(0.1, reduction="none"), {}),
        (Spec(0.1), {"sample_weight": np.ones(6, np.float32)}),
        (Spec(0.1), {"class_weight": np.ones(5, np.float32)}),
        (Spec(0.1), {"allowed": np.ones(5, bool)}),
        (Spec(0.1), {"normalizer": 2.0}),
        (Spec(0.1), {"labels": np.full([6, 5], 0.2, np.float32)}),
        (Spec(0.1), {"logits": np.zeros([6, 5])}),
        (Spec(0.1), {"logits": np.zeros([6, few.SIZE_IN_GRAPH], np.float32)}),
    ],
    ids=str,
)
def test_what_needs_more_goes_elsewhere_in_a_graph(spec: Spec, change: dict[str, Any]) -> None:
    def run() -> tf.Tensor:
        assert not takes(spec=spec, **arrays("rows") | change)
        return tf.zeros([])

    tf.function(run, autograph=False)()


@pytest.mark.parametrize(("rows", "takes_it"), [(6, True), (0, False), (None, False)], ids=str)
def test_a_graph_must_know_how_many(rows: int | None, takes_it: bool) -> None:
    seen = []

    @tf.function(autograph=False)
    def run(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        seen.append(takes(spec=Spec(0.1), logits=logits, labels=labels))
        return smoothed_cross_entropy(logits, labels, Spec(0.1, empty="nan"))

    loss = run.get_concrete_function(tf.TensorSpec([rows, 5]), tf.TensorSpec([rows], tf.int32))
    assert seen == [takes_it]
    count = rows or 0
    assert bool(np.isnan(loss(tf.zeros([count, 5]), tf.zeros([count], tf.int32)))) == (count == 0)


@pytest.mark.parametrize("label", [-1, 5, -(2**31)])
@pytest.mark.parametrize("masked", [False, True], ids=["counts", "masked"])
def test_a_bad_label_is_nan_in_its_row(label: int, masked: bool) -> None:
    given = arrays("rows")
    row = 1 if masked else 2
    labels = given["labels"].numpy().astype(np.int32)
    labels[row] = label
    loss, gradient = in_graph(Spec(0.1), **given | {"labels": labels})
    bad = np.arange(6) == (-1 if masked else row)
    assert np.isnan(loss) == (not masked)
    np.testing.assert_array_equal(np.isnan(gradient), np.broadcast_to(bad[:, None], gradient.shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.uint64])
def test_labels_of_every_dtype_in_a_graph(dtype: type) -> None:
    given = arrays("rows")
    labels = given["labels"].numpy().astype(dtype)
    expected = in_graph(Spec(0.1), **given)
    for got, same in zip(in_graph(Spec(0.1), **given | {"labels": labels}), expected, strict=True):
        np.testing.assert_array_equal(got, same)
    labels[0] = np.iinfo(dtype).max
    assert np.isnan(in_graph(Spec(0.1), **given | {"labels": labels})[0])
    ignored = Spec(0.1, ignore_index=int(np.iinfo(dtype).max))
    assert np.isfinite(in_graph(ignored, **given | {"labels": labels})[0])


@pytest.mark.parametrize(("empty", "loss"), [("zero", 0.0), ("nan", np.nan)])
@pytest.mark.parametrize("garbage", [0.0, np.inf, np.nan])
def test_where_nothing_counts_in_a_graph(empty: str, loss: float, garbage: float) -> None:
    given = arrays("rows") | {"where": np.zeros(6, bool), "logits": np.full([6, 5], garbage, np.float32)}
    got, gradient = in_graph(Spec(0.1, empty=empty), **given)
    np.testing.assert_equal(got, np.float32(loss))
    np.testing.assert_array_equal(gradient, np.zeros([6, 5]))


@pytest.mark.parametrize("g", [1.0, -1.0])
@pytest.mark.parametrize("shape", ["rows", "planes", "images"])
def test_what_is_masked_does_not_show_in_a_bit_in_a_graph(shape: str, g: float) -> None:
    def filled(garbage: float) -> tuple[bytes, bytes]:
        given = arrays(shape)
        masked = ~np.broadcast_to(np.expand_dims(given["where"], given["axis"]), given["logits"].shape)
        logits = tf.where(masked, tf.constant(garbage, tf.float32), given["logits"])
        loss, gradient = in_graph(Spec(0.1), g, **given | {"logits": logits})
        assert not gradient[masked].any()
        assert not np.signbit(gradient[masked]).any()
        return loss.tobytes(), gradient.tobytes()

    assert len({filled(garbage) for garbage in (0.0, 1e30, np.inf, -np.inf, np.nan)}) == 1


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.id)
def test_vectors_go_the_way_of_many_too(vector: Vector, mode: str) -> None:
    with patch.multiple(few, SIZE=-1, SIZE_IN_GRAPH=-1):
        judge.judge(vector, *judge.run(ADAPTER, vector.inputs, vector.cotangent, mode))
