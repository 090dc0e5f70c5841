"""What the adapters of the library's own rooms share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multismooth import Spec
from multismooth_conformance.adapter import OPTIONAL


class RoomAdapter:
    """Everything but the calls."""

    name = ""
    modes: tuple[str, ...] = ("eager",)
    unread: tuple[str, ...] = ()
    arguments: tuple[str, ...] = OPTIONAL
    gradients: tuple[str, ...] = ("logits", "labels", "sample_weight", "class_weight", "prior")
    refuses = True

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        return None


def spec_of(fields: Mapping[str, Any]) -> Spec:
    return Spec.from_json(json.dumps(dict(fields)))


def plain_target(spec: Mapping[str, Any]) -> str | None:
    """Why a loss that knows nothing but ε/K for every class cannot compute this, or None."""
    if spec["dtype"] in ("float16", "bfloat16"):
        return "computes in half precision"
    if spec["spread"] != "uniform" or spec["values"] is not None:
        return "spreads ε over all classes only"
    for field in ("exclude", "kl", "z_loss"):
        if spec[field]:
            return f"has no {field}"
    return "has no out_of_range='nan'" if spec["out_of_range"] == "nan" else None
