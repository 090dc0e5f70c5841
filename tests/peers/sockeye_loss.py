"""Sockeye 3's, whose three forms are called mxnet (the default), fairseq and torch."""

from typing import Any

import torch
from sockeye.loss import CrossEntropyLoss

from multismooth import Spec
from multismooth.numpy import smoothed_cross_entropy
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap


def form(epsilon: float, impl: str = "mxnet") -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = CrossEntropyLoss(label_smoothing=epsilon, ignore_label=PAD, label_smoothing_impl=impl)
        return call.forward(x, torch.tensor(b.labels(PAD)))[0]

    return loss


def says(epsilon: float, spread: str = "uniform") -> Spec:
    return Spec(epsilon, spread, ignore_index=PAD, empty="nan")


def three_forms() -> str:
    losses = {impl: float(form(0.1, impl)(torch.tensor(BATCH.x), BATCH)) for impl in ("mxnet", "fairseq", "torch")}
    uniform, others = (
        float(smoothed_cross_entropy(BATCH.x, BATCH.labels(PAD), says(0.1, spread))) for spread in ("uniform", "others")
    )
    for impl, expected in {"mxnet": uniform, "fairseq": others, "torch": uniform}.items():
        assert abs(losses[impl] - expected) < 1e-12
    return ", ".join(f"{impl} {loss:.6f}" for impl, loss in losses.items())


PEER = Peer(
    "sockeye",
    "sockeye.loss.CrossEntropyLoss",
    torch_in("float64"),
    [
        *(
            Case("sockeye", f"ε = {e:g}, {impl}", form(e, impl), {"label_smoothing": e, "label_smoothing_impl": impl})
            for e in (0.0, 0.1, 1.0)
            for impl in ("mxnet", "fairseq", "torch")
        ),
        Case("sockeye", "nothing counts", form(0.1), {"label_smoothing": 0.1}, batch=NOTHING, spec=says(0.1)),
        Case("sockeye", "a gap of 200", form(0.1), {"label_smoothing": 0.1}, batch=with_gap(), spec=says(0.1)),
    ],
    [Fact("of its three forms mxnet, the default, and torch are uniform, and fairseq is others", three_forms)],
)
