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
    arguments = OPTIONAL
    gradients = ("logits", "labels", "sample_weight", "class_weight", "prior")

    def supports(self, spec: Mapping[str, Any]) -> str | None:
        return None


def spec_of(fields: Mapping[str, Any]) -> Spec:
    return Spec.from_json(json.dumps(dict(fields)))
