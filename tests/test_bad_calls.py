"""Bad calls in the NumPy room; every other room must say the same sentence."""

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth import numpy as room
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp
from tests import bad_calls
from tests.bad_calls import CALLS, LABELS, LOGITS, BadCall, check, golden, refusal

IDS = [call.id for call in CALLS]


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, np.asarray))


def test_every_message_belongs_to_a_call() -> None:
    assert list(golden()) == IDS
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("sentence", golden().values(), ids=golden())
def test_a_message_tells_the_call_the_fact_and_the_remedy(sentence: str) -> None:
    assert re.fullmatch(r"(smoothed_cross_entropy(_totals)?|Spec): [^\n]+\. [A-Z][^\n]+\.", sentence)
    assert len(sentence) < 320


def test_the_first_of_the_bad_values_is_named() -> None:
    assert "labels at (1, 1) is 9" in golden()["a-second-bad-label-is-not-masked"]


@pytest.mark.parametrize("call", bad_calls.OF_VALUES, ids=[call.id for call in bad_calls.OF_VALUES])
def test_masking_the_position_makes_the_value_harmless(call: BadCall) -> None:
    """Of class weights, priors and normalizers there is only one."""
    arguments = dict(call.arguments)
    if call.reason.removeprefix("bad_") in ("class_weight", "prior", "normalizer") or call.reason.startswith("prior"):
        with pytest.raises(InputError):
            smoothed_cross_entropy(**arguments, where=np.zeros((2, 3), bool))
        return
    arguments["where"] = np.zeros(arguments["labels"].shape, bool)
    if np.issubdtype(arguments["labels"].dtype, np.floating):
        arguments["where"] = np.zeros((2, 3), bool)
    assert smoothed_cross_entropy(**arguments) == 0.0


@pytest.mark.parametrize(
    "function", [smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp]
)
def test_a_message_names_the_function_that_was_called(function: Any) -> None:
    cotangent = (1.0,) if function is smoothed_cross_entropy_vjp else ()
    with pytest.raises(InputError, match=f"^{function.__name__}: labels have dtype bool"):
        function(*cotangent, LOGITS, LABELS > 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_totals_take_no_normalizer(reduction: str) -> None:
    with pytest.raises(TypeError, match="normalizer"):
        smoothed_cross_entropy_totals(LOGITS, LABELS, Spec(reduction=reduction), normalizer=6.0)


@pytest.mark.parametrize("argument", ["spec_", "mask", "weight", "ignore_index", "label_smoothing"])
def test_no_argument_is_swallowed(argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        smoothed_cross_entropy(LOGITS, LABELS, **{argument: 1})


def test_arrays_are_keywords() -> None:
    with pytest.raises(TypeError, match="positional"):
        smoothed_cross_entropy(LOGITS, LABELS, Spec(), -1, np.ones((2, 3), bool))


@pytest.mark.parametrize("argument", ["logits", "labels"])
@pytest.mark.parametrize("value", [None, "0", object(), {"a": 1}], ids=["none", "string", "object", "dict"])
def test_what_is_no_array_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{argument} "):
        smoothed_cross_entropy(**{"logits": LOGITS, "labels": LABELS, argument: value})


def test_a_ragged_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inhomogeneous|labels"):
        smoothed_cross_entropy(LOGITS, [[0, 1, 2], [3]])


def test_reasons_are_plain_names() -> None:
    assert all(re.fullmatch("[a-z_]+", call.reason) for call in CALLS)
    assert len(Counter(call.reason for call in CALLS)) >= 35
