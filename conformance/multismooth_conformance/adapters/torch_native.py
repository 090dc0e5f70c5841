"""``torch.nn.functional.cross_entropy``, a second judge of the vectors that it can express."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.nn import functional

from multismooth import Spec
from multismooth_conformance.adapters.rooms import plain_target
from multismooth_conformance.adapters.torch_room import TorchAdapter


class TorchNativeAdapter(TorchAdapter):
    """Class axis second, one ignored label, weights per class; the loss comes in the logits' dtype."""

    name = "torch-native"
    modes = ("eager",)
    arguments = ("class_weight",)
    gradients = ("logits", "labels")
    refuses = False

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        weighted = "class_weight" in spec["given"]
        mean = (
            ("all", "valid") if spec["soft_labels"] else ("class_weights",) if weighted else ("class_weights", "valid")
        )
        if spec["reduction"] == "mean" and spec["denominator"] not in mean:
            return f"has no denominator {spec['denominator']}"
        if weighted and spec["class_weight_rule"] != "per_class":
            return f"has no rule {spec['class_weight_rule']}"
        return plain_target(spec)

    def call(self, spec: Spec, axis: int, arrays: dict[str, Any]) -> Any:
        logits, labels, weight = arrays["logits"], arrays["labels"], arrays.get("class_weight")
        if labels.is_floating_point():
            labels = labels.to(logits.dtype)
        second = min(1, logits.dim() - 1)
        return functional.cross_entropy(
            logits.movedim(axis, second),
            labels.movedim(axis, second) if labels.is_floating_point() else labels.long(),
            None if weight is None else weight.detach().to(logits.dtype),
            ignore_index=-100 if spec.ignore_index is None else spec.ignore_index,
            reduction=spec.reduction,
            label_smoothing=spec.label_smoothing,
        )

    def totals(self, inputs: Any) -> None:
        return None


ADAPTER = TorchNativeAdapter()
