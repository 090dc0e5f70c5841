"""Batches that lie on four devices: the same loss and gradient as on one."""

import os
import subprocess
import sys

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from multismooth import Spec
from multismooth.jax import smoothed_cross_entropy, smoothed_cross_entropy_totals

spec = Spec(0.1, "others", exclude=(1,), denominator="weights")
random = np.random.default_rng(0)
logits = jnp.asarray(random.normal(size=(8, 3, 4)), "float32")
labels = jnp.asarray(random.integers(0, 4, (8, 3)))
where = labels != 2
weight = jnp.arange(1.0, 5)

def loss(logits, labels, where):
    return smoothed_cross_entropy(logits, labels, spec, where=where, class_weight=weight, prior=weight / 10)

def by_totals(mesh, logits, labels, where):
    def sums(logits, labels, where):
        vectors = {"class_weight": weight, "prior": weight / 10}
        totals = smoothed_cross_entropy_totals(logits, labels, spec, where=where, **vectors)
        return jax.tree.map(lambda total: jax.lax.psum(total, "batch"), totals)
    return jax.shard_map(sums, mesh=mesh, in_specs=P("batch"), out_specs=P())(logits, labels, where).mean(spec)

assert jax.device_count() == 4
expected = jax.value_and_grad(loss)(logits, labels, where)
auto = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
explicit = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
for name, mesh, function in (
    ("auto", auto, loss), ("explicit", explicit, loss), ("shard_map", auto, partial(by_totals, auto))
):
    with jax.set_mesh(mesh):
        on_four = [jax.device_put(a, NamedSharding(mesh, P("batch"))) for a in (logits, labels, where)]
        actual = jax.jit(jax.value_and_grad(function))(*on_four)
        assert len(actual[1].sharding.device_set) == 4
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), jax.device_get(actual), expected)
    print(name, end=" ")

# Enough logits to be summed at once, in lanes and in blocks: by rows on four devices, and by classes.
for classes, options in ((16, {}), (128, {}), (16384, {}), (16384, {"allowed": jnp.arange(16384) < 16000})):
    logits = jnp.asarray(random.normal(size=(8, 64, classes)), "float32")
    labels = jnp.asarray(random.integers(0, min(classes, 16000), (8, 64)))
    step = jax.jit(jax.value_and_grad(partial(smoothed_cross_entropy, spec=Spec(0.1, "others"), **options)))
    expected = step(logits, labels)
    for name, axes in (("rows", P("batch")), ("classes", P(None, None, "batch"))):
        actual = step(jax.device_put(logits, NamedSharding(auto, axes)), labels)
        assert actual[1].sharding.spec == axes
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), jax.device_get(actual), expected)
        print(name, end=" ")
"""


def test_sharded_batches() -> None:
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["auto", "explicit", "shard_map", *["rows", "classes"] * 4], done.stderr[-2000:]
