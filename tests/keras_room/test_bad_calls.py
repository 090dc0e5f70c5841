"""Keras refuses the same calls as NumPy, in the same words, whatever its backend."""

from importlib import import_module
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from multismooth import keras as room
from tests.bad_calls import CALLS, OF_SHAPES_AND_DTYPES, ONE_PER_REASON, BadCall, check, refusal

BACKEND = keras.backend.backend()
COMPILED = ONE_PER_REASON[::10] if BACKEND == "torch" else OF_SHAPES_AND_DTYPES
"""Dynamo takes up to a second each; tests/torch_room compiles one for each reason."""


def tensor(array: np.ndarray) -> object:
    return ops.convert_to_tensor(array, dtype=array.dtype.name)


@pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, tensor))


def compiled(function: Any) -> Any:
    """As Keras compiles a step of its training."""
    module = import_module(BACKEND)
    match BACKEND:
        case "jax":
            return module.jit(function)
        case "tensorflow":
            return module.function(function, jit_compile=True)
        case _:
            module.compiler.reset()
            return module.compile(function, backend="aot_eager")


@pytest.mark.parametrize("call", COMPILED, ids=[call.id for call in COMPILED])
def test_refused_while_compiling(call: BadCall) -> None:
    check(call, refusal(call, room, tensor, compiled))
