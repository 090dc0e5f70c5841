"""``linear_smoothed_cross_entropy`` is the loss of logits that are made; eager, as a graph, and with XLA."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec
from multismooth.tensorflow import graphs, linear_smoothed_cross_entropy, projection, smoothed_cross_entropy

RANDOM = np.random.default_rng(0)
ROWS, FEATURES, CLASSES = 7, 5, 11
HIDDEN = RANDOM.normal(size=(ROWS, FEATURES))
KERNEL = RANDOM.normal(size=(FEATURES, CLASSES))
BIAS = RANDOM.normal(size=CLASSES)
LABELS = RANDOM.integers(0, CLASSES, ROWS)
WHERE = np.array([1, 1, 0, 1, 0, 1, 1], bool)
ALLOWED = (RANDOM.random((ROWS, CLASSES)) < 0.8) | (np.arange(CLASSES) == LABELS[:, None])
WEIGHT = np.array([1, 0, 2, 0.5, 0, 1, 3])
CLASS_WEIGHT = RANDOM.uniform(0.5, 2, CLASSES)
PRIOR = RANDOM.dirichlet(np.ones(CLASSES))
COTANGENT = np.arange(1.0, ROWS + 1)
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
WEIGHTS = ("sample_weight", "class_weight", "prior")

Arrays = dict[str, tf.Tensor]
CASES: dict[str, tuple[Spec, dict[str, Any]]] = {
    "plain": (Spec(), {}),
    "masked": (Spec(0.1, z_loss=0.1), {"where": WHERE}),
    "none": (Spec(0.1, "others", reduction="none"), {"where": WHERE}),
    "capped": (Spec(0.1), {"logit_scale": 0.7, "softcap": 3.0}),
    "weighted": (Spec(0.2, denominator="weights"), {"sample_weight": WEIGHT, "class_weight": CLASS_WEIGHT}),
    "prior": (Spec(0.2, "leaky"), {"prior": PRIOR, "where": WHERE, "softcap": 5.0}),
    "allowed": (Spec(0.2), {"allowed": ALLOWED, "prior": PRIOR, "where": WHERE}),
    "allowed-everywhere": (Spec(0.1, exclude=(2,)), {"allowed": np.isin(np.arange(CLASSES), [*LABELS, 2, 3])}),
}
every = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two rows and four classes, so that no length is a multiple of its block's."""
    monkeypatch.setattr(projection, "BLOCK", 2 * CLASSES)
    monkeypatch.setattr(projection, "_width", lambda head: 4)
    graphs._graph.cache_clear()
    yield
    graphs._graph.cache_clear()


