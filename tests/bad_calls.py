"""Bad calls, once for every room; the NumPy room's words for them are in messages.json.

Every array is NumPy's, in a dtype that all frameworks have by default; a room's test turns it into its own. A bad spec
is made where it is used, and so inside of a compiled function too.
``python -m tests.bad_calls`` writes messages.json anew.
"""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
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


HIDDEN = np.arange(30, dtype=np.float32).reshape(2, 3, 5) / 8
KERNEL = np.arange(20, dtype=np.float32).reshape(5, 4) / 8 - 1
BIAS = np.arange(4, dtype=np.float32) / 4


class BadCall(NamedTuple):
    id: str
    reason: str
    arguments: dict[str, Any]
    """logits, labels, and what else the call is given; a spec may be the function that makes it"""
    totals: bool = False
    """a call of the totals instead"""
    values: bool = False
    """the fault is in the arrays' values, which nobody can read while compiling: a NaN in their row then"""
    linear: bool = False
    """a call of the linear loss instead, with hidden and kernel in the place of logits"""


CALLS: list[BadCall] = []

LINEAR_CALLS: list[BadCall] = []
"""Of the linear loss: what is checked of it alone, and some of everything else."""


def add(id: str, reason: str, *, totals: bool = False, values: bool = False, **changes: Any) -> None:
    CALLS.append(BadCall(id, reason, {"logits": LOGITS, "labels": LABELS} | changes, totals, values))


def add_linear(id: str, reason: str, *, values: bool = False, **changes: Any) -> None:
    arguments = {"hidden": HIDDEN, "kernel": KERNEL, "labels": LABELS} | changes
    LINEAR_CALLS.append(BadCall(f"linear-{id}", reason, arguments, values=values, linear=True))


def f32(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.float32)


def masked(array: np.ndarray) -> Any:
    """An array whose mask would be lost."""
    return np.ma.masked_array(array, mask=array == 0)


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

# --- a spec's fields ----------------------------------------------------------------------------------------------

HUGE = 10**5000
"""an integer that no float can hold, and that Python does not even print"""

