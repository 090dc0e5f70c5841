"""The loss of logits that a linear layer makes: everything that its blocks, its chain rule and its masks get wrong."""

from __future__ import annotations

from typing import Any

from generator.book import BRAIN, DOUBLE, HALF, INF, NAN, SINGLE, Book, Change, Fields
from generator.options import DENOMINATORS

KEPT = [True, False, True, True, False, True, True, True, True, False, True, True]
"""Of the tokens; 8 count, and another number in each sequence."""
GARBAGE = {1: [NAN, INF, -INF], 4: [INF] * 3, 9: [NAN] * 3}
"""Rows of hidden that do not count."""


def linear() -> Book:
    """Every target, weight, denominator and mask; then what only a linear layer has."""
    book = Book()
    _targets(book)
    _receivers(book)
    _class_weights(book)
    _denominators(book)
    _masks(book)
    _nothing_counts(book)
    _bias(book)
    _logit_scale(book)
    _softcap(book)
    _dtypes(book)
    _shapes(book)
    _extremes(book)
    _many(book)
    _vocabulary(book)
    _bad_values(book)
    return book


def _add(book: Book, what: str, comment: str, **more: Any) -> Any:
    more.setdefault("features", 3)
    return book.add(f"linear-{what}", comment, **more)


def _targets(book: Book) -> None:
    cases: tuple[Fields, ...] = (
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "spread": "others"},
        {"label_smoothing": 0.25, "spread": "leaky"},
        {"values": [0.9, 0.005]},
        {"label_smoothing": 0.1, "kl": True},
        {"label_smoothing": 0.3, "spread": "others", "kl": True},
        {"z_loss": 0.05},
        {"label_smoothing": 0.1, "z_loss": 0.05},
        {"label_smoothing": 1.0},
    )
    for turn, spec in enumerate(cases):
        words = ", ".join(f"{name}={value}" for name, value in spec.items()) or "the label alone"
        _add(book, "target", f"{words}, without a bias", shape="rows", **spec)
        _add(book, "target", f"{words}, with a bias", shape="tokens", give="bias" if turn % 2 else "bias where", **spec)


def _receivers(book: Book) -> None:
    for give, spec in (
        ("prior", {"label_smoothing": 0.1}),
        ("prior bias", {"label_smoothing": 0.3, "spread": "others", "exclude": [1]}),
        ("", {"label_smoothing": 0.1, "exclude": [0, 4]}),
        ("bias", {"label_smoothing": 0.1, "spread": "leaky", "exclude": [2]}),
        ("allowed", {"label_smoothing": 0.1}),
        ("allowed bias", {"z_loss": 0.05}),
        ("allowed_here", {"label_smoothing": 0.1, "spread": "others"}),
        ("allowed_here bias where", {"label_smoothing": 0.1}),
    ):
        what = give or "nothing else"
        _add(book, "receivers", f"who receives mass: {what}", shape="tokens", give=give, **spec)


def _class_weights(book: Book) -> None:
    for rule in ("per_class", "per_label", "expected", "label_term"):
        for shape, give in (("rows", "class_weight"), ("tokens", "class_weight where bias")):
            _add(
                book,
                "class-weights",
                f"class weights, {rule}",
                shape=shape,
                give=give,
                label_smoothing=0.1,
                class_weight_rule=rule,
            )


def _denominators(book: Book) -> None:
    for name in DENOMINATORS:
        extra = " class_weight" if "class" in name else ""
        ignored: Fields = {"ignore_index": -100} if "sequences" in name else {}
        _add(
            book,
            "denominator",
            f"D = {name}",
            shape="tokens",
            give=("ignored sample_weight bias" if ignored else "where sample_weight") + extra,
            label_smoothing=0.1,
            denominator=name,
            reduction="mean",
            **ignored,
        )
    for dtype in (SINGLE, DOUBLE):
        _add(book, "normalizer", "the count of a whole batch", dtype=dtype, shape="tokens", give="where normalizer")
    for shape in ("rows", "tokens"):
        for give in ("sample_weight", "bias"):
            _add(
                book,
                "cotangent",
                f"one cotangent for each position, with {give}",
                shape=shape,
                give=give,
                label_smoothing=0.1,
                reduction="none",
            )


