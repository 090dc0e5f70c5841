"""Where the classes lie, the labels' dtypes, how many classes there are; the article's case."""

from __future__ import annotations

from generator.book import Book, Fields

ARTICLE_VALUES = [0.9, 0.005]


def layouts() -> Book:
    """The class axis first, in the middle and last; every label dtype; no axes; K = 1024."""
    book = Book()
    _axes(book)
    _label_dtypes(book)
    _scalar(book)
    _wide(book)
    return book


def _axes(book: Book) -> None:
    for shape, axes in (
        ("tokens", (2, -1)),
        ("middle", (1, -2)),
        ("first", (0, -3)),
        ("pixels", (1, -3)),
    ):
        for axis in axes:
            for give in ("", "where sample_weight") if axis >= 0 else ("where",):
                book.add(
                    f"axis-{shape}",
                    f"class axis {axis} of {shape}, with {give or 'nothing else'}",
                    shape=shape,
                    axis=axis,
                    give=give,
                    flags="wrong-class-axis",
                    label_smoothing=0.1,
                    spread="others" if give else "uniform",
                )
    for shape in ("middle", "first"):
        book.add(
            f"axis-{shape}",
            "with class weights, a prior and a class that is not allowed",
            shape=shape,
            give="class_weight prior allowed_here",
            flags="wrong-class-axis",
            label_smoothing=0.1,
        )


def _label_dtypes(book: Book) -> None:
    for label_dtype in ("int8", "uint8", "int16", "int32", "int64"):
        for spread in ("uniform", "others"):
            book.add(
                f"label-{label_dtype}",
                f"{label_dtype} labels, {spread}",
                label_dtype=label_dtype,
                flags="label-cast-to-float",
                label_smoothing=0.1,
                spread=spread,
            )


def _scalar(book: Book) -> None:
    for reduction in ("mean", "none", "sum"):
        book.add(
            "scalar",
            f"logits [5], labels [], reduction {reduction}",
            shape="scalar",
            label_smoothing=0.1,
            reduction=reduction,
        )
    book.add(
        "scalar",
        "with class weights and a prior",
        shape="scalar",
        give="class_weight prior",
        label_smoothing=0.1,
    )
    book.add("scalar", "a soft label of shape [5]", shape="scalar", give="soft", label_smoothing=0.1)
    book.add(
        "scalar",
        "others with KL and z-loss",
        shape="scalar",
        spread="others",
        kl=True,
        z_loss=1e-2,
        label_smoothing=0.25,
    )


def _wide(book: Book) -> None:
    """K = 1024: labels that int8 and bfloat16 cannot tell apart. A few gradients of each row."""
    cases: tuple[tuple[str, str, list[int], str, Fields], ...] = (
        ("float32", "int32", [1023, 0], "", {"label_smoothing": 0.1}),
        ("float32", "int64", [513, 256], "", {"label_smoothing": 0.1, "spread": "others"}),
        ("float64", "int16", [300, 1000], "", {"label_smoothing": 0.1, "spread": "leaky"}),
        ("bfloat16", "int32", [257, 511], "label-cast-to-half label-cast-to-float", {}),
        (
            "bfloat16",
            "int64",
            [1001, 257],
            "label-cast-to-half label-cast-to-float",
            {"label_smoothing": 0.1},
        ),
        ("float32", "uint8", [156, 255], "narrow-label-dtype", {"ignore_index": -100}),
        ("float32", "int8", [100, 127], "narrow-label-dtype", {"label_smoothing": 0.1}),
        ("float16", "int32", [513, 1023], "half-overflow", {"label_smoothing": 0.1}),
        (
            "float64",
            "int64",
            [767, 2],
            "local-class-count",
            {"label_smoothing": 0.1, "spread": "others", "kl": True},
        ),
        (
            "float32",
            "int32",
            [640, 641],
            "local-class-count",
            {"values": [0.9, 0.0001], "z_loss": 1e-4},
        ),
        (
            "float32",
            "int64",
            [1, 1022],
            "local-class-count",
            {"label_smoothing": 0.1, "exclude": [0, 1023]},
        ),
        ("float64", "int32", [9, 910], "", {"z_loss": 1e-4}),
    )
    for dtype, label_dtype, labels, flags, spec in cases:
        book.add(
            "wide",
            f"K = 1024, {label_dtype} labels {labels[0]} and {labels[1]}",
            shape="wide",
            dtype=dtype,
            put={"labels": labels},
            label_dtype=label_dtype,
            indices=_telling(labels),
            flags=flags,
            **spec,
        )


def _telling(labels: list[int]) -> list[int]:
    """Flat indices to look at: each row's label, its neighbours, both ends and a few between."""
    row = {0, 1, 255, 256, 257, 512, 513, 1022, 1023}
    picked = {i * 1024 + k for i, y in enumerate(labels) for k in row | {y - 1, y, y + 1} if 0 <= k < 1024}
    return sorted(picked)


def article() -> Book:
    """LabelSmoothSoftmaxCE of the article: values 0.9 and 0.005, 255 ignored, NaN when all are."""
    book = Book()
    for dtype in ("float32", "float64", "bfloat16"):
        for reduction in ("mean", "sum", "none") if dtype == "float32" else ("mean",):
            book.add(
                "article",
                f"logits [2, 3, 5, 5] in {dtype}, labels with 255s, reduction {reduction}",
                shape="article",
                dtype=dtype,
                give="ignored",
                label_dtype="int64",
                flags="ignored-leaks mass-below-one wrong-class-axis",
                values=ARTICLE_VALUES,
                ignore_index=255,
                empty="nan",
                reduction=reduction,
            )
    book.add(
        "article",
        "every label is 255: NaN, as 0/0, and a gradient of 0",
        shape="article",
        dtype="float32",
        put={"labels": [255] * 50},
        label_dtype="uint8",
        flags="nothing-counts",
        values=ARTICLE_VALUES,
        ignore_index=255,
        empty="nan",
        reduction="mean",
    )
    book.add(
        "article",
        "uint8 labels, as segmentation masks are read from files",
        shape="article",
        dtype="float32",
        give="ignored",
        label_dtype="uint8",
        flags="ignored-leaks narrow-label-dtype",
        values=ARTICLE_VALUES,
        ignore_index=255,
        empty="nan",
        reduction="mean",
    )
    return book
