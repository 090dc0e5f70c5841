"""What the shared code asks of NumPy: for the reference, and for values of a framework's that are at hand."""

from __future__ import annotations

import numpy as np

from multismooth.lowering import Functions

FUNCTIONS = Functions(
    where=np.where,
    log=np.log,
    any=np.any,
    sum=lambda values, axes=None, keepdims=False: np.sum(values, axes, keepdims=keepdims),
    count=lambda condition: np.float64(np.count_nonzero(condition)),
    array=np.float64,
    ones_like=np.ones_like,
    size=np.size,
    length=len,
)