def _masks(book: Book) -> None:
    weight = [0.0 if i in GARBAGE else w for i, w in enumerate([0.5, 1.0, 2.0, 0.25, 1.5, 1.25] * 2)]
    labels = [-100 if i in GARBAGE else i % 5 for i in range(12)]
    where: dict[str, Change] = {"where": KEPT}
    for reduction in ("mean", "none", "sum"):
        for name, give, put, more in (
            ("where", "where", where, {"label_smoothing": 0.1}),
            ("ignore_index", "ignored bias", {"labels": labels}, {"ignore_index": -100, "label_smoothing": 0.1}),
            ("a weight of 0", "sample_weight", {"sample_weight": weight}, {"z_loss": 0.05}),
        ):
            _add(
                book,
                "garbage",
                f"NaN and infinities in hidden, hidden by {name}",
                shape="tokens",
                give=give,
                put=put,
                rows=GARBAGE,
                dtype=(SINGLE, DOUBLE, BRAIN)[len(book.vectors) % 3],
                reduction=reduction,
                **more,
            )
    _add(
        book,
        "garbage",
        "the same under a softcap, of which an infinity makes a number",
        shape="tokens",
        give="where",
        put=where,
        rows=GARBAGE,
        dtype=SINGLE,
        numbers={"softcap": 4.0},
        label_smoothing=0.1,
        reduction="mean",
    )


def _nothing_counts(book: Book) -> None:
    for empty in ("zero", "nan"):
        for give in ("where", "where bias"):
            _add(
                book,
                "nothing-counts",
                f"nothing counts: {empty}, and no gradient",
                give=give,
                put={"where": [False] * 4},
                rows={0: [NAN] * 3},
                label_smoothing=0.1,
                empty=empty,
                reduction="mean",
            )
    for reduction in ("mean", "none", "sum"):
        _add(book, "empty-batch", "no positions at all", shape="empty", give="bias", reduction=reduction)


def _bias(book: Book) -> None:
    for dtype in (SINGLE, DOUBLE, HALF):
        _add(
            book,
            "bias",
            f"hidden is 0: the bias alone is the logits, in {dtype}",
            dtype=dtype,
            give="bias",
            put={"hidden": [0.0] * 12},
            label_smoothing=0.1,
        )
    _add(book, "bias", "no features: the bias alone", give="bias", features=0, label_smoothing=0.1)
    for dtype in (SINGLE, DOUBLE):
        _add(
            book,
            "bias",
            "a bias of −inf takes its class out",
            dtype=dtype,
            give="bias",
            put={"bias": [0.5, -INF, 0.25, -1.0, 0.0], "labels": [0, 2, 3, 4]},
        )


def _logit_scale(book: Book) -> None:
    for scale in (0.5, 0.3, 2.0, -1.0, -0.7, 1.0 / 3.0):
        _add(
            book,
            "logit-scale",
            f"logit_scale={scale:.4g}",
            shape="rows",
            give="bias" if len(book.vectors) % 2 else "",
            numbers={"logit_scale": scale},
            label_smoothing=0.1,
        )
    _add(
        book,
        "logit-scale",
        "scaled and masked",
        shape="tokens",
        give="where bias class_weight",
        numbers={"logit_scale": 0.0625},
        label_smoothing=0.1,
    )


