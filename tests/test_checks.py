"""What a call must look like, where the NumPy room does not get: unknown sizes, other frameworks, unread values."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth.checks import (
    SUM_TOLERANCE,
    UNREAD,
    Batch,
    Described,
    Layout,
    bad_positions,
    check_call,
    check_call_once,
    check_linear,
    check_values,
)
from multismooth.values import FUNCTIONS

LAYOUT = Layout(axis=2, classes=4, soft=False)
SOFT = Layout(axis=2, classes=4, soft=True)
LABELS = np.array([[0, 1, 2], [3, 0, 1]])
ONE_HOT = np.eye(4)[LABELS]
WEIGHT = np.ones((2, 3))
QUARTERS = np.full(4, 0.25)


# --- Shapes and dtypes: an array is what is known of it --------------------------------------------------------------


def describe(array: Any) -> Described | None:
    """An array is a pair of shape and dtype, and anything else is none."""
    return Described(*array) if isinstance(array, tuple) else None


def layout_of(
    logits: Any, labels: Any, spec: Spec = Spec(), axis: Any = -1, totals: bool = False, **more: Any
) -> Layout:
    return check_call("call", spec, Batch(logits, labels, **more), axis, describe, totals=totals)


def sentence(*args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        layout_of(*args, **kwargs)
    return caught.value.reason, str(caught.value)


X, Y = ((2, 3, 4), "float32"), ((2, 3), "int32")


@pytest.mark.parametrize(("axis", "labels"), [(0, (3, 4)), (1, (2, 4)), (2, (2, 3)), (-1, (2, 3)), (-3, (3, 4))])
@pytest.mark.parametrize("number", [int, np.int32, np.uint8])
def test_the_class_axis_is_counted_from_the_front(axis: int, labels: tuple[int, ...], number: Any) -> None:
    if axis < 0 and number is np.uint8:
        axis %= 3
    layout = layout_of(X, (labels, "int64"), axis=number(axis))
    assert layout == Layout(axis % 3, (2, 3, 4)[axis], False)
    assert type(layout.axis) is int


def test_labels_of_the_logits_shape_are_soft() -> None:
    assert layout_of(X, ((2, 3, 4), "float16")) == Layout(2, 4, True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_will_do(dtype: str) -> None:
    assert layout_of(((2, 4), dtype), ((2, 4), dtype)).soft
    assert not layout_of(((2, 4), dtype), ((2,), "uint8"), sample_weight=((2,), dtype), prior=((4,), dtype)).soft


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_every_integer_will_do(dtype: str) -> None:
    assert not layout_of(X, ((2, 3), dtype), normalizer=((), dtype)).soft


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int4", "uint2", "object", "str", "complex128"])
def test_no_other_dtype_will_do(dtype: str) -> None:
    assert sentence(((2, 3, 4), dtype), Y)[0] == "logits_dtype"
    assert sentence(X, ((2, 3), dtype))[0] == "labels_dtype"


def test_sizes_that_are_not_known_fit_everything() -> None:
    assert layout_of(((None, None, 4), "float32"), ((2, None), "int32"), where=((None, 3), "bool")) == LAYOUT
    assert layout_of(((None, 3, 4), "float32"), ((2, None, 4), "float32")) == SOFT


def test_sizes_that_are_not_known_are_question_marks() -> None:
    reason, words = sentence(((None, 3, 4), "float32"), ((None, 5), "int32"))
    assert reason == "labels_shape"
    assert words == (
        "call: labels have shape (?, 5), but logits of shape (?, 3, 4) with the class axis 2 need labels of shape "
        "(?, 3). If the classes are on another axis, name it in axis."
    )


def test_the_number_of_classes_must_be_known() -> None:
    assert sentence(((2, None), "float32"), ((2,), "int32")) == (
        "unknown_classes",
        "call: logits of shape (2, ?) have an unknown number of classes. Set the static size of the class axis.",
    )


def test_batches_that_are_alike_are_checked_once() -> None:
    def checked(axis: Any = -1, spec: Spec = Spec(), check: Any = check_call_once, **arrays: Any) -> Layout:
        return check("call", spec, Batch(**{"logits": X, "labels": Y} | arrays), axis, describe)

    assert checked() is checked()
    assert checked(where=((2, 3), "bool")) is checked(where=((2, 3), "bool"))
    assert checked() == checked(axis=2) == checked(axis=np.int64(2)) == checked(where=((2, 3), "bool")) == LAYOUT
    assert checked(labels=X) == SOFT
    assert checked(axis=1, labels=((2, 4), "int32")) == Layout(1, 3, False)
    refused: list[dict[str, Any]] = [
        {"axis": True, "labels": ((2, 4), "int32")},
        {"axis": [2]},
        {"spec": Spec(exclude=(4,))},
        {"spec": Spec(0.1, "others"), "labels": X},
        {"labels": ((2, 3), "float32")},
        {"labels": [1]},
        {"logits": [1.0]},
        {"where": ((2, 4), "bool")},
    ]
    for given in refused * 2:
        with pytest.raises(InputError) as expected:
            checked(check=check_call, **given)
        with pytest.raises(InputError) as caught:
            checked(**given)
        assert caught.value.args == expected.value.args


@pytest.mark.parametrize("name", Batch._fields)
def test_an_array_of_another_framework_is_named(name: str) -> None:
    arrays = {"logits": X, "labels": Y, name: [1.0]}
    assert sentence(**arrays) == ("not_an_array", f"call: {name} is a list. Pass a dense array of this framework.")


@pytest.mark.parametrize("name", ["logits", "labels"])
def test_no_array_at_all_is_named(name: str) -> None:
    arrays = {"logits": X, "labels": Y, name: None}
    assert sentence(**arrays) == ("not_an_array", f"call: {name} is a NoneType. Pass a dense array of this framework.")


@pytest.mark.parametrize("name", Batch._fields)
def test_an_array_of_unknown_rank_is_named(name: str) -> None:
    arrays = {"logits": X, "labels": Y, name: ((), "float32", False)}
    assert sentence(**arrays) == (
        "unknown_rank",
        f"call: the number of axes of {name} is unknown. Set its static shape.",
    )


@pytest.mark.parametrize(
    "number",
    [6, 0, 6.5, -(2**63), 2**63 - 1, np.float16(2), np.uint64(2), ((), "bfloat16"), ((), "uint8")],
    ids=repr,
)
def test_normalizers(number: Any) -> None:
    assert layout_of(X, Y, normalizer=number) == LAYOUT


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (True, "bool"),
        (np.True_, "bool"),
        (1j, "complex128"),
        (np.complex64(1), "complex64"),
        (2**63, "int beyond 64 bits"),
        (-(2**63) - 1, "int beyond 64 bits"),
        (((), "bool"), "bool"),
        (((), "complex64"), "complex64"),
    ],
    ids=repr,
)
def test_numbers_that_are_no_normalizer(number: Any, dtype: str) -> None:
    assert sentence(X, Y, normalizer=number) == (
        "normalizer_dtype",
        f"call: normalizer has dtype {dtype}. Pass a real number.",
    )


@pytest.mark.parametrize("name", ["logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed"])
def test_only_a_normalizer_may_be_a_python_number(name: str) -> None:
    assert sentence(**({"logits": X, "labels": Y} | {name: 1.0}))[0] == "not_an_array"


@pytest.mark.parametrize("denominator", ["batch", "sequences", "nonempty_sequences"])
def test_a_scalar_label_has_no_first_axis_to_divide_by(denominator: str) -> None:
    scalar = (((4,), "float32"), ((), "int32"))
    for reduction in ("sum", "none"):
        spec = Spec(denominator=denominator, reduction=reduction)
        assert layout_of(*scalar, spec) == Layout(0, 4, False)
        assert sentence(*scalar, spec, totals=True)[0] == "no_first_axis"
    assert sentence(*scalar, Spec(denominator=denominator))[0] == "no_first_axis"
    assert layout_of(X, Y, Spec(denominator=denominator), totals=True) == LAYOUT
    assert layout_of(*scalar, Spec(denominator="all"), totals=True) == Layout(0, 4, False)


def test_without_totals_a_sum_needs_no_first_axis() -> None:
    batch, spec = Batch(((4,), "float32"), ((), "int32")), Spec(denominator="batch", reduction="sum")
    assert check_call("call", spec, batch, 0, lambda array: Described(*array)) == Layout(0, 4, False)


def test_the_last_class_may_be_excluded() -> None:
    assert layout_of(X, Y, Spec(0.1, exclude=(3,))) == LAYOUT
    assert layout_of(X, Y, Spec(0.1, exclude=(1, 2, 3))) == LAYOUT


def test_allowed_classes_of_all_positions_or_of_each() -> None:
    assert layout_of(X, Y, allowed=((4,), "bool")) == LAYOUT
    assert layout_of(X, Y, allowed=((2, 3, 4), "bool")) == LAYOUT
    assert sentence(X, Y, allowed=((2, 3), "bool")) == (
        "allowed_shape",
        "call: allowed has shape (2, 3), and (4,) or (2, 3, 4) is needed. Pass one per class or the logits' shape; "
        "nothing is broadcast.",
    )


# --- What the logits of a linear layer are made from ----------------------------------------------------------------


H, W, B = ((2, 3, 5), "float32"), ((5, 4), "float32"), ((4,), "float32")


def logits_of(
    hidden: Any = H,
    kernel: Any = W,
    bias: Any = None,
    logit_scale: Any = None,
    softcap: Any = None,
    labels: Any = Y,
) -> Described:
    return check_linear("call", hidden, kernel, bias, logit_scale, softcap, labels, describe)


def linear_sentence(**changes: Any) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        logits_of(**changes)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("batch", [(), (7,), (2, 3), (0, 3), (None, 3)])
def test_the_logits_of_a_linear_layer(batch: tuple[Any, ...], dtype: str) -> None:
    arrays = ((*batch, 5), dtype), ((5, 4), dtype), ((4,), dtype)
    assert logits_of(*arrays, labels=(batch, "int64")) == Described((*batch, 4), dtype)
    assert logits_of(*arrays[:2], labels=(batch, "uint8")) == Described((*batch, 4), dtype)


def test_features_and_classes_that_are_not_known_fit_everything() -> None:
    assert logits_of(((2, 3, None), "float32")) == Described((2, 3, 4), "float32")
    assert logits_of(kernel=((None, 4), "float32"), bias=B) == Described((2, 3, 4), "float32")
    assert logits_of(kernel=((5, None), "float32"), bias=B) == Described((2, 3, None), "float32")
    assert linear_sentence(hidden=((None, None), "float32"), kernel=((5,), "float32"))[1] == (
        "call: kernel has shape (5,), but hidden of shape (?, ?) needs a row for each of its features and a column "
        "for each class. Pass [features, classes]."
    )


def test_no_features_leave_the_bias_alone() -> None:
    assert logits_of(((2, 3, 0), "float32"), ((0, 4), "float32"), B) == Described((2, 3, 4), "float32")


@pytest.mark.parametrize("name", ["hidden", "kernel", "bias", "labels"])
def test_an_array_of_a_linear_layer_is_described_like_every_other(name: str) -> None:
    assert linear_sentence(**{name: [1.0]}) == (
        "not_an_array",
        f"call: {name} is a list. Pass a dense array of this framework.",
    )
    assert linear_sentence(**{name: ((), "float32", False)}) == (
        "unknown_rank",
        f"call: the number of axes of {name} is unknown. Set its static shape.",
    )


def test_a_kernel_with_a_row_for_each_class_is_told_to_turn() -> None:
    assert linear_sentence(kernel=((4, 5), "float32")) == (
        "kernel_shape",
        "call: kernel has shape (4, 5), but hidden of shape (2, 3, 5) needs a row for each of its features and a "
        "column for each class. Pass kernel.T: nn.Linear of PyTorch keeps a row for each class.",
    )
    assert linear_sentence(kernel=((4, 6), "float32"))[1].endswith("Pass [features, classes].")
    assert logits_of(kernel=((5, 5), "float32")) == Described((2, 3, 5), "float32")


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_arrays_of_a_linear_layer_have_one_dtype(name: str) -> None:
    shape = {"kernel": (5, 4), "bias": (4,)}[name]
    assert linear_sentence(**{name: (shape, "bfloat16")}) == (
        f"{name}_dtype",
        f"call: {name} has dtype bfloat16, and hidden has float32. Cast one to the other's dtype.",
    )


NUMBERS = [1, -2, 2.5, 1e-300, 10**300, np.int8(3), np.float16(2), np.float64(3), ml_dtypes.bfloat16(2)]


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_numbers_that_scale_logits(number: Any) -> None:
    assert logits_of(logit_scale=number) == Described((2, 3, 4), "float32")
    if number > 0:
        assert logits_of(softcap=number) == Described((2, 3, 4), "float32")
    else:
        assert linear_sentence(softcap=number)[0] == "softcap_out_of_range"


def test_logits_may_be_scaled_by_0() -> None:
    assert logits_of(logit_scale=0) == Described((2, 3, 4), "float32")
    assert linear_sentence(softcap=0)[0] == "softcap_out_of_range"


def test_an_array_is_no_scale() -> None:
    scalar = ((), "float32")
    assert linear_sentence(logit_scale=scalar) == (
        "logit_scale_not_a_number",
        "call: logit_scale is a tuple. Pass a number of Python or NumPy; multiply hidden by a scale that is learned.",
    )
    assert linear_sentence(softcap=scalar)[0] == "softcap_not_a_number"


def test_labels_as_many_as_the_logits_are_refused() -> None:
    reason, words = linear_sentence(labels=((2, 3, 4), "float32"))
    assert reason == "linear_soft_labels"
    assert words.endswith("Pass class indices, or compute the logits and call smoothed_cross_entropy.")
    assert linear_sentence(labels=((2, 3, 4), "int32"))[0] == "labels_shape"
    # Of the right shape they are the business of check_call.
    assert logits_of(labels=((2, 3), "float32")) == logits_of(labels=((None, 3), "bool")) == logits_of()


# --- Values ----------------------------------------------------------------------------------------------------------


def known_good(spec: Spec = Spec(), layout: Layout = LAYOUT, labels: Any = LABELS, **more: Any) -> bool:
    """``check_values`` where an array that is a string cannot be read."""
    read = lambda array: UNREAD if isinstance(array, str) else np.asarray(array)  # noqa: E731
    return check_values("call", spec, Batch("logits", labels, **more), layout, read) is not None


def fault(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError, match=r"^call: ") as caught:
        known_good(*args, **kwargs)
    return caught.value.reason


ALL_GIVEN: dict[str, Any] = {
    "where": WEIGHT > 0,
    "sample_weight": WEIGHT,
    "class_weight": QUARTERS,
    "prior": QUARTERS,
    "allowed": np.ones(4, bool),
    "normalizer": 6.0,
}


def test_values_that_were_all_read_are_known_to_be_good() -> None:
    assert known_good()
    assert known_good(**ALL_GIVEN)
    assert known_good(layout=SOFT, labels=ONE_HOT, **ALL_GIVEN)


@pytest.mark.parametrize("name", ALL_GIVEN)
def test_a_value_that_was_not_read_is_not_known_to_be_good(name: str) -> None:
    assert not known_good(**(ALL_GIVEN | {name: "unread"}))
    assert not known_good(layout=SOFT, labels=ONE_HOT, **(ALL_GIVEN | {name: "unread"}))
    assert not known_good(**{name: "unread"})


def test_labels_that_were_not_read_are_not_known_to_be_good() -> None:
    assert not known_good(labels="unread")
    assert not known_good(labels="unread", layout=SOFT, **ALL_GIVEN)


def test_labels_that_may_be_out_of_range_are_not_known_to_be_good() -> None:
    assert not known_good(Spec(out_of_range="nan"))
    assert not known_good(Spec(out_of_range="nan"), labels=LABELS + 9)


@pytest.mark.parametrize("unread", ["labels", "where", "sample_weight", "allowed"])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("class_weight", [1, 1, 1, -1.0], "bad_class_weight"),
        ("prior", [0.5, 0.5, 0.5, 0.5], "prior_not_normalized"),
        ("prior", [0.5, np.nan, 0.5, 0], "bad_prior"),
        ("normalizer", -1.0, "bad_normalizer"),
        ("normalizer", np.inf, "bad_normalizer"),
    ],
)
def test_what_can_be_read_is_checked(unread: str, name: str, value: Any, reason: str) -> None:
    assert fault(**({"labels": LABELS, unread: "unread"} | {name: value})) == reason


def test_sample_weights_are_checked_though_allowed_classes_cannot_be_read() -> None:
    assert fault(sample_weight=-WEIGHT, allowed="unread") == "bad_sample_weight"


@pytest.mark.parametrize("unread", ["where", "sample_weight", "allowed"])
def test_labels_are_not_checked_where_it_is_unknown_whether_they_count(unread: str) -> None:
    assert not known_good(labels=LABELS + 9, **{unread: "unread"})
    assert not known_good(layout=SOFT, labels=-ONE_HOT, **{unread: "unread"})


@pytest.mark.parametrize(("layout", "labels"), [(LAYOUT, LABELS + 9), (SOFT, ONE_HOT * 2), (SOFT, -ONE_HOT)])
def test_labels_that_do_not_count_are_not_checked(layout: Layout, labels: Any) -> None:
    assert known_good(layout=layout, labels=labels, where=WEIGHT < 0)
    assert known_good(layout=layout, labels=labels, sample_weight=0 * WEIGHT)
    half = np.array([[True] * 3, [False] * 3])
    assert known_good(layout=layout, labels=labels, where=half, sample_weight=WEIGHT * ~half)


def test_ignored_labels_are_not_checked() -> None:
    assert known_good(Spec(ignore_index=9), labels=np.where(LABELS == 1, 9, LABELS))
    assert fault(Spec(ignore_index=8), labels=np.where(LABELS == 1, 9, LABELS)) == "label_out_of_range"
    assert known_good(Spec(ignore_index=9), labels=LABELS + 9 * (LABELS > 0), sample_weight=WEIGHT * (LABELS == 0))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("more", [{}, {"allowed": np.ones(4, bool)}], ids=["plain", "allowed"])
def test_what_was_read_has_the_labels_that_are_classes(dtype: str, more: dict[str, Any]) -> None:
    """The largest are beyond the classes, and read as signed they would be below 0."""
    labels = LABELS.astype(dtype)
    other = np.where(LABELS == 3, np.iinfo(dtype).max, labels)
    batch = Batch(None, other, LABELS < 3, **more)
    good = check_values("call", Spec(), batch, LAYOUT, np.asarray)
    assert good is not None
    np.testing.assert_array_equal(good.labels, np.where(LABELS < 3, LABELS, 0))
    assert good.labels.dtype == dtype
    assert fault(labels=other, **more) == "label_out_of_range"
    assert fault(labels=np.where(LABELS == 3, np.iinfo(dtype).min or 4, labels), **more) == "label_out_of_range"


def test_probabilities_that_were_read_have_no_labels() -> None:
    good = check_values("call", Spec(), Batch(None, ONE_HOT), SOFT, np.asarray)
    assert good is not None
    assert good.labels is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_allowed_classes_follow_the_class_axis(axis: int) -> None:
    allowed = ONE_HOT.astype(bool)
    layout = Layout(axis, 4, False)
    assert known_good(layout=layout, allowed=np.moveaxis(allowed, -1, axis))
    assert fault(layout=layout, allowed=np.moveaxis(~allowed, -1, axis)) == "label_not_allowed"
    soft, moved = Layout(axis, 4, True), np.moveaxis(ONE_HOT, -1, axis)
    assert known_good(layout=soft, labels=moved, allowed=moved.astype(bool))
    assert fault(layout=soft, labels=moved, allowed=~moved.astype(bool)) == "soft_label_not_allowed"
    assert not known_good(Spec(out_of_range="nan"), soft, moved, allowed=~moved.astype(bool))


def test_allowed_classes_of_a_batch_with_the_class_axis_first() -> None:
    labels = np.eye(4)[[0, 1, 3]].T
    layout = Layout(axis=0, classes=4, soft=True)
    assert known_good(layout=layout, labels=labels, allowed=labels > 0)
    assert fault(layout=layout, labels=labels, allowed=labels == 0) == "soft_label_not_allowed"


def test_what_is_masked_need_not_be_allowed() -> None:
    allowed = np.array([True, True, True, False])
    assert known_good(allowed=allowed, where=LABELS < 3)
    assert known_good(layout=SOFT, labels=ONE_HOT, allowed=allowed, where=LABELS < 3)
    # A label that is masked may name no class at all, even where there is but one.
    one = Layout(axis=2, classes=1, soft=False)
    assert known_good(layout=one, labels=LABELS, allowed=np.array([True]), where=LABELS == 0)
    assert known_good(labels=np.where(LABELS == 3, 300, LABELS), allowed=allowed, where=LABELS < 3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64])
def test_labels_of_every_dtype_find_their_allowed_class(dtype: Any) -> None:
    assert known_good(labels=LABELS.astype(dtype), allowed=np.ones(4, bool))
    assert known_good(labels=LABELS.astype(dtype), allowed=np.ones((2, 3, 4), bool))


@pytest.mark.parametrize("sign", [-1, 1])
def test_how_far_from_1_probabilities_may_sum(sign: int) -> None:
    assert SUM_TOLERANCE == 1 / 256
    for excess, good in ((sign / 256, True), (sign * 1.001 / 256, False)):
        prior, soft = QUARTERS.copy(), ONE_HOT.copy()
        prior[1] += excess
        soft[1, 2, 1] += excess
        bad = np.zeros((2, 3), bool)
        assert bad_positions(Batch(None, None, prior=prior), bad, FUNCTIONS).all() != good
        if good:
            assert known_good(prior=prior)
            assert known_good(layout=SOFT, labels=soft)
        else:
            assert fault(prior=prior) == "prior_not_normalized"
            assert fault(layout=SOFT, labels=soft) == "soft_labels_not_normalized"


def test_sums_are_not_rounded_to_bfloat16() -> None:
    """In bfloat16 a thousand thousandths are a quarter."""
    thousandths = np.full(1000, 0.001).astype(ml_dtypes.bfloat16)
    assert known_good(layout=LAYOUT._replace(classes=1000), prior=thousandths)
    rows = np.broadcast_to(thousandths, (2, 3, 1000))
    assert known_good(layout=SOFT._replace(classes=1000), labels=rows)


BAD = (-1.0, np.nan, np.inf, -np.inf)
NONE_BAD = np.zeros((2, 3), bool)


def test_good_positions() -> None:
    batch = Batch(None, None, sample_weight=0 * WEIGHT, class_weight=np.zeros(4), prior=np.array([0, 0, 1.0, 0]))
    np.testing.assert_array_equal(bad_positions(batch, NONE_BAD, FUNCTIONS), NONE_BAD)
    np.testing.assert_array_equal(bad_positions(Batch(None, None), NONE_BAD, FUNCTIONS), NONE_BAD)


@pytest.mark.parametrize("value", BAD)
def test_a_bad_sample_weight_makes_its_position_bad(value: float) -> None:
    there = LABELS == 2
    batch = Batch(None, None, sample_weight=np.where(there, value, WEIGHT))
    np.testing.assert_array_equal(bad_positions(batch, NONE_BAD, FUNCTIONS), there)
    np.testing.assert_array_equal(bad_positions(batch, LABELS == 0, FUNCTIONS), there | (LABELS == 0))


@pytest.mark.parametrize("name", ["class_weight", "prior"])
@pytest.mark.parametrize("value", BAD)
def test_a_bad_class_weight_or_prior_makes_every_position_bad(name: str, value: float) -> None:
    batch = Batch(None, None, **{name: np.array([0.5, value, 0.5, 0])})
    np.testing.assert_array_equal(bad_positions(batch, NONE_BAD, FUNCTIONS), ~NONE_BAD)


@pytest.mark.parametrize(
    "prior", [[1, 1, 0, -1], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0], [0.25, 0.25, 0.25, 0.2]], ids=repr
)
def test_a_prior_that_is_no_distribution_makes_every_position_bad(prior: list[float]) -> None:
    batch = Batch(None, None, prior=np.array(prior, float))
    np.testing.assert_array_equal(bad_positions(batch, LABELS == 1, FUNCTIONS), ~NONE_BAD)
