"""Batches in which no two denominators coincide, and what an unexpected answer to one of them means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.porting.probing import rows
from multismooth.porting.probing.layouts import Answer
from multismooth.spec import Spec

if TYPE_CHECKING:
    from multismooth.porting.probing.inquiry import Inquiry

Array = NDArray[Any]


class Batch(NamedTuple):
    """One call; the classes are last."""

    name: str
    logits: Array
    labels: Array
    arrays: Mapping[str, Array]


def mask_of(shape: tuple[int, ...]) -> Array:
    """Sequences of uneven length, the last of them empty; 11 of 20 positions that have no sequences."""
    if len(shape) == 1:
        return np.arange(shape[0]) % 9 < 5
    length = shape[1]
    return np.arange(length) < np.array([*range(length, 0, -2), *[0] * shape[0]])[: shape[0], None]


def telling(inquiry: Inquiry, base: Spec, seed: int = 0) -> Iterator[Batch]:
    """Batches with padding and weights, of every kind that the loss takes."""
    takes = inquiry.optional
    plain = inquiry.batch(inquiry.shape, "no padding", seed)
    random = np.random.default_rng([seed, inquiry.classes])
    mask = mask_of(inquiry.shape)
    s = random.uniform(0.25, 2, mask.shape) * (random.random(mask.shape) < 0.8)
    s[0], s[1] = s[0] + 0.5, 0.0
    arrays: dict[str, Array] = {
        "where": mask[::-1] if mask.ndim > 1 else mask,
        "sample_weight": s,
        "class_weight": random.uniform(0.25, 2, inquiry.classes),
    }
    padded = plain
    yield plain
    if base.ignore_index is not None:
        padded = plain._replace(labels=np.where(mask, plain.labels, base.ignore_index))
        yield padded._replace(name="some labels ignored")
    given = {name: arrays[name] for name in arrays if name in takes and not (name == "class_weight" and base.kl)}
    for name in given:
        yield plain._replace(name=f"{name} alone", arrays={name: given[name]})
        if padded is not plain:
            yield padded._replace(name=f"{name} and some labels ignored", arrays={name: given[name]})
    if len(given) > 1:
        yield padded._replace(name=f"{', '.join(given)} together", arrays=given)
    yield from _rare(inquiry, base, plain, random)


def _rare(inquiry: Inquiry, base: Spec, plain: Batch, random: np.random.Generator) -> Iterator[Batch]:
    takes, classes = inquiry.optional, inquiry.classes
    if "normalizer" in takes and base.reduction == "mean":
        yield plain._replace(name="a normalizer", arrays={"normalizer": np.array(7.5)})
    if "prior" in takes and base.values is None:
        prior = random.uniform(0.5, 2, classes)
        yield plain._replace(name="a prior", arrays={"prior": prior / prior.sum()})
    if "allowed" in takes:
        allowed = np.arange(classes) != next(k for k in range(classes) if k not in base.exclude)
        labels = np.where(allowed[plain.labels], plain.labels, classes - 1)
        yield plain._replace(name="one class not allowed", labels=labels, arrays={"allowed": allowed})


def small(inquiry: Inquiry, base: Spec) -> Iterator[Batch]:
    """Weights so small that what is added to a denominator shows."""
    for batch in telling(inquiry, base):
        for name in ("sample_weight", "class_weight"):
            if batch.name == f"{name} alone":
                for power in (10, 40):
                    arrays = {name: batch.arrays[name] / 2**power}
                    yield batch._replace(name=f"{name} of 2^-{power}", arrays=arrays)


def residuals(inquiry: Inquiry, spec: Spec) -> tuple[float, float]:
    """The largest differences of loss and gradient on batches that nothing was concluded from."""
    pairs = [
        inquiry.differences(inquiry.ask(batch), inquiry.predict(spec, batch))
        for seed in (1, 2)
        for batch in telling(inquiry, spec, seed)
    ]
    return max(loss for loss, _ in pairs), max(gradient for _, gradient in pairs)


def empty(inquiry: Inquiry, spec: Spec) -> Spec:
    """What the mean is where its denominator is 0."""
    if spec.reduction != "mean":
        return spec
    doubtful = replace(spec, empty="nan")
    answers: dict[str, list[str]] = {}
    for batch in _nothing_counts(inquiry, spec):
        right = inquiry.predict(doubtful, batch)
        if right.error is not None or not np.isnan(right.loss).all():
            continue
        answer = inquiry.ask(batch)
        kind = (
            "raises" if answer.error else "nan" if np.isnan(answer.loss).all() else
            "zero" if not answer.loss.any() else "other"
        )  # fmt: skip
        answers.setdefault(kind, []).append(batch.name)
        if kind != "raises" and np.nan_to_num(answer.gradient, nan=1.0).any():
            inquiry.say("empty", batch.name, "the gradient is not 0 there, as a room's is")
        if kind == "other":
            inquiry.say("empty", batch.name, f"the mean is {answer.total}", False)
    for kind in ("nan", "zero"):
        if kind in answers:
            inquiry.say("empty", ", ".join(answers[kind]), "NaN" if kind == "nan" else "0")
    if "nan" in answers and "zero" in answers:
        inquiry.say("empty_differs", "nothing counts", "NaN in one way, and 0 in another", False)
    if not answers.keys() & {"nan", "zero"}:
        inquiry.say("empty", "nothing counts", "it cannot be told")
    return doubtful if "nan" in answers else replace(spec, empty="zero")


def _nothing_counts(inquiry: Inquiry, spec: Spec) -> Iterator[Batch]:
    batch = inquiry.batch(inquiry.shape)
    if spec.ignore_index is not None:
        yield batch._replace(name="every label ignored", labels=np.full_like(batch.labels, spec.ignore_index))
    if "where" in inquiry.optional:
        yield batch._replace(name="where is False", arrays={"where": np.zeros(batch.labels.shape, bool)})
    if "sample_weight" in inquiry.optional:
        yield batch._replace(name="every sample weight 0", arrays={"sample_weight": np.zeros(batch.labels.shape)})
    yield Batch("no positions", batch.logits[:0], batch.labels[:0], {})


# --- What went wrong ----------------------------------------------------------------------------------------------


def diagnosis(inquiry: Inquiry, answer: Answer, specs: list[Spec], batch: Batch) -> tuple[str, str]:
    """The name of a deviation, and the fact, of an answer that no spec gives."""
    for spec in specs:
        for find in (_other_question, _loss_alone, _two_denominators, _divided):
            found = find(inquiry, answer, spec, batch)
            if found is not None:
                return found
    right = inquiry.predict(specs[0], batch)
    if answer.finite and answer.gradient.shape == right.gradient.shape:
        masked = ~right.gradient.any(-1)
        if masked.any() and answer.gradient[masked].any():
            return "ignored_leak", "positions that do not count have a gradient"
    if not answer.finite:
        return "not_finite", "the loss or its gradient is not finite"
    loss, gradient = inquiry.differences(answer, right)
    return "unexplained", f"the loss is {loss:.1e} off and the gradient {gradient:.1e}"


def _other_question(inquiry: Inquiry, answer: Answer, spec: Spec, batch: Batch) -> tuple[str, str] | None:
    """The right answer to another question."""
    for about, other in _others(batch):
        if inquiry.agrees(answer, spec, other):
            return about, f"it is the loss of a call {about.replace('_', ' ')}"
    return None


def _others(batch: Batch) -> Iterator[tuple[str, Batch]]:
    arrays = dict(batch.arrays)
    for name in arrays:
        yield f"{name}_dropped", batch._replace(arrays={key: array for key, array in arrays.items() if key != name})
    if "where" in arrays:
        yield "mask_inverted", batch._replace(arrays=arrays | {"where": ~arrays["where"]})
    if "normalizer" in arrays:
        yield "normalizer_twice", batch._replace(arrays=arrays | {"normalizer": arrays["normalizer"] ** 2})


def _loss_alone(inquiry: Inquiry, answer: Answer, spec: Spec, batch: Batch) -> tuple[str, str] | None:
    """The gradient is right, and the loss has something more."""
    right = inquiry.predict(spec, batch)
    if right.error is not None or inquiry.differences(answer, right)[1] > inquiry.loose:
        return None
    if np.isnan(answer.loss).any():
        return "ignored_nan", "the loss is NaN, and its gradient is not"
    if answer.loss.shape != right.loss.shape:
        return None
    extra = answer.total - right.total
    for about, amount in _extras(inquiry, spec, batch):
        if abs(amount) > 1e-9 and abs(extra - amount) <= 1e-6 * abs(amount) + 1e-10:
            return about, f"the loss has {extra:.6g} more than its gradient belongs to: {about.replace('_', ' ')}"
    silent = int((~right.gradient.any(-1)).sum())
    if silent:
        each = extra / silent
        return "ignored_leak", f"the loss has {each:.6g} more for each position that does not count"
    return "gradient_not_the_loss_s", f"the loss has {extra:.6g} more than its gradient belongs to"


def _extras(inquiry: Inquiry, spec: Spec, batch: Batch) -> Iterator[tuple[str, float]]:
    """What losses have been seen to add, of which their gradient knew nothing."""
    sums = replace(spec, reduction="sum")
    mean = inquiry.predict(spec, batch).total
    batch = without_normalizer(batch)
    whole = inquiry.predict(sums, batch)
    total = whole.total
    over = total / mean if spec.reduction == "mean" and mean else 1.0
    counts = whole.gradient.any(-1)
    surprise = -rows.log_softmax(batch.logits)[~counts].mean(-1).sum()
    lse = rows.log_sum_exp(batch.logits)
    epsilon = spec.label_smoothing
    entropies = np.mean([-(q[q > 0] * np.log(q[q > 0])).sum() for q in inquiry.targets.values()])
    z_all = spec.z_loss * (lse**2).sum()
    z_counted = spec.z_loss * (lse[counts] ** 2).sum()
    size = batch.labels.size
    yield "smoothing_of_ignored", epsilon * surprise / over
    yield "ignored_are_uniform", surprise / over
    yield "entropy_of_ignored", -(~counts).sum() * entropies / over
    yield "z_loss_of_ignored", (z_all - z_counted) / over
    yield "z_loss_over_all", z_counted * (1 / size - 1 / over)
    if "class_weight" in batch.arrays:
        safe = np.where(counts, batch.labels, 0)
        weighted = (batch.arrays["class_weight"][safe] - 1) * spec.z_loss * lse**2
        yield "z_loss_class_weighted", weighted[counts].sum() / over
    if spec.values is None and "class_weight" not in batch.arrays:
        label_term = (1 - epsilon) * inquiry.predict(
            replace(sums, label_smoothing=0.0, kl=False, z_loss=0.0), batch
        ).total
        yield "two_denominators", (total - label_term - z_counted) * (1 / size - 1 / over)
    if spec.reduction == "mean" and len(batch.labels) > 1:
        yield "mean_of_means", _mean_of_halves(inquiry, spec, batch) - mean


def _two_denominators(inquiry: Inquiry, answer: Answer, spec: Spec, batch: Batch) -> tuple[str, str] | None:
    """The label's term over what counts, and the smoothing over all positions."""
    epsilon = spec.label_smoothing
    if spec.reduction != "mean" or epsilon == 0 or batch.arrays or not answer.finite:
        return None
    hard = inquiry.predict(replace(spec, label_smoothing=0.0, spread="uniform", kl=False, z_loss=0.0), batch)
    p = rows.softmax(batch.logits)
    right = (1 - epsilon) * hard.gradient + epsilon * (p - 1 / inquiry.classes) / batch.labels.size
    if spec.spread != "uniform" or _far(answer.gradient, right) > inquiry.loose:
        return None
    return "two_denominators", "the label's term is divided by the positions that count, the smoothing by all of them"


