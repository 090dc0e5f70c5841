"""Value and gradient of a loss, by its framework's own autodiff: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multismooth.errors import InputError

Array = NDArray[Any]
Call = Callable[[Any, dict[str, Any]], Any]
"""of the logits and of the other arrays by name"""
Cotangent = Callable[[tuple[int, ...]], Array]
"""of the loss's shape"""
Arrays = Mapping[str, Array]
Both = tuple[Array, Array]
Differentiate = Callable[[Call, Array, Arrays, Cotangent], Both]
"""the loss, and the logits' gradient of ⟨cotangent, loss⟩"""

PACKAGES = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow", "keras": "keras", "numpy": "numpy"}


def autodiff(framework: str) -> Differentiate:
    """The framework's way to a gradient.

    Raises:
        InputError: an unknown framework, or one that is not installed.
    """
    if framework not in PACKAGES:
        raise InputError(
            "unknown_framework",
            "identify",
            f"framework is {framework!r}",
            f"Pass one of {', '.join(map(repr, PACKAGES))}",
        )
    try:
        module = import_module(PACKAGES[framework])
    except ImportError as error:
        raise InputError(
            "framework_missing",
            "identify",
            f"{framework} cannot be imported ({error})",
            f"pip install 'multismooth[{framework}]'",
        ) from error
    if framework == "keras":
        framework = module.backend.backend()
        module = import_module(framework)
    ways = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow, "numpy": _numpy}
    return partial(ways[framework], module)


def not_differentiable(why: str) -> InputError:
    return InputError(
        "not_differentiable",
        "identify",
        f"the loss has no gradient to the logits: {why}",
        "Pass the loss that training differentiates, without detach, stop_gradient or argmax",
    )


def first(result: Any) -> Any:
    """The loss of what may be a tuple of it and more."""
    return result[0] if isinstance(result, (tuple, list)) and len(result) else result


def _torch(
    torch: Any, call: Call, logits: Array, others: Mapping[str, Array], cotangent: Cotangent
) -> tuple[Array, Array]:
    x = torch.tensor(logits, requires_grad=True)
    loss = first(call(x, {name: torch.tensor(array) for name, array in others.items()}))
    if not loss.requires_grad:
        raise not_differentiable("its result does not require one")
    given = torch.as_tensor(cotangent(tuple(loss.shape))).to(loss)
    (gradient,) = torch.autograd.grad(loss, x, given, allow_unused=True)
    if gradient is None:
        raise not_differentiable("its result does not depend on them")
    return loss.detach().double().numpy(), gradient.double().numpy()


def _jax(jax: Any, call: Call, logits: Array, others: Arrays, cotangent: Cotangent) -> Both:
    jnp = jax.numpy
    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(array) for name, array in others.items()}
        loss, pull = jax.vjp(lambda x: first(call(x, arrays)), jnp.asarray(logits))
        (gradient,) = pull(jnp.asarray(cotangent(loss.shape), loss.dtype))
    return np.asarray(loss, np.float64), np.asarray(gradient, np.float64)


def _tensorflow(
    tf: Any, call: Call, logits: Array, others: Mapping[str, Array], cotangent: Cotangent
) -> tuple[Array, Array]:
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = first(call(x, {name: tf.constant(array) for name, array in others.items()}))
    given = tf.constant(cotangent(tuple(loss.shape)), loss.dtype)
    gradient = tape.gradient(loss, x, output_gradients=given)
    if gradient is None:
        raise not_differentiable("its result does not depend on them")
    gradient = tf.convert_to_tensor(gradient)  # a gather's comes in slices
    return np.asarray(loss, np.float64), np.asarray(gradient, np.float64)


def _numpy(_: Any, call: Call, logits: Array, others: Arrays, cotangent: Cotangent) -> Both:
    """NumPy has no autodiff: the loss returns itself and its pullback."""
    result = call(logits.copy(), {name: array.copy() for name, array in others.items()})
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise not_differentiable("with framework='numpy' a loss returns (value, pullback), as jax.vjp does")
    loss = np.asarray(result[0])
    return loss, np.asarray(result[1](cotangent(loss.shape)))
