"""What the mean divides by, on inputs where no two denominators are the same number."""

from __future__ import annotations

from generator.book import NAN, Book, Change, Fields
from generator.options import DENOMINATORS

ONE_EMPTY = [True, True, False, True] + [False] * 4 + [True, False, False, False]
SEQUENCE_WEIGHTS = [0.5, 1.25, 2.0, 0.25, 1.5, 0.5, 0.75, 2.0, 1.75, 0.25, 0.5, 1.25]


def denominators() -> Book:
    """Nine denominators × masks and weights, then everything that makes one of them 0."""
    book = Book()
    _each(book)
    _sequences(book)
    _nothing_counts(book)
    _normalizer(book)
    _empty_batch(book)
    return book


def _each(book: Book) -> None:
    for name in DENOMINATORS:
        extra = " class_weight" if "class" in name else ""
        for give in ("where", "where sample_weight", "ignored sample_weight"):
            ignored: Fields = {"ignore_index": -100} if "ignored" in give else {}
            book.add(
                f"denominator-{name.replace('_', '-')}",
                f"D = {name}, with {give}{extra}",
                shape="tokens",
                give=give + extra,
                label_smoothing=0.1,
                denominator=name,
                reduction="mean",
                **ignored,
            )
        book.add(
            f"denominator-{name.replace('_', '-')}",
            f"D = {name}, nothing masked, 1-d labels",
            give=extra,
            label_smoothing=0.1,
            spread="others",
            denominator=name,
            reduction="mean",
        )
    for name, reduction in (("weights", "sum"), ("sequences", "none"), ("batch", "sum")):
        book.add(
            "denominator-idle",
            f"reduction {reduction}: the denominator {name} shows in the totals only",
            shape="tokens",
            give="where sample_weight",
            label_smoothing=0.1,
            denominator=name,
            reduction=reduction,
        )


def _sequences(book: Book) -> None:
    """One sequence without a position that counts: `sequences` counts it, the other does not."""
    put: dict[str, Change] = {"where": ONE_EMPTY, "sample_weight": SEQUENCE_WEIGHTS}
    for name in ("sequences", "nonempty_sequences"):
        for give in ("where", "where sample_weight"):
            book.add(
                "empty-sequence",
                f"D = {name}, the second of three sequences is empty, {give}",
                shape="tokens",
                give=give,
                put=put if "sample_weight" in give else {"where": ONE_EMPTY},
                label_smoothing=0.1,
                denominator=name,
                reduction="mean",
            )
        book.add(
            "sequences-pixels",
            f"D = {name} with two axes after the first",
            shape="pixels",
            give="where",
            label_smoothing=0.1,
            denominator=name,
            reduction="mean",
        )
        book.add(
            "sequences-rows",
            f"D = {name} on 1-d labels: each position is a sequence, and a weight cancels",
            give="where",
            label_smoothing=0.1,
            denominator=name,
            reduction="mean",
        )


def _nothing_counts(book: Book) -> None:
    for name in DENOMINATORS:
        for empty in ("zero", "nan") if name in ("valid", "all", "sequences") else ("zero",):
            book.add(
                "nothing-counts",
                f"all masked, D = {name}, empty = {empty}: every gradient is exactly 0",
                give="where" + (" class_weight" if name == "class_weights" else ""),
                put={"where": [False] * 4},
                rows={0: [NAN] * 5},
                label_smoothing=0.1,
                denominator=name,
                empty=empty,
                reduction="mean",
            )
    for reduction in ("sum", "none"):
        book.add(
            "nothing-counts",
            f"all masked, reduction {reduction}: zeros",
            give="where",
            put={"where": [False] * 4},
            label_smoothing=0.1,
            empty="nan",
            reduction=reduction,
        )
    for empty in ("zero", "nan"):
        book.add(
            "all-weights-zero",
            f"all sample weights 0, D = Σw, empty = {empty}",
            give="sample_weight",
            put={"sample_weight": [0.0] * 4},
            label_smoothing=0.1,
            denominator="weights",
            empty=empty,
            reduction="mean",
        )
        book.add(
            "all-ignored",
            f"every label ignored, empty = {empty}",
            put={"labels": [-100] * 4},
            label_smoothing=0.1,
            ignore_index=-100,
            empty=empty,
            reduction="mean",
        )
    book.add(
        "all-weights-zero",
        "all sample weights 0, D = valid positions: 0, and the weights still have a gradient",
        give="sample_weight",
        put={"sample_weight": [0.0] * 4},
        label_smoothing=0.1,
        empty="nan",
        reduction="mean",
    )


def _normalizer(book: Book) -> None:
    for name, give in (
        ("valid", "where"),
        ("weights", "where sample_weight"),
        ("class_weights", "class_weight"),
        ("all", ""),
    ):
        book.add(
            "normalizer",
            f"7.5 items in the whole batch replace D = {name}; the totals keep D",
            shape="tokens" if "where" in give else "rows",
            give=f"normalizer {give}",
            label_smoothing=0.1,
            denominator=name,
        )
    book.add(
        "normalizer",
        "nothing counts here, but something did elsewhere: 0, not NaN",
        give="normalizer where",
        put={"where": [False] * 4},
        label_smoothing=0.1,
        empty="nan",
    )
    for empty in ("zero", "nan"):
        book.add(
            "normalizer",
            f"a normalizer of 0, empty = {empty}",
            give="normalizer",
            put={"normalizer": [0.0]},
            label_smoothing=0.1,
            empty=empty,
        )


def _empty_batch(book: Book) -> None:
    for name in ("valid", "all", "batch", "sequences"):
        for empty in ("zero", "nan") if name == "valid" else ("zero",):
            book.add(
                "empty-batch",
                f"logits [0, 5], D = {name} = 0, empty = {empty}",
                shape="empty",
                dtype="float32",
                label_smoothing=0.1,
                denominator=name,
                empty=empty,
                reduction="mean",
            )
    for reduction in ("sum", "none"):
        book.add(
            "empty-batch",
            f"logits [0, 5], reduction {reduction}",
            shape="empty",
            label_smoothing=0.1,
            reduction=reduction,
        )
