"""The ways to the sums of a row: all to the same sums, and each to the vectors' losses and gradients."""

from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multismooth import blocks
from multismooth.jax import rows, smoothed_cross_entropy
from multismooth_conformance import Vector, judge, load
from multismooth_conformance.adapters.jax_room import ADAPTER
from multismooth_conformance.vectors import core


class Shape(NamedTuple):
    logits: tuple[int, ...]
    axis: int


WAYS = {
    "planes": Shape((3, 7, 5, 4), 1),
    "planes-first": Shape((13, 6, 4), 0),
    "blocks": Shape((5, 96), 1),
    "blocks-three-axes": Shape((2, 3, 60), 2),
    "lanes": Shape((5, 96), 1),
    "lanes-three-axes": Shape((2, 3, 60), 2),
    "lanes-some-left-over": Shape((5, 101), 1),
    "lanes-nothing-kept": Shape((5, 101), 1),
    "once": Shape((5, 21), 1),
    "once-three-axes": Shape((2, 3, 6), 2),
}


ALIKE = ["everybody", "nobody"]
OPTIONS = [*ALIKE, "shares", "allowed", "soft"]
CASES = [(way, option) for way in WAYS for option in (ALIKE if way.startswith("blocks") else OPTIONS)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("way", "option"), CASES)
def test_every_way_has_the_same_sums(way: str, dtype: str, option: str) -> None:
    """With equal maxima, the label among them, with −inf under a share of 0, and with a confident row.

    Where classes are not allowed, what they hold is larger than all the rest, or no number.
    """
    logits, axis = WAYS[way]
    classes = logits[axis]
    random = np.random.default_rng(0)
    x = np.moveaxis(random.normal(size=logits) * 4, axis, -1).copy()
    flat = x.reshape(-1, classes)
    flat[0] = 3.0
    flat[1, 2:5] = flat.max() + 1
    flat[2, 3] = flat.max() + 40
    flat[3, 1] = -np.inf
    labels = random.integers(2, classes, x.shape[:-1])
    labels.reshape(-1)[1:3] = 3
    labels.reshape(-1)[3:5] = classes - 5, classes - 1  # of 101 classes in lanes of 12, the first and last left over
    exists = np.arange(classes) != 1
    if option == "allowed":
        flat[:, 1] = np.resize([200.0, np.nan, np.inf], len(flat))
    with jax.enable_x64(True):
        x = jnp.moveaxis(jnp.asarray(x, dtype), -1, axis)
        y = jnp.expand_dims(jnp.asarray(labels), axis)
        wide = rows.loss_dtype(x)

        def along(vector: np.ndarray) -> jax.Array:
            return jnp.asarray(vector).reshape(-1, *[1] * (x.ndim - 1 - axis))

        shares = along((random.random(classes) * exists).astype(wide))
        targets = jnp.moveaxis(jnp.asarray(random.random((2, *labels.shape, classes)) * exists, wide), -1, axis + 1)
        arguments = {
            "everybody": (x, y, (None,), None),
            "shares": (x, y, (shares,), None),
            "allowed": (x, y, (shares,), along(exists)),
            "nobody": (x, y, (), None),
            "soft": (x, None, tuple(targets), None),
        }[option]
        *expected, e = rows._whole(*arguments, axis, keeps=True)
        match way.partition("-")[0]:
            case "planes":
                *found, kept = rows._by_planes(*arguments, axis)
            case "blocks":
                *found, kept = rows._by_blocks(*arguments, 12)
            case "lanes":
                *found, kept = rows._by_lanes(*arguments, 12, keeps=way != "lanes-nothing-kept")
            case _:
                *found, kept = rows._at_once(*arguments, keeps=True)
        assert (kept is not None) == (way.startswith(("lanes", "once")) and way != "lanes-nothing-kept")
        found, expected = jax.tree.leaves((found, kept)), jax.tree.leaves((expected, None if kept is None else e))
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert one.dtype == wide
            np.testing.assert_allclose(one, other, rtol=20 * jnp.finfo(wide).eps)


def test_the_sum_over_planes_is_a_sum() -> None:
    """Its derivatives too; and the smallest of a plane's values is NaN if one is."""
    values = np.random.default_rng(0).normal(size=(3, 5, 7, 2)).astype("float32")
    with patch.object(rows, "LARGE", 1):
        assert "scan" in str(jax.make_jaxpr(rows.class_sum, static_argnums=1)(values, 1))
        np.testing.assert_allclose(rows.class_sum(values, 1), values.sum(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(rows.class_min(values, 1), values.min(1))
        slope = np.arange(42, dtype="float32").reshape(3, 7, 2)
        gradient = jax.grad(lambda values: (rows.class_sum(values, 1) * slope).sum())(jnp.asarray(values))
        np.testing.assert_array_equal(gradient, np.broadcast_to(slope[:, None], values.shape))
        tangent = jax.jvp(lambda values: rows.class_sum(values, 1), (values,), (values,))[1]
        np.testing.assert_allclose(tangent, values.sum(1), rtol=1e-5, atol=1e-6)
        values[0, 3] = np.nan
        assert np.isnan(rows.class_min(values, 1)[0]).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(512, 5), (512, 300), (512, 30000)], ids=str)
def test_a_weight_of_0_hides_nan(shape: tuple[int, int], axis: int) -> None:
    """XLA's maximum of many logits is a number where one is NaN."""
    logits = np.zeros(shape, "float32")
    logits[0, 1] = np.nan
    weight = np.ones(512, "float32")
    weight[0] = 0.0

    @jax.jit
    def loss(logits: jax.Array) -> jax.Array:
        x = jnp.moveaxis(logits, 1, axis)
        return smoothed_cross_entropy(x, jnp.zeros(512, int), 0.1, axis=axis, sample_weight=weight)

    value, gradient = jax.value_and_grad(loss)(logits)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert (gradient[0] == 0).all()


VECTORS = [load()[id] for id in sorted(core()) if load()[id].reason is None and not load()[id].inputs.linear]
FORCED = {
    "once, nothing kept": {"CACHED": 0},
    "lanes": {"LARGE": 1, "AT_ONCE": 0},
    "lanes, nothing kept": {"LARGE": 1, "CACHED": 0, "AT_ONCE": 0, "classes_of_block": lambda classes: None},
    "blocks": {"LARGE": 1, "CACHED": 0, "AT_ONCE": 0},
    "whole": {"AT_ONCE": 0},
    "whole, nothing kept": {"CACHED": 0, "AT_ONCE": 0},
}


@pytest.fixture(scope="module", params=FORCED)
def forced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few logits, too, go the way of many."""
    jax.clear_caches()
    with patch.multiple(rows, **FORCED[request.param]), patch.multiple(blocks, SIZES=range(2, 9), LANES=1):
        yield
    jax.clear_caches()


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_vectors_go_every_way(vector: Vector) -> None:
    judge.judge(vector, *judge.run(ADAPTER, vector.inputs, vector.cotangent, "eager"))
