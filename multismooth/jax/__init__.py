"""The loss in JAX."""

from typing import Any

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("multismooth.jax needs JAX: pip install 'multismooth[jax]'", name=error.name) from error

from multismooth.jax.functional import smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth.jax.linear import linear_smoothed_cross_entropy

__all__ = [
    "LinearSmoothedCrossEntropy",
    "linear_smoothed_cross_entropy",
    "smoothed_cross_entropy",
    "smoothed_cross_entropy_totals",
]


def __getattr__(name: str) -> Any:
    """The layer needs Flax, which is imported with it and not before."""
    if name != "LinearSmoothedCrossEntropy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multismooth.jax.module import LinearSmoothedCrossEntropy

    return LinearSmoothedCrossEntropy
