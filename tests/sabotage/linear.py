"""The linear loss in pieces, and one bug for each way in which real ones have been wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth_conformance import Inputs, Vector
from multismooth_conformance.adapter import LINEAR, Array
from multismooth_conformance.adapters.reference import ADAPTER
from multismooth_conformance.adapters.rooms import spec_of
from multismooth_conformance.tolerances import compute_dtype
from tests.sabotage.bugs import lse_rounded
from tests.sabotage.parts import Sabotaged, position_bug, verdict

Outputs = tuple[Array, dict[str, Array]]


@dataclass
class Layer:
    """A linear layer and its loss, float64; a bug replaces a step of it."""

    inputs: Inputs
    cotangent: Array

    def __post_init__(self) -> None:
        arrays = self.inputs.arrays
        self.hidden = arrays["hidden"].astype(np.float64)
        self.kernel = arrays["kernel"].astype(np.float64)
        self.bias = arrays["bias"].astype(np.float64) if "bias" in arrays else None
        self.scale = self.inputs.numbers.get("logit_scale", 1.0)
        self.cap = self.inputs.numbers.get("softcap")
        self.spec = dict(self.inputs.spec)
        self.rest = {name: array for name, array in arrays.items() if name not in LINEAR}

    # --- forward -----------------------------------------------------------------------------------------------------

    def linear(self) -> Array:
        z = self.hidden @ self.kernel
        return z if self.bias is None else z + self.bias

    def logits(self) -> Array:
        x = self.scale * self.linear()
        return x if self.cap is None else self.cap * np.tanh(x / self.cap)

    def loss(self) -> Array:
        return smoothed_cross_entropy(self.logits(), **self.rest, spec=spec_of(self.spec))

    # --- backward ----------------------------------------------------------------------------------------------------

    def slope(self) -> Any:
        """∂x/∂z"""
        return self.scale * self.tanh_slope()

    def tanh_slope(self) -> Any:
        return 1.0 if self.cap is None else 1 - np.tanh(self.scale * self.linear() / self.cap) ** 2

    def logits_gradient(self) -> Array:
        return smoothed_cross_entropy_vjp(self.cotangent, self.logits(), **self.rest, spec=spec_of(self.spec))

    def gradient(self) -> Array:
        """To hidden·kernel + bias; 0 where nothing counts, and not 0·NaN."""
        g = self.logits_gradient()
        return np.where(g == 0, 0.0, g * self.slope())

    def read(self) -> Array:
        """hidden, without the rows that are not read."""
        return np.where(self.counts()[..., None], self.hidden, 0.0)

    def counts(self) -> Array:
        counts = self.inputs.counts()
        return counts & (self.rest["sample_weight"] != 0) if "sample_weight" in self.rest else counts

    def to_hidden(self, g: Array) -> Array:
        return g @ self.kernel.T

    def to_kernel(self, g: Array) -> Array:
        positions = tuple(range(g.ndim - 1))
        return np.tensordot(self.read(), g, (positions, positions))

    def to_bias(self, g: Array) -> Array:
        return g.sum(tuple(range(g.ndim - 1)))

    def gradients(self) -> dict[str, Array]:
        g = self.gradient()
        found = {"hidden": self.to_hidden(g), "kernel": self.to_kernel(g)}
        return found if self.bias is None else found | {"bias": self.to_bias(g)}


class Bug(NamedTuple):
    """A bug of the linear loss, and the flag of the vectors that must reject it."""

    flag: str
    layer: Callable[[Inputs, Array], Layer]
    reads: bool = True
    """whether it refuses bad values"""
    wide: bool = True

    def verdict(self, vector: Vector) -> str | None:
        return verdict(LinearSabotaged(self.layer, self.reads), vector) if vector.inputs.linear else None


class LinearSabotaged(Sabotaged):
    """An adapter of a layer with a bug."""

    def __init__(self, layer: Callable[[Inputs, Array], Layer], reads: bool = True) -> None:
        super().__init__(ADAPTER.run)
        self.layer, self.reads = layer, reads

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        if self.reads:
            ADAPTER.linear(inputs, cotangent, mode)  # raises for a bad value
        with np.errstate(all="ignore"):
            layer = self.layer(inputs, cotangent)
            loss, gradients = layer.loss(), layer.gradients()
        kind = compute_dtype(inputs.logits[0])
        return np.asarray(loss, kind), {name: g.astype(inputs.arrays[name].dtype) for name, g in gradients.items()}


# --- Forward --------------------------------------------------------------------------------------------------------


class NotSmoothed(Layer):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec["label_smoothing"] = 0.0


class NoZLoss(Layer):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec["z_loss"] = 0.0


class NoZLossGradient(Layer):
    def logits_gradient(self) -> Array:
        spec = spec_of(self.spec | {"z_loss": 0.0})
        return smoothed_cross_entropy_vjp(self.cotangent, self.logits(), **self.rest, spec=spec)


class NoBias(Layer):
    def linear(self) -> Array:
        return self.hidden @ self.kernel


class NoBiasGradient(Layer):
    def to_bias(self, g: Array) -> Array:
        return np.zeros(g.shape[-1])


class BiasOfOnePosition(Layer):
    """Not summed over the positions, but the last."""

    def to_bias(self, g: Array) -> Array:
        return g.reshape(-1, g.shape[-1])[-1:].sum(0)


class NotScaled(Layer):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.scale = 1.0


class ScaledTwice(Layer):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.scale = self.scale**2


class NoScaleInGradient(Layer):
    def slope(self) -> Any:
        return self.tanh_slope()


class ScaleTwiceInGradient(Layer):
    def slope(self) -> Any:
        return self.scale**2 * self.tanh_slope()


class FilledUpAndScaled(Layer):
    """−inf in the last block of classes, times a negative number."""

    def loss(self) -> Array:
        return super().loss() + (np.nan if self.scale < 0 else 0.0)


class NotCapped(Layer):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.cap = None


class TimesTanh(Layer):
    """x·tanh(x / c)"""

    def logits(self) -> Array:
        x = self.scale * self.linear()
        return x if self.cap is None else x * np.tanh(x / self.cap)


class NoSlopeOfTanh(Layer):
    def tanh_slope(self) -> Any:
        return 1.0


# --- Blocks of positions --------------------------------------------------------------------------------------------


def second_half(positions: tuple[int, ...]) -> Array:
    """Which positions are in the second of two blocks."""
    size = int(np.prod(positions))
    return np.asarray(np.arange(size) >= (size + 1) // 2).reshape(positions)


class MeansAdded(Layer):
    """Each block has its own mean, and these are added."""

    def blocks(self) -> int:
        if self.spec["reduction"] != "mean" or "normalizer" in self.rest:
            return 1
        live = self.counts()
        later = second_half(live.shape)
        return max(1, int((live & later).any()) + int((live & ~later).any()))

    def loss(self) -> Array:
        return super().loss() * self.blocks()

    def gradient(self) -> Array:
        return super().gradient() * self.blocks()


class LastBlockOnly(Layer):
    def to_kernel(self, g: Array) -> Array:
        later = second_half(g.shape[:-1]) | (g[..., 0].size < 2)
        return super().to_kernel(np.where(later[..., None], g, 0.0))


class ClassWeightsOfOneBlock(Layer):
    """The second block knows none; they divide as they should."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.later = second_half(self.inputs.counts().shape)

    def parts(self, function: Callable[..., Array], *arguments: Array) -> Array:
        fields = {"reduction": "none", "denominator": "valid"}
        rest = {name: array for name, array in self.rest.items() if name != "normalizer"}
        weighted = function(*arguments, **rest, spec=spec_of(self.spec | fields))
        rest.pop("class_weight", None)
        plain = function(*arguments, **rest, spec=spec_of(self.spec | fields))
        later = self.later if weighted.ndim == self.later.ndim else self.later[..., None]
        return np.where(later, plain, weighted)

    def shares(self) -> Array:
        """What each position's loss is multiplied with in the reduced one."""
        if self.spec["reduction"] == "none":
            return self.cotangent
        per_position = {"reduction": "none", "denominator": "valid"}
        rest = {name: array for name, array in self.rest.items() if name != "normalizer"}
        x = self.logits()
        each = smoothed_cross_entropy_vjp(np.ones(self.later.shape), x, **rest, spec=spec_of(self.spec | per_position))
        whole = super().logits_gradient()
        at = np.abs(each).argmax(-1)[..., None]
        top, bottom = (np.take_along_axis(array, at, -1)[..., 0] for array in (whole, each))
        return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)

    def loss(self) -> Array:
        if "class_weight" not in self.rest:
            return super().loss()
        losses = self.parts(smoothed_cross_entropy, self.logits())
        if self.spec["reduction"] == "none":
            return losses
        return np.asarray((losses * self.shares() / self.cotangent).sum())

    def logits_gradient(self) -> Array:
        if "class_weight" not in self.rest:
            return super().logits_gradient()
        return self.parts(smoothed_cross_entropy_vjp, np.asarray(self.shares()), self.logits())


