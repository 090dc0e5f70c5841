"""Libraries for translation and language models."""

from __future__ import annotations

from typing import Literal

from multismooth.dialects.table import Reduction, choose, dialect
from multismooth.spec import Spec


@dialect(
    "Hugging Face LabelSmoother",
    "huggingface/transformers",
    "src/transformers/trainer_pt_utils.py",
    "5.23.0",
    executed=True,
    not_expressed="other negative labels, which become class 0; labels shifted by one; the smoothing's sum in float32",
    smoothing="epsilon",
)
def huggingface(epsilon: float = 0.1, ignore_index: int | None = -100) -> Spec:
    """``LabelSmoother``, which the Trainer applies.

    q = (1 − ε)·e_y + ε/K. Mean over n, NaN when n = 0; num_items_in_batch is the call's ``normalizer``.
    """
    return Spec(epsilon, ignore_index=ignore_index, empty="nan")


@dialect(
    "Hugging Face ForCausalLMLoss",
    "huggingface/transformers",
    "src/transformers/loss/loss_utils.py",
    "5.23.0",
    executed=True,
    not_expressed="labels shifted by one; float64, as it computes in float32",
    smoothing=None,
)
def huggingface_causal_lm(ignore_index: int | None = -100) -> Spec:
    """``ForCausalLMLoss``, the loss of the language models themselves.

    q = e_y. Mean over n, NaN when n = 0; num_items_in_batch is the call's ``normalizer``.
    """
    return Spec(ignore_index=ignore_index, empty="nan")


@dialect(
    "fairseq, until 2021",
    "facebookresearch/fairseq",
    "fairseq/criterions/label_smoothed_cross_entropy.py",
    "4daa41b (2021-01-05)",
    executed=True,
)
def fairseq_2020(label_smoothing: float = 0.0, pad: int | None = 1, reduction: Reduction = "sum") -> Spec:
    """The criterion ``label_smoothed_cross_entropy`` before 791ab7c (2021-02-03).

    q = (1 − ε)·e_y + ε/K, and otherwise as ``fairseq``: the same ε was a weaker smoothing then.
    """
    return Spec(label_smoothing, ignore_index=pad, reduction=reduction)


@dialect(
    "fairseq",
    "facebookresearch/fairseq",
    "fairseq/criterions/label_smoothed_cross_entropy.py",
    "3d262bb (2025-09-30)",
    executed=True,
    not_expressed="ignore_prefix_size, a mask of the first tokens",
)
def fairseq(label_smoothing: float = 0.0, pad: int | None = 1, reduction: Reduction = "sum") -> Spec:
    """The criterion ``label_smoothed_cross_entropy`` since February 2021.

    q_y = 1 − ε and q_k = ε/(K − 1). A sum; the trainer divides the gradient by the tokens (``reduction="mean"``) or
    by the sentences.
    """
    return Spec(label_smoothing, "others", ignore_index=pad, reduction=reduction)


@dialect(
    "OpenNMT-py, until 2022",
    "OpenNMT/OpenNMT-py",
    "onmt/utils/loss.py",
    "01f0c70",
    executed=True,
    not_expressed="ε = 0, where it is another class",
)
def opennmt(label_smoothing: float = 0.0, ignore_index: int = 1) -> Spec:
    """``LabelSmoothingLoss`` of OpenNMT-py before December 2022.

    q_y = 1 − ε, q_k = ε/(K − 2), and 0 for the class ``ignore_index``, the padding; minus the entropy H(q). A sum;
    the trainer divides by tokens or sentences.
    """
    return Spec(label_smoothing, "others", exclude=(ignore_index,), kl=True, ignore_index=ignore_index, reduction="sum")


@dialect(
    "AllenNLP",
    "allenai/allennlp",
    "allennlp/nn/util.py",
    "2.10.1",
    executed=True,
    not_expressed="average=None, a mean for each sequence; the focal factor gamma; 1e-13 added to each divisor",
    padding="weight",
)
def allennlp(label_smoothing: float = 0.0, average: Literal["batch", "token"] = "batch") -> Spec:
    """``sequence_cross_entropy_with_logits`` of AllenNLP; its weights go to ``sample_weight``.

    q = (1 − ε)·e_y + ε/K, and a class weight, alpha there, multiplies the row. ``"token"`` divides by Σ s, ``"batch"``
    averages the means of the sequences that have any weight; 0 when there is none.
    """
    choices = {"batch": ("mean", "nonempty_sequences"), "token": ("mean", "weights")}
    reduction, denominator = choose("allennlp", "average", average, choices)
    return Spec(label_smoothing, class_weight_rule="per_label", reduction=reduction, denominator=denominator)


@dialect(
    "Marian",
    "marian-nmt/marian-dev",
    "src/layers/loss.h",
    "a7cc324",
    not_expressed="float64, as it computes in float32",
    padding="mask",
)
def marian(label_smoothing: float = 0.0, cost_type: Literal["ce-sum", "ce-mean-words", "ce-mean"] = "ce-sum") -> Spec:
    """The training cost of Marian; data weighting goes to ``sample_weight``, the batch's mask to ``where``.

    q = (1 − ε)·e_y + ε/K. ``"ce-sum"`` is a sum, ``"ce-mean-words"`` divides it by n, ``"ce-mean"`` by B.
    """
    choices = {"ce-sum": ("sum", "valid"), "ce-mean-words": ("mean", "valid"), "ce-mean": ("mean", "batch")}
    reduction, denominator = choose("marian", "cost_type", cost_type, choices)
    return Spec(label_smoothing, reduction=reduction, denominator=denominator)


