"""Bad calls, once for every room; the NumPy room's words for them are in messages.json.

Every array is NumPy's, in a dtype that all frameworks have by default; a room's test turns it into its own.
``python -m tests.bad_calls`` writes messages.json anew.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multismooth import InputError, Spec

MESSAGES = Path(__file__).parent / "messages.json"

LOGITS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8
LABELS = np.array([[0, 1, 2], [3, 0, 1]], np.int32)
SQUARE = {"logits": np.zeros((3, 3, 4), np.float32), "labels": np.zeros((3, 3), np.int32)}
"""As many sequences as positions, so that broadcasting would not be noticed."""
SCALAR = {"logits": np.zeros(4, np.float32), "labels": np.array(1, np.int32)}
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]


class BadCall(NamedTuple):
    id: str
    reason: str
    arguments: dict[str, Any]
    """logits, labels, and what else the call is given"""
    totals: bool
    """a call of the totals instead"""
    values: bool
    """the fault is in the values, which cannot be read everywhere; in shapes and dtypes otherwise"""


CALLS: list[BadCall] = []


def add(id: str, reason: str, *, totals: bool = False, values: bool = False, **changes: Any) -> None:
    CALLS.append(BadCall(id, reason, {"logits": LOGITS, "labels": LABELS} | changes, totals, values))


def f32(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.float32)


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


# --- the spec -----------------------------------------------------------------------------------------------------

add("spec-is-a-string", "not_a_spec", spec="0.1")
add("spec-is-none", "not_a_spec", spec=None)
add("spec-is-a-bool", "not_a_spec", spec=True)
add("spec-is-a-dict", "not_a_spec", spec={"label_smoothing": 0.1})
add("spec-is-a-number-above-1", "label_smoothing_out_of_range", spec=1.5)
add("spec-is-nan", "label_smoothing_out_of_range", spec=float("nan"))
add("exclude-out-of-range", "exclude_out_of_range", spec=Spec(0.1, exclude=(0, 4)))
add("exclude-every-class", "exclude_all_classes", spec=Spec(0.1, exclude=(0, 1, 2, 3)))
add("values-with-a-prior", "values_exclude_prior", spec=Spec(values=(0.9, 0.1)), prior=f32(0.25, 0.25, 0.25, 0.25))
add("kl-with-class-weights", "kl_excludes_class_weight", spec=Spec(0.1, kl=True), class_weight=f32(1, 1, 1, 1))
for _denominator in ("batch", "sequences", "nonempty_sequences"):
    add(f"{_denominator}-of-a-scalar", "no_first_axis", spec=Spec(denominator=_denominator), **SCALAR)
add(
    "totals-of-a-scalar-by-batch",
    "no_first_axis",
    totals=True,
    spec=Spec(reduction="sum", denominator="batch"),
    **SCALAR,
)

# --- the class axis -----------------------------------------------------------------------------------------------

add("axis-3", "axis_out_of_range", axis=3)
add("axis-minus-4", "axis_out_of_range", axis=-4)
add("axis-of-scalar-logits", "axis_out_of_range", logits=np.array(0, np.float32), labels=np.array(0, np.int32))
add("axis-is-a-float", "axis_not_an_integer", axis=1.0)
add("axis-is-a-bool", "axis_not_an_integer", axis=True)
add("axis-is-none", "axis_not_an_integer", axis=None)
add("axis-is-a-tuple", "axis_not_an_integer", axis=(1,))
add("no-classes", "no_classes", logits=LOGITS[..., :0])
add("no-classes-on-axis-1", "no_classes", logits=LOGITS[:, :0], labels=LABELS[:, :0], axis=1)

# --- logits and labels --------------------------------------------------------------------------------------------

add("integer-logits", "logits_dtype", logits=LOGITS.astype(np.int32))
add("complex-logits", "logits_dtype", logits=LOGITS.astype(np.complex64))
add("bool-logits", "logits_dtype", logits=LOGITS > 1)
add("float-labels", "float_labels", labels=LABELS.astype(np.float32))
add("half-labels", "float_labels", labels=LABELS.astype(np.float16))
add("bool-labels", "labels_dtype", labels=LABELS > 1)
add("complex-labels", "labels_dtype", labels=LABELS.astype(np.complex64))
add("bool-one-hot-labels", "labels_dtype", labels=ONE_HOT > 0)
add("integer-one-hot-labels", "integer_one_hot", labels=ONE_HOT.astype(np.int32))
add("transposed-labels", "labels_shape", labels=LABELS.T)
add("labels-in-a-column", "labels_shape", labels=LABELS[..., None])
add("labels-of-one-sequence", "labels_shape", labels=LABELS[0])
add("a-label-for-a-batch", "labels_shape", labels=np.array(1, np.int32))
add("classes-on-another-axis", "labels_shape", logits=LOGITS.transpose(0, 2, 1))
add("labels-of-axis-1", "labels_shape", axis=1)
add("soft-labels-of-one-sequence", "soft_labels_shape", labels=ONE_HOT[0])
add("soft-labels-without-a-class", "soft_labels_shape", labels=ONE_HOT[..., :3])
add("soft-labels-on-another-axis", "soft_labels_shape", labels=ONE_HOT.transpose(0, 2, 1))

# --- soft labels with choices that they exclude -------------------------------------------------------------------

for _field, _values in {
    "spread": ("others", "leaky"),
    "class_weight_rule": ("per_label", "label_term"),
    "denominator": ("class_weights", "expected_class_weights"),
    "values": ((0.9, 0.1),),
    "ignore_index": (-100,),
}.items():
    for _value in _values:
        _id = f"soft-labels-with-{_field}-{_value}".replace("_", "-")
        add(_id, f"soft_labels_exclude_{_field}", labels=ONE_HOT, spec=Spec(**{_field: _value}))

# --- the other arrays: nothing is cast, nothing is broadcast ------------------------------------------------------

add("float-where", "where_dtype", where=np.ones((2, 3), np.float32))
add("integer-where", "where_dtype", where=np.ones((2, 3), np.int32))
add("where-of-sequences", "where_shape", where=np.ones(3, bool), **SQUARE)
add("where-in-a-column", "where_shape", where=np.ones((3, 1), bool), **SQUARE)
add("where-in-a-row", "where_shape", where=np.ones((1, 3), bool), **SQUARE)
add("where-of-classes", "where_shape", where=np.ones((2, 3, 4), bool))
add("where-of-the-batch", "where_shape", where=np.array(True))
add("integer-sample-weight", "sample_weight_dtype", sample_weight=np.ones((2, 3), np.int32))
add("bool-sample-weight", "sample_weight_dtype", sample_weight=np.ones((2, 3), bool))
add("sample-weight-of-sequences", "sample_weight_shape", sample_weight=np.ones(3, np.float32), **SQUARE)
add("sample-weight-of-the-batch", "sample_weight_shape", sample_weight=np.array(1, np.float32))
add("integer-class-weight", "class_weight_dtype", class_weight=np.ones(4, np.int32))
add("class-weight-of-3-classes", "class_weight_shape", class_weight=np.ones(3, np.float32))
add("class-weight-of-1-class", "class_weight_shape", class_weight=np.ones(1, np.float32))
add("class-weight-of-positions", "class_weight_shape", class_weight=np.ones((2, 3, 4), np.float32))
add("integer-prior", "prior_dtype", prior=np.array([1, 0, 0, 0], np.int32))
add("prior-of-5-classes", "prior_shape", prior=np.full(5, 0.2, np.float32))
add("prior-of-positions", "prior_shape", prior=np.full((2, 3, 4), 0.25, np.float32))
add("float-allowed", "allowed_dtype", allowed=np.ones(4, np.float32))
add("integer-allowed", "allowed_dtype", allowed=np.ones((2, 3, 4), np.int32))
add("allowed-of-3-classes", "allowed_shape", allowed=np.ones(3, bool))
add("allowed-of-sequences", "allowed_shape", allowed=np.ones((2, 1, 4), bool))
add("bool-normalizer", "normalizer_dtype", normalizer=True)
add("complex-normalizer", "normalizer_dtype", normalizer=np.array(2, np.complex64))
add("normalizer-in-a-vector", "normalizer_shape", normalizer=np.ones(1, np.float32))
add("normalizer-of-positions", "normalizer_shape", normalizer=np.ones((2, 3), np.float32))
add("normalizer-with-a-sum", "normalizer_needs_mean", normalizer=6.0, spec=Spec(reduction="sum"))
add("normalizer-with-none", "normalizer_needs_mean", normalizer=6, spec=Spec(reduction="none"))

# --- values -------------------------------------------------------------------------------------------------------

add("label-k", "label_out_of_range", values=True, labels=changed(LABELS, (1, 2), 4))
add("label-minus-1", "label_out_of_range", values=True, labels=changed(LABELS, (0, 1), -1))
add("label-minus-k", "label_out_of_range", values=True, labels=changed(LABELS, (0, 0), -4))
add("label-minus-100", "label_out_of_range", values=True, labels=changed(LABELS, (1, 0), -100))
add("label-of-a-scalar", "label_out_of_range", values=True, **SCALAR | {"labels": np.array(7, np.int32)})
add(
    "uint8-label-156-is-not-minus-100",
    "label_out_of_range",
    values=True,
    labels=changed(LABELS.astype(np.uint8), (0, 2), 156),
    spec=Spec(ignore_index=-100),
)
add(
    "a-second-bad-label-is-not-masked",
    "label_out_of_range",
    values=True,
    labels=np.full((2, 3), 9, np.int32),
    where=np.array([[False, False, False], [False, True, True]]),
)
add(
    "label-not-allowed",
    "label_not_allowed",
    values=True,
    allowed=np.array([True, True, True, False]),
)
add(
    "label-not-allowed-at-a-position",
    "label_not_allowed",
    values=True,
    allowed=changed(np.ones((2, 3, 4), bool), (0, 2, 2), False),
)
add("soft-label-negative", "negative_soft_label", values=True, labels=changed(ONE_HOT, (1, 0, 2), -0.5))
add("soft-label-nan", "negative_soft_label", values=True, labels=changed(ONE_HOT, (0, 0, 0), np.nan))
add("soft-label-inf", "negative_soft_label", values=True, labels=changed(ONE_HOT, (0, 0, 0), np.inf))
add("soft-labels-sum-to-1.5", "soft_labels_not_normalized", values=True, labels=changed(ONE_HOT, (0, 1, 3), 0.5))
add("soft-labels-sum-to-0", "soft_labels_not_normalized", values=True, labels=changed(ONE_HOT, (1, 2), 0))
add(
    "soft-labels-on-axis-1",
    "soft_labels_not_normalized",
    values=True,
    axis=1,
    logits=LOGITS.transpose(0, 2, 1),
    labels=changed(ONE_HOT, (1, 2), 0.5).transpose(0, 2, 1),
)
add(
    "soft-label-not-allowed",
    "soft_label_not_allowed",
    values=True,
    labels=ONE_HOT,
    allowed=np.array([True, True, False, True]),
)
for _name, _value in {"negative": -0.5, "nan": np.nan, "inf": np.inf}.items():
    add(
        f"sample-weight-{_name}",
        "bad_sample_weight",
        values=True,
        sample_weight=changed(np.ones((2, 3), np.float32), (0, 2), _value),
    )
    add(f"class-weight-{_name}", "bad_class_weight", values=True, class_weight=f32(1, 0, _value, 1))
    add(f"prior-{_name}", "bad_prior", values=True, prior=f32(0.5, _value, 0.5, 0))
    add(f"normalizer-{_name}", "bad_normalizer", values=True, normalizer=float(_value))
add("normalizer-array-negative", "bad_normalizer", values=True, normalizer=np.array(-2, np.float32))
add("prior-sums-to-0.75", "prior_not_normalized", values=True, prior=f32(0.25, 0.25, 0.25, 0))
add("prior-sums-to-2", "prior_not_normalized", values=True, prior=f32(0.5, 0.5, 0.5, 0.5))

BY_ID = {call.id: call for call in CALLS}
OF_VALUES = [call for call in CALLS if call.values]
OF_SHAPES_AND_DTYPES = [call for call in CALLS if not call.values]


def golden() -> dict[str, str]:
    return json.loads(MESSAGES.read_text(encoding="utf-8"))


def refusal(call: BadCall, room: Any, array: Callable[[np.ndarray], Any]) -> InputError:
    """What a room says to this call, with arrays of its own."""
    function = room.smoothed_cross_entropy_totals if call.totals else room.smoothed_cross_entropy
    arguments = {
        name: array(value) if isinstance(value, np.ndarray) else value for name, value in call.arguments.items()
    }
    return caught(lambda: function(**arguments), call.id)


def caught(function: Callable[[], Any], id: str) -> InputError:
    """The error that a function raises."""
    try:
        result = function()
    except InputError as error:
        return error
    raise AssertionError(f"{id} was not refused, and the loss is {result}")


def check(call: BadCall, error: InputError) -> None:
    """The reason of this call, and the NumPy room's sentence."""
    assert error.reason == call.reason, str(error)
    assert str(error) == golden()[call.id]


if __name__ == "__main__":
    from multismooth import numpy as reference

    messages = {call.id: str(refusal(call, reference, np.asarray)) for call in CALLS}
    MESSAGES.write_text(json.dumps(messages, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