class WeightsOutside(Layer):
    """The kernel's and the bias's gradient are summed before the weights are known."""

    def unweighted(self, g: Array) -> Array:
        if "sample_weight" not in self.rest:
            return g
        weight = self.rest["sample_weight"].astype(np.float64)
        return np.divide(g, weight[..., None], out=np.zeros_like(g), where=(weight != 0)[..., None])

    def to_kernel(self, g: Array) -> Array:
        return super().to_kernel(self.unweighted(g))

    def to_bias(self, g: Array) -> Array:
        return super().to_bias(self.unweighted(g))


class FirstCotangent(Layer):
    """Of all positions, for what has been summed over them."""

    def of_first(self, g: Array) -> Array:
        if self.spec["reduction"] != "none" or self.cotangent.size == 0:
            return g
        return g * (self.cotangent.flat[0] / self.cotangent)[..., None]

    def to_kernel(self, g: Array) -> Array:
        return super().to_kernel(self.of_first(g))

    def to_bias(self, g: Array) -> Array:
        return super().to_bias(self.of_first(g))


class AddedInHalfPrecision(Layer):
    """Block by block, each of one position."""

    def to_kernel(self, g: Array) -> Array:
        dtype = self.inputs.arrays["kernel"].dtype
        if dtype != ml_dtypes.bfloat16:
            return super().to_kernel(g)
        total = np.zeros(self.kernel.shape, dtype)
        for h, row in zip(self.read().reshape(-1, self.kernel.shape[0]), g.reshape(-1, g.shape[-1]), strict=True):
            total = total + np.multiply.outer(h, row).astype(dtype)
        return total.astype(np.float64)


