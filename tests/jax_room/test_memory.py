"""What XLA holds beside the logits and their gradient, by its own plan, which does not depend on the machine."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, ShapeDtypeStruct

from multismooth import Spec
from multismooth.jax import smoothed_cross_entropy, smoothed_cross_entropy_totals

SPEC = Spec(0.1, ignore_index=-100)


class Shape(NamedTuple):
    logits: tuple[int, ...]
    axis: int
    dtype: str
    temporaries: float
    """in parts of the logits' bytes"""

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(np.delete(self.logits, self.axis).tolist())


SHAPES = {
    "language": Shape((256, 16384), 1, "float32", 0.05),
    "language-bfloat16": Shape((256, 16384), 1, "bfloat16", 0.1),
    "language-three-axes": Shape((2, 128, 16384), 2, "float32", 0.05),
    "50257-classes": Shape((256, 50257), 1, "float32", 0.05),
    "30522-classes": Shape((256, 30522), 1, "float32", 0.2),
    "segmentation": Shape((2, 150, 128, 128), 1, "float32", 0.05),
    "segmentation-bfloat16": Shape((2, 150, 128, 128), 1, "bfloat16", 0.1),
    "few-classes": Shape((2, 19, 64, 64), 1, "float32", 0.4),
    "few-classes-last": Shape((4, 256, 256, 21), 3, "float32", 0.25),
    "few-classes-last-bfloat16": Shape((4, 256, 256, 21), 3, "bfloat16", 0.5),
}
every = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def compiled(shape: Shape, spec: Spec = SPEC, **options: Any) -> Any:
    def loss(logits: Array, labels: Array) -> Array:
        return smoothed_cross_entropy(logits, labels, spec, axis=shape.axis)

    step = jax.jit(jax.value_and_grad(loss), **options)
    return step.lower(ShapeDtypeStruct(shape.logits, shape.dtype), ShapeDtypeStruct(shape.labels, "int32")).compile()


def held(compiled: Any, size: int) -> list[str]:
    """The operations with so many results that have memory of their own: what is inside a fusion has none."""
    entry = compiled.as_text().partition("\nENTRY")[2]
    found = re.findall(r"^ +(?:ROOT )?%\S+ = \w+\[([\d,]+)\]\S* ([\w-]+)\(", entry, re.MULTILINE)
    views = ("parameter", "bitcast", "get-tuple-element")
    return [
        operation
        for sides, operation in found
        if math.prod(map(int, sides.split(","))) == size
        if operation not in views
    ]


@every
@pytest.mark.parametrize("spec", [SPEC, Spec(0.1, "others", z_loss=1e-4, ignore_index=-100)], ids=["uniform", "others"])
def test_temporaries(shape: Shape, spec: Spec) -> None:
    whole = math.prod(shape.logits) * jnp.dtype(shape.dtype).itemsize
    assert compiled(shape, spec).memory_analysis().temp_size_in_bytes <= shape.temporaries * whole


@every
def test_nothing_but_the_gradient_is_as_large_as_the_logits(shape: Shape) -> None:
    """No one-hot, no comparison with every class, no copy in float32."""
    gradient = ["fusion"]
    # In half precision the planes are read from the logits' bits, which lie where the gradient will.
    bits = gradient if shape is SHAPES["segmentation-bfloat16"] else []
    assert held(compiled(shape), math.prod(shape.logits)) == bits + gradient


CLASS_WEIGHT, ALLOWED = np.linspace(1, 2, 16384, dtype="float32"), np.arange(16384) < 16000
OPTIONS = {
    "class_weight": ({"class_weight": CLASS_WEIGHT}, 3),
    "prior": ({"prior": CLASS_WEIGHT / CLASS_WEIGHT.sum()}, 3),
    "allowed": ({"allowed": ALLOWED}, 3),
    "both": ({"class_weight": CLASS_WEIGHT, "allowed": ALLOWED}, 3),
    "sample_weight": ({"sample_weight": np.ones(256, "float32")}, 0.6),
}


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("option", OPTIONS)
def test_options_ride_along(option: str, dtype: str, gradient: bool) -> None:
    """Beside the gradient are three sums of each lane of 16 classes, in float32; half precision may have lanes of 8.

    And six vectors over the classes, such as the weights of those that are allowed, and the sum without each.
    """
    arrays, sums = OPTIONS[option]

    def loss(logits: Array, labels: Array, arrays: dict[str, Array]) -> Array:
        return smoothed_cross_entropy(logits, labels, SPEC, **arrays)

    step = jax.jit(jax.value_and_grad(loss) if gradient else loss)
    plan = step.lower(ShapeDtypeStruct((256, 16384), dtype), ShapeDtypeStruct((256,), "int32"), arrays).compile()
    lanes = 256 * 16384 / (16 if dtype == "float32" else 8)
    assert plan.memory_analysis().temp_size_in_bytes <= 4 * (sums * lanes + 6 * 16384)


