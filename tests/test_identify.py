"""``identify`` on losses whose spec is known. Those of the frameworks are in the rooms' folders."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth.dialects import DIALECTS
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth.porting import Identification, identify


def with_pullback(spec: Spec, axis: int = -1, **arrays: Any) -> Any:
    """The reference, as a function of logits, labels and what arrays are named."""

    def loss(logits: Any, labels: Any, **given: Any) -> tuple[Any, Callable[[Any], Any]]:
        given = {"axis": axis, **arrays, **given}
        value = smoothed_cross_entropy(logits, labels, spec, **given)
        return value, lambda g: smoothed_cross_entropy_vjp(g, logits, labels, spec, **given)

    return loss


def everything(spec: Spec, axis: int = -1) -> Any:
    loss = with_pullback(spec, axis)

    def named(logits: Any, labels: Any, where: Any = None, sample_weight: Any = None, class_weight: Any = None) -> Any:
        return loss(logits, labels, where=where, sample_weight=sample_weight, class_weight=class_weight)

    return named


def close(one: Spec, other: Spec) -> bool:
    """Equal, but for the last digits of ε and of z_loss, which are measured, and for what an unused mean divides by."""
    fields: dict[str, Any] = {"label_smoothing": 0.0, "z_loss": 0.0}
    unused: dict[str, Any] = {} if other.reduction == "mean" else {"denominator": "valid", "empty": "zero"}
    return replace(one, **fields) == replace(other, **fields, **unused) and all(
        getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12) for name in fields
    )


def same(one: Spec, other: Spec) -> bool:
    """Whether losses and gradients are the same on a batch with all that a spec can tell apart."""
    random = np.random.default_rng(5)
    x, mask = random.normal(size=(4, 5, 8)), np.arange(5) < np.array([5, 3, 1, 0])[:, None]
    y = random.integers(2, 8, (4, 5))
    arrays = {"where": mask, "sample_weight": random.uniform(0, 2, (4, 5))}
    if not (one.kl or other.kl):
        arrays["class_weight"] = random.uniform(0.2, 2, 8)
    y[0, 1] = y[0, 1] if one.ignore_index is None else one.ignore_index
    answers = []
    for spec in (one, other):
        loss = smoothed_cross_entropy(x, y, spec, **arrays)
        answers.append((loss, smoothed_cross_entropy_vjp(np.ones(loss.shape), x, y, spec, **arrays)))
    return all(np.allclose(mine, theirs, rtol=0, atol=1e-12) for mine, theirs in zip(*answers, strict=True))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect(name: str, epsilon: float) -> None:
    spec = DIALECTS[name].smoothed(epsilon)
    found = identify(everything(spec), "numpy")
    assert found.spec is not None, found
    # At ε = 0 the spreads are one and kl subtracts nothing; at ε = 1 the rules of class weights meet.
    assert close(found.spec, spec) or (epsilon in (0, 1) and same(found.spec, spec)), found
    assert found.deviations == ()


# --- What the layout is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 1])
def test_the_class_axis(axis: int) -> None:
    found = identify(with_pullback(Spec(0.1), axis), "numpy")
    assert found.layout["classes"] == {-1: "last", 1: "second"}[axis]
    assert found.spec == Spec(0.1)


def test_labels_first() -> None:
    loss = with_pullback(Spec(0.1))
    assert identify(lambda y_true, y_pred: loss(y_pred, y_true), "numpy").spec == Spec(0.1)
    assert identify(lambda a, b: loss(b, a), "numpy").spec == Spec(0.1)


def test_arguments_by_the_user_s_names() -> None:
    loss = with_pullback(Spec(0.1))

    def strange(p: Any, q: Any, kept: Any = None) -> Any:
        return loss(q, p, where=kept)

    found = identify(strange, "numpy", arguments={"logits": "q", "labels": "p", "where": "kept"})
    assert found.spec == Spec(0.1)
    assert found.layout["arguments"] == "kept"
    without = identify(everything(Spec(0.1)), "numpy", arguments={"where": None, "class_weight": None})
    assert without.layout["arguments"] == "sample_weight"


@pytest.mark.parametrize("mask", ["where", "padding_mask"])
def test_an_argument_without_a_default(mask: str) -> None:
    loss = with_pullback(Spec(0.1))
    if mask == "where":
        found = identify(lambda logits, labels, where: loss(logits, labels, where=where), "numpy")
    else:
        found = identify(lambda logits, labels, padding_mask: loss(logits, labels, where=~padding_mask), "numpy")
        assert "mask_inverted" in {finding.about for finding in found.findings}
    assert found.spec == Spec(0.1), str(found)


def of(inputs: str, spec: Spec) -> Any:
    """A sum that is a function of (log-)probabilities, with a target of mass 1."""

    def loss(given: Any, labels: Any) -> Any:
        logits = np.log(given) if inputs == "probabilities" else given
        value = smoothed_cross_entropy(logits, labels, spec)

        def pullback(g: Any) -> Any:
            gradient = smoothed_cross_entropy_vjp(g, logits, labels, spec)
            # −q alone, as a loss that trusts its input has it.
            gradient = gradient - g * _softmax(logits) * (labels != spec.ignore_index)[..., None]
            return gradient / given if inputs == "probabilities" else gradient

        return value, pullback

    return loss


def _softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("inputs", ["log-probabilities", "probabilities"])
def test_what_the_loss_is_given(inputs: str) -> None:
    spec = Spec(0.1, "others", ignore_index=-100, reduction="sum")
    found = identify(of(inputs, spec), "numpy")
    assert found.layout["inputs"] == inputs, str(found)
    assert found.spec == spec, str(found)


def test_an_argument_that_must_be_given_for_all_its_default() -> None:
    loss = with_pullback(Spec(0.1))

    def strict(logits: Any, labels: Any, mask: Any = None) -> Any:
        if mask is None:
            raise ValueError("a mask, please")
        return loss(logits, labels, where=mask)

    with pytest.raises(InputError, match="a mask, please"):
        identify(strict, "numpy")
    assert identify(strict, "numpy", arguments={"where": "mask"}).spec == Spec(0.1)


# --- What is inside -----------------------------------------------------------------------------------------------

W = np.array([0.5, 1.0, 2.0, 1.5, 0.25, 3.0, 1.0])


@pytest.mark.parametrize(
    "spec",
    [
        Spec(0.1, ignore_index=-100, denominator="class_weights", empty="nan"),
        Spec(0.1),
        Spec(0.1, "others", reduction="sum"),
        Spec(0.1, class_weight_rule="per_label"),
        Spec(0.1, class_weight_rule="label_term"),
        Spec(reduction="none"),
    ],
    ids=repr,
)
def test_class_weights_inside(spec: Spec) -> None:
    found = identify(with_pullback(spec, class_weight=W), "numpy", classes=7)
    assert found.spec == spec, str(found)
    scale = W.sum() / 7 if spec.denominator == "class_weights" else 1.0  # which that denominator cancels
    np.testing.assert_allclose(found.arrays["class_weight"], W / scale, rtol=1e-9)


def test_a_prior_inside() -> None:
    found = identify(with_pullback(Spec(0.1), prior=W / W.sum()), "numpy", classes=7)
    assert found.spec == Spec(0.1), str(found)
    np.testing.assert_allclose(found.arrays["prior"], W / W.sum(), rtol=1e-9)


# --- How sure it is -----------------------------------------------------------------------------------------------


def test_one_number_of_classes_leaves_the_spread_open() -> None:
    """others(0.1) is uniform(0.7/6) at 7 classes: the shorter number is taken, and the other is named."""
    found = identify(everything(Spec(0.1, "others")), "numpy", classes=7)
    assert found.spec == Spec(0.1, "others")
    assert found.sure == "open"
    assert any("Spec(label_smoothing=0.11666" in other for other in found.also), str(found)
    assert identify(everything(Spec(0.1, "others")), "numpy").sure == "certain"


def test_the_text_for_people_and_the_file() -> None:
    found = identify(everything(Spec(0.1, ignore_index=-100, denominator="all")), "numpy")
    assert str(found).startswith("Spec(label_smoothing=0.1, ignore_index=-100, denominator='all')\n  sure: certain")
    assert Identification.from_json(found.to_json()) == found
    assert Spec.from_json(json.dumps(json.loads(found.to_json())["spec"])) == found.spec


def test_a_loss_of_another_family() -> None:
    """The squared loss has no residual that is a number, and its file is JSON all the same."""
    loss = with_pullback(Spec())

    def squared(logits: Any, labels: Any) -> Any:
        value, pullback = loss(logits, labels)
        return value**2, lambda g: pullback(2 * value * g)

    found = identify(squared, "numpy")
    assert found.spec is None
    assert "not_softmax" in found.deviations
    assert Identification.from_json(found.to_json()) == found
    assert "Infinity" not in found.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": 1}', "[" * 10**5, '{"spec": null, "nearest": null}'])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Identification.from_json(text)


# --- What cannot be probed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: identify(with_pullback(Spec()), "mxnet"), "unknown_framework"),
        (lambda: identify(with_pullback(Spec()), "numpy", classes=2), "bad_classes"),
        (lambda: identify(with_pullback(Spec()), "numpy", classes=()), "bad_classes"),
        (lambda: identify(with_pullback(Spec()), "numpy", arguments={"mask": "m"}), "unknown_argument"),
        (lambda: identify(3, "numpy"), "not_callable"),  # type: ignore[arg-type]  # bad on purpose
        (lambda: identify(lambda x, y: 1.0, "numpy"), "not_differentiable"),
        (lambda: identify(lambda x, y: (0.0, lambda g: 0 * x), "numpy"), "not_differentiable"),
        (lambda: identify(lambda x, y: [][0], "numpy"), "no_layout"),
    ],
)
def test_a_bad_call_is_refused(call: Callable[[], Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.reason == reason


@pytest.mark.parametrize("framework", ["torch", "jax", "tensorflow", "keras"])
def test_a_missing_framework_is_named(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(InputError, match=f"pip install 'multismooth\\[{framework}\\]'") as caught:
        identify(with_pullback(Spec()), framework)
    assert caught.value.reason == "framework_missing"


def float32(number: Any) -> Any:
    return np.float64(np.float32(number))


def test_an_entropy_that_is_rounded_to_float32_is_found() -> None:
    """As the Flax example's is; all else is in float64."""
    spec = Spec(0.1, "others", kl=True, ignore_index=0)
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1 / 6))

    def loss(logits: Any, labels: Any) -> Any:
        value, pullback = with_pullback(spec)(logits, labels)
        return value + (entropy - float32(entropy)) * (labels != 0).any(), pullback

    found = identify(loss, "numpy", classes=7)
    assert found.spec == spec, found
    assert "partly_in_float32" in [finding.about for finding in found.findings]


def test_a_target_that_is_rounded_to_float32_is_found_with_class_weights() -> None:
    """As PaddlePaddle's is."""
    weighted = {"class_weight_rule": "expected", "denominator": "expected_class_weights", "empty": "nan"}
    rounded = Spec(values=(float32(1 - 0.1 + 0.1 / 7), float32(0.1 / 7)), **weighted)

    def loss(logits: Any, labels: Any, class_weight: Any) -> Any:
        return with_pullback(rounded)(logits, labels, class_weight=class_weight)

    found = identify(loss, "numpy", classes=7)
    assert found.spec == Spec(0.1, **weighted), found
