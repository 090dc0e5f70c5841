"""timm's, for logits of two axes."""

from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NO_POSITIONS, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import without_init

without_init("timm", "timm")
from timm.loss import LabelSmoothingCrossEntropy  # noqa: E402


def smoothed(epsilon: float) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        return LabelSmoothingCrossEntropy(epsilon)(x.reshape(-1, CLASSES), torch.tensor(b.y.ravel()))

    return loss


def three_axes() -> str:
    x = torch.tensor(BATCH.x)
    flat, deep = float(smoothed(0.1)(x, BATCH)), float(LabelSmoothingCrossEntropy(0.1)(x, torch.tensor(BATCH.y)))
    assert flat != deep
    return f"{deep:.6f} where it is {flat:.6f} with the positions in one axis"


PEER = Peer(
    "timm",
    "timm.loss.LabelSmoothingCrossEntropy",
    torch_in("float64"),
    [
        *(Case("timm", f"ε = {e:g}", smoothed(e), {"smoothing": e}) for e in (0.0, 0.1, 0.9)),
        Case("timm", "no positions", smoothed(0.1), {"smoothing": 0.1}, batch=NO_POSITIONS),
        Case("timm", "a gap of 200", smoothed(0.1), {"smoothing": 0.1}, batch=with_gap()),
    ],
    [Fact("logits of three axes give another number without an error", three_axes)],
)
