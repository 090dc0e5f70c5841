"""PyTorch refuses the same calls as NumPy, in the same words; compiled too."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.exc import Unsupported
from torch.masked import masked_tensor

from multismooth import Spec
from multismooth import torch as room
from multismooth.numpy import smoothed_cross_entropy as reference
from tests.bad_calls import (
    CALLS,
    LABELS,
    LINEAR_CALLS,
    LOGITS,
    ONE_PER_REASON,
    BadCall,
    caught,
    changed,
    check,
    refusal,
)


def nested(array: np.ndarray, **options: Any) -> torch.Tensor:
    """One row shorter than the other."""
    return torch.nested.nested_tensor([torch.as_tensor(array[0]), torch.as_tensor(array[1, :2])], **options)


IDS = [call.id for call in ONE_PER_REASON]
OF_ARRAYS = [call for call in ONE_PER_REASON if not callable(call.arguments.get("spec"))]


def compiled(function: Any, **options: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(function, backend="aot_eager", **options)


@pytest.mark.parametrize("call", CALLS + LINEAR_CALLS, ids=[call.id for call in CALLS + LINEAR_CALLS])
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, torch.as_tensor))


@pytest.mark.parametrize("call", ONE_PER_REASON, ids=IDS)
def test_refused_while_compiling(call: BadCall) -> None:
    """Where a part of the graph may run eagerly; Dynamo takes up to a second each."""
    check(call, refusal(call, room, torch.as_tensor, compiled))


@pytest.mark.parametrize("call", OF_ARRAYS[::4], ids=[call.id for call in OF_ARRAYS[::4]])
def test_a_whole_graph_fails_with_the_reason(call: BadCall) -> None:
    """Dynamo lets no exception out of a whole graph, but wraps it."""
    with pytest.raises(Unsupported, match=f"InputError\\('{call.reason}'"):
        refusal(call, room, torch.as_tensor, partial(compiled, fullgraph=True))


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


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        (
            "logits",
            torch.as_tensor(LOGITS).to(torch.float8_e4m3fn),
            "logits have dtype float8_e4m3fn. Pass real logits",
        ),
        ("logits", torch.zeros(2, 3, 4, dtype=torch.complex32), "logits have dtype complex32. Pass real logits"),
        ("logits", torch.as_tensor(LOGITS).to_sparse(), "logits is a Tensor. Pass a dense array"),
        ("logits", torch.as_tensor(LOGITS).to_mkldnn(), "logits is a Tensor. Pass a dense array"),
        ("logits", nested(LOGITS), "logits is a Tensor. Pass a dense array"),
        ("logits", nested(LOGITS, layout=torch.jagged), "logits is a NestedTensor. Pass a dense array"),
        (
            "logits",
            masked_tensor(torch.zeros(2, 3, 4), torch.ones(2, 3, 4) > 0),
            "logits is a MaskedTensor. Pass a dense",
        ),
        ("labels", torch.as_tensor(LABELS).to_sparse(), "labels is a Tensor. Pass a dense array"),
        ("labels", torch.zeros(2, 3, dtype=torch.uint4), "labels have dtype uint4. Pass integer class indices"),
        ("where", torch.ones(2, 3, dtype=torch.uint8), "where has dtype uint8. Pass booleans"),
        ("where", torch.ones(2, 3, dtype=torch.bool).to_sparse(), "where is a Tensor. Pass a dense array"),
        ("class_weight", torch.ones(4).to_sparse(), "class_weight is a Tensor. Pass a dense array"),
    ],
)
def test_tensors_of_pytorch_alone(argument: str, value: Any, words: str) -> None:
    arguments = {"logits": torch.as_tensor(LOGITS), "labels": torch.as_tensor(LABELS)} | {argument: value}
    assert words in str(caught(lambda: room.smoothed_cross_entropy(**arguments), words))


def test_a_quantized_tensor_is_refused() -> None:
    logits = torch.quantize_per_tensor(torch.as_tensor(LOGITS), 0.1, 0, torch.quint8)
    error = caught(lambda: room.smoothed_cross_entropy(logits, torch.as_tensor(LABELS)), "quantized")
    assert "logits have dtype quint8. Pass real logits" in str(error)


def test_tensors_without_values_give_a_loss_without_a_value() -> None:
    logits, labels = torch.as_tensor(LOGITS).to("meta"), torch.as_tensor(LABELS).to("meta")
    assert room.smoothed_cross_entropy(logits, labels, Spec(reduction="none")).shape == (2, 3)
    assert room.smoothed_cross_entropy(logits, labels).is_meta


@pytest.mark.parametrize(
    "number", [7, 7.5, np.float64(7.5), np.float32(7.5), np.float16(7.5), np.int8(7), np.uint64(7), 3_000_000_000]
)
def test_every_real_number_is_a_normalizer(number: Any) -> None:
    logits, labels = torch.as_tensor(LOGITS), torch.as_tensor(LABELS)
    total = room.smoothed_cross_entropy(logits, labels, Spec(reduction="sum"))
    loss = room.smoothed_cross_entropy(logits, labels, normalizer=number)
    torch.testing.assert_close(loss, total / float(number))


def test_a_number_of_numpy_is_a_normalizer_while_compiling() -> None:
    """But not in a whole graph: Dynamo takes it for an array of NumPy's, of which it can tell no dtype."""
    logits, labels, number = torch.as_tensor(LOGITS), torch.as_tensor(LABELS), np.float32(7.5)
    expected = room.smoothed_cross_entropy(logits, labels, normalizer=7.5)
    torch.testing.assert_close(compiled(room.smoothed_cross_entropy)(logits, labels, normalizer=number), expected)
    with pytest.raises(Unsupported, match=r"InputError\('not_an_array', .* 'normalizer is a ndarray'"):
        compiled(room.smoothed_cross_entropy, fullgraph=True)(logits, labels, normalizer=number)


@pytest.mark.parametrize("ignored", [2**63, 2**64 - 1])
@pytest.mark.parametrize("transform", [lambda function: function, compiled], ids=["eager", "compiled"])
def test_the_largest_labels_can_be_ignored(ignored: int, transform: Any) -> None:
    """They are negative once they are int64."""
    numbers = changed(LABELS.astype(np.uint64), (0, 1), ignored)
    logits, labels, where = (torch.as_tensor(array) for array in (LOGITS, LABELS, numbers != ignored))
    loss = transform(room.smoothed_cross_entropy)(logits, torch.as_tensor(numbers), Spec(ignore_index=ignored))
    torch.testing.assert_close(loss, room.smoothed_cross_entropy(logits, labels, where=where))


@pytest.mark.parametrize("denominator", ["class_weights", "expected_class_weights"])
def test_a_bad_label_under_a_weight_of_0_has_no_class_to_count(denominator: str) -> None:
    """As with class weights of 1, so without."""
    spec = Spec(0.1, denominator=denominator)
    arrays = {"logits": np.linspace(-2, 3, 15).reshape(3, 5), "labels": np.array([0, 100, 2])}
    arrays["sample_weight"] = np.array([1.0, 0.0, 2.0])
    expected = reference(**arrays, spec=spec)
    for more in ({}, {"class_weight": np.ones(5)}):
        found = room.smoothed_cross_entropy(**{name: torch.tensor(a) for name, a in (arrays | more).items()}, spec=spec)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
