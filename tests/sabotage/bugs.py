"""One bug for each way in which a real loss has been wrong, beside the flag that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from multismooth_conformance import Inputs, Vector, judge
from multismooth_conformance.adapter import Array
from multismooth_conformance.adapters.reference import ADAPTER
from tests.sabotage.parts import (
    Outputs,
    Pieces,
    Run,
    Sabotaged,
    assembled,
    changed,
    correct,
    denominator_as,
    divided,
    divisor,
    labels_as,
    leak,
    pieces,
    position_bug,
    rescaled,
    spread_as,
    swapped,
    target_bug,
    vector_of,
    verdict,
    with_arrays,
    with_spec,
)


class Bug(NamedTuple):
    """A bug, and the flag of the vectors that must reject it."""

    flag: str
    run: Run
    wide: bool = False
    """whether it needs the vectors of many classes"""
    gradients: tuple[str, ...] = ("logits",)

    def verdict(self, vector: Vector) -> str | None:
        """None too for a vector of the linear loss, whose bugs are others."""
        return None if vector.inputs.linear else verdict(Sabotaged(self.run, self.gradients), vector)


class SecondOrderBug(NamedTuple):
    """A bug that shows in the gradient's derivative alone."""

    flag: str
    hvp: Callable[[Inputs, Array, Array], Array]
    wide: bool = False

    def verdict(self, vector: Vector) -> str | None:
        if vector.tangent is None:
            return None
        try:
            judge.judge_hvp(vector, self.hvp(vector.inputs, vector.cotangent, vector.tangent))
        except AssertionError as error:
            return str(error)
        return None


# --- The target ---------------------------------------------------------------------------------------------------


def whole_uniform_share(at: Pieces) -> Array | None:
    """(1 − ε)·t + 1/K"""
    if at.spec.label_smoothing == 0 or at.spec.spread != "uniform" or not at.one_hot.any():
        return None
    total = at.shares.sum(-1, keepdims=True)
    return np.where(total == 0, at.q, at.q + (1 - at.spec.label_smoothing) * at.shares / total)


def label_keeps_all(at: Pieces) -> Array | None:
    """t·(1 − ε/K) + ε/K"""
    if at.spec.label_smoothing == 0 or not at.one_hot.any():
        return None
    return np.where(at.one_hot, 1.0, at.q)


def divided_by_all_classes(at: Pieces) -> Array | None:
    """The smoothing part over K, where fewer classes receive."""
    received = (at.shares != 0).sum(-1, keepdims=True)
    if at.spec.label_smoothing == 0 or "prior" in at.inputs.arrays or (received == at.x.shape[-1]).all():
        return None
    return np.where(at.one_hot, at.q, at.q * received / at.x.shape[-1]) if at.one_hot.any() else None


PARTITION = 512


def one_partitions_classes(at: Pieces) -> Array | None:
    """ε/(K_local − 1)"""
    if at.x.shape[-1] <= PARTITION or at.spec.label_smoothing == 0 or not at.one_hot.any():
        return None
    return np.where(at.one_hot, at.q, at.q * at.x.shape[-1] / PARTITION)


