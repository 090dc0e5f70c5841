"""Infinities, wide gaps, large shifts, and rows so confident that the loss is tiny."""

from __future__ import annotations

from collections.abc import Sequence

from generator.book import INF, NAN, Book, Change, Fields

SPREADS = ("uniform", "others", "leaky")


def extremes() -> Book:
    """Logits at the edges of what a dtype holds."""
    book = Book()
    _minus_inf(book)
    _minus_inf_smoothed(book)
    _bad_rows(book)
    _confident(book)
    _gaps(book)
    _shifts(book)
    _half_precision(book)
    _subnormal(book)
    _unlikely_labels(book)
    _tiny_weights(book)
    _infinities_on_other_axes(book)
    _half_gradient_overflow(book)
    _plus_inf_without_mass(book)
    return book


def _minus_inf(book: Book) -> None:
    """−inf where the target has no mass: the term is skipped."""
    hole = {1: [0.5, -INF, 1.0, -2.0, 0.25]}
    cases: tuple[tuple[str, str, Fields], ...] = (
        ("ε = 0", "", {}),
        ("an excluded class", "", {"label_smoothing": 0.1, "exclude": [1]}),
        (
            "an excluded class, others",
            "",
            {"label_smoothing": 0.1, "exclude": [1], "spread": "others"},
        ),
        ("a class that is not allowed", "allowed", {"label_smoothing": 0.1}),
        ("off = 0", "", {"values": [0.9, 0.0]}),
        ("ε = 0 with z-loss", "", {"z_loss": 1e-2}),
        ("ε = 0 with KL", "", {"kl": True}),
        ("class weight 0", "class_weight", {"label_smoothing": 0.1}),
        ("prior 0", "prior", {"label_smoothing": 0.1}),
        ("a soft label of 0", "soft", {}),
    )
    for what, give, spec in cases:
        book.add(
            "minus-inf-skipped",
            f"a −inf logit under {what}: finite loss, no 0·inf; no slope there",
            give=give,
            put=_put_for(give),
            rows=hole,
            without={"class_weight": "class_weight", "prior": "prior", "soft": "labels"}.get(give, ""),
            **spec,
        )
    book.add(
        "minus-inf-skipped",
        "every logit but the label's is −inf, ε = 0: the loss is exactly 0",
        put={"labels": {2: 3}},
        rows={2: [-INF, -INF, -INF, 1.5, -INF]},
    )
    for give in ("allowed", "allowed_here"):
        book.add(
            "not-allowed-garbage",
            "NaN and inf in the logits of classes that are not allowed: they do not exist",
            give=give,
            put={"labels": [0, 2, 4, 2], "allowed": _holes(give)},
            rows={
                0: [0.5, NAN, 1.0, -INF, 2.0],
                1: [0.5, INF, 1.0, NAN, 2.0],
                3: [0.5, -INF, 1.0, INF, -2.0],
            },
            label_smoothing=0.1,
        )


def _holes(give: str) -> list[bool]:
    row = [True, False, True, False, True]
    return row if give == "allowed" else row * 4


def _put_for(give: str) -> dict[str, Change]:
    """Label 2, and no mass for class 1, where the −inf stands."""
    put: dict[str, Change] = {"labels": [2, 2, 0, 4]}
    if give == "allowed":
        put["allowed"] = [True, False, True, True, True]
    if give == "class_weight":
        put["class_weight"] = [0.5, 0.0, 1.25, 2.0, 0.75]
    if give == "prior":
        put["prior"] = [0.25, 0.0, 0.125, 0.5, 0.125]
    if give == "soft":
        put["labels"] = [0.25, 0.0, 0.5, 0.25, 0.0] * 4
    return put


