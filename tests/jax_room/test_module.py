"""The layer for Flax NNX."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from multismooth import Spec
from multismooth.jax import LinearSmoothedCrossEntropy, smoothed_cross_entropy

SPEC = Spec(0.1, ignore_index=-100)
HIDDEN = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
LABELS = np.array([[0, 1, -100], [2, 0, 3]])


@pytest.mark.parametrize("cap", [{}, {"logit_scale": 0.5, "softcap": 2.0}], ids=["plain", "capped"])
def test_it_is_a_linear_layer_and_its_loss(cap: dict[str, Any]) -> None:
    linear = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
    criterion = LinearSmoothedCrossEntropy(8, 4, spec=SPEC, rngs=nnx.Rngs(1), **cap)
    nnx.update(criterion, nnx.state(linear))
    if not cap:
        np.testing.assert_array_equal(criterion.logits(HIDDEN), linear(HIDDEN))
    found, gradients = nnx.value_and_grad(lambda layer: layer(HIDDEN, LABELS, rows=2))(criterion)

    def loss(layer: LinearSmoothedCrossEntropy) -> jax.Array:
        return smoothed_cross_entropy(layer.logits(jnp.asarray(HIDDEN)), LABELS, SPEC)

    expected, others = nnx.value_and_grad(loss)(criterion)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(gradients[name][...], others[name][...], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("use_bias", [True, False])
def test_mixed_precision(use_bias: bool) -> None:
    """float32 parameters, products in bfloat16, the loss in float32."""
    criterion = LinearSmoothedCrossEntropy(8, 4, spec=SPEC, rngs=nnx.Rngs(0), dtype=jnp.bfloat16, use_bias=use_bias)
    loss, gradients = nnx.jit(nnx.value_and_grad(lambda layer: layer(HIDDEN, LABELS)))(criterion)
    assert loss.dtype == "float32"
    assert gradients["kernel"][...].dtype == "float32"
    assert criterion.logits(HIDDEN).dtype == "bfloat16"
    # Compiled, XLA may leave out the rounding of a product that is widened at once.
    expected = smoothed_cross_entropy(criterion.logits(HIDDEN), LABELS, SPEC)
    np.testing.assert_allclose(loss, expected, rtol=float(jnp.finfo(jnp.bfloat16).eps))


def test_flax_is_imported_with_the_layer_alone() -> None:
    script = "import sys, multismooth.jax as room; assert 'flax' not in sys.modules; room.LinearSmoothedCrossEntropy"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
