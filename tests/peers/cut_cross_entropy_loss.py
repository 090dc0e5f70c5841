"""Apple's linear loss, with an identity in the place of the head, and compiled by torch: its own kernels need a GPU."""

from itertools import product
from typing import Any

import torch
from cut_cross_entropy import linear_cross_entropy

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NOTHING, Batch, Case, Peer, with_gap


def linear(reduction: str, ignore_index: int = -100) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        labels = torch.tensor(b.labels(ignore_index))
        head = torch.eye(CLASSES, dtype=x.dtype)
        options = {"ignore_index": ignore_index, "reduction": reduction}
        return linear_cross_entropy(x, head, labels, impl="torch_compile", **options)

    return loss


BATCHES = {"as it is": BATCH, "a gap of 200": with_gap(), "nothing counts": NOTHING}
PEER = Peer(
    "cut-cross-entropy",
    "cut_cross_entropy.linear_cross_entropy",
    torch_in("float32"),
    [
        *(
            Case("cut_cross_entropy", f"{reduction}, {name}", linear(reduction), {"reduction": reduction}, batch=batch)
            for reduction, (name, batch) in product(("mean", "sum", "none"), BATCHES.items())
        ),
        Case("cut_cross_entropy", "another label is ignored", linear("mean", 0), {"ignore_index": 0}),
    ],
    precision="float32",
)
