"""Invalid values, each beside a valid twin that differs in that one input and must pass."""

from __future__ import annotations

from generator.arrays import Entry
from generator.book import INF, NAN, Book, Fields
from generator.vector import Vector

ALL_ROWS = (0, 1, 2, 3)
BESIDE: dict[str, Fields] = {"int64": {"z_loss": 1e-2}, "uint8": {"kl": True}}
"""What else the loss of these labels has, so that not all of them are alike."""


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
    _more_labels(book)
    _labels_on_other_axes(book)
    _wide_labels(book)
    _more_soft_labels(book)
    _more_weights(book)
    _more_priors(book)
    _more_arguments(book)
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
        ("uint8", "sum", {3: 5}),
        ("int16", "sum", {1: 300, 3: -300}),
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
        )
    _labels_beside_ignored(book)


def _twin(book: Book, what: str, comment: str, more: Fields, label_dtype: str) -> Vector:
    return book.add(
        f"good-{what}",
        f"valid twin: {comment}",
        label_smoothing=0.1,
        label_dtype=label_dtype,
        **more | BESIDE.get(label_dtype, {}),
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


def _more_labels(book: Book) -> None:
    """What a cast to another integer dtype makes harmless, or makes of it something else."""
    cases: tuple[tuple[str, str, int | None, dict[int, Entry]], ...] = (
        ("uint16", "none", -100, {2: 2**16 - 100}),
        ("uint16", "mean", None, {1: 2**16 - 1}),
        ("uint32", "none", -100, {0: 2**32 - 100}),
        ("uint32", "none", None, {3: 2**31}),
        ("uint64", "none", -100, {1: 2**64 - 100}),
        ("uint64", "none", None, {2: 2**63 + 3}),
        ("uint64", "mean", None, {0: 2**32 + 1}),
        ("int16", "none", 156, {1: -100}),
        ("int64", "none", None, {1: -(2**63), 2: 2**63 - 1}),
        ("int64", "none", 3, {0: 2**32 + 3}),
        ("int8", "none", 156, {2: -100}),
        ("int8", "sum", None, {0: -128}),
    )
    for turn, (dtype, reduction, index, labels) in enumerate(cases):
        shape = ("rows", "tokens")[turn % 2]
        spec: Fields = {"reduction": reduction, "ignore_index": index, "spread": ("leaky", "others")[turn // 2 % 2]}
        twin = book.add(
            "good-label",
            f"valid twin: {dtype} labels, ignore_index {index}",
            shape=shape,
            label_dtype=dtype,
            label_smoothing=0.1,
            put={"labels": {0: 1, 1: 2, 2: 0, 3: 4}},
            **spec,
        )
        book.spoil(
            twin,
            "bad-label",
            "label_out_of_range",
            f"{dtype} labels {sorted(labels.values())} with K = 5, ignore_index {index}",
            change={"labels": labels},
            rows=labels,
        )


def _labels_on_other_axes(book: Book) -> None:
    """K and −1 beside masks and weights, where the class axis is not the last."""
    cases: tuple[tuple[str, str, Fields, dict[int, Entry]], ...] = (
        ("middle", "where", {}, {0: 5}),
        ("middle", "class_weight", {"class_weight_rule": "per_label"}, {7: 5}),
        ("first", "sample_weight", {"denominator": "weights"}, {1: -1}),
        ("first", "ignored", {"ignore_index": -100, "denominator": "sequences"}, {3: -99}),
        ("volume", "where sample_weight", {"spread": "leaky"}, {2: 5}),
        ("volume", "prior", {"kl": True, "spread": "others"}, {1: -5}),
        ("pixels", "class_weight", {"denominator": "class_weights"}, {11: 4}),
        ("tokens", "class_weight", {"denominator": "expected_class_weights"}, {11: -1}),
    )
    for shape, give, spec, labels in cases:
        put: dict[str, dict[int, Entry]] = {}
        if "where" in give:
            put["where"] = dict.fromkeys(labels, True)
        if "sample_weight" in give:
            put["sample_weight"] = dict.fromkeys(labels, 1.5)
        if "ignored" in give:
            put["labels"] = dict.fromkeys(labels, 2)
        for reduction in ("none", "mean"):
            twin = book.add(
                "good-label",
                f"valid twin: {shape} with {give}",
                shape=shape,
                give=give,
                put=put,
                label_smoothing=0.1,
                reduction=reduction,
                **spec,
            )
            book.spoil(
                twin,
                "bad-label",
                "label_out_of_range",
                f"{shape} with {give}: labels {sorted(labels.values())}",
                change={"labels": labels},
                rows=labels,
            )


def _wide_labels(book: Book) -> None:
    """K = 1024 and 32,768: the first label that does not exist, and casts that wrap."""
    for shape, dtype, labels, bad in (
        ("wide", "int32", [1023, 0], 1024),
        ("wide", "int16", [512, 1], -1),
        ("wide", "uint16", [3, 1022], 65535),
        ("vocabulary", "int32", [32767, 0, 2049], 32768),
        ("vocabulary", "uint16", [32767, 5, 9], 32768),
        ("vocabulary", "int64", [1, 2, 3], 2**32 + 3),
    ):
        twin = book.add(
            "good-label",
            f"valid twin: {dtype} labels {labels}",
            shape=shape,
            put={"labels": labels},
            label_dtype=dtype,
            indices=[0, 1, 1023],
            label_smoothing=0.1,
            reduction="none",
        )
        book.spoil(
            twin,
            "bad-label",
            "label_out_of_range",
            f"label {bad} among {'1024' if shape == 'wide' else '32,768'} classes",
            change={"labels": {1: bad}},
            rows=[1],
        )


def _more_soft_labels(book: Book) -> None:
    good = [0.5, 0.25, 0.0, 0.25, 0.0]
    for shape, give in (("rows", "soft where"), ("rows", "soft prior"), ("tokens", "soft class_weight")):
        rows = 12 if shape == "tokens" else 4
        twin = book.add(
            "good-soft",
            f"valid twin: {give}",
            shape=shape,
            give=give,
            put={"labels": good * rows} | ({"where": [True, False, True, True]} if "where" in give else {}),
            label_smoothing=0.1,
            reduction="none",
        )
        for reason, entries, row in (
            ("negative_soft_label", {10: NAN}, 2),
            ("negative_soft_label", {15: INF}, 3),
            ("negative_soft_label", {12: -0.25, 10: 0.75}, 2),
            ("soft_labels_not_normalized", {15: 0.0, 16: 0.0, 18: 0.0}, 3),
            ("soft_labels_not_normalized", {0: 1.0, 1: 1.0}, 0),
        ):
            book.spoil(
                twin,
                reason.replace("_", "-"),
                reason,
                f"soft labels with entries {entries}, {give}",
                change={"labels": dict(entries)},
                rows=[row],
            )


def _more_weights(book: Book) -> None:
    for denominator in ("weights", "nonzero_weights", "sequences"):
        twin = book.add(
            "good-sample-weight",
            f"valid twin: D = {denominator}",
            shape="tokens",
            give="sample_weight",
            label_smoothing=0.1,
            denominator=denominator,
            reduction="mean",
        )
        for value in (-0.25, NAN, INF):
            book.spoil(
                twin,
                "bad-sample-weight",
                "bad_sample_weight",
                f"a sample weight of {value}, D = {denominator}",
                change={"sample_weight": {5: value}},
                rows=[5],
            )
    for rule in ("per_label", "label_term"):
        twin = book.add(
            "good-class-weight",
            f"valid twin: class weights ≥ 0, rule {rule}",
            shape="tokens",
            give="class_weight",
            label_smoothing=0.1,
            class_weight_rule=rule,
            reduction="none",
        )
        for value in (-1.0, NAN, INF):
            book.spoil(
                twin,
                "bad-class-weight",
                "bad_class_weight",
                f"a class weight of {value}, rule {rule}: of all positions, whatever their labels",
                change={"class_weight": {3: value}},
                rows=range(12),
            )


def _more_priors(book: Book) -> None:
    for spread, kl in (("others", False), ("leaky", False), ("uniform", True)):
        twin = book.add(
            "good-prior",
            f"valid twin: {spread}{', KL' if kl else ''}",
            shape="rows",
            give="prior",
            put={"prior": [0.25, 0.125, 0.125, 0.25, 0.25]},
            label_smoothing=0.1,
            spread=spread,
            kl=kl,
            reduction="none",
        )
        for reason, entries in (
            ("bad_prior", {4: -0.25, 0: 0.75}),
            ("bad_prior", {1: NAN}),
            ("prior_not_normalized", {3: 0.25 + 2.0**-6}),
            ("prior_not_normalized", {0: 0.0, 3: 0.0, 4: 0.0}),
        ):
            book.spoil(
                twin,
                reason.replace("_", "-"),
                reason,
                f"a prior with entries {entries}, {spread}",
                change={"prior": dict(entries)},
                rows=ALL_ROWS,
            )


def _more_arguments(book: Book) -> None:
    twin = book.add(
        "good-normalizer",
        "valid twin: a normalizer beside a mask",
        shape="tokens",
        give="normalizer where",
        label_smoothing=0.1,
        empty="nan",
    )
    for value in (-INF, -(2.0**-10)):
        book.spoil(
            twin,
            "bad-normalizer",
            "bad_normalizer",
            f"a normalizer of {value}",
            change={"normalizer": {0: value}},
            rows=[i for i, counts in enumerate(twin.inputs["where"].data) if counts],
        )
    twin = book.add(
        "good-allowed",
        "valid twin: allowed by position, class axis in the middle",
        shape="middle",
        give="allowed_here",
        label_smoothing=0.1,
        reduction="none",
    )
    label = int(twin.inputs["labels"].data[5])
    book.spoil(
        twin,
        "label-not-allowed",
        "label_not_allowed",
        "the allowed classes of position 5 lack its label",
        change={"allowed": {20 + 4 * label + 1: False}},
        rows=[5],
    )
