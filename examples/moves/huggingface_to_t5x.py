"""Hugging Face → T5X: next characters of sentences, smoothed, padded with −100; T5X's sum is divided by the tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import report
import torch
from data import CHARACTERS, PAD, sentences
from torch.nn import functional as F

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy

jax.config.update("jax_enable_x64", True)

STEPS, RATE, WIDTH = 60, 4.0, 16
BATCHES = sentences(STEPS)
RANDOM = np.random.default_rng(0)
WEIGHTS = {"embedding": RANDOM.normal(0, 1, (CHARACTERS, WIDTH)), "kernel": RANDOM.normal(0, 0.1, (WIDTH, CHARACTERS))}


def label_smoother(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What ``Trainer(label_smoothing_factor=0.1)`` computes: both terms are means over the tokens."""
    log_p, mask = F.log_softmax(logits, -1), labels != -100
    nll = -log_p.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (0.9 * nll + 0.1 * -log_p.mean(-1))[mask].mean()


def before() -> list[float]:
    embedding, kernel = (torch.tensor(array, requires_grad=True) for array in WEIGHTS.values())
    optimizer = torch.optim.SGD([embedding, kernel], RATE)
    losses = []
    for characters, following in BATCHES:
        labels = torch.tensor(np.where(following == PAD, -100, following))
        loss = label_smoother(embedding[torch.tensor(characters)] @ kernel, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def own_loss(logits: jax.Array, following: jax.Array) -> jax.Array:
    """T5X's with its usual z-loss: the other classes share ε, and the target's entropy is taken off."""
    low = 0.1 / (CHARACTERS - 1)
    target = jnp.where(jax.nn.one_hot(following, CHARACTERS) == 1, 0.9, low)
    entropy = -(0.9 * jnp.log(0.9) + (CHARACTERS - 1) * low * jnp.log(low))
    lse = jax.nn.logsumexp(logits, -1)
    losses = -jnp.sum(target * (logits - lse[..., None]), -1) - entropy + 1e-4 * lse**2
    weights = following != PAD
    return jnp.sum(losses * weights) / jnp.sum(weights)


def ported_loss(logits: jax.Array, following: jax.Array) -> jax.Array:
    return smoothed_cross_entropy(logits, following, dialects.huggingface(0.1), where=following != PAD)


def after(loss_function) -> list[float]:
    @jax.jit
    def step(weights: dict[str, jax.Array], characters: jax.Array, following: jax.Array):
        def loss_of(weights: dict[str, jax.Array]) -> jax.Array:
            return loss_function(weights["embedding"][characters] @ weights["kernel"], following)

        loss, gradients = jax.value_and_grad(loss_of)(weights)
        return jax.tree.map(lambda w, g: w - RATE * g, weights, gradients), loss

    weights, losses = WEIGHTS, []
    for batch in BATCHES:
        weights, loss = step(weights, *batch)
        losses.append(float(loss))
    return losses


if __name__ == "__main__":
    report.conclude(report.Move("Hugging Face", "T5X", before(), after(own_loss), after(ported_loss)))
