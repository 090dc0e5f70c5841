"""The search for wrong calls finds one, makes it small, and keeps it as a vector that the oracle answers for."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest

from multismooth.numpy import smoothed_cross_entropy
from multismooth_conformance import Inputs, validate
from multismooth_conformance.adapter import Array
from multismooth_conformance.adapters.reference import ADAPTER, ReferenceAdapter
from multismooth_conformance.adapters.rooms import spec_of
from multismooth_conformance.strategies import Call, calls

CONFORMANCE = Path(__file__).parents[1] / "conformance"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script, which keeps nothing in the repository."""
    monkeypatch.syspath_prepend(str(CONFORMANCE))
    import fuzz

    monkeypatch.setattr(fuzz, "FOUND", tmp_path / "found.json")
    yield fuzz
    del sys.modules["fuzz"]


class HeavyClasses(ReferenceAdapter):
    """Wrong from the third class on."""

    name = "heavy"

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, dict[str, Array]]:
        loss, gradients = super().run(inputs, cotangent, mode)
        wrong = inputs.arrays["logits"].shape[inputs.axis] > 2
        return np.asarray(loss * loss.dtype.type(1.001 if wrong else 1)), gradients


def test_a_bug_is_found_and_kept(fuzz: ModuleType) -> None:
    search = fuzz.Fuzz([ADAPTER, HeavyClasses()], seconds=60, seed=0)
    search.round()
    assert len(search.finds) == 1
    (kept,) = json.loads(fuzz.FOUND.read_text())["vectors"]
    assert kept["id"] == "found-001"
    assert "heavy: loss" in kept["comment"]
    assert math.prod(kept["inputs"]["logits"]["shape"]) <= 6, "two positions of three classes show it"
    from generator.files import source_differences

    assert validate.errors([fuzz.FOUND]) == source_differences(fuzz.FOUND) == []


def test_what_is_right_is_not_found(fuzz: ModuleType) -> None:
    search = fuzz.Fuzz([ADAPTER], seconds=60, seed=0)
    search.round()
    assert search.judged == {"reference": fuzz.ROUND}
    assert not search.finds
    assert not fuzz.FOUND.exists()


@hypothesis.settings(max_examples=50, derandomize=True, database=None, deadline=None)
@hypothesis.given(calls())
def test_drawn_calls_are_valid(call: Call) -> None:
    smoothed_cross_entropy(spec=spec_of(call.inputs.spec), axis=call.inputs.axis, **call.inputs.arrays)
