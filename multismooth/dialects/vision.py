"""Libraries for images, and the article that this project starts from."""

from __future__ import annotations

from typing import Literal

from multismooth.dialects.table import Reduction, choose, dialect, inexpressible
from multismooth.spec import Spec


@dialect(
    "The article's LabelSmoothSoftmaxCE",
    "CoinCheung/pytorch-loss",
    "label_smooth.py",
    "09ddc7f (2019-04-22)",
    executed=True,
    not_expressed="it overwrites the ignored labels in the caller's tensor",
    smoothing=None,
)
def article(
    lb_pos: float = 0.9, lb_neg: float = 0.005, ignore_index: int | None = 255, reduction: Reduction = "mean"
) -> Spec:
    """``LabelSmoothSoftmaxCE``, the loss of an article on segmentation from 2019, where ignore_index is lb_ignore.

    q_y = lb_pos and q_k = lb_neg for every other class, whatever K is: the mass is 1 at K = 21 only. Mean over n; NaN
    when n = 0.
    """
    return Spec(values=(lb_pos, lb_neg), ignore_index=ignore_index, reduction=reduction, empty="nan")


@dialect(
    "pytorch-loss LabelSmoothSoftmaxCEV1",
    "CoinCheung/pytorch-loss",
    "pytorch_loss/label_smooth.py",
    "67d0158 (2024-10-17)",
    executed=True,
    not_expressed="float64, as it computes in float32",
    smoothing="lb_smooth",
)
def pytorch_loss(lb_smooth: float = 0.1, reduction: Reduction = "mean", ignore_index: int | None = -100) -> Spec:
    """``LabelSmoothSoftmaxCEV1``, ``V2`` and ``V3``, which followed the article's.

    q_y = 1 − ε and q_k = ε/K: the label's own share is lost, and the mass is 1 − ε/K. Mean over n; NaN when n = 0.
    """
    return Spec(lb_smooth, "leaky", ignore_index=ignore_index, reduction=reduction, empty="nan")


@dialect(
    "timm LabelSmoothingCrossEntropy",
    "huggingface/pytorch-image-models",
    "timm/loss/cross_entropy.py",
    "1.0.31",
    executed=True,
    not_expressed="ε < 0; what it returns for logits of more than two axes",
    smoothing="smoothing",
    padding="none",
)
def timm(smoothing: float = 0.1) -> Spec:
    """``LabelSmoothingCrossEntropy``.

    q = (1 − ε)·e_y + ε/K. Nothing is ignored. Mean over N; NaN when N = 0.
    """
    return Spec(smoothing, denominator="all", empty="nan")


@inexpressible(
    "timm BinaryCrossEntropy",
    "huggingface/pytorch-image-models",
    "timm/loss/binary_cross_entropy.py",
    "read in 2026",
    reason="each class has a sigmoid of its own, and there is no softmax",
    nearest="timm(smoothing)",
)
def timm_binary(smoothing: float = 0.1) -> None:
    """``BinaryCrossEntropy``: the two values of ``uniform`` as the targets of K sigmoids."""


@dialect(
    "segmentation_models SoftCE",
    "qubvel-org/segmentation_models.pytorch",
    "segmentation_models_pytorch/losses/soft_ce.py",
    "0.6.0",
    executed=True,
    not_expressed="its default smooth_factor, None, with which it fails",
    smoothing="smooth_factor",
)
def smp(smooth_factor: float = 0.0, ignore_index: int | None = -100, reduction: Reduction = "mean") -> Spec:
    """``SoftCrossEntropyLoss`` of segmentation_models.pytorch.

    q = (1 − ε)·e_y + ε/K. Ignored positions have loss 0 and are counted: mean over N; NaN when N = 0.
    """
    return Spec(smooth_factor, ignore_index=ignore_index, reduction=reduction, denominator="all", empty="nan")


@dialect(
    "mmpretrain LabelSmoothLoss",
    "open-mmlab/mmpretrain",
    "mmpretrain/models/losses/label_smooth_loss.py",
    "1.2.0",
    executed=True,
    not_expressed='mode "multi_label", which has a sigmoid for each class; loss_weight; N = 0, where it fails',
    smoothing="label_smooth_val",
    padding="none",
)
def mmpretrain(
    label_smooth_val: float, mode: Literal["original", "classy_vision"] = "original", reduction: Reduction = "mean"
) -> Spec:
    """``LabelSmoothLoss`` of mmpretrain; avg_factor is the call's ``normalizer``.

    q = (1 − ε)·e_y + ε/K, where ``"classy_vision"`` takes ε/(1 + ε) for ε; a class weight w_k multiplies q_k. Mean
    over N, with class weights too.
    """
    epsilon = Spec(label_smooth_val).label_smoothing
    choices = {"original": epsilon, "classy_vision": epsilon / (1 + epsilon)}
    return Spec(choose("mmpretrain", "mode", mode, choices), reduction=reduction, denominator="all")


