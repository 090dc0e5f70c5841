"""What the loss's graphs are made of, which no machine changes: no one-hot, no transpose, few results of full size."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec, dialects
from multismooth.tensorflow import graphs, smoothed_cross_entropy

SPEC = dialects.torch(0.1)


def gradient_of(axis: int, spec: Spec, logits: tf.Tensor, labels: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, labels, spec, axis=axis)
    return loss, tape.gradient(loss, logits)


def traced(shape: tuple[int, ...], axis: int, spec: Spec = SPEC, *, xla: bool = False) -> Any:
    labels = tf.TensorSpec([n for i, n in enumerate(shape) if i != axis % len(shape)], tf.int64)

    def step(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        return gradient_of(axis, spec, logits, labels)

    function = tf.function(step, autograph=False, jit_compile=xla)
    return function.get_concrete_function(tf.TensorSpec(shape, tf.float32), labels)


def operations(graph: Any) -> Iterator[Any]:
    """Those of the functions that it calls too."""
    yield from graph.get_operations()
    for name in graph._functions:
        yield from operations(graph._get_function(name).graph)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((64, 50), -1), ((2, 19, 8, 8), 1), ((2, 300, 8, 8), 1), ((2**8, 2**14), -1), ((8, 32, 2**8, 2**6), 1)],
    ids=["rows", "planes", "many-planes", "blocks-of-rows", "blocks-of-planes"],
)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_no_one_hot_and_no_transpose(shape: tuple[int, ...], axis: int, xla: bool) -> None:
    made = Counter(operation.type for operation in operations(traced(shape, axis, xla=xla).graph))
    assert made["Max"] >= 1  # the graph of the loss is looked at
    assert not {"OneHot", "Transpose", "MatMul", "BatchMatMulV2"} & made.keys()


@pytest.mark.parametrize(
    ("shape", "axis", "most"), [((64, 50), -1, 7), ((64, 10), -1, 10), ((2, 19, 8, 8), 1, 14)], ids=str
)
def test_few_results_of_the_logits_size(shape: tuple[int, ...], axis: int, most: int) -> None:
    """Each is a pass through memory. Views, and what is but passed on, are none."""
    size, free = int(np.prod(shape)), {"Placeholder", "Reshape", "Identity", "IdentityN", "EnsureShape"}
    full = [
        operation.type
        for operation in operations(traced(shape, axis).graph)
        for result in operation.outputs
        if result.shape.num_elements() == size and operation.type not in free
    ]
    assert len(full) <= most, full


@pytest.mark.parametrize(
    ("shape", "axis"), [((64, 1000), -1), ((4, 16, 1000), -1), ((2, 19, 8, 8), 1)], ids=["rows", "batch", "planes"]
)
@pytest.mark.parametrize("spread", ["uniform", "others"])
def test_xla_holds_the_gradient_alone(shape: tuple[int, ...], axis: int, spread: str) -> None:
    """Of all results outside of loops only the gradient has the logits' size. XLA would hold what two sums share."""

    @tf.function(autograph=False, jit_compile=True)
    def step(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        return gradient_of(axis, Spec(0.1, spread, ignore_index=-100), logits, labels)

    labels = tf.zeros([n for i, n in enumerate(shape) if i != axis % len(shape)], tf.int64)
    compiled = step.experimental_get_compiler_ir(tf.zeros(shape), labels)(stage="optimized_hlo")
    entry = compiled.partition("\nENTRY")[2]
    made = re.findall(r"^ +(?:ROOT )?%\S+ = (.+?) ([\w-]+)\(", entry, re.MULTILINE)
    passed = {"parameter", "bitcast", "get-tuple-element", "tuple", "while"}
    full = [
        kind
        for result, kind in made
        for sides in re.findall(r"\[([\d,]+)\]", result)
        if kind not in passed and math.prod(map(int, sides.split(","))) == math.prod(shape)
    ]
    assert len(full) == 1, full


@pytest.mark.parametrize(("shape", "axis"), [((3, 34), -1), ((3, 48), -1), ((2, 3, 3), 1), ((2, 5, 3), 1)], ids=str)
def test_few_planes_have_second_derivatives(shape: tuple[int, ...], axis: int) -> None:
    """With XLA, where there are fewer of them than one step takes."""
    logits = tf.constant(np.random.default_rng(0).normal(size=shape))
    labels = tf.zeros([n for i, n in enumerate(shape) if i != axis % len(shape)], tf.int32)

    def second(logits: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            _, gradient = gradient_of(axis, Spec(0.1), logits, labels)
            size = tf.reduce_sum(gradient**2)
        return tape.gradient(size, logits)

    compiled = tf.function(second, autograph=False, jit_compile=True)
    np.testing.assert_allclose(compiled(logits), second(logits), rtol=1e-11, atol=1e-14)


def test_many_logits_go_in_blocks() -> None:
    """Nothing is of the logits' size but what is passed into the loops."""
    rows, classes = 2**8, 2**14
    assert rows * classes >= 2 * graphs.BLOCK
    passed = {"Placeholder", "Reshape", "Identity", "IdentityN", "EnsureShape", "While", "StatelessWhile"}
    made = [
        operation.type
        for operation in operations(traced((rows, classes), -1).graph)
        for result in operation.outputs
        if result.shape.num_elements() == rows * classes and operation.type not in passed and result.consumers()
    ]
    assert made == [], made


def test_eager_calls_are_two_graphs() -> None:
    """Whatever the number of rows."""
    graphs._graph.cache_clear()
    for rows in (3, 5, 8):
        gradient_of(-1, SPEC, tf.zeros([rows, 10]), tf.zeros([rows], tf.int64))
    assert graphs._graph.cache_info().misses == 2


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 2**10), -1), ((3, 2**7, 5), 1), ((2, 2**9, 2), 1)], ids=["rows", "planes", "inner"]
)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_blocks_are_the_same_loss(
    shape: tuple[int, ...], axis: int, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(0, 3, shape), tf.float64)
    labels = tf.constant(random.integers(-1, shape[axis], [n for i, n in enumerate(shape) if i != axis % len(shape)]))
    spec = Spec(0.1, "others", z_loss=0.1, ignore_index=-1, reduction=reduction)
    whole = gradient_of(axis, spec, logits, labels)
    monkeypatch.setattr(graphs, "BLOCK", 2**9)
    monkeypatch.setattr("multismooth.tensorflow.statistics.BLOCK", 2**9)
    graphs._graph.cache_clear()
    for run in (gradient_of, tf.function(gradient_of, autograph=False)):
        for one, other in zip(run(axis, spec, logits, labels), whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    graphs._graph.cache_clear()


@pytest.mark.parametrize("classes", [1, 3, 4, 5, 10, 19, 48])
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
def test_every_class_is_summed(classes: int, xla: bool, axis: int) -> None:
    """Planes are taken four at a step, and rows of 48 in blocks: the loss and the gradient are the formula's."""
    logits = np.random.default_rng(classes).normal(0, 3, (2, classes, 3))
    logits = logits if axis == 1 else np.moveaxis(logits, 1, -1)
    labels = tf.zeros([2, 3], tf.int64)
    compiled = tf.function(gradient_of, autograph=False, jit_compile=xla)
    loss, gradient = compiled(axis, Spec(0.1), tf.constant(logits), labels)
    exps = np.exp(logits)
    p = exps / exps.sum(axis, keepdims=True)
    q = np.full_like(p, 0.1 / classes)
    np.moveaxis(q, axis, -1)[..., 0] += 0.9
    np.testing.assert_allclose(loss, -(q * np.log(p)).sum() / 6, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gradient, (p - q) / 6, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("classes", [10, 48])
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
def test_a_confident_row_keeps_its_digits(classes: int, xla: bool, axis: int) -> None:
    """The sum without the maximum is far below what 1 + it would round away."""
    shape = (2, classes, 3) if axis == 1 else (2, 3, classes)
    logits = np.zeros(shape)
    np.moveaxis(logits, axis, -1)[..., 2] = 60.0
    compiled = tf.function(gradient_of, autograph=False, jit_compile=xla)
    loss, _ = compiled(axis, Spec(), tf.constant(logits), tf.fill([2, 3], 2))
    np.testing.assert_allclose(loss, np.log1p((classes - 1) * np.exp(-60.0)), rtol=1e-13)
