"""The loss in TensorFlow."""

try:
    import tensorflow as _tf  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "multismooth.tensorflow needs TensorFlow: pip install 'multismooth[tensorflow]'", name=error.name
    ) from error

from multismooth.tensorflow.functional import smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth.tensorflow.linear import linear_smoothed_cross_entropy

__all__ = ["linear_smoothed_cross_entropy", "smoothed_cross_entropy", "smoothed_cross_entropy_totals"]
