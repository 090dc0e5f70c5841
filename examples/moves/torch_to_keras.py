"""PyTorch → Keras: digits on sheets whose empty places are labelled 255, with smoothing."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import report
import torch
from data import DIGITS, sheets

from multismooth import dialects
from multismooth.keras import SmoothedCrossEntropy

keras.config.set_floatx("float64")

STEPS, RATE = 80, 0.3
BATCHES = sheets(STEPS)
KERNEL = np.random.default_rng(0).normal(0, 0.05, (64, DIGITS))


def before() -> list[float]:
    model = torch.nn.Linear(64, DIGITS, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(KERNEL.T))
        model.bias.zero_()
    criterion = torch.nn.CrossEntropyLoss(ignore_index=255, label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    losses = []
    for scans, labels in BATCHES:
        logits = model(torch.tensor(scans)).movedim(-1, 1)  # PyTorch's class axis is 1
        loss = criterion(logits, torch.tensor(labels).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def compiled(loss: keras.losses.Loss) -> keras.Model:
    model = keras.Sequential([keras.Input((4, 64)), keras.layers.Dense(DIGITS)])
    model.set_weights([KERNEL, np.zeros(DIGITS)])
    model.compile(keras.optimizers.SGD(RATE), loss)
    return model


def own() -> list[float]:
    """The sparse loss has an ``ignore_class`` and no smoothing; the other has smoothing, and weights for a mask."""
    model = compiled(keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1))
    losses = []
    for scans, labels in BATCHES:
        mask = labels != 255
        one_hot = np.eye(DIGITS)[np.where(mask, labels, 0)]
        losses.append(float(model.train_on_batch(scans, one_hot, sample_weight=mask.astype(float))))
    return losses


def ported() -> list[float]:
    model = compiled(SmoothedCrossEntropy(spec=dialects.torch(0.1, ignore_index=255)))
    return [float(model.train_on_batch(scans, labels)) for scans, labels in BATCHES]


if __name__ == "__main__":
    report.conclude(report.Move("PyTorch", "Keras", before(), own(), ported()))