def _softcap(book: Book) -> None:
    for cap, numbers in ((1.0, {}), (2.5, {}), (30.0, {}), (2.0, {"logit_scale": 1.5}), (3.0, {"logit_scale": -0.25})):
        for shape, give, spec in (
            ("rows", "", {"label_smoothing": 0.1}),
            ("tokens", "bias where", {"z_loss": 0.05} if numbers else {"label_smoothing": 0.1, "spread": "others"}),
        ):
            _add(
                book,
                "softcap",
                f"softcap={cap}" + "".join(f", {name}={value}" for name, value in numbers.items()),
                shape=shape,
                give=give,
                numbers={**numbers, "softcap": cap},
                **spec,
            )
    for give, spec in (
        ("class_weight sample_weight", {"label_smoothing": 0.1, "denominator": "weights", "reduction": "mean"}),
        ("prior allowed", {"label_smoothing": 0.1}),
    ):
        _add(
            book,
            "softcap",
            f"softcap with {give}",
            shape="tokens",
            dtype=SINGLE,
            give=give,
            numbers={"softcap": 2.0},
            **spec,
        )


def _dtypes(book: Book) -> None:
    for dtype in (BRAIN, HALF, DOUBLE):
        for reduction in ("mean", "none"):
            _add(
                book,
                "dtype",
                f"{dtype}, every argument",
                shape="tokens",
                dtype=dtype,
                give="bias where sample_weight class_weight",
                numbers={"logit_scale": 0.5, "softcap": 8.0},
                label_smoothing=0.1,
                reduction=reduction,
            )
    for dtype in (BRAIN, HALF):
        _add(book, "dtype", f"{dtype}, seven features", dtype=dtype, features=7, give="bias", label_smoothing=0.1)
    for label_dtype in ("uint8", "int8", "uint16", "uint32", "int64", "uint64"):
        _add(
            book,
            "labels",
            f"{label_dtype} labels",
            shape="rows",
            label_dtype=label_dtype,
            put={"labels": [4, 3, 0, 1]},
            label_smoothing=0.1,
        )


def _shapes(book: Book) -> None:
    for reduction in ("mean", "none"):
        _add(book, "shape", "one position, without an axis", shape="scalar", give="bias", reduction=reduction)
    _add(book, "shape", "one feature", features=1, give="bias", label_smoothing=0.1)
    _add(book, "shape", "one feature, two classes", shape="pairs", features=1, label_smoothing=0.1)
    _add(book, "shape", "one class: no loss", shape="single", give="bias", label_smoothing=0.1)
    _add(book, "shape", "one class: mass − q", shape="single", features=1, label_smoothing=0.25, spread="leaky")
    _add(book, "shape", "one class and z-loss", shape="single", z_loss=0.05)
    _add(book, "shape", "no tokens", shape="no-tokens", give="bias where", reduction="mean", denominator="batch")


def _extremes(book: Book) -> None:
    for dtype in (SINGLE, DOUBLE):
        _add(
            book,
            "shift",
            "a bias of 9,984 for all classes",
            shape="rows",
            dtype=dtype,
            give="bias",
            put={"bias": [9984.0, 9984.5, 9983.75, 9984.0, 9985.0]},
            label_smoothing=0.1,
        )
        _add(
            book,
            "gap",
            "one class is 200 above the others",
            shape="rows",
            dtype=dtype,
            give="bias",
            put={"bias": [0.0, 200.0, 0.0, 0.5, 0.0], "labels": [1, 0, 2, 1]},
            label_smoothing=0.1,
            reduction="none",
        )
    _add(
        book,
        "nan-label",
        "labels out of range make their rows NaN, and with them the kernel's gradient",
        shape="rows",
        dtype=DOUBLE,
        put={"labels": [0, 7, 3, -1]},
        out_of_range="nan",
        reduction="none",
    )


def _many(book: Book) -> None:
    """More positions than a block has, or a sum in half precision can tell apart."""
    for dtype, give, spec in (
        (SINGLE, "bias where", {"label_smoothing": 0.1}),
        (DOUBLE, "sample_weight", {"label_smoothing": 0.1, "denominator": "weights"}),
        (BRAIN, "bias positive", {"label_smoothing": 0.1}),
        (BRAIN, "positive", {"z_loss": 1e-3}),
    ):
        _add(
            book,
            "many",
            f"512 positions in {dtype}",
            shape="many",
            dtype=dtype,
            give=give,
            put={"labels": [7] * 512} if "positive" in give else {},
            features=4 if dtype in (SINGLE, DOUBLE) else 2,
            reduction="mean",
            **spec,
        )