@dialect(
    "mmsegmentation CrossEntropyLoss",
    "open-mmlab/mmsegmentation",
    "mmseg/models/losses/cross_entropy_loss.py",
    "1.2.2",
    executed=True,
    not_expressed="class weights, whose mean is over Σ w_y, the ignored label's included; 1.2e-7 added to the divisor",
    smoothing=None,
)
def mmsegmentation(
    ignore_index: int | None = -100, avg_non_ignore: bool = False, reduction: Reduction = "mean"
) -> Spec:
    """``CrossEntropyLoss`` of mmsegmentation; avg_factor is the call's ``normalizer``.

    q = e_y. Mean over N, the ignored positions included, or with ``avg_non_ignore`` over n; 0 when nothing counts.
    """
    denominator = "valid" if avg_non_ignore else "all"
    return Spec(ignore_index=ignore_index, reduction=reduction, denominator=denominator)


@dialect(
    "Classy Vision",
    "facebookresearch/ClassyVision",
    "classy_vision/losses/label_smoothing_loss.py",
    "0.7.0",
    executed=True,
    not_expressed="rows of ignore_index, which are classy_vision_ignored; its 1.2e-7 added to two divisors; N = 0, "
    "where it raises",
    smoothing="smoothing_param",
    padding="none",
)
def classy_vision(smoothing_param: float = 0.0, reduction: Literal["mean", "none"] = "mean") -> Spec:
    """``LabelSmoothingCrossEntropyLoss`` of Classy Vision.

    q_y = (1 + ε/K)/(1 + ε) and q_k = (ε/K)/(1 + ε), which is ``uniform`` with ε/(1 + ε). Mean over N; it has no sum.
    """
    epsilon = Spec(smoothing_param).label_smoothing
    reduction = choose("classy_vision", "reduction", reduction, {"mean": "mean", "none": "none"})
    return Spec(epsilon / (1 + epsilon), reduction=reduction, denominator="all")


@inexpressible(
    "Classy Vision, with ignored rows",
    "facebookresearch/ClassyVision",
    "classy_vision/losses/label_smoothing_loss.py",
    "309d4f1",
    reason="a row of ignore_index becomes a uniform target and counts",
    nearest="classy_vision(smoothing_param) with where=",
)
def classy_vision_ignored(smoothing_param: float = 0.0, ignore_index: int = -100) -> None:
    """``LabelSmoothingCrossEntropyLoss`` of Classy Vision on a batch that has rows of ``ignore_index``."""


@inexpressible(
    "fastai LabelSmoothingCrossEntropy",
    "fastai/fastai",
    "fastai/losses.py",
    "read in 2026",
    reason="its two terms have two denominators: the label's the n positions that count, the smoothing's all N",
    nearest="torch(label_smoothing)",
)
def fastai(eps: float = 0.1, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
    """``LabelSmoothingCrossEntropy`` of fastai: (1 − ε)·Σ m·nll/n + ε/K·Σ S/N, where S = Σ_k −log p_k."""


@dialect(
    "big_vision",
    "google-research/big_vision",
    "big_vision/utils.py",
    "read in 2026",
    executed=True,
    not_expressed="one loss per sequence",
    padding="weight",
)
def big_vision(label_smoothing: float = 0.0, normalize: bool = True) -> Spec:
    """``weighted_softmax_xent``, reduced.

    q_y = 1 − ε and q_k = ε/(K − 1). Each sequence has its mean over Σ s, its sum without ``normalize``, and these are
    averaged over all B sequences, the empty ones included.
    """
    return Spec(label_smoothing, "others", denominator="sequences" if normalize else "batch", empty="nan")


@dialect(
    "Scenic",
    "google-research/scenic",
    "scenic/model_lib/base_models/model_utils.py",
    "0820cbf",
    not_expressed="the 1e-8 that it adds to Σ s",
    padding="weight",
)
def scenic(label_smoothing: float = 0.0) -> Spec:
    """``weighted_softmax_cross_entropy`` of Scenic.

    q = (1 − ε)·e_y + ε/K, and a class weight w_k, label_weights there, multiplies q_k. Mean over Σ s, without the class
    weights; 0 when it is 0.
    """
    return Spec(label_smoothing, denominator="weights")
