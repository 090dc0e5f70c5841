"""The loss in PyTorch."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "multismooth.torch needs PyTorch: pip install 'multismooth[torch]'", name=error.name
    ) from error

from multismooth.torch.functional import smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth.torch.linear import linear_smoothed_cross_entropy
from multismooth.torch.module import LinearSmoothedCrossEntropy, SmoothedCrossEntropy

__all__ = [
    "LinearSmoothedCrossEntropy",
    "SmoothedCrossEntropy",
    "linear_smoothed_cross_entropy",
    "smoothed_cross_entropy",
    "smoothed_cross_entropy_totals",
]