def _minus_inf_smoothed(book: Book) -> None:
    """−inf where the target has mass: +inf, with the finite gradient of eq. (3)."""
    hole = {1: [0.5, -INF, 1.0, -2.0, 0.25]}
    for spread in SPREADS:
        for reduction in ("none", "mean"):
            book.add(
                "minus-inf-smoothed",
                f"{spread} puts mass on a −inf logit",
                put={"labels": [2, 2, 0, 4]},
                rows=hole,
                label_smoothing=0.1,
                spread=spread,
                reduction=reduction,
            )
    for epsilon in (0.0, 0.1):
        book.add(
            "minus-inf-label",
            f"the label's own logit is −inf, ε = {epsilon}",
            put={"labels": [2, 1, 0, 4]},
            rows=hole,
            label_smoothing=epsilon,
        )
    book.add(
        "minus-inf-smoothed",
        "the row is masked: nothing of its inf arrives",
        give="where",
        put={"where": [True, False, True, True], "labels": [2, 2, 0, 4]},
        rows=hole,
        label_smoothing=0.1,
    )


def _bad_rows(book: Book) -> None:
    """Rows without an answer: NaN, and their gradient NaN; the other rows keep theirs."""
    rows = {
        "nothing but −inf": [-INF] * 5,
        "a +inf": [0.5, INF, 1.0, -2.0, 0.25],
        "a NaN": [0.5, 1.0, NAN, -2.0, 0.25],
    }
    for what, row in rows.items():
        for reduction in ("none", "mean"):
            for epsilon in (0.0, 0.1) if reduction == "none" and row[1] == -INF else (0.1,):
                book.add(
                    "nan-row",
                    f"a row with {what}, ε = {epsilon}, reduction {reduction}",
                    rows={1: row},
                    label_smoothing=epsilon,
                    reduction=reduction,
                )


def _confident(book: Book) -> None:
    """The label is the argmax by a wide gap: at ε = 0 the loss is about e^−gap, never 0."""
    wide: dict[str, tuple[tuple[int, ...], ...]] = {
        "float32": ((20, 40, 60, 80), (24, 36, 50, 70)),
        "float64": ((20, 100, 300, 600), (200, 400, 500, 80)),
        "bfloat16": ((20, 40, 60, 80),),
        "float16": ((20, 40, 60, 80),),
    }
    for dtype, variants in wide.items():
        for gaps in variants:
            _add_confident(book, dtype, gaps, 0.5 if gaps[0] > 20 else 0.0, "")
    for dtype in ("float32", "float64"):
        _add_confident(book, dtype, (20, 40, 60, 80), 1.0, "class_weight")
        _add_confident(book, dtype, (20, 40, 60, 80), -2.0, "allowed")
    for dtype, top in (("float32", 9984.0), ("float64", -9984.0)):
        _add_confident(book, dtype, (20, 40, 60, 80), top, "")


def _add_confident(book: Book, dtype: str, gaps: Sequence[int], top: float, give: str) -> None:
    put: dict[str, Change] = {"labels": [0, 1, 4, 2]}
    if give == "allowed":
        put["allowed"] = [True, True, True, False, True]
    book.add(
        "confident",
        f"ε = 0, the label ahead by {', '.join(map(str, gaps))} from {top:g}: about e^−gap",
        dtype=dtype,
        give=give,
        put=put,
        rows={i: _ahead(y, top, gap) for i, (y, gap) in enumerate(zip((0, 1, 4, 2), gaps, strict=True))},
        reduction="none",
    )


def _ahead(label: int, top: float, gap: int) -> list[float]:
    """A row whose label leads the next class by `gap`, and the others by more."""
    return [top if k == label else top - gap - 2 * ((k - label - 1) % 5) for k in range(5)]


def _gaps(book: Book) -> None:
    """The label is far below the maximum, and smoothing reaches far below too."""
    for spread, gaps in (
        ("uniform", (20.0, 104.0, 200.0)),
        ("others", (88.0, 200.0)),
        ("leaky", (200.0,)),
    ):
        for gap in gaps:
            book.add(
                f"gap-{spread}",
                f"{spread}, gaps of {gap:g} between logits: log(softmax) would underflow",
                put={"labels": [0, 1, 2, 3]},
                rows={
                    0: [0.0, gap, 0.5, 1.0, -1.0],
                    1: [0.0, gap, 0.5, 1.0, -gap],
                    3: [gap, -gap, gap, -gap, 0.0],
                },
                label_smoothing=0.1,
                spread=spread,
            )


