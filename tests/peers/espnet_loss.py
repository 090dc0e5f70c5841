"""ESPnet's."""

from itertools import product
from typing import Any

import torch
from espnet.nets.pytorch_backend.transformer.label_smoothing_loss import LabelSmoothingLoss

from tests.peers.bridges import torch_in
from tests.peers.case import CLASSES, NOTHING, PAD, Batch, Case, Peer, with_gap


def smoothing(epsilon: float, padding_idx: int = -1, normalize_length: bool = False) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = LabelSmoothingLoss(CLASSES, padding_idx, epsilon, normalize_length)
        return call(x, torch.tensor(b.labels(padding_idx)))

    return loss


CASES = []
for epsilon, normalize in product((0.0, 0.1, 0.9, 1.0), (False, True)):
    options = {"smoothing": epsilon, "normalize_length": normalize}
    name = f"ε = {epsilon:g}, / {'n' if normalize else 'B'}"
    CASES.append(Case("espnet", name, smoothing(epsilon, normalize_length=normalize), options))
for normalize, batch, name in (
    (False, NOTHING, "nothing counts, / B"),
    (True, NOTHING, "nothing counts, / n"),
    (False, with_gap(), "a gap of 200, / B"),
    (True, with_gap(), "a gap of 200, / n"),
):
    options = {"smoothing": 0.1, "normalize_length": normalize}
    CASES.append(Case("espnet", name, smoothing(0.1, normalize_length=normalize), options, batch=batch))
CASES.append(Case("espnet", "another padding", smoothing(0.1, PAD), {"smoothing": 0.1, "padding_idx": PAD}))

PEER = Peer(
    "espnet",
    "espnet.nets.pytorch_backend.transformer.label_smoothing_loss.LabelSmoothingLoss",
    torch_in("float64"),
    CASES,
)
