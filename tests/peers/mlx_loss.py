"""MLX's, on the CPU."""

from itertools import product
from typing import Any

import mlx.core as mx
from mlx.nn.losses import cross_entropy

from tests.peers.bridges import mlx_in_float32
from tests.peers.case import CLASSES, NO_POSITIONS, Batch, Case, Fact, Peer, with_gap


def entropy(epsilon: float = 0.1, reduction: str = "none", weights: str | None = None, soft: bool = False) -> Any:
    def loss(x: mx.array, b: Batch) -> mx.array:
        given = None if weights is None else mx.array(getattr(b, weights).astype("float32"))
        labels = mx.array(b.t.astype("float32")) if soft else mx.array(b.y)
        return cross_entropy(x, labels, given, label_smoothing=epsilon, reduction=reduction)

    return loss


WEIGHTS = {None: "", "s": ", sample weights", "weights": ", masked sample weights"}
CASES = []
for epsilon, reduction, weights in product((0.0, 0.1, 0.9), ("none", "mean", "sum"), (None, "s", "weights")):
    CASES.append(
        Case(
            "mlx",
            f"ε = {epsilon:g}, {reduction}" + WEIGHTS[weights],
            entropy(epsilon, reduction, weights),
            {"label_smoothing": epsilon, "reduction": reduction},
            {"sample_weight": weights} if weights else {},
        )
    )
SMOOTHED = {"label_smoothing": 0.1}
CASES += [
    Case("mlx", "a gap of 200", entropy(), SMOOTHED, batch=with_gap()),
    Case("mlx", "soft labels", entropy(soft=True), SMOOTHED, {"labels": "t"}),
]


def empty() -> str:
    try:
        entropy(reduction="mean")(mx.zeros((0, 5, CLASSES)), NO_POSITIONS)
    except ValueError as error:
        return f"ValueError: {error}"
    raise AssertionError("it is not refused")


PEER = Peer(
    "mlx",
    "mlx.nn.losses.cross_entropy",
    mlx_in_float32(),
    CASES,
    [Fact("an empty batch is an error", empty)],
    precision="float32",
    reads_outside=True,
)
