"""The reference: the loss in float64, and its gradient by the formula."""

from multismooth.numpy.functional import (
    smoothed_cross_entropy,
    smoothed_cross_entropy_totals,
    smoothed_cross_entropy_vjp,
)
from multismooth.numpy.linear import (
    LinearGradients,
    linear_smoothed_cross_entropy,
    linear_smoothed_cross_entropy_vjp,
)

__all__ = [
    "LinearGradients",
    "linear_smoothed_cross_entropy",
    "linear_smoothed_cross_entropy_vjp",
    "smoothed_cross_entropy",
    "smoothed_cross_entropy_totals",
    "smoothed_cross_entropy_vjp",
]
