"""tinygrad's two."""

import os
from itertools import product
from typing import Any

os.environ["DEV"] = "PYTHON"  # the only device that needs no compiler

import numpy as np
from tinygrad import Tensor

from tests.peers.bridges import tinygrad_in
from tests.peers.case import BATCH, CLASSES, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap


def sparse(epsilon: float = 0.1, ignore_index: int = -1, reduction: str = "mean") -> Any:
    def loss(x: Tensor, b: Batch) -> Tensor:
        labels = Tensor(b.y if ignore_index == -1 else b.labels(ignore_index))
        return x.sparse_categorical_crossentropy(labels, ignore_index, epsilon, reduction)

    return loss


CASES = []
for epsilon, ignored, reduction in product((0.0, 0.1, 1.0), (-1, PAD), ("mean", "sum", "none")):
    options = {"label_smoothing": epsilon, "ignore_index": ignored, "reduction": reduction}
    name = f"ε = {epsilon:g}, {reduction}, " + ("nothing is ignored" if ignored == -1 else f"{ignored} is ignored")
    CASES.append(Case("tinygrad", name, sparse(epsilon, ignored, reduction), options))
IGNORING = {"label_smoothing": 0.1, "ignore_index": PAD}
CASES += [
    Case("tinygrad", "nothing counts", sparse(ignore_index=PAD), IGNORING, batch=NOTHING),
    Case("tinygrad", "a gap of 200", sparse(ignore_index=PAD), IGNORING, batch=with_gap()),
]


def out_of_range() -> str:
    x = BATCH.x[:1, 0]
    loss = Tensor(x).sparse_categorical_crossentropy(Tensor(np.array([CLASSES])), label_smoothing=0.25).numpy()
    lp = x - np.log(np.exp(x).sum())
    rest = -0.25 * lp.mean()
    assert abs(float(loss) - rest) < 1e-12
    return f"{float(loss):.6f}, which is the uniform part alone"


PEER = Peer(
    "tinygrad",
    "tinygrad.Tensor.sparse_categorical_crossentropy",
    tinygrad_in("float64"),
    CASES,
    [Fact("a label out of range keeps its smoothing and loses the rest", out_of_range)],
)
