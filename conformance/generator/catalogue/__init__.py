"""What is tested, file by file. Append only: the position in a family is part of a permanent id."""

from __future__ import annotations

from collections.abc import Callable

from generator.book import Book
from generator.catalogue import (
    bad_values,
    combinations,
    denominators,
    extremes,
    layouts,
    linear,
    masks,
    second_order,
    targets,
    vocabulary,
    weights,
)

FILES: dict[str, Callable[[], Book]] = {
    "targets": targets.targets,
    "soft_labels": targets.soft_labels,
    "receivers": targets.receivers,
    "class_weights": weights.class_weights,
    "z_loss": weights.z_loss,
    "masks": masks.masks,
    "denominators": denominators.denominators,
    "extremes": extremes.extremes,
    "layouts": layouts.layouts,
    "article": layouts.article,
    "combinations": combinations.combinations,
    "vocabulary": vocabulary.vocabulary,
    "second_order": second_order.second_order,
    "bad_values": bad_values.bad_values,
    "linear": linear.linear,
}