def _vocabulary(book: Book) -> None:
    cases: tuple[tuple[str, str, str, list[int], str, Fields, dict[str, float]], ...] = (
        ("vocabulary", SINGLE, "int32", [2049, 0, 32767], "bias", {"label_smoothing": 0.1}, {}),
        (
            "vocabulary",
            DOUBLE,
            "int64",
            [4097, 16384, 30001],
            "where",
            {"spread": "others", "label_smoothing": 0.1},
            {},
        ),
        ("vocabulary", SINGLE, "int32", [32766, 7, 16383], "allowed bias", {"label_smoothing": 0.1}, {}),
        ("vocabulary", BRAIN, "int32", [257, 32767, 5], "bias", {"label_smoothing": 0.1}, {}),
        ("vocabulary", SINGLE, "uint16", [1, 20001, 32001], "", {"z_loss": 1e-4}, {"softcap": 4.0}),
        ("large-vocabulary", SINGLE, "int32", [131071, 65536, 3], "", {"label_smoothing": 0.1}, {"logit_scale": 0.25}),
    )
    for shape, dtype, label_dtype, labels, give, spec, numbers in cases:
        classes = 2**15 if shape == "vocabulary" else 2**17
        near = {k for y in labels for k in (y - 1, y, y + 1)} | {0, 1, classes // 3, classes - 2, classes - 1}
        _add(
            book,
            "vocabulary",
            f"K = {classes:,}, labels {', '.join(map(str, labels))}",
            shape=shape,
            dtype=dtype,
            label_dtype=label_dtype,
            give=give,
            put={"labels": labels},
            features=4,
            numbers=numbers,
            indices=sorted(k for k in near if 0 <= k < classes),
            **spec,
        )


def _bad_values(book: Book) -> None:
    twin = _add(
        book,
        "good",
        "valid twin: good labels",
        give="bias",
        put={"labels": [0, 1, 2, 4]},
        label_smoothing=0.1,
        reduction="none",
        dtype=SINGLE,
    )
    for labels in ({1: 5}, {0: -1, 2: -100}, {3: 2**31 - 1}):
        words = f"labels {sorted(labels.values())} with K = 5"
        book.spoil(twin, "linear-bad", "label_out_of_range", words, change={"labels": labels}, rows=labels)
    book.spoil(
        twin,
        "linear-bad",
        "exclude_out_of_range",
        "a class that does not exist is excluded",
        spec={"exclude": [5]},
    )
    twin = _add(
        book,
        "good",
        "valid twin: good labels, divided by",
        give="bias sample_weight class_weight prior allowed",
        put={
            "labels": [0, 1, 2, 4],
            "sample_weight": [0.5, 1.25, 2.0, 0.25],
            "prior": [0.25, 0.25, 0.25, 0, 0.25],
            "allowed": [True, True, True, False, True],
        },
        label_smoothing=0.1,
        reduction="mean",
        dtype=DOUBLE,
    )
    for reason, name, entry, rows in (
        ("label_not_allowed", "labels", {2: 3}, [2]),
        ("bad_sample_weight", "sample_weight", {1: NAN}, [1]),
        ("bad_class_weight", "class_weight", {3: -0.5}, [0, 1, 2, 3]),
        ("bad_prior", "prior", {0: -0.25}, [0, 1, 2, 3]),
        ("prior_not_normalized", "prior", {0: 0.75}, [0, 1, 2, 3]),
    ):
        change = {name: entry}
        book.spoil(twin, "linear-bad", reason, f"{name} with {next(iter(entry.values()))}", change=change, rows=rows)
