"""A mean or a sum over few logits, in the fewest calls of PyTorch's, which differentiates its own log_softmax."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor

from multismooth.checks import Good, Layout
from multismooth.few import LEAST, Slopes, slopes_of
from multismooth.spec import Spec

SIZE = 2**14
"""Logits. From twice as many on, the exponentials of float64 take longer than the calls that they save."""


def loss(spec: Spec, logits: Tensor, good: Good, layout: Layout) -> Tensor | None:
    """The loss, or None for a call that needs more; ``good`` are the other arrays."""
    if logits.numel() > SIZE or logits.dtype == torch.float64:
        return None
    given = slopes_of(spec, good, layout)
    if given is None:
        return None
    rows = logits if layout.axis == logits.dim() - 1 else logits.movedim(layout.axis, -1)
    total = _total(given, rows)
    if total is None and given.idle.any():
        # Where nothing counts anything may stand.
        total = _total(given, rows.masked_fill(torch.from_numpy(given.idle), 0.0))
    return total


def _total(given: Slopes, rows: Tensor) -> Tensor | None:
    """Σ slope·log p, or None where float64 has no number or too few digits of it."""
    # Along the last axis the gradient to a row of slopes −0 is 0, whatever the cotangent's sign.
    logs = torch.log_softmax(rows, -1, dtype=torch.float64)
    if given.label is not None:
        logs = logs.gather(-1, torch.from_numpy(given.label))
        if (logs.detach().numpy() > -LEAST).any():
            return None
    total = (torch.from_numpy(given.slopes) * logs).sum()
    return total.float() if isfinite(total.item()) else None
