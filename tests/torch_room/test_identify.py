"""``identify`` on PyTorch's own losses, and on losses written out from their formulas."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from multismooth import InputError, Spec, dialects
from multismooth.porting import identify
from multismooth.torch import SmoothedCrossEntropy

WEIGHT = [0.5, 1.0, 2.0, 1.5, 0.25, 3.0, 1.0]


def without_weights(spec: Spec) -> Spec:
    """Where nobody gives class weights their sum is the number of positions, and the latter is simpler."""
    return replace(spec, denominator="valid") if spec.denominator == "class_weights" else spec


def expected_deviations(label_smoothing: float, ignore_index: int) -> tuple[str, ...]:
    """Its gradient is NaN · 0 under an ignored label; and its smoothing takes label 156 of uint8 for −100."""
    return ("nan_under_mask", *(("labels_narrowed",) if label_smoothing and ignore_index == -100 else ()))


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 1, 6, 255, -12345])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_module(label_smoothing: float, ignore_index: int) -> None:
    criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing, ignore_index=ignore_index)
    found = identify(criterion, "torch")
    assert found.spec == without_weights(dialects.torch(label_smoothing, ignore_index)), found
    assert found.layout["classes"] == "second"
    assert found.deviations == expected_deviations(label_smoothing, ignore_index), str(found)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_without_a_mean(reduction: str) -> None:
    found = identify(nn.CrossEntropyLoss(label_smoothing=0.2, reduction=reduction), "torch")
    assert found.spec == Spec(0.2, ignore_index=-100, reduction=reduction)


def test_the_function_takes_class_weights() -> None:
    def loss(input: Any, target: Any, weight: Any = None) -> Any:
        return functional.cross_entropy(input, target, weight, label_smoothing=0.1)

    found = identify(loss, "torch")
    assert found.spec == dialects.torch(0.1), found
    assert found.also == ()


def test_the_function_itself_has_no_smoothing() -> None:
    """Then no probe can tell the rules of class weights apart."""
    found = identify(functional.cross_entropy, "torch")
    assert found.spec == dialects.torch(), found
    assert "class_weight_rule 'per_label'" in " ".join(found.also)


def test_weights_inside_the_module_are_found() -> None:
    criterion = nn.CrossEntropyLoss(torch.tensor(WEIGHT, dtype=torch.float64), label_smoothing=0.1)
    found = identify(criterion, "torch", classes=7)
    assert found.spec == dialects.torch(0.1), found
    np.testing.assert_allclose(found.arrays["class_weight"], np.array(WEIGHT) * 7 / sum(WEIGHT), rtol=1e-10)

    logits, labels = torch.randn(20, 7, dtype=torch.float64), torch.arange(20) % 7
    weight = torch.tensor(found.arrays["class_weight"], dtype=torch.float64)
    torch.testing.assert_close(SmoothedCrossEntropy(weight, spec=found.spec)(logits, labels), criterion(logits, labels))


def test_probabilities_for_labels_ignore_nothing() -> None:
    def one_hot_only(input: Any, target: Any) -> Any:
        if not target.is_floating_point():
            raise TypeError("probabilities, please")
        return functional.cross_entropy(input, target, label_smoothing=0.1)

    found = identify(one_hot_only, "torch")
    assert found.layout["labels"] == "one-hot"
    assert found.spec == Spec(0.1, empty="nan"), found


def nll(logits: Any, labels: Any) -> Any:
    return -logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]


def fairseq(lprobs: Any, target: Any) -> tuple[Any, Any]:
    """Σ (1 − ε − ε/(K−1))·nll + ε/(K−1)·Σ_k −log p_k, of log-probabilities; a pair, as the original returns."""
    keep = target != 1
    own = -lprobs.gather(-1, target[..., None])[..., 0]
    every = -lprobs.sum(-1)
    share = 0.1 / (lprobs.shape[-1] - 1)
    own, every = (own * keep).sum(), (every * keep).sum()
    return (1 - 0.1 - share) * own + share * every, own


def padded_kl(x: Any, target: Any) -> Any:
    """KL to others(0.1), divided by the sequences."""
    classes = x.shape[-1]
    keep = target != -1
    q = torch.full_like(x, 0.1 / (classes - 1))
    q.scatter_(-1, torch.where(keep, target, 0)[..., None], 0.9)
    kl = functional.kl_div(x.log_softmax(-1), q, reduction="none").sum(-1)
    return (kl * keep).sum() / len(x)


def z_loss(logits: Any, labels: Any) -> Any:
    keep = labels != -100
    lse = logits.logsumexp(-1)
    losses = lse - logits.gather(-1, torch.where(keep, labels, 0)[..., None])[..., 0] + 1e-4 * lse**2
    return (losses * keep).sum() / keep.sum()


def article(logits: Any, label: Any) -> Any:
    """0.9 on the label and 0.005 on each other class, whatever K is; classes second."""
    keep = label != 255
    q = torch.full_like(logits, 0.005).scatter_(1, torch.where(keep, label, 0).unsqueeze(1), 0.9)
    return -((logits.log_softmax(1) * q).sum(1) * keep).sum() / keep.sum()


def counted(logits: Any, labels: Any) -> Any:
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.05).mean()


def in_float32(logits: Any, labels: Any) -> Any:
    return functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)


def partly_in_float32(logits: Any, labels: Any) -> Any:
    """As a trainer has it: the sum over the classes in float32, the rest in the logits' dtype."""
    log_probs = -logits.log_softmax(-1)
    keep = labels != -100
    own = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    every = log_probs.sum(-1, dtype=torch.float32) / logits.shape[-1]
    return ((0.9 * own + 0.1 * every) * keep).sum() / keep.sum()


