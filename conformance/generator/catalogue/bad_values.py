"""Invalid values, each beside a valid twin that differs in that one input and must pass."""

from __future__ import annotations

from generator.arrays import Entry
from generator.book import INF, NAN, Book, Fields
from generator.vector import Vector

ALL_ROWS = (0, 1, 2, 3)


def bad_values() -> Book:
    """Every reason, in every way in which real losses have let it pass."""
    book = Book()
    _labels(book)
    _not_allowed(book)
    _soft(book)
    _sample_weights(book)
    _class_weights(book)
    _priors(book)
    _normalizers(book)
    _exclude(book)
    return book


def _labels(book: Book) -> None:
    cases: tuple[tuple[str, str, dict[int, Entry]], ...] = (
        ("int32", "none", {1: 5}),
        ("int32", "none", {0: -1}),
        ("int32", "none", {2: -5}),
        ("int32", "none", {3: -100}),
        ("int32", "none", {1: 2**31 - 1, 2: -(2**31)}),
        ("int64", "none", {0: 2**32 + 3}),
        ("int64", "none", {3: -(2**32) + 1}),
        ("int64", "mean", {2: 5}),
        ("int64", "mean", {1: -1}),
        ("int64", "sum", {1: 255}),
        ("int8", "none", {2: -1}),
        ("int8", "none", {0: 127}),
        ("uint8", "none", {1: 255}),
        ("uint8", "none", {3: 5}),
        ("int16", "none", {1: 300, 3: -300}),
    )
    twins: dict[tuple[str, str], Vector] = {}
    for dtype, reduction, labels in cases:
        key = (dtype, reduction)
        if key not in twins:
            twins[key] = _twin(book, "label", f"good {dtype} labels", {"reduction": reduction}, dtype)
        book.spoil(
            twins[key],
            "bad-label",
            "label_out_of_range",
            f"{dtype} labels {sorted(labels.values())} with K = 5",
            change={"labels": labels},
            rows=labels,
            flags=_label_flags(dtype, min(int(y) for y in labels.values())),
        )
    _labels_beside_ignored(book)


def _label_flags(dtype: str, lowest: int) -> str:
    flags = "bad-label backends-disagree"
    if lowest < 0:
        flags += " negative-label label-wraps"
    return flags + (" narrow-label-dtype" if dtype != "int32" else "")


def _twin(book: Book, what: str, comment: str, more: Fields, label_dtype: str) -> Vector:
    return book.add(
        f"good-{what}",
        f"valid twin: {comment}",
        label_smoothing=0.1,
        label_dtype=label_dtype,
        **more,
    )


def _labels_beside_ignored(book: Book) -> None:
    """What looks like the ignore_index after a cast, and other negatives beside it."""
    twin = book.add(
        "good-label",
        "valid twin: uint8 labels with an ignore_index that they cannot hold",
        label_dtype="uint8",
        label_smoothing=0.1,
        ignore_index=-100,
        reduction="none",
    )
    book.spoil(
        twin,
        "bad-label",
        "label_out_of_range",
        "uint8 156 is −100 only after a wrapping cast",
        change={"labels": {2: 156}},
        rows=[2],
        flags="bad-label narrow-label-dtype",
    )
    twin = book.add(
        "good-label",
        "valid twin: one label ignored",
        put={"labels": [0, -100, 2, 3]},
        label_dtype="int64",
        label_smoothing=0.1,
        ignore_index=-100,
        reduction="none",
    )
    book.spoil(
        twin,
        "bad-label",
        "label_out_of_range",
        "−99 beside an ignore_index of −100: other negatives are not ignored",
        change={"labels": {2: -99}},
        rows=[2],
        flags="bad-label negative-label",
    )
    twin = book.add(
        "good-label",
        "valid twin: position 1 is masked",
        give="where",
        put={"where": [True, False, True, True], "labels": [0, 7, 2, 3]},
        label_smoothing=0.1,
        reduction="none",
    )
    book.spoil(
        twin,
        "bad-label",
        "label_out_of_range",
        "the same bad label once masked and once not",
        change={"labels": {3: 7}},
        rows=[3],
        flags="bad-label",
    )


def _not_allowed(book: Book) -> None:
    row = [True, True, False, True, True]
    for give, allowed in (("allowed", row), ("allowed_here", row * 4)):
        twin = book.add(
            "good-allowed",
            "valid twin: every label is allowed",
            give=give,
            put={"allowed": allowed, "labels": [0, 1, 3, 4]},
            label_smoothing=0.1,
            reduction="none",
        )
        book.spoil(
            twin,
            "label-not-allowed",
            "label_not_allowed",
            "class 2 does not exist at position 1",
            change={"labels": {1: 2}},
            rows=[1],
            flags="bad-label",
        )
    twin = book.add(
        "good-allowed",
        "valid twin: no soft mass on class 2",
        give="soft allowed",
        put={"allowed": row, "labels": [0.5, 0.25, 0.0, 0.25, 0.0] * 4},
        label_smoothing=0.1,
        reduction="none",
    )
    book.spoil(
        twin,
        "soft-label-not-allowed",
        "soft_label_not_allowed",
        "soft mass on a class that does not exist",
        change={"labels": {10: 0.25, 12: 0.25}},
        rows=[2],
    )


