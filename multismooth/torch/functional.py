"""The loss in PyTorch."""

from __future__ import annotations

from torch import Tensor
from torch.compiler import is_compiling

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.reduction import Totals
from multismooth.spec import Spec, as_spec
from multismooth.torch import few, fused
from multismooth.torch.functions import describe, functions_for, read
from multismooth.torch.positions import positions
from multismooth.torch.visit import Call


def smoothed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    prior: Tensor | None = None,
    allowed: Tensor | None = None,
    normalizer: Tensor | float | None = None,
    inplace: bool = False,
) -> Tensor:
    """Label-smoothed, masked softmax cross-entropy, in nats.

    For a position with logits x, target q, lse = log Σ_k exp x_k and mass = Σ_k q_k,

        ℓ = mass·lse − ⟨q, x⟩ + z_loss·lse² − H,        loss = Σ_i w_i·ℓ_i / Σ_i d_i

    where the ``spec`` says what q, H (with ``kl``) and d are, and w is mask × sample weight.

    Args:
        logits: float16, bfloat16, float32 or float64 [*batch] with the classes on ``axis``.
        labels: class indices [*batch] of any integer dtype, or probabilities of a floating dtype in the logits' shape.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        axis: the class axis of the logits.
        where: bool [*batch]; the positions that count.
        sample_weight: float [*batch], ≥ 0. A weight of 0 masks the position's loss; ``where`` also uncounts it.
        class_weight: float [classes], ≥ 0; enters as ``spec.class_weight_rule`` says.
        prior: float [classes], sums to 1; who receives the smoothing, in the place of everybody alike.
        allowed: bool [classes] or the logits' shape; the classes that exist. The others take no probability.
        normalizer: a number ≥ 0 in the place of the mean's denominator, such as the count over a whole
            accumulated batch.
        inplace: let the gradient overwrite the logits, which then takes no memory of their size. For a mean or a sum
            of logits that a layer has computed, in eager mode on the CPU; where no gradient is wanted nothing is
            overwritten. The backward pass may be taken once, and of the first order; autograd raises if the logits
            are needed by the layer that made them, or are written to before.

    Returns:
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions. float64 for float64 logits, else
        float32, which is also what it is computed in, if not in float64 where that takes fewer operations or keeps
        the digits of a sum; gradients are rounded once to the logits' dtype.

    Masked positions contribute exactly 0, with a gradient of 0, whatever their logits hold. Where nothing counts the
    sum is 0 and the mean what ``spec.empty`` says. A logit of −inf under q_k > 0 gives +inf with a finite gradient; a
    row that holds +inf or NaN gives NaN. Derivatives of every
    order are exact, to logits, soft labels, sample_weight, class_weight and prior.

    Raises:
        InputError: a wrong shape, dtype or option; or a bad value where it can be read at once, in eager mode on
            the CPU; elsewhere the position's loss and gradient are NaN.
            A derivative of the derivative that is forward-mode twice, as in ``jacfwd(jacfwd(f))``, raises too.

    Take second derivatives of the uncompiled loss: ``torch.compile`` has none, and with ``allow_unused=True`` it says
    None or 0 where it should raise.

    >>> import torch
    >>> logits = torch.zeros(2, 3, 4)  # [batch, time, classes]
    >>> labels = torch.tensor([[0, 1, 3], [2, 0, 0]])
    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> smoothed_cross_entropy(logits, labels, 0.1, where=mask)
    tensor(1.3863)

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7; every edge is written
    down in ``multismooth.numpy.functional``.
    """
    call = "smoothed_cross_entropy"
    spec = as_spec(spec, call)
    if is_compiling() and not inplace:
        # Which imports PyTorch's compiler, as slow to import as PyTorch itself.
        from multismooth.torch.traced import loss_in_graph, open_number

        if normalizer is not None:
            normalizer = open_number(normalizer, logits)
        arrays = (logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
        if (loss := loss_in_graph(call, spec, axis, arrays)) is not None:
            return loss
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)
    applies = fused.applies(batch)
    check_call = checks.check_call_once if applies else checks.check_call
    layout = check_call(call, spec, batch, axis, describe)
    good = None if is_compiling() else checks.check_values(call, spec, batch, layout, read)
    if inplace:
        fused.check_inplace(spec, batch, applies)
    if applies:
        if good is not None and not inplace and (loss := few.loss(spec, logits, good, layout)) is not None:
            return loss
        return fused.loss(Call(spec, layout, good is not None), batch, good, inplace=inplace)
    at = positions(spec, batch, layout, good is not None, totals=False)
    return reduction.reduce(spec, at, batch.normalizer, functions_for(at.loss))


def smoothed_cross_entropy_totals(
    logits: Tensor,
    labels: Tensor,
    spec: Spec | float = Spec(),
    *,
    axis: int = -1,
    where: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    prior: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Totals:
    """The sums that the mean of ``smoothed_cross_entropy`` is made of, which add up over parts of a batch.

    The arguments are those of ``smoothed_cross_entropy``, without a normalizer; ``spec.reduction`` plays no part. Add
    the totals of microbatches, devices or hosts, then call ``mean(spec)`` once.

    Returns:
        ``Totals(loss, weight, nll, z_loss)``, four scalars.

    Raises:
        InputError: as in ``smoothed_cross_entropy``.

    >>> import torch
    >>> parts = [smoothed_cross_entropy_totals(torch.zeros(n, 4), torch.arange(n)) for n in (1, 3)]
    >>> sum(parts).mean(Spec())
    tensor(1.3863)
    """
    call = "smoothed_cross_entropy_totals"
    spec = as_spec(spec, call)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed)
    layout = checks.check_call(call, spec, batch, axis, describe, totals=True)
    good = not is_compiling() and checks.check_values(call, spec, batch, layout, read) is not None
    if fused.applies(batch):
        return fused.totals(Call(spec, layout, good), batch)
    at = positions(spec, batch, layout, good, totals=True)
    return reduction.totals(spec, at, functions_for(at.loss))
