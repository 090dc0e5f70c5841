"""``identify`` names the bugs that real losses have had, as far as logits, values and gradients can tell."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from multismooth import Spec
from multismooth.porting import Identification, identify
from multismooth_conformance import Inputs
from tests.sabotage.bugs import BUGS, Bug
from tests.sabotage.parts import correct


class Named(NamedTuple):
    """A loss with a bug, and what tells it."""

    spec: Spec
    """what the loss would compute without the bug"""
    finding: str | None = None
    """the finding that names the bug"""
    found: Spec | None = None
    """or the other spec that the loss computes in truth"""
    takes: tuple[str, ...] = ()
    classes: tuple[int, ...] = (7, 9)
    axis: int = -1


WHERE, WEIGHTS, CLASS = ("where",), ("sample_weight",), ("class_weight",)
SMOOTH = Spec(0.1, ignore_index=-100)
OTHERS = Spec(0.1, "others", ignore_index=-100)
HARD = Spec(ignore_index=-100)
LOUD = Spec(0.1, z_loss=0.01, ignore_index=-100)
KL = Spec(0.1, "others", kl=True, ignore_index=-100)
EXPECTED = Spec(0.1, class_weight_rule="expected", denominator="expected_class_weights")

TOLD: dict[str, Named] = {
    "ε/(K−1) for ε/K": Named(Spec(0.1), found=Spec(0.1, "others")),
    "ε/K for ε/(K−1)": Named(Spec(0.1, "others"), found=Spec(0.1)),
    "the label's own share lost": Named(Spec(0.1), found=Spec(0.1, "leaky")),
    "no smoothing": Named(Spec(0.1), found=Spec()),
    "1/K added for ε/K": Named(Spec(0.1), "target"),
    "the label keeps all": Named(Spec(0.1), "target"),
    "prior ignored": Named(Spec(0.1), "prior_dropped", takes=("prior",)),
    "ε/K where fewer receive": Named(Spec(0.1, exclude=(0,)), "target"),
    "excluded classes receive": Named(Spec(0.1, exclude=(0,)), found=Spec(0.1)),
    "classes that do not exist": Named(Spec(0.1), "allowed_dropped", takes=("allowed",)),
    "ε/K of one partition": Named(Spec(0.1), "target", classes=(7, 600)),
    "softmax − q for mass·softmax − q": Named(Spec(0.1, "leaky"), "gradient_not_the_loss_s"),
    "kl without the entropy": Named(KL, found=OTHERS),
    "the entropy twice": Named(KL, "entropy_twice"),
    "log 0 at ε = 1": Named(Spec(1.0, "others", kl=True), "not_finite"),
    "the entropy of masked positions": Named(KL, "entropy_of_ignored"),
    "soft labels smoothed twice": Named(Spec(0.1), "soft_labels_smoothed_twice"),
    "soft labels smoothed without the prior": Named(Spec(0.1), "soft_labels_without_prior", takes=("prior",)),
    "soft labels not smoothed": Named(Spec(0.1), "soft_labels_not_smoothed"),
    "smoothing of masked positions": Named(SMOOTH, "smoothing_of_ignored"),
    "0·NaN under the mask": Named(SMOOTH, "nan_under_mask"),
    "0·NaN under weight 0": Named(Spec(0.1), "nan_under_zero_weight", takes=WEIGHTS),
    "the mask inverted": Named(Spec(0.1), "mask_inverted", takes=WHERE),
    "ignored rows are uniform": Named(SMOOTH, "ignored_are_uniform"),
    "ignored labels looked up": Named(SMOOTH, "ignored_nan"),
    "class 0 ignored": Named(SMOOTH, "labels_ignored"),
    "uninitialised memory": Named(SMOOTH, "ignored_leak"),
    "0/0 where nothing counts": Named(SMOOTH, found=Spec(0.1, ignore_index=-100, empty="nan")),
    "0 for NaN where nothing counts": Named(Spec(0.1, ignore_index=-100, empty="nan"), found=SMOOTH),
    "ignored rows are counted": Named(SMOOTH, found=Spec(0.1, ignore_index=-100, denominator="all")),
    "mean over sequences of means": Named(SMOOTH, found=Spec(0.1, ignore_index=-100, denominator="nonempty_sequences")),
    "mean over microbatches of means": Named(SMOOTH, "mean_of_means"),
    "divided by the batch": Named(SMOOTH, found=Spec(0.1, ignore_index=-100, denominator="batch")),
    "normalizer ignored": Named(SMOOTH, "normalizer_dropped", takes=("normalizer",)),
    "normalizer applied twice": Named(SMOOTH, "normalizer_twice", takes=("normalizer",)),
    "empty sequences counted": Named(
        Spec(0.1, denominator="nonempty_sequences"), found=Spec(0.1, denominator="sequences"), takes=WHERE
    ),
    "empty sequences not counted": Named(
        Spec(0.1, denominator="sequences"), found=Spec(0.1, denominator="nonempty_sequences"), takes=WHERE
    ),
    # Its loss is "all" at the gradient of "sequences", times a number.
    "means over padded sequences": Named(Spec(0.1, denominator="sequences"), "denominator", takes=WHERE),
    "max(D, 1)": Named(Spec(0.1, denominator="weights"), "floor_in_denominator", takes=WEIGHTS),
    "D + 1e-5": Named(SMOOTH, "floor_in_denominator", found=SMOOTH),
    "D + 1e-13": Named(Spec(0.1, denominator="weights"), "floor_in_denominator", takes=WEIGHTS),
    "two denominators": Named(SMOOTH, "two_denominators"),
    "sample weights dropped": Named(SMOOTH, "sample_weight_dropped", takes=WEIGHTS),
    "sample weights in the denominator": Named(
        Spec(0.1), found=Spec(0.1, denominator="weights"), takes=(*WHERE, *WEIGHTS)
    ),
    "sample weights not in it": Named(Spec(0.1, denominator="weights"), found=Spec(0.1), takes=(*WHERE, *WEIGHTS)),
    "class weight of the row": Named(
        SMOOTH, found=Spec(0.1, class_weight_rule="per_label", ignore_index=-100), takes=CLASS
    ),
    "class weight of the column": Named(
        Spec(0.1, class_weight_rule="per_label", ignore_index=-100), found=SMOOTH, takes=CLASS
    ),
    "class weights miss the smoothing": Named(
        SMOOTH, found=Spec(0.1, class_weight_rule="label_term", ignore_index=-100), takes=CLASS
    ),
    "class weights on the smoothing": Named(
        Spec(0.1, class_weight_rule="label_term", ignore_index=-100), found=SMOOTH, takes=CLASS
    ),
    "w_y for Σ q·w": Named(
        Spec(0.1, class_weight_rule="expected", ignore_index=-100),
        found=Spec(0.1, class_weight_rule="per_label", ignore_index=-100),
        takes=CLASS,
    ),
    "Σ w_y for ΣΣ q·w": Named(
        EXPECTED, found=Spec(0.1, class_weight_rule="expected", denominator="class_weights"), takes=CLASS
    ),
    "class weights not in the denominator": Named(
        Spec(0.1, ignore_index=-100, denominator="class_weights"), found=SMOOTH, takes=CLASS
    ),
    "weights of ignored labels counted": Named(
        Spec(0.1, ignore_index=-100, denominator="class_weights"), "ignored_class_weight", takes=CLASS
    ),
    "any weight will do": Named(Spec(0.1), "bad_weights", takes=WEIGHTS),
    "z-loss outside the mask": Named(LOUD, "z_loss_of_ignored"),
    "z-loss class-weighted": Named(LOUD, "z_loss_class_weighted", takes=CLASS),
    "z-loss over all positions": Named(LOUD, "z_loss_over_all"),
    "labels clamped": Named(SMOOTH, "labels_clamped"),
    "bad labels dropped": Named(SMOOTH, "bad_labels_dropped"),
    "negative labels dropped": Named(SMOOTH, "negative_labels_dropped"),
    "negative labels wrap": Named(SMOOTH, "labels_wrap"),
    "labels through bfloat16": Named(SMOOTH, "labels_rounded"),
    "labels through float16": Named(SMOOTH, "labels_rounded"),
    "labels through the logits' dtype": Named(SMOOTH, "labels_rounded"),
    "uint8 156 taken for −100": Named(SMOOTH, "labels_narrowed"),
    "int64 labels narrowed": Named(SMOOTH, "labels_narrowed"),
    "labels in 16 bits": Named(SMOOTH, "labels_narrowed"),
    "K in the labels' dtype": Named(SMOOTH, "labels_narrowed"),
    "classes reshaped, not moved": Named(SMOOTH, "class_axis", axis=1),
    "cotangent ignored": Named(Spec(0.1, reduction="none"), "cotangent"),
    "the first cotangent for all": Named(Spec(0.1, reduction="none"), "cotangent"),
    "0·inf": Named(HARD, "minus_inf"),
    "inf − inf in the gradient": Named(SMOOTH, "minus_inf_gradient"),
    "log of an underflown softmax": Named(SMOOTH, "log_after_softmax"),
    "log of a subnormal softmax": Named(SMOOTH, "subnormal_probabilities"),
    "probabilities clipped at 1e-7": Named(SMOOTH, "probabilities_clipped"),
    "the maximum cut off at −64": Named(SMOOTH, "maximum_cut_off"),
    "confident rows are 0": Named(Spec(reduction="none"), "confident_row"),
    "lse rounded": Named(SMOOTH, "large_shift"),
    "overflow in float16": Named(SMOOTH, "half_overflow"),
    "sums in half precision": Named(SMOOTH, "half_sums"),
    "Σ exp in bfloat16": Named(SMOOTH, "many_classes"),
    "the loss through float32": Named(SMOOTH, "loss_through_float32"),
    "0.1f": Named(SMOOTH, "smoothing_in_float32", found=Spec(float(np.float32(0.1)), ignore_index=-100)),
    "soft labels made to sum to 1": Named(Spec(0.1), "bad_soft_labels"),
}

REMARKS = {
    "bad_soft_labels",
    "bad_weights",
    "confident_row",
    "half_overflow",
    "half_sums",
    "large_shift",
    "mask_inverted",
    "smoothing_in_float32",
}
"""What is said of a loss that computes a spec all the same."""

UNTOLD = {
    "no gradient to soft labels": "identify differentiates by the logits alone",
    "no gradient to sample weights": "identify differentiates by the logits alone",
    "no gradient to class weights": "identify differentiates by the logits alone",
    "no gradient to the prior": "identify differentiates by the logits alone",
    "lse a constant in the Hessian": "a second derivative: identify takes the first one",
    "the Hessian is 0": "a second derivative: identify takes the first one",
}


def loss_of(bug: Callable[[Inputs, Any], Any], named: Named) -> Any:
    """The sabotaged loss, as a function that identify can call."""
    fields: Mapping[str, Any] = json.loads(named.spec.to_json())

    def call(logits: Any, labels: Any, given: Mapping[str, Any]) -> tuple[Any, Callable[[Any], Any]]:
        arrays = {"logits": logits, "labels": labels} | {k: a for k, a in given.items() if a is not None}
        inputs = Inputs(fields, named.axis, arrays)
        positions = np.delete(logits.shape, inputs.class_axis)
        cotangent = np.ones(positions if named.spec.reduction == "none" else (), logits.dtype)
        loss, _ = bug(inputs, cotangent)
        return loss, lambda g: bug(inputs, g.astype(logits.dtype))[1]["logits"]

    parameters = "".join(f", {name}=None" for name in named.takes)
    names = ", ".join(f"{name!r}: {name}" for name in named.takes)
    scope: dict[str, Any] = {"call": call}
    exec(f"def loss(logits, labels{parameters}): return call(logits, labels, {{{names}}})", scope)
    return scope["loss"]


def told(found: Identification) -> set[str]:
    return {finding.about for finding in found.findings}


def test_every_bug_has_a_line() -> None:
    assert TOLD.keys() | UNTOLD.keys() == BUGS.keys()
    assert not TOLD.keys() & UNTOLD.keys()


@pytest.mark.parametrize("name", TOLD)
def test_a_bug_is_named(name: str) -> None:
    named, bug = TOLD[name], BUGS[name]
    assert isinstance(bug, Bug)
    found = identify(loss_of(bug.run, named), "numpy", classes=named.classes)
    assert named.found is None or found.spec == named.found, str(found)
    assert named.finding is None or named.finding in told(found), str(found)


RIGHT = {(named.spec, named.takes, named.classes, named.axis): named for named in TOLD.values()}


@pytest.mark.parametrize("named", RIGHT.values(), ids=lambda named: f"{named.spec}-{named.takes}-{named.axis}")
def test_what_is_right_has_no_bug(named: Named) -> None:
    """The unsabotaged loss has its own spec, and neither a deviation nor a remark."""
    found = identify(loss_of(correct, named), "numpy", classes=named.classes)
    assert found.spec == named.spec, str(found)
    assert found.deviations == (), str(found)
    assert not told(found) & REMARKS, str(found)
