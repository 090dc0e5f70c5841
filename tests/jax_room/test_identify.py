"""``identify`` on optax, and on a loss written out from T5X's formula."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from multismooth import InputError, Spec, dialects
from multismooth.porting import identify

EPSILON, Z_LOSS = 0.1, 1e-4


def smoothed(logits: Any, labels: Any) -> Any:
    classes = logits.shape[-1]
    targets = optax.smooth_labels(jax.nn.one_hot(labels, classes, dtype=logits.dtype), EPSILON)
    return optax.softmax_cross_entropy(logits, targets)


def t5x(logits: Any, targets: Any, weights: Any = None) -> Any:
    """Σ w·(CE(others(ε)) − H + λ·lse²)"""
    classes = logits.shape[-1]
    on, off = 1 - EPSILON, EPSILON / (classes - 1)
    q = jnp.where(targets[..., None] == jnp.arange(classes), on, off)
    lse = jax.nn.logsumexp(logits, -1)
    entropy = -on * jnp.log(on) - (classes - 1) * off * jnp.log(off)
    losses = lse - (q * logits).sum(-1) + Z_LOSS * lse**2 - entropy
    return (losses if weights is None else losses * weights).sum()


@pytest.mark.parametrize(
    ("loss", "spec", "deviations"),
    [
        (smoothed, dialects.optax(EPSILON), {"bad_labels_keep_smoothing"}),
        (optax.softmax_cross_entropy_with_integer_labels, dialects.optax(), {"labels_narrowed", "labels_wrap"}),
        (t5x, dialects.t5x(EPSILON, Z_LOSS), {"bad_labels_keep_smoothing", "nan_under_zero_weight"}),
        (jax.jit(t5x), dialects.t5x(EPSILON, Z_LOSS), {"bad_labels_keep_smoothing", "nan_under_zero_weight"}),
    ],
    ids=["optax-smoothed", "optax", "t5x", "t5x-jit"],
)
def test_losses_per_position_and_sums(loss: Any, spec: Spec, deviations: set[str]) -> None:
    found = identify(loss, "jax")
    assert found.spec == spec, str(found)
    assert set(found.deviations) == deviations, str(found)


def test_one_hot_labels() -> None:
    found = identify(optax.softmax_cross_entropy, "jax", arguments={"where": None})
    assert found.layout["labels"] == "one-hot"
    assert found.spec == Spec(reduction="none"), str(found)


def test_a_stopped_gradient_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        identify(lambda logits, labels: jax.lax.stop_gradient(smoothed(logits, labels)), "jax")
    assert caught.value.reason == "not_differentiable"
