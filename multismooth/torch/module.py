"""The loss in the place of ``torch.nn.CrossEntropyLoss``, and of an ``nn.Linear`` with one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from multismooth import dialects
from multismooth.errors import InputError
from multismooth.spec import Spec
from multismooth.torch.functional import smoothed_cross_entropy
from multismooth.torch.linear import Linear, linear_smoothed_cross_entropy


class SmoothedCrossEntropy(nn.Module):
    """``torch.nn.CrossEntropyLoss``, defaults included: ``criterion(logits, labels)``.

    Integer labels give ``dialects.torch``: with ε = ``label_smoothing`` and q = (1 − ε)·e_y + ε/K,

        loss = Σ_i Σ_k w_k·q_ik·(−log p_ik) / Σ_i w_(y_i)        over the positions that are not ignored

    and probabilities give ``dialects.torch_probabilities``, which divides by the number of positions.

    Deliberate differences: the loss of half-precision logits is float32; ``label_smoothing`` must be in [0, 1]
    (``torch`` takes a negative one as 0); probabilities must sum to 1; a confident row's loss keeps its digits;
    ``size_average`` and ``reduce`` do not exist.

    Args:
        weight: float [K], w; a persistent buffer.
        ignore_index: label of the positions that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: ε in [0, 1].
        spec: all choices at once, such as another room's ``criterion.spec``; without the three above.

    Attributes:
        spec: the resolved choices for integer labels. This is what is ported.

    Shape:
        input: [K], [N, K] or [N, K, d1, …], the class axis second; a floating dtype.
        target: the same without the class axis, any integer dtype; or float of the input's shape.
        where, sample_weight, normalizer: as in ``smoothed_cross_entropy``.

    Raises:
        InputError: a bad argument, shape, dtype or value.

    >>> import torch
    >>> criterion = SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255)
    >>> criterion
    SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255, denominator='class_weights', empty='nan')
    >>> round(criterion(torch.zeros(2, 4, 3), torch.tensor([[0, 1, 255], [2, 3, 0]])).item(), 6)
    1.386294
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        spec: Spec | None = None,
    ) -> None:
        super().__init__()
        if spec is None:
            spec = dialects.torch(label_smoothing, ignore_index, reduction)
        elif (ignore_index, reduction, label_smoothing) != (-100, "mean", 0.0):
            raise InputError(
                "spec_and_options",
                "SmoothedCrossEntropy",
                "spec holds every choice, and another one is given beside it",
                "Put it into the spec",
            )
        self.spec = spec
        self.register_buffer("weight", weight)

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        where: Tensor | None = None,
        sample_weight: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> Tensor:
        return smoothed_cross_entropy(
            input,
            target,
            self._soft_spec() if target.is_floating_point() else self.spec,
            axis=1 if input.dim() > 1 else 0,
            where=where,
            sample_weight=sample_weight,
            class_weight=self.weight,
            normalizer=normalizer,
        )

    def _soft_spec(self) -> Spec:
        """PyTorch ignores no probabilities, and divides their mean by the number of positions."""
        spec = replace(self.spec, ignore_index=None)
        return replace(spec, denominator="all") if spec.denominator == "class_weights" else spec

    def extra_repr(self) -> str:
        return repr(self.spec)[len("Spec(") : -1]


class LinearSmoothedCrossEntropy(nn.Linear):
    """An ``nn.Linear`` with its loss: ``criterion(hidden, labels)`` in the place of ``loss(linear(hidden), labels)``.

        logits = softcap·tanh(logit_scale·(hidden·weightᵀ + bias) / softcap)

    are never held as a whole: ``linear_smoothed_cross_entropy``. ``logits(hidden)`` makes them, for inference. The
    parameters are those of ``nn.Linear``, names and shapes too, so that its state can be loaded.

    Args:
        in_features, out_features, bias, device, dtype: as ``nn.Linear`` has them; classes are its outputs.
        spec: the choices; ``dialects.torch()`` by default, which ignores the label −100.
        logit_scale: a finite number that multiplies the layer's output.
        softcap: a number > 0 that bounds the logits.

    Shape:
        hidden: [*batch, in_features]; labels: [*batch], any integer dtype, the classes last.
        where, sample_weight, class_weight, prior, allowed, normalizer: as in ``smoothed_cross_entropy``.

    Raises:
        InputError: a bad argument, shape, dtype or value.

    >>> import torch
    >>> criterion = LinearSmoothedCrossEntropy(8, 4, spec=dialects.torch(0.1))
    >>> criterion
    LinearSmoothedCrossEntropy(in_features=8, out_features=4, bias=True, spec=Spec(label_smoothing=0.1, \
ignore_index=-100, denominator='class_weights', empty='nan'))
    >>> hidden, labels = torch.randn(2, 3, 8), torch.tensor([[0, 1, -100], [2, 0, 3]])
    >>> torch.testing.assert_close(
    ...     criterion(hidden, labels),
    ...     SmoothedCrossEntropy(label_smoothing=0.1)(criterion.logits(hidden).flatten(0, 1), labels.flatten()))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        spec: Spec | None = None,
        logit_scale: float | None = None,
        softcap: float | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.spec = dialects.torch() if spec is None else spec
        self.logit_scale = logit_scale
        self.softcap = softcap

    def forward(
        self,
        hidden: Tensor,
        labels: Tensor,
        *,
        where: Tensor | None = None,
        sample_weight: Tensor | None = None,
        class_weight: Tensor | None = None,
        prior: Tensor | None = None,
        allowed: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> Tensor:
        return linear_smoothed_cross_entropy(
            hidden,
            self.weight.T,
            labels,
            self.spec,
            bias=self.bias,
            logit_scale=self.logit_scale,
            softcap=self.softcap,
            where=where,
            sample_weight=sample_weight,
            class_weight=class_weight,
            prior=prior,
            allowed=allowed,
            normalizer=normalizer,
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Of ``hidden`` [*batch, in_features], [*batch, out_features]."""
        return Linear(hidden, self.weight.T, self.bias, self.logit_scale, self.softcap).logits(super().forward(hidden))

    def extra_repr(self) -> str:
        changed = [f"{name}={getattr(self, name)}" for name in ("logit_scale", "softcap") if getattr(self, name)]
        return ", ".join([super().extra_repr(), f"spec={self.spec!r}", *changed])
