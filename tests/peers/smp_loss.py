"""segmentation_models.pytorch's, with the class axis second."""

from itertools import product
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import NO_POSITIONS, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import without_init

without_init("segmentation-models-pytorch", "segmentation_models_pytorch")
from segmentation_models_pytorch.losses import SoftCrossEntropyLoss  # noqa: E402


def soft(smooth_factor: float | None = 0.1, **options: Any) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        labels = torch.tensor(b.labels(options.get("ignore_index", -100)))
        return SoftCrossEntropyLoss(smooth_factor=smooth_factor, **options)(x.mT, labels)

    return loss


def default_smoothing() -> str:
    try:
        SoftCrossEntropyLoss()(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    except TypeError as error:
        return f"TypeError: {error}"
    raise AssertionError("it does not fail")


def kept_axis() -> str:
    x, y = torch.zeros(3, 2, 4), torch.zeros(3, 4, dtype=torch.long)
    shape = tuple(SoftCrossEntropyLoss("none", 0.1)(x, y).shape)
    assert shape == (3, 1, 4)
    return f"logits (3, 2, 4) give a loss of shape {shape}"


def squeezed(**options: Any) -> Any:
    return lambda x, b: soft(reduction="none", **options)(x, b).squeeze(1)


CASES = []
for epsilon, reduction in product((0.0, 0.1, 1.0), ("mean", "sum", "none")):
    theirs = squeezed(smooth_factor=epsilon) if reduction == "none" else soft(epsilon, reduction=reduction)
    options = {"smooth_factor": epsilon, "reduction": reduction}
    CASES.append(Case("smp", f"ε = {epsilon:g}, {reduction}", theirs, options))
SMOOTHED = {"smooth_factor": 0.1}
CASES += [
    Case("smp", "another label is ignored", soft(ignore_index=PAD), SMOOTHED | {"ignore_index": PAD}),
    Case("smp", "nothing counts", soft(), SMOOTHED, batch=NOTHING),
    Case("smp", "no positions", soft(), SMOOTHED, batch=NO_POSITIONS),
    Case("smp", "a gap of 200", soft(), SMOOTHED, batch=with_gap()),
]

PEER = Peer(
    "segmentation-models-pytorch",
    "segmentation_models_pytorch.losses.SoftCrossEntropyLoss",
    torch_in("float64"),
    CASES,
    [
        Fact("its default smooth_factor, None, fails", default_smoothing),
        Fact('reduction "none" keeps the class axis, with a length of 1', kept_axis),
    ],
)
