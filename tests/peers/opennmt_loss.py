"""OpenNMT-py's, from log-probabilities of two axes."""

from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import CLASSES, NOTHING, PAD, Batch, Case, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("OpenNMT-py", *(f"onmt{part}" for part in ("", ".utils", ".modules")))
absent("onmt.modules.sparse_losses", "onmt.modules.sparse_activations")
from onmt.utils.loss import LabelSmoothingLoss  # noqa: E402

torch.set_default_dtype(torch.float64)  # its target is of this dtype


def smoothing(epsilon: float, ignore_index: int = 1) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        labels = torch.tensor(b.labels(ignore_index).ravel())
        return LabelSmoothingLoss(epsilon, CLASSES, ignore_index)(x.log_softmax(-1).reshape(-1, CLASSES), labels)

    return loss


PEER = Peer(
    "OpenNMT-py",
    "onmt.utils.loss.LabelSmoothingLoss",
    torch_in("float64"),
    [
        *(Case("opennmt", f"ε = {e:g}", smoothing(e), {"label_smoothing": e}) for e in (0.1, 0.9, 1.0)),
        Case("opennmt", "another padding", smoothing(0.1, PAD), {"label_smoothing": 0.1, "ignore_index": PAD}),
        Case("opennmt", "nothing counts", smoothing(0.1), {"label_smoothing": 0.1}, batch=NOTHING),
        Case("opennmt", "a gap of 200", smoothing(0.1), {"label_smoothing": 0.1}, batch=with_gap()),
    ],
)
