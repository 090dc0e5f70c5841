"""Keras refuses the same calls as NumPy, in the same words, whatever its backend."""

import numpy as np
import pytest
from keras import ops

from multismooth import keras as room
from tests.bad_calls import CALLS, BadCall, check, refusal


def tensor(array: np.ndarray) -> object:
    return ops.convert_to_tensor(array, dtype=array.dtype.name)


@pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, tensor))
