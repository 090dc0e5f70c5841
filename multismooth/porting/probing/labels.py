"""What a loss does with labels that are no class, and which of them it ignores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.porting.probing import rows
from multismooth.porting.probing.batches import Batch
from multismooth.porting.probing.inquiry import Inquiry
from multismooth.porting.probing.layouts import parameters_of
from multismooth.spec import Spec

Array = NDArray[Any]

USUAL = (-100, -1, 255)


NARROWED = (2**16 + 3, 2**32 + 3)
"""Class 3, if a label loses bits."""


class Fate(NamedTuple):
    """What becomes of a position with a label."""

    kind: str
    """"raises", "nan", "ignored", "class", "smoothing", "uniform" or "other" """
    fact: str
    taken_for: int | None = None
    counted: bool = False
    """whether the other position is divided by more than if it were alone"""


def out_of_range(inquiry: Inquiry, spec: Spec) -> Spec:
    """The spec with ``ignore_index`` and ``out_of_range``."""
    if inquiry.callee.layout.form == "one-hot":
        inquiry.say("ignore_index", "the labels' form", "one-hot labels have no ignored index")
        return replace(spec, ignore_index=None)
    classes, held = inquiry.classes, _held(inquiry)
    hints = [label for label in dict.fromkeys((*held, *USUAL)) if not 0 <= label < classes]
    bad = [label for label in (-2, -classes - 2, classes, classes + 2, *NARROWED) if label not in hints]
    fates = {label: fate(inquiry, spec, label) for label in bad}
    beside = {label: fate(inquiry, spec, label) for label in hints}
    dropped = {each.counted for each in fates.values() if each.kind == "ignored"}
    special = [label for label, each in beside.items() if each.kind == "ignored" and each.counted not in dropped]
    kinds = {each.kind.removeprefix("silent ") for each in fates.values()}
    leaking = _leaking(inquiry, beside, kinds) if kinds <= {"raises", "nan"} else []
    ignored = sorted([*special, *leaking, *inquiry.ignored], key=lambda label: label not in held)
    silent = ", ".join(str(label) for label in ignored if label not in leaking)
    if silent:
        inquiry.say("ignore_index", "a label beside a good one", f"{silent}: no gradient")
    if len(ignored) > 1:
        inquiry.say("labels_ignored", "each label", f"{', '.join(map(str, ignored))} are all ignored", False)
    return _judged(inquiry, replace(spec, ignore_index=ignored[0] if ignored else None), fates)


def _leaking(inquiry: Inquiry, fates: dict[int, Fate], kinds: set[str]) -> list[int]:
    """Labels that are told from other bad ones, and are not ignored either."""
    leaking = []
    for label, found in fates.items():
        if found.kind == "silent nan" and "nan" not in kinds:
            inquiry.say(
                "ignored_nan", f"label {label} beside a good one", "the loss is NaN, and its gradient is 0", False
            )
            leaking.append(label)
        if found.kind in ("smoothing", "uniform", "other"):
            about = "ignored_are_uniform" if found.kind == "uniform" else "ignored_leak"
            inquiry.say(about, f"label {label} beside a good one", found.fact, False)
            leaking.append(label)
    return leaking


def _held(inquiry: Inquiry) -> list[int]:
    """Integers that the loss holds: candidates, no more."""
    function = inquiry.callee.function
    held = [*getattr(function, "__dict__", {}).values(), *(parameter.default for parameter in parameters_of(function))]
    return [value for value in held if type(value) is int and -(2**31) <= value < 2**31]


def _judged(inquiry: Inquiry, spec: Spec, fates: dict[int, Fate]) -> Spec:
    """Which of the two a spec can say, or what else it is."""
    found = {label: each for label, each in fates.items() if label != spec.ignore_index}
    kinds = {each.kind.removeprefix("silent ") for each in found.values()}
    shown = "; ".join(f"{label}: {each.fact}" for label, each in found.items())
    probe = "labels that are no class"
    if kinds <= {"raises"} or kinds <= {"nan"}:
        inquiry.say("out_of_range", probe, shown)
        return replace(spec, out_of_range="nan" if kinds == {"nan"} else "raise")
    names = [about for about, holds in _names(inquiry.classes, found) if holds]
    for about in names or ["bad_labels_used"] if kinds - {"raises", "nan"} else ["out_of_range"]:
        inquiry.say(about, probe, shown, not kinds - {"raises", "nan"})
    return spec


def _names(classes: int, found: dict[int, Fate]) -> list[tuple[str, bool]]:
    kinds = {label: each.kind for label, each in found.items()}
    wraps = any(
        each.kind == "class" and each.taken_for == label + classes for label, each in found.items() if label < 0
    )
    clamped = [
        each.kind == "class" and each.taken_for == (0 if label < 0 else classes - 1) for label, each in found.items()
    ]
    narrowed = any(label in NARROWED and each.taken_for == 3 for label, each in found.items())
    negative = [kind for label, kind in kinds.items() if label < 0]
    return [
        ("labels_narrowed", narrowed),
        ("labels_wrap", wraps),
        ("labels_clamped", any(clamped)),
        ("bad_labels_dropped", all(kind == "ignored" for kind in kinds.values())),
        ("negative_labels_dropped", all(kind == "ignored" for kind in negative) and len(negative) < len(kinds)),
        ("bad_labels_keep_smoothing", "smoothing" in kinds.values()),
        ("bad_labels_are_uniform", "uniform" in kinds.values()),
    ]


def fate(inquiry: Inquiry, spec: Spec, label: int, **options: Any) -> Fate:
    """Of a position with this label, beside one with a good label."""
    x = rows.settings(inquiry.classes)
    good = list(inquiry.rows)[-1]
    inner = (1,) * (inquiry.callee.layout.axes - 2)
    losses, slopes = [], []
    for index, row in enumerate(x):
        logits = np.stack([x[index - 1], row]).reshape(2, *inner, -1)
        answer = inquiry.ask(Batch("", logits, np.array([good, label]).reshape(2, *inner), {}), **options)
        if answer.error is not None:
            return Fate("raises", answer.error.partition(":")[0])
        if not np.isfinite(answer.loss).all():
            silent = not answer.gradient.reshape(2, -1)[1].any()
            return Fate("silent nan" if silent else "nan", "NaN")
        first = inquiry.rows[good]
        lse = rows.log_sum_exp(logits.reshape(2, -1)[0])
        right = (first.mass + 2 * first.z_loss * lse) * rows.softmax(logits.reshape(2, -1)[0]) - first.q
        gradient = answer.gradient.reshape(2, -1)
        scale = inquiry.scale(gradient[0], right)
        if not np.isfinite(gradient).all() or scale == 0:
            return Fate("nan", "the gradient is no number")
        slopes.append(gradient[1] / scale)
        losses.append(answer.total)
    found = _fate(inquiry, spec, rows.fit(x, np.stack(slopes)))
    return found._replace(counted=bool(abs(scale - 1) > 100 * inquiry.fine))


def _fate(inquiry: Inquiry, spec: Spec, row: rows.Row) -> Fate:
    near = 100 * inquiry.fine
    if max(np.abs(row.q).max(), abs(row.mass)) <= near:
        return Fate("ignored", "no gradient")
    for label, known in inquiry.rows.items():
        if np.abs(known.q / known.q.sum() - row.q / row.q.sum()).max() <= near:
            return Fate("class", f"taken for class {label}", label)
    if np.ptp(row.q) <= near:
        if abs(row.q.sum() - 1) <= near:
            return Fate("uniform", "a uniform target")
        return Fate("smoothing", f"{row.q[0]:.6g} on each class, and nothing on a label")
    if np.ptp(np.delete(row.q, spec.exclude)) <= near:
        return Fate("smoothing", "the smoothing alone")
    return Fate("other", f"a target from {row.q.min():.4g} to {row.q.max():.4g}")
