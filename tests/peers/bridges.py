"""The loss of each framework with its gradient, times a cotangent, as NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.peers.case import Batch, cotangent

Loss = Callable[[Any, Batch], Any]
Pulled = Callable[[tuple[int, ...]], Any]
Differentiate = Callable[..., tuple[Any, Any]]
"""of a loss, a batch, and what gives the cotangent for the loss's shape: ``cotangent`` unless told otherwise"""


def torch_in(dtype: str) -> Differentiate:
    import torch

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        x = torch.tensor(batch.x, dtype=getattr(torch, dtype), requires_grad=True)
        # A copy: some losses overwrite the logits that they are given.
        value = loss(x.clone(), batch)
        (gradient,) = torch.autograd.grad(value, x, torch.tensor(pulled(value.shape), dtype=value.dtype))
        return value.detach().numpy(), gradient.numpy()

    return differentiate


def jax_in(dtype: str) -> Differentiate:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "float64")

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        value, vjp = jax.vjp(lambda x: loss(x, batch), jnp.asarray(batch.x, dtype))
        return np.asarray(value), np.asarray(vjp(jnp.asarray(pulled(value.shape), value.dtype))[0])

    return differentiate


def tensorflow_in(dtype: str) -> Differentiate:
    import tensorflow as tf

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        x = tf.constant(batch.x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x, batch)
            scalar = tf.reduce_sum(value * tf.constant(pulled(tuple(value.shape)), value.dtype))
        return value.numpy(), tf.convert_to_tensor(tape.gradient(scalar, x)).numpy()

    return differentiate


def mlx_in_float32() -> Differentiate:
    import mlx.core as mx

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        def scalar(x: Any) -> Any:
            value = loss(x, batch)
            return (value * mx.array(pulled(value.shape).astype("float32"))).sum(), value

        x = mx.array(batch.x.astype("float32"))
        value = loss(x, batch)
        return np.array(value), np.array(mx.grad(lambda x: scalar(x)[0])(x))

    return differentiate


def tinygrad_in(dtype: str) -> Differentiate:
    from tinygrad import Tensor, dtypes

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        x = Tensor(batch.x.astype(dtype), dtype=getattr(dtypes, dtype))
        value = loss(x, batch)
        (gradient,) = value.gradient(x, gradient=Tensor(pulled(value.shape).astype(dtype), dtype=value.dtype))
        return value.numpy(), gradient.numpy()

    return differentiate


def paddle_in(dtype: str) -> Differentiate:
    import paddle

    def differentiate(loss: Loss, batch: Batch, pulled: Pulled = cotangent) -> tuple[Any, Any]:
        x = paddle.to_tensor(batch.x.astype(dtype), stop_gradient=False)
        value = loss(x, batch)
        weights = paddle.to_tensor(pulled(tuple(value.shape)).astype(str(value.dtype).removeprefix("paddle.")))
        (gradient,) = paddle.grad([value], [x], grad_outputs=[weights])
        return value.numpy(), gradient.numpy()

    return differentiate
