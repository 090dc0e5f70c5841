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
from multismooth.jax import rows, smoothed_cross_entropy, smoothed_cross_entropy_totals

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


WAYS = {
    "planes": Shape((3, 7, 5, 4), 1, "", 0),
    "planes-first": Shape((13, 6, 4), 0, "", 0),
    "blocks": Shape((5, 96), 1, "", 0),
    "blocks-three-axes": Shape((2, 3, 60), 2, "", 0),
}


@pytest.mark.parametrize("receivers", ["everybody", "shares"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_has_the_same_sums(way: str, dtype: str, receivers: str) -> None:
    """With equal maxima, the label among them, with −inf under a share of 0, and with a confident row."""
    logits, axis = WAYS[way][:2]
    random = np.random.default_rng(0)
    x = np.moveaxis(random.normal(size=logits) * 4, axis, -1).copy()
    flat = x.reshape(-1, logits[axis])
    flat[0] = 3.0
    flat[1, 2:5] = flat.max() + 1
    flat[2, 3] = flat.max() + 40
    flat[3, 1] = -np.inf
    labels = random.integers(0, logits[axis], x.shape[:-1])
    labels.reshape(-1)[1:3] = 3
    shares = random.random(logits[axis]) * (np.arange(logits[axis]) != 1)
    with jax.enable_x64(True):
        x = jnp.moveaxis(jnp.asarray(x, dtype), -1, axis)
        y = jnp.expand_dims(jnp.asarray(labels), axis)
        wide = rows.loss_dtype(x)
        v = None
        if receivers == "shares":
            v = jnp.asarray(shares, wide).reshape(-1, *[1] * (x.ndim - 1 - axis))
        expected = rows._whole(x, y, v, axis)
        found = rows._by_planes(x, y, v, axis) if "planes" in way else rows._by_blocks(x, y, v, 12)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert one.dtype == wide
            np.testing.assert_allclose(one, other, rtol=20 * jnp.finfo(wide).eps)
