"""PaddlePaddle's."""

from itertools import product
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional

from tests.peers.bridges import paddle_in
from tests.peers.case import BATCH, CLASSES, PAD, Batch, Case, Fact, Peer, with_gap


def entropy(epsilon: float = 0.1, reduction: str = "mean", weighted: bool = False) -> Any:
    def loss(x: paddle.Tensor, b: Batch) -> paddle.Tensor:
        weight = paddle.to_tensor(b.w) if weighted else None
        value = functional.cross_entropy(x, paddle.to_tensor(b.y), weight, reduction=reduction, label_smoothing=epsilon)
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


CASES = []
for epsilon, reduction, weighted in product((0.0, 0.1, 1.0), ("mean", "sum", "none"), (False, True)):
    CASES.append(
        Case(
            "paddle",
            f"ε = {epsilon:g}, {reduction}" + ", class weights" * weighted,
            entropy(epsilon, reduction, weighted),
            {"label_smoothing": epsilon, "reduction": reduction},
            {"class_weight": "w"} if weighted else {},
        )
    )
CASES.append(Case("paddle", "a gap of 30", entropy(), {"label_smoothing": 0.1}, batch=with_gap(gap=30)))


def ignored_and_smoothed() -> str:
    x, y = paddle.to_tensor(BATCH.x), paddle.to_tensor(BATCH.labels(PAD))
    plain = float(functional.cross_entropy(x, y, label_smoothing=0.1))
    ignoring = float(functional.cross_entropy(x, y, ignore_index=PAD, label_smoothing=0.1))
    assert abs(ignoring * CLASSES / plain - 1) < 1e-6
    return f"{plain:.6f} without ignore_index, and {ignoring:.6f}, which is a {CLASSES}th, with ignore_index = {PAD}"


def shape_of_none() -> str:
    x, y = paddle.to_tensor(BATCH.x), paddle.to_tensor(BATCH.y)
    smoothed, hard = (
        tuple(functional.cross_entropy(x, y, reduction="none", label_smoothing=e).shape) for e in (0.1, 0.0)
    )
    assert smoothed != hard
    return f"shape {smoothed} with smoothing, {hard} without"


def empty() -> str:
    x = paddle.to_tensor(np.zeros((0, CLASSES)))
    loss = float(functional.cross_entropy(x, paddle.to_tensor(np.zeros(0, int)), label_smoothing=0.1))
    assert np.isnan(loss)
    return f"{loss}"


def no_weight() -> str:
    x, y = paddle.to_tensor(BATCH.x), paddle.to_tensor(BATCH.y)
    loss = float(functional.cross_entropy(x, y, paddle.zeros([CLASSES], "float64"), label_smoothing=0.1))
    assert loss == 0
    return f"{loss}"


def floor() -> str:
    losses = []
    for gap, epsilon in ((60.0, 0.0), (80.0, 0.0), (80.0, 0.1)):
        x = paddle.to_tensor(np.array([[gap, 0.0, 0.0]]), stop_gradient=False)
        loss = functional.cross_entropy(x, paddle.to_tensor(np.array([1])), label_smoothing=epsilon)
        (gradient,) = paddle.grad([loss], [x])
        assert float(gradient.abs().max()) > 0.9
        losses.append(float(loss))
    assert losses[0] == 60
    assert losses[1] == 64
    return (
        f"the logits (80, 0, 0) and the label 1 have a loss of {losses[1]:g}, not 80, and {losses[2]:.4f}, not "
        "77.3333, with ε = 0.1; the gradients stay"
    )


PEER = Peer(
    "paddlepaddle",
    "paddle.nn.functional.cross_entropy",
    paddle_in("float64"),
    CASES,
    [
        Fact("a probability counts as e⁻⁶⁴ at least, in float64 too", floor),
        Fact("beside smoothing ignore_index ignores nothing, and makes the mean one over N·K", ignored_and_smoothed),
        Fact('reduction "none" keeps the class axis, with a length of 1, where there is smoothing', shape_of_none),
        Fact("an empty batch has a mean of", empty),
        Fact("class weights of 0 have a mean of", no_weight),
    ],
    precision="float32",  # of the smoothed target
)
