"""JAX refuses the same calls as NumPy, in the same words; traced too."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multismooth import jax as room
from tests.bad_calls import CALLS, LABELS, LOGITS, OF_SHAPES_AND_DTYPES, BadCall, caught, check, refusal

IDS = [call.id for call in OF_SHAPES_AND_DTYPES]


def traced(call: BadCall, transform: Any) -> None:
    function = room.smoothed_cross_entropy_totals if call.totals else room.smoothed_cross_entropy
    arrays = {k: jnp.asarray(v) for k, v in call.arguments.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in call.arguments.items() if k not in arrays}
    transform(lambda arrays: function(**arrays, **rest))(arrays)


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray], ids=["jax-arrays", "numpy-arrays"])
@pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])
def test_refused(call: BadCall, array: Any) -> None:
    check(call, refusal(call, room, array))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES, ids=IDS)
def test_refused_while_compiling(call: BadCall) -> None:
    check(call, caught(lambda: traced(call, jax.jit), call.id))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES[::10], ids=IDS[::10])
def test_refused_while_mapped(call: BadCall) -> None:
    """The shapes are those of one element."""

    def mapped(function: Any) -> Any:
        return lambda arrays: jax.vmap(function)({k: array[None] for k, array in arrays.items()})

    check(call, caught(lambda: traced(call, mapped), call.id))


@pytest.mark.parametrize("name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed"])
@pytest.mark.parametrize("value", [[0.0, 1.0], "0", object()], ids=["list", "str", "object"])
def test_only_arrays_are_arrays(name: str, value: Any) -> None:
    arguments = {"logits": jnp.asarray(LOGITS), "labels": jnp.asarray(LABELS)} | {name: value}
    error = caught(lambda: room.smoothed_cross_entropy(**arguments), name)
    assert error.reason == "not_an_array"
    assert f"{name} is a {type(value).__name__}" in str(error)
