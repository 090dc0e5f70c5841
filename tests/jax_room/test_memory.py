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
