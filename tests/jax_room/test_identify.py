"""``identify`` on losses that are written with JAX and optax."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from multismooth import dialects
from multismooth.jax import smoothed_cross_entropy
from multismooth.porting import identify


def smoothed(logits: Any, labels: Any) -> Any:
    """As many write it, over a batch of rows."""
    one_hot = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), 0.1)
    return optax.softmax_cross_entropy(logits, one_hot)


def masked(logits: Any, labels: Any) -> Any:
    """Label 0 is padding, and the mean is over the others."""
    mask = labels != 0
    return jnp.where(mask, smoothed(logits, labels), 0).sum() / mask.sum()


def test_optax() -> None:
    found = identify(smoothed, "jax")
    assert found.spec is not None, found
    assert found.spec.label_smoothing == 0.1
    assert (found.spec.spread, found.spec.reduction) == ("uniform", "none")


def test_a_masked_mean() -> None:
    found = identify(masked, "jax")
    assert found.spec is not None, found
    assert (found.spec.ignore_index, found.spec.reduction, found.spec.empty) == (0, "mean", "nan")


def test_our_own() -> None:
    def loss(logits: Any, labels: Any) -> Any:
        return smoothed_cross_entropy(logits, labels, dialects.t5x(0.1))

    assert identify(loss, "jax").spec == dialects.t5x(0.1)
