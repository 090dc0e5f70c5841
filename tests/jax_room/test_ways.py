"""The ways to the sums of a row: all to the same sums, and each to the vectors' losses and gradients."""

from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multismooth import blocks
from multismooth.jax import rows
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
    "once": Shape((5, 21), 1),
    "once-three-axes": Shape((2, 3, 6), 2),
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
        *expected, e = rows._whole(x, y, v, axis, keeps=True)
        match way.partition("-")[0]:
            case "planes":
                *found, kept = rows._by_planes(x, y, v, axis)
            case "blocks":
                *found, kept = rows._by_blocks(x, y, v, 12)
            case "lanes":
                *found, kept = rows._by_lanes(x, y, v, 12)
            case _:
                *found, kept = rows._at_once(x, y, v, keeps=True)
        assert (kept is not None) == way.startswith(("lanes", "once"))
        pairs = [*zip(found, expected, strict=True), *([(kept, e)] if kept is not None else [])]
        for one, other in pairs:
            assert one.shape == other.shape
            assert one.dtype == wide
            np.testing.assert_allclose(one, other, rtol=20 * jnp.finfo(wide).eps)


VECTORS = [load()[id] for id in sorted(core()) if load()[id].reason is None and not load()[id].inputs.linear]
FORCED = {
    "once, nothing kept": {"CACHED": 0},
    "lanes": {"LARGE": 1, "AT_ONCE": 0},
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