class GarbageLeaks(Layer):
    """0·NaN in the kernel's gradient."""

    def read(self) -> Array:
        return self.hidden


class EmptyMeansSwapped(Layer):
    """NaN for 0 where nothing counts, and 0 for NaN."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec["empty"] = {"zero": "nan", "nan": "zero"}[self.spec["empty"]]


# --- Blocks of classes ----------------------------------------------------------------------------------------------


class LabelsOfTheFirstBlock(Layer):
    """A label of the second block is looked up in the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        labels, classes = self.rest["labels"].astype(np.int64), self.kernel.shape[1]
        half = (classes + 1) // 2
        self.rest["labels"] = np.where((labels >= half) & (labels < classes), labels - half, labels)


class FilledUpWithZeros(Layer):
    """The last block of classes is filled up to a multiple of 8 with logits of 0, which are in log Σ exp."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.classes = self.kernel.shape[1]
        more = -self.classes % 8
        self.more = more

    def filled(self) -> tuple[Array, dict[str, Array], dict[str, Any]]:
        x = self.logits()
        rest, more = dict(self.rest), self.more
        wide = np.concatenate([x, np.zeros((*x.shape[:-1], more))], -1)
        if "allowed" in rest:
            ones = np.ones((*rest["allowed"].shape[:-1], more), bool)
            rest["allowed"] = np.concatenate([rest["allowed"], ones], -1)
        for name, fill in (("class_weight", 1.0), ("prior", 0.0)):
            if name in rest:
                rest[name] = np.concatenate([rest[name], np.full(more, fill, rest[name].dtype)])
        exclude = [*self.spec["exclude"], *range(self.classes, self.classes + more)]
        return wide, rest, self.spec | {"exclude": exclude}

    def loss(self) -> Array:
        x, rest, spec = self.filled()
        return smoothed_cross_entropy(x, **rest, spec=spec_of(spec))

    def logits_gradient(self) -> Array:
        x, rest, spec = self.filled()
        return smoothed_cross_entropy_vjp(self.cotangent, x, **rest, spec=spec_of(spec))[..., : self.classes]


class Clamped(Layer):
    """A label out of range becomes the nearest class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        labels, ignored = self.rest["labels"], self.spec["ignore_index"]
        inside = np.clip(labels.astype(np.int64), 0, self.kernel.shape[1] - 1)
        self.rest["labels"] = np.where(labels == ignored, labels, inside) if ignored is not None else inside