def _far(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max()) if one.shape == other.shape else np.inf


def _mean_of_halves(inquiry: Inquiry, spec: Spec, batch: Batch) -> float:
    half = len(batch.labels) // 2
    means = []
    for part in (slice(half), slice(half, None)):
        arrays = {k: a[part] if k in ("where", "sample_weight") else a for k, a in batch.arrays.items()}
        means.append(inquiry.predict(spec, Batch("", batch.logits[part], batch.labels[part], arrays)).total)
    return float(np.mean(means))


def without_normalizer(batch: Batch) -> Batch:
    """What a sum can be taken of."""
    return batch._replace(arrays={name: array for name, array in batch.arrays.items() if name != "normalizer"})


def _divided(inquiry: Inquiry, answer: Answer, spec: Spec, batch: Batch) -> tuple[str, str] | None:
    """All that is wrong is a factor."""
    right = inquiry.predict(spec, batch)
    if (
        not answer.finite
        or not right.finite
        or answer.gradient.shape != right.gradient.shape
        or not right.gradient.any()
    ):
        return None
    factor = inquiry.scale(answer.gradient, right.gradient)
    if (
        factor <= 0
        or np.abs(answer.gradient - factor * right.gradient).max() > inquiry.loose * np.abs(right.gradient).max()
    ):
        return None
    sums = inquiry.predict(replace(spec, reduction="sum"), without_normalizer(batch))
    expected = 1 / inquiry.scale(right.gradient, sums.gradient)
    found = expected / factor
    fact = f"divided by {found:.12g}, and {spec.denominator} is {expected:.12g}"
    if expected < 1 and abs(found - 1) < 1e-6:
        return "floor_in_denominator", fact + ": no less than 1"
    if 0 < found - expected < 1e-3:
        return "floor_in_denominator", fact + f": {found - expected:.1g} is added"
    if "class_weight" in batch.arrays and spec.ignore_index is not None:
        ignored = (batch.labels == spec.ignore_index).sum() * batch.arrays["class_weight"][0]
        if abs(found - expected - ignored) < 1e-6:
            return "ignored_class_weight", fact + ": ignored labels count with the weight of class 0"
    return "denominator", fact
