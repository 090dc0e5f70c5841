"""As many classes as a language model has: labels that half precision and 16 bits cannot tell apart."""

from __future__ import annotations

from typing import Any

from generator.book import SHAPES, Book, Change


def vocabulary() -> Book:
    """K = 32,768 and 131,072, written as recipes. A few gradients of each row are looked at."""
    book = Book()
    _medium(book)
    _large(book)
    return book


def _medium(book: Book) -> None:
    cases: tuple[tuple[str, str, list[int], str, dict[str, Any]], ...] = (
        ("float32", "int32", [2049, 0, 32767], "", {"label_smoothing": 0.1}),
        ("float32", "int64", [4097, 2051, 30001], "where", {"label_smoothing": 0.1, "spread": "others"}),
        ("float64", "int32", [257, 32766, 16385], "", {"label_smoothing": 0.1, "spread": "leaky"}),
        ("bfloat16", "int16", [2049, 257, 32767], "", {}),
        ("bfloat16", "int32", [16385, 8193, 5], "where", {"label_smoothing": 0.1}),
        ("float16", "uint16", [2049, 32767, 1], "", {"label_smoothing": 0.1}),
        ("float32", "int32", [32767, 2047, 11], "", {"z_loss": 1e-4}),
        ("float32", "int32", [1, 32765, 9999], "allowed where", {"label_smoothing": 0.1}),
        ("float64", "int64", [3, 31, 31111], "prior", {"label_smoothing": 0.3, "exclude": [0, 5]}),
        ("float32", "int32", [3, 5, 32767], "class_weight where", {"label_smoothing": 0.1}),
        ("float32", "int32", [0, 0, 0], "soft", {"label_smoothing": 0.1}),
        ("float64", "int32", [77, 7, 32000], "where", {"label_smoothing": 0.1, "spread": "others", "kl": True}),
        ("float32", "int64", [4, 32767, 18], "", {"values": [0.9, 2.0**-16]}),
    )
    for case in cases:
        _add(book, "vocabulary", *case)
    for dtype in ("float32", "float64"):
        labels = [32767, 2049, 6]
        _add(book, "vocabulary-first", dtype, "int32", labels, "", {"label_smoothing": 0.1})


def _large(book: Book) -> None:
    cases: tuple[tuple[str, str, list[int], str, dict[str, Any]], ...] = (
        ("float32", "int32", [131071, 65536, 2049], "", {"label_smoothing": 0.1}),
        ("float32", "int64", [70001, 65535, 3], "where", {"label_smoothing": 0.1, "spread": "others"}),
        ("bfloat16", "int32", [131071, 99999, 257], "", {"label_smoothing": 0.1}),
        ("float64", "uint32", [131070, 65537, 9], "where", {"z_loss": 1e-4}),
        ("float32", "int32", [100001, 66001, 1], "allowed", {"label_smoothing": 0.1}),
        ("float32", "int64", [131069, 70003, 5], "where", {"values": [0.9, 2.0**-18], "z_loss": 1e-4}),
    )
    for case in cases:
        _add(book, "large-vocabulary", *case)


def _add(
    book: Book, shape: str, dtype: str, label_dtype: str, labels: list[int], give: str, spec: dict[str, Any]
) -> None:
    put: dict[str, Change] = {} if "soft" in give else {"labels": labels}
    (sizes, axis), soft = SHAPES[shape], "soft" in give
    what = "soft labels" if soft else f"{label_dtype} labels {', '.join(map(str, labels))}"
    book.add(
        shape,
        f"K = {sizes[axis]:,}, {what}",
        shape=shape,
        dtype=dtype,
        give=give,
        put=put,
        label_dtype=label_dtype,
        indices=_telling(sizes[axis], labels, axis == 0),
        without="labels prior class_weight sample_weight",
        **spec,
    )


def _telling(classes: int, labels: list[int], first: bool) -> list[int]:
    """Flat indices to look at: each row's label, its neighbours, both ends, powers of two, some between."""
    row = {0, 1, 2**8, 2**11, 2**11 + 1, 2**15 - 1, 2**15, 2**16, classes // 3, classes - 2, classes - 1}
    picked = {(i, k) for i, y in enumerate(labels) for k in row | {y - 1, y, y + 1} if 0 <= k < classes}
    return sorted(k * len(labels) + i if first else i * classes + k for i, k in picked)