def _shifts(book: Book) -> None:
    """Logits near ±1e4: neither the loss nor the gradient may lose digits."""
    for top in (9984.0, -9984.0):
        for dtype in ("float32", "float64"):
            for epsilon in (0.0, 0.1) if top > 0 else (0.1,):
                book.add(
                    "shift",
                    f"logits near {top:g}, ε = {epsilon}: a shift changes nothing",
                    dtype=dtype,
                    rows={
                        0: [top, top + 1, top - 0.5, top - 3, top + 0.25],
                        1: [top - 1, top + 2, top + 0.5, top - 2, top],
                        3: [top + 4, top + 1, top - 4, top - 3, top + 2],
                    },
                    label_smoothing=epsilon,
                )
    for dtype, spread in (("float32", "uniform"), ("float64", "others")):
        book.add(
            "opposite",
            f"logits of +1e4 and −1e4 in one row, {spread}",
            dtype=dtype,
            rows={0: [9984.0, -9984.0, 0.0, 1.0, -1.0], 2: [-9984.0, 9984.0, 9984.0, 0.0, 0.5]},
            label_smoothing=0.1,
            spread=spread,
        )


def _half_precision(book: Book) -> None:
    """The smoothing sum of one row is beyond float16's largest number, 65504."""
    low = -16384.0
    for dtype in ("float16", "bfloat16"):
        book.add(
            "half-overflow",
            f"Σ −log p over the classes is 65536: inf if it is added up in {dtype}",
            dtype=dtype,
            put={"labels": [0, 1, 2, 3]},
            rows={0: [0.0, low, low, low, low], 2: [low, 0.0, low, low, low]},
            label_smoothing=0.1,
        )
    for dtype in ("float16", "bfloat16"):
        for spread in SPREADS:
            book.add(
                "half",
                f"{dtype}: computed in float32, the gradient rounded once",
                dtype=dtype,
                label_smoothing=0.1,
                spread=spread,
            )


def _plus_inf_without_mass(book: Book) -> None:
    """A +inf logit leaves no probabilities, whatever the target there."""
    cases: tuple[tuple[str, Fields], ...] = (("", {}), ("where", {"label_smoothing": 0.1, "exclude": [1]}))
    for give, spec in cases:
        book.add(
            "plus-inf-skipped",
            f"a +inf logit of a class without mass, {give or 'ε = 0'}: NaN in its row",
            give=give,
            put={"labels": [2, 2, 0, 4], "where": [True, True, False, True]},
            rows={1: [0.5, INF, 1.0, -2.0, 0.25]},
            reduction="none",
            **spec,
        )


def _subnormal(book: Book) -> None:
    """Numbers below the smallest normal one, which some hardware and compilers flush to 0."""
    for dtype, tiny in (("float32", 2.0**-140), ("float64", 2.0**-1060)):
        for epsilon, spread in ((0.0, "uniform"), (0.1, "uniform"), (0.1, "others")):
            book.add(
                "subnormal-logits",
                f"logits of {tiny:g}: as good as 0, and flushing them changes nothing",
                dtype=dtype,
                rows={0: [tiny, -tiny, 0.0, 3 * tiny, -2 * tiny], 2: [1.0, tiny, -1.0, -tiny, tiny]},
                label_smoothing=epsilon,
                spread=spread,
            )
    for dtype, gaps in (("float32", (88, 92, 97, 101)), ("float64", (709, 715, 730, 740))):
        for reduction in ("none", "sum"):
            book.add(
                "subnormal-loss",
                f"ε = 0, the label ahead by {', '.join(map(str, gaps))}: the loss is subnormal, or flushed to 0",
                dtype=dtype,
                put={"labels": [0, 1, 4, 2]},
                rows={i: _ahead(y, 0.25, gap) for i, (y, gap) in enumerate(zip((0, 1, 4, 2), gaps, strict=True))},
                reduction=reduction,
            )


