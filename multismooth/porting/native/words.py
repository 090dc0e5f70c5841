"""What the lines of ``native`` are called in each framework.

A template's braces take what stands in the parentheses. ``logits``, ``labels`` and ``classes`` are the snippet's own
names. The class axis is 1 in PyTorch and the last elsewhere; ``log_p`` and the target have it last everywhere.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """One framework's functions. Those that are named alike everywhere are ``{module}.where`` and the like."""

    imports: str
    module: str
    sum: str
    boolean: str
    label_bits: int
    """of the labels that the framework makes by default, or needs"""
    logits: str
    """their shape, as the docstring tells it"""
    across: str
    """(positions) made to meet the logits"""
    size: str
    batch: str
    number: str
    """(condition) how many are true"""
    by_sequence: str
    """(positions) summed over all axes but the first"""
    one_hot: str
    """(labels)"""
    vector: str
    """(indices) as an array of labels"""
    ones: str
    """one number per class"""
    at_label: str
    """(class weights)"""
    log_softmax: str
    lse: str
    xlogx: str
    """(target)"""
    bad_label: str
    """what the framework does with a label outside [0, K)"""
    hard: str = ""
    """the framework's own loss of class indices, for each position"""
    soft: str = ""
    """the framework's own loss of ``target``, for each position"""
    smooth: str = ""
    """(ε) the framework's own smoothing of ``hit``, if it has one"""
    any_mass: bool = False
    """whether ``soft`` is right, with its gradient, for a target that does not sum to 1"""
    divergence: str = ""
    """the framework's own divergence of ``target`` from ``log_p``, if it has one"""
    counts_in_python: bool = False
    """whether ``size`` and ``batch`` are Python's integers"""
    hard_note: str = ""
    """where ``hard`` differs from the spec"""


UNNOTICED = "Check the labels first: one outside [0, K) is not always noticed."

WORDS = {
    "torch": Words(
        imports="import torch\nfrom torch.nn import functional as F",
        module="torch",
        sum="torch.sum",
        boolean="torch.bool",
        label_bits=64,
        logits="[batch, classes, ...]",
        across="{}.unsqueeze(1)",
        size="labels.numel()",
        batch="len(labels)",
        number="torch.count_nonzero({})",
        by_sequence="({}).unsqueeze(-1).flatten(1).sum(1)",
        one_hot="F.one_hot({}, classes).to(logits.dtype)",
        vector="labels.new_tensor({})",
        ones="logits.new_ones(classes)",
        at_label="{}[labels]",
        log_softmax="F.log_softmax(logits, 1).movedim(1, -1)",
        lse="torch.logsumexp(logits, 1)",
        xlogx="torch.special.xlogy({0}, {0})",
        bad_label="A label outside [0, K) is an error of PyTorch's, on a GPU an assertion.",
        divergence='F.kl_div(log_p, target, reduction="none").sum(-1)',
        counts_in_python=True,
    ),
    "optax": Words(
        imports="import jax\nimport jax.numpy as jnp\nimport optax",
        module="jnp",
        sum="jnp.sum",
        boolean="bool",
        label_bits=32,
        logits="[batch, ..., classes]",
        across="{}[..., None]",
        size="labels.size",
        batch="labels.shape[0]",
        number="jnp.count_nonzero({})",
        by_sequence="jnp.sum({}, tuple(range(1, labels.ndim)))",
        one_hot="jax.nn.one_hot({}, classes, dtype=logits.dtype)",
        vector="jnp.array({})",
        ones="jnp.ones(classes, logits.dtype)",
        at_label="{}[labels]",
        log_softmax="jax.nn.log_softmax(logits)",
        lse="jax.nn.logsumexp(logits, -1)",
        hard="optax.softmax_cross_entropy_with_integer_labels(logits, labels)",
        soft="optax.softmax_cross_entropy(logits, target)",
        xlogx="jax.scipy.special.xlogy({0}, {0})",
        bad_label=UNNOTICED,
        smooth="optax.smooth_labels(hit, {})",
        any_mass=True,
        divergence="optax.kl_divergence(log_p, target)",
        counts_in_python=True,
    ),
    "tensorflow": Words(
        imports="import tensorflow as tf",
        module="tf",
        sum="tf.reduce_sum",
        boolean="tf.bool",
        label_bits=32,
        logits="[batch, ..., classes]",
        across="{}[..., None]",
        size="tf.size(labels, logits.dtype)",
        batch="tf.cast(tf.shape(labels)[0], logits.dtype)",
        number="tf.cast(tf.math.count_nonzero({}), logits.dtype)",
        by_sequence="tf.reduce_sum({}, list(range(1, labels.shape.rank)))",
        one_hot="tf.one_hot({}, classes, dtype=logits.dtype)",
        vector="{}",
        ones="tf.ones(classes, logits.dtype)",
        at_label="tf.gather({}, labels)",
        log_softmax="tf.nn.log_softmax(logits)",
        lse="tf.reduce_logsumexp(logits, -1)",
        hard="tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)",
        soft="tf.nn.softmax_cross_entropy_with_logits(target, logits)",
        xlogx="tf.math.xlogy({0}, {0})",
        bad_label=UNNOTICED,
    ),
    "keras": Words(
        imports="import keras\nfrom keras import ops",
        module="ops",
        sum="ops.sum",
        boolean='"bool"',
        label_bits=32,
        logits="[batch, ..., classes]",
        across="{}[..., None]",
        size="ops.cast(ops.size(labels), logits.dtype)",
        batch="ops.cast(ops.shape(labels)[0], logits.dtype)",
        number='ops.cast(ops.sum(ops.cast({}, "int32")), logits.dtype)',
        by_sequence="ops.sum({}, tuple(range(1, len(labels.shape))))",
        one_hot="ops.one_hot({}, classes, dtype=logits.dtype)",
        vector="ops.array({})",
        ones="ops.ones(classes, logits.dtype)",
        at_label="ops.take({}, labels, axis=0)",
        log_softmax="ops.log_softmax(logits)",
        lse="ops.logsumexp(logits, -1)",
        hard="keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)",
        soft="keras.losses.categorical_crossentropy(target, logits, from_logits=True)",
        xlogx="{0} * ops.log(ops.where({0} > 0, {0}, 1.0))",
        bad_label=UNNOTICED,
        hard_note="On JAX a logit of -inf gives NaN, even another class's; with 64 bits enabled the loss is float64.",
    ),
}
