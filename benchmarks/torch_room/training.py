"""A whole training step in PyTorch, with its own loss and with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from shapes import Training
from text import BYTES, allowed, batches
from torch import Tensor, nn
from torch.nn import functional as F
from training import BLOCKS, LEARNING_RATE, MOMENTUM, SEED, TAPS, WIDTH

from multismooth import Spec
from multismooth.torch import linear_smoothed_cross_entropy, smoothed_cross_entropy
from torch_room.call import Call

REFERENCE = "F.cross_entropy"
Loss = Callable[[Tensor, nn.Linear, Tensor], Tensor]


class Model(nn.Module):
    """Bytes [rows, length] to hidden states [rows, length, width]; the head is the loss's to apply."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, WIDTH)
        self.blocks = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, TAPS) for _ in range(BLOCKS))
        self.head = nn.Linear(WIDTH, classes, bias=False)

    def forward(self, given: Tensor) -> Tensor:
        x = self.embedding(given)
        for block in self.blocks:
            x = x + F.gelu(block(F.pad(x.mT, (TAPS - 1, 0))).mT)
        return x


class Run(Call):
    """One step at each call; the losses so far."""

    def __init__(self, shape: Training, loss: Loss) -> None:
        torch.manual_seed(SEED)
        self.model, self.loss, self.batches = Model(shape.classes), loss, batches(shape)
        self.optimizer = torch.optim.SGD(self.model.parameters(), LEARNING_RATE, MOMENTUM)
        self.losses: list[float] = []

    def step(self) -> Any:
        given, following = map(torch.from_numpy, next(self.batches))
        loss = self.loss(self.model(given), self.model.head, following)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())
        return (loss.detach(),)


def contenders(shape: Training, part: str) -> dict[str, Run]:
    torch.compiler.reset()
    exists = torch.from_numpy(allowed(shape))

    def theirs(hidden: Tensor, head: nn.Linear, labels: Tensor) -> Tensor:
        logits = head(hidden).masked_fill(~exists, -torch.inf)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def ours(hidden: Tensor, head: nn.Linear, labels: Tensor) -> Tensor:
        return smoothed_cross_entropy(head(hidden), labels, Spec(), allowed=exists)

    def linear(hidden: Tensor, head: nn.Linear, labels: Tensor) -> Tensor:
        return linear_smoothed_cross_entropy(hidden, head.weight.T, labels, Spec(), allowed=exists)

    losses: dict[str, Loss] = {
        REFERENCE: theirs,
        "F.cross_entropy, compiled": torch.compile(theirs),
        "multismooth": ours,
        "multismooth, compiled": torch.compile(ours, fullgraph=True),
        "multismooth, linear": linear,
    }
    return {name: Run(shape, loss) for name, loss in losses.items()}