for _id, _reason, _fields in [
    ("smoothing-is-a-string", "label_smoothing_not_a_number", {"label_smoothing": "0.1"}),
    ("smoothing-is-a-bool", "label_smoothing_not_a_number", {"label_smoothing": True}),
    ("smoothing-is-a-numpy-bool", "label_smoothing_not_a_number", {"label_smoothing": np.True_}),
    ("smoothing-is-complex", "label_smoothing_not_a_number", {"label_smoothing": 0.1j}),
    ("smoothing-is-an-array", "label_smoothing_not_a_number", {"label_smoothing": np.zeros((9, 9))}),
    ("smoothing-is-negative", "label_smoothing_out_of_range", {"label_smoothing": -0.1}),
    ("smoothing-is-infinite", "label_smoothing_out_of_range", {"label_smoothing": float("inf")}),
    ("smoothing-is-huge", "label_smoothing_out_of_range", {"label_smoothing": HUGE}),
    ("z-loss-is-none", "z_loss_not_a_number", {"z_loss": None}),
    ("z-loss-is-a-list", "z_loss_not_a_number", {"z_loss": [1e-4]}),
    ("z-loss-is-negative", "z_loss_out_of_range", {"z_loss": -1e-4}),
    ("z-loss-is-nan", "z_loss_out_of_range", {"z_loss": float("nan")}),
    ("z-loss-is-huge", "z_loss_out_of_range", {"z_loss": -HUGE}),
    ("values-is-a-number", "values_not_a_pair", {"values": 0.9}),
    ("values-is-a-string", "values_not_a_pair", {"values": "ab"}),
    ("values-has-three", "values_not_a_pair", {"values": (0.9, 0.1, 0.0)}),
    ("values-is-an-array", "values_not_a_pair", {"values": np.zeros((99, 2))}),
    ("values-holds-a-bool", "values_not_a_number", {"values": (True, 0)}),
    ("values-holds-a-string", "values_not_a_number", {"values": (0.9, "0.1")}),
    ("values-is-negative", "values_out_of_range", {"values": (0.9, -0.1)}),
    ("values-is-infinite", "values_out_of_range", {"values": (float("inf"), 0)}),
    ("values-is-huge", "values_out_of_range", {"values": (10**400, 0)}),
    ("exclude-is-a-number", "exclude_not_classes", {"exclude": 1}),
    ("exclude-is-an-array", "exclude_not_classes", {"exclude": np.arange(2)}),
    ("exclude-is-negative", "exclude_not_classes", {"exclude": (-1,)}),
    ("exclude-holds-a-float", "exclude_not_classes", {"exclude": (1.0,)}),
    ("exclude-holds-a-bool", "exclude_not_classes", {"exclude": (True,)}),
    ("exclude-is-long-and-bad", "exclude_not_classes", {"exclude": [-1] * 100_000}),
    ("exclude-is-long", "exclude_out_of_range", {"exclude": tuple(range(100_000))}),
    ("exclude-is-huge", "exclude_not_classes", {"exclude": (HUGE,)}),
    ("ignore-index-is-a-float", "ignore_index_not_an_integer", {"ignore_index": 255.0}),
    ("ignore-index-is-a-bool", "ignore_index_not_an_integer", {"ignore_index": True}),
    ("ignore-index-is-a-string", "ignore_index_not_an_integer", {"ignore_index": "-100" * 1000}),
    ("ignore-index-is-no-label", "ignore_index_out_of_range", {"ignore_index": 2**64}),
    ("ignore-index-is-huge", "ignore_index_out_of_range", {"ignore_index": HUGE}),
    ("kl-is-1", "kl_not_bool", {"kl": 1}),
    ("kl-is-a-numpy-bool", "kl_not_bool", {"kl": np.True_}),
    ("spread-is-misspelt", "unknown_spread", {"spread": "unifrom"}),
    ("spread-is-a-list", "unknown_spread", {"spread": ["uniform"]}),
    ("rule-is-unknown", "unknown_class_weight_rule", {"class_weight_rule": "column"}),
    ("out-of-range-is-unknown", "unknown_out_of_range", {"out_of_range": "ignore"}),
    ("reduction-is-none", "unknown_reduction", {"reduction": None}),
    ("reduction-is-batchmean", "unknown_reduction", {"reduction": "batchmean"}),
    ("denominator-is-unknown", "unknown_denominator", {"denominator": "tokens"}),
    ("empty-is-a-number", "unknown_empty", {"empty": 0}),
    ("values-with-smoothing", "values_exclude_smoothing", {"values": (0.9, 0.1), "label_smoothing": 0.1}),
    ("values-with-a-spread", "values_exclude_smoothing", {"values": (0.9, 0.1), "spread": "others"}),
    ("label-term-of-others", "label_term_needs_uniform", {"class_weight_rule": "label_term", "spread": "others"}),
    ("label-term-of-values", "label_term_needs_uniform", {"class_weight_rule": "label_term", "values": (0.9, 0.1)}),
]:
    add(_id, _reason, spec=partial(Spec, **_fields))

# --- a spec from hostile JSON -------------------------------------------------------------------------------------

