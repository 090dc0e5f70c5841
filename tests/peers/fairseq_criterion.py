"""fairseq's criterion, from an archive that was unpacked: its function from log-probabilities to a sum."""

import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import NOTHING, PAD, Batch, Case, Peer, with_gap
from tests.peers.partly import absent, unpacked, without_init


def peer(version: str, dialect: str) -> Peer:
    unpacked(f"fairseq-{version}")
    without_init("fairseq", "fairseq", "fairseq.criterions")
    absent("fairseq.metrics", "fairseq.utils")
    absent("fairseq.dataclass", FairseqDataclass=object)
    absent("omegaconf", II=str)
    registry = sys.modules["fairseq.criterions"]
    registry.FairseqCriterion = torch.nn.Module
    registry.register_criterion = lambda *names, **options: lambda registered: registered
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    def smoothed(epsilon: float, pad: int = 1, reduce: bool = True) -> Callable[[Any, Batch], Any]:
        def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
            value, _ = label_smoothed_nll_loss(x.log_softmax(-1), torch.tensor(b.labels(pad)), epsilon, pad, reduce)
            return value if reduce else value.squeeze(-1)

        return loss

    cases = []
    for epsilon, reduce in product((0.0, 0.1, 0.9), (True, False)):
        options = {"label_smoothing": epsilon, "reduction": "sum" if reduce else "none"}
        name = f"ε = {epsilon:g}, {options['reduction']}"
        cases.append(Case(dialect, name, smoothed(epsilon, reduce=reduce), options))
    options = {"label_smoothing": 0.1}
    cases += [
        Case(dialect, "another padding", smoothed(0.1, PAD), options | {"pad": PAD}),
        Case(dialect, "nothing counts", smoothed(0.1), options, batch=NOTHING),
        Case(dialect, "a gap of 200", smoothed(0.1), options, batch=with_gap()),
    ]
    where = "fairseq.criterions.label_smoothed_cross_entropy.label_smoothed_nll_loss"
    return Peer("fairseq", where, torch_in("float64"), cases)
