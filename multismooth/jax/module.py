"""The linear layer with its loss for Flax NNX."""

from __future__ import annotations

from typing import Any

from jax import Array
from jax.typing import ArrayLike

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("This layer needs Flax: pip install flax", name=error.name) from error

from multismooth.jax.linear import linear_smoothed_cross_entropy, scaled
from multismooth.spec import Spec


class LinearSmoothedCrossEntropy(nnx.Linear):
    """An ``nnx.Linear`` with its loss: ``criterion(hidden, labels)`` in the place of ``loss(linear(hidden), labels)``.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    are never held as a whole: ``linear_smoothed_cross_entropy``. ``logits(hidden)`` makes them, for inference. The
    parameters are those of ``nnx.Linear``, names and shapes too, so that its state can be loaded.

    Args:
        in_features, out_features, use_bias, dtype, param_dtype, rngs, …: as ``nnx.Linear`` has them; classes are its
            outputs.
        spec: the choices; ``Spec()`` by default.
        logit_scale: a finite number that multiplies the layer's output.
        softcap: a number > 0 that bounds the logits.

    Called with hidden [*batch, in_features], labels [*batch] of any integer dtype, and the keywords where,
    sample_weight, class_weight, prior, allowed, normalizer and rows of ``linear_smoothed_cross_entropy``.

    Raises:
        InputError: a bad argument, shape, dtype or value, when it is called.

    >>> import jax.numpy as jnp
    >>> criterion = LinearSmoothedCrossEntropy(8, 4, spec=Spec(0.1), rngs=nnx.Rngs(0))
    >>> print(criterion(jnp.zeros((2, 3, 8)), jnp.array([[0, 1, 3], [2, 0, 3]])))
    1.3862944
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rngs: nnx.Rngs,
        spec: Spec = Spec(),
        logit_scale: float | None = None,
        softcap: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, rngs=rngs, **options)
        self.spec = spec
        self.logit_scale = logit_scale
        self.softcap = softcap

    def __call__(self, hidden: ArrayLike, labels: ArrayLike, **options: Any) -> Array:
        bias = None if self.bias is None else self.bias[...]
        hidden, kernel, bias = self.promote_dtype((hidden, self.kernel[...], bias), dtype=self.dtype)
        cap = {"logit_scale": self.logit_scale, "softcap": self.softcap}
        return linear_smoothed_cross_entropy(hidden, kernel, labels, self.spec, bias=bias, **cap, **options)

    def logits(self, hidden: Array) -> Array:
        """[*batch, out_features], scaled and capped."""
        return scaled(super().__call__(hidden), self.logit_scale, self.softcap)
