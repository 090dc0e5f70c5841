"""The conformance suite rejects losses that are wrong in the ways in which real ones have been."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from multismooth.numpy import functional
from multismooth_conformance import Inputs, Vector, judge, load
from multismooth_conformance.adapter import Array
from multismooth_conformance.adapters.reference import ADAPTER, ReferenceAdapter

PLUGIN = "multismooth_conformance.plugin"
VECTORS = load()
NUMBERS = re.compile("is right: off by|not NaN|is NaN at")
"""in the reason of a rejection: not for a dtype, a shape or an exception"""
Outputs = tuple[Array, dict[str, Array]]
Change = Callable[[Inputs], Inputs]


class Sabotaged(ReferenceAdapter):
    """The reference with one bug. It reads no values, so that a bad one must come out as NaN."""

    unread = ("eager",)

    def __init__(self, bug: Callable[[Inputs, Array], Outputs]) -> None:
        self.bug = bug

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        loss, gradients = self.bug(inputs, cotangent)
        return np.asarray(loss), gradients


def correct(inputs: Inputs, cotangent: Array) -> Outputs:
    return ADAPTER.run(inputs, cotangent, "eager")


def verdict(adapter: Any, vector: Vector) -> str | None:
    """Why the suite rejects the adapter on this vector, or None."""
    try:
        loss, gradients = judge.run(adapter, vector.inputs, vector.cotangent, "eager")
    except ValueError as error:
        return None if getattr(error, "reason", None) == vector.reason is not None else f"raised {error!r}"
    try:
        if vector.reason is None:
            judge.judge(vector, loss, gradients)
        else:
            judge.judge_nan(vector, loss, gradients)
    except AssertionError as error:
        return str(error)
    return None


# --- What the bugs are made of ------------------------------------------------------------------------------------


def with_spec(inputs: Inputs, **fields: Any) -> Inputs:
    return inputs._replace(spec=dict(inputs.spec) | fields)


def with_arrays(inputs: Inputs, **arrays: Array | None) -> Inputs:
    given = dict(inputs.arrays) | arrays
    return inputs._replace(arrays={name: array for name, array in given.items() if array is not None})


def changed(change: Change) -> Callable[[Inputs, Array], Outputs]:
    """A bug that computes the right answer to another question."""
    return lambda inputs, cotangent: correct(change(inputs), cotangent)


def swapped(field: str, **values: str) -> Callable[[Inputs, Array], Outputs]:
    """A bug that takes one choice of the spec for another."""
    return changed(lambda inputs: with_spec(inputs, **{field: values.get(inputs.spec[field], inputs.spec[field])}))


def counts(inputs: Inputs) -> Array:
    """The positions that count."""
    labels = inputs.arrays["labels"]
    mask = inputs.arrays.get("where", np.ones(labels.shape, bool))
    ignored = inputs.spec["ignore_index"]
    return mask if ignored is None else mask & (labels != ignored)


def labels_as(cast: Callable[[Array], Array]) -> Callable[[Inputs, Array], Outputs]:
    """A bug in what becomes of integer labels."""

    def change(inputs: Inputs) -> Inputs:
        labels = inputs.arrays["labels"]
        return with_arrays(inputs, labels=cast(labels)) if np.issubdtype(labels.dtype, np.integer) else inputs

    return changed(change)


# --- The bugs -----------------------------------------------------------------------------------------------------


def negative_labels_wrap(inputs: Inputs) -> Inputs:
    labels = inputs.arrays["labels"]
    if not np.issubdtype(labels.dtype, np.signedinteger):
        return inputs
    classes = inputs.arrays["logits"].shape[inputs.axis]
    wraps = counts(inputs) & (labels < 0) & (labels >= -classes)
    return with_arrays(inputs, labels=np.where(wraps, labels.astype(np.int64) + classes, labels))


def uint8_meets_minus_100(inputs: Inputs) -> Inputs:
    labels = inputs.arrays["labels"]
    return with_arrays(inputs, labels=labels.view(np.int8)) if labels.dtype == np.uint8 else inputs


def z_loss_outside_the_mask(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    if not inputs.spec["z_loss"] or inputs.spec["reduction"] == "none" or np.isnan(loss):
        return loss, gradients
    labels = np.where(counts(inputs), inputs.arrays["labels"], 0)
    open_ = with_spec(with_arrays(inputs, labels=labels, where=None), ignore_index=None)
    masked, everywhere, divisor = ADAPTER.totals(inputs), ADAPTER.totals(open_), 1.0
    if inputs.spec["reduction"] == "mean":
        divisor = inputs.arrays.get("normalizer", masked["weight"]) or 1.0
    return loss + ((everywhere["z_loss"] - masked["z_loss"]) / divisor).astype(loss.dtype), gradients


def z_loss_class_weighted(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    if "class_weight" not in inputs.arrays or inputs.spec["reduction"] == "none":
        return loss, gradients
    labels = np.where(counts(inputs), inputs.arrays["labels"], 0)
    weight = inputs.arrays.get("sample_weight", 1.0) * inputs.arrays["class_weight"][labels]
    right = ADAPTER.totals(inputs)
    wrong = ADAPTER.totals(with_arrays(inputs, class_weight=None, sample_weight=weight))
    divisor = right["weight"] if inputs.spec["reduction"] == "mean" else 1.0
    return loss + ((wrong["z_loss"] - right["z_loss"]) / divisor).astype(loss.dtype), gradients


def masked_rows_leak(inputs: Inputs, cotangent: Array) -> Outputs:
    """0·NaN."""
    loss, gradients = correct(inputs, cotangent)
    masked = np.moveaxis(inputs.arrays["logits"], inputs.axis, -1)[~counts(inputs)]
    with np.errstate(invalid="ignore"):
        return loss + (0 * masked).sum().astype(loss.dtype), gradients


def confident_rows_are_zero(inputs: Inputs, cotangent: Array) -> Outputs:
    """−log p, of a p that is rounded first."""
    loss, gradients = correct(inputs, cotangent)
    with np.errstate(divide="ignore"):
        return np.where(loss < 0.1, -np.log(np.exp(-loss)), loss), gradients


def entropy_twice(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    plain, _ = correct(with_spec(inputs, kl=False), cotangent)
    return loss + (loss - plain), gradients


def classes_not_moved(inputs: Inputs) -> Inputs:
    """A reshape in the place of a transpose."""
    logits = inputs.arrays["logits"]
    return with_arrays(inputs, logits=np.moveaxis(logits, inputs.axis, -1).reshape(logits.shape))


def constant(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    return np.full_like(loss, 1.5), {name: np.zeros_like(gradient) for name, gradient in gradients.items()}


def mean_of_microbatches(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    labels = inputs.arrays["labels"]
    if inputs.spec["reduction"] != "mean" or not labels.ndim or len(labels) < 2 or inputs.axis == 0:
        return loss, gradients
    per_position = {name for name, array in inputs.arrays.items() if array.shape[:1] == labels.shape[:1]}
    halves = (slice(None, len(labels) // 2), slice(len(labels) // 2, None))
    parts = [
        with_arrays(inputs, **{name: inputs.arrays[name][half] for name in per_position - {"class_weight", "prior"}})
        for half in halves
    ]
    return np.mean([correct(part, cotangent)[0] for part in parts], dtype=loss.dtype), gradients


BUGS: dict[str, tuple[str | None, Callable[[Inputs, Array], Outputs]]] = {
    # its name: the flag of a vector that must reject it, and the loss
    "ε/(K−1) for ε/K": ("which-formula", swapped("spread", uniform="others")),
    "ε/K for ε/(K−1)": ("which-formula", swapped("spread", others="uniform")),
    "the label's own share lost": ("which-formula", swapped("spread", uniform="leaky")),
    "excluded classes receive": ("target-does-not-sum", changed(lambda inputs: with_spec(inputs, exclude=[]))),
    "no smoothing": ("which-formula", changed(lambda inputs: with_spec(inputs, label_smoothing=0.0))),
    "ignored rows are counted": ("ignored-are-counted", swapped("denominator", valid="all")),
    "0/0 where nothing counts": ("nothing-counts", swapped("empty", zero="nan")),
    "negative labels wrap": ("label-wraps", changed(negative_labels_wrap)),
    "uint8 156 taken for −100": ("narrow-label-dtype", changed(uint8_meets_minus_100)),
    "int64 labels narrowed": ("narrow-label-dtype", labels_as(lambda labels: labels.astype(np.int32))),
    "labels through bfloat16": (
        "label-cast-to-half",
        labels_as(lambda labels: labels.astype(ml_dtypes.bfloat16).astype(np.int64)),
    ),
    "mean over sequences of means": ("mean-of-means", swapped("denominator", valid="nonempty_sequences")),
    "mean over microbatches of means": ("mean-of-means", mean_of_microbatches),
    "empty sequences counted": ("sequence-means", swapped("denominator", nonempty_sequences="sequences")),
    "normalizer ignored": ("normalizer", changed(lambda inputs: with_arrays(inputs, normalizer=None))),
    "z-loss outside the mask": ("z-loss-outside-mask", z_loss_outside_the_mask),
    "z-loss class-weighted": ("z-loss-outside-mask", z_loss_class_weighted),
    "cotangent ignored": ("unreduced-gradient", lambda inputs, g: (correct(inputs, g)[0], ones_pulled_back(inputs, g))),
    "NaN leaks from masked rows": ("ignored-leaks", masked_rows_leak),
    "sample weights in the denominator": ("uneven-masks", swapped("denominator", valid="weights")),
    "sample weights not in it": ("weights-not-in-denominator", swapped("denominator", weights="valid")),
    "class weight of the row": ("class-weight-rules", swapped("class_weight_rule", per_class="per_label")),
    "class weight of the column": ("class-weight-rules", swapped("class_weight_rule", per_label="per_class")),
    "class weight of the label's term": (
        "class-weight-smoothing",
        swapped("class_weight_rule", per_class="label_term"),
    ),
    "kl without the entropy": (None, changed(lambda inputs: with_spec(inputs, kl=False))),
    "the entropy twice": (None, entropy_twice),
    "classes reshaped, not moved": ("wrong-class-axis", changed(classes_not_moved)),
    "a constant": (None, constant),
    "confident rows are 0": ("confident-row", confident_rows_are_zero),
}


def ones_pulled_back(inputs: Inputs, cotangent: Array) -> dict[str, Array]:
    return correct(inputs, np.ones_like(cotangent))[1]


def flagged(flag: str | None) -> Iterable[Vector]:
    return [vector for vector in VECTORS.values() if flag is None or flag in vector.flags]


# --- The tests ----------------------------------------------------------------------------------------------------


def test_the_reference_passes() -> None:
    rejected = {vector.id: verdict(Sabotaged(correct), vector) for vector in VECTORS.values()}
    assert {id: reason for id, reason in rejected.items() if reason} == {}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_rejected(bug: str) -> None:
    """For its numbers, by a vector whose flag names it."""
    flag, loss = BUGS[bug]
    adapter = Sabotaged(loss)
    reasons = (verdict(adapter, vector) or "" for vector in flagged(flag))
    assert any(NUMBERS.search(reason) for reason in reasons)


@pytest.mark.parametrize(
    ("flag", "coefficient", "value"),
    [("mass-below-one", "mass", 1.0), ("which-formula", "off", 0.0), ("which-formula", "on", 1.0)],
)
def test_a_wrong_coefficient_is_rejected(
    monkeypatch: pytest.MonkeyPatch, flag: str, coefficient: str, value: float
) -> None:
    lower = functional.lower
    monkeypatch.setattr(functional, "lower", lambda *args: lower(*args)._replace(**{coefficient: value}))
    assert any(verdict(Sabotaged(correct), vector) for vector in flagged(flag))


def test_a_wrong_gradient_beside_a_right_loss_is_rejected() -> None:
    def bug(inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = correct(inputs, cotangent)
        kind = gradients["logits"].dtype
        return loss, {"logits": (gradients["logits"].astype(np.float64) * 1.001).astype(kind)}

    rejected = [verdict(Sabotaged(bug), vector) for vector in VECTORS.values() if vector.reason is None]
    assert sum(reason is not None and "gradient" in reason for reason in rejected) > len(rejected) / 2


def test_another_error_is_no_refusal() -> None:
    def bug(inputs: Inputs, cotangent: Array) -> Outputs:
        raise ValueError("bad input")

    bad = next(vector for vector in VECTORS.values() if vector.reason is not None)
    assert verdict(Sabotaged(bug), bad) == "raised ValueError('bad input')"


def test_a_bad_value_in_silence_is_rejected() -> None:
    """A number in the place of NaN."""

    def bug(inputs: Inputs, cotangent: Array) -> Outputs:
        logits = inputs.arrays["logits"]
        return np.zeros(cotangent.shape, logits.dtype), {"logits": np.zeros_like(logits)}

    for vector in VECTORS.values():
        if vector.reason is not None:
            assert verdict(Sabotaged(bug), vector), vector.id


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    if not any(entry.value == PLUGIN for entry in entry_points(group="pytest11")):
        command += ["-p", PLUGIN]  # in a checkout that is not installed
    command += ["--pyargs", "multismooth_conformance.suite", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--multismooth-adapter=nosuch:ADAPTER"],
        ["--multismooth-adapter=multismooth_conformance.adapters.reference:NOSUCH"],
        ["--multismooth-adapter=multismooth_conformance.adapters.reference", "--multismooth-modes=nosuch"],
    ],
    ids=["none", "no-module", "no-adapter", "no-mode"],
)
def test_the_suite_fails_without_what_it_is_asked_for(arguments: list[str]) -> None:
    done = suite(*arguments)
    assert done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout
    assert "multismooth-adapter" in done.stdout + done.stderr or "nosuch" in done.stdout + done.stderr
