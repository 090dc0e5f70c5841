"""What a call can choose, and which choices have no meaning together: what the vectors are to cover."""

from __future__ import annotations

from typing import Any

DENOMINATORS = (
    "valid",
    "all",
    "batch",
    "weights",
    "nonzero_weights",
    "class_weights",
    "expected_class_weights",
    "sequences",
    "nonempty_sequences",
)

OPTIONS: dict[str, tuple[Any, ...]] = {
    "spread": ("uniform", "others", "leaky", "values"),
    "label_smoothing": (0.0, 0.1, 0.3, 1.0),
    "class_weight_rule": (None, "per_class", "per_label", "expected", "label_term"),
    "denominator": DENOMINATORS,
    "kl": (False, True),
    "z_loss": (0.0, 1e-2),
    "reduction": ("mean", "none", "sum"),
    "labels": ("indices", "soft"),
    "prior": (False, True),
    "exclude": (False, True),
    "allowed": (None, "allowed", "allowed_here"),
    "axis": ("tokens", "middle", "first"),
    "dtype": ("float32", "float64", "bfloat16", "float16"),
    "mask": (None, "where", "ignored", "ignored where"),
    "sample_weight": (False, True),
}
"""What a call can choose; None, or False, is its absence. An axis is named by its shape in the book."""

UNDEFINED: tuple[tuple[str, tuple[Any, ...], str, tuple[Any, ...]], ...] = (
    ("spread", ("values",), "label_smoothing", (0.1, 0.3, 1.0)),
    ("spread", ("values",), "prior", (True,)),
    ("class_weight_rule", ("label_term",), "spread", ("others", "leaky", "values")),
    ("kl", (True,), "class_weight_rule", ("per_class", "per_label", "expected", "label_term")),
    ("labels", ("soft",), "spread", ("others", "leaky", "values")),
    ("labels", ("soft",), "class_weight_rule", ("per_label", "label_term")),
    ("labels", ("soft",), "mask", ("ignored", "ignored where")),
    ("labels", ("soft",), "denominator", ("class_weights", "expected_class_weights")),
)
"""The pairs of options that have no meaning together, and raise."""