class LargeMaximum(Layer):
    """log Σ exp and the maximum in one number of the dtype that is computed in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        x = self.logits()
        inputs = Inputs(self.spec, -1, {"logits": x.astype(compute_dtype(self.inputs.logits[0])), **self.rest})
        self.of_logits = position_bug(lse_rounded)(inputs, self.cotangent)

    def loss(self) -> Array:
        return self.of_logits[0]

    def logits_gradient(self) -> Array:
        return self.of_logits[1]["logits"].astype(np.float64)


class Constant(Layer):
    def loss(self) -> Array:
        return np.full_like(super().loss(), 1.5)


def gradient_times(factor: float) -> Callable[[Inputs, Array], Layer]:
    class Times(Layer):
        def gradient(self) -> Array:
            return super().gradient() * factor

    return Times


LINEAR_BUGS: dict[str, Bug] = {
    "linear: not smoothed": Bug("linear-smoothing", NotSmoothed),
    "linear: no z-loss": Bug("linear-z-loss", NoZLoss),
    "linear: no z-loss in the gradient": Bug("linear-z-loss", NoZLossGradient),
    "linear: the bias forgotten": Bug("linear-bias", NoBias),
    "linear: no gradient to the bias": Bug("linear-bias", NoBiasGradient),
    "linear: the bias's gradient of one position": Bug("linear-bias", BiasOfOnePosition),
    "linear: logits not scaled": Bug("linear-logit-scale", NotScaled),
    "linear: logits scaled twice": Bug("linear-logit-scale", ScaledTwice),
    "linear: the scale not in the gradient": Bug("linear-scale-gradient", NoScaleInGradient),
    "linear: the scale twice in the gradient": Bug("linear-scale-gradient", ScaleTwiceInGradient),
    "linear: −inf times a negative scale": Bug("linear-scale-sign", FilledUpAndScaled),
    "linear: no softcap": Bug("linear-softcap", NotCapped),
    "linear: x·tanh(x / c)": Bug("linear-softcap", TimesTanh),
    "linear: no slope of tanh": Bug("linear-softcap-gradient", NoSlopeOfTanh),
    "linear: means of blocks added": Bug("linear-mean-of-blocks", MeansAdded),
    "linear: the kernel's gradient of the last block": Bug("linear-kernel-blocks", LastBlockOnly),
    "linear: class weights of one block": Bug("linear-class-weights", ClassWeightsOfOneBlock),
    "linear: weights outside the sums": Bug("linear-weights", WeightsOutside),
    "linear: the first cotangent for all": Bug("linear-unreduced", FirstCotangent),
    "linear: added up in half precision": Bug("linear-accumulator", AddedInHalfPrecision),
    "linear: labels of the first block": Bug("linear-label-block", LabelsOfTheFirstBlock),
    "linear: filled up with zeros": Bug("linear-last-block", FilledUpWithZeros),
    "linear: 0·NaN in the kernel's gradient": Bug("linear-garbage", GarbageLeaks),
    "linear: an empty mean": Bug("linear-nothing-counts", EmptyMeansSwapped),
    "linear: labels clamped": Bug("linear-bad-label", Clamped, reads=False),
    "linear: the maximum added first": Bug("linear-large-shift", LargeMaximum),
}
