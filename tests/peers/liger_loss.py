"""Liger-Kernel's, on the CPU through Triton's interpreter."""

from itertools import product
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import interpret_triton, without_init

interpret_triton()
from triton.runtime import interpreter  # noqa: E402


class Scalar(float):
    """The interpreter hands over Python's floats, and the kernel casts what a device would hand over."""

    def to(self, dtype: object) -> "Scalar":
        return self


converted = interpreter._implicit_cvt
interpreter._implicit_cvt = lambda value: Scalar(value) if type(value) is float else converted(value)

without_init("liger-kernel", "liger_kernel", "liger_kernel.ops")
from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction  # noqa: E402


def liger(
    epsilon: float = 0.1,
    reduction: str = "mean",
    weighted: bool = False,
    z_loss: float = 0.0,
    ignore_index: int = -100,
) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        flat, labels = x.reshape(-1, CLASSES), torch.tensor(b.labels(ignore_index).ravel())
        weight = torch.tensor(b.w, dtype=x.dtype) if weighted else None
        value, *_ = LigerCrossEntropyFunction.apply(
            flat, labels, weight, ignore_index, z_loss, epsilon, reduction, None, False
        )
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


CASES = []
for epsilon, reduction, weighted, z_loss in product(
    (0.0, 0.1, 1.0), ("mean", "sum", "none"), (False, True), (0.0, 0.0078125)
):
    if weighted and z_loss and reduction == "mean":
        continue  # the z-loss is divided by n then, and the rest by the class weights: a fact below
    options = {"label_smoothing": epsilon, "reduction": reduction, "lse_square_scale": z_loss}
    name = f"ε = {epsilon:g}, {reduction}" + ", class weights" * weighted + ", z-loss" * bool(z_loss)
    arguments = {"class_weight": "w"} if weighted else {}
    CASES.append(Case("liger", name, liger(epsilon, reduction, weighted, z_loss), options, arguments))
SMOOTHED = {"label_smoothing": 0.1}
CASES += [
    Case("liger", "nothing counts", liger(), SMOOTHED, batch=NOTHING),
    Case("liger", "a gap of 200", liger(), SMOOTHED, batch=with_gap()),
    Case("liger", "another label is ignored", liger(ignore_index=PAD), SMOOTHED | {"ignore_index": PAD}),
]


def overwritten() -> str:
    x = torch.tensor(BATCH.x, dtype=torch.float32, requires_grad=True)
    logits = x.clone()
    liger()(logits, BATCH)
    change = float((logits - x).abs().max())
    assert change > 1
    return f"by up to {change:.3f}"


def two_denominators() -> str:
    x = torch.tensor(BATCH.x, dtype=torch.float32)
    labels = torch.tensor(BATCH.labels(-100))
    with_z, without = (float(liger(0.1, "mean", True, z)(x.clone(), BATCH)) for z in (0.25, 0.0))
    squares = x.double().logsumexp(-1).square()[labels >= 0].sum() / 4
    by_count = float(squares / BATCH.mask.sum())
    by_weights = float(squares / BATCH.w[BATCH.y][BATCH.mask].sum())
    assert abs(with_z - without - by_count) < 1e-5
    return f"it adds {with_z - without:.6f}: Σ λ·lse² is {by_count:.6f} over n, {by_weights:.6f} over the class weights"


PEER = Peer(
    "liger-kernel",
    "liger_kernel.ops.cross_entropy.LigerCrossEntropyFunction, which LigerCrossEntropyLoss applies",
    torch_in("float32"),
    CASES,
    [
        Fact("it overwrites the logits that it is given", overwritten),
        Fact("beside class weights the mean of the z-loss is over n", two_denominators),
    ],
    precision="float32",
)
