"""What the loss's graphs are made of, which no machine changes: no one-hot of many logits, few results of full size."""

import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from multismooth import Spec, dialects
from multismooth.tensorflow import graphs, planes, smoothed_cross_entropy
from multismooth.tensorflow.rows import MANY

SPEC = dialects.torch(0.1)


def gradient_of(axis: int, spec: Spec, logits: tf.Tensor, labels: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, labels, spec, axis=axis)
    return loss, tape.gradient(loss, logits)


def traced(
    shape: tuple[int | None, ...],
    axis: int,
    spec: Spec = SPEC,
    *,
    xla: bool = False,
    dtype: tf.DType = tf.float32,
) -> Any:
    labels = tf.TensorSpec([n for i, n in enumerate(shape) if i != axis % len(shape)], tf.int64)

    def step(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        return gradient_of(axis, spec, logits, labels)

    function = tf.function(step, autograph=False, jit_compile=xla)
    return function.get_concrete_function(tf.TensorSpec(shape, dtype), labels)


def operations(graph: Any) -> Iterator[Any]:
    """Those of the functions that it calls too."""
    yield from graph.get_operations()
    for name in graph._functions:
        yield from operations(graph._get_function(name).graph)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((256, 50), -1), ((2, 19, 16, 16), 1), ((2, 300, 8, 8), 1), ((2**8, 2**14), -1), ((8, 32, 2**8, 2**6), 1)],
    ids=["rows", "planes", "many-planes", "blocks-of-rows", "blocks-of-planes"],
)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_no_one_hot_and_no_transpose(shape: tuple[int, ...], axis: int, xla: bool) -> None:
    made = Counter(operation.type for operation in operations(traced(shape, axis, xla=xla).graph))
    assert made["Max"] >= 1  # the graph of the loss is looked at
    assert not {"OneHot", "Transpose", "MatMul", "BatchMatMulV2"} & made.keys()


@pytest.mark.parametrize(
    ("shape", "axis", "most"),
    [((256, 200), -1, 7), ((256, 50), -1, 9), ((1024, 10), -1, 9), ((2, 19, 16, 16), 1, 10)],
    ids=str,
)
def test_few_results_of_the_logits_size(shape: tuple[int, ...], axis: int, most: int) -> None:
    """Each is a pass through memory. Views, and what is but passed on, are none."""
    size, free = int(np.prod(shape)), {"Placeholder", "Reshape", "Identity", "IdentityN"}
    full = [
        operation.type
        for operation in operations(traced(shape, axis).graph)
        for result in operation.outputs
        if result.shape.num_elements() == size and operation.type not in free
    ]
    assert len(full) <= most, full


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3, None, 5), -1), ((None, None, 5), -1), ((3, 5, None), 1), ((None, 19, 8, None), 1)],
    ids=str,
)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("spread", ["uniform", "others"])
def test_what_is_known_of_a_shape_stays_known(shape: tuple[int | None, ...], axis: int, xla: bool, spread: str) -> None:
    loss, gradient = traced(shape, axis, Spec(0.1, spread=spread, reduction="none"), xla=xla).structured_outputs
    assert loss.shape.as_list() == [n for i, n in enumerate(shape) if i != axis % len(shape)]
    assert gradient.shape.as_list() == list(shape)


