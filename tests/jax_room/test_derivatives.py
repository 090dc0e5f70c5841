"""First and second derivatives in JAX, against finite differences and each other."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from multismooth import Spec
from multismooth.jax import smoothed_cross_entropy, smoothed_cross_entropy_totals
from tests import cases
from tests.cases import CASES, IDS, LABELS, LOGITS, WHERE, Case

SPEC = Spec(0.1, "others", z_loss=0.05)
STEP = 1e-5
CLOSE: dict[str, Any] = {"rtol": 1e-7, "atol": 2e-9}
"""A central difference errs by STEP²/6 times the next derivative, and by the rounding over STEP."""

SOME = [
    case for case in CASES if case.id in ("z-loss", "masked-garbage", "prior-kl", "by-class_weights", "soft-masked")
]
some = pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
every = pytest.mark.parametrize("case", CASES, ids=IDS)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def flat(case: Case) -> tuple[Callable[[Array], Array], Array]:
    """The loss as a function of one vector, all its differentiable arguments, and this vector."""
    vector, unravel = ravel_pytree({name: jnp.asarray(case.arrays[name]) for name in case.differentiable})

    def loss(vector: Array) -> Array:
        value = smoothed_cross_entropy(**case.arrays | unravel(vector), spec=case.spec, axis=case.axis)
        return (value * cases.COTANGENT).sum() if case.spec.reduction == "none" else value

    return loss, vector


def direction(vector: Array) -> Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=vector.size))


def difference(function: Callable[[Array], Array], vector: Array) -> Array:
    """The derivative in the direction, a central difference."""
    step = STEP * direction(vector)
    return (function(vector + step) - function(vector - step)) / (2 * STEP)


def along(function: Callable[[Array], Array], vector: Array) -> Array:
    """The derivative in the direction, in forward mode."""
    return jax.jvp(function, (vector,), (direction(vector),))[1]


def loss_of(logits: Array) -> Array:
    return smoothed_cross_entropy(logits, LABELS, SPEC, where=WHERE)


@every
def test_first(case: Case) -> None:
    loss, vector = flat(case)
    gradient = jax.grad(loss)(vector)
    np.testing.assert_allclose(gradient @ direction(vector), difference(loss, vector), **CLOSE)
    np.testing.assert_allclose(along(loss, vector), gradient @ direction(vector), rtol=1e-12)


@every
def test_second(case: Case) -> None:
    loss, vector = flat(case)
    product = along(jax.grad(loss), vector)
    assert jnp.count_nonzero(product) > 10
    np.testing.assert_allclose(product, difference(jax.grad(loss), vector), **CLOSE)


@some
def test_second_by_other_routes(case: Case) -> None:
    """Reverse over reverse, reverse over forward, and forward over forward."""
    loss, vector = flat(case)
    u, product = direction(vector), along(jax.grad(loss), vector)
    exact: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-14}
    np.testing.assert_allclose(jax.grad(lambda v: jax.grad(loss)(v) @ u)(vector), product, **exact)
    np.testing.assert_allclose(jax.grad(lambda v: along(loss, v))(vector), product, **exact)
    np.testing.assert_allclose(along(lambda v: along(loss, v), vector), product @ u, **exact)


@pytest.mark.parametrize("id", ["masked-garbage", "soft-masked"])
def test_hessian(id: str) -> None:
    """Compiled whole, by jax.hessian and by jacfwd of jacfwd."""
    loss, vector = flat(CASES[IDS.index(id)])
    hessian = jax.jit(jax.hessian(loss))(vector)
    np.testing.assert_allclose(hessian @ direction(vector), difference(jax.grad(loss), vector), **CLOSE)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.jacfwd(loss)))(vector), hessian, rtol=1e-11, atol=1e-14)


def test_third() -> None:
    """A statistic that is saved as a constant is wrong here at the latest."""
    loss, vector = flat(CASES[IDS.index("z-loss")])

    def product(vector: Array) -> Array:
        return along(jax.grad(loss), vector)

    np.testing.assert_allclose(along(product, vector), difference(product, vector), **CLOSE)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_of_examples_are_those_of_the_batch(reduction: str) -> None:
    spec = Spec(0.1, "others", reduction=reduction)

    def loss(logits: Array, labels: Array) -> Array:
        return smoothed_cross_entropy(logits, labels, spec)

    mapped = jax.vmap(jax.grad(loss))(LOGITS, LABELS)
    share = len(LOGITS) if reduction == "mean" else 1
    np.testing.assert_allclose(mapped / share, jax.grad(loss)(LOGITS, LABELS), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("axis", [0, 1])
def test_losses_of_examples_are_those_of_the_batch(axis: int) -> None:
    spec = Spec(0.1, reduction="none")
    mapped = jax.vmap(lambda logits, labels: smoothed_cross_entropy(logits, labels, spec), axis, axis)(LOGITS, LABELS)
    np.testing.assert_allclose(mapped, smoothed_cross_entropy(LOGITS, LABELS, spec), rtol=1e-15)


def test_the_spec_is_static_under_jit() -> None:
    traces = []

    @partial(jax.jit, static_argnames="spec")
    def loss(logits: Array, labels: Array, where: Array, spec: Spec) -> Array:
        traces.append(spec)
        return smoothed_cross_entropy(logits, labels, spec, where=where)

    for where in (WHERE, ~WHERE, WHERE & False):
        expected = smoothed_cross_entropy(LOGITS, LABELS, SPEC, where=where)
        np.testing.assert_allclose(loss(LOGITS, LABELS, where, Spec(**vars(SPEC))), expected, rtol=1e-14)
    assert len(traces) == 1
    loss(LOGITS, LABELS, WHERE, Spec(0.2))
    assert len(traces) == 2


def test_rematerialisation() -> None:
    plain = jax.grad(loss_of)(LOGITS)
    np.testing.assert_array_equal(jax.grad(jax.checkpoint(loss_of))(LOGITS), plain)


def test_scan_over_microbatches() -> None:
    spec = Spec(0.1, denominator="weights")

    def body(totals: Any, part: Any) -> Any:
        logits, labels, where = part
        return totals + smoothed_cross_entropy_totals(logits, labels, spec, where=where), None

    def loss(logits: Array) -> Array:
        first = smoothed_cross_entropy_totals(logits[0], LABELS[0], spec, where=WHERE[0])
        rest = jax.tree.map(lambda array: array[1:], (logits, jnp.asarray(LABELS), jnp.asarray(WHERE)))
        return jax.lax.scan(body, first, rest)[0].mean(spec)

    def whole(logits: Array) -> Array:
        return smoothed_cross_entropy(logits, LABELS, spec, where=WHERE)

    ours, theirs = jax.value_and_grad(loss)(jnp.asarray(LOGITS)), jax.value_and_grad(whole)(LOGITS)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-16), ours, theirs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_gradients_have_the_dtype_of_their_inputs(dtype: str) -> None:
    inputs = {
        "logits": jnp.asarray(LOGITS, dtype),
        "sample_weight": jnp.asarray(cases.SAMPLE_WEIGHT, "float32"),
        "class_weight": jnp.asarray(cases.CLASS_WEIGHT, "bfloat16"),
        "prior": jnp.asarray(cases.PRIOR, "float64"),
    }
    loss, gradients = jax.value_and_grad(lambda inputs: smoothed_cross_entropy(labels=LABELS, spec=0.1, **inputs))(
        inputs
    )
    assert loss.dtype == ("float64" if dtype == "float64" else "float32")
    assert jax.tree.map(jnp.dtype, gradients) == jax.tree.map(jnp.dtype, inputs)


def test_no_weak_type_leaks() -> None:
    """Adding the loss to a float32 leaves a float32, whatever 64-bit types are on."""
    loss = smoothed_cross_entropy(jnp.asarray(LOGITS, "float32"), LABELS, SPEC)
    assert loss.dtype == "float32"
    assert not loss.weak_type


def test_a_bad_label_among_the_mapped_is_nan() -> None:
    logits = jnp.asarray(LOGITS[0, 0])
    labels = jnp.array([0, 4, -1, 3])
    loss, gradient = jax.vmap(jax.value_and_grad(smoothed_cross_entropy), (None, 0))(logits, labels)
    assert jnp.isnan(loss).tolist() == [False, True, True, False]
    assert jnp.isnan(gradient).any(-1).tolist() == [False, True, True, False]


def test_a_weight_of_0_hides_a_logit_whose_square_is_no_number() -> None:
    """1e30 is a float32, and with z-loss its square is asked for."""
    weight, labels = np.array([1.0, 0.0], np.float32), np.array([0, 1])
    logits = np.array([[1.0, 2.0, 3.0], [1e30, 1e30, 1e30]], np.float32)
    spec = Spec(0.1, z_loss=0.1, reduction="sum")
    loss = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), spec, sample_weight=jnp.asarray(weight))
    alone = smoothed_cross_entropy(jnp.asarray(logits[:1]), jnp.asarray(labels[:1]), spec)
    assert float(loss) == float(alone)
