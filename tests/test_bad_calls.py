"""Bad calls in the NumPy room; every other room must say the same sentence."""

import ast
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import multismooth
from multismooth import InputError, Spec
from multismooth import numpy as room
from multismooth.checks import Batch
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp
from multismooth.spec import _CHOICES
from tests import bad_calls
from tests.bad_calls import CALLS, LABELS, LINEAR_CALLS, LOGITS, BadCall, check, golden, refusal

EVERY_CALL = CALLS + LINEAR_CALLS
IDS = [call.id for call in EVERY_CALL]

ELSEWHERE = {
    "nested_forward_mode": "torch_room/test_derivatives.py",  # PyTorch's alone
    "inplace": "torch_room/test_inplace.py",
    "bad_rows": "jax_room/test_linear.py",  # a choice of JAX's linear loss alone
    "spec_and_options": "torch_room/test_module.py",  # of the host classes
    "from_probabilities": "keras_room/test_loss.py",  # of Keras's host class
    "no_spec": "test_dialects.py",
    "bad_classes": "test_porting.py",  # of the porting tools
    "not_a_batch": "test_porting.py",
    "other_classes": "test_porting.py",
    "unknown_dialect": "test_porting.py",
    "class_needs_arguments": "torch_room/test_identify.py",
    "framework_missing": "test_porting.py",
    "native_label_too_large": "test_native.py",
    "no_layout": "torch_room/test_identify.py",
    "no_such_callable": "test_porting.py",
    "not_an_identification": "test_porting.py",
    "not_callable": "test_porting.py",
    "not_differentiable": "torch_room/test_identify.py",
    "unknown_argument": "test_porting.py",
    "unknown_framework": "test_porting.py",
    "unreadable_file": "test_porting.py",
    "not_a_saved_spec": "test_spec.py",  # of files
    "spec_too_large": "test_spec.py",
    "unknown_version": "test_spec.py",
    "unknown_average": "test_dialects.py",  # and four more words of libraries
    "unknown_cost_type": "test_dialects.py",
    "unknown_label_smoothing_impl": "test_dialects.py",
    "unknown_loss_normalizing_factor": "test_dialects.py",
    "unknown_mode": "test_dialects.py",
    "unknown_array": "test_totals.py",  # of Totals.mean, which takes no arrays
    "unknown_classes": "tensorflow_room/test_bad_calls.py",  # shapes that nobody knows are TensorFlow's alone
    "unknown_rank": "tensorflow_room/test_bad_calls.py",
}
"""Reasons that no call of every room can have, and where they are tested."""

FILLED: dict[str, Iterable[str]] = {
    "unknown_{field}": _CHOICES,
    "unknown_{parameter}": [
        "reduction",
        "average",
        "cost_type",
        "label_smoothing_impl",
        "loss_normalizing_factor",
        "mode",
    ],
    "{field}_not_a_number": ["label_smoothing", "z_loss", "values"],
    "{name}_dtype": ["kernel", "bias", *Batch._fields[2:]],
    "{name}_not_a_number": ["logit_scale", "softcap"],
    "{name}_shape": Batch._fields[2:],
    "soft_labels_exclude_{field}": ["spread", "class_weight_rule", "denominator", "values", "ignore_index"],
}
"""What the reasons that are put together in the source are filled with."""


@pytest.mark.parametrize("call", EVERY_CALL, ids=IDS)
def test_refused(call: BadCall) -> None:
    check(call, refusal(call, room, np.asarray))


