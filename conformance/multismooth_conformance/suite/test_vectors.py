"""Every vector in every mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from multismooth_conformance import judge, modes
from multismooth_conformance.adapter import unsupported
from multismooth_conformance.plugin import ENTRY, Run
from multismooth_conformance.vectors import Vector

Record = Callable[[str, object], None]


def test_valid(valid: Vector, mode: str, run: Run, record_property: Record) -> None:
    """Loss and gradients are right to the bounds."""
    entry = _entry(valid, mode, record_property)
    vector = _prepared(valid, mode, run, entry)
    loss, gradients = judge.run(run.adapter, vector.inputs, vector.cotangent, modes.native(run.adapter, mode))
    assert vector.expected is not None
    assert valid.expected is not None
    entry["loss"] = vector.expected["loss"].of(loss).astype(np.float64).tolist()
    if vector is valid:
        for name in ("hidden", "kernel") if vector.inputs.linear else ("logits",):
            gradient = valid.expected["grad"][name].of(gradients[name])
            entry[f"{name}_gradient"] = gradient.astype(np.float64).tolist()
    verdict = judge.judge(vector, loss, gradients)
    entry |= {"loss_ulp": verdict.loss, "gradient": verdict.gradient}


def test_invalid(invalid: Vector, mode: str, run: Run, record_property: Record) -> None:
    """A bad value is refused by its reason; where it cannot be read, its row is NaN."""
    vector = _prepared(invalid, mode, run, _entry(invalid, mode, record_property))
    native = modes.native(run.adapter, mode)
    try:
        loss, gradients = judge.run(run.adapter, vector.inputs, vector.cotangent, native)
    except Exception as error:
        if getattr(error, "reason", None) != vector.reason:
            raise
    else:
        assert native in run.adapter.unread, f"{vector.reason} is an error in {mode}, and no error was raised"
        judge.judge_nan(vector, loss, gradients)


def _entry(vector: Vector, mode: str, record_property: Record) -> dict[str, object]:
    """The entry of this test in the report."""
    entry: dict[str, object] = {"id": vector.id, "mode": mode}
    record_property(ENTRY, entry)
    return entry


def _prepared(vector: Vector, mode: str, run: Run, entry: dict[str, object]) -> Vector:
    """What is run in this mode; a vector that is not for it, or not for the adapter, is skipped with the reason."""
    prepared = modes.prepared(vector, mode)
    reason = prepared if isinstance(prepared, str) else unsupported(run.adapter, prepared.inputs, mode)
    if vector.reason is not None and not run.adapter.refuses:
        reason = "refuses no bad values"
    if reason is not None or isinstance(prepared, str):
        entry["reason"] = reason
        pytest.skip(f"unsupported: {reason}")
    return prepared
