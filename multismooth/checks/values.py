"""The values, where they can be read: what no loss is defined for, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from multismooth.checks.arrays import UNREAD, Batch, Layout, show
from multismooth.errors import InputError
from multismooth.lowering import Functions
from multismooth.spec import Spec

SUM_TOLERANCE: Final = 2.0**-8
"""How far from 1 probabilities may sum: rounding each of them to bfloat16 moves the sum by half of this."""

_UNSIGNED: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""by bytes"""


class Good(NamedTuple):
    """What ``check_values`` has read, every value of it good where it counts."""

    values: Batch
    """the arrays as NumPy's, without the logits"""
    counts: Any
    """bool [*batch], the positions that count"""
    labels: Any
    """class indices, 0 where a label may be anything; None of probabilities"""


def check_values(call: str, spec: Spec, batch: Batch, layout: Layout, read: Callable[[Any], Any]) -> Good | None:
    """Raises for values that no loss is defined for, as far as ``read`` can read them.

    ``read`` turns an array into NumPy's, or into ``UNREAD``. Positions that do not count are not checked. None if any
    value is not known to be good.
    """
    if plain := batch.is_plain:
        values = Batch(None, read(batch.labels))
    else:
        values = Batch(None, *(None if array is None else read(array) for array in batch[1:]))
        _check_class_numbers(call, values)
    if values.labels is UNREAD or values.where is UNREAD or values.sample_weight is UNREAD:
        return None
    counts = live = _counting(spec, values, layout)
    if values.sample_weight is not None:
        live = _check_sample_weight(call, values, counts)
    if values.allowed is UNREAD:
        return None
    labels = None
    if layout.soft:
        _check_soft_labels(call, spec, values, layout, live)
    elif spec.out_of_range == "raise":
        labels = _checked_labels(call, values, layout, live)
    known = plain or not any(array is UNREAD for array in values)
    return Good(values, counts, labels) if known and spec.out_of_range == "raise" else None


def _counting(spec: Spec, values: Batch, layout: Layout) -> Any:
    """The positions that count, of values that are NumPy's."""
    labels, where = values.labels, values.where
    if spec.ignore_index is not None:
        counts = labels != spec.ignore_index
        return counts if where is None else counts & where
    if where is not None:
        return where
    return np.ones(np.delete(labels.shape, layout.axis) if layout.soft else labels.shape, bool)


def _is_weight(array: Any) -> Any:
    return (array >= 0) & (array < np.inf)


def _check_class_numbers(call: str, values: Batch) -> None:
    weight, prior, normalizer = values.class_weight, values.prior, values.normalizer
    if weight is not None and weight is not UNREAD and not _is_weight(weight).all():
        raise _bad_value(call, "bad_class_weight", "class_weight", weight, ~_is_weight(weight))
    if prior is not None and prior is not UNREAD:
        if not _is_weight(prior).all():
            raise _bad_value(call, "bad_prior", "prior", prior, ~_is_weight(prior))
        total = prior.sum(dtype=np.float64)
        if abs(total - 1) > SUM_TOLERANCE:
            raise InputError("prior_not_normalized", call, f"prior sums to {total:.6g}", "Divide it by its sum")
    if normalizer is not None and normalizer is not UNREAD and not _is_weight(normalizer).all():
        raise InputError("bad_normalizer", call, f"normalizer is {normalizer}", "Pass a finite number ≥ 0")


@np.errstate(invalid="ignore")  # anything may stand where nothing counts
def _check_sample_weight(call: str, values: Batch, counts: Any) -> Any:
    """Where it is not 0 among the positions that count."""
    weight = values.sample_weight
    bad = counts & ~_is_weight(weight)
    if bad.any():
        raise _bad_value(call, "bad_sample_weight", "sample_weight", weight, bad)
    return counts & (weight != 0)


def _checked_labels(call: str, values: Batch, layout: Layout, counts: Any) -> Any:
    """The labels, 0 where one may be anything."""
    labels, classes = values.labels, layout.classes
    safe = np.where(counts, labels, 0)
    # Read without its sign a negative number is larger than every class.
    if safe.size and safe.view(_UNSIGNED[safe.dtype.itemsize]).max() >= classes:
        outside = (safe < 0) | (safe >= classes)
        raise InputError(
            "label_out_of_range",
            call,
            f"{_first('labels', labels, outside)}, which is not one of the {classes} classes 0 to {classes - 1}",
            "Correct it, or mask it with where or ignore_index",
        )
    if values.allowed is None:
        return safe
    index = safe.astype(np.int64)
    if values.allowed.ndim == 1:
        allowed = values.allowed[index]
    else:
        rows = np.moveaxis(values.allowed, layout.axis, -1)
        allowed = np.take_along_axis(rows, index[..., None], -1)[..., 0]
    refused = counts & ~allowed
    if refused.any():
        raise InputError(
            "label_not_allowed",
            call,
            f"{_first('labels', labels, refused)}, a class that is not allowed there",
            "Correct it, allow the class, or mask the position",
        )
    return safe


@np.errstate(invalid="ignore")
def _check_soft_labels(call: str, spec: Spec, values: Batch, layout: Layout, counts: Any) -> None:
    labels = np.moveaxis(values.labels, layout.axis, -1)
    rows = counts[..., None]
    totals = labels.sum(-1, dtype=np.float64)
    even = np.abs(totals - 1) <= SUM_TOLERANCE
    # There are as many as logits: at a glance first. What does not count may be anything.
    if not (even.all() and labels.min(initial=0.0) >= 0):
        negative = rows & ~_is_weight(labels)
        if negative.any():
            raise _bad_value(call, "negative_soft_label", "soft labels", labels, negative)
    uneven = counts & ~even
    if uneven.any():
        raise InputError(
            "soft_labels_not_normalized",
            call,
            f"soft labels at position {_index(uneven)} sum to {totals[uneven][0]:.6g}",
            "Divide them by their sum",
        )
    if values.allowed is None or spec.out_of_range == "nan":
        return
    allowed = values.allowed
    if allowed.ndim > 1:
        allowed = np.moveaxis(allowed, layout.axis, -1)
    refused = rows & ~allowed & (labels > 0)
    if refused.any():
        raise InputError(
            "soft_label_not_allowed",
            call,
            f"{_first('soft labels', labels, refused)}, on a class that is not allowed there",
            "Move the mass, allow the class, or mask the position",
        )


def _index(bad: Any) -> str:
    """Where the first bad value is, counted with the class axis last."""
    return show(tuple(int(i) for i in np.argwhere(bad)[0]))


def _first(name: str, array: Any, bad: Any) -> str:
    return f"{name} at {_index(bad)} is {array[bad][0]}"


def _bad_value(call: str, reason: str, name: str, array: Any, bad: Any) -> InputError:
    return InputError(reason, call, _first(name, array, bad), "Pass finite numbers ≥ 0")


def bad_positions(batch: Batch, bad_labels: Any, functions: Functions) -> Any:
    """Which positions have no defined loss, if they count: what ``check_values`` would have refused."""
    bad = bad_labels
    if batch.sample_weight is not None:
        bad = bad | ~_is_weight(batch.sample_weight)
    if batch.class_weight is not None:
        bad = bad | functions.any(~_is_weight(batch.class_weight))
    if batch.prior is not None:
        bad = bad | functions.any(~_is_weight(batch.prior))
        bad = bad | (abs(functions.sum(batch.prior) - 1) > SUM_TOLERANCE)
    return bad