def smoothed_twice(inputs: Inputs) -> Inputs:
    epsilon, labels = inputs.spec["label_smoothing"], inputs.arrays["labels"]
    if not inputs.soft or epsilon == 0:
        return inputs
    shares = np.moveaxis(pieces(inputs).shares, -1, inputs.axis)
    total = shares.sum(inputs.axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        smoothed = np.where(total == 0, labels, (1 - epsilon) * labels + epsilon * shares / np.where(total, total, 1))
    return with_arrays(inputs, labels=smoothed.astype(labels.dtype))


def not_smoothed(inputs: Inputs) -> Inputs:
    return with_spec(inputs, label_smoothing=0.0) if inputs.soft else inputs


def no_smoothing(inputs: Inputs) -> Inputs:
    return inputs if inputs.soft else with_spec(inputs, label_smoothing=0.0)


def no_prior(inputs: Inputs) -> Inputs:
    return inputs if inputs.soft else with_arrays(inputs, prior=None)


def no_soft_prior(inputs: Inputs) -> Inputs:
    return with_arrays(inputs, prior=None) if inputs.soft else inputs


def mass_forgotten(at: Pieces) -> tuple[Array, Array] | None:
    return None if (at.mass == 1).all() else (at.losses(), at.slopes(mass=1.0))


def entropy_twice(at: Pieces) -> tuple[Array, Array] | None:
    return (at.losses() - at.entropy, at.slopes()) if at.spec.kl else None


def log_of_nothing(at: Pieces) -> tuple[Array, Array] | None:
    """(1 − ε)·log(1 − ε)"""
    if not at.spec.kl or at.spec.label_smoothing != 1 or not at.one_hot.any():
        return None
    return at.losses() + np.nan, at.slopes()


def entropy_of_masked(at: Pieces) -> Array | None:
    return np.where(at.mask, 0.0, -np.asarray(at.entropy)) if at.spec.kl else None


# --- What counts --------------------------------------------------------------------------------------------------


def smoothing_of_masked(at: Pieces) -> Array | None:
    """ε·mean(−log p) of the positions that do not count."""
    epsilon = at.spec.label_smoothing
    return np.where(at.mask, 0.0, epsilon * at.surprises.mean(-1)) if epsilon else None


def zeros(at: Pieces) -> Array:
    """0 times the logits of the classes that exist."""
    return np.asarray(0 * np.where(at.exists, at.x, 0.0).sum(-1))


def zero_times_masked(at: Pieces) -> Array:
    return np.where(at.mask, 0.0, zeros(at))


def zero_times_weightless(at: Pieces) -> Array | None:
    return None if at.weight is None else np.where(at.mask & (at.weight == 0), zeros(at), 0.0)


def inverted_mask(inputs: Inputs) -> Inputs:
    return with_arrays(inputs, where=~inputs.arrays["where"]) if "where" in inputs.arrays else inputs


def ignored(inputs: Inputs) -> Array:
    """The positions that the ignore_index alone takes out."""
    where = inputs.arrays.get("where", True)
    return np.asarray(where & ~inputs.counts())


def uniform_for_ignored(at: Pieces) -> Array | None:
    if at.spec.ignore_index is None:
        return None
    return np.where(ignored(at.inputs), at.surprises.mean(-1), 0.0)


def nan_for_ignored(at: Pieces) -> Array | None:
    if at.spec.ignore_index is None:
        return None
    labels = at.inputs.arrays["labels"].astype(np.int64)
    return np.where(ignored(at.inputs) & ((labels < 0) | (labels >= at.x.shape[-1])), np.nan, 0.0)


def only_where(keep: Callable[[Inputs, Array], Array]) -> Run:
    """A bug that masks more positions, for what their labels are."""

    def change(inputs: Inputs) -> Inputs:
        if inputs.soft:
            return inputs
        kept = keep(inputs, inputs.arrays["labels"].astype(object))
        where = inputs.arrays.get("where", np.ones(kept.shape, bool))
        return with_arrays(inputs, where=where & kept) if (where & ~kept & inputs.counts()).any() else inputs

    return changed(change, reads=False)


def class_zero_ignored(inputs: Inputs, labels: Array) -> Array:
    return np.asarray(labels != 0, bool)


def bad_labels_dropped(inputs: Inputs, labels: Array) -> Array:
    """Those that name no class, or one that does not exist here."""
    logits = inputs.arrays["logits"]
    in_range = np.asarray((labels >= 0) & (labels < logits.shape[inputs.axis]), bool)
    safe = np.where(in_range, labels, 0).astype(np.int64)
    allowed = inputs.arrays.get("allowed", np.array(True))
    allowed = np.moveaxis(allowed, inputs.axis, -1) if allowed.ndim > 1 else allowed
    allowed = np.broadcast_to(allowed, (*safe.shape, logits.shape[inputs.axis]))
    return in_range & np.take_along_axis(allowed, safe[..., None], -1)[..., 0]


def negative_dropped(inputs: Inputs, labels: Array) -> Array:
    return np.asarray(labels >= 0, bool)


def uninitialised(at: Pieces) -> Array:
    return np.where(at.mask, 0.0, 61.73)


# --- What the mean divides by -------------------------------------------------------------------------------------


def padded_length(inputs: Inputs, right: float) -> float:
    """Each sequence's mean over all of its positions."""
    if "sequences" not in inputs.spec["denominator"]:
        return right
    everything = with_spec(inputs, denominator="all")
    whole, parts = (float(ADAPTER.totals(each)["loss"]) for each in (everything, inputs))
    length = inputs.counts().size / len(inputs.counts())
    return right * parts / (whole / length) if np.isfinite(parts) and whole else right


def of_microbatches(inputs: Inputs, cotangent: Array) -> Outputs:
    """The mean of the two halves' means."""
    outputs = correct(inputs, cotangent)
    logits = inputs.arrays["logits"]
    axis = int(inputs.class_axis == 0)
    if inputs.spec["reduction"] != "mean" or "normalizer" in inputs.arrays or logits.ndim < 2 or logits.shape[axis] < 2:
        return outputs
    half = logits.shape[axis] // 2
    parts = [
        inputs._replace(arrays={name: cut(inputs, name, array, ends) for name, array in inputs.arrays.items()})
        for ends in (slice(half), slice(half, None))
    ]
    right, weights = divisor(inputs), [float(ADAPTER.totals(part)["weight"]) for part in parts]
    if right is None or (weights[0] == weights[1] and 2 * weights[0] == right and axis == 0):
        return outputs
    loss, gradients = outputs
    return np.mean([correct(part, cotangent)[0] for part in parts], dtype=loss.dtype), gradients


def cut(inputs: Inputs, name: str, array: Array, ends: slice) -> Array:
    """Some of an input's positions, along the labels' first axis."""
    with_classes = array.ndim == inputs.arrays["logits"].ndim
    if name in ("class_weight", "prior") or (name == "allowed" and not with_classes):
        return array
    return array[:, ends] if with_classes and inputs.class_axis == 0 else array[ends]


def normalized_twice(inputs: Inputs, cotangent: Array) -> Outputs:
    outputs = correct(inputs, cotangent)
    normalizer = float(inputs.arrays.get("normalizer", 1.0))
    return rescaled(outputs, 1 / normalizer) if normalizer else outputs


def two_denominators(inputs: Inputs, cotangent: Array) -> Outputs:
    """The label's term over the positions that count, the smoothing term over all."""
    loss, gradients = correct(inputs, cotangent)
    epsilon, right = inputs.spec["label_smoothing"], divisor(inputs)
    if not epsilon or right is None or inputs.spec["denominator"] != "valid" or right == inputs.counts().size:
        return loss, gradients
    label_term = (1 - epsilon) * correct(with_spec(inputs, label_smoothing=0.0), cotangent)[0]
    wrong = label_term + (loss - label_term) * right / inputs.counts().size
    return np.asarray(wrong, loss.dtype), gradients


# --- Weights ------------------------------------------------------------------------------------------------------


def label_weights(inputs: Inputs) -> Array:
    """w_y, of class 0 where the label is no class."""
    labels, weights = inputs.arrays["labels"].astype(np.int64), inputs.arrays["class_weight"].astype(np.float64)
    return weights[np.where((labels < 0) | (labels >= len(weights)), 0, labels)]


def ignored_weights_counted(inputs: Inputs, right: float) -> float:
    if not inputs.spec["denominator"].endswith("class_weights") or "class_weight" not in inputs.arrays:
        return right
    return right + float(label_weights(inputs)[~inputs.counts()].sum())


def class_weights_not_counted(inputs: Inputs) -> Inputs:
    with_weights = "class_weight" in inputs.arrays and inputs.spec["denominator"].endswith("class_weights")
    return with_spec(inputs, denominator="valid") if with_weights else inputs


def expected_weights_not_counted(inputs: Inputs) -> Inputs:
    expected = inputs.spec["denominator"] == "expected_class_weights" and "class_weight" in inputs.arrays
    return with_spec(inputs, denominator="class_weights") if expected else inputs


def rule_as(**values: str) -> Run:
    """A bug that takes one rule of the class weights for another."""

    def change(inputs: Inputs) -> Inputs:
        rule, soft = inputs.spec["class_weight_rule"], inputs.soft
        if "class_weight" not in inputs.arrays or rule not in values:
            return inputs
        new = values[rule]
        if new == "label_term" and (soft or inputs.spec["spread"] != "uniform" or inputs.spec["values"] is not None):
            return inputs
        if soft:
            new = "expected" if rule == "per_class" else "per_class"
        return with_spec(inputs, class_weight_rule=new)

    return changed(change)


def any_weight_will_do(inputs: Inputs) -> Inputs:
    """Negative weights as if they were positive, and NaN and infinity as numbers."""
    good = {}
    for name in ("sample_weight", "class_weight", "prior", "normalizer"):
        if name in inputs.arrays:
            given = inputs.arrays[name]
            array = np.abs(np.nan_to_num(given, nan=1.0, posinf=2.0))
            array = array / array.sum() if name == "prior" and abs(array.sum() - 1) > 2**-8 else array
            good[name] = np.asarray(np.where(given == array, given, array), given.dtype)
    return with_arrays(inputs, **good)


def z_losses(at: Pieces) -> Array:
    return np.asarray(at.spec.z_loss * at.lse**2)


def z_loss_of_masked(at: Pieces) -> Array | None:
    return np.where(at.mask, 0.0, z_losses(at)) if at.spec.z_loss else None


def z_loss_class_weighted(at: Pieces) -> tuple[Array, Array] | None:
    if not at.spec.z_loss or "class_weight" not in at.inputs.arrays or at.inputs.soft:
        return None
    return at.losses() + (label_weights(at.inputs) - 1) * z_losses(at), at.slopes()


def z_loss_over_all(inputs: Inputs, cotangent: Array) -> Outputs:
    """Divided by every position, where the loss is by those that count."""
    loss, gradients = correct(inputs, cotangent)
    right = divisor(inputs)
    if right is None or not inputs.spec["z_loss"] or inputs.counts().all():
        return loss, gradients
    z_loss = float(ADAPTER.totals(inputs)["z_loss"])
    return np.asarray(loss + z_loss * (1 / inputs.counts().size - 1 / right), loss.dtype), gradients


# --- Labels -------------------------------------------------------------------------------------------------------


def clamped(inputs: Inputs) -> Inputs:
    if inputs.soft:
        return inputs
    labels, classes = inputs.arrays["labels"], inputs.arrays["logits"].shape[inputs.axis]
    safe = np.clip(labels.astype(object), 0, classes - 1)
    return with_arrays(inputs, labels=np.where(inputs.counts(), safe, labels).astype(labels.dtype))


def wrapped(inputs: Inputs) -> Inputs:
    """Labels −K..−1 as indices from the end."""
    labels, classes = inputs.arrays["labels"], inputs.arrays["logits"].shape[inputs.axis]
    if inputs.soft or labels.dtype.kind == "u":
        return inputs
    wraps = inputs.counts() & (labels < 0) & (labels >= -classes)
    if not wraps.any():
        return inputs
    return with_arrays(inputs, labels=np.where(wraps, labels.astype(np.int64) + classes, labels))


def uint8_meets_negative(inputs: Inputs) -> Inputs:
    """uint8 156 == −100, after a cast."""
    labels, index = inputs.arrays["labels"], inputs.spec["ignore_index"]
    if labels.dtype != np.uint8 or index is None or not -128 <= index < 0:
        return inputs
    meets = labels.view(np.int8) == index
    return with_arrays(inputs, where=inputs.arrays.get("where", True) & ~meets) if meets.any() else inputs


def class_count_narrowed(inputs: Inputs) -> Inputs:
    """y < K in the labels' own dtype, where K is something else."""
    labels, classes = inputs.arrays["labels"], inputs.arrays["logits"].shape[inputs.axis]
    if inputs.soft or classes <= np.iinfo(labels.dtype).max:
        return inputs
    beyond = inputs.counts() & (labels >= np.array(classes).astype(labels.dtype))
    taken_for_bad = with_arrays(inputs, labels=np.where(beyond, classes, labels.astype(np.int64)))
    return with_spec(taken_for_bad, out_of_range="nan") if beyond.any() else inputs


def through(kind: np.dtype) -> Callable[[Array], Array]:
    """Through a float dtype and back; an infinite label is out of every range."""
    return lambda labels: np.nan_to_num(labels.astype(kind).astype(np.float64), posinf=2.0**40).astype(np.int64)


def through_the_logits_dtype(inputs: Inputs, cotangent: Array) -> Outputs:
    return labels_as(through(inputs.arrays["logits"].dtype))(inputs, cotangent)


def narrowed(kind: type) -> Run:
    """What is beyond a narrower integer wraps around."""
    return labels_as(lambda labels: labels.astype(kind).astype(np.int64))


# --- Axes and gradients -------------------------------------------------------------------------------------------


def classes_not_moved(inputs: Inputs) -> Inputs:
    """A reshape in the place of a transpose."""
    logits = inputs.arrays["logits"]
    if inputs.class_axis == logits.ndim - 1:
        return inputs
    return with_arrays(inputs, logits=np.moveaxis(logits, inputs.axis, -1).reshape(logits.shape))


def pulled_back(other: Callable[[Array], Array]) -> Run:
    """A bug that pulls back from another cotangent than it is given."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        outputs = correct(inputs, cotangent)
        if inputs.spec["reduction"] != "none" or cotangent.size == 0:
            return outputs
        return outputs[0], correct(inputs, other(cotangent))[1]

    return run


def without_gradient(*names: str) -> Run:
    """A bug that takes inputs for constants. The other gradients are those of the vector."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = correct(inputs, cotangent)
        more = {}
        for name, array in inputs.arrays.items():
            expected = (vector_of(inputs).expected or {"grad": {}})["grad"].get(name)
            more[name] = np.zeros(array.shape, loss.dtype)
            if expected is not None and name not in names:
                more[name].reshape(-1)[slice(None) if expected.indices is None else expected.indices] = (
                    expected.values.reshape(-1)
                )
        return loss, more | gradients

    return run


def hessian(inputs: Inputs, cotangent: Array, tangent: Array, *, lse_moves: bool = True) -> Array:
    """(mass + 2·z_loss·lse)·(p∘t − p·⟨p, t⟩) + 2·z_loss·p·⟨p, t⟩ for each position; lse taken for a constant or not."""
    with np.errstate(all="ignore"):
        at = pieces(inputs)
        p, t = np.exp(-at.surprises), np.moveaxis(tangent.astype(np.float64), inputs.axis, -1)
        dlse = np.where(p == 0, 0.0, p * t).sum(-1, keepdims=True) if lse_moves else 0.0
        factor = (at.mass + 2 * at.spec.z_loss * at.lse)[..., None]
        slopes = factor * p * (t - dlse) + 2 * at.spec.z_loss * p * dlse
        return assembled(at, cotangent, np.zeros_like(at.mass), slopes)[1]["logits"]


# --- Numbers ------------------------------------------------------------------------------------------------------


def zero_times_infinity(at: Pieces) -> tuple[Array, Array] | None:
    absent = (at.q == 0) & np.isinf(at.surprises) & at.exists
    return (at.losses() + np.where(absent.any(-1), np.nan, 0.0), at.slopes()) if absent.any() else None


def infinity_minus_infinity(at: Pieces) -> tuple[Array, Array] | None:
    losses = at.losses()
    broken = np.isposinf(losses)
    return (losses, np.where(broken[..., None], np.nan, at.slopes())) if broken.any() else None


def lost(is_lost: Callable[[Array, np.finfo], Array]) -> Run:
    """A bug that takes the log of probabilities of which some have become 0."""

    def wrong(at: Pieces) -> tuple[Array, Array] | None:
        p = np.exp(-at.surprises).astype(at.kind)
        gone = is_lost(p, np.finfo(at.kind)) & np.isfinite(at.surprises) & (at.q != 0)
        return (at.losses(np.where(gone, np.inf, at.surprises)), at.slopes()) if gone.any() else None

    return position_bug(wrong)


def clipped(at: Pieces) -> tuple[Array, Array] | None:
    """−log max(p, 1e-7)"""
    most = -np.log(1e-7)
    tiny = (at.surprises > most) & (at.q != 0)
    return (at.losses(np.minimum(at.surprises, most)), at.slopes()) if tiny.any() else None


def maximum_cut_off(at: Pieces) -> tuple[Array, Array] | None:
    """x − max(m, −64): exponentials that all underflow."""
    sums = np.exp((at.x - np.maximum(at.m, -64.0)[..., None]).astype(at.kind)).sum(-1)
    gone = (sums == 0) & np.isfinite(at.m)
    return (at.losses(np.where(gone[..., None], np.inf, at.surprises)), at.slopes()) if gone.any() else None


def confident_rows_are_zero(inputs: Inputs, cotangent: Array) -> Outputs:
    """−log p, of a p that is rounded first."""
    loss, gradients = correct(inputs, cotangent)
    if inputs.spec["reduction"] != "none" or inputs.spec["label_smoothing"] or inputs.spec["values"]:
        return loss, gradients
    tiny = (loss > 0) & (loss < 0.05)
    with np.errstate(divide="ignore"):
        return (np.where(tiny, -np.log(np.exp(-loss)), loss) if tiny.any() else loss), gradients


LARGE = 64.0


def lse_rounded(at: Pieces) -> tuple[Array, Array] | None:
    """lse − x_y and exp(x − lse), in the dtype of the loss, of large logits."""
    large = np.isfinite(at.m) & (np.abs(at.m) > LARGE)
    rounded = (at.lse.astype(at.kind)[..., None] - at.x.astype(at.kind)).astype(np.float64)
    surprises = np.where(large[..., None], rounded, at.surprises)
    return (at.losses(surprises), at.slopes(np.exp(-surprises))) if large.any() else None


def overflowing_sum(at: Pieces) -> tuple[Array, Array] | None:
    """Σ −log p in float16."""
    if at.inputs.arrays["logits"].dtype != np.float16:
        return None
    sums = np.where((at.q != 0) & np.isfinite(at.surprises), at.surprises, 0.0).sum(-1)
    beyond = sums > np.finfo(np.float16).max
    return (np.where(beyond, np.inf, at.losses()), at.slopes()) if beyond.any() else None


def half_sums(at: Pieces) -> tuple[Array, Array] | None:
    """Σ q·(−log p) in the dtype of half-precision logits."""
    half = at.inputs.arrays["logits"].dtype
    if half.itemsize > 2:
        return None
    return at.losses().astype(half).astype(np.float64), at.slopes()


BLOCK = 256


def saturating_sum(at: Pieces) -> tuple[Array, Array] | None:
    """Σ exp over blocks of classes, and over the blocks in bfloat16."""
    if at.x.shape[-1] <= BLOCK:
        return None
    z = np.exp(at.x - at.m[..., None])
    blocks = np.add.reduceat(z, np.arange(0, z.shape[-1], BLOCK), -1).astype(ml_dtypes.bfloat16)
    total = np.zeros(z.shape[:-1], ml_dtypes.bfloat16)
    for block in np.moveaxis(blocks, -1, 0):
        total = total + block
    surprises = np.log(total.astype(np.float64))[..., None] - (at.x - at.m[..., None])
    return at.losses(surprises), at.slopes(np.exp(-surprises))


def loss_through_float32(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    return (loss.astype(np.float32).astype(loss.dtype) if loss.dtype == np.float64 else loss), gradients


def smoothing_through_float32(inputs: Inputs) -> Inputs:
    """0.1f"""
    if inputs.arrays["logits"].dtype != np.float64:
        return inputs
    return with_spec(inputs, label_smoothing=float(np.float32(inputs.spec["label_smoothing"])))


def renormalised(inputs: Inputs) -> Inputs:
    """Soft labels that are negative, on no class, or do not sum to 1, in silence."""
    if not inputs.soft:
        return inputs
    given = inputs.arrays["labels"]
    labels = np.abs(np.nan_to_num(given))
    if "allowed" in inputs.arrays:
        allowed = inputs.arrays["allowed"]
        lone = [-1 if axis == inputs.class_axis else 1 for axis in range(given.ndim)]
        labels = labels * (allowed.reshape(lone) if allowed.ndim == 1 else allowed)
    sums = labels.sum(inputs.axis, keepdims=True)
    even = np.where(sums == 0, 1 / given.shape[inputs.axis], labels / np.where(sums, sums, 1))
    off = (np.abs(sums - 1) > 2.0**-8) | (given < 0).any(inputs.axis, keepdims=True)
    return with_arrays(inputs, labels=np.where(off, even, labels).astype(given.dtype))


BUGS: dict[str, Bug | SecondOrderBug] = {
    "ε/(K−1) for ε/K": Bug("which-formula", spread_as(uniform="others")),
    "ε/K for ε/(K−1)": Bug("which-formula", spread_as(others="uniform")),
    "the label's own share lost": Bug("which-formula", spread_as(uniform="leaky")),
    "no smoothing": Bug("which-formula", changed(no_smoothing)),
    "1/K added for ε/K": Bug("which-formula", target_bug(whole_uniform_share)),
    "the label keeps all": Bug("which-formula", target_bug(label_keeps_all)),
    "prior ignored": Bug("which-formula", changed(no_prior)),
    "ε/K where fewer receive": Bug("target-does-not-sum", target_bug(divided_by_all_classes)),
    "excluded classes receive": Bug("pad-column", changed(lambda inputs: with_spec(inputs, exclude=[]))),
    "classes that do not exist": Bug("padded-classes", changed(lambda inputs: with_arrays(inputs, allowed=None))),
    "ε/K of one partition": Bug("local-class-count", target_bug(one_partitions_classes), wide=True),
    "softmax − q for mass·softmax − q": Bug("mass-below-one", position_bug(mass_forgotten)),
    "kl without the entropy": Bug("kl-or-cross-entropy", changed(lambda inputs: with_spec(inputs, kl=False))),
    "the entropy twice": Bug("kl-or-cross-entropy", position_bug(entropy_twice)),
    "log 0 at ε = 1": Bug("kl-at-full-smoothing", position_bug(log_of_nothing)),
    "the entropy of masked positions": Bug("entropy-of-masked", leak(entropy_of_masked)),
    "soft labels smoothed twice": Bug("soft-labels-smoothed", changed(smoothed_twice)),
    "soft labels smoothed without the prior": Bug("soft-labels-smoothed", changed(no_soft_prior)),
    "soft labels not smoothed": Bug("soft-labels-smoothed", changed(not_smoothed)),
    "smoothing of masked positions": Bug("ignored-leaks", leak(smoothing_of_masked)),
    "0·NaN under the mask": Bug("nan-under-mask", leak(zero_times_masked)),
    "0·NaN under weight 0": Bug("zero-weight", leak(zero_times_weightless)),
    "the mask inverted": Bug("inverted-mask", changed(inverted_mask)),
    "ignored rows are uniform": Bug("ignored-become-uniform", leak(uniform_for_ignored)),
    "ignored labels looked up": Bug("ignored-label-lookup", leak(nan_for_ignored)),
    "class 0 ignored": Bug("class-zero-ignored", only_where(class_zero_ignored)),
    "uninitialised memory": Bug("compiled-differs", leak(uninitialised)),
    "0/0 where nothing counts": Bug("nothing-counts", swapped("empty", zero="nan")),
    "0 for NaN where nothing counts": Bug("nothing-counts", swapped("empty", nan="zero")),
    "ignored rows are counted": Bug("ignored-are-counted", denominator_as(valid="all")),
    "mean over sequences of means": Bug("mean-of-means", denominator_as(valid="nonempty_sequences")),
    "mean over microbatches of means": Bug("mean-of-means", of_microbatches),
    "divided by the batch": Bug("uneven-masks", denominator_as(valid="batch")),
    "normalizer ignored": Bug("normalizer", changed(lambda inputs: with_arrays(inputs, normalizer=None))),
    "normalizer applied twice": Bug("normalizer", normalized_twice),
    "empty sequences counted": Bug("sequence-means", denominator_as(nonempty_sequences="sequences")),
    "empty sequences not counted": Bug("sequence-means", denominator_as(sequences="nonempty_sequences")),
    "means over padded sequences": Bug("padded-length", divided(padded_length)),
    "max(D, 1)": Bug("floor-in-denominator", divided(lambda inputs, right: max(right, 1.0))),
    "D + 1e-5": Bug("floor-in-denominator", divided(lambda inputs, right: right + 1e-5)),
    "D + 1e-13": Bug("floor-in-denominator", divided(lambda inputs, right: right + 1e-13)),
    "two denominators": Bug("two-denominators", two_denominators),
    "sample weights dropped": Bug("weights-dropped", changed(lambda inputs: with_arrays(inputs, sample_weight=None))),
    "sample weights in the denominator": Bug("weights-not-in-denominator", denominator_as(valid="weights")),
    "sample weights not in it": Bug("weights-not-in-denominator", denominator_as(weights="valid")),
    "class weight of the row": Bug("class-weight-rules", rule_as(per_class="per_label")),
    "class weight of the column": Bug("class-weight-rules", rule_as(per_label="per_class")),
    "class weights miss the smoothing": Bug("class-weight-smoothing", rule_as(per_class="label_term")),
    "class weights on the smoothing": Bug("label-term-only", rule_as(label_term="per_class")),
    "w_y for Σ q·w": Bug("expected-class-weight", rule_as(expected="per_label")),
    "Σ w_y for ΣΣ q·w": Bug("expected-class-weight", changed(expected_weights_not_counted)),
    "class weights not in the denominator": Bug("class-weight-denominator", changed(class_weights_not_counted)),
    "weights of ignored labels counted": Bug("ignored-class-weight", divided(ignored_weights_counted)),
    "any weight will do": Bug("bad-weight", changed(any_weight_will_do, reads=False)),
    "z-loss outside the mask": Bug("z-loss-outside-mask", leak(z_loss_of_masked)),
    "z-loss class-weighted": Bug("z-loss-outside-mask", position_bug(z_loss_class_weighted)),
    "z-loss over all positions": Bug("z-loss-outside-mask", z_loss_over_all),
    "labels clamped": Bug("bad-label", changed(clamped, reads=False)),
    "bad labels dropped": Bug("backends-disagree", only_where(bad_labels_dropped)),
    "negative labels dropped": Bug("negative-label", only_where(negative_dropped)),
    "negative labels wrap": Bug("label-wraps", changed(wrapped, reads=False)),
    "labels through bfloat16": Bug("label-cast-to-half", labels_as(through(np.dtype(ml_dtypes.bfloat16))), wide=True),
    "labels through float16": Bug("label-cast-to-float16", labels_as(through(np.dtype(np.float16))), wide=True),
    "labels through the logits' dtype": Bug("label-cast-to-float", through_the_logits_dtype, wide=True),
    "uint8 156 taken for −100": Bug("narrow-label-dtype", changed(uint8_meets_negative, reads=False)),
    "int64 labels narrowed": Bug("narrow-label-dtype", narrowed(np.int32)),
    "labels in 16 bits": Bug("narrow-label-dtype", narrowed(np.int16), wide=True),
    "K in the labels' dtype": Bug("narrow-label-dtype", changed(class_count_narrowed, reads=False), wide=True),
    "classes reshaped, not moved": Bug("wrong-class-axis", changed(classes_not_moved)),
    "cotangent ignored": Bug("unreduced-gradient", pulled_back(np.ones_like)),
    "the first cotangent for all": Bug(
        "unreduced-gradient", pulled_back(lambda cotangent: np.full_like(cotangent, cotangent.flat[0]))
    ),
    "no gradient to soft labels": Bug(
        "soft-label-gradient", without_gradient("labels"), gradients=("logits", "labels")
    ),
    "no gradient to sample weights": Bug(
        "weight-gradient", without_gradient("sample_weight"), gradients=("logits", "sample_weight")
    ),
    "no gradient to class weights": Bug(
        "weight-gradient", without_gradient("class_weight"), gradients=("logits", "class_weight")
    ),
    "no gradient to the prior": Bug("weight-gradient", without_gradient("prior"), gradients=("logits", "prior")),
    "lse a constant in the Hessian": SecondOrderBug(
        "second-derivative", lambda inputs, g, t: hessian(inputs, g, t, lse_moves=False)
    ),
    "the Hessian is 0": SecondOrderBug("second-derivative", lambda inputs, g, t: 0 * hessian(inputs, g, t)),
    "0·inf": Bug("minus-inf-logit", position_bug(zero_times_infinity)),
    "inf − inf in the gradient": Bug("minus-inf-smoothed", position_bug(infinity_minus_infinity)),
    "log of an underflown softmax": Bug("log-after-softmax", lost(lambda p, info: p == 0)),
    "log of a subnormal softmax": Bug("subnormal", lost(lambda p, info: (p > 0) & (p < info.smallest_normal))),
    "probabilities clipped at 1e-7": Bug("clipped-probabilities", position_bug(clipped)),
    "the maximum cut off at −64": Bug("clipped-maximum", position_bug(maximum_cut_off)),
    "confident rows are 0": Bug("confident-row", confident_rows_are_zero),
    "lse rounded": Bug("large-shift", position_bug(lse_rounded)),
    "overflow in float16": Bug("half-overflow", position_bug(overflowing_sum), wide=True),
    "sums in half precision": Bug("half-accumulation", position_bug(half_sums)),
    "Σ exp in bfloat16": Bug("large-vocabulary", position_bug(saturating_sum), wide=True),
    "the loss through float32": Bug("float64-through-float32", loss_through_float32),
    "0.1f": Bug("float64-through-float32", changed(smoothing_through_float32)),
    "soft labels made to sum to 1": Bug("bad-soft-label", changed(renormalised, reads=False)),
}
