"""The real bug behind each flag: what went wrong in which loss, and where to read about it."""

from __future__ import annotations

PYTORCH = "https://github.com/pytorch/pytorch/issues/"
KERAS = "https://github.com/keras-team/keras/issues/"
OPTAX = "https://github.com/google-deepmind/optax/issues/"
LIGER = "https://github.com/linkedin/Liger-Kernel/issues/"
MEGATRON = "https://github.com/NVIDIA/Megatron-LM/"
TRANSFORMERS = "https://github.com/huggingface/transformers/issues/"
SMP = "https://github.com/qubvel-org/segmentation_models.pytorch/blob/main"
CLASSY_VISION = "https://github.com/facebookresearch/ClassyVision/blob/main"

FLAGS: dict[str, tuple[str, str]] = {
    "ignored-leaks": (
        "torch's cross_entropy added the smoothing part of ignored positions to the mean.",
        PYTORCH + "73205",
    ),
    "nothing-counts": (
        "With every position ignored, torch's mean is 0/0 = NaN and poisons the weights.",
        PYTORCH + "70348",
    ),
    "half-overflow": (
        "In float16 the sum of −log p over the classes overflows to inf inside the smoothing term.",
        PYTORCH + "85791",
    ),
    "class-weight-rules": (
        "Index and probability targets of one loss give different answers under class weights.",
        PYTORCH + "104776",
    ),
    "class-weight-smoothing": (
        "Class weights together with smoothing gave a wrong smoothing term in a fused kernel.",
        "https://github.com/linkedin/Liger-Kernel/pull/420",
    ),
    "bad-label": (
        "Labels outside [0, K) crash the device, or pass silently with a made-up loss.",
        PYTORCH + "89369",
    ),
    "negative-label": (
        "Labels below 0 are read as indices from the end, or wrongly taken for ignored ones.",
        PYTORCH + "18014",
    ),
    "label-wraps": (
        "Labels −K..−1 wrap silently; others out of range give a NaN loss but a finite gradient.",
        OPTAX + "1185",
    ),
    "label-cast-to-half": (
        "Integer labels were cast to the loss's dtype: in bfloat16 label 257 becomes 256.",
        KERAS + "15012",
    ),
    "backends-disagree": (
        "Bad labels give an error, NaN or a number, depending on the backend.",
        KERAS + "23664",
    ),
    "narrow-label-dtype": (
        "uint8 156 compares equal to −100, int8 never reaches K, and 2**32+3 narrows to 3.",
        KERAS + "15012",
    ),
    "minus-inf-logit": (
        "A −inf logit under zero target mass made 0·inf = NaN.",
        OPTAX + "896",
    ),
    "minus-inf-smoothed": (
        "Smoothing mass on a −inf logit: the loss is +inf, and the gradient must stay finite.",
        "https://github.com/facebookresearch/pytext/pull/1698",
    ),
    "target-does-not-sum": (
        "Smoothing over a subset of the classes divided by K: the target did not sum to 1.",
        OPTAX + "1760",
    ),
    "which-formula": (
        "ε/K or ε/(K−1), on the label or not: users cannot tell which formula a loss computes.",
        "https://github.com/fastai/fastai/issues/1814",
    ),
    "local-class-count": (
        "The smoothing share was computed from the classes of one partition, not from all K.",
        MEGATRON + "issues/737",
    ),
    "log-after-softmax": (
        "log(softmax) underflows at a wide gap: the smoothed loss becomes inf.",
        MEGATRON + "pull/5522",
    ),
    "mean-of-means": (
        "Means of microbatches with uneven masks were averaged, not their sums divided once.",
        TRANSFORMERS + "34191",
    ),
    "normalizer": (
        "num_items_in_batch was not applied, or applied twice, under gradient accumulation.",
        TRANSFORMERS + "35203",
    ),
    "uneven-masks": (
        "A fixed or wrong divisor under uneven masks gives each batch another learning rate.",
        "https://github.com/pytorch/torchtitan/issues/2206",
    ),
    "unreduced-gradient": (
        "With reduction none the gradient ignored the incoming cotangent.",
        LIGER + "968",
    ),
    "compiled-differs": (
        "A loss that is silently different when compiled.",
        LIGER + "1338",
    ),
    "ignored-are-counted": (
        "Ignored positions add nothing to the sum but are counted in the divisor.",
        f"{SMP}/segmentation_models_pytorch/losses/soft_ce.py",
    ),
    "ignored-become-uniform": (
        "Rows of an ignored label became uniform targets and counted.",
        f"{CLASSY_VISION}/classy_vision/losses/label_smoothing_loss.py",
    ),
    "kl-at-full-smoothing": (
        "At ε = 1 the constant that turns cross-entropy into KL takes the log of 0 and is NaN.",
        "https://github.com/google-research/t5x/blob/main/t5x/losses.py",
    ),
    "z-loss-outside-mask": (
        "The z-loss must be masked and divided with the loss, and is never class-weighted.",
        "https://github.com/google-research/t5x/blob/main/t5x/losses.py",
    ),
    "weights-not-in-denominator": (
        "Sample weights multiply the loss but are left out of the divisor, or the other way round.",
        "https://github.com/keras-team/keras/blob/master/keras/src/losses/loss.py",
    ),
    "sequence-means": (
        "The mean over sequences of token means was taken over empty sequences too.",
        "https://github.com/allenai/allennlp/blob/main/allennlp/nn/util.py",
    ),
    "expected-class-weight": (
        "Class weights enter through Σ q·w, in the numerator and in the divisor.",
        "https://github.com/PaddlePaddle/Paddle/blob/develop/python/paddle/nn/functional/loss.py",
    ),
    "label-term-only": (
        "Class weights reach the nll term and not the smoothing term.",
        "https://github.com/fastai/fastai/blob/main/fastai/losses.py",
    ),
    "wrong-class-axis": (
        "An input with more axes than expected was reduced along the wrong one, without an error.",
        "https://github.com/huggingface/pytorch-image-models/blob/main/timm/loss/cross_entropy.py",
    ),
    "confident-row": (
        "At ε = 0 a confident row returns 0: its digits are lost in log Σ exp − x_y.",
        "https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/SoftMax.cpp",
    ),
    "large-shift": (
        "exp(x − lse) at logits near 1e4 loses four digits of the gradient.",
        "https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/SoftMax.cpp",
    ),
    "mass-below-one": (
        "A target whose mass is not 1 needs mass·softmax − q, not softmax − q.",
        "https://github.com/CoinCheung/pytorch-loss/blob/master/label_smooth.py",
    ),
    "label-cast-to-float": (
        "Class indices pass through the dtype of the logits; half precision merges neighbours.",
        KERAS + "15012",
    ),
}
