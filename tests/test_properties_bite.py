"""Every law of the suite's properties fails for a loss that breaks it."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.errors
import numpy as np
import pytest

from multismooth_conformance import Inputs
from multismooth_conformance.adapter import Array
from multismooth_conformance.adapters.reference import ReferenceAdapter
from multismooth_conformance.suite import test_linear as linear_laws
from multismooth_conformance.suite import test_properties as laws
from tests.sabotage import linear as layers

Outputs = tuple[Array, dict[str, Array]]


class Right(ReferenceAdapter):
    """The reference; a bug overrides a part of it."""

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        return self.answer(self.heard(inputs), cotangent)

    def heard(self, inputs: Inputs) -> Inputs:
        """What becomes of the call."""
        return inputs

    def answer(self, inputs: Inputs, cotangent: Array) -> Outputs:
        return super().run(inputs, cotangent, "eager")


def with_spec(inputs: Inputs, **fields: Any) -> Inputs:
    return inputs._replace(spec=dict(inputs.spec) | fields)


def with_arrays(inputs: Inputs, **arrays: Array) -> Inputs:
    return inputs._replace(arrays=dict(inputs.arrays) | arrays)


class AlwaysZLoss(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        return with_spec(inputs, z_loss=0.01)


class FirstClassGetsNothing(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        classes = inputs.arrays["logits"].shape[inputs.axis]
        return with_spec(inputs, exclude=[0] if classes > 1 else [])


class FirstPositionCountsTwice(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        shape = inputs.counts().shape
        weight = inputs.arrays.get("sample_weight", np.ones(shape, np.float32)).copy()
        weight.reshape(-1)[:1] *= 2
        return with_arrays(inputs, sample_weight=weight)


class MeanOfMeans(Right):
    def totals(self, inputs: Inputs) -> dict[str, Array]:
        totals = super().totals(inputs)
        return totals | {"weight": np.ones_like(totals["weight"])}


class MaskedPositionsCount(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        return with_spec(inputs, denominator="all") if inputs.spec["denominator"] == "valid" else inputs


class SmoothedTwice(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        epsilon = inputs.spec["label_smoothing"]
        return with_spec(inputs, label_smoothing=epsilon * (2 - epsilon)) if inputs.soft else inputs


class SquaredSmoothing(Right):
    def heard(self, inputs: Inputs) -> Inputs:
        return with_spec(inputs, label_smoothing=inputs.spec["label_smoothing"] ** 2)


class GradientWithoutTarget(Right):
    """The softmax alone."""

    def answer(self, inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = super().answer(inputs, cotangent)
        return loss, {"logits": np.maximum(gradients["logits"], 0)}


class Noise(Right):
    noise = np.random.default_rng(0)

    def answer(self, inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = super().answer(inputs, cotangent)
        steps = loss.dtype.type(self.noise.integers(2)) * np.finfo(loss.dtype).eps
        return np.asarray(loss * (1 + steps)), gradients


class MultipliedByTheMask(Right):
    """0·NaN is NaN."""

    def answer(self, inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = super().answer(inputs, cotangent)
        logits = laws.rows(inputs, "logits").astype(loss.dtype)
        unread = ~inputs.counts()[..., None] | ~laws.existing(inputs)
        with np.errstate(invalid="ignore"):
            return np.asarray(loss + (0 * logits).sum(where=unread)), gradients


class LayerOf(Right):
    """The linear loss with a bug in its layer."""

    layer: type[layers.Layer]

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        return layers.LinearSabotaged(self.layer).linear(inputs, cotangent, mode)


class ScaleForgotten(LayerOf):
    layer = layers.NotScaled


class LastBlockOnly(LayerOf):
    layer = layers.LastBlockOnly


class GarbageLeaks(LayerOf):
    layer = layers.GarbageLeaks


class LinearNoise(Right):
    noise = np.random.default_rng(0)

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        loss, gradients = super().linear(inputs, cotangent, mode)
        steps = loss.dtype.type(self.noise.integers(2)) * np.finfo(loss.dtype).eps
        return np.asarray(loss * (1 + steps)), gradients


BREAKS: Mapping[Callable[[Any], None], type[Right]] = {
    laws.test_shift: AlwaysZLoss,
    laws.test_order_of_classes: FirstClassGetsNothing,
    laws.test_order_of_positions: FirstPositionCountsTwice,
    laws.test_order_of_sequences: FirstPositionCountsTwice,
    laws.test_microbatches: MeanOfMeans,
    laws.test_masking_is_removing: MaskedPositionsCount,
    laws.test_one_hot: SmoothedTwice,
    laws.test_affine_in_smoothing: SquaredSmoothing,
    laws.test_sum_of_gradient: GradientWithoutTarget,
    laws.test_repetition: Noise,
    laws.test_unread_values: MultipliedByTheMask,
    linear_laws.test_linear_is_the_loss_of_its_logits: ScaleForgotten,
    linear_laws.test_linear_parts: LastBlockOnly,
    linear_laws.test_linear_unread_values: GarbageLeaks,
    linear_laws.test_linear_repetition: LinearNoise,
}


def test_every_law_has_a_bug() -> None:
    every = vars(laws) | vars(linear_laws)
    assert {law for name, law in every.items() if name.startswith("test_")} == BREAKS.keys()


@pytest.mark.parametrize(("law", "bug"), BREAKS.items(), ids=[law.__name__ for law in BREAKS])
def test_a_law_fails_where_it_is_broken(
    law: Callable[[Any], None], bug: type[Right], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A failure is enough, and need not be made small.
    monkeypatch.setattr(laws, "PHASES", [hypothesis.Phase.generate])
    # Hypothesis runs a failure again, and has a name for one that does not come back.
    with pytest.raises((AssertionError, hypothesis.errors.FlakyFailure)):
        law(SimpleNamespace(adapter=bug(), compiles=False))


def test_a_law_says_what_it_could_not_try() -> None:
    class NothingWorks(Right):
        def supports(self, spec: Mapping[str, Any]) -> str | None:
            return "has nothing"

    with pytest.raises(pytest.skip.Exception, match="unsupported: has nothing"):
        laws.test_shift(SimpleNamespace(adapter=NothingWorks(), compiles=False))  # type: ignore[arg-type]  # all that it reads
