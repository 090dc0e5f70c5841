"""The real bug behind each flag: what went wrong in which loss, and where to read about it."""

from __future__ import annotations

from typing import NamedTuple

APPLE = "https://github.com/apple/ml-cross-entropy/"
BURN = "https://github.com/tracel-ai/burn/"
KERAS = "https://github.com/keras-team/keras/"
LIGER = "https://github.com/linkedin/Liger-Kernel/"
LINEAR_LOSS = "https://github.com/unslothai/unsloth-zoo/"
MEGATRON = "https://github.com/NVIDIA/Megatron-LM/"
OPTAX = "https://github.com/google-deepmind/optax/"
PYTORCH = "https://github.com/pytorch/pytorch/"
T5X = "https://github.com/google-research/t5x/blob/main/t5x/losses.py"
TENSORFLOW = "https://github.com/tensorflow/tensorflow/"
TRANSFORMERS = "https://github.com/huggingface/transformers/"


class Flag(NamedTuple):
    """What a loss got wrong, in a sentence, and the report, the change or the source that shows it."""

    bug: str
    link: str


FLAGS: dict[str, Flag] = {
    # what the target is
    "which-formula": Flag(
        "ε/K or ε/(K−1), on the label or not, or no smoothing at all: users cannot tell what a loss computes.",
        "https://github.com/fastai/fastai/pull/1814",
    ),
    "target-does-not-sum": Flag(
        "Smoothing over a subset of the classes divided by K: the target did not sum to 1.",
        OPTAX + "issues/1760",
    ),
    "pad-column": Flag(
        "ε was shared among K − 2 classes, whatever was excluded, and −100 excluded a class from the end.",
        "https://github.com/OpenNMT/OpenNMT-py/issues/1463",
    ),
    "padded-classes": Flag(
        "Columns beyond the vocabulary, there to fill a tile, were taken for classes.",
        APPLE + "pull/59",
    ),
    "local-class-count": Flag(
        "The smoothing share was computed from the classes of one partition, not from all K.",
        MEGATRON + "issues/7464",
    ),
    "mass-below-one": Flag(
        "A target whose mass is not 1 needs mass·softmax − q, not softmax − q.",
        "https://github.com/CoinCheung/pytorch-loss/blob/master/label_smooth.py",
    ),
    "kl-or-cross-entropy": Flag(
        "One smoothed loss is a cross-entropy, another a Kullback-Leibler divergence: the target's entropy apart.",
        "https://github.com/232525/PureT/issues/23",
    ),
    "kl-at-full-smoothing": Flag(
        "At ε = 1 the constant that turns cross-entropy into KL takes the log of 0 and is NaN.",
        T5X,
    ),
    "entropy-of-masked": Flag(
        "The target's entropy was subtracted for padded positions too.",
        "https://github.com/eladhoffer/utils.pytorch/issues/4",
    ),
    "soft-labels-smoothed": Flag(
        "Soft labels were smoothed twice, by what mixed them and by the loss, or not at all.",
        "https://github.com/keras-team/keras-cv/pull/70",
    ),
    "bad-soft-label": Flag(
        "Soft labels that do not sum to 1 pass silently: a row of zeros has the gradient softmax.",
        TENSORFLOW + "issues/60314",
    ),
    # what counts
    "ignored-leaks": Flag(
        "torch's cross_entropy added the smoothing part of ignored positions to the mean.",
        PYTORCH + "issues/73205",
    ),
    "nan-under-mask": Flag(
        "A NaN that is masked out by a product makes the result NaN: 0·NaN.",
        PYTORCH + "issues/23156",
    ),
    "zero-weight": Flag(
        "A sample weight of 0 did not silence its position: the loss became NaN.",
        KERAS + "issues/13113",
    ),
    "inverted-mask": Flag(
        "The padding was kept, and everything else was set to 0.",
        "https://github.com/awslabs/sockeye/issues/200",
    ),
    "ignored-become-uniform": Flag(
        "Rows of an ignored label became uniform targets and counted.",
        "https://github.com/facebookresearch/ClassyVision/blob/main/classy_vision/losses/label_smoothing_loss.py",
    ),
    "ignored-label-lookup": Flag(
        "An ignored label outside [0, K) was looked up all the same: the loss became NaN.",
        "https://github.com/keras-team/tf-keras/issues/734",
    ),
    "class-zero-ignored": Flag(
        "Class 0 was taken for padding although it is a class.",
        "https://github.com/lucidrains/parti-pytorch/issues/8",
    ),
    "compiled-differs": Flag(
        "Compiled, the loss held uninitialised memory at ignored positions.",
        LIGER + "pull/1338",
    ),
    # what the mean divides by
    "nothing-counts": Flag(
        "With every position ignored, torch's mean is 0/0 = NaN and poisons the weights.",
        PYTORCH + "issues/70348",
    ),
    "ignored-are-counted": Flag(
        "Ignored positions add nothing to the sum but are counted in the divisor.",
        BURN + "issues/5568",
    ),
    "mean-of-means": Flag(
        "Means of microbatches with uneven masks were averaged, not their sums divided once.",
        TRANSFORMERS + "issues/34191",
    ),
    "uneven-masks": Flag(
        "A divisor that does not follow the mask gives each batch another learning rate.",
        "https://github.com/pytorch/torchtitan/pull/2206",
    ),
    "normalizer": Flag(
        "num_items_in_batch was not applied, or applied twice, under gradient accumulation.",
        TRANSFORMERS + "issues/35203",
    ),
    "sequence-means": Flag(
        "The mean over sequences of token means was taken over empty sequences too.",
        "https://github.com/allenai/allennlp/blob/main/allennlp/nn/util.py",
    ),
    "padded-length": Flag(
        "A sequence's mean was taken over its padded length.",
        "https://github.com/d2l-ai/d2l-en/issues/2076",
    ),
    "floor-in-denominator": Flag(
        "What keeps the divisor from 0, such as 1e-5 more or a floor of 1, changes every small divisor.",
        "https://github.com/google-research/bert/blob/master/run_pretraining.py",
    ),
    "two-denominators": Flag(
        "The label's term was divided by the positions that count, and the smoothing term by all of them.",
        "https://github.com/fastai/fastai/blob/main/fastai/losses.py",
    ),
    # weights
    "weights-dropped": Flag(
        "Sample weights were accepted and then discarded.",
        "https://github.com/modelscope/ms-swift/pull/10100",
    ),
    "weights-not-in-denominator": Flag(
        "Sample weights multiply the loss but are left out of the divisor, or the other way round.",
        KERAS + "blob/master/keras/src/losses/loss.py",
    ),
    "class-weight-rules": Flag(
        "Index and probability targets of one loss give different answers under class weights.",
        PYTORCH + "issues/104776",
    ),
    "class-weight-smoothing": Flag(
        "Class weights together with smoothing gave a wrong smoothing term in a fused kernel.",
        LIGER + "pull/420",
    ),
    "class-weight-denominator": Flag(
        "Under class weights the mean divides by Σ w_y with indices, and by the positions with one-hot labels.",
        PYTORCH + "issues/107680",
    ),
    "ignored-class-weight": Flag(
        "The class weights of ignored labels stayed in the divisor.",
        PYTORCH + "pull/69511",
    ),
    "expected-class-weight": Flag(
        "Class weights enter through Σ q·w, in the numerator and in the divisor.",
        "https://github.com/PaddlePaddle/Paddle/blob/develop/python/paddle/nn/functional/loss.py",
    ),
    "label-term-only": Flag(
        "Class weights reach the nll term and not the smoothing term.",
        "https://github.com/fastai/fastai/blob/main/fastai/losses.py",
    ),
    "bad-weight": Flag(
        "Negative weights are accepted, and the derivative is wrong.",
        PYTORCH + "issues/64256",
    ),
    "z-loss-outside-mask": Flag(
        "The z-loss must be masked and divided with the loss, and is never class-weighted.",
        T5X,
    ),
    # labels
    "bad-label": Flag(
        "Labels outside [0, K) crash the device, or pass silently with a made-up loss.",
        PYTORCH + "issues/89369",
    ),
    "negative-label": Flag(
        "Labels below 0 are read as indices from the end, or wrongly taken for ignored ones.",
        PYTORCH + "issues/18014",
    ),
    "label-wraps": Flag(
        "Labels −K..−1 wrap silently; others out of range give a NaN loss but a finite gradient.",
        OPTAX + "issues/1185",
    ),
    "backends-disagree": Flag(
        "Bad labels give an error, NaN or a number, depending on the backend.",
        KERAS + "issues/23664",
    ),
    "label-cast-to-half": Flag(
        "Integer labels were cast to the loss's dtype: in bfloat16 label 257 becomes 256.",
        KERAS + "issues/15012",
    ),
    "label-cast-to-float16": Flag(
        "Under mixed precision labels from 2,049 on became their neighbours, and the last ones infinite.",
        TRANSFORMERS + "issues/12898",
    ),
    "label-cast-to-float": Flag(
        "Class indices passed through the dtype of the logits.",
        KERAS + "pull/15015",
    ),
    "narrow-label-dtype": Flag(
        "64-bit labels were held in an int: in a narrower integer 2**32 + 3 becomes 3, and uint8 156 becomes −100.",
        "https://github.com/PaddlePaddle/Paddle/pull/30590",
    ),
    # axes and gradients
    "wrong-class-axis": Flag(
        "An input with more axes than expected was reduced along the wrong one, without an error.",
        "https://github.com/huggingface/pytorch-image-models/blob/main/timm/loss/cross_entropy.py",
    ),
    "unreduced-gradient": Flag(
        "With reduction none the gradient ignored the incoming cotangent, or took its first entry for all.",
        LIGER + "issues/968",
    ),
    "soft-label-gradient": Flag(
        "The gradient stopped at the soft labels, and a warning was all that one saw of it.",
        TENSORFLOW + "issues/16534",
    ),
    "weight-gradient": Flag(
        "Weights have a gradient beside probabilities and none beside indices.",
        PYTORCH + "blob/main/tools/autograd/derivatives.yaml",
    ),
    "second-derivative": Flag(
        "The gradient is right, and the Hessian 0 or wrong: what the first pass saved was taken for a constant.",
        TENSORFLOW + "issues/7403",
    ),
    # numbers
    "minus-inf-logit": Flag(
        "A −inf logit under zero target mass made 0·inf = NaN.",
        OPTAX + "issues/896",
    ),
    "minus-inf-smoothed": Flag(
        "Smoothing mass on a −inf logit: the loss is +inf, and the gradient must stay finite.",
        "https://github.com/facebookresearch/pytext/pull/1698",
    ),
    "log-after-softmax": Flag(
        "log(softmax) underflows at a wide gap: the smoothed loss becomes inf.",
        MEGATRON + "pull/5522",
    ),
    "subnormal": Flag(
        "The log of a probability below the smallest normal number is −inf.",
        TENSORFLOW + "issues/62399",
    ),
    "clipped-probabilities": Flag(
        "Probabilities were clipped at 1e-7, so that no loss is above 16.1.",
        KERAS + "issues/17634",
    ),
    "clipped-maximum": Flag(
        "The maximum that is subtracted was cut off at −64: every exponential of lower logits underflows.",
        "https://github.com/PaddlePaddle/Paddle/pull/21165",
    ),
    "confident-row": Flag(
        "At ε = 0 a confident row returns 0: its digits are lost in log Σ exp − x_y.",
        PYTORCH + "blob/main/aten/src/ATen/native/SoftMax.cpp",
    ),
    "large-shift": Flag(
        "Large logits lost the loss: log Σ exp was added to their maximum before the label's was taken off.",
        PYTORCH + "issues/11752",
    ),
    "half-overflow": Flag(
        "In float16 the sum of −log p over the classes overflows to inf inside the smoothing term.",
        PYTORCH + "issues/85791",
    ),
    "half-accumulation": Flag(
        "Sums over the classes were kept in half precision: 5.88 where 7.40 is right.",
        PYTORCH + "pull/24457",
    ),
    "large-vocabulary": Flag(
        "A sum of exponentials in bfloat16 stops growing at 256: with more classes every probability is wrong.",
        "https://github.com/pytorch/executorch/pull/20090",
    ),
    "float64-through-float32": Flag(
        "A float64 loss passed through float32 on its way.",
        TENSORFLOW + "issues/48129",
    ),
    # logits that a linear layer makes
    "linear-smoothing": Flag(
        "Label smoothing was asked for, and the fused linear loss trained without it.",
        LINEAR_LOSS + "pull/930",
    ),
    "linear-z-loss": Flag(
        "A fused linear loss and the code that called it did not agree on whether the z-loss is in it.",
        "https://github.com/allenai/OLMo-core/pull/702",
    ),
    "linear-bias": Flag(
        "With a bias a fused linear loss came out far too low, and no test had seen it.",
        APPLE + "issues/52",
    ),
    "linear-logit-scale": Flag(
        "The fused path left out the factor of the logits, and models were trained against another loss.",
        "https://github.com/unslothai/unsloth/pull/11277",
    ),
    "linear-scale-gradient": Flag(
        "The factor of the logits was applied to their exponentials and not to the gradient.",
        "https://github.com/ServiceNow/Fast-LLM/issues/228",
    ),
    "linear-scale-sign": Flag(
        "A factor below 0 turned the −inf that fills up a block into +inf, and the loss into NaN.",
        "https://github.com/Dao-AILab/flash-attention/issues/1461",
    ),
    "linear-softcap": Flag(
        "The logits' bound was never switched on in the fused loss, or bounded nothing: x·tanh(x / c).",
        APPLE + "issues/48",
    ),
    "linear-softcap-gradient": Flag(
        "A bound on the logits was fused, and its gradient was in no test: the slope of tanh can be left out.",
        LIGER + "pull/423",
    ),
    "linear-mean-of-blocks": Flag(
        "The means of the blocks were added: n blocks gave n times the loss.",
        "https://github.com/NVIDIA-NeMo/Automodel/issues/3803",
    ),
    "linear-kernel-blocks": Flag(
        "The kernel's gradient is a sum over blocks, of which the first is set and every other must be added.",
        LIGER + "pull/1222",
    ),
    "linear-class-weights": Flag(
        "The loss of logits had class weights, and the fused linear loss had none.",
        LIGER + "pull/419",
    ),
    "linear-weights": Flag(
        "Weights multiply the losses, when the forward pass has already summed the kernel's gradient without them.",
        LIGER + "issues/968",
    ),
    "linear-unreduced": Flag(
        "With reduction none the gradients to kernel and bias were multiplied by the first cotangent.",
        LIGER + "pull/1298",
    ),
    "linear-accumulator": Flag(
        "The kernel's gradient was added up in half precision, block by block.",
        LIGER + "pull/830",
    ),
    "linear-label-block": Flag(
        "A label that lies in another block of classes was matched in the wrong one.",
        APPLE + "pull/59",
    ),
    "linear-last-block": Flag(
        "A vocabulary was filled up, and what filled it was in the loss: 0·−inf = NaN.",
        "https://github.com/OpenBMB/ModelCenter/issues/14",
    ),
    "linear-garbage": Flag(
        "The hidden state of a padding token was −inf, and everything became NaN.",
        "https://github.com/OpenGVLab/LLaMA-Adapter/issues/124",
    ),
    "linear-nothing-counts": Flag(
        "Chunks without a label that counts were divided by their number, 0.",
        "https://github.com/meta-pytorch/torchtune/issues/2341",
    ),
    "linear-bad-label": Flag(
        "A fused kernel has no place for an error: a label out of range gave a plausible number.",
        PYTORCH + "pull/195829",
    ),
    "linear-large-shift": Flag(
        "A fused linear loss was wrong where all logits are large: log Σ exp and their maximum were added first.",
        PYTORCH + "pull/195829",
    ),
}
