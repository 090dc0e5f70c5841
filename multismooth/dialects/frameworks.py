"""What frameworks bring with them."""

from __future__ import annotations

from typing import Literal

from multismooth.dialects.table import Reduction, choose, dialect, inexpressible
from multismooth.spec import Spec


@dialect(
    "PyTorch cross_entropy",
    "pytorch/pytorch",
    "aten/src/ATen/native/LossNLL.cpp",
    "2.13.0",
    executed=True,
    not_expressed="ε < 0 counts as 0; a loss in half precision; a gradient of NaN where the labels that count weigh 0",
)
def torch(label_smoothing: float = 0.0, ignore_index: int | None = -100, reduction: Reduction = "mean") -> Spec:
    """``torch.nn.functional.cross_entropy`` with class indices; ``nn.CrossEntropyLoss``.

    q = (1 − ε)·e_y + ε/K, and a class weight w_k multiplies q_k. Mean over Σ w_y of the positions that count, which
    is n without class weights; NaN when it is 0.
    """
    return Spec(
        label_smoothing, ignore_index=ignore_index, reduction=reduction, denominator="class_weights", empty="nan"
    )


@dialect(
    "PyTorch, class probabilities",
    "pytorch/pytorch",
    "aten/src/ATen/native/LossNLL.cpp",
    "2.13.0",
    executed=True,
    not_expressed="probabilities that do not sum to 1",
    padding="none",
)
def torch_probabilities(label_smoothing: float = 0.0, reduction: Reduction = "mean") -> Spec:
    """``torch.nn.functional.cross_entropy`` with a probability for each class.

    q = (1 − ε)·t + ε/K, and a class weight w_k multiplies q_k. Nothing is ignored. Mean over N, with class weights
    too; NaN when N = 0.
    """
    return Spec(label_smoothing, reduction=reduction, denominator="all", empty="nan")


@dialect(
    "optax softmax_cross_entropy",
    "google-deepmind/optax",
    "optax/losses/_classification.py",
    "0.2.8",
    executed=True,
    not_expressed="ε outside [0, 1]; its where, which is optax_where",
    padding="none",
)
def optax(label_smoothing: float = 0.0) -> Spec:
    """``optax.softmax_cross_entropy`` of ``optax.smooth_labels(one_hot, alpha)``, where ε is alpha.

    q = (1 − ε)·e_y + ε/K. One loss per position; mask and mean are the caller's.
    """
    return Spec(label_smoothing, reduction="none")


@inexpressible(
    "optax smooth_labels(where=)",
    "google-deepmind/optax",
    "optax/losses/_classification.py",
    "0.2.8",
    reason="its mask of classes leaves a target that does not sum to 1",
    nearest="optax(label_smoothing) with allowed=",
)
def optax_where(label_smoothing: float = 0.0) -> None:
    """``optax.smooth_labels`` with ``where``, which is about classes and not positions."""


KerasReduction = Literal["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none"] | None
_KERAS_REDUCTIONS = {
    "sum_over_batch_size": ("mean", "valid"),
    "mean": ("mean", "valid"),
    "mean_with_sample_weight": ("mean", "weights"),
    "sum": ("sum", "valid"),
    "none": ("none", "valid"),
}
_FROM_LOGITS = "probabilities instead of logits, renormalised and clipped at 1e-7; labels that pass through its dtype"


def _keras(call: str, label_smoothing: float, ignore_class: int | None, reduction: KerasReduction) -> Spec:
    chosen, denominator = choose(call, "reduction", "none" if reduction is None else reduction, _KERAS_REDUCTIONS)
    return Spec(label_smoothing, ignore_index=ignore_class, reduction=chosen, denominator=denominator)


@dialect(
    "Keras CategoricalCrossentropy",
    "keras-team/keras",
    "keras/src/losses/losses.py and loss.py",
    "3.15.1",
    executed=True,
    not_expressed=_FROM_LOGITS,
    padding="weight",
)
def keras(
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    reduction: KerasReduction = "sum_over_batch_size",
) -> Spec:
    """``keras.losses.CategoricalCrossentropy`` with ``from_logits=True``; padding has sample weight 0.

    q = (1 − ε)·e_y + ε/K. ``"sum_over_batch_size"`` and ``"mean"`` divide by the positions that a Keras mask and
    ``ignore_class`` leave, whatever the sample weights are: padding given as weights of 0 is counted.
    ``"mean_with_sample_weight"`` divides by Σ s. 0 when nothing counts.
    """
    return _keras("keras", label_smoothing, ignore_class, reduction)


@dialect(
    "Keras, with a Keras mask",
    "keras-team/keras",
    "keras/src/losses/loss.py",
    "3.15.1",
    executed=True,
    not_expressed=_FROM_LOGITS,
    padding="mask",
)
def keras_mask(label_smoothing: float = 0.0, reduction: KerasReduction = "sum_over_batch_size") -> Spec:
    """``keras.losses.CategoricalCrossentropy`` on logits that carry a ``_keras_mask``, which goes to ``where``.

    As ``keras``, whose mean is over n then, for the mask is in the denominator. 0 when nothing counts.
    """
    return _keras("keras_mask", label_smoothing, None, reduction)