def flat(logits: Any, labels: Any) -> Any:
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), label_smoothing=0.1)


def weighted_mean_of_sequences(logits: Any, labels: Any, mask: Any) -> Any:
    own = nll(logits, labels)
    mask = mask.to(own)
    if own.ndim == 1:
        raise ValueError("sequences, please")
    return ((own * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


@pytest.mark.parametrize(
    ("loss", "spec"),
    [
        (fairseq, Spec(0.1, "others", ignore_index=1, reduction="sum")),
        (z_loss, Spec(z_loss=1e-4, ignore_index=-100, empty="nan")),
        (article, Spec(values=(0.9, 0.005), ignore_index=255, empty="nan")),
        (counted, Spec(0.05, ignore_index=-100, denominator="all", empty="nan")),
        (in_float32, Spec(0.1, ignore_index=-100, empty="nan")),
        (flat, Spec(0.1, ignore_index=-100, empty="nan")),
        (weighted_mean_of_sequences, Spec(denominator="sequences", empty="nan")),
        (lambda lp, y: functional.nll_loss(lp, y), Spec(ignore_index=-100, empty="nan")),
    ],
)
def test_formulas_written_out(loss: Any, spec: Spec) -> None:
    found = identify(loss, "torch")
    assert found.spec == spec, found
    assert set(found.deviations) <= {"nan_under_mask", "labels_narrowed"}, found


def test_a_label_that_may_not_be_there_is_used() -> None:
    """scatter_ refuses it, but for the label that is ignored."""
    found = identify(padded_kl, "torch")
    assert found.spec == Spec(0.1, "others", kl=True, ignore_index=-1, denominator="batch", empty="nan"), found


def test_a_loss_that_is_partly_in_float32() -> None:
    found = identify(partly_in_float32, "torch")
    assert found.spec == Spec(0.1, ignore_index=-100, empty="nan"), str(found)
    assert "labels_clamped" in found.deviations


def test_which_inputs() -> None:
    assert identify(fairseq, "torch").layout["inputs"] == "log-probabilities"
    assert identify(flat, "torch").layout["inputs"] == "logits"
    assert identify(in_float32, "torch").layout["precision"] == "float32"


def test_a_class_is_made_an_instance() -> None:
    assert identify(nn.CrossEntropyLoss, "torch").spec == Spec(ignore_index=-100, empty="nan")


def two_denominators(logits: Any, labels: Any, epsilon: float = 0.1) -> Any:
    lp = logits.log_softmax(-1)
    classes = lp.shape[-1]
    own = functional.nll_loss(lp.reshape(-1, classes), labels.reshape(-1))
    return (1 - epsilon) * own - epsilon / classes * lp.sum(-1).mean()


def test_two_denominators_are_named() -> None:
    found = identify(two_denominators, "torch")
    assert found.spec is None
    assert found.nearest == Spec(0.1, ignore_index=-100, empty="nan")
    assert {"ignored_leak", "two_denominators"} <= set(found.deviations), found


def focal(logits: Any, labels: Any) -> Any:
    own = nll(logits, labels)
    return ((1 - torch.exp(-own)) ** 2 * own).mean()


def test_another_family_is_no_spec() -> None:
    found = identify(focal, "torch")
    assert found.spec is None
    assert "not_softmax" in found.deviations


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda x, y: functional.cross_entropy(x, y).detach(), "not_differentiable"),
        (lambda x, y: torch.ones((), requires_grad=True) * 2, "not_differentiable"),
        (lambda x, y: x.sum() * 0, "not_differentiable"),
        (lambda x, y: [][1], "no_layout"),
        (lambda x: x.sum(), "no_layout"),
        (nn.CTCLoss, "no_layout"),
        (nn.Linear, "class_needs_arguments"),
        ("cross_entropy", "not_callable"),
    ],
)
def test_what_cannot_be_probed_is_refused(loss: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        identify(loss, "torch")
    assert caught.value.reason == reason