def test_soft_labels_ride_along() -> None:
    """Three sums of each lane of 8 classes."""
    step = jax.jit(jax.value_and_grad(partial(smoothed_cross_entropy, spec=Spec(0.1))))
    plan = step.lower(*[ShapeDtypeStruct((256, 16384), "float32")] * 2).compile().memory_analysis()
    assert plan.temp_size_in_bytes <= 1.05 * 4 * 3 * 256 * 16384 / 8


@pytest.mark.parametrize("option", ["allowed", "sample_weight"])
def test_options_ride_along_planes(option: str) -> None:
    """No copy of the logits, and no maximum but the loop's."""
    shape = SHAPES["segmentation"]
    array = {"allowed": ShapeDtypeStruct((150,), "bool"), "sample_weight": ShapeDtypeStruct(shape.labels, "float32")}

    def loss(logits: Array, labels: Array, array: Array) -> Array:
        return smoothed_cross_entropy(logits, labels, SPEC, axis=1, **{option: array})

    arrays = ShapeDtypeStruct(shape.logits, "float32"), ShapeDtypeStruct(shape.labels, "int32"), array[option]
    plan = jax.jit(loss).lower(*arrays).compile()
    assert plan.memory_analysis().temp_size_in_bytes <= 0.1 * math.prod(shape.logits) * 4
    assert not re.findall(r"f32\[2,128,128\]\S* reduce\(", plan.as_text())


def test_soft_labels_ride_along_planes() -> None:
    """The smoothed target, which the loop reads, is made where the gradient will be; every sum is a loop's."""
    arrays = [ShapeDtypeStruct(SHAPES["segmentation"].logits, "float32")] * 2
    step = jax.jit(jax.value_and_grad(partial(smoothed_cross_entropy, spec=Spec(0.1), axis=1)))
    plan = step.lower(*arrays).compile()
    assert plan.memory_analysis().temp_size_in_bytes <= 0.1 * math.prod(arrays[0].shape) * 4
    assert not re.findall(r"f32\[2,128,128\]\S* reduce\(", plan.as_text())


def test_under_a_layer_the_logits_are_held_once() -> None:
    """The loss makes no second array of them where classes are allowed: the gradient takes their place."""

    def loss(hidden: Array, kernel: Array, labels: Array) -> Array:
        return smoothed_cross_entropy(hidden @ kernel, labels, 0.1, allowed=ALLOWED)

    arrays = [ShapeDtypeStruct(shape, "float32") for shape in ((256, 8), (8, 16384))]
    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays, ShapeDtypeStruct((256,), "int32"))
    assert step.compile().memory_analysis().temp_size_in_bytes <= (1 + 3 / 16) * 1.05 * 4 * 256 * 16384


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_exponentials_of_few_logits_are_taken_once(dtype: str) -> None:
    """They are held, in float32, and then the gradient; of many logits a gradient takes them anew."""
    assert held(compiled(Shape((256, 1000), 1, dtype, 0)), 256 * 1000) == ["fusion", "fusion"]
    for classes, count in ((1000, 1), (16384, 2)):
        text = compiled(Shape((256, classes), 1, dtype, 0)).as_text()
        taken = re.findall(r"f32\[([\d,]+)\]\S* exponential\(", text)
        assert [math.prod(map(int, sides.split(","))) for sides in taken].count(256 * classes) == count


@pytest.mark.parametrize("function", [smoothed_cross_entropy, smoothed_cross_entropy_totals])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft"])
def test_the_loss_is_compiled_where_nobody_else_compiles_it(function: Callable[..., Any], soft: bool) -> None:
    """To dispatch its operations one by one takes several times as long."""
    labels = jnp.full((4, 5), 0.2) if soft else jnp.arange(4)
    equations = jax.make_jaxpr(partial(function, spec=Spec(0.1)))(
        jnp.zeros((4, 5)), labels, where=jnp.ones(4, bool)
    ).eqns
    assert len(equations) < 16
    assert len(equations[-1].params["jaxpr"].eqns) > 30


def test_a_held_copy_is_seen() -> None:
    def step(x: Array) -> Any:
        y = jnp.sort(x)
        return y.sum(), jnp.flip(y) * x

    found = held(jax.jit(step).lower(ShapeDtypeStruct((256, 16384), "float32")).compile(), 256 * 16384)
    assert len(found) > 1


def test_the_gradient_takes_the_place_of_donated_logits() -> None:
    shape = SHAPES["language"]
    plan = compiled(shape, donate_argnums=0).memory_analysis()
    assert plan.alias_size_in_bytes == math.prod(shape.logits) * 4
