"""``SmoothedCrossEntropy``: the loss as a ``keras.losses.Loss``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from multismooth import dialects
from multismooth.errors import InputError
from multismooth.keras.functional import smoothed_cross_entropy
from multismooth.spec import Spec


@keras.saving.register_keras_serializable(package="multismooth")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Keras's categorical and sparse categorical cross-entropy in one: ``loss(y_true, y_pred)``.

    Integer ``y_true`` are class indices, floating ones are probabilities in the shape of ``y_pred``. With
    ε = ``label_smoothing`` and q = (1 − ε)·y_true + ε/K,

        loss = Σ_i w_i·Σ_k q_ik·(−log p_ik) / n

    where n is the number of positions that are neither masked by Keras nor of the ``ignore_class``; sample
    weights w are not in it, unless ``reduction="mean_with_sample_weight"``.

    Deliberate differences: ``y_pred`` are logits, and ``from_logits=False`` raises; labels keep their dtype and
    are checked; ``label_smoothing`` must be in [0, 1]; half-precision logits are computed in float32, and only
    the result is cast to ``dtype``; an empty mean is 0 with a gradient of exactly 0. A bad label in ``fit`` raises
    on the torch backend, and makes the loss NaN where the step is compiled.

    Args:
        label_smoothing: ε in [0, 1].
        ignore_class: label of the positions that do not count, or None.
        axis: the class axis of ``y_pred``.
        reduction: ``"sum_over_batch_size"`` or ``"mean"``, ``"mean_with_sample_weight"``, ``"sum"``, ``"none"``.
        name, dtype: as in every Keras loss.
        from_logits: True; there is no other.
        spec: all choices at once, such as another room's ``criterion.spec``; without ``label_smoothing``,
            ``ignore_class`` and ``reduction``.

    Attributes:
        spec: the resolved choices. This is what is ported.

    Shape:
        y_pred: [*batch] with the classes on ``axis``. y_true: [*batch], or [*batch, 1], of any integer dtype; or
        probabilities like ``y_pred``. sample_weight: [*batch], or 1 on some of its axes, as Keras broadcasts it.

    Raises:
        InputError: a bad argument, shape, dtype or value.

    >>> import numpy as np
    >>> loss = SmoothedCrossEntropy(label_smoothing=0.1)
    >>> round(float(loss(np.array([0, 2]), np.zeros((2, 4), "float32"))), 6)
    1.386294
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "smoothed_cross_entropy",
        dtype: Any = None,
        *,
        from_logits: bool = True,
        spec: Spec | None = None,
    ) -> None:
        if not from_logits:
            raise InputError(
                "from_probabilities",
                "SmoothedCrossEntropy",
                "from_logits is False, and digits that a softmax has lost cannot be had back",
                "Leave out the model's last softmax, and pass its logits",
            )
        if spec is None:
            spec = dialects.keras(label_smoothing, ignore_class, reduction)
        elif (label_smoothing, ignore_class, reduction) != (0.0, None, "sum_over_batch_size"):
            raise InputError(
                "spec_and_options",
                "SmoothedCrossEntropy",
                "spec holds every choice, and another one is given beside it",
                "Put it into the spec",
            )
        super().__init__(name=name, reduction=spec.reduction, dtype=dtype)
        self.spec = spec
        self.axis = axis

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        # Not the base class's: it casts the labels to the loss's dtype, where 257 may become 256.
        mask = get_keras_mask(y_pred)
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred)
            y_true = _labels(ops.convert_to_tensor(y_true), y_pred)
            if sample_weight is not None:
                dtype = "float64" if keras.backend.standardize_dtype(y_pred.dtype) == "float64" else "float32"
                sample_weight = ops.cast(ops.convert_to_tensor(sample_weight), dtype)
                sample_weight = _expanded(sample_weight, y_pred, self.axis)
            if mask is not None:
                mask = _expanded(ops.cast(ops.convert_to_tensor(mask), "bool"), y_pred, self.axis)
            loss = smoothed_cross_entropy(
                y_pred, y_true, self.spec, axis=self.axis, where=mask, sample_weight=sample_weight
            )
            return ops.cast(loss, self.dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each position, before masks and weights of the host."""
        return smoothed_cross_entropy(y_pred, y_true, replace(self.spec, reduction="none"), axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "axis": self.axis, "spec": self.spec.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SmoothedCrossEntropy:
        return cls(**config | {"spec": Spec.from_json(config["spec"])})


def _labels(y_true: Any, y_pred: Any) -> Any:
    """Class indices in a column of their own, as Keras takes them, without it."""
    is_column = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1
    is_integer = "int" in keras.backend.standardize_dtype(y_true.dtype)
    return ops.squeeze(y_true, -1) if is_column and is_integer else y_true


def _expanded(weights: Any, y_pred: Any, axis: int) -> Any:
    """Weights or a mask as Keras takes them, one column for all, in the shape of the positions.

    What does not fit is left as it is, for the checks to refuse.
    """
    positions, static = list(ops.shape(y_pred)), list(y_pred.shape)
    del positions[axis], static[axis]
    if len(weights.shape) == len(positions) + 1 and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, -1)
    shape = tuple(weights.shape)
    fits = len(shape) == len(static) and all(n in (1, m) for n, m in zip(shape, static, strict=True))
    return ops.broadcast_to(weights, positions) if fits and 1 in shape else weights
