"""The loss in Keras 3, on TensorFlow, JAX or PyTorch."""

try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "multismooth.keras needs Keras: pip install 'multismooth[keras]'", name=error.name
    ) from error

from multismooth.keras.functional import (
    linear_smoothed_cross_entropy,
    smoothed_cross_entropy,
    smoothed_cross_entropy_totals,
)
from multismooth.keras.linear import LinearSmoothedCrossEntropy
from multismooth.keras.loss import SmoothedCrossEntropy

__all__ = [
    "LinearSmoothedCrossEntropy",
    "SmoothedCrossEntropy",
    "linear_smoothed_cross_entropy",
    "smoothed_cross_entropy",
    "smoothed_cross_entropy_totals",
]
