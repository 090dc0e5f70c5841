"""The conformance suite rejects losses that are wrong in the ways in which real ones have been."""

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files

import numpy as np
import pytest

from multismooth_conformance import Inputs, judge
from multismooth_conformance.adapter import Array
from tests.sabotage.bugs import BUGS as LOGITS_BUGS
from tests.sabotage.bugs import hessian
from tests.sabotage.linear import LINEAR_BUGS, Constant, Layer, LinearSabotaged
from tests.sabotage.linear import gradient_times as linear_gradient_times
from tests.sabotage.parts import VECTORS, Outputs, Sabotaged, assembled, correct, is_wide, pieces, verdict

BUGS = LOGITS_BUGS | LINEAR_BUGS
PLUGIN = "multismooth_conformance.plugin"
NUMBERS = re.compile("is right: off by|not NaN|is NaN at")
"""in the reason of a rejection: not for a dtype, a shape or an exception"""
LINEAR = {id: vector for id, vector in VECTORS.items() if vector.inputs.linear}
OF_LOGITS = {id: vector for id, vector in VECTORS.items() if id not in LINEAR}
FLAGS = sorted({flag for vector in VECTORS.values() for flag in vector.flags})
STRAYS = 0.03
"""Of the vectors that reject a bug, so many may lack its flag, and two more: a bug reaches further by accident, as
where a sum over nothing becomes NaN, and a condition that foresaw all of it would be the bug itself."""
UNTRUE = 0.02
"""Of the vectors with a flag, so many may let all of its bugs pass, and two more: where a rounding hits by chance."""


@cache
def rejections(name: str) -> dict[str, str]:
    """Why the suite rejects a bug, by the vector's id."""
    bug = BUGS[name]
    reasons = {id: bug.verdict(vector) for id, vector in VECTORS.items() if bug.wide or not is_wide(vector)}
    return {id: reason for id, reason in reasons.items() if reason}


def flagged(flag: str, wide: bool) -> set[str]:
    return {id for id, vector in VECTORS.items() if flag in vector.flags and (wide or not is_wide(vector))}


# --- What is right passes -----------------------------------------------------------------------------------------


def test_the_reference_passes() -> None:
    rejected = {id: verdict(Sabotaged(correct), vector) for id, vector in VECTORS.items()}
    judged = {id: _judged(id) for id in OF_LOGITS}
    assert {id: reason for id, reason in (rejected | judged).items() if reason} == {}


