"""What does not count: masks, ignored labels, weight 0, and whatever garbage lies there."""

from __future__ import annotations

from generator.arrays import Entry
from generator.book import INF, NAN, Book, Fields

MASK = [True, False, True, False]
GARBAGE = {1: [NAN, INF, -INF, 0.0, NAN], 3: [-INF] * 5}


def masks() -> Book:
    """Masked rows contribute exactly nothing, and their gradient is exactly 0."""
    book = Book()
    _plain_masks(book)
    _filled(book)
    _ignored(book)
    _bad_but_masked(book)
    _out_of_range(book)
    _single_position(book)
    _no_class_to_count(book)
    return book


def _plain_masks(book: Book) -> None:
    for reduction in ("none", "sum", "mean"):
        for give in ("where", "where sample_weight"):
            book.add(
                "masked",
                f"{give}, reduction {reduction}: the smoothing part is masked too",
                shape="tokens",
                give=give,
                label_smoothing=0.1,
                reduction=reduction,
            )


def _filled(book: Book) -> None:
    """The same positions masked in four ways, their logits filled with NaN and infinities."""
    for spread in ("uniform", "others"):
        for dtype in ("float32", "float64", "float16"):
            book.add(
                "masked-garbage",
                f"NaN and inf under the mask, {spread}: nothing of them arrives",
                dtype=dtype,
                give="where",
                put={"where": MASK},
                rows=GARBAGE,
                label_smoothing=0.1,
                spread=spread,
            )
    smoothing = {"label_smoothing": 0.1}
    variants: tuple[Fields, ...] = (
        {"z_loss": 1e-2} | smoothing,
        {"kl": True} | smoothing,
        {"values": [0.9, 0.005]},
    )
    for spec in variants:
        book.add(
            "masked-garbage",
            f"NaN and inf under the mask, with {next(iter(spec))}",
            give="where",
            put={"where": MASK},
            rows=GARBAGE,
            **spec,
        )
    book.add(
        "weightless-garbage",
        "sample weight 0 is as good as a mask; the gradient to that weight is 0",
        give="sample_weight",
        put={"sample_weight": [0.5, 0.0, 1.25, 0.0]},
        rows=GARBAGE,
        label_smoothing=0.1,
        reduction="sum",
    )
    book.add(
        "weightless-garbage",
        "the same with a mean over the positions whose weight is not 0",
        give="sample_weight",
        put={"sample_weight": [0.5, 0.0, 1.25, 0.0]},
        rows=GARBAGE,
        label_smoothing=0.1,
        denominator="nonzero_weights",
        reduction="mean",
    )
    book.add(
        "weightless-garbage",
        "the same divided by Σw, where what the weight's derivative is at an inf is left open",
        give="sample_weight",
        put={"sample_weight": [0.5, 0.0, 1.25, 0.0]},
        rows=GARBAGE,
        without="sample_weight",
        label_smoothing=0.1,
        denominator="weights",
        reduction="mean",
    )


def _ignored(book: Book) -> None:
    for index, dtype in (
        (-100, "int64"),
        (255, "int32"),
        (255, "uint8"),
        (-1, "int8"),
        (0, "int32"),
        (-100, "int16"),
    ):
        book.add(
            "ignored",
            f"ignore_index {index} in {dtype}",
            shape="tokens",
            give="ignored",
            label_dtype=dtype,
            label_smoothing=0.1,
            ignore_index=index,
        )
    book.add(
        "ignored",
        "an ignore_index inside [0, K): that class is never a label, and still receives mass",
        put={"labels": [3, 1, 3, 4]},
        label_smoothing=0.1,
        ignore_index=3,
    )
    book.add("ignored", "an ignore_index that no label has", label_smoothing=0.1, ignore_index=-100)
    book.add(
        "ignored",
        "an ignore_index that the labels' dtype cannot hold matches nothing",
        label_dtype="uint8",
        label_smoothing=0.1,
        ignore_index=-100,
    )
    for give in ("ignored where", "ignored where sample_weight"):
        book.add(
            "ignored-and-masked",
            f"{give}: what counts is in both",
            shape="tokens",
            give=give,
            label_smoothing=0.1,
            ignore_index=-100,
            denominator="valid",
        )