def _soft(book: Book) -> None:
    twin = book.add(
        "good-soft",
        "valid twin: soft labels that add up to 1",
        give="soft",
        put={"labels": [0.5, 0.25, 0.0, 0.25, 0.0] * 4},
        label_smoothing=0.1,
        reduction="none",
    )
    for reason, entries, row in (
        ("negative_soft_label", {5: 0.75, 7: -0.25}, 1),
        ("soft_labels_not_normalized", {0: 0.75}, 0),
        ("soft_labels_not_normalized", {15: 0.0}, 3),
        ("soft_labels_not_normalized", {12: 2.0**-6}, 2),
    ):
        book.spoil(
            twin,
            reason.replace("_", "-"),
            reason,
            f"entries {entries} of labels whose other rows are good",
            change={"labels": dict(entries)},
            rows=[row],
        )


def _sample_weights(book: Book) -> None:
    twin = book.add(
        "good-sample-weight",
        "valid twin: weights ≥ 0, and a NaN under the mask",
        give="where sample_weight",
        put={"where": [True, False, True, True], "sample_weight": [0.5, NAN, 2.0, 1.25]},
        label_smoothing=0.1,
        reduction="none",
    )
    for value in (-0.5, NAN, INF):
        book.spoil(
            twin,
            "bad-sample-weight",
            "bad_sample_weight",
            f"a sample weight of {value} at a position that counts",
            change={"sample_weight": {2: value}},
            rows=[2],
        )


def _class_weights(book: Book) -> None:
    for rule, reduction in (("per_class", "none"), ("expected", "mean")):
        twin = book.add(
            "good-class-weight",
            f"valid twin: class weights ≥ 0, rule {rule}",
            give="class_weight",
            label_smoothing=0.1,
            class_weight_rule=rule,
            reduction=reduction,
        )
        for value in (-1.0, NAN, INF):
            book.spoil(
                twin,
                "bad-class-weight",
                "bad_class_weight",
                f"a class weight of {value}",
                change={"class_weight": {3: value}},
                rows=ALL_ROWS,
            )


def _priors(book: Book) -> None:
    twin = book.add(
        "good-prior",
        "valid twin: a prior that adds up to 1",
        give="prior",
        put={"prior": [0.25, 0.125, 0.125, 0.25, 0.25]},
        label_smoothing=0.1,
        reduction="none",
    )
    bad: tuple[tuple[str, dict[int, Entry]], ...] = (
        ("bad_prior", {0: -0.25, 1: 0.625}),
        ("bad_prior", {2: NAN}),
        ("bad_prior", {2: INF}),
        ("prior_not_normalized", {0: 0.5}),
        ("prior_not_normalized", {0: 0.0}),
    )
    for reason, entries in bad:
        book.spoil(
            twin,
            reason.replace("_", "-"),
            reason,
            f"a prior with entries {entries}",
            change={"prior": entries},
            rows=ALL_ROWS,
            flags="target-does-not-sum",
        )


def _normalizers(book: Book) -> None:
    twin = book.add("good-normalizer", "valid twin: a normalizer of 7.5", give="normalizer", label_smoothing=0.1)
    for value in (-2.0, NAN, INF):
        book.spoil(
            twin,
            "bad-normalizer",
            "bad_normalizer",
            f"a normalizer of {value}",
            change={"normalizer": {0: value}},
            rows=ALL_ROWS,
            flags="normalizer",
        )


def _exclude(book: Book) -> None:
    twin = _twin(book, "exclude", "nothing excluded", {}, "int32")
    for exclude in ([5], [0, 77]):
        book.spoil(
            twin,
            "exclude-out-of-range",
            "exclude_out_of_range",
            f"exclude {exclude} with K = 5: an error in every mode",
            spec={"exclude": exclude},
        )
    book.spoil(
        twin,
        "exclude-all-classes",
        "exclude_all_classes",
        "every class excluded: an error in every mode",
        spec={"exclude": [0, 1, 2, 3, 4]},
    )
    twin = book.add("good-exclude", "valid twin: K = 1, nothing excluded", shape="single", label_smoothing=0.1)
    book.spoil(
        twin,
        "exclude-all-classes",
        "exclude_all_classes",
        "K = 1 and class 0 excluded",
        spec={"exclude": [0]},
    )
