"""Sockeye 3's, whose three forms are called mxnet (the default), fairseq and torch."""

from typing import Any

import torch
from sockeye.loss import CrossEntropyLoss

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import NOTHING, PAD, Batch, Case, Peer, with_gap


def form(epsilon: float, impl: str = "mxnet") -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = CrossEntropyLoss(label_smoothing=epsilon, ignore_label=PAD, label_smoothing_impl=impl)
        return call.forward(x, torch.tensor(b.labels(PAD)))[0]

    return loss


def says(epsilon: float, spread: str = "uniform") -> Spec:
    return Spec(epsilon, spread, ignore_index=PAD, empty="nan")


PEER = Peer(
    "sockeye",
    "sockeye.loss.CrossEntropyLoss",
    torch_in("float64"),
    [
        *(Case("sockeye", f"ε = {e:g}", form(e), {"label_smoothing": e}, spec=says(e)) for e in (0.0, 0.1, 1.0)),
        Case("sockeye", "nothing counts", form(0.1), {"label_smoothing": 0.1}, batch=NOTHING, spec=says(0.1)),
        Case("sockeye", "a gap of 200", form(0.1), {"label_smoothing": 0.1}, batch=with_gap(), spec=says(0.1)),
    ],
)
