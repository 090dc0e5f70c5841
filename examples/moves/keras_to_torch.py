"""Keras → PyTorch: next characters of sentences, whose padding an ``Embedding`` masks."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import report
import torch
from data import CHARACTERS, PAD, sentences

from multismooth import dialects
from multismooth.torch import SmoothedCrossEntropy

keras.config.set_floatx("float64")

STEPS, RATE, WIDTH = 60, 1.0, 16
BATCHES = sentences(STEPS)
LONGEST = BATCHES[0][0].shape[1]
RANDOM = np.random.default_rng(0)
EMBEDDING, KERNEL = RANDOM.normal(0, 1, (CHARACTERS, WIDTH)), RANDOM.normal(0, 0.1, (WIDTH, CHARACTERS))


def before() -> list[float]:
    model = keras.Sequential(
        [
            keras.Input((LONGEST,), dtype="int64"),
            keras.layers.Embedding(CHARACTERS, WIDTH, mask_zero=True),
            keras.layers.Dense(CHARACTERS, use_bias=False),
        ]
    )
    model.set_weights([EMBEDDING, KERNEL])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.SGD(RATE), loss)
    return [float(model.train_on_batch(x, np.eye(CHARACTERS)[y])) for x, y in BATCHES]


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.tensor(EMBEDDING))
        self.kernel = torch.nn.Parameter(torch.tensor(KERNEL))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        return (self.embedding[characters] @ self.kernel).movedim(-1, 1)  # PyTorch's class axis is 1


def own_loss(logits: torch.Tensor, following: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """The same options by name; PyTorch's mask is a label, and 0 is none of its own accord."""
    return torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, following)


def ported_loss(logits: torch.Tensor, following: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    criterion = SmoothedCrossEntropy(spec=dialects.keras(0.1))
    return criterion(logits, following, where=characters != PAD)  # the positions that Keras masked


def after(loss_function) -> list[float]:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    losses = []
    for batch in BATCHES:
        characters, following = map(torch.tensor, batch)
        loss = loss_function(model(characters), following, characters)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    report.conclude(report.Move("Keras", "PyTorch", before(), after(own_loss), after(ported_loss)))