def functions_of(name: str, hidden: np.ndarray = HIDDEN) -> tuple[Callable[..., Any], Callable[..., Any], Arrays]:
    """The linear loss, the loss of logits that are made, and the arrays that both can be derived to."""
    spec, options = CASES[name]
    given: Arrays = {"hidden": tf.constant(hidden), "kernel": tf.constant(KERNEL), "bias": tf.constant(BIAS)}
    given |= {key: tf.constant(value) for key, value in options.items() if key in WEIGHTS}
    fixed = {key: value for key, value in options.items() if key in ("where", "allowed")}
    cap = {key: value for key, value in options.items() if key in ("logit_scale", "softcap")}

    def scalar(loss: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(loss * COTANGENT) if spec.reduction == "none" else loss

    def linear(arrays: Arrays) -> tf.Tensor:
        return scalar(linear_smoothed_cross_entropy(labels=LABELS, spec=spec, **arrays, **fixed, **cap))

    def explicit(arrays: Arrays) -> tf.Tensor:
        weights = {key: array for key, array in arrays.items() if key in WEIGHTS}
        x = cap.get("logit_scale", 1.0) * (arrays["hidden"] @ arrays["kernel"] + arrays["bias"])
        x = cap["softcap"] * tf.tanh(x / cap["softcap"]) if "softcap" in cap else x
        return scalar(smoothed_cross_entropy(x, LABELS, spec, **weights, **fixed))

    return linear, explicit, given


def with_gradients(loss: Callable[[Arrays], tf.Tensor], given: Arrays) -> tuple[tf.Tensor, Arrays]:
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(given)
    gradients = tape.gradient(value, given, unconnected_gradients="zero")
    return value, {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}


def assert_same(ours: Any, theirs: Any, **tolerance: float) -> None:
    for a, b in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@every
def test_equals_the_loss_of_its_logits(name: str) -> None:
    linear, explicit, given = functions_of(name)
    assert_same(with_gradients(linear, given), with_gradients(explicit, given), **CLOSE)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@every
def test_in_blocks(name: str, mode: str) -> None:
    linear, explicit, given = functions_of(name)

    def run(given: Arrays) -> Any:
        return with_gradients(linear, given)

    compiled = run if mode == "eager" else tf.function(run, jit_compile=mode == "xla", autograph=False)
    assert_same(compiled(given), with_gradients(explicit, given), **CLOSE)


@pytest.mark.parametrize("compile_it", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", ["capped", "masked", "prior", "allowed"])
def test_second_derivatives(name: str, compile_it: bool) -> None:
    linear, explicit, given = functions_of(name)

    def second(loss: Callable[[Arrays], tf.Tensor], given: Arrays) -> Any:
        def along(inner: Arrays) -> tf.Tensor:
            gradients = with_gradients(loss, inner)[1]
            return tf.add_n([tf.reduce_sum(tf.sin(gradient)) for gradient in gradients.values()])

        return with_gradients(along, given)[1]

    ours = tf.function(second, autograph=False) if compile_it else second
    assert_same(ours(linear, given), second(explicit, given), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_what_is_masked_changes_no_bit(mode: str, fill: float) -> None:
    hidden = np.where(WHERE[:, None], HIDDEN, fill)

    def run(given: Arrays) -> Any:
        return with_gradients(functions_of("masked")[0], given)

    compiled = run if mode == "eager" else tf.function(run, jit_compile=mode == "xla", autograph=False)
    for one, other in zip(
        tf.nest.flatten(compiled(functions_of("masked", hidden)[2])),
        tf.nest.flatten(compiled(functions_of("masked")[2])),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes(dtype: str) -> None:
    given = {"hidden": tf.cast(HIDDEN, dtype), "kernel": tf.cast(KERNEL, dtype), "bias": tf.cast(BIAS, dtype)}

    def linear(arrays: Arrays) -> tf.Tensor:
        return linear_smoothed_cross_entropy(labels=LABELS, spec=0.1, **arrays)

    def explicit(arrays: Arrays) -> tf.Tensor:
        return smoothed_cross_entropy(arrays["hidden"] @ arrays["kernel"] + arrays["bias"], LABELS, 0.1)

    (loss, gradients), (expected, others) = with_gradients(linear, given), with_gradients(explicit, given)
    assert loss.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype
        assert gradient.shape == given[name].shape
        tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-6)
        np.testing.assert_allclose(tf.cast(gradient, "float64"), tf.cast(others[name], "float64"), atol=tolerance)


def test_batches_of_unknown_shape() -> None:
    signature = [tf.TensorSpec([None, None, FEATURES], tf.float64), tf.TensorSpec([None, None], tf.int64)]

    @tf.function(input_signature=signature)
    def loss(hidden: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return linear_smoothed_cross_entropy(hidden, tf.constant(KERNEL), labels, 0.1, where=labels != 3)

    for shape in ((1, 7), (2, 3), (0, 4)):
        hidden, labels = HIDDEN[: np.prod(shape)].reshape(*shape, FEATURES), LABELS[: np.prod(shape)].reshape(shape)
        logits = hidden @ KERNEL
        expected = smoothed_cross_entropy(logits, labels, 0.1, where=labels != 3)
        np.testing.assert_allclose(loss(hidden, labels), expected, **CLOSE)


def tensors_of(graph: Any) -> Iterator[tf.Tensor]:
    """Every tensor of a graph and of the functions that it calls."""
    for operation in graph.get_operations():
        yield from operation.outputs
    for name in getattr(graph, "_functions", {}):
        inner = graph._get_function(name).graph
        yield from tensors_of(inner)


@pytest.mark.usefixtures("small_blocks")
def test_no_tensor_is_of_the_logits_size() -> None:
    linear, _, given = functions_of("capped")
    made = tf.function(lambda given: with_gradients(linear, given), autograph=False).get_concrete_function(given)
    shapes = [tensor.shape.as_list() for tensor in tensors_of(made.graph) if tensor.shape.rank == 2]
    assert [None, 4] in shapes  # some rows and a block of classes: the loop's inside is looked at
    assert [ROWS, CLASSES] not in shapes
    assert [None, CLASSES] not in shapes