for _id, _reason, _text in [
    ("json-is-empty", "spec_not_json", ""),
    ("json-is-none", "spec_not_json", None),
    ("json-is-a-dict", "spec_not_json", {"kl": True}),
    ("json-is-python", "spec_not_json", "{'kl': True}"),
    ("json-is-cut-off", "spec_not_json", '{"kl": true'),
    ("json-twice", "spec_not_json", "{} {}"),
    ("json-with-a-byte-order-mark", "spec_not_json", "\ufeff{}"),
    ("json-with-a-nul", "spec_not_json", "{\0}"),
    ("json-of-bytes-that-are-no-text", "spec_not_json", b'{"\xff": 1}'),
    ("json-of-a-megabyte-of-brackets", "spec_not_json", "[" * 1_000_000),
    ("json-of-a-megabyte-of-objects", "spec_not_json", '{"kl":' * 200_000),
    ("json-of-5000-digits", "spec_not_json", '{"ignore_index": ' + "1" * 5000 + "}"),
    ("json-is-a-list", "spec_not_object", "[]"),
    ("json-is-a-number", "spec_not_object", "0.1"),
    ("json-is-null", "spec_not_object", "null"),
    ("json-is-nan", "spec_not_object", "NaN"),
    ("json-with-another-field", "unknown_spec_field", '{"label_smoothing": 0.1, "smoothing": 0.1}'),
    ("json-in-capitals", "unknown_spec_field", '{"KL": true}'),
    ("json-with-a-dunder", "unknown_spec_field", '{"__class__": "Spec"}'),
    ("json-with-a-surrogate", "unknown_spec_field", '{"kl\\ud800": true}'),
    ("json-with-a-line-in-a-field", "unknown_spec_field", '{"a\\nb": 1}'),
    ("json-with-a-long-field", "unknown_spec_field", '{"' + "x" * 1_000_000 + '": 1}'),
    ("json-repeats-a-field", "repeated_spec_field", '{"z_loss": 0.0, "kl": true, "z_loss": 1.0}'),
    ("json-repeats-a-field-inside", "repeated_spec_field", '{"exclude": {"0": 1, "0": 2}}'),
    ("json-smoothing-is-a-string", "label_smoothing_not_a_number", '{"label_smoothing": "0.1"}'),
    ("json-smoothing-is-null", "label_smoothing_not_a_number", '{"label_smoothing": null}'),
    ("json-smoothing-is-nan", "label_smoothing_out_of_range", '{"label_smoothing": NaN}'),
    ("json-smoothing-overflows", "label_smoothing_out_of_range", '{"label_smoothing": 1e999}'),
    ("json-smoothing-of-400-digits", "label_smoothing_out_of_range", '{"label_smoothing": ' + "1" * 400 + "}"),
    ("json-z-loss-is-infinite", "z_loss_out_of_range", '{"z_loss": -Infinity}'),
    ("json-values-is-an-object", "values_not_a_pair", '{"values": {"on": 0.9, "off": 0.1}}'),
    ("json-values-is-deep", "values_not_a_number", '{"values": [0.9, ' + "[" * 300 + "]" * 300 + "]}"),
    ("json-exclude-is-null", "exclude_not_classes", '{"exclude": null}'),
    ("json-exclude-holds-nan", "exclude_not_classes", '{"exclude": [NaN]}'),
    ("json-kl-is-1", "kl_not_bool", '{"kl": 1}'),
    ("json-ignore-index-is-a-float", "ignore_index_not_an_integer", '{"ignore_index": 255.0}'),
    ("json-spread-is-a-megabyte", "unknown_spread", '{"spread": "' + "x" * 1_000_000 + '"}'),
    ("json-spread-is-a-surrogate", "unknown_spread", '{"spread": "\\ud800"}'),
    ("json-empty-is-null", "unknown_empty", '{"empty": null}'),
]:
    add(_id, _reason, spec=partial(Spec.from_json, _text))

# --- the class axis -----------------------------------------------------------------------------------------------

add("axis-3", "axis_out_of_range", axis=3)
add("axis-minus-4", "axis_out_of_range", axis=-4)
add("axis-of-scalar-logits", "axis_out_of_range", logits=np.array(0, np.float32), labels=np.array(0, np.int32))
add("axis-is-a-float", "axis_not_an_integer", axis=1.0)
add("axis-is-a-bool", "axis_not_an_integer", axis=True)
add("axis-is-none", "axis_not_an_integer", axis=None)
add("axis-is-a-tuple", "axis_not_an_integer", axis=(1,))
add("axis-is-a-numpy-bool", "axis_not_an_integer", axis=np.True_)
add("axis-is-a-long-string", "axis_not_an_integer", axis="channels_last" * 100)
add("axis-is-a-small-numpy-integer", "axis_out_of_range", axis=np.int8(-128))
add("axis-is-huge", "axis_out_of_range", axis=HUGE)
add("no-classes", "no_classes", logits=LOGITS[..., :0])
add("no-classes-on-axis-1", "no_classes", logits=LOGITS[:, :0], labels=LABELS[:, :0], axis=1)

# --- what is no array: nothing is made into one -------------------------------------------------------------------

