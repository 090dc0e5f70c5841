"""A cross-entropy as somebody would write it: label smoothing, an ignored label, class weights, a mean."""

import numpy as np


class BadValue(ValueError):
    """A label or a weight that the loss is not defined for."""


def cross_entropy(logits, labels, label_smoothing=0.0, ignore_index=None, class_weight=None):
    """The mean loss of labels [n] under logits [n, classes], and its gradient to the logits.

    ε is spread over all classes; the mean divides by the labels' class weights, as torch's does.
    """
    classes = logits.shape[-1]
    keep = labels != ignore_index
    x, y = logits[keep], labels[keep]
    weight = np.ones(classes, logits.dtype) if class_weight is None else class_weight
    if ((y < 0) | (y >= classes)).any():
        raise BadValue("label")
    if not ((weight >= 0) & (weight < np.inf)).all():
        raise BadValue("class weight")

    x = x - x.max(-1, keepdims=True)
    e = np.exp(x)
    sums = e.sum(-1, keepdims=True)
    q = np.full_like(x, label_smoothing / classes)
    q[np.arange(len(y)), y] += 1 - label_smoothing
    q *= weight
    total = weight[y].sum()
    gradient = np.zeros_like(logits)
    gradient[keep] = (q.sum(-1, keepdims=True) * e / sums - q) / total
    return (q * (np.log(sums) - x)).sum() / total, gradient
