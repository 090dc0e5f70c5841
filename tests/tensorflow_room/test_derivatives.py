"""First and second derivatives in TensorFlow, against finite differences; eager, as a graph, and with XLA."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec
from multismooth.tensorflow import smoothed_cross_entropy, smoothed_cross_entropy_totals
from tests import cases
from tests.cases import CASES, IDS, LABELS, LOGITS, WHERE, Case

SPEC = Spec(0.1, "others", z_loss=0.05)
STEP = 1e-5
CLOSE: dict[str, Any] = {"rtol": 1e-7, "atol": 2e-9}
"""A central difference errs by STEP²/6 times the next derivative, and by the rounding over STEP."""

Arrays = dict[str, tf.Tensor]
every = pytest.mark.parametrize("case", CASES, ids=IDS)
some = pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.id in ("z-loss", "masked-garbage", "axis-1", "by-class_weights", "soft-masked")],
    ids=lambda case: case.id,
)


def function_of(case: Case) -> tuple[Callable[[Arrays], tf.Tensor], Arrays]:
    """The loss as a function of its differentiable arguments, and these."""
    arrays = {name: tf.constant(array) for name, array in case.arrays.items()}

    def loss(given: Arrays) -> tf.Tensor:
        value = smoothed_cross_entropy(**arrays | given, spec=case.spec, axis=case.axis)
        return tf.reduce_sum(value * cases.COTANGENT) if case.spec.reduction == "none" else value

    return loss, {name: arrays[name] for name in case.differentiable}


def gradient_of(loss: Callable[[Arrays], tf.Tensor], given: Arrays) -> Arrays:
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(given)
    gradients = tape.gradient(value, given, unconnected_gradients="zero")
    # TensorFlow gives that of a gather as IndexedSlices.
    return {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}


def along(gradients: Arrays) -> tf.Tensor:
    """The derivative in the direction."""
    return tf.add_n([tf.reduce_sum(gradient * direction(gradient)) for gradient in gradients.values()])


def direction(like: tf.Tensor) -> np.ndarray:
    return np.random.default_rng(like.shape.num_elements()).normal(size=like.shape)


def second_of(loss: Callable[[Arrays], tf.Tensor], given: Arrays) -> Arrays:
    """The Hessian times the direction, by a tape within a tape."""
    return gradient_of(lambda inner: along(gradient_of(loss, inner)), given)


def difference(function: Callable[[Arrays], Any], given: Arrays) -> Any:
    """A central difference in the direction."""
    ahead, behind = (
        function({name: array + step * direction(array) for name, array in given.items()}) for step in (STEP, -STEP)
    )
    return tf.nest.map_structure(lambda a, b: (a - b) / (2 * STEP), ahead, behind)


def assert_close(actual: Any, expected: Any, **tolerance: float) -> None:
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@every
def test_first(case: Case) -> None:
    loss, given = function_of(case)
    gradients = gradient_of(loss, given)
    assert_close(along(gradients), difference(loss, given), **CLOSE)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@every
def test_second(case: Case) -> None:
    loss, given = function_of(case)
    product = second_of(loss, given)
    assert_close(product, difference(lambda inner: gradient_of(loss, inner), given), **CLOSE)
    assert np.count_nonzero(product["logits"]) > 10


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@some
def test_second_compiled(case: Case, jit_compile: bool) -> None:
    loss, given = function_of(case)
    compiled = tf.function(lambda given: second_of(loss, given), jit_compile=jit_compile)
    assert_close(compiled(given), second_of(loss, given), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_the_tape_may_be_outside_the_function(jit_compile: bool) -> None:
    loss, given = function_of(CASES[IDS.index("z-loss")])
    compiled = tf.function(loss, jit_compile=jit_compile)
    assert_close(gradient_of(compiled, given), gradient_of(loss, given), rtol=1e-12, atol=1e-15)


def test_a_jacobian() -> None:
    """The whole Hessian, vectorised by TensorFlow."""
    loss, given = function_of(CASES[IDS.index("z-loss")])
    with tf.GradientTape() as tape:
        tape.watch(given)
        gradient = gradient_of(loss, given)["logits"]
    hessian = tape.jacobian(gradient, given)["logits"]
    product = np.tensordot(hessian, direction(given["logits"]), 3)
    np.testing.assert_allclose(product, second_of(loss, given)["logits"], rtol=1e-11, atol=1e-14)


@every
def test_forward_mode(case: Case) -> None:
    """Eager: in a graph TensorFlow raises."""
    loss, given = function_of(case)
    tangents = {name: tf.constant(direction(array)) for name, array in given.items()}
    arrays = list(given.values())
    with tf.autodiff.ForwardAccumulator(arrays, [tangents[name] for name in given]) as accumulator:
        value = loss(given)
    np.testing.assert_allclose(accumulator.jvp(value), along(gradient_of(loss, given)), rtol=1e-11)


@some
def test_forward_over_reverse(case: Case) -> None:
    loss, given = function_of(case)
    arrays = list(given.values())
    with tf.autodiff.ForwardAccumulator(arrays, [tf.constant(direction(array)) for array in arrays]) as accumulator:
        gradients = gradient_of(loss, given)
    product = {name: accumulator.jvp(gradient) for name, gradient in gradients.items()}
    assert_close(product, second_of(loss, given), rtol=1e-11, atol=1e-14)


def test_a_persistent_tape_gives_the_same_twice() -> None:
    logits = tf.constant(LOGITS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, LABELS, SPEC, where=WHERE)
    np.testing.assert_array_equal(tape.gradient(loss, logits), tape.gradient(loss, logits))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_another_mask_needs_no_other_trace(jit_compile: bool) -> None:
    traces = []

    @tf.function(jit_compile=jit_compile)
    def loss(logits: tf.Tensor, labels: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        traces.append(1)
        return smoothed_cross_entropy(logits, labels, SPEC, where=where)

    for where in (WHERE, ~WHERE, WHERE & False):
        expected = smoothed_cross_entropy(LOGITS, LABELS, SPEC, where=where)
        np.testing.assert_allclose(loss(*map(tf.constant, (LOGITS, LABELS, where))), expected, rtol=1e-13)
    assert len(traces) == 1


@pytest.mark.parametrize("denominator", ["valid", "all", "batch", "sequences", "nonempty_sequences"])
def test_unknown_batch_sizes(denominator: str) -> None:
    spec = Spec(0.1, "others", denominator=denominator)
    signature = [
        tf.TensorSpec([None, None, 4], tf.float64),
        tf.TensorSpec([None, None], tf.int64),
        tf.TensorSpec([None, None], tf.bool),
    ]

    @tf.function(input_signature=signature)
    def loss(logits: tf.Tensor, labels: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        return smoothed_cross_entropy(logits, labels, spec, where=where)

    for rows in (2, 1):
        arrays = LOGITS[:rows], LABELS[:rows], WHERE[:rows]
        expected = smoothed_cross_entropy(*arrays[:2], spec, where=arrays[2])
        np.testing.assert_allclose(loss(*arrays), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_gradients_have_the_dtype_of_their_inputs(dtype: str) -> None:
    given = {
        "logits": tf.cast(LOGITS, dtype),
        "sample_weight": tf.cast(cases.SAMPLE_WEIGHT, "float32"),
        "class_weight": tf.cast(cases.CLASS_WEIGHT, "bfloat16"),
        "prior": tf.cast(cases.PRIOR, "float64"),
    }
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = smoothed_cross_entropy(labels=LABELS, spec=0.1, **given)
    assert loss.dtype == ("float64" if dtype == "float64" else "float32")
    for name, gradient in tape.gradient(loss, given).items():
        assert gradient.dtype == given[name].dtype
        assert gradient.shape == given[name].shape


def test_variables_are_arrays() -> None:
    logits, weight = tf.Variable(LOGITS), tf.Variable(cases.CLASS_WEIGHT)
    with tf.GradientTape() as tape:
        loss = smoothed_cross_entropy(logits, LABELS, SPEC, class_weight=weight)
    assert all(gradient is not None for gradient in tape.gradient(loss, [logits, weight]))
    np.testing.assert_allclose(
        loss, smoothed_cross_entropy(LOGITS, LABELS, SPEC, class_weight=cases.CLASS_WEIGHT), rtol=1e-14
    )


def test_totals_are_differentiable() -> None:
    spec = Spec(0.1, z_loss=0.05, denominator="weights")

    def mean(given: Arrays) -> tf.Tensor:
        parts = [slice(0, 1), slice(1, 2)]
        totals = [
            smoothed_cross_entropy_totals(given["logits"][i], LABELS[i], spec, where=WHERE[i], sample_weight=weight[i])
            for i in parts
        ]
        return sum(totals).mean(spec)

    def whole(given: Arrays) -> tf.Tensor:
        return smoothed_cross_entropy(**given, labels=LABELS, spec=spec, where=WHERE, sample_weight=weight)

    weight, given = cases.SAMPLE_WEIGHT, {"logits": tf.constant(LOGITS)}
    assert_close(gradient_of(mean, given), gradient_of(whole, given), rtol=1e-13, atol=1e-16)


def test_totals_leave_a_compiled_function() -> None:
    """They are a pytree of tensors there too."""
    compiled = tf.function(lambda logits: smoothed_cross_entropy_totals(logits, LABELS, SPEC))
    totals, eager = compiled(LOGITS), smoothed_cross_entropy_totals(LOGITS, LABELS, SPEC)
    assert_close(totals, eager, rtol=1e-14)
    np.testing.assert_allclose((totals + eager).mean(SPEC), eager.mean(SPEC), rtol=1e-14)


def test_a_bad_label_makes_its_row_nan_in_a_graph() -> None:
    labels = tf.constant([[0, 4, 1], [-1, 2, 3]])
    loss = tf.function(smoothed_cross_entropy)(LOGITS, labels, Spec(reduction="none"))
    assert np.isnan(loss).tolist() == [[False, True, False], [True, False, False]]


def soft_with_a_zero(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Of the class that is excluded the target is 0, and its slope −log p is not."""
    weights = tf.constant([0.5, 1.0, 2.0], tf.float64)
    spec = Spec(0.3, exclude=(2,), class_weight_rule="expected", reduction="none")
    return smoothed_cross_entropy(logits, labels, spec, class_weight=weights)