def _unlikely_labels(book: Book) -> None:
    """Labels of a probability below 1e-7, where a clip or a +1e-7 in the logarithm shows."""
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        for epsilon, spread in ((0.0, "uniform"), (0.1, "leaky")):
            book.add(
                "unlikely-label",
                f"the label is 18 to 60 below the maximum, {spread}, ε = {epsilon}",
                shape="tokens",
                dtype=dtype,
                put={"labels": {0: 1, 1: 2, 5: 0}},
                rows={
                    0: [18.0, 0.0, 3.0, -1.0, 0.5],
                    1: [0.0, 24.0, -8.0, 1.0, 0.5],
                    5: [-30.0, 30.0, 29.0, -2.0, 0.0],
                },
                label_smoothing=epsilon,
                spread=spread,
            )


def _tiny_weights(book: Book) -> None:
    """Denominators far below 1: max(D, 1), + 1e-6 and + 1e-13 all show."""
    for dtype, unit in (("float32", 2.0**-20), ("float64", 2.0**-40)):
        weights = [unit * w for w in (1.0, 2.0, 0.5, 0.75, 1.5, 0.25, 1.25, 2.5, 1.75, 0.5, 0.25, 3.0)]
        for name in ("weights", "sequences", "nonempty_sequences"):
            book.add(
                "tiny-weights",
                f"sample weights of about {unit:g}, D = {name}: nothing is added to a denominator",
                shape="tokens",
                dtype=dtype,
                give="sample_weight where",
                put={"sample_weight": weights},
                label_smoothing=0.1,
                denominator=name,
                reduction="mean",
            )
        for name in ("class_weights", "expected_class_weights"):
            book.add(
                "tiny-weights",
                f"class weights of about {unit:g}, D = {name}",
                shape="tokens",
                dtype=dtype,
                give="class_weight where",
                put={"class_weight": weights[:5]},
                label_smoothing=0.1,
                denominator=name,
                reduction="mean",
            )
        book.add(
            "tiny-normalizer",
            f"a normalizer of {unit:g}",
            shape="tokens",
            dtype=dtype,
            give="where normalizer",
            put={"normalizer": [unit]},
            label_smoothing=0.1,
        )


def _infinities_on_other_axes(book: Book) -> None:
    """What is −inf, NaN or masked, where the classes are not the last axis."""
    for shape in ("middle", "first", "volume"):
        book.add(
            "minus-inf-axis",
            f"a −inf logit with and without mass, class axis of {shape}",
            shape=shape,
            put={"labels": {0: 2, 3: 1}},
            rows={0: [0.5, -INF, 1.0, -2.0, 0.25], 3: [-INF, 2.0, 1.0, 0.0, -INF]},
            label_smoothing=0.1,
            reduction="none",
        )
        book.add(
            "minus-inf-axis",
            f"a −inf logit at ε = 0, class axis of {shape}",
            shape=shape,
            put={"labels": {0: 2, 3: 1}},
            rows={0: [0.5, -INF, 1.0, -2.0, 0.25], 3: [-INF, 2.0, 1.0, 0.0, -INF]},
        )
        book.add(
            "garbage-axis",
            f"NaN and inf under ignored labels, class axis of {shape}",
            shape=shape,
            put={"labels": {1: -100, 2: -100, 6: -100}},
            rows={1: [NAN, INF, -INF, 0.0, NAN], 2: [INF] * 5, 6: [NAN] * 5},
            label_smoothing=0.1,
            z_loss=1e-2,
            ignore_index=-100,
        )


def _half_gradient_overflow(book: Book) -> None:
    """Found by fuzzing: 2·z_loss·lse·softmax is beyond float16's largest number, and is rounded to an infinity."""
    for dtype in ("float16", "bfloat16"):
        book.add(
            "half-gradient-overflow",
            f"z_loss 4 at logits near 1e4: gradients near 8e4, rounded once to {dtype}",
            dtype=dtype,
            rows={0: [9984.0, 9984.0, 0.0, 9920.0, -1.0], 2: [-9984.0, 9984.0, -9984.0, 0.0, 1.0]},
            label_smoothing=0.1,
            z_loss=4.0,
            reduction="none",
        )