def _bad_but_masked(book: Book) -> None:
    """Bad values where nothing counts are good input."""
    bad: tuple[tuple[str, str, dict[int, Entry]], ...] = (
        ("a label ≥ K and one below 0", "int32", {1: 77, 3: -7}),
        ("labels beyond 32 bits", "int64", {1: 2**32 + 3, 3: -(2**40)}),
        ("uint8 labels of 255", "uint8", {1: 255, 3: 156}),
    )
    for what, dtype, labels in bad:
        book.add(
            "masked-bad-label",
            f"{what}, at masked positions only",
            give="where",
            put={"where": MASK, "labels": labels},
            label_dtype=dtype,
            label_smoothing=0.1,
        )
    book.add(
        "masked-bad-label",
        "a bad label under sample weight 0",
        give="sample_weight",
        put={"sample_weight": [0.5, 0.0, 1.25, 2.0], "labels": {1: 9}},
        label_smoothing=0.1,
    )
    book.add(
        "masked-bad-label",
        "a label that is not allowed, at a masked position",
        give="where allowed",
        put={"where": MASK, "allowed": [True, True, False, True, True], "labels": [0, 2, 4, 2]},
        label_smoothing=0.1,
    )
    book.add(
        "masked-bad-weight",
        "NaN, inf and negative sample weights at masked positions are never read",
        give="where sample_weight",
        put={"where": [True, False, False, False], "sample_weight": [0.75, NAN, INF, -1.0]},
        label_smoothing=0.1,
    )


def _out_of_range(book: Book) -> None:
    """out_of_range "nan" makes a bad label a valid input, whose row is NaN."""
    for labels, dtype in (
        ([0, 5, 2, 4], "int64"),
        ([-1, 1, 3, 0], "int32"),
        ([2, 2**32 + 3, 1, 0], "int64"),
    ):
        for reduction in ("none", "sum", "mean"):
            book.add(
                "out-of-range-nan",
                "the row of a label outside [0, K) has a NaN loss and gradient; the others not",
                put={"labels": labels},
                label_dtype=dtype,
                label_smoothing=0.1,
                out_of_range="nan",
                reduction=reduction,
            )
    book.add(
        "out-of-range-nan",
        "a masked bad label stays masked",
        give="where",
        put={"where": MASK, "labels": {3: 99, 1: -3}},
        label_smoothing=0.1,
        out_of_range="nan",
    )
    book.add(
        "out-of-range-nan",
        "a label that is not allowed; the gradient at that class itself, NaN or 0, is left open",
        give="allowed",
        indices=[j for j in range(20) if j != 7],
        put={"allowed": [True, True, False, True, True], "labels": [0, 2, 4, 3]},
        label_smoothing=0.1,
        out_of_range="nan",
        reduction="none",
    )
    book.add(
        "out-of-range-nan",
        "uint8 156 is not ignore_index −100",
        put={"labels": [0, 156, 2, 3]},
        label_dtype="uint8",
        label_smoothing=0.1,
        ignore_index=-100,
        out_of_range="nan",
        reduction="none",
    )


def _single_position(book: Book) -> None:
    """Masked labels of no axes."""
    for keep in (True, False):
        book.add(
            "scalar-masked",
            f"0-d labels with where = {keep}",
            shape="scalar",
            give="where",
            put={"where": [keep]},
            label_smoothing=0.1,
        )
    book.add(
        "scalar-weighted",
        "0-d labels with a weight",
        shape="scalar",
        give="sample_weight",
        label_smoothing=0.1,
    )


def _no_class_to_count(book: Book) -> None:
    """A bad label under sample weight 0 counts, but names no class whose weight a denominator could add."""
    for give in ("sample_weight", "sample_weight class_weight"):
        for denominator in ("class_weights", "expected_class_weights"):
            book.add(
                "weightless-bad-label",
                f"{give}, D = {denominator}: a bad label has no class weight, not even of 1",
                give=give,
                put={"sample_weight": [0.5, 0.0, 1.25, 2.0], "labels": {1: 9}},
                label_smoothing=0.1,
                denominator=denominator,
                reduction="mean",
            )
