"""PyTorch refuses the same calls as NumPy, in the same words; compiled too."""

from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.exc import Unsupported

from multismooth import torch as room
from tests.bad_calls import CALLS, LABELS, LOGITS, OF_SHAPES_AND_DTYPES, BadCall, caught, check, refusal


def compiled(call: BadCall, *, fullgraph: bool) -> None:
    torch.compiler.reset()
    function = room.smoothed_cross_entropy_totals if call.totals else room.smoothed_cross_entropy
    arrays = {k: torch.as_tensor(v) for k, v in call.arguments.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in call.arguments.items() if k not in arrays}
    torch.compile(lambda arrays: function(**arrays, **rest), backend="aot_eager", fullgraph=fullgraph)(arrays)


@pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, torch.as_tensor))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES[::3], ids=[call.id for call in OF_SHAPES_AND_DTYPES[::3]])
def test_refused_while_compiling(call: BadCall) -> None:
    """Where a part of the graph may run eagerly; Dynamo takes a second each."""
    check(call, caught(lambda: compiled(call, fullgraph=False), call.id))


@pytest.mark.parametrize("call", OF_SHAPES_AND_DTYPES[::10], ids=[call.id for call in OF_SHAPES_AND_DTYPES[::10]])
def test_a_whole_graph_fails_with_the_reason(call: BadCall) -> None:
    """Dynamo lets no exception out of a whole graph, but wraps it."""
    with pytest.raises(Unsupported, match=f"InputError\\('{call.reason}'"):
        compiled(call, fullgraph=True)


@pytest.mark.parametrize("name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed"])
@pytest.mark.parametrize("value", [[0.0, 1.0], np.zeros(2), "0", object()], ids=["list", "numpy", "str", "object"])
def test_only_tensors_are_arrays(name: str, value: Any) -> None:
    arguments = {"logits": torch.as_tensor(LOGITS), "labels": torch.as_tensor(LABELS)} | {name: value}
    error = caught(lambda: room.smoothed_cross_entropy(**arguments), name)
    assert error.reason == "not_an_array"
    assert f"{name} is a {type(value).__name__}" in str(error)


@pytest.mark.parametrize("name", ["logits", "labels"])
def test_nothing_is_no_array(name: str) -> None:
    arguments = {"logits": torch.as_tensor(LOGITS), "labels": torch.as_tensor(LABELS)} | {name: None}
    error = caught(lambda: room.smoothed_cross_entropy(**arguments), name)
    assert error.reason == "not_an_array"
