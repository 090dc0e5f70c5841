"""Where the classes lie, the labels' dtypes, how many classes there are; the article's case."""

from __future__ import annotations

from generator.book import Book, Change, Fields

ARTICLE_VALUES = [0.9, 0.005]


def layouts() -> Book:
    """The class axis first, in the middle and last; every label dtype; no axes; K = 1024."""
    book = Book()
    _axes(book)
    _label_dtypes(book)
    _scalar(book)
    _wide(book)
    _class_counts(book)
    _unsigned_labels(book)
    _five_axes(book)
    _no_positions(book)
    _uneven_sequences(book)
    _wide_first(book)
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
                    label_smoothing=0.1,
                    spread="others" if give else "uniform",
                )
    for shape in ("middle", "first"):
        book.add(
            f"axis-{shape}",
            "with class weights, a prior and a class that is not allowed",
            shape=shape,
            give="class_weight prior allowed_here",
            label_smoothing=0.1,
        )


def _label_dtypes(book: Book) -> None:
    for label_dtype in ("int8", "uint8", "int16", "int32", "int64"):
        for spread in ("uniform", "others"):
            book.add(
                f"label-{label_dtype}",
                f"{label_dtype} labels, {spread}",
                label_dtype=label_dtype,
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
    cases: tuple[tuple[str, str, list[int], Fields], ...] = (
        ("float32", "int32", [1023, 0], {"label_smoothing": 0.1}),
        ("float32", "int64", [513, 256], {"label_smoothing": 0.1, "spread": "others"}),
        ("float64", "int16", [300, 1000], {"label_smoothing": 0.1, "spread": "leaky"}),
        ("bfloat16", "int32", [257, 511], {}),
        (
            "bfloat16",
            "int64",
            [1001, 257],
            {"label_smoothing": 0.1},
        ),
        ("float32", "uint8", [156, 255], {"ignore_index": -100}),
        ("float32", "int8", [100, 127], {"label_smoothing": 0.1}),
        ("float16", "int32", [513, 1023], {"label_smoothing": 0.1}),
        (
            "float64",
            "int64",
            [767, 2],
            {"label_smoothing": 0.1, "spread": "others", "kl": True},
        ),
        (
            "float32",
            "int32",
            [640, 641],
            {"values": [0.9, 0.0001], "z_loss": 1e-4},
        ),
        (
            "float32",
            "int64",
            [1, 1022],
            {"label_smoothing": 0.1, "exclude": [0, 1023]},
        ),
        ("float64", "int32", [9, 910], {"z_loss": 1e-4}),
    )
    for dtype, label_dtype, labels, spec in cases:
        book.add(
            "wide",
            f"K = 1024, {label_dtype} labels {labels[0]} and {labels[1]}",
            shape="wide",
            dtype=dtype,
            put={"labels": labels},
            label_dtype=label_dtype,
            indices=_telling(labels),
            **spec,
        )


def _telling(labels: list[int]) -> list[int]:
    """Flat indices to look at: each row's label, its neighbours, both ends and a few between."""
    row = {0, 1, 255, 256, 257, 512, 513, 1022, 1023}
    picked = {i * 1024 + k for i, y in enumerate(labels) for k in row | {y - 1, y, y + 1} if 0 <= k < 1024}
    return sorted(picked)


def _class_counts(book: Book) -> None:
    """3, 17 and 100 classes: ε/K, ε/(K−1) and the class axis each look different."""
    for shape in ("three", "seventeen", "hundred"):
        for spread in ("uniform", "others", "leaky"):
            book.add(
                f"classes-{shape}",
                f"{spread} over {shape} classes, masked",
                shape=shape,
                give="where sample_weight",
                label_smoothing=0.1,
                spread=spread,
                denominator="weights",
            )
        for give, spec in (
            ("class_weight ignored", {"ignore_index": -100, "denominator": "class_weights"}),
            ("prior allowed where", {"z_loss": 1e-2}),
            ("soft where", {"exclude": [1]}),
            ("where", {"kl": True}),
        ):
            book.add(
                f"classes-{shape}",
                f"{shape} classes with {give}",
                shape=shape,
                give=give,
                label_smoothing=0.1,
                **spec,
            )


def _unsigned_labels(book: Book) -> None:
    """Labels that a signed dtype of the same width would read as negative."""
    for label_dtype in ("uint16", "uint32", "uint64"):
        for give, more in (("", {}), ("ignored", {"ignore_index": 255}), ("where", {"spread": "others"})):
            book.add(
                f"label-{label_dtype}",
                f"{label_dtype} labels, {give or 'all of them count'}",
                shape="tokens",
                give=give,
                label_dtype=label_dtype,
                label_smoothing=0.1,
                **more,
            )
        bits = int(label_dtype.removeprefix("uint"))
        book.add(
            f"label-{label_dtype}",
            f"{2**bits - 100} under a mask: −100 after a cast that wraps",
            shape="tokens",
            give="where",
            put={
                "labels": [2**bits - 100, 1, 2, 3, 2**bits - 1, 0, 4, 3, 2, 1, 2 ** (bits - 1), 0],
                "where": [False, True, True, True, False, True, True, True, True, False, False, False],
            },
            label_dtype=label_dtype,
            label_smoothing=0.1,
            ignore_index=-100,
        )


def _five_axes(book: Book) -> None:
    """Volumes: class axis 2 of 5."""
    for give, spec in (
        ("where", {}),
        ("ignored class_weight", {"ignore_index": -100, "denominator": "class_weights"}),
        ("soft sample_weight", {"denominator": "weights"}),
        ("allowed_here prior", {"spread": "others"}),
    ):
        book.add(
            "axis-volume",
            f"logits [2, 1, 5, 2, 2], class axis 2, with {give}",
            shape="volume",
            give=give,
            label_smoothing=0.1,
            **spec,
        )


def _no_positions(book: Book) -> None:
    """A batch of three that holds nothing: N = 0 and B = 3, which only some denominators count."""
    for shape in ("no-tokens", "no-pixels"):
        for name in ("valid", "batch", "sequences", "nonempty_sequences"):
            book.add(
                f"empty-{shape}",
                f"no position at all, D = {name}",
                shape=shape,
                label_smoothing=0.1,
                denominator=name,
                empty="nan",
                reduction="mean",
            )
        book.add(f"empty-{shape}", "no position at all, unreduced", shape=shape, reduction="none")


LENGTHS = (6, 1, 3, 0)


def _uneven_sequences(book: Book) -> None:
    """Sequences of 6, 1, 3 and no positions, padded to 6."""
    mask = [t < length for length in LENGTHS for t in range(6)]
    weights = [(0.5, 1.5, 2.0, 0.25, 1.25, 0.75)[(t + b) % 6] for b in range(4) for t in range(6)]
    for name in ("valid", "all", "batch", "weights", "nonzero_weights", "sequences", "nonempty_sequences"):
        for give in ("where", "where sample_weight"):
            put: dict[str, Change] = {"where": mask}
            book.add(
                "uneven-sequences",
                f"sequences of 6, 1, 3 and 0 positions, D = {name}, {give}",
                shape="uneven",
                give=give,
                put=put | ({"sample_weight": weights} if "sample_weight" in give else {}),
                label_smoothing=0.1,
                denominator=name,
                reduction="mean",
            )


def _wide_first(book: Book) -> None:
    """K = 1024 on the first axis, over which some frameworks add one by one."""
    for spread, give in (("uniform", ""), ("others", "where"), ("leaky", "class_weight")):
        labels = [1023, 0, 257, 511, 300, 9]
        book.add(
            "wide-first",
            f"K = 1024 on the first axis, {spread}, {give or 'nothing masked'}",
            shape="wide-first",
            dtype="float32",
            give=give,
            put={"labels": labels},
            indices=sorted(k * 6 + i for i, y in enumerate(labels) for k in {0, 1, 512, y, 1022, 1023}),
            without="class_weight",
            label_smoothing=0.1,
            spread=spread,
        )


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
        values=ARTICLE_VALUES,
        ignore_index=255,
        empty="nan",
        reduction="mean",
    )
    return book
