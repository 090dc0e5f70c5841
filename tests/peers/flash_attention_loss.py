"""flash-attention's Triton kernel, on the CPU through Triton's interpreter."""

from itertools import product
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import interpret_triton, without_init

interpret_triton()
without_init("flash-attn", "flash_attn", "flash_attn.losses", "flash_attn.ops", "flash_attn.ops.triton")
from flash_attn.losses.cross_entropy import CrossEntropyLoss  # noqa: E402


def flash(epsilon: float = 0.1, reduction: str = "mean", z_loss: float = 0.0, ignore_index: int = -100) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = CrossEntropyLoss(ignore_index, reduction, epsilon, lse_square_scale=z_loss)
        value = call(x.reshape(-1, CLASSES), torch.tensor(b.labels(ignore_index).ravel()))
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


CASES = []
for epsilon, reduction, z_loss in product((0.0, 0.1, 1.0), ("mean", "sum", "none"), (0.0, 0.0078125)):
    options = {"label_smoothing": epsilon, "reduction": reduction, "lse_square_scale": z_loss}
    name = f"ε = {epsilon:g}, {reduction}" + ", z-loss" * bool(z_loss)
    CASES.append(Case("flash_attention", name, flash(epsilon, reduction, z_loss), options))
SMOOTHED = {"label_smoothing": 0.1}
CASES += [
    Case("flash_attention", "nothing counts", flash(), SMOOTHED, batch=NOTHING),
    Case("flash_attention", "a gap of 200", flash(), SMOOTHED, batch=with_gap()),
    Case("flash_attention", "another label is ignored", flash(ignore_index=PAD), SMOOTHED | {"ignore_index": PAD}),
]


def out_of_range() -> str:
    x = torch.tensor(BATCH.x[:1, 0], dtype=torch.float32, requires_grad=True)
    loss = CrossEntropyLoss()(x, torch.tensor([CLASSES]))
    (gradient,) = torch.autograd.grad(loss, x)
    loss = loss.detach()
    assert float(loss) == 0
    assert float(gradient.abs().max()) > 0
    return f"label {CLASSES} of K = {CLASSES}: loss {float(loss)}, largest gradient {float(gradient.abs().max()):.6f}"


PEER = Peer(
    "flash-attn",
    "flash_attn.losses.cross_entropy.CrossEntropyLoss",
    torch_in("float32"),
    CASES,
    [Fact("a label out of range has no loss, and a gradient", out_of_range)],
    precision="float32",
)
