"""The losses in use, each as the ``Spec`` that computes the same.

A function bears a library's name, takes the library's parameters under their own names and with their own
defaults, the smoothing first, and returns a ``Spec``. Arrays are no part of it: a mask goes to ``where``, weights
of positions to ``sample_weight``, weights of classes to ``class_weight``. A bad argument is an ``InputError``, and so
is the call of a loss that no spec computes, such as ``fastai``.

In the docstrings ε is the smoothing, K the width of the logits, e_y the label's one-hot, n the positions that
count, N all positions, B the length of the first axis, s the sample weights. *Standing* tells what a page rests on:
*executed*, the library's own code was run and agreed; *from source*, it was read only. ``DIALECTS`` lists them all,
``INEXPRESSIBLE`` the losses that no spec computes.

>>> torch(0.1, ignore_index=255)
Spec(label_smoothing=0.1, ignore_index=255, denominator='class_weights', empty='nan')
"""

from multismooth.dialects.frameworks import (
    burn,
    keras,
    keras_mask,
    keras_sparse,
    keras_weighted_mean,
    mlx,
    optax,
    optax_where,
    paddle,
    tf_v1,
    tinygrad,
    torch,
    torch_probabilities,
)
from multismooth.dialects.kernels import (
    apex,
    cut_cross_entropy,
    flash_attention,
    liger,
    megatron,
    tokamax,
    transformer_engine,
)
from multismooth.dialects.language import (
    allennlp,
    fairseq,
    fairseq_2020,
    flax_wmt,
    gluonnlp,
    huggingface,
    huggingface_causal_lm,
    keras_hub,
    marian,
    maxtext,
    opennmt,
    sockeye,
    t5x,
    tensor2tensor,
)
from multismooth.dialects.speech import espnet, nemo, speechbrain_kldiv, speechbrain_nll
from multismooth.dialects.table import DIALECTS, INEXPRESSIBLE, Dialect, Inexpressible, Source
from multismooth.dialects.vision import (
    article,
    big_vision,
    classy_vision,
    classy_vision_ignored,
    fastai,
    mmpretrain,
    mmsegmentation,
    pytorch_loss,
    scenic,
    smp,
    timm,
    timm_binary,
)

__all__ = [
    "DIALECTS",
    "INEXPRESSIBLE",
    "Dialect",
    "Inexpressible",
    "Source",
    "allennlp",
    "apex",
    "article",
    "big_vision",
    "burn",
    "classy_vision",
    "classy_vision_ignored",
    "cut_cross_entropy",
    "espnet",
    "fairseq",
    "fairseq_2020",
    "fastai",
    "flash_attention",
    "flax_wmt",
    "gluonnlp",
    "huggingface",
    "huggingface_causal_lm",
    "keras",
    "keras_hub",
    "keras_mask",
    "keras_sparse",
    "keras_weighted_mean",
    "liger",
    "marian",
    "maxtext",
    "megatron",
    "mlx",
    "mmpretrain",
    "mmsegmentation",
    "nemo",
    "opennmt",
    "optax",
    "optax_where",
    "paddle",
    "pytorch_loss",
    "scenic",
    "smp",
    "sockeye",
    "speechbrain_kldiv",
    "speechbrain_nll",
    "t5x",
    "tensor2tensor",
    "tf_v1",
    "timm",
    "timm_binary",
    "tinygrad",
    "tokamax",
    "torch",
    "torch_probabilities",
    "transformer_engine",
]