def _judged(id: str) -> str | None:
    """The verdict on a copy of the reference's answer, which is not taken for granted."""

    def copied(inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = correct(inputs, cotangent)
        return loss.copy(), {name: gradient.copy() for name, gradient in gradients.items()}

    return verdict(Sabotaged(copied), VECTORS[id])


def test_the_reference_in_pieces_passes() -> None:
    """What the bugs are put into is right without them."""

    def whole(inputs: Inputs, cotangent: Array) -> Outputs:
        with np.errstate(all="ignore"):
            at = pieces(inputs)
            return assembled(at, cotangent, at.losses(), at.slopes())

    rejected = {id: verdict(Sabotaged(whole), vector) for id, vector in OF_LOGITS.items() if not is_wide(vector)}
    assert {id: reason for id, reason in rejected.items() if reason} == {}


def test_the_linear_layer_in_pieces_passes() -> None:
    rejected = {id: verdict(LinearSabotaged(Layer), vector) for id, vector in LINEAR.items()}
    assert {id: reason for id, reason in rejected.items() if reason} == {}


def test_the_hessian_passes() -> None:
    vectors = [vector for vector in VECTORS.values() if vector.tangent is not None]
    assert len(vectors) > 20
    for vector in vectors:
        assert vector.tangent is not None
        judge.judge_hvp(vector, hessian(vector.inputs, vector.cotangent, vector.tangent))


# --- Each bug, and each flag --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_rejected_by_its_flag(name: str) -> None:
    """For its numbers, by vectors whose flag names it, and by few others."""
    rejected, with_flag = rejections(name), flagged(BUGS[name].flag, BUGS[name].wide)
    assert any(NUMBERS.search(rejected.get(id, "")) for id in with_flag)
    assert len(rejected.keys() - with_flag) <= 2 + STRAYS * len(rejected), sorted(rejected.keys() - with_flag)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_true(flag: str) -> None:
    """Each vector that has it rejects one of its bugs."""
    names = [name for name, bug in BUGS.items() if bug.flag == flag]
    with_flag = flagged(flag, any(BUGS[name].wide for name in names))
    rejected = {id for name in names for id in rejections(name)}
    assert len(with_flag - rejected) <= 2 + UNTRUE * len(with_flag), sorted(with_flag - rejected)


def test_there_are_enough() -> None:
    """Of bugs and of flags, and no flag without vectors, a bug and a link."""
    notes: dict[str, dict[str, str]] = {}
    for file in (files("multismooth_conformance") / "vectors" / "v1").iterdir():
        if file.name.endswith(".json") and file.name != "schema.json":
            notes |= json.loads(file.read_text(encoding="utf-8"))["notes"]
    assert {bug.flag for bug in BUGS.values()} == set(FLAGS) == notes.keys()
    assert min(len(FLAGS), len(BUGS)) >= 40
    assert {flag: note for flag, note in notes.items() if not note["link"].startswith("https://")} == {}
    assert len({note["bug"] for note in notes.values()}) == len(notes)
    assert {flag: len(flagged(flag, True)) for flag in FLAGS if len(flagged(flag, True)) < 2} == {}


# --- What nearly every vector sees --------------------------------------------------------------------------------


def constant(inputs: Inputs, cotangent: Array) -> Outputs:
    loss, gradients = correct(inputs, cotangent)
    return np.full_like(loss, 1.5), gradients


def gradient_times(factor: float) -> Sabotaged:
    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = correct(inputs, cotangent)
        gradient = gradients["logits"]
        return loss, {"logits": (gradient.astype(np.float64) * factor).astype(gradient.dtype)}

    return Sabotaged(run)


@pytest.mark.parametrize(
    ("adapter", "share"),
    [
        (Sabotaged(constant), 0.95),
        (gradient_times(0.0), 0.85),
        (gradient_times(-1.0), 0.85),
        (gradient_times(1.001), 0.6),
        (LinearSabotaged(Constant), 0.95),
        (LinearSabotaged(linear_gradient_times(0.0)), 0.85),
        (LinearSabotaged(linear_gradient_times(-1.0)), 0.85),
        (LinearSabotaged(linear_gradient_times(1.001)), 0.6),
    ],
    ids=[
        f"{loss}{what}"
        for loss in ("", "linear: ")
        for what in ("a constant loss", "no gradient", "the gradient's sign", "the gradient off by a thousandth")
    ],
)
def test_what_is_wrong_everywhere_is_rejected_nearly_everywhere(adapter: Sabotaged, share: float) -> None:
    """The rest have no loss or no gradient to be wrong, or half precision rounds a thousandth away."""
    mine = LINEAR if isinstance(adapter, LinearSabotaged) else OF_LOGITS
    vectors = [vector for vector in mine.values() if vector.reason is None and not is_wide(vector)]
    assert sum(bool(verdict(adapter, vector)) for vector in vectors) > share * len(vectors)


def test_another_error_is_no_refusal() -> None:
    def bug(inputs: Inputs, cotangent: Array) -> Outputs:
        raise ValueError("bad input")

    bad = next(vector for vector in VECTORS.values() if vector.reason is not None)
    with pytest.raises(ValueError, match="bad input"):
        verdict(Sabotaged(bug), bad)


def test_a_bad_value_in_silence_is_rejected() -> None:
    """A number in the place of NaN."""

    def bug(inputs: Inputs, cotangent: Array) -> Outputs:
        logits = inputs.arrays["logits"]
        return np.zeros(cotangent.shape, logits.dtype), {"logits": np.zeros_like(logits)}

    for vector in OF_LOGITS.values():
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
