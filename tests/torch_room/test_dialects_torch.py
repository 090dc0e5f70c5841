"""``dialects.torch`` and ``dialects.torch_probabilities`` against PyTorch's own loss."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from multismooth import dialects
from multismooth.torch import smoothed_cross_entropy

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
EVERY = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
WEIGHTS = pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
SMOOTHING = pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def batch(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [4, 7, 5] with the class axis second, labels of sequences of 5, 3, 1 and 0 tokens, class weights."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 7, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (4, 5), generator=generator)
    labels[torch.arange(5) >= torch.tensor([5, 3, 1, 0])[:, None]] = -100
    weight = 0.2 + 2 * torch.rand(7, generator=generator, dtype=torch.float64)
    return logits.to(dtype), labels, weight.to(dtype)


def check(ours: Any, theirs: Any, logits: torch.Tensor) -> None:
    results = []
    for function in (ours, theirs):
        x = logits.clone().requires_grad_()
        loss = function(x)
        cotangent = torch.randn(loss.shape, generator=torch.Generator().manual_seed(1), dtype=loss.dtype)
        results.append((loss.detach(), *torch.autograd.grad(loss, x, cotangent)))
    tolerance = TOLERANCE[logits.dtype]
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@EVERY
@WEIGHTS
@SMOOTHING
@DTYPES
def test_class_indices(reduction: str, weighted: bool, label_smoothing: float, dtype: torch.dtype) -> None:
    logits, labels, weight = batch(dtype)
    weight = weight if weighted else None
    spec = dialects.torch(label_smoothing, reduction=reduction)
    check(
        lambda x: smoothed_cross_entropy(x, labels, spec, axis=1, class_weight=weight),
        lambda x: functional.cross_entropy(x, labels, weight, reduction=reduction, label_smoothing=label_smoothing),
        logits,
    )


@EVERY
@WEIGHTS
@SMOOTHING
@DTYPES
def test_class_probabilities(reduction: str, weighted: bool, label_smoothing: float, dtype: torch.dtype) -> None:
    logits, _, weight = batch(dtype)
    weight = weight if weighted else None
    probabilities = logits.flip(0).softmax(1)
    spec = dialects.torch_probabilities(label_smoothing, reduction)
    check(
        lambda x: smoothed_cross_entropy(x, probabilities, spec, axis=1, class_weight=weight),
        lambda x: functional.cross_entropy(
            x, probabilities, weight, reduction=reduction, label_smoothing=label_smoothing
        ),
        logits,
    )


def test_all_ignored_is_nan() -> None:
    logits, labels, _ = batch(torch.float64)
    ignored = torch.full_like(labels, -100)
    assert functional.cross_entropy(logits, ignored, label_smoothing=0.1).isnan()
    assert smoothed_cross_entropy(logits, ignored, dialects.torch(0.1), axis=1).isnan()
