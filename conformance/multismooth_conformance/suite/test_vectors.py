"""Every vector in every mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from multismooth_conformance import judge
from multismooth_conformance.adapter import unsupported
from multismooth_conformance.plugin import ENTRY, Run
from multismooth_conformance.vectors import Vector

Record = Callable[[str, object], None]


def test_valid(valid: Vector, mode: str, run: Run, record_property: Record) -> None:
    """Loss and gradients are right to the bounds."""
    entry = _begin(valid, mode, run, record_property)
    loss, gradients = judge.run(run.adapter, valid.inputs, valid.cotangent, mode)
    entry["loss"] = loss.tolist()
    entry["logits_gradient"] = gradients["logits"].astype("float64").tolist()
    verdict = judge.judge(valid, loss, gradients)
    entry |= {"loss_ulp": verdict.loss, "gradient": verdict.gradient}


def test_invalid(invalid: Vector, mode: str, run: Run, record_property: Record) -> None:
    """A bad value is refused by its reason; where it cannot be read, its row is NaN."""
    _begin(invalid, mode, run, record_property)
    try:
        loss, gradients = judge.run(run.adapter, invalid.inputs, invalid.cotangent, mode)
    except Exception as error:
        if getattr(error, "reason", None) != invalid.reason:
            raise
    else:
        assert mode in run.adapter.unread, f"{invalid.reason} is an error in {mode}, and no error was raised"
        judge.judge_nan(invalid, loss, gradients)


def _begin(vector: Vector, mode: str, run: Run, record_property: Record) -> dict[str, object]:
    """The entry of this test in the report."""
    entry: dict[str, object] = {"id": vector.id, "mode": mode}
    record_property(ENTRY, entry)
    reason = unsupported(run.adapter, vector.inputs)
    if vector.reason is not None and not run.adapter.refuses:
        reason = "refuses no bad values"
    if reason is not None:
        entry["reason"] = reason
        pytest.skip(f"unsupported: {reason}")
    return entry
