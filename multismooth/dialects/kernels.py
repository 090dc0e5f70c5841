"""Fused kernels."""

from __future__ import annotations

from typing import Literal

from multismooth.dialects.table import Reduction, choose, dialect
from multismooth.spec import Spec


@dialect(
    "Liger",
    "linkedin/Liger-Kernel",
    "src/liger_kernel/transformers/cross_entropy.py",
    "0.8.5",
    executed=True,
    not_expressed="the z-loss beside class weights, which is divided by n; softcap; the logits overwritten",
)
def liger(
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    lse_square_scale: float = 0.0,
    reduction: Reduction = "mean",
) -> Spec:
    """``LigerCrossEntropyLoss``.

    As ``torch``, class weights included, plus lse_square_scale·lse²; 0 when nothing counts.
    """
    return Spec(
        label_smoothing,
        z_loss=lse_square_scale,
        ignore_index=ignore_index,
        reduction=reduction,
        denominator="class_weights",
    )


@dialect(
    "flash-attention",
    "Dao-AILab/flash-attention",
    "flash_attn/losses/cross_entropy.py",
    "2.8.3",
    executed=True,
    not_expressed="logit_scale; a label out of range has loss 0 and a gradient",
)
def flash_attention(
    label_smoothing: float = 0.0,
    ignore_index: int | None = -100,
    lse_square_scale: float = 0.0,
    reduction: Reduction = "mean",
) -> Spec:
    """``flash_attn.losses.cross_entropy.CrossEntropyLoss``.

    q = (1 − ε)·e_y + ε/K, plus lse_square_scale·lse². Mean over n; NaN when n = 0.
    """
    return Spec(label_smoothing, z_loss=lse_square_scale, ignore_index=ignore_index, reduction=reduction, empty="nan")


@dialect(
    "Transformer Engine",
    "NVIDIA/TransformerEngine",
    "transformer_engine/pytorch/cross_entropy.py",
    "2.20.2",
    executed=True,
    not_expressed="float64, as it computes in float32",
)
def transformer_engine(label_smoothing: float = 0.0, reduce_loss: bool = False, ignore_idx: int | None = -100) -> Spec:
    """``parallel_cross_entropy`` of Transformer Engine.

    q = (1 − ε)·e_y + ε/K. One loss per position, or with ``reduce_loss`` the mean over n; 0 when n = 0.
    """
    return Spec(label_smoothing, ignore_index=ignore_idx, reduction="mean" if reduce_loss else "none")


@dialect(
    "apex SoftmaxCrossEntropyLoss",
    "NVIDIA/apex",
    "apex/contrib/xentropy/softmax_xentropy.py",
    "05cec60",
    not_expressed="a loss in half precision",
    smoothing="smoothing",
)
def apex(smoothing: float = 0.0, padding_idx: int = 0) -> Spec:
    """``SoftmaxCrossEntropyLoss`` of apex.

    q = (1 − ε)·e_y + ε/K. One loss per position, 0 for the label ``padding_idx``.
    """
    return Spec(smoothing, ignore_index=padding_idx, reduction="none")


@dialect(
    "Megatron-LM, one rank",
    "NVIDIA/Megatron-LM",
    "megatron/core/tensor_parallel/cross_entropy.py",
    "megatron-core 0.16.1",
    executed=True,
    not_expressed="above one rank, where K and a mean are local; at gaps of 200 between logits, where it is inf; ε = 1",
    padding="none",
)
def megatron(label_smoothing: float = 0.0) -> Spec:
    """``vocab_parallel_cross_entropy`` of Megatron-LM on one tensor-parallel rank.

    q_y = 1 − ε and q_k = ε/(K − 1). One loss per position; the caller divides by max(n, 1).
    """
    return Spec(label_smoothing, "others", reduction="none")


@dialect(
    "cut-cross-entropy",
    "apple/ml-cross-entropy",
    "cut_cross_entropy/linear_cross_entropy.py",
    "25.1.1",
    executed=True,
    not_expressed="logits that are never held; softcap; shift; the small gradients that it leaves out",
    smoothing=None,
)
def cut_cross_entropy(ignore_index: int | None = -100, reduction: Reduction = "mean") -> Spec:
    """``linear_cross_entropy`` of Apple's cut-cross-entropy, of the logits that it would make.

    q = e_y. Mean over n; NaN when n = 0.
    """
    return Spec(ignore_index=ignore_index, reduction=reduction, empty="nan")


@dialect(
    "tokamax",
    "openxla/tokamax",
    "tokamax/_src/ops/linear_softmax_cross_entropy_loss",
    "0.0.12",
    executed=True,
    not_expressed="logits that are never held",
    smoothing=None,
    padding="none",
)
def tokamax(reduction: Literal["sum", "mean"] = "sum") -> Spec:
    """``linear_softmax_cross_entropy_loss`` of tokamax, of the logits that it would make.

    q = e_y. A sum, or a mean over N; nothing is ignored.
    """
    return Spec(reduction=choose("tokamax", "reduction", reduction, {"sum": "sum", "mean": "mean"}), denominator="all")
