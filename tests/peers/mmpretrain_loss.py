"""MMPretrain's, for logits of two axes."""

from itertools import product
from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import CLASSES, Batch, Case, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("mmpretrain", "mmpretrain", "mmpretrain.models", "mmpretrain.models.losses")


class Registry:
    """In the place of MMEngine's, which only looks classes up by name."""

    def register_module(self) -> Any:
        return lambda registered: registered


absent("mmpretrain.registry", MODELS=Registry())
from mmpretrain.models.losses.label_smooth_loss import LabelSmoothLoss  # noqa: E402


def label_smooth(
    epsilon: float = 0.1,
    mode: str = "original",
    reduction: str = "mean",
    weighted: bool = False,
    weights: str | None = None,
    avg_factor: float | None = None,
) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = LabelSmoothLoss(
            epsilon, CLASSES, mode=mode, reduction=reduction, class_weight=b.w.tolist() if weighted else None
        )
        weight = None if weights is None else torch.tensor(getattr(b, weights).ravel())
        value = call(x.reshape(-1, CLASSES), torch.tensor(b.y.ravel()), weight=weight, avg_factor=avg_factor)
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


def says(epsilon: float, mode: str = "original", reduction: str = "mean") -> Spec:
    share = epsilon if mode == "original" else epsilon / (1 + epsilon)
    return Spec(share, reduction=reduction, denominator="all")


CASES = []
for epsilon, mode, reduction, weighted in product(
    (0.0, 0.1, 0.9), ("original", "classy_vision"), ("mean", "sum", "none"), (False, True)
):
    CASES.append(
        Case(
            "mmpretrain",
            f"ε = {epsilon:g}, {mode}, {reduction}" + ", class weights" * weighted,
            label_smooth(epsilon, mode, reduction, weighted),
            {"label_smooth_val": epsilon, "mode": mode, "reduction": reduction},
            {"class_weight": "w"} if weighted else {},
            spec=says(epsilon, mode, reduction),
        )
    )
SMOOTHED = {"label_smooth_val": 0.1}
# The machine's own epsilon of float32 is added to the divisor that the caller gives.
FACTOR = 9 + torch.finfo(torch.float32).eps
CASES += [
    Case("mmpretrain", "weights", label_smooth(weights="s"), SMOOTHED, {"sample_weight": "s"}, spec=says(0.1)),
    Case(
        "mmpretrain",
        "avg_factor",
        label_smooth(weights="kept", avg_factor=9),
        SMOOTHED,
        {"sample_weight": "kept", "normalizer": FACTOR},
        spec=says(0.1),
    ),
    Case("mmpretrain", "a gap of 200", label_smooth(), SMOOTHED, {}, with_gap(), says(0.1)),
]

# Its one-hot is in float32, and so is its target.
PEER = Peer("mmpretrain", "mmpretrain.models.losses.LabelSmoothLoss", torch_in("float64"), CASES, precision="float32")