add("no-logits", "not_an_array", logits=None)
add("no-labels", "not_an_array", labels=None)
add("logits-are-a-string", "not_an_array", logits="0.1")
add("logits-are-masked", "not_an_array", logits=masked(LOGITS))
add("labels-are-masked", "not_an_array", labels=masked(LABELS))
add("labels-are-a-ragged-list", "not_an_array", labels=[[0, 1, 2], [3]])
add("where-is-masked", "not_an_array", where=masked(np.ones((2, 3), bool)))
add("sample-weight-is-a-set", "not_an_array", sample_weight={0.5})
add("class-weight-is-a-dict", "not_an_array", class_weight={0: 1.0})
add("prior-is-a-function", "not_an_array", prior=np.ones)
add("allowed-is-an-object", "not_an_array", allowed=Spec())
add("normalizer-is-a-string", "not_an_array", normalizer="6")
add("normalizer-is-a-fraction", "not_an_array", normalizer=Fraction(1, 2))

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
add("numpy-bool-normalizer", "normalizer_dtype", normalizer=np.True_)
add("numpy-complex-normalizer", "normalizer_dtype", normalizer=np.complex64(2))
add("numpy-date-normalizer", "normalizer_dtype", normalizer=np.datetime64(6, "s"))
add("complex-number-as-normalizer", "normalizer_dtype", normalizer=2j)
add("normalizer-beyond-64-bits", "normalizer_dtype", normalizer=2**63)
add("huge-normalizer", "normalizer_dtype", normalizer=HUGE)
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
    "uint8-label-255-is-not-minus-1",
    "label_out_of_range",
    values=True,
    labels=changed(LABELS.astype(np.uint8), (0, 2), 255),
    spec=Spec(ignore_index=-1),
)
add(
    "int32-label-is-not-the-low-half-of-an-int64",
    "label_out_of_range",
    values=True,
    labels=changed(LABELS, (0, 2), 7),
    spec=Spec(ignore_index=2**32 + 7),
)
add(
    "label-minus-1-is-not-2-to-the-64",
    "label_out_of_range",
    values=True,
    labels=changed(LABELS, (0, 2), -1),
    spec=Spec(ignore_index=2**64 - 1),
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
    add(f"numpy-normalizer-{_name}", "bad_normalizer", values=True, normalizer=np.float64(_value))
add("normalizer-array-negative", "bad_normalizer", values=True, normalizer=np.array(-2, np.float32))
add("prior-sums-to-0.75", "prior_not_normalized", values=True, prior=f32(0.25, 0.25, 0.25, 0))
add("prior-sums-to-2", "prior_not_normalized", values=True, prior=f32(0.5, 0.5, 0.5, 0.5))

# --- the linear loss ----------------------------------------------------------------------------------------------

add_linear("no-hidden", "not_an_array", hidden=None)
add_linear("hidden-is-a-string", "not_an_array", hidden="0.1")
add_linear("no-kernel", "not_an_array", kernel=None)
add_linear("kernel-is-a-layer", "not_an_array", kernel=Spec())
add_linear("bias-is-a-flag", "not_an_array", bias={True})
add_linear("no-labels", "not_an_array", labels=None)
add_linear("integer-hidden", "hidden_dtype", hidden=HIDDEN.astype(np.int32))
add_linear("complex-hidden", "hidden_dtype", hidden=HIDDEN.astype(np.complex64))
add_linear("scalar-hidden", "no_hidden_axis", hidden=np.array(1, np.float32), labels=np.array(1, np.int32))
add_linear("half-kernel", "kernel_dtype", kernel=KERNEL.astype(np.float16))
add_linear("integer-kernel", "kernel_dtype", kernel=KERNEL.astype(np.int32))
add_linear("half-hidden", "kernel_dtype", hidden=HIDDEN.astype(np.float16))
add_linear("kernel-of-nn-linear", "kernel_shape", kernel=np.ascontiguousarray(KERNEL.T))
add_linear("kernel-of-other-features", "kernel_shape", kernel=np.zeros((6, 4), np.float32))
add_linear("kernel-of-each-sequence", "kernel_shape", kernel=np.zeros((2, 5, 4), np.float32))
add_linear("kernel-of-one-class", "kernel_shape", kernel=np.zeros(5, np.float32))
add_linear("half-bias", "bias_dtype", bias=BIAS.astype(np.float16))
add_linear("integer-bias", "bias_dtype", bias=np.arange(4, dtype=np.int32))
add_linear("bias-of-3-classes", "bias_shape", bias=BIAS[:3])
add_linear("bias-of-1-class", "bias_shape", bias=BIAS[:1])
add_linear("bias-of-features", "bias_shape", bias=np.zeros(5, np.float32))
add_linear("scalar-bias", "bias_shape", bias=np.array(1, np.float32))
for _name, _value in {
    "a-bool": True,
    "a-string": "1",
    "complex": 1j,
    "a-numpy-bool": np.True_,
    "a-numpy-string": np.str_("1"),
    "a-fraction": Fraction(1, 2),
    "an-array": np.array(2, np.float32),
}.items():
    add_linear(f"logit-scale-is-{_name}", "logit_scale_not_a_number", logit_scale=_value)
    add_linear(f"softcap-is-{_name}", "softcap_not_a_number", softcap=_value)
for _name, _value in {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf, "huge": HUGE}.items():
    add_linear(f"logit-scale-is-{_name}", "logit_scale_not_finite", logit_scale=_value)
    add_linear(f"softcap-is-{_name}", "softcap_out_of_range", softcap=_value)
add_linear("logit-scale-is-a-numpy-nan", "logit_scale_not_finite", logit_scale=np.float32(np.nan))
add_linear("softcap-is-0", "softcap_out_of_range", softcap=0.0)
add_linear("softcap-is-negative", "softcap_out_of_range", softcap=-30)
add_linear("soft-labels", "linear_soft_labels", labels=ONE_HOT)
add_linear("half-soft-labels", "linear_soft_labels", labels=ONE_HOT.astype(np.float16))
add_linear("integer-one-hot-labels", "labels_shape", labels=ONE_HOT.astype(np.int32))
add_linear("labels-of-one-sequence", "labels_shape", labels=LABELS[0])
add_linear("transposed-labels", "labels_shape", labels=LABELS.T)
add_linear("float-labels", "float_labels", labels=LABELS.astype(np.float32))
add_linear("bool-labels", "labels_dtype", labels=LABELS > 1)
add_linear("no-classes", "no_classes", kernel=KERNEL[:, :0])
add_linear("spec-is-a-string", "not_a_spec", spec="0.1")
add_linear("integer-where", "where_dtype", where=np.ones((2, 3), np.int32))
add_linear("sample-weight-of-sequences", "sample_weight_shape", sample_weight=np.ones(3, np.float32))
add_linear("class-weight-of-features", "class_weight_shape", class_weight=np.ones(5, np.float32))
add_linear("allowed-of-hidden", "allowed_shape", allowed=np.ones((2, 3, 5), bool))
add_linear("normalizer-with-a-sum", "normalizer_needs_mean", normalizer=6.0, spec=Spec(reduction="sum"))
add_linear("exclude-out-of-range", "exclude_out_of_range", spec=Spec(0.1, exclude=(0, 4)))
add_linear("label-k", "label_out_of_range", values=True, labels=changed(LABELS, (1, 2), 4))
add_linear("label-minus-1", "label_out_of_range", values=True, labels=changed(LABELS, (0, 1), -1))
add_linear("label-not-allowed", "label_not_allowed", values=True, allowed=np.array([True, True, True, False]))
add_linear(
    "sample-weight-nan",
    "bad_sample_weight",
    values=True,
    sample_weight=changed(np.ones((2, 3), np.float32), (0, 2), np.nan),
)
add_linear("class-weight-negative", "bad_class_weight", values=True, class_weight=f32(1, 0, -0.5, 1))
add_linear("prior-sums-to-2", "prior_not_normalized", values=True, prior=f32(0.5, 0.5, 0.5, 0.5))

OF_VALUES = [call for call in CALLS if call.values]
OF_SHAPES_AND_DTYPES = [call for call in CALLS if not call.values]
ONE_PER_REASON = list({call.reason: call for call in reversed(OF_SHAPES_AND_DTYPES)}.values())[::-1]
"""for a room that is slow to compile"""


def golden() -> dict[str, str]:
    return json.loads(MESSAGES.read_text(encoding="utf-8"))


def refusal(
    call: BadCall,
    room: Any,
    array: Callable[[np.ndarray], Any],
    transform: Callable[..., Any] = lambda function: function,
) -> InputError:
    """What a room says to this call, with arrays of its own; ``transform`` compiles the function of them."""
    function = room.smoothed_cross_entropy_totals if call.totals else room.smoothed_cross_entropy
    function = room.linear_smoothed_cross_entropy if call.linear else function
    arrays = {name: array(value) for name, value in call.arguments.items() if type(value) is np.ndarray}
    rest = {name: value for name, value in call.arguments.items() if name not in arrays}
    spec = rest.pop("spec", Spec())

    def of_arrays(arrays: dict[str, Any]) -> Any:
        return function(**arrays, **rest, spec=spec() if callable(spec) else spec)

    return caught(lambda: transform(of_arrays)(arrays), call.id)


def caught(function: Callable[[], Any], id: str) -> InputError:
    """The error that a function raises."""
    try:
        result = function()
    except InputError as error:
        return error
    raise AssertionError(f"{id} was not refused, and the loss is {result}")


def check(call: BadCall, error: InputError) -> None:
    """The reason of this call, and the NumPy room's sentence.

    An array in the place of a number is called by its type, of which every framework has its own.
    """
    assert error.reason == call.reason, str(error)
    said, expected = str(error), golden()[call.id]
    if call.reason in ("logit_scale_not_a_number", "softcap_not_a_number"):
        said, expected = (re.sub(r" is a \w+\. Pass", " is an array. Pass", text) for text in (said, expected))
    assert said == expected


if __name__ == "__main__":
    from multismooth import numpy as reference

    messages = {call.id: str(refusal(call, reference, np.asarray)) for call in CALLS + LINEAR_CALLS}
    MESSAGES.write_text(json.dumps(messages, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
