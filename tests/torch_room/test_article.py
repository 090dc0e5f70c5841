"""The article's worked case: a small network whose logits are upsampled, and labels that are ignored in part."""

import pytest
import torch
from torch import Tensor, nn

from multismooth import dialects
from multismooth.torch import SmoothedCrossEntropy, smoothed_cross_entropy
from tests.article import IGNORED, IMAGES, LABELS, OFF, ON

SPEC = dialects.article()


class Network(nn.Module):
    """Two convolutions to logits [2, 3, 5, 5], upsampled to the labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        coarse = self.second(self.first(images).relu())
        return nn.functional.interpolate(coarse, (5, 5), mode="bilinear", align_corners=True)


def formula(logits: Tensor, labels: Tensor) -> Tensor:
    """The article's: a one-hot filled with 0.9 and 0.005, ignored pixels 0."""
    ignored = labels == IGNORED
    target = torch.full_like(logits, OFF)
    target.scatter_(1, labels.masked_fill(ignored, 0).unsqueeze(1), ON)
    target = target.masked_fill(ignored.unsqueeze(1), 0.0)
    return -(logits.log_softmax(1) * target).sum() / (~ignored).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ["function", "module"])
def test_loss_and_gradients_are_the_article_s(loss: str, dtype: torch.dtype) -> None:
    network, labels = Network().to(dtype), torch.tensor(LABELS)
    logits = network(torch.tensor(IMAGES, dtype=dtype))
    assert logits.shape == (2, 3, 5, 5)
    theirs = formula(logits, labels)
    if loss == "function":
        ours = smoothed_cross_entropy(logits, labels, SPEC, axis=1)
    else:
        ours = SmoothedCrossEntropy(spec=SPEC)(logits, labels)
    bound = {"rtol": 1e-12, "atol": 1e-14} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(ours, theirs, **bound)
    parameters = list(network.parameters())
    expected = torch.autograd.grad(theirs, parameters, retain_graph=True)
    for actual, gradient in zip(torch.autograd.grad(ours, parameters), expected, strict=True):
        torch.testing.assert_close(actual, gradient, **bound)
        assert gradient.abs().max() > 1e-3


def test_the_labels_of_the_caller_stay_as_they_are() -> None:
    """The article's code overwrites the ignored ones."""
    labels = torch.tensor(LABELS)
    smoothed_cross_entropy(torch.tensor(IMAGES), labels, SPEC, axis=1)
    assert torch.equal(labels, torch.tensor(LABELS))


def test_nothing_but_ignored_pixels_is_nan_with_a_gradient_of_zero() -> None:
    logits = torch.tensor(IMAGES).requires_grad_()
    loss = smoothed_cross_entropy(logits, torch.full((2, 5, 5), IGNORED), SPEC, axis=1)
    loss.backward()
    assert loss.isnan()
    assert logits.grad.count_nonzero() == 0
