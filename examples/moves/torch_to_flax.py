"""PyTorch → Flax and optax: ``nn.CrossEntropyLoss`` with class weights and smoothing, on digits of uneven counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
import torch
from data import DIGITS, digits
from flax import nnx

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy

jax.config.update("jax_enable_x64", True)

STEPS, RATE = 80, 0.2
BATCHES = digits(STEPS)
COUNTS = np.bincount(np.concatenate([labels for _, labels in BATCHES]), minlength=DIGITS)
WEIGHT = COUNTS.mean() / COUNTS
"""A rare digit counts for more."""
KERNEL = np.random.default_rng(0).normal(0, 0.05, (64, DIGITS))


def before() -> list[float]:
    model = torch.nn.Linear(64, DIGITS, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(KERNEL.T))
        model.bias.zero_()
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(WEIGHT), label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    losses = []
    for scans, labels in BATCHES:
        loss = criterion(model(torch.tensor(scans)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def own_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    targets = optax.smooth_labels(jax.nn.one_hot(labels, DIGITS), 0.1)
    losses = optax.softmax_cross_entropy(logits, targets)
    return (jnp.asarray(WEIGHT)[labels] * losses).mean()


def ported_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return smoothed_cross_entropy(logits, labels, dialects.torch(0.1), class_weight=jnp.asarray(WEIGHT))


def after(loss_function) -> list[float]:
    model = nnx.Linear(64, DIGITS, param_dtype=float, rngs=nnx.Rngs(0))
    model.kernel.set_value(jnp.asarray(KERNEL))
    optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)

    @nnx.jit
    def step(model: nnx.Linear, optimizer: nnx.Optimizer, scans: jax.Array, labels: jax.Array) -> jax.Array:
        loss, gradients = nnx.value_and_grad(lambda model: loss_function(model(scans), labels))(model)
        optimizer.update(model, gradients)
        return loss

    return [float(step(model, optimizer, *batch)) for batch in BATCHES]


if __name__ == "__main__":
    report.conclude(report.Move("PyTorch", "Flax and optax", before(), after(own_loss), after(ported_loss)))
