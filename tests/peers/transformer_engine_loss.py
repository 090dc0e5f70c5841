"""Transformer Engine's Triton kernel, on the CPU through Triton's interpreter."""

from itertools import product
from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, interpret_triton, without_init

NAMES = ("", ".common", ".common.triton", ".pytorch", ".pytorch.triton")
interpret_triton()
without_init("transformer-engine", *(f"transformer_engine{name}" for name in NAMES))
absent("transformer_engine.pytorch.jit", no_torch_dynamo=lambda: lambda function: function)
from transformer_engine.pytorch.cross_entropy import parallel_cross_entropy  # noqa: E402


def parallel(epsilon: float = 0.1, reduce_loss: bool = False, ignore_idx: int = -100) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        labels = torch.tensor(b.labels(ignore_idx))
        value = parallel_cross_entropy(x, labels, epsilon, reduce_loss, None, ignore_idx)
        return value.squeeze() if reduce_loss else value

    return loss


def says(epsilon: float, reduce_loss: bool = False, ignore_idx: int = -100) -> Spec:
    return Spec(epsilon, ignore_index=ignore_idx, reduction="mean" if reduce_loss else "none")


CASES = []
for epsilon, reduce_loss in product((0.0, 0.1, 1.0), (False, True)):
    options = {"label_smoothing": epsilon, "reduce_loss": reduce_loss}
    name = f"ε = {epsilon:g}, {'mean' if reduce_loss else 'per position'}"
    theirs = parallel(epsilon, reduce_loss)
    CASES.append(Case("transformer_engine", name, theirs, options, spec=says(epsilon, reduce_loss)))
for name, batch, ignored in (
    ("nothing counts", NOTHING, -100),
    ("a gap of 200", with_gap(), -100),
    ("another label is ignored", BATCH, PAD),
):
    options = {"label_smoothing": 0.1, "ignore_idx": ignored, "reduce_loss": True}
    theirs, spec = parallel(0.1, True, ignored), says(0.1, True, ignored)
    CASES.append(Case("transformer_engine", name, theirs, options, {}, batch, spec))


def out_of_range() -> str:
    x = torch.tensor(BATCH.x[:1, :1], dtype=torch.float32, requires_grad=True)
    loss = parallel_cross_entropy(x, torch.tensor([[CLASSES]]), 0.0, False, None)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    assert loss.isinf().all()
    assert gradient.isfinite().all()
    return f"label {CLASSES} of K = {CLASSES}: loss {float(loss.detach())}, and a finite gradient"


PEER = Peer(
    "transformer-engine",
    "transformer_engine.pytorch.cross_entropy.parallel_cross_entropy",
    torch_in("float32"),
    CASES,
    [Fact("a label out of range has an infinite loss", out_of_range)],
    precision="float32",
)
