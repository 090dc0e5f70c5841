"""PyTorch's own."""

from itertools import product
from typing import Any

import torch
from torch.nn import functional

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NO_POSITIONS, NOTHING, Batch, Case, Fact, Peer, with_gap


def by_index(weighted: bool = False, ignore_index: int = -100, **options: Any) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        weight = torch.tensor(b.w) if weighted else None
        labels = torch.tensor(b.labels(ignore_index))
        return functional.cross_entropy(x.mT, labels, weight, ignore_index=ignore_index, **options)

    return loss


def by_probability(weighted: bool = False, **options: Any) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        weight = torch.tensor(b.w) if weighted else None
        return functional.cross_entropy(x.mT, torch.tensor(b.t).mT, weight, **options)

    return loss


CASES = []
for epsilon, reduction, weighted in product((0.0, 0.1, 1.0), ("mean", "sum", "none"), (False, True)):
    options = {"label_smoothing": epsilon, "reduction": reduction}
    name = f"ε = {epsilon:g}, {reduction}" + (", class weights" if weighted else "")
    weights = {"class_weight": "w"} if weighted else {}
    CASES += [
        Case("torch", name, by_index(weighted, **options), options, weights),
        Case("torch_probabilities", name, by_probability(weighted, **options), options, weights | {"labels": "t"}),
    ]

SMOOTHED = {"label_smoothing": 0.1}
CASES += [
    Case("torch", "another label is ignored", by_index(ignore_index=0, **SMOOTHED), SMOOTHED | {"ignore_index": 0}),
    Case("torch", "a gap of 200", by_index(**SMOOTHED), SMOOTHED, batch=with_gap()),
]
for reduction, (name, batch) in product(
    ("mean", "sum"), {"nothing counts": NOTHING, "no positions": NO_POSITIONS}.items()
):
    options = SMOOTHED | {"reduction": reduction}
    CASES.append(Case("torch", f"{name}, {reduction}", by_index(**options), options, batch=batch))
CASES.append(
    Case("torch_probabilities", "no positions", by_probability(**SMOOTHED), SMOOTHED, {"labels": "t"}, NO_POSITIONS)
)


def negative_smoothing() -> str:
    x = torch.tensor(BATCH.x)
    below, zero = (float(by_index(label_smoothing=e)(x, BATCH)) for e in (-0.5, 0.0))
    assert below == zero
    return f"{below:.6f} with ε = −0.5 and with ε = 0"


PEER = Peer(
    "torch",
    "torch.nn.functional.cross_entropy",
    torch_in("float64"),
    CASES,
    [Fact("a negative ε counts as 0", negative_smoothing)],
)
