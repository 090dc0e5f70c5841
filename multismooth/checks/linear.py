"""What a linear layer's logits are made from: its shapes, dtypes and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from multismooth.checks.arrays import BEYOND, FLOATS, INTEGERS, Described, Refuse, described, number, same, show
from multismooth.errors import InputError
from multismooth.spec import brief


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

    rows, columns = (described(refuse, name, x, describe) for name, x in (("hidden", hidden), ("kernel", kernel)))
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
    if len(columns.shape) != 2 or not same(columns.shape[:1], features):
        turned = len(columns.shape) == 2 and same(columns.shape[1:], features)
        raise refuse(
            "kernel_shape",
            f"kernel has shape {show(columns.shape)}, but hidden of shape {show(rows.shape)} needs a row for each of "
            "its features and a column for each class",
            "Pass kernel.T: nn.Linear of PyTorch keeps a row for each class" if turned else "Pass [features, classes]",
        )
    classes = columns.shape[1:]
    if bias is not None:
        offsets = described(refuse, "bias", bias, describe)
        _same_dtype(refuse, "bias", offsets, rows)
        if not same(offsets.shape, classes):
            raise refuse(
                "bias_shape",
                f"bias has shape {show(offsets.shape)}, and {show(classes)} is needed",
                "Pass one number per class; nothing is broadcast",
            )
    _check_scalars(refuse, logit_scale, softcap)
    _check_linear_labels(refuse, rows, described(refuse, "labels", labels, describe))
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
    if same(labels.shape, positions):
        return
    if labels.dtype in FLOATS:
        raise refuse(
            "linear_soft_labels",
            f"labels of dtype {labels.dtype} and shape {show(labels.shape)} are as many as the logits, which are "
            "not held here",
            "Pass class indices, or compute the logits and call smoothed_cross_entropy",
        )
    raise refuse(
        "labels_shape",
        f"labels have shape {show(labels.shape)}, but hidden of shape {show(hidden.shape)} needs labels of shape "
        f"{show(positions)}",
        "Pass one class index for each row of hidden",
    )


def _same_dtype(refuse: Refuse, name: str, array: Described, hidden: Described) -> None:
    if array.dtype != hidden.dtype:
        raise refuse(
            f"{name}_dtype",
            f"{name} has dtype {array.dtype}, and hidden has {hidden.dtype}",
            "Cast one to the other's dtype",
        )


def _real(refuse: Refuse, name: str, value: Any, remedy: str) -> float:
    """A number of Python or NumPy, which is infinite if it is beyond every float."""
    described = number(value)
    if described is None or described.dtype not in (*FLOATS, *INTEGERS, BEYOND):
        raise refuse(f"{name}_not_a_number", f"{name} is a {type(value).__name__}", remedy)
    try:
        return float(value)
    except OverflowError:
        return math.inf