@dialect(
    "Sockeye",
    "awslabs/sockeye",
    "sockeye/loss.py",
    "3.1.34",
    executed=True,
    not_expressed="Sockeye 1 and 2, on MXNet",
)
def sockeye(label_smoothing: float = 0.0, label_smoothing_impl: Literal["mxnet", "fairseq", "torch"] = "mxnet") -> Spec:
    """``CrossEntropyLoss`` of Sockeye 3. Label 0 is padding.

    q = (1 − ε)·e_y + ε/K; under ``"fairseq"`` q_y = 1 − ε and q_k = ε/(K − 1). Mean over n; NaN when n = 0.
    """
    spreads = {"mxnet": "uniform", "fairseq": "others", "torch": "uniform"}
    spread = choose("sockeye", "label_smoothing_impl", label_smoothing_impl, spreads)
    return Spec(label_smoothing, spread, ignore_index=0, empty="nan")


@dialect("GluonNLP", "dmlc/gluon-nlp", "src/gluonnlp/loss.py", "85c6855", smoothing="alpha", padding="none")
def gluonnlp(alpha: float = 0.1) -> Spec:
    """``LabelSmoothCrossEntropyLoss`` of GluonNLP.

    q = (1 − ε)·e_y + ε/K. One loss per position; mask and mean are the caller's.
    """
    return Spec(alpha, reduction="none")


@dialect(
    "T5X",
    "google-research/t5x",
    "t5x/losses.py",
    "cc342d4 (2026-04-21)",
    executed=True,
    not_expressed="sequences that are packed into one row; a target rounded to float32; NaN at ε = 1",
    padding="weight",
)
def t5x(
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    loss_normalizing_factor: Literal["NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE"]
    | None = None,
) -> Spec:
    """``compute_weighted_cross_entropy``, divided as the model's ``loss_normalizing_factor`` says.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q), plus z_loss·lse²; s multiplies all three. None: a sum.
    ``"NUM_REAL_TARGET_TOKENS"``: / Σ s, NaN when it is 0. ``"NUM_TOTAL_TARGET_TOKENS"``: / N.
    ``"AVERAGE_PER_SEQUENCE"``: the mean over the non-empty sequences of their weighted means, NaN without any. A
    constant is no choice but a number: pass it as ``normalizer`` with one of these.
    """
    if loss_normalizing_factor is None:
        return Spec(label_smoothing, "others", kl=True, z_loss=z_loss, reduction="sum")
    choices = {
        "NUM_REAL_TARGET_TOKENS": ("weights", "nan"),
        "NUM_TOTAL_TARGET_TOKENS": ("all", "zero"),
        "AVERAGE_PER_SEQUENCE": ("nonempty_sequences", "nan"),
    }
    denominator, empty = choose("t5x", "loss_normalizing_factor", loss_normalizing_factor, choices)
    return Spec(label_smoothing, "others", kl=True, z_loss=z_loss, denominator=denominator, empty=empty)


@dialect(
    "Flax WMT example",
    "google/flax",
    "examples/wmt/train.py",
    "0.12.8",
    executed=True,
    not_expressed="the mean of the devices' means, which it takes across devices",
)
def flax_wmt(label_smoothing: float = 0.0) -> Spec:
    """``compute_weighted_cross_entropy`` in Flax's translation example, as its training step divides it.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). Label 0 is padding. Mean over Σ s; NaN when it is 0.
    """
    return Spec(label_smoothing, "others", kl=True, ignore_index=0, denominator="weights", empty="nan")


@dialect(
    "tensor2tensor",
    "tensorflow/tensor2tensor",
    "tensor2tensor/layers/common_layers.py",
    "1.15.7",
    executed=True,
    not_expressed="its Gaussian smoothing",
)
def tensor2tensor(label_smoothing: float = 0.0) -> Spec:
    """``padded_cross_entropy``, the pair that it returns divided.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). Label 0 is padding. Mean over Σ s.
    """
    return Spec(label_smoothing, "others", kl=True, ignore_index=0, denominator="weights")


@dialect(
    "MaxText",
    "AI-Hypercomputer/maxtext",
    "MaxText/train.py",
    "0.2.5",
    executed=True,
    not_expressed="the 1e-8 that it adds to n",
    smoothing=None,
    padding="mask",
)
def maxtext(z_loss: float = 0.0) -> Spec:
    """The training loss of MaxText; what belongs to a segment goes to ``where``.

    q = e_y, plus z_loss·lse². Mean over n; 0 when n = 0.
    """
    return Spec(z_loss=z_loss)


@dialect(
    "KerasHub causal LM",
    "keras-team/keras-hub",
    "keras_hub/src/models/causal_lm.py",
    "0.32.0",
    executed=True,
    not_expressed="labels that pass through the loss's dtype",
    smoothing=None,
    padding="weight",
)
def keras_hub() -> Spec:
    """What KerasHub's causal language models are compiled with; padding has sample weight 0.

    q = e_y, times s. Mean over N: the padding is counted. 0 when N = 0.
    """
    return Spec(denominator="all")
