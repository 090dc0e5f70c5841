"""The loss in JAX."""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("multismooth.jax needs JAX: pip install 'multismooth[jax]'", name=error.name) from error

from multismooth.jax.functional import smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth.jax.linear import linear_smoothed_cross_entropy

__all__ = ["linear_smoothed_cross_entropy", "smoothed_cross_entropy", "smoothed_cross_entropy_totals"]
