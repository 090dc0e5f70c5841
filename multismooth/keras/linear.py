"""``LinearSmoothedCrossEntropy``: a model's last dense layer with its loss, as a ``keras.layers.Layer``."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from multismooth import dialects
from multismooth.errors import InputError
from multismooth.keras.functional import linear_smoothed_cross_entropy
from multismooth.spec import Spec, as_spec


@keras.saving.register_keras_serializable(package="multismooth")
class LinearSmoothedCrossEntropy(keras.layers.Layer):
    """A ``Dense`` layer with its loss: ``layer((hidden, labels))`` in the place of ``loss(labels, dense(hidden))``.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    are never held as a whole: ``linear_smoothed_cross_entropy``. ``layer.logits(hidden)`` makes them, for inference.
    The weights are those of ``Dense``, names and shapes too.

    The loss is what the layer returns, and it is added to the model's losses: ``fit`` of a model whose inputs are the
    features and the labels needs no other. In a training loop of your own, differentiate what it returns.

    Args:
        classes: how many; the ``units`` of ``Dense``.
        spec: the choices, or ε alone; those of Keras's own losses by default.
        use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in ``Dense``.
        logit_scale: a finite number; 1 if it is None.
        softcap: a finite number > 0 that no logit exceeds, or None for no bound.
        **kwargs: name, dtype, trainable, as every layer has them.

    Shape:
        hidden: [*batch, features]. labels: [*batch] of any integer dtype. sample_weight, an optional third:
        [*batch], of a floating dtype. A Keras mask of hidden tells the positions that count.

    Raises:
        InputError: a bad argument, shape, dtype or value.

    >>> import numpy as np
    >>> layer = LinearSmoothedCrossEntropy(4, spec=0.1, kernel_initializer="zeros")
    >>> round(float(layer((np.ones((2, 3), "float32"), np.array([0, 2])))), 6)
    1.386294
    >>> layer.logits(np.ones((2, 3), "float32")).shape == (2, 4)
    True
    """

    def __init__(
        self,
        classes: int,
        spec: Spec | float | None = None,
        *,
        use_bias: bool = True,
        logit_scale: float | None = None,
        softcap: float | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.spec = dialects.keras() if spec is None else as_spec(spec, type(self).__name__)
        self.use_bias = use_bias
        self.logit_scale = logit_scale
        self.softcap = softcap
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        features = input_shape[0][-1]
        self.kernel = self.add_weight(
            (features, self.classes), self.kernel_initializer, name="kernel", regularizer=self.kernel_regularizer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (self.classes,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer
            )

    def call(self, inputs: Any, mask: Any = None) -> Any:
        hidden, labels, *weight = inputs
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        kernel, bias = self._weights()
        arguments = {
            "bias": bias,
            "logit_scale": self.logit_scale,
            "softcap": self.softcap,
            "where": None if mask is None else ops.cast(mask, "bool"),
            "sample_weight": weight[0] if weight else None,
        }
        try:
            loss = linear_smoothed_cross_entropy(hidden, kernel, labels, self.spec, **arguments)
        except InputError as error:
            # Or else Keras makes another of its type, without the reason.
            error._keras_call_info_injected = True
            raise
        if self.spec.reduction != "none":
            self.add_loss(loss)
        return loss

    def logits(self, hidden: Any) -> Any:
        """Of hidden [*batch, features], which builds no layer: float [*batch, classes]."""
        kernel, bias = self._weights()
        z = ops.matmul(ops.convert_to_tensor(hidden), kernel)
        z = z if bias is None else z + bias
        x = z if self.logit_scale is None else self.logit_scale * z
        return x if self.softcap is None else self.softcap * ops.tanh(x / self.softcap)

    def _weights(self) -> tuple[Any, Any]:
        return ops.convert_to_tensor(self.kernel), None if self.bias is None else ops.convert_to_tensor(self.bias)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[1]) if self.spec.reduction == "none" else ()

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """The loss has no steps to mask."""
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "classes": self.classes,
            "spec": self.spec.to_json(),
            "use_bias": self.use_bias,
            "logit_scale": self.logit_scale,
            "softcap": self.softcap,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LinearSmoothedCrossEntropy:
        return cls(**config | {"spec": Spec.from_json(config["spec"])})
