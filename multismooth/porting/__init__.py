"""Tools for moving a loss from one code base to another: what a loss computes, and what differs from another.

>>> import numpy as np
>>> from multismooth import Spec
>>> from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
>>> def unknown(logits, labels):
...     spec = Spec(0.1, "others", reduction="sum")
...     value = smoothed_cross_entropy(logits, labels, spec)
...     return value, lambda g: smoothed_cross_entropy_vjp(g, logits, labels, spec)
>>> identify(unknown, "numpy").spec
Spec(label_smoothing=0.1, spread='others', reduction='sum')
"""

from multismooth.porting.compare import Comparison, compare
from multismooth.porting.explain import Explanation, explain
from multismooth.porting.losses import Loss, loss
from multismooth.porting.probing.black_box import identify
from multismooth.porting.probing.identification import Identification
from multismooth.porting.target import Target, target

__all__ = [
    "Comparison",
    "Explanation",
    "Identification",
    "Loss",
    "Target",
    "compare",
    "explain",
    "identify",
    "loss",
    "target",
]
