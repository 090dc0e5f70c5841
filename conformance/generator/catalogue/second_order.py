"""How the gradient changes along a direction: what a saved log Σ exp, taken for a constant, gets wrong."""

from __future__ import annotations

from typing import Any

from generator.book import NAN, Book


def second_order() -> Book:
    """Hessian-vector products of every target, with z-loss, weights and masks."""
    book = Book()
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("", {}),
        ("", {"label_smoothing": 0.1}),
        ("", {"label_smoothing": 0.1, "spread": "others", "z_loss": 0.05}),
        ("", {"label_smoothing": 0.25, "spread": "leaky"}),
        ("", {"values": [0.9, 0.005], "z_loss": 0.05}),
        ("where", {"label_smoothing": 0.1, "kl": True}),
        ("where sample_weight", {"label_smoothing": 0.1, "denominator": "weights"}),
        ("class_weight", {"label_smoothing": 0.1, "class_weight_rule": "per_class", "denominator": "class_weights"}),
        ("class_weight where", {"label_smoothing": 0.1, "class_weight_rule": "expected"}),
        ("allowed_here prior", {"label_smoothing": 0.1, "spread": "others"}),
        ("soft", {"label_smoothing": 0.1, "z_loss": 0.05}),
        ("ignored", {"ignore_index": -100, "z_loss": 0.05, "denominator": "sequences"}),
    )
    for turn, (give, spec) in enumerate(cases):
        for shape, dtype in (("tokens", "float64"), (("middle", "first")[turn % 2], "float32")):
            book.add(
                "second-order",
                f"the gradient's derivative along a direction, {dtype}, with {give or 'nothing else'}",
                shape=shape,
                dtype=dtype,
                give=give,
                tangent=True,
                **spec,
            )
    book.add(
        "second-order",
        "NaN under the mask: no derivative of any order",
        shape="tokens",
        give="where",
        put={"where": [True, False, True, True, False, True, True, True, True, False, True, True]},
        rows={1: [NAN] * 5, 4: [NAN] * 5},
        tangent=True,
        label_smoothing=0.1,
    )
    for dtype in ("bfloat16", "float16"):
        book.add(
            "second-order",
            f"{dtype}: computed in float32, rounded once",
            shape="tokens",
            dtype=dtype,
            tangent=True,
            label_smoothing=0.1,
        )
    return book
