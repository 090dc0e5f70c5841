"""What the suite asks of an implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OPTIONAL = ("where", "sample_weight", "class_weight", "prior", "allowed", "normalizer")
"""The arguments that a vector may give beside logits and labels."""

LINEAR = ("hidden", "kernel", "bias")
"""What the linear loss makes the logits from, and always differentiates."""

NUMBERS = ("logit_scale", "softcap")
"""What it may scale and bound them by: numbers, and no arrays."""

NEEDED = ("name", "supports", "modes", "run")
"""What an adapter must have; everything else has a default."""


class Inputs(NamedTuple):
    """One call of the loss."""

    spec: Mapping[str, Any]
    """all fields, as in a vector"""
    axis: int
    arrays: Mapping[str, Array]
    """logits, labels, and the optional arguments that are given; bfloat16 is ml_dtypes'. Of the linear loss hidden,
    kernel and perhaps bias in the place of logits"""
    numbers: Mapping[str, float] = MappingProxyType({})
    """of the linear loss: logit_scale and softcap, where they are given"""

    @property
    def linear(self) -> bool:
        """Whether it is a call of the linear loss, which makes the logits itself."""
        return "hidden" in self.arrays

    @property
    def logits(self) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape of the logits, whether they are given or not."""
        if not self.linear:
            return str(self.arrays["logits"].dtype), self.arrays["logits"].shape
        hidden, kernel = self.arrays["hidden"], self.arrays["kernel"]
        return str(hidden.dtype), hidden.shape[:-1] + kernel.shape[1:]

    def differentiable(self) -> list[str]:
        """The inputs that have a gradient: the floating ones, but for the normalizer."""
        return [name for name, array in self.arrays.items() if name != "normalizer" and _is_floating(array)]

    @property
    def soft(self) -> bool:
        """Whether the labels are probabilities."""
        return _is_floating(self.arrays["labels"])

    @property
    def class_axis(self) -> int:
        """``axis``, counted from the first."""
        return self.axis % len(self.logits[1])

    def counts(self) -> Array:
        """Which positions count: neither masked nor ignored."""
        (_, shape), ignored = self.logits, self.spec["ignore_index"]
        counts = self.arrays.get("where", np.ones(shape[: self.class_axis] + shape[self.class_axis + 1 :], bool))
        return counts if ignored is None else counts & (self.arrays["labels"] != ignored)


class Adapter:
    """An implementation, NumPy in and NumPy out. Any object will do that has the first four: the rest has defaults."""

    name: str

    modes: Sequence[str] = ("eager",)
    """How it can run, such as eager and compiled. The first is the plain one. ``modes.py`` makes "unreduced" of it."""

    slow: Sequence[str] = ()
    """The modes in which a default run takes no more than the core vectors."""

    unread: Sequence[str] = ()
    """The modes that cannot read values: there a bad value gives NaN in its row, and not an error."""

    arguments: Sequence[str] = OPTIONAL
    """Which of ``OPTIONAL`` it takes."""

    gradients: Sequence[str] = ("logits",)
    """The inputs that it differentiates: "logits", and any of labels, sample_weight, class_weight, prior."""

    refuses: bool = False
    """Whether it refuses bad values. If not, the invalid vectors are not for it."""

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        """None, or the reason why it cannot compute this spec.

        Beside the fields it holds what else decides: ``soft_labels``, the ``dtype`` and ``shape`` of the logits, the
        class ``axis`` counted from the first, the optional arguments that are ``given``, the ``mode``, and whether it
        is for the ``linear`` loss; then bias, logit_scale and softcap are among the ``given``.
        """
        return None

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> tuple[Array, Mapping[str, Array]]:
        """The loss, and the gradients of cotangent · loss.

        A bad value raises an error whose ``reason`` is the vector's.
        """
        raise NotImplementedError

    linear: Callable[[Inputs, Array, str], tuple[Array, Mapping[str, Array]]] | None = None
    """Like ``run``, of calls whose logits are softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap): the loss, and
    the gradients to hidden, kernel and bias, and to what else ``gradients`` names; or None if it has no such loss."""

    def totals(self, inputs: Inputs) -> Mapping[str, Array] | None:
        """loss, weight, nll and z_loss before the division, or None if the implementation has no such sums."""
        return None

    def hvp(self, inputs: Inputs, cotangent: Array, tangent: Array) -> Array | None:
        """How the logits' gradient of cotangent · loss changes as the logits move along the tangent, if it can tell."""
        return None


def completed(given: Any) -> Adapter:
    """An adapter, with the defaults of what it leaves out. Raises TypeError if what it must have is not there."""
    missing = [name for name in NEEDED if not hasattr(given, name)]
    if missing:
        raise TypeError(f"an adapter needs {', '.join(NEEDED)}, and this one has no {', '.join(missing)}")
    if isinstance(given, Adapter):
        return given
    adapter = Adapter()
    names = [name for name in (*dir(Adapter), "name") if not name.startswith("_") and hasattr(given, name)]
    vars(adapter).update({name: getattr(given, name) for name in names})
    return adapter


def unsupported(adapter: Adapter, inputs: Inputs, mode: str | None = None) -> str | None:
    """Why the adapter cannot run this call in this mode, which is the plain one if it is None; or None."""
    for name in OPTIONAL:
        if name in inputs.arrays and name not in adapter.arguments:
            return f"takes no {name}"
    if inputs.linear and adapter.linear is None:
        return "has no linear loss"
    dtype, shape = inputs.logits
    more = {
        "soft_labels": inputs.soft,
        "linear": inputs.linear,
        "dtype": dtype,
        "shape": shape,
        "axis": inputs.class_axis,
        "given": tuple(name for name in (*OPTIONAL, "bias", *NUMBERS) if name in {**inputs.arrays, **inputs.numbers}),
        "mode": adapter.modes[0] if mode is None else mode,
    }
    return adapter.supports(dict(inputs.spec) | more)


def _is_floating(array: Array) -> bool:
    # NumPy does not count bfloat16 among its floating dtypes.
    return not np.issubdtype(array.dtype, np.integer) and array.dtype != bool