def of_full_size(compiled: str, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """What XLA's program makes outside of loops that is as large as the logits: dtype and operation."""
    entry = compiled.partition("\nENTRY")[2]
    made = re.findall(r"^ +(?:ROOT )?%\S+ = (.+?) ([\w-]+)\(", entry, re.MULTILINE)
    passed = {"parameter", "bitcast", "get-tuple-element", "tuple", "while"}
    return [
        (element, kind)
        for result, kind in made
        for element, sides in re.findall(r"(\w+)\[([\d,]+)\]", result)
        if kind not in passed and math.prod(map(int, sides.split(","))) == math.prod(shape)
    ]


@pytest.mark.parametrize(
    ("shape", "axis"), [((64, 1000), -1), ((4, 16, 1000), -1), ((2, 19, 8, 8), 1)], ids=["rows", "batch", "planes"]
)
@pytest.mark.parametrize("spread", ["uniform", "others"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("few", [False, True], ids=["many", "few"])
def test_xla_holds_the_gradient_alone(
    shape: tuple[int, ...], axis: int, spread: str, dtype: str, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all results outside of loops only the gradient has the logits' size: XLA would hold what two sums share.

    Logits in half precision are copied as integers. Of few rows the exponentials are kept, and nothing else.
    """
    if not few:
        monkeypatch.setattr("multismooth.tensorflow.rows.CACHED", 0)
    keeps = few and axis == -1

    @tf.function(autograph=False, jit_compile=True)
    def step(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        return gradient_of(axis, Spec(0.1, spread, ignore_index=-100), logits, labels)

    labels = tf.zeros([n for i, n in enumerate(shape) if i != axis % len(shape)], tf.int64)
    compiled = step.experimental_get_compiler_ir(tf.zeros(shape, dtype), labels)(stage="optimized_hlo")
    full = of_full_size(compiled, shape)
    copy = ["f32"] if keeps else [] if dtype == "float32" else ["u16"]
    gradient = "f32" if dtype == "float32" else "bf16"
    assert sorted(element for element, _ in full) == sorted([gradient, *copy]), full


@pytest.mark.parametrize(("shape", "axis"), [((3, 34), -1), ((3, 48), -1), ((2, 3, 3), 1), ((2, 5, 3), 1)], ids=str)
def test_few_planes_have_second_derivatives(shape: tuple[int, ...], axis: int) -> None:
    """With XLA, where there are fewer of them than one step takes; and a masked row has none."""
    given = np.random.default_rng(0).normal(size=shape)
    np.moveaxis(given, axis, -1)[1] = np.nan
    logits = tf.constant(given)
    labels = np.zeros([n for i, n in enumerate(shape) if i != axis % len(shape)], np.int32)
    labels[1] = -100

    def second(logits: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            _, gradient = gradient_of(axis, Spec(0.1, ignore_index=-100), logits, labels)
            size = tf.reduce_sum(gradient**2)
        return tape.gradient(size, logits)

    compiled = tf.function(second, autograph=False, jit_compile=True)
    found = compiled(logits)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, second(logits), rtol=1e-11, atol=1e-14)


def test_many_logits_go_in_blocks() -> None:
    """Nothing is of the logits' size but what is passed into the loops."""
    rows, classes = 2**9, 2**14
    passed = {"Placeholder", "Reshape", "Identity", "IdentityN", "EnsureShape", "While", "StatelessWhile"}
    made = [
        operation.type
        for operation in operations(traced((rows, classes), -1, dtype=tf.bfloat16).graph)
        for result in operation.outputs
        if result.shape.num_elements() == rows * classes and operation.type not in passed and result.consumers()
    ]
    assert made == [], made


PEAK = """
import tensorflow as tf
from multismooth.tensorflow import smoothed_cross_entropy

@tf.function(autograph=False)
def step(logits, labels):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, labels, 0.1, where=labels > 0)
    return loss, tape.gradient(loss, logits)

def held(kind):
    return tf.config.experimental.get_memory_info("CPU:0")[kind]

logits, labels = tf.random.normal([256, 16384]), tf.range(256)
step(logits, labels)
tf.config.experimental.reset_memory_stats("CPU:0")
before = held("current")
step(logits, labels)
print((held("peak") - before) / (4 * 256 * 16384))
"""


def test_rows_in_single_precision_are_overwritten() -> None:
    """At most two copies of the logits at a time, without blocks: the exponentials, and what is made of them."""
    environment = os.environ | {"TF_CPU_ALLOCATOR_USE_BFC": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    assert 1 <= float(done.stdout) <= 2.05


def test_few_logits_take_few_operations() -> None:
    """With the gradient, without what nothing depends on, and before TensorFlow leaves out five more."""
    graph = traced((32, 10), -1).graph
    needed, left = set(), [output.op for output in graph.outputs]
    while left:
        operation = left.pop()
        if operation not in needed:
            needed.add(operation)
            left += [given.op for given in operation.inputs]
    kinds = Counter(operation.type for operation in needed)
    assert kinds["SoftmaxCrossEntropyWithLogits"] == 1
    assert sum(count for kind, count in kinds.items() if kind not in {"Const", "Placeholder"}) <= 28, kinds


def test_eager_calls_are_two_graphs() -> None:
    """Whatever the number of rows."""
    graphs._graph.cache_clear()
    for rows in (3, 5, 8):
        # Of float64, which does not go the way of few.
        gradient_of(-1, SPEC, tf.zeros([rows, 10], tf.float64), tf.zeros([rows], tf.int64))
    assert graphs._graph.cache_info().misses == 2


@pytest.mark.parametrize(
    ("shape", "axis", "dtype"),
    [((5, 2**10), -1, tf.bfloat16), ((3, 2**7, 5), 1, tf.float64), ((2, 2**9, 2), 1, tf.float64)],
    ids=["rows", "planes", "inner"],
)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_blocks_are_the_same_loss(
    shape: tuple[int, ...], axis: int, dtype: tf.DType, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(0, 3, shape), dtype)
    labels = tf.constant(random.integers(-1, shape[axis], [n for i, n in enumerate(shape) if i != axis % len(shape)]))
    spec = Spec(0.1, "others", z_loss=0.1, ignore_index=-1, reduction=reduction)
    whole = gradient_of(axis, spec, logits, labels)
    monkeypatch.setattr(graphs, "BLOCK", 2**9)
    monkeypatch.setattr("multismooth.tensorflow.statistics.BLOCK", 2**9)
    monkeypatch.setattr("multismooth.tensorflow.statistics.LARGE", 0)
    graphs._graph.cache_clear()
    loops = {operation.type for operation in operations(traced(shape, axis, spec, dtype=dtype).graph)}
    assert {"While", "StatelessWhile"} & loops
    # A sum in float32, and a gradient that is rounded to bfloat16 from one side or the other.
    tolerances = (1e-12, 1e-12) if dtype == tf.float64 else (2.0**-22, 2.0**-8)
    for run in (gradient_of, tf.function(gradient_of, autograph=False)):
        for one, other, rtol in zip(run(axis, spec, logits, labels), whole, tolerances, strict=True):
            np.testing.assert_allclose(tf.cast(one, tf.float64), tf.cast(other, tf.float64), rtol=rtol, atol=1e-15)
    graphs._graph.cache_clear()


@pytest.mark.parametrize("classes", [1, 3, 10, 16, 19, 48, 512, 578])
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
@pytest.mark.parametrize("spread", ["uniform", "others"])
def test_every_class_is_summed(classes: int, xla: bool, axis: int, spread: str) -> None:
    """Planes are taken so many at a step, and rows of 48 in blocks: the loss and the gradient are the formula's."""
    logits = np.random.default_rng(classes).normal(0, 3, (2, classes, 3))
    logits = logits if axis == 1 else np.moveaxis(logits, 1, -1)
    label = classes // 2 + classes // 4  # neither in the first plane nor in the first lane
    labels = tf.fill([2, 3], label)
    compiled = tf.function(gradient_of, autograph=False, jit_compile=xla)
    loss, gradient = compiled(axis, Spec(0.1, spread), tf.constant(logits), labels)
    exps = np.exp(logits)
    p = exps / exps.sum(axis, keepdims=True)
    share = 0.1 / (classes if spread == "uniform" else max(classes - 1, 1))
    q = np.full_like(p, share)
    np.moveaxis(q, axis, -1)[..., label] = 1 - share * (classes - 1)
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


@pytest.mark.parametrize("option", ["prior", "class_weight", "allowed", "allowed by position"])
@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
def test_the_classes_own_numbers_reach_their_planes(option: str, axis: int) -> None:
    """And what is masked is nothing, with XLA as without."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(2, 3, 48)), random.integers(0, 48, (2, 3))
    logits[0, 1] = np.nan
    allowed = (random.random(logits.shape) < 0.7) | (np.arange(48) == labels[..., None])
    arrays = {
        "prior": random.dirichlet(np.ones(48)),
        "class_weight": random.uniform(0.5, 2, 48),
        "allowed": allowed.any((0, 1)) & (np.arange(48) != np.setdiff1d(np.arange(48), labels)[0]),
        "allowed by position": np.moveaxis(allowed, -1, axis),
    }
    given = {option.partition(" ")[0]: tf.constant(arrays[option])}
    where = tf.constant(np.arange(6).reshape(2, 3) != 1)

    def step(logits: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = smoothed_cross_entropy(logits, labels, Spec(0.2), axis=axis, where=where, **given)
        return loss, tape.gradient(loss, logits)

    logits = tf.constant(np.moveaxis(logits, -1, axis))
    results = [tf.function(step, autograph=False, jit_compile=xla)(logits) for xla in (False, True)]
    for one, other in zip(*results, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("option", ["none", "prior", "class_weight", "allowed", "float16"])
@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
@pytest.mark.parametrize("way", ["xla", "blocks"])
def test_soft_labels_go_the_same_ways(option: str, axis: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By planes and in blocks, with a confident row, a masked one of NaN, and a −inf that nobody has a share of."""
    random, classes = np.random.default_rng(0), 48 if axis == 1 else 512
    logits, labels = random.normal(size=(2, 3, classes)), random.dirichlet(np.ones(classes), (2, 3))
    logits[1, 0, 3] = 60
    logits[0, 1] = labels[0, 1] = np.nan
    logits[1, 2, 0] = -np.inf
    labels[..., 0] = 0
    labels /= labels.sum(-1, keepdims=True)
    arrays = {
        "prior": random.dirichlet(np.ones(classes)),
        "class_weight": random.uniform(0.5, 2, classes),
        "allowed": np.arange(classes) > 0,
    }
    given = {option: tf.constant(arrays[option])} if option in arrays else {}
    where = tf.constant(np.arange(6).reshape(2, 3) != 1)
    dtype = tf.float16 if option == "float16" else tf.float64

    def step(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((logits, labels))
            spec = Spec(0.2, exclude=(0,), z_loss=0.01)
            loss = smoothed_cross_entropy(logits, labels, spec, axis=axis, where=where, **given)
        return loss, *tape.gradient(loss, (logits, labels))

    moved = [tf.constant(np.moveaxis(array, -1, axis), dtype) for array in (logits, labels)]
    expected = tf.function(step, autograph=False)(*moved)
    if way == "xla":
        monkeypatch.setattr("multismooth.tensorflow.rows.CACHED", 0)
    else:
        monkeypatch.setattr(graphs, "BLOCK", 2**6)
        monkeypatch.setattr("multismooth.tensorflow.statistics.LARGE", 0)
    compiled = tf.function(step, autograph=False, jit_compile=way == "xla")
    loops = {operation.type for operation in operations(compiled.get_concrete_function(*moved).graph)}
    assert {"While", "StatelessWhile"} & loops
    tolerances = {"rtol": 2**-10, "atol": 2**-20} if dtype == tf.float16 else {"rtol": 1e-12, "atol": 1e-14}
    for one, other in zip(compiled(*moved), expected, strict=True):
        assert np.isfinite(other).all()
        np.testing.assert_allclose(one, other, **tolerances)


@pytest.mark.parametrize(("shape", "axis"), [((64, 1000), -1), ((2, 19, 8, 8), 1)], ids=["rows", "planes"])
def test_xla_holds_no_target(shape: tuple[int, ...], axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of soft labels, smoothed and masked: nothing outside of loops has the logits' size but the gradient."""
    monkeypatch.setattr("multismooth.tensorflow.rows.CACHED", 0)
    labels = tf.fill(shape, 1 / shape[axis])
    where = tf.fill([n for i, n in enumerate(shape) if i != axis % len(shape)], True)

    @tf.function(autograph=False, jit_compile=True)
    def step(logits: tf.Tensor, labels: tf.Tensor, where: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = smoothed_cross_entropy(logits, labels, Spec(0.1), axis=axis, where=where)
        return loss, tape.gradient(loss, logits)

    compiled = step.experimental_get_compiler_ir(tf.zeros(shape), labels, where)(stage="optimized_hlo")
    assert len(of_full_size(compiled, shape)) == 1


@pytest.mark.parametrize("classes", [29 * 1733, 2**17, 2**18])
def test_many_classes_are_few_sums(classes: int) -> None:
    """Nearly alike: one by one in 1733 planes the loss was off by 30 ULP, in 8192 lanes by 7."""
    depths = np.arange(1, 9)
    logits = np.repeat(-0.37 * depths[:, None], classes, 1).astype(np.float32)
    logits[:, 5] = 0
    loss = partial(smoothed_cross_entropy, labels=tf.zeros(8, tf.int32), spec=Spec(0.1, reduction="none"))
    found = tf.function(loss, autograph=False, jit_compile=True)(tf.constant(logits))
    exact = loss(tf.constant(logits, tf.float64)).numpy()
    assert (np.abs(found - exact) <= 4 * np.spacing(exact.astype(np.float32))).all()


@pytest.mark.parametrize(
    ("axis", "classes", "keeps"), [(1, 10, False), (-1, 48, False), (-1, 48, True)], ids=["planes", "rows", "lanes"]
)
def test_derivatives_past_the_custom_gradient(
    axis: int, classes: int, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tf.vectorized_map`` drops it: with XLA too the derivative is right, masked NaN and all, or it raises."""
    if not keeps:
        monkeypatch.setattr("multismooth.tensorflow.rows.CACHED", 0)
    given = np.random.default_rng(0).normal(size=(2, 3, classes))
    given[:, 1] = np.nan
    logits = tf.constant(np.moveaxis(given, -1, axis))
    labels = tf.constant([[0, -100, 9], [7, -100, 5]])

    def outside(logits: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            each = partial(smoothed_cross_entropy, spec=SPEC, axis=min(axis, 0))
            loss = tf.vectorized_map(lambda pair: each(*pair), (logits, labels))
        return tape.gradient(loss, logits)

    compiled = tf.function(outside, autograph=False, jit_compile=True)
    found = compiled(logits)
    assert np.isfinite(found).all()
    one_by_one = [gradient_of(min(axis, 0), SPEC, *pair)[1] for pair in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-12, atol=1e-15)
    half = tf.cast(logits, tf.bfloat16)
    if keeps:
        one_by_one = [gradient_of(min(axis, 0), SPEC, *pair)[1] for pair in zip(half, labels, strict=True)]
        np.testing.assert_array_equal(compiled(half), one_by_one)
    else:
        with pytest.raises(LookupError, match=planes.PAST):
            compiled(half)


@pytest.mark.parametrize("classes", [32, 1000, 29 * 1733, 2**17, 2**20])
def test_no_more_planes_than_are_summed_one_by_one(classes: int) -> None:
    lanes = planes.lanes_of(tf.TensorSpec([None, classes], tf.float32))
    assert classes % lanes == 0
    assert classes // lanes <= MANY
