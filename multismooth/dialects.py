"""The losses in use, each as the ``Spec`` that computes the same.

A function bears a library's name, takes the library's parameters under their own names and with their own
defaults, the smoothing first, and returns a ``Spec``. Arrays are no part of it: a mask goes to ``where``, weights
of positions to ``sample_weight``, weights of classes to ``class_weight``. A bad argument is an ``InputError``.

In the docstrings ε is the smoothing, K the width of the logits, e_y the label's one-hot, n the positions that
count, N all positions, B the length of the first axis, s the sample weights. *Standing* tells what a page rests on:
*executed*, the library's own code was run and agreed; *from source*, it was read only. ``DIALECTS`` lists them all.

>>> torch(0.1, ignore_index=255)
Spec(label_smoothing=0.1, ignore_index=255, denominator='class_weights', empty='nan')
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from multismooth.errors import InputError
from multismooth.spec import Spec


def article(
    lb_pos: float = 0.9, lb_neg: float = 0.005, ignore_index: int | None = 255, reduction: str = "mean"
) -> Spec:
    """``LabelSmoothSoftmaxCE``, the loss of an article on segmentation from 2019.

    q_y = lb_pos and q_k = lb_neg for every other class, whatever K is: the mass is 1 at K = 21 only. Mean over n; NaN
    when n = 0. Not expressed: it overwrites the ignored labels in the caller's tensor.

    Source: CoinCheung/pytorch-loss, label_smooth.py, 09ddc7f (2019-04-22), where ignore_index is lb_ignore.
    Standing: executed.
    """
    return Spec(values=(lb_pos, lb_neg), ignore_index=ignore_index, reduction=reduction, empty="nan")


def pytorch_loss(lb_smooth: float = 0.1, reduction: str = "mean", ignore_index: int | None = -100) -> Spec:
    """``LabelSmoothSoftmaxCEV1``, ``V2`` and ``V3``, which followed the article's.

    q_y = 1 − ε and q_k = ε/K: the label's own share is lost, and the mass is 1 − ε/K. Mean over n; NaN when n = 0.
    Not expressed: it computes in float32 always.

    Source: CoinCheung/pytorch-loss, pytorch_loss/label_smooth.py, 67d0158 (2024-10-17). Standing: executed.
    """
    return Spec(lb_smooth, "leaky", ignore_index=ignore_index, reduction=reduction, empty="nan")


def torch(label_smoothing: float = 0.0, ignore_index: int | None = -100, reduction: str = "mean") -> Spec:
    """``torch.nn.functional.cross_entropy`` with class indices; ``nn.CrossEntropyLoss``.

    q = (1 − ε)·e_y + ε/K, and a class weight w_k multiplies q_k. Mean over Σ w_y of the positions that count, which
    is n without class weights; NaN when it is 0. Not expressed: ε < 0 counts as 0; a loss in half precision.

    Source: pytorch/pytorch, aten/src/ATen/native/LossNLL.cpp, 2.13.0. Standing: executed.
    """
    return Spec(
        label_smoothing, ignore_index=ignore_index, reduction=reduction, denominator="class_weights", empty="nan"
    )


def torch_probabilities(label_smoothing: float = 0.0, reduction: str = "mean") -> Spec:
    """``torch.nn.functional.cross_entropy`` with a probability for each class.

    q = (1 − ε)·t + ε/K, and a class weight w_k multiplies q_k. Nothing is ignored. Mean over N, with class weights
    too; NaN when N = 0. Not expressed: probabilities that do not sum to 1.

    Source: pytorch/pytorch, aten/src/ATen/native/LossNLL.cpp, 2.13.0. Standing: executed.
    """
    return Spec(label_smoothing, reduction=reduction, denominator="all", empty="nan")


def optax(label_smoothing: float = 0.0) -> Spec:
    """``optax.softmax_cross_entropy`` of ``optax.smooth_labels(one_hot, alpha)``.

    q = (1 − ε)·e_y + ε/K. One loss per position; mask and mean are the caller's. Not expressed: ε outside [0, 1]; its
    ``where``, which is about classes, and whose target does not sum to 1.

    Source: google-deepmind/optax, optax/losses/_classification.py, 0.2.8, where ε is alpha. Standing: executed.
    """
    return Spec(label_smoothing, reduction="none")


def keras(
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    reduction: str | None = "sum_over_batch_size",
) -> Spec:
    """``keras.losses.CategoricalCrossentropy`` and the sparse one, with ``from_logits=True``.

    q = (1 − ε)·e_y + ε/K. ``"sum_over_batch_size"`` and ``"mean"`` divide by the positions that a Keras mask and
    ``ignore_class`` leave, whatever the sample weights are: padding given as weights of 0 is counted.
    ``"mean_with_sample_weight"`` divides by Σ s. 0 when nothing counts. Not expressed: probabilities instead of
    logits, renormalised and clipped at 1e-7; labels that pass through the loss's dtype.

    Source: keras-team/keras, keras/src/losses/losses.py and loss.py, 3.15.1, whose sparse loss has no smoothing yet.
    Standing: executed.
    """
    choices = {
        "sum_over_batch_size": ("mean", "valid"),
        "mean": ("mean", "valid"),
        "mean_with_sample_weight": ("mean", "weights"),
        "sum": ("sum", "valid"),
        "none": ("none", "valid"),
    }
    chosen, denominator = _choose("keras", "reduction", "none" if reduction is None else reduction, choices)
    return Spec(label_smoothing, ignore_index=ignore_class, reduction=chosen, denominator=denominator)


def fairseq(label_smoothing: float = 0.0, pad: int | None = 1, reduction: str = "sum") -> Spec:
    """The criterion ``label_smoothed_cross_entropy`` since February 2021.

    q_y = 1 − ε and q_k = ε/(K − 1). A sum; the trainer divides the gradient by the tokens (``reduction="mean"``) or
    by the sentences. Not expressed: ``ignore_prefix_size``, a mask of the first tokens.

    Source: facebookresearch/fairseq, fairseq/criterions/label_smoothed_cross_entropy.py, 3d262bb (2025-09-30).
    Standing: executed.
    """
    return Spec(label_smoothing, "others", ignore_index=pad, reduction=reduction)


def fairseq_2020(label_smoothing: float = 0.0, pad: int | None = 1, reduction: str = "sum") -> Spec:
    """The criterion ``label_smoothed_cross_entropy`` before 791ab7c (2021-02-03).

    q = (1 − ε)·e_y + ε/K, and otherwise as ``fairseq``: the same ε was a weaker smoothing then.

    Source: facebookresearch/fairseq, fairseq/criterions/label_smoothed_cross_entropy.py, 4daa41b (2021-01-05).
    Standing: executed.
    """
    return Spec(label_smoothing, ignore_index=pad, reduction=reduction)


def t5x(label_smoothing: float = 0.0, z_loss: float = 0.0, loss_normalizing_factor: str | None = None) -> Spec:
    """``compute_weighted_cross_entropy``, divided as the model's ``loss_normalizing_factor`` says.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q), plus z_loss·lse²; s multiplies all three. None: a sum.
    ``"NUM_REAL_TARGET_TOKENS"``: / Σ s, NaN when it is 0. ``"NUM_TOTAL_TARGET_TOKENS"``: / N.
    ``"AVERAGE_PER_SEQUENCE"``: the mean over the non-empty sequences of their weighted means, NaN without any. A
    constant is no choice but a number: pass it as ``normalizer`` with one of these. Not expressed: sequences that are
    packed into one row; a target rounded to float32; NaN at ε = 1.

    Source: google-research/t5x, t5x/losses.py, cc342d4 (2026-04-21). Standing: executed.
    """
    if loss_normalizing_factor is None:
        return Spec(label_smoothing, "others", kl=True, z_loss=z_loss, reduction="sum")
    choices = {
        "NUM_REAL_TARGET_TOKENS": ("weights", "nan"),
        "NUM_TOTAL_TARGET_TOKENS": ("all", "zero"),
        "AVERAGE_PER_SEQUENCE": ("nonempty_sequences", "nan"),
    }
    denominator, empty = _choose("t5x", "loss_normalizing_factor", loss_normalizing_factor, choices)
    return Spec(label_smoothing, "others", kl=True, z_loss=z_loss, denominator=denominator, empty=empty)


def flax_wmt(label_smoothing: float = 0.0) -> Spec:
    """``compute_weighted_cross_entropy`` in Flax's translation example, as its training step divides it.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). Label 0 is padding. Mean over Σ s; NaN when it is 0. Not
    expressed: across devices it takes the mean of their means.

    Source: google/flax, examples/wmt/train.py, read in 2026. Standing: executed.
    """
    return Spec(label_smoothing, "others", kl=True, ignore_index=0, denominator="weights", empty="nan")


def tensor2tensor(label_smoothing: float = 0.0) -> Spec:
    """``padded_cross_entropy``, the pair that it returns divided.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). Label 0 is padding. Mean over Σ s. Not expressed: its
    Gaussian smoothing.

    Source: tensorflow/tensor2tensor, tensor2tensor/layers/common_layers.py, read in 2026. Standing: from source.
    """
    return Spec(label_smoothing, "others", kl=True, ignore_index=0, denominator="weights")


def big_vision(label_smoothing: float = 0.0, normalize: bool = True) -> Spec:
    """``weighted_softmax_xent``, reduced.

    q_y = 1 − ε and q_k = ε/(K − 1). Each sequence has its mean over Σ s, its sum without ``normalize``, and these are
    averaged over all B sequences, the empty ones included. Not expressed: one loss per sequence.

    Source: google-research/big_vision, big_vision/utils.py, read in 2026. Standing: executed.
    """
    return Spec(label_smoothing, "others", denominator="sequences" if normalize else "batch", empty="nan")


def huggingface(epsilon: float = 0.1, ignore_index: int | None = -100) -> Spec:
    """``LabelSmoother``, which the Trainer applies.

    q = (1 − ε)·e_y + ε/K. Mean over n, NaN when n = 0; num_items_in_batch is the call's ``normalizer``. Not
    expressed: other negative labels become class 0; labels shifted by one.

    Source: huggingface/transformers, src/transformers/trainer_pt_utils.py, read in 2026. Standing: executed.
    """
    return Spec(epsilon, ignore_index=ignore_index, empty="nan")


def timm(smoothing: float = 0.1) -> Spec:
    """``LabelSmoothingCrossEntropy``.

    q = (1 − ε)·e_y + ε/K. Nothing is ignored. Mean over N; NaN when N = 0. Not expressed: ε < 0; what it returns for
    logits of more than two axes.

    Source: huggingface/pytorch-image-models, timm/loss/cross_entropy.py, read in 2026. Standing: executed.
    """
    return Spec(smoothing, denominator="all", empty="nan")


def smp(smooth_factor: float = 0.0, ignore_index: int | None = -100, reduction: str = "mean") -> Spec:
    """``SoftCrossEntropyLoss`` of segmentation_models.pytorch.

    q = (1 − ε)·e_y + ε/K. Ignored positions have loss 0 and are counted: mean over N; NaN when N = 0. Not expressed:
    its default smooth_factor, None, with which it fails.

    Source: qubvel-org/segmentation_models.pytorch, segmentation_models_pytorch/losses/soft_ce.py, read in 2026.
    Standing: executed.
    """
    return Spec(smooth_factor, ignore_index=ignore_index, reduction=reduction, denominator="all", empty="nan")


def opennmt(label_smoothing: float = 0.0, ignore_index: int = 1) -> Spec:
    """``LabelSmoothingLoss`` of OpenNMT-py before December 2022.

    q_y = 1 − ε, q_k = ε/(K − 2), and 0 for the class ``ignore_index``, the padding; minus the entropy H(q). A sum;
    the trainer divides by tokens or sentences. Not expressed: ε = 0, where it is another class.

    Source: OpenNMT/OpenNMT-py, onmt/utils/loss.py, 01f0c70. Standing: executed.
    """
    return Spec(label_smoothing, "others", exclude=(ignore_index,), kl=True, ignore_index=ignore_index, reduction="sum")


def espnet(smoothing: float = 0.0, padding_idx: int = -1, normalize_length: bool = False) -> Spec:
    """``LabelSmoothingLoss`` of ESPnet.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). The sum is divided by B, the sequences, or with
    ``normalize_length`` by n; NaN when that is 0.

    Source: espnet/espnet, espnet/nets/pytorch_backend/transformer/label_smoothing_loss.py, read in 2026.
    Standing: executed.
    """
    denominator = "valid" if normalize_length else "batch"
    return Spec(smoothing, "others", kl=True, ignore_index=padding_idx, denominator=denominator, empty="nan")


def megatron(label_smoothing: float = 0.0) -> Spec:
    """``vocab_parallel_cross_entropy`` of Megatron-LM on one tensor-parallel rank.

    q_y = 1 − ε and q_k = ε/(K − 1). One loss per position; the caller divides by max(n, 1). Not expressed: above one
    rank, where K and a mean are local; at gaps of 200 between logits, where it is inf.

    Source: NVIDIA/Megatron-LM, megatron/core/tensor_parallel/cross_entropy.py, read in 2026. Standing: executed.
    """
    return Spec(label_smoothing, "others", reduction="none")


def flash_attention(
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    lse_square_scale: float = 0.0,
    reduction: str = "mean",
) -> Spec:
    """``flash_attn.losses.cross_entropy.CrossEntropyLoss``.

    q = (1 − ε)·e_y + ε/K, plus lse_square_scale·lse². Mean over n; NaN when n = 0. Not expressed: ``logit_scale``; a
    label out of range has loss 0 and a gradient.

    Source: Dao-AILab/flash-attention, flash_attn/losses/cross_entropy.py, read in 2026. Standing: executed.
    """
    return Spec(label_smoothing, z_loss=lse_square_scale, ignore_index=ignore_index, reduction=reduction, empty="nan")


def liger(
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    lse_square_scale: float = 0.0,
    reduction: str = "mean",
) -> Spec:
    """``LigerCrossEntropyLoss``.

    As ``torch``, class weights included, plus lse_square_scale·lse²; 0 when nothing counts. Not expressed: the z-loss
    beside class weights, which is divided by n; ``softcap``; the logits overwritten; gradients of reduction "none".

    Source: linkedin/Liger-Kernel, src/liger_kernel/transformers/cross_entropy.py, read in 2026. Standing: executed.
    """
    return Spec(
        label_smoothing,
        z_loss=lse_square_scale,
        ignore_index=ignore_index,
        reduction=reduction,
        denominator="class_weights",
    )


def paddle(label_smoothing: float = 0.0, reduction: str = "mean") -> Spec:
    """``paddle.nn.functional.cross_entropy`` with ``label_smoothing`` and no ignored label.

    q = (1 − ε)·e_y + ε/K; class weights multiply the row by Σ_k q_k·w_k. Mean over the sum of these, which is N
    without class weights; 0 when they are all 0. Not expressed: ``ignore_index`` beside smoothing.

    Source: PaddlePaddle/Paddle, python/paddle/nn/functional/loss.py, read in 2026. Standing: executed.
    """
    return Spec(
        label_smoothing, class_weight_rule="expected", reduction=reduction, denominator="expected_class_weights"
    )


def classy_vision(smoothing_param: float = 0.0, reduction: str = "mean") -> Spec:
    """``LabelSmoothingCrossEntropyLoss`` of Classy Vision.

    q_y = (1 + ε/K)/(1 + ε) and q_k = (ε/K)/(1 + ε), which is ``uniform`` with ε/(1 + ε). Mean over N; 0 when N = 0.
    Not expressed: rows of ``ignore_index``, which become uniform targets and count; its 1.2e-7 added to two divisors.

    Source: facebookresearch/ClassyVision, classy_vision/losses/label_smoothing_loss.py, 309d4f1. Standing: executed.
    """
    epsilon = Spec(smoothing_param).label_smoothing
    return Spec(epsilon / (1 + epsilon), reduction=reduction, denominator="all")


def tinygrad(label_smoothing: float = 0.0, ignore_index: int = -1, reduction: str = "mean") -> Spec:
    """``Tensor.sparse_categorical_crossentropy`` of tinygrad.

    q = (1 − ε)·e_y + ε/K. Mean over n; NaN when n = 0. An ``ignore_index`` of −1 ignores nothing. Not expressed: a
    label out of range keeps its smoothing and loses the rest.

    Source: tinygrad/tinygrad, tinygrad/mixin/__init__.py, 04a80bc. Standing: executed.
    """
    return Spec(
        label_smoothing, ignore_index=None if ignore_index == -1 else ignore_index, reduction=reduction, empty="nan"
    )


def mlx(label_smoothing: float = 0.0, reduction: str = "none") -> Spec:
    """``mlx.nn.losses.cross_entropy``.

    q = (1 − ε)·e_y + ε/K, times s. Nothing is ignored. Mean over N, with sample weights too; NaN when N = 0.

    Source: ml-explore/mlx, python/mlx/nn/losses.py, read in 2026. Standing: from source.
    """
    return Spec(label_smoothing, reduction=reduction, denominator="all", empty="nan")


def tf_v1(label_smoothing: float = 0.0, reduction: str = "weighted_sum_by_nonzero_weights") -> Spec:
    """``tf.compat.v1.losses.softmax_cross_entropy``.

    q = (1 − ε)·e_y + ε/K, times s. The default divides by the number of weights that are not 0, ``"weighted_mean"``
    by Σ s, ``"weighted_sum_over_batch_size"`` by N, ``"weighted_sum"`` and ``"none"`` by nothing; 0 when that is 0.
    Not expressed: float64, as it sums in float32.

    Source: tensorflow/tensorflow, tensorflow/python/ops/losses/losses_impl.py, 2.21.0. Standing: executed.
    """
    choices = {
        "weighted_sum_by_nonzero_weights": ("mean", "nonzero_weights"),
        "weighted_mean": ("mean", "weights"),
        "weighted_sum_over_batch_size": ("mean", "all"),
        "weighted_sum": ("sum", "valid"),
        "none": ("none", "valid"),
    }
    chosen, denominator = _choose("tf_v1", "reduction", reduction, choices)
    return Spec(label_smoothing, reduction=chosen, denominator=denominator)


def _choose(call: str, parameter: str, value: object, choices: dict[str, tuple[str, str]]) -> tuple[str, str]:
    if not isinstance(value, str) or value not in choices:
        names = ", ".join(map(repr, choices))
        raise InputError(
            f"unknown_{parameter}", f"dialects.{call}", f"{parameter} is {value!r}", f"Pass one of {names}"
        )
    return choices[value]


class Dialect(NamedTuple):
    """One row of ``DIALECTS``."""

    library: str
    """What the loss is called where it comes from."""
    spec: Callable[..., Spec]
    smoothing: str | None = "label_smoothing"
    """The parameter of ``spec`` that is ε; None where the target is given outright."""
    padding: str = "label"
    """How the library is told that a position does not count: by a ``"label"``, a ``"mask"``, a ``"weight"`` of 0,
    or not at all (``"none"``), so that the caller leaves such positions out."""

    def smoothed(self, label_smoothing: float) -> Spec:
        """The spec with this ε and the library's defaults.

        >>> DIALECTS["pytorch_loss"].smoothed(0.2) == pytorch_loss(lb_smooth=0.2)
        True
        """
        return self.spec() if self.smoothing is None else self.spec(**{self.smoothing: label_smoothing})


DIALECTS: dict[str, Dialect] = {
    dialect.spec.__name__: dialect
    for dialect in (
        Dialect("PyTorch cross_entropy", torch),
        Dialect("PyTorch, class probabilities", torch_probabilities, padding="none"),
        Dialect("optax softmax_cross_entropy", optax, padding="none"),
        Dialect("Keras CategoricalCrossentropy", keras, padding="mask"),
        Dialect("TensorFlow 1 softmax_cross_entropy", tf_v1, padding="weight"),
        Dialect("Hugging Face LabelSmoother", huggingface, "epsilon"),
        Dialect("timm LabelSmoothingCrossEntropy", timm, "smoothing", "none"),
        Dialect("segmentation_models SoftCE", smp, "smooth_factor"),
        Dialect("Liger", liger),
        Dialect("flash-attention", flash_attention),
        Dialect("PaddlePaddle cross_entropy", paddle, padding="none"),
        Dialect("MLX cross_entropy", mlx, padding="none"),
        Dialect("tinygrad", tinygrad, padding="none"),
        Dialect("fairseq, until 2021", fairseq_2020),
        Dialect("fairseq", fairseq),
        Dialect("Megatron-LM, one rank", megatron, padding="none"),
        Dialect("big_vision", big_vision, padding="weight"),
        Dialect("T5X", t5x, padding="weight"),
        Dialect("Flax WMT example", flax_wmt),
        Dialect("tensor2tensor", tensor2tensor),
        Dialect("ESPnet", espnet, "smoothing"),
        Dialect("OpenNMT-py, until 2022", opennmt),
        Dialect("Classy Vision", classy_vision, "smoothing_param", "none"),
        Dialect("pytorch-loss LabelSmoothSoftmaxCEV1", pytorch_loss, "lb_smooth"),
        Dialect("The article's LabelSmoothSoftmaxCE", article, None),
    )
}
"""Every dialect by its function's name, those of one target side by side."""
