"""PyTorch's losses: the mean over the labels that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras_losses
import torch
from peers import Unfit, without_init
from shapes import IGNORED, LABEL_SMOOTHING, Shape, arrays
from torch import Tensor
from torch.nn import functional as F

from multismooth import dialects
from multismooth.torch import smoothed_cross_entropy
from torch_room.call import Call

without_init("timm", "timm")
from timm.loss import LabelSmoothingCrossEntropy  # noqa: E402

REFERENCE = "F.cross_entropy"
OURS = ("multismooth", "multismooth, compiled", "multismooth, in place")
CORE = (REFERENCE, "F.cross_entropy, compiled", *OURS, "floor")
GROWING = (REFERENCE, "multismooth")
SPEC = dialects.torch(LABEL_SMOOTHING, IGNORED)


def theirs(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING)


def article(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    """The article's, from its formula: a smoothed one-hot, and autograd through log_softmax."""
    counts = labels != IGNORED
    target = torch.full_like(logits, LABEL_SMOOTHING / shape.classes, requires_grad=False)
    on = 1 - LABEL_SMOOTHING + LABEL_SMOOTHING / shape.classes
    target.scatter_(1, labels.masked_fill(~counts, 0).unsqueeze(1), on)
    losses = -(target * F.log_softmax(logits, 1)).sum(1)
    return losses.masked_fill(~counts, 0.0).sum() / counts.sum()


def plain(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    """From its formula: lse less the label's logit and the mean logit."""
    counts, logits = labels != IGNORED, logits.float()
    own = logits.gather(1, labels.masked_fill(~counts, 0).unsqueeze(1)).squeeze(1)
    dot = (1 - LABEL_SMOOTHING) * own + LABEL_SMOOTHING * logits.mean(1)
    return (logits.logsumexp(1) - dot).masked_fill(~counts, 0.0).sum() / counts.sum()


def timm(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    """timm's has no mask: the rows that count are selected for it."""
    if logits.dim() > 2:
        raise Unfit("takes logits of two axes")
    counts = labels != IGNORED
    return LabelSmoothingCrossEntropy(LABEL_SMOOTHING)(logits[counts], labels[counts])


def ours(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    return smoothed_cross_entropy(logits, labels, SPEC, axis=1)


def in_place(logits: Tensor, labels: Tensor, shape: Shape) -> Tensor:
    return smoothed_cross_entropy(Output.apply(logits), labels, SPEC, axis=1, inplace=True)


class Output(torch.autograd.Function):
    """Logits as a network's last layer gives them: they are no leaf, and may be overwritten."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def contenders(shape: Shape, part: str) -> dict[str, Call]:
    """Forward alone, or with the gradient; compiled anew for each shape, since PyTorch keeps count of them."""
    torch.compiler.reset()
    given, labels = map(torch.from_numpy, arrays(shape))
    logits = given.to(getattr(torch, shape.dtype)).requires_grad_(part == "gradient")
    losses: dict[str, Callable[..., Tensor]] = {
        REFERENCE: theirs,
        "F.cross_entropy, compiled": torch.compile(theirs),
        "the article's": article,
        "logsumexp and gather": plain,
        "timm": timm,
        "Keras on PyTorch": keras_losses.own,
        "multismooth": ours,
        "multismooth, compiled": torch.compile(ours, fullgraph=True),
        "multismooth.keras": keras_losses.ours,
    }

    def step(loss: Callable[..., Tensor], logits: Tensor = logits) -> Any:
        value = loss(logits, labels, shape)
        return (value.detach(), *torch.autograd.grad(value, logits)) if part == "gradient" else (value,)

    def floor() -> Any:
        logits.detach().sum()
        return (None, logits.detach() * 2) if part == "gradient" else (None,)

    calls = {name: Call(lambda loss=loss: step(loss)) for name, loss in losses.items()}
    if part == "gradient":
        others = logits.detach().clone().requires_grad_()
        calls["multismooth, in place"] = Call(lambda: step(in_place, others))
    return calls | {"floor": Call(floor)}
