"""What a call must look like, in one set of messages for every framework.

``check_call`` reads shapes and dtypes, which are known even while a function is compiled. ``check_values`` reads
the values, where that needs no waiting; ``bad_positions`` finds the same faults with a framework's own arrays, for
the places where nobody can raise an error and the row becomes NaN instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from multismooth.errors import InputError
from multismooth.lowering import Functions
from multismooth.spec import Spec, brief

FLOATS: Final = ("float16", "bfloat16", "float32", "float64")
INTEGERS: Final = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

BEYOND: Final = "int beyond 64 bits"

SUM_TOLERANCE: Final = 2.0**-8
"""How far from 1 probabilities may sum: rounding each of them to bfloat16 moves the sum by half of this."""

_UNSIGNED: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""by bytes"""

UNREAD: Final = object()
"""Stands for values that cannot be read without waiting: traced, compiled, or on another device."""


Refuse = Callable[[str, str, str], InputError]
"""Makes the error of a reason, a fact and a remedy."""


class Batch(NamedTuple):
    """The arrays of one call."""

    logits: Any
    labels: Any
    where: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    prior: Any = None
    allowed: Any = None
    normalizer: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether logits and labels are all there is."""
        _, _, where, sample_weight, class_weight, prior, allowed, normalizer = self
        return where is sample_weight is class_weight is prior is allowed is normalizer is None


class Described(NamedTuple):
    """All that ``check_call`` needs to know of an array; a dimension may be unknown (None)."""

    shape: tuple[int | None, ...]
    dtype: str
    rank_is_known: bool = True


class Layout(NamedTuple):
    """What ``check_call`` found out."""

    axis: int
    """The class axis of the logits, counted from the front."""
    classes: int
    soft: bool
    """Whether the labels are a probability for each class."""


def check_call(
    call: str,
    spec: Spec,
    batch: Batch,
    axis: Any,
    describe: Callable[[Any], Described | None],
    *,
    totals: bool = False,
) -> Layout:
    """Checks shapes, dtypes, and the spec against the arguments.

    ``describe`` returns None for what is no dense array of the framework.
    """

    def refuse(reason: str, fact: str, remedy: str) -> InputError:
        return InputError(reason, call, fact, remedy)

    logits, labels = (_described(refuse, name, getattr(batch, name), describe) for name in ("logits", "labels"))
    if logits.dtype not in FLOATS:
        raise refuse(
            "logits_dtype",
            f"logits have dtype {logits.dtype}",
            f"Pass real logits in one of {', '.join(FLOATS)}",
        )
    rank = len(logits.shape)
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise refuse("axis_not_an_integer", f"axis is {brief(axis)}", "Pass the index of the class axis")
    if not -rank <= axis < rank:
        raise refuse(
            "axis_out_of_range",
            f"axis is {brief(int(axis))}, but logits of shape {_show(logits.shape)} have {rank} axes",
            "Pass the index of the class axis",
        )
    axis = int(axis) % rank
    classes, positions = logits.shape[axis], logits.shape[:axis] + logits.shape[axis + 1 :]
    if classes is None:
        raise refuse(
            "unknown_classes",
            f"logits of shape {_show(logits.shape)} have an unknown number of classes",
            "Set the static size of the class axis",
        )
    if classes == 0:
        raise refuse(
            "no_classes",
            f"logits of shape {_show(logits.shape)} have no classes on axis {axis}",
            "Pass at least one class",
        )
    soft = _labels_are_soft(refuse, logits, labels, axis, positions)

    others = {}
    for name, array in batch._asdict().items():
        if array is not None and name not in ("logits", "labels"):
            number = _number(array) if name == "normalizer" else None
            others[name] = number or _described(refuse, name, array, describe)
    if others:
        _check_others(refuse, others, logits.shape, positions, classes)
    _check_spec(refuse, spec, others, classes, soft)
    by_first_axis = spec.denominator in ("batch", "sequences", "nonempty_sequences")
    if not positions and by_first_axis and (totals or spec.reduction == "mean"):
        raise refuse(
            "no_first_axis",
            f"denominator={spec.denominator!r} needs a first axis, and the labels are a scalar",
            "Pass a batch, or another denominator",
        )
    return Layout(axis, classes, soft)


def check_call_once(
    call: str,
    spec: Spec,
    batch: Batch,
    axis: Any,
    describe: Callable[[Any], Described | None],
) -> Layout:
    """``check_call``, which remembers its answer: that holds for all batches that are alike.

    It takes 7% of the time of 32×10 logits in PyTorch, forward and backward. For shapes that are numbers, as they are
    outside of a trace.
    """
    if isinstance(axis, int) and batch.normalizer is None:
        arrays = [array if array is None else describe(array) or UNREAD for array in batch]
        if UNREAD not in arrays:
            return _layout(call, spec, axis, *arrays)
    return check_call(call, spec, batch, axis, describe)


@lru_cache(typed=True)  # an axis of True is not that of 1
def _layout(call: str, spec: Spec, axis: int, *arrays: Described | None) -> Layout:
    return check_call(call, spec, Batch(*arrays), axis, lambda described: described)


def check_linear(
    call: str,
    hidden: Any,
    kernel: Any,
    bias: Any,
    logit_scale: Any,
    softcap: Any,
    labels: Any,
    describe: Callable[[Any], Described | None],
) -> Described:
    """Checks what the logits softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap) are made from.

    Returns what these logits would be: what ``describe`` must answer for the logits of the batch, when ``check_call``
    checks everything else with the class axis last.
    """

    def refuse(reason: str, fact: str, remedy: str) -> InputError:
        return InputError(reason, call, fact, remedy)

    rows, columns = (_described(refuse, name, x, describe) for name, x in (("hidden", hidden), ("kernel", kernel)))
    if rows.dtype not in FLOATS:
        raise refuse(
            "hidden_dtype",
            f"hidden has dtype {rows.dtype}",
            f"Pass real numbers in one of {', '.join(FLOATS)}",
        )
    if not rows.shape:
        raise refuse("no_hidden_axis", "hidden is a scalar", "Pass an array with the hidden features on the last axis")
    _same_dtype(refuse, "kernel", columns, rows)
    features = rows.shape[-1:]
    if len(columns.shape) != 2 or not _same(columns.shape[:1], features):
        turned = len(columns.shape) == 2 and _same(columns.shape[1:], features)
        raise refuse(
            "kernel_shape",
            f"kernel has shape {_show(columns.shape)}, but hidden of shape {_show(rows.shape)} needs a row for each of "
            "its features and a column for each class",
            "Pass kernel.T: nn.Linear of PyTorch keeps a row for each class" if turned else "Pass [features, classes]",
        )
    classes = columns.shape[1:]
    if bias is not None:
        offsets = _described(refuse, "bias", bias, describe)
        _same_dtype(refuse, "bias", offsets, rows)
        if not _same(offsets.shape, classes):
            raise refuse(
                "bias_shape",
                f"bias has shape {_show(offsets.shape)}, and {_show(classes)} is needed",
                "Pass one number per class; nothing is broadcast",
            )
    _check_scalars(refuse, logit_scale, softcap)
    _check_linear_labels(refuse, rows, _described(refuse, "labels", labels, describe))
    return Described(rows.shape[:-1] + classes, rows.dtype)


def _check_scalars(refuse: Refuse, logit_scale: Any, softcap: Any) -> None:
    if logit_scale is not None:
        remedy = "Pass a number of Python or NumPy; multiply hidden by a scale that is learned"
        if not math.isfinite(_real(refuse, "logit_scale", logit_scale, remedy)):
            raise refuse("logit_scale_not_finite", f"logit_scale is {brief(logit_scale)}", "Pass a finite number")
    if softcap is not None:
        remedy = "Pass a number of Python or NumPy, or None for no cap"
        if not 0 < _real(refuse, "softcap", softcap, remedy) < math.inf:
            fact = f"softcap is {brief(softcap)}"
            raise refuse("softcap_out_of_range", fact, "Pass a finite number > 0, or None for no cap")


def _check_linear_labels(refuse: Refuse, hidden: Described, labels: Described) -> None:
    """Class indices, one for each row of hidden; their values and dtypes are the business of ``check_call``."""
    positions = hidden.shape[:-1]
    if _same(labels.shape, positions):
        return
    if labels.dtype in FLOATS:
        raise refuse(
            "linear_soft_labels",
            f"labels of dtype {labels.dtype} and shape {_show(labels.shape)} are as many as the logits, which are "
            "not held here",
            "Pass class indices, or compute the logits and call smoothed_cross_entropy",
        )
    raise refuse(
        "labels_shape",
        f"labels have shape {_show(labels.shape)}, but hidden of shape {_show(hidden.shape)} needs labels of shape "
        f"{_show(positions)}",
        "Pass one class index for each row of hidden",
    )


def _described(
    refuse: Refuse,
    name: str,
    array: Any,
    describe: Callable[[Any], Described | None],
) -> Described:
    described = describe(array)
    if described is None:
        raise refuse(
            "not_an_array",
            f"{name} is a {type(array).__name__}",
            "Pass a dense array of this framework",
        )
    if not described.rank_is_known:
        raise refuse("unknown_rank", f"the number of axes of {name} is unknown", "Set its static shape")
    return described


def _same_dtype(refuse: Refuse, name: str, array: Described, hidden: Described) -> None:
    if array.dtype != hidden.dtype:
        raise refuse(
            f"{name}_dtype",
            f"{name} has dtype {array.dtype}, and hidden has {hidden.dtype}",
            "Cast one to the other's dtype",
        )


def _real(refuse: Refuse, name: str, value: Any, remedy: str) -> float:
    """A number of Python or NumPy, which is infinite if it is beyond every float."""
    described = _number(value)
    if described is None or described.dtype not in (*FLOATS, *INTEGERS, BEYOND):
        raise refuse(f"{name}_not_a_number", f"{name} is a {type(value).__name__}", remedy)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(value: Any) -> Described | None:
    """A number of Python or NumPy, described as a scalar array."""
    if isinstance(value, np.generic):
        return Described((), value.dtype.name)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return Described((), BEYOND)
    for kind, dtype in ((bool, "bool"), (int, "int64"), (float, "float64"), (complex, "complex128")):
        if isinstance(value, kind):
            return Described((), dtype)
    return None


def _labels_are_soft(
    refuse: Refuse,
    logits: Described,
    labels: Described,
    axis: int,
    positions: tuple[int | None, ...],
) -> bool:
    if labels.dtype in FLOATS:
        if _same(labels.shape, logits.shape):
            return True
        if _same(labels.shape, positions):
            raise refuse(
                "float_labels",
                f"labels name classes but have dtype {labels.dtype}, which may not hold every class index",
                "Pass integers, or probabilities in the logits' shape",
            )
        raise refuse(
            "soft_labels_shape",
            f"soft labels have shape {_show(labels.shape)}, but logits have {_show(logits.shape)}",
            "Pass one probability per class in the logits' shape",
        )
    if labels.dtype not in INTEGERS:
        raise refuse(
            "labels_dtype",
            f"labels have dtype {labels.dtype}",
            "Pass integer class indices, or floating-point probabilities in the logits' shape",
        )
    if _same(labels.shape, positions):
        return False
    if _same(labels.shape, logits.shape):
        raise refuse(
            "integer_one_hot",
            f"labels of dtype {labels.dtype} have the logits' shape {_show(logits.shape)}, like one-hot rows",
            "Pass class indices (their argmax), or cast them to a floating dtype for soft labels",
        )
    raise refuse(
        "labels_shape",
        f"labels have shape {_show(labels.shape)}, but logits of shape {_show(logits.shape)} with the class "
        f"axis {axis} need labels of shape {_show(positions)}",
        "If the classes are on another axis, name it in axis",
    )


def _check_others(
    refuse: Refuse,
    others: dict[str, Described],
    logits: tuple[int | None, ...],
    positions: tuple[int | None, ...],
    classes: int,
) -> None:
    """Dtypes and shapes of what was given beside logits and labels."""
    vector = (classes,)
    needed: dict[str, tuple[tuple[str, ...], list[tuple[int | None, ...]], str]] = {
        "where": (("bool",), [positions], "the labels' shape"),
        "sample_weight": (FLOATS, [positions], "the labels' shape"),
        "class_weight": (FLOATS, [vector], "one number per class"),
        "prior": (FLOATS, [vector], "one number per class"),
        "allowed": (("bool",), [vector, logits], "one per class or the logits' shape"),
        "normalizer": (FLOATS + INTEGERS, [()], "a scalar"),
    }
    for name, array in others.items():
        dtypes, shapes, meaning = needed[name]
        if array.dtype not in dtypes:
            kind = {("bool",): "booleans", FLOATS: "real numbers of a floating dtype"}.get(dtypes, "a real number")
            raise refuse(f"{name}_dtype", f"{name} has dtype {array.dtype}", f"Pass {kind}")
        if not any(_same(array.shape, shape) for shape in shapes):
            raise refuse(
                f"{name}_shape",
                f"{name} has shape {_show(array.shape)}, and {' or '.join(map(_show, shapes))} is needed",
                f"Pass {meaning}; nothing is broadcast",
            )


def _check_spec(refuse: Refuse, spec: Spec, others: dict[str, Described], classes: int, soft: bool) -> None:
    """What a spec and the arguments exclude in each other."""
    if spec.exclude and spec.exclude[-1] >= classes:
        raise refuse(
            "exclude_out_of_range",
            f"exclude names class {brief(spec.exclude[-1])}, and there are {classes} classes",
            "Pass indices of classes that exist",
        )
    if len(spec.exclude) == classes:
        raise refuse(
            "exclude_all_classes",
            f"exclude names every one of the {classes} classes",
            "Leave at least one class to receive the smoothing mass",
        )
    if spec.values is not None and "prior" in others:
        raise refuse(
            "values_exclude_prior",
            "the spec's values give the target outright, and a prior is given too",
            "Pass one of the two",
        )
    if spec.kl and "class_weight" in others:
        raise refuse(
            "kl_excludes_class_weight",
            "kl subtracts the entropy of a distribution, and class weights make the target none",
            "Pass kl=False, or no class_weight",
        )
    if "normalizer" in others and spec.reduction != "mean":
        raise refuse(
            "normalizer_needs_mean",
            f"normalizer replaces the mean's denominator, and reduction is {spec.reduction!r}",
            "Pass reduction='mean', or no normalizer",
        )
    if not soft:
        return
    for field, undefined in {
        "spread": ("others", "leaky"),
        "class_weight_rule": ("per_label", "label_term"),
        "denominator": ("class_weights", "expected_class_weights"),
    }.items():
        if getattr(spec, field) in undefined:
            raise refuse(
                f"soft_labels_exclude_{field}",
                f"{field}={getattr(spec, field)!r} has no meaning for soft labels",
                f"Pass integer labels, or another {field}",
            )
    for field in ("values", "ignore_index"):
        if getattr(spec, field) is not None:
            raise refuse(
                f"soft_labels_exclude_{field}",
                f"{field}={brief(getattr(spec, field))} has no meaning for soft labels",
                f"Pass integer labels, or {field}=None" + (" and a mask in where" if field == "ignore_index" else ""),
            )


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
    return _show(tuple(int(i) for i in np.argwhere(bad)[0]))


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


def _same(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    if shape == other:
        return True
    return len(shape) == len(other) and all(a == b or a is None or b is None for a, b in zip(shape, other, strict=True))


def _show(shape: tuple[int | None, ...]) -> str:
    inside = ", ".join("?" if n is None else str(n) for n in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"