def test_every_message_belongs_to_a_call() -> None:
    assert list(golden()) == IDS
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("sentence", golden().values(), ids=golden())
def test_a_message_tells_the_call_the_fact_and_the_remedy(sentence: str) -> None:
    assert re.fullmatch(
        r"((linear_)?smoothed_cross_entropy(_totals)?|Spec(\.from_json)?): [^\n]+\. [A-Z][^\n]+\.", sentence
    )
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


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("logits", LOGITS.astype(ml_dtypes.float8_e4m3fn), "logits have dtype float8_e4m3fn. Pass real logits"),
        ("logits", LOGITS.astype(object), "logits have dtype object. Pass real logits"),
        ("labels", LABELS.astype(str), "labels have dtype str352. Pass integer class indices"),
        ("labels", LABELS.astype("M8[s]"), "labels have dtype datetime64[s]. Pass integer class indices"),
        ("labels", LABELS.astype(ml_dtypes.int4), "labels have dtype int4. Pass integer class indices"),
        ("where", np.ones((2, 3), np.uint8), "where has dtype uint8. Pass booleans"),
    ],
)
def test_dtypes_of_numpy_alone(argument: str, value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        smoothed_cross_entropy(**{"logits": LOGITS, "labels": LABELS, argument: value})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "number", [7, 7.5, np.float64(7.5), np.float32(7.5), np.float16(7.5), np.int8(7), np.uint64(7)]
)
def test_every_real_number_is_a_normalizer(number: Any) -> None:
    total = smoothed_cross_entropy(LOGITS, LABELS, Spec(reduction="sum"))
    assert smoothed_cross_entropy(LOGITS, LABELS, normalizer=number) == total / float(number)


@pytest.mark.parametrize("ignored", [2**63, 2**64 - 1])
def test_the_largest_labels_can_be_ignored(ignored: int) -> None:
    """A label of 64 bits without a sign is negative as an int64."""
    labels = bad_calls.changed(LABELS.astype(np.uint64), (0, 1), ignored)
    loss = smoothed_cross_entropy(LOGITS, labels, Spec(ignore_index=ignored))
    assert loss == smoothed_cross_entropy(LOGITS, LABELS, where=labels != ignored)


def test_a_matrix_is_an_array() -> None:
    assert smoothed_cross_entropy(LOGITS, np.asmatrix(LABELS)) == smoothed_cross_entropy(LOGITS, LABELS)


class Unprintable(float):
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    with pytest.raises(InputError, match=re.escape("Spec: label_smoothing is <Unprintable>. Pass")):
        Spec(Unprintable(2.0))


def test_hostile_json_is_refused_at_once() -> None:
    text = json.dumps(dict.fromkeys(map(str, range(100_000)), 1))
    start = time.process_time()
    with pytest.raises(InputError, match="there is no field '0'"):
        Spec.from_json(text)
    assert time.process_time() - start < 10  # it took minutes when each key was counted by itself


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """The first argument of every InputError, of each function that passes its ``reason`` on, and of one handed on."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    parameters = {function.name: [argument.arg for argument in function.args.args] for function in functions}
    place = {name: names.index("reason") for name, names in parameters.items() if "reason" in names} | {
        "InputError": 0,
        "refuse": 0,
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in place:
            match node.args[place[node.func.id]]:
                case ast.Constant(value=str(reason)):
                    yield reason
                case ast.JoinedStr(values=parts):
                    pattern = "".join(
                        p.value if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}" for p in parts
                    )
                    yield from (re.sub(r"\{.*\}", name, pattern) for name in FILLED[pattern])
                case argument:
                    assert ast.unparse(argument) == "reason"


def test_every_reason_in_the_source_has_a_call() -> None:
    """A reason that is new in the source needs a bad call, or a place in ELSEWHERE."""
    files = Path(multismooth.__file__).parent.rglob("*.py")
    known = {reason for file in files for reason in reasons_in(ast.parse(file.read_text(encoding="utf-8")))}
    assert known - ELSEWHERE.keys() == {call.reason for call in EVERY_CALL}
    assert ELSEWHERE.keys() <= known


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_other_reasons_are_tested_where_it_says(reason: str) -> None:
    assert f'"{reason}"' in (Path(__file__).parent / ELSEWHERE[reason]).read_text(encoding="utf-8")


def test_there_are_many_reasons_everywhere() -> None:
    assert all(re.fullmatch("[a-z_]+", call.reason) for call in EVERY_CALL)
    assert len({call.reason for call in EVERY_CALL}) >= 60
    assert len(bad_calls.ONE_PER_REASON) >= 50
