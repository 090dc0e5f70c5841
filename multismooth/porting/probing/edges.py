"""Edges that a spec says nothing of, as every room computes them alike.

A finding that disagrees is an edge where a port changes what happens; what is a matter of rounding is a remark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multismooth.porting.probing import batches, layouts, rows
from multismooth.porting.probing.batches import Batch, mask_of
from multismooth.porting.probing.inquiry import Inquiry
from multismooth.porting.probing.layouts import Answer
from multismooth.spec import Spec

Array = NDArray[Any]

MANY = 2112
"""Classes: beyond the integers that bfloat16 and float16 hold, 256 and 2048."""


def edges(inquiry: Inquiry, spec: Spec) -> None:
    """Says where the loss differs from ``spec`` on logits, labels and weights that training seldom sees."""
    probes: tuple[Callable[[Inquiry, Spec], None], ...] = (
        _small_weights,
        _under_the_mask,
        _minus_infinity,
        _gaps,
        _shifts,
        _confident,
        _soft_labels,
        _bad_weights,
        _smoothing_in_float32,
        _many_classes,
        _narrow_labels,
    )
    for probe in probes:
        probe(inquiry, spec)


def _alone(inquiry: Inquiry, x: Array, label: int) -> Batch:
    ones = (1,) * (inquiry.callee.layout.axes - 1)
    return Batch("one position", x.reshape(*ones, -1), np.full(ones, label), {})


def _labels(inquiry: Inquiry) -> tuple[int, int]:
    """A label that counts, and another class that receives as much as any."""
    label = list(inquiry.rows)[-1]
    q = np.array(inquiry.rows[label].q)
    q[label] = -1
    return label, int(q.argmax())


def _small_weights(inquiry: Inquiry, spec: Spec) -> None:
    for batch in batches.small(inquiry, spec):
        answer = inquiry.ask(batch)
        if answer.error is None and not inquiry.agrees(answer, spec, batch):
            about, fact = batches.diagnosis(inquiry, answer, [spec], batch)
            floor = about == "unexplained" and spec.reduction == "mean"
            inquiry.say("floor_in_denominator" if floor else about, batch.name, fact, False)


def _under_the_mask(inquiry: Inquiry, spec: Spec) -> None:
    """NaN where nothing counts."""
    plain = inquiry.batch(inquiry.shape)
    mask = mask_of(inquiry.shape)
    ways: list[tuple[str, Array, dict[str, Array]]] = []
    if spec.ignore_index is not None:
        ways.append(("nan_under_mask", np.where(mask, plain.labels, spec.ignore_index), {}))
    if "where" in inquiry.optional:
        ways.append(("nan_under_mask", plain.labels, {"where": mask}))
    if "sample_weight" in inquiry.optional:
        ways.append(("nan_under_zero_weight", plain.labels, {"sample_weight": mask.astype(float)}))
    for about, labels, arrays in ways:
        batch = plain._replace(labels=labels, arrays=arrays)
        answer = inquiry.ask(batch._replace(logits=np.where(mask[..., None], plain.logits, np.nan)))
        if inquiry.ask(batch).finite and not answer.finite:
            where = "loss" if answer.error or not np.isfinite(answer.loss).all() else "gradient"
            told = next(iter(arrays), "ignored labels")
            inquiry.say(about, f"NaN in the logits under {told}", f"the {where} is not finite", False)


def _minus_infinity(inquiry: Inquiry, spec: Spec) -> None:
    if inquiry.callee.layout.inputs != "logits":
        return
    label, other = _labels(inquiry)
    x = rows.settings(inquiry.classes)[0]
    x[other] = -np.inf
    batch = _alone(inquiry, x, label)
    answer = inquiry.ask(batch)
    loss, gradient = inquiry.differences(answer, inquiry.predict(spec, batch))
    probe = f"a logit of -inf under {'mass' if inquiry.rows[label].q[other] > inquiry.fine else 'no mass'}"
    if loss > inquiry.loose:
        inquiry.say("minus_inf", probe, f"the loss is {answer.error or answer.total}", False)
    elif gradient > inquiry.loose:
        inquiry.say("minus_inf_gradient", probe, "the gradient is not that of a room", False)


def _gaps(inquiry: Inquiry, spec: Spec) -> None:
    """A confident row that is wrong."""
    label, other = _labels(inquiry)
    subnormal, underflow = (720.0, 1000.0) if inquiry.double else (95.0, 200.0)
    gaps = {"probabilities_clipped": 30.0, "subnormal_probabilities": subnormal, "log_after_softmax": underflow}
    for about, gap in gaps.items():
        if about != "probabilities_clipped" and inquiry.callee.layout.inputs != "logits":
            continue
        x = np.zeros(inquiry.classes)
        x[other] = gap
        _compare(inquiry, spec, about, f"a logit {gap:g} above the label's", _alone(inquiry, x, label))


def _shifts(inquiry: Inquiry, spec: Spec) -> None:
    """All logits far from 0; dyadic, so that the shift itself rounds nothing."""
    if inquiry.callee.layout.inputs != "logits":
        return
    label, _ = _labels(inquiry)
    x = np.round(rows.settings(inquiry.classes)[0] * 8) / 8
    _compare(inquiry, spec, "maximum_cut_off", "all logits near -1000", _alone(inquiry, x - 1000, label))
    batch = _alone(inquiry, x + 8192, label)
    answer, right = inquiry.ask(batch), inquiry.predict(spec, batch)
    off = abs(answer.total - right.total) if answer.finite else np.inf
    if not spec.z_loss and off > (64 * 2.0**-53 if inquiry.double else 64 * 2.0**-24):
        inquiry.say("large_shift", "all logits near 8192", f"the loss is {off:.1e} off")


def _compare(inquiry: Inquiry, spec: Spec, about: str, probe: str, batch: Batch) -> None:
    answer, right = inquiry.ask(batch), inquiry.predict(spec, batch)
    if not right.finite:
        return
    if not answer.finite or abs(answer.total - right.total) > 1e-5 * max(abs(right.total), 1.0):
        fact = f"the loss is {answer.error or format(answer.total, '.6g')}, and right is {right.total:.6g}"
        inquiry.say(about, probe, fact, False)


def _confident(inquiry: Inquiry, spec: Spec) -> None:
    """A right row: 1 − p rounds to nothing, and the loss need not."""
    label, _ = _labels(inquiry)
    x = np.zeros(inquiry.classes)
    x[label] = 40.0
    batch = _alone(inquiry, x, label)
    answer, right = inquiry.ask(batch), inquiry.predict(spec, batch)
    if right.finite and 0 < right.total < 1e-10 and answer.total == 0:
        inquiry.say(
            "confident_row", "the label's logit 40 above the others", f"the loss is 0, and right is {right.total:.2g}"
        )


def _soft_labels(inquiry: Inquiry, spec: Spec) -> None:
    """Probabilities for labels, where it takes class indices too."""
    layout = inquiry.callee.layout
    uniform = spec.spread == "uniform" and spec.values is None and not spec.exclude
    if layout.form != "indices" or layout.inputs != "logits" or not uniform or inquiry.built_in:
        return
    label, other = _labels(inquiry)
    t = np.zeros(inquiry.classes)
    t[label], t[other] = 0.75, 0.25
    shares = np.full(inquiry.classes, 1 / inquiry.classes)
    for name in ("", *(("prior",) if "prior" in inquiry.optional else ())):
        arrays = {}
        if name:
            shares = 2 * np.arange(1, inquiry.classes + 1) / inquiry.classes / (inquiry.classes + 1)
            arrays = {"prior": shares}
        q = _soft_target(inquiry, t, arrays)
        if q is None:
            return
        _say_soft(inquiry, spec, t, shares, q, bool(name))
    if (q := _soft_target(inquiry, t * 0.8, {})) is not None and q.sum() > 0:
        inquiry.say("bad_soft_labels", "soft labels that sum to 0.8", f"are used; the target sums to {q.sum():.6g}")


def _soft_target(inquiry: Inquiry, t: Array, arrays: dict[str, Array]) -> Array | None:
    x = rows.settings(inquiry.classes)
    callee = replace(inquiry.callee, layout=replace(inquiry.callee.layout, form="given"))
    ones = (1,) * (callee.layout.axes - 1)
    answers = [callee(row.reshape(*ones, -1), t.reshape(*ones, -1), arrays) for row in x]
    if not all(answer.finite and answer.loss.size == 1 for answer in answers):
        return None
    whole = 1 + inquiry.floor
    return whole * rows.fit(x, np.stack([answer.gradient.reshape(-1) for answer in answers])).q


def _say_soft(inquiry: Inquiry, spec: Spec, t: Array, shares: Array, q: Array, with_prior: bool) -> None:
    epsilon, near = spec.label_smoothing, 100 * inquiry.fine
    even = np.full(len(t), 1 / len(t))
    once = (1 - epsilon) * t + epsilon * shares
    probe = "soft labels" + (" and a prior" if with_prior else "")
    tries = [
        ("soft_labels", once),
        ("soft_labels_not_smoothed", t),
        ("soft_labels_smoothed_twice", (1 - epsilon) * once + epsilon * shares),
        ("soft_labels_without_prior", (1 - epsilon) * t + epsilon * even),
    ]
    for about, right in tries:
        if np.abs(q - right).max() <= near:
            fact = about.removeprefix("soft_labels").replace("_", " ").strip() or "smoothed like the others"
            inquiry.say(about, probe, fact, about == "soft_labels")
            return
    inquiry.say("soft_labels", probe, "the target is neither t nor (1 − ε)·t + ε·u", False)


def _bad_weights(inquiry: Inquiry, spec: Spec) -> None:
    """A weight that is negative or no number."""
    batch = inquiry.batch(inquiry.shape)
    for name in ("sample_weight", "class_weight"):
        if name not in inquiry.optional:
            continue
        weights = np.array(layouts.neutral(name, batch.labels.shape, inquiry.classes))
        weights.reshape(-1)[0] = -1.0
        negative = inquiry.ask(batch._replace(arrays={name: weights}))
        weights.reshape(-1)[0] = np.nan
        missing = inquiry.ask(batch._replace(arrays={name: weights}))
        used = [word for word, answer in (("-1", negative), ("NaN", missing)) if answer.finite]
        if used:
            inquiry.say("bad_weights", f"a {name} of -1, and of NaN", f"{' and '.join(used)} is used in silence")


def _smoothing_in_float32(inquiry: Inquiry, spec: Spec) -> None:
    epsilon = spec.label_smoothing
    short = round(epsilon, 4)
    if epsilon != short and abs(epsilon - float(np.float32(short))) <= 2 * inquiry.fine:
        inquiry.say("smoothing_in_float32", "the target", f"label_smoothing is {short} rounded to float32: {epsilon}")


# --- With more classes than the usual probes, where the loss takes any number of them --------------------------------


def _taken_for(answer: Answer) -> int:
    """At equal logits the gradient is least at the label."""
    return int(answer.gradient.reshape(-1).argmin())


def _many_classes(inquiry: Inquiry, spec: Spec) -> None:
    x = np.zeros(MANY)
    if inquiry.built_in or spec.label_smoothing > 0.9 or not inquiry.ask(_alone(inquiry, x, 5)).finite:
        return
    for dtype in (None, "float16"):
        for label in (257, 2049):
            batch = _alone(inquiry, x, label)
            answer = inquiry.ask(batch, dtype=dtype)
            if answer.error is None and answer.gradient.any() and _taken_for(answer) != label:
                name = dtype or inquiry.callee.layout.dtype
                fact = f"label {label} is taken for class {_taken_for(answer)}"
                inquiry.say("labels_rounded", f"{MANY} classes, logits of {name}", fact, False)
    spread = 2 * np.random.default_rng(3).normal(size=MANY)
    _compare(inquiry, spec, "many_classes", f"{MANY} classes", _alone(inquiry, spread, 5))
    x[9] = 48.0
    batch = _alone(inquiry, x, 5)
    answer, right = inquiry.ask(batch, dtype="float16"), inquiry.predict(spec, batch)
    if answer.error is None and np.isinf(answer.loss).any() and right.finite:
        inquiry.say("half_overflow", f"{MANY} classes in float16", f"the loss is inf, and right is {right.total:.6g}")
    answer = inquiry.ask(_alone(inquiry, np.round(spread * 8) / 8, 5), dtype="float16")
    if answer.finite and answer.total == float(np.float16(answer.total)):
        inquiry.say("half_sums", "logits of float16", "the loss is of half precision")


def _narrow_labels(inquiry: Inquiry, spec: Spec) -> None:
    """Labels of 8 bits, with more classes than 7 bits count."""
    x = np.zeros(200)
    if inquiry.built_in or inquiry.callee.layout.form != "indices" or spec.label_smoothing > 0.9:
        return
    for label, kind in ((156, np.uint8), (5, np.int8)):
        batch = _alone(inquiry, x, label)
        wide, narrow = inquiry.ask(batch), inquiry.ask(batch._replace(labels=batch.labels.astype(kind)))
        if wide.finite and narrow.error is None and max(inquiry.differences(narrow, wide)) > inquiry.loose:
            inquiry.say(
                "labels_narrowed", f"label {label} of {kind.__name__}, 200 classes", "is not used as it is", False
            )