def test_a_target_of_0_has_a_slope_past_the_custom_gradient() -> None:
    """Forward mode and vectorized_map differentiate the operations themselves."""
    logits = tf.constant([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]], tf.float64)
    labels = tf.constant([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(labels)
        plain = soft_with_a_zero(labels, logits)
        mapped = tf.vectorized_map(lambda pair: soft_with_a_zero(*pair), (labels[None], logits[None]))[0]
    right = tape.gradient(plain, labels)
    assert (right[:, 2].numpy() != 0).all()
    np.testing.assert_allclose(tape.gradient(mapped, labels), right, **CLOSE)
    tangent = tf.one_hot([2, 2], 3, dtype=tf.float64)
    with tf.autodiff.ForwardAccumulator(labels, tangent) as accumulator:
        value = soft_with_a_zero(labels, logits)
    np.testing.assert_allclose(accumulator.jvp(value), right[:, 2], **CLOSE)


def test_a_weight_of_0_hides_a_logit_whose_square_is_no_number() -> None:
    """1e30 is a float32, and with z-loss its square is asked for."""
    weight, labels = np.array([1.0, 0.0], np.float32), np.array([0, 1])
    logits = np.array([[1.0, 2.0, 3.0], [1e30, 1e30, 1e30]], np.float32)
    spec = Spec(0.1, z_loss=0.1, reduction="sum")
    loss = smoothed_cross_entropy(tf.constant(logits), tf.constant(labels), spec, sample_weight=tf.constant(weight))
    alone = smoothed_cross_entropy(tf.constant(logits[:1]), tf.constant(labels[:1]), spec)
    assert float(loss) == float(alone)
