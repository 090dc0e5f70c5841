"""Toolkits for speech."""

from __future__ import annotations

from typing import Literal

from multismooth.dialects.table import choose, dialect
from multismooth.spec import Spec

SpeechBrainReduction = Literal["mean", "batchmean", "none"]


@dialect(
    "ESPnet",
    "espnet/espnet",
    "espnet/nets/pytorch_backend/transformer/label_smoothing_loss.py",
    "202511",
    executed=True,
    smoothing="smoothing",
)
def espnet(smoothing: float = 0.0, padding_idx: int = -1, normalize_length: bool = False) -> Spec:
    """``LabelSmoothingLoss`` of ESPnet.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). The sum is divided by B, the sequences, or with
    ``normalize_length`` by n; NaN when that is 0.
    """
    denominator = "valid" if normalize_length else "batch"
    return Spec(smoothing, "others", kl=True, ignore_index=padding_idx, denominator=denominator, empty="nan")


@dialect(
    "SpeechBrain nll_loss",
    "speechbrain/speechbrain",
    "speechbrain/nnet/losses.py",
    "1.1.2",
    executed=True,
    not_expressed='reduction "batch", a mean for each sequence',
    padding="mask",
)
def speechbrain_nll(label_smoothing: float = 0.0, reduction: SpeechBrainReduction = "mean") -> Spec:
    """``nll_loss`` of SpeechBrain, of log-probabilities; its lengths are a mask in ``where``.

    q = (1 − ε)·e_y + ε/K, and a class weight w_y multiplies the label's 1 − ε only. ``"mean"`` divides by n,
    ``"batchmean"`` by B; NaN when that is 0.
    """
    choices = {"mean": ("mean", "valid"), "batchmean": ("mean", "batch"), "none": ("none", "valid")}
    chosen, denominator = choose("speechbrain_nll", "reduction", reduction, choices)
    return Spec(label_smoothing, class_weight_rule="label_term", reduction=chosen, denominator=denominator, empty="nan")


@dialect(
    "SpeechBrain kldiv_loss",
    "speechbrain/speechbrain",
    "speechbrain/nnet/losses.py",
    "1.1.2",
    executed=True,
    not_expressed='ε = 0, where it is nll_loss; reduction "batch", a sum for each sequence',
)
def speechbrain_kldiv(label_smoothing: float = 0.0, pad_idx: int = 0, reduction: SpeechBrainReduction = "mean") -> Spec:
    """``kldiv_loss`` of SpeechBrain, of log-probabilities.

    q_y = 1 − ε and q_k = ε/(K − 1), minus the entropy H(q). ``"mean"`` is a sum, ``"batchmean"`` divides it by B.
    """
    choices = {"mean": ("sum", "valid"), "batchmean": ("mean", "batch"), "none": ("none", "valid")}
    chosen, denominator = choose("speechbrain_kldiv", "reduction", reduction, choices)
    return Spec(
        label_smoothing,
        "others",
        kl=True,
        ignore_index=pad_idx,
        reduction=chosen,
        denominator=denominator,
        empty="nan" if chosen == "mean" else "zero",
    )


@dialect(
    "NeMo",
    "NVIDIA/NeMo",
    "nemo/collections/common/losses/smoothed_cross_entropy.py",
    "3.0.0",
    executed=True,
    not_expressed="the 1e-6 that it adds to Σ s; predict_last_k",
    padding="weight",
)
def nemo(label_smoothing: float = 0.0) -> Spec:
    """``SmoothedCrossEntropyLoss`` of NeMo, of log-probabilities; its output_mask goes to ``sample_weight``.

    q_y = 1 − ε and q_k = ε/(K − 1). Mean over Σ s; 0 when it is 0.
    """
    return Spec(label_smoothing, "others", denominator="weights")