@dialect(
    "Keras, mean_with_sample_weight",
    "keras-team/keras",
    "keras/src/losses/loss.py",
    "3.15.1",
    executed=True,
    not_expressed=_FROM_LOGITS,
    padding="weight",
)
def keras_weighted_mean(label_smoothing: float = 0.0) -> Spec:
    """``keras.losses.CategoricalCrossentropy(reduction="mean_with_sample_weight")``.

    q = (1 − ε)·e_y + ε/K. Mean over Σ s of the positions that count; 0 when it is 0.
    """
    return _keras("keras_weighted_mean", label_smoothing, None, "mean_with_sample_weight")


@dialect(
    "Keras SparseCategoricalCE",
    "keras-team/keras",
    "keras/src/losses/losses.py",
    "3.15.1",
    executed=True,
    not_expressed=_FROM_LOGITS + ", so that label 257 becomes 256 in bfloat16; the label_smoothing of later versions",
    smoothing=None,
)
def keras_sparse(ignore_class: int | None = None, reduction: KerasReduction = "sum_over_batch_size") -> Spec:
    """``keras.losses.SparseCategoricalCrossentropy`` with ``from_logits=True``.

    q = e_y. Mean over n, the positions that ``ignore_class`` and a Keras mask leave; 0 when n = 0.
    """
    return _keras("keras_sparse", 0.0, ignore_class, reduction)


@dialect(
    "TensorFlow 1 softmax_cross_entropy",
    "tensorflow/tensorflow",
    "tensorflow/python/ops/losses/losses_impl.py",
    "2.21.0",
    executed=True,
    not_expressed="float64, as it sums in float32",
    padding="weight",
)
def tf_v1(
    label_smoothing: float = 0.0,
    reduction: Literal[
        "weighted_sum_by_nonzero_weights", "weighted_mean", "weighted_sum_over_batch_size", "weighted_sum", "none"
    ] = "weighted_sum_by_nonzero_weights",
) -> Spec:
    """``tf.compat.v1.losses.softmax_cross_entropy``.

    q = (1 − ε)·e_y + ε/K, times s. The default divides by the number of weights that are not 0, ``"weighted_mean"``
    by Σ s, ``"weighted_sum_over_batch_size"`` by N, ``"weighted_sum"`` and ``"none"`` by nothing; 0 when that is 0.
    """
    choices = {
        "weighted_sum_by_nonzero_weights": ("mean", "nonzero_weights"),
        "weighted_mean": ("mean", "weights"),
        "weighted_sum_over_batch_size": ("mean", "all"),
        "weighted_sum": ("sum", "valid"),
        "none": ("none", "valid"),
    }
    chosen, denominator = choose("tf_v1", "reduction", reduction, choices)
    return Spec(label_smoothing, reduction=chosen, denominator=denominator)


@dialect(
    "MLX cross_entropy",
    "ml-explore/mlx",
    "python/mlx/nn/losses.py",
    "0.32.4",
    executed=True,
    not_expressed="N = 0, where it raises",
    padding="none",
)
def mlx(label_smoothing: float = 0.0, reduction: Reduction = "none") -> Spec:
    """``mlx.nn.losses.cross_entropy``.

    q = (1 − ε)·e_y + ε/K, times s. Nothing is ignored. Mean over N, with sample weights too.
    """
    return Spec(label_smoothing, reduction=reduction, denominator="all", empty="nan")


@dialect(
    "tinygrad",
    "tinygrad/tinygrad",
    "tinygrad/mixin/__init__.py",
    "0.14.0",
    executed=True,
    not_expressed="a label out of range keeps its smoothing and loses the rest",
    padding="none",
)
def tinygrad(label_smoothing: float = 0.0, ignore_index: int = -1, reduction: Reduction = "mean") -> Spec:
    """``Tensor.sparse_categorical_crossentropy`` of tinygrad.

    q = (1 − ε)·e_y + ε/K. Mean over n; NaN when n = 0. An ``ignore_index`` of −1 ignores nothing.
    """
    ignored = None if ignore_index == -1 else ignore_index
    return Spec(label_smoothing, ignore_index=ignored, reduction=reduction, empty="nan")


@dialect(
    "Burn CrossEntropyLoss",
    "tracel-ai/burn",
    "crates/burn-nn/src/loss/cross_entropy.rs",
    "10018cc",
    not_expressed="several pad_tokens, which a mask expresses; earlier releases, which counted them in the mean",
    smoothing="smoothing",
)
def burn(smoothing: float = 0.0, pad_tokens: int | None = None) -> Spec:
    """``CrossEntropyLoss`` of Burn.

    q = (1 − ε)·e_y + ε/K, and a class weight w_k multiplies q_k. Mean over Σ w_y of the positions that count, which is
    n without class weights; NaN when it is 0.
    """
    return Spec(smoothing, ignore_index=pad_tokens, denominator="class_weights", empty="nan")


@dialect(
    "PaddlePaddle cross_entropy",
    "PaddlePaddle/Paddle",
    "python/paddle/nn/functional/loss.py",
    "3.3.1",
    executed=True,
    not_expressed="ignore_index beside smoothing; a loss above 64 nats, which is cut there while its gradient is not; "
    "N = 0, where it is NaN",
    padding="none",
)
def paddle(label_smoothing: float = 0.0, reduction: Reduction = "mean") -> Spec:
    """``paddle.nn.functional.cross_entropy`` with ``label_smoothing`` and no ignored label.

    q = (1 − ε)·e_y + ε/K; class weights multiply the row by Σ_k q_k·w_k. Mean over the sum of these, which is N
    without class weights; 0 when they are all 0.
    """
    return Spec(
        label_smoothing, class_weight_rule="expected", reduction=reduction, denominator="expected_class_weights"
    )
