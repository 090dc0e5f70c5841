"""What the suite asks of an implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OPTIONAL = ("where", "sample_weight", "class_weight", "prior", "allowed", "normalizer")
"""The arguments that a vector may give beside logits and labels."""


class Inputs(NamedTuple):
    """One call of the loss."""

    spec: Mapping[str, Any]
    """all fields, as in a vector"""
    axis: int
    arrays: Mapping[str, Array]
    """logits, labels, and the optional arguments that are given; bfloat16 is ml_dtypes'"""

    def differentiable(self) -> list[str]:
        """The inputs that have a gradient: the floating ones, but for the normalizer."""
        return [
            name
            for name, array in self.arrays.items()
            if name != "normalizer" and not np.issubdtype(array.dtype, np.integer) and array.dtype != bool
        ]


class Adapter(Protocol):
    """An implementation, NumPy in and NumPy out."""

    name: str

    modes: Sequence[str]
    """How it can run, such as eager and compiled. The first is the plain one."""

    unread: Sequence[str]
    """The modes that cannot read values: there a bad value gives NaN in its row, and not an error."""

    arguments: Sequence[str]
    """Which of ``OPTIONAL`` it takes."""

    gradients: Sequence[str]
    """The inputs that it differentiates: "logits", and any of labels, sample_weight, class_weight, prior."""

    refuses: bool
    """Whether it refuses bad values. If not, the invalid vectors are not for it."""

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        """None, or the reason why it cannot compute this spec.

        Beside the fields it holds what else decides: ``soft_labels``, the ``dtype`` of the logits, and the optional
        arguments that are ``given``.
        """
        ...

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, Mapping[str, Array]]:
        """The loss, and the gradients of cotangent · loss.

        A bad value raises an error whose ``reason`` is the vector's.
        """
        ...

    def totals(self, inputs: Inputs) -> Mapping[str, Array] | None:
        """loss, weight, nll and z_loss before the division, or None if the implementation has no such sums."""
        ...


def unsupported(adapter: Adapter, inputs: Inputs) -> str | None:
    """Why the adapter cannot run this call, or None."""
    for name in OPTIONAL:
        if name in inputs.arrays and name not in adapter.arguments:
            return f"takes no {name}"
    soft = not np.issubdtype(inputs.arrays["labels"].dtype, np.integer)
    more = {
        "soft_labels": soft,
        "dtype": str(inputs.arrays["logits"].dtype),
        "given": tuple(name for name in OPTIONAL if name in inputs.arrays),
    }
    return adapter.supports(dict(inputs.spec) | more)
