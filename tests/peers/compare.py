"""A package's loss and gradient beside its dialect's, and what came of it as JSON."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np

from multismooth.dialects import DIALECTS
from multismooth.errors import InputError
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp
from multismooth.spec import Spec
from tests.peers.case import Case, Peer, cotangent, with_impossible_class

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
"""relative to the largest term: some tens of roundings of 1.1e-16, and of 6e-8 where a sum of 20 is in float32"""


def spec_of(case: Case) -> Spec:
    """The dialect's; where there is none, or one that no spec expresses, what the case writes down."""
    if case.dialect in DIALECTS:
        try:
            return DIALECTS[case.dialect].spec(**case.parameters)
        except InputError:
            if case.spec is None:
                raise
    assert case.spec is not None, f"there is no dialect {case.dialect}, and the case writes no spec down"
    return case.spec


def ours(case: Case, spec: Spec | None = None) -> tuple[Any, Any]:
    """The reference's loss, and its gradient times ``cotangent``; under another ``spec`` on the same arrays."""
    batch, ignored = case.batch, spec_of(case).ignore_index
    spec = spec_of(case) if spec is None else spec
    arguments: dict[str, Any] = {
        name: getattr(batch, value) if isinstance(value, str) else value for name, value in case.arguments.items()
    }
    labels = arguments.pop("labels", batch.y if ignored is None else batch.labels(ignored))
    if case.added:
        total = smoothed_cross_entropy_totals(batch.x, labels, spec, **arguments)
        arguments["normalizer"] = total.weight + case.added
    loss = smoothed_cross_entropy(batch.x, labels, spec, **arguments)
    return loss, smoothed_cross_entropy_vjp(cotangent(np.shape(loss)), batch.x, labels, spec, **arguments)


def theirs(peer: Peer, case: Case) -> tuple[Any, Any]:
    """The package's."""
    return peer.differentiate(case.theirs, case.batch)


def compared(peer: Peer, case: Case) -> dict[str, Any]:
    """Loss and gradient of both; a NaN must meet a NaN, and has no gradient to compare."""
    (loss, gradient), (their_loss, their_gradient) = ours(case), theirs(peer, case)
    assert np.shape(their_loss) == np.shape(loss), f"{case.name}: {np.shape(their_loss)} is not {np.shape(loss)}"
    result = {
        "dialect": case.dialect,
        "case": case.name,
        "parameters": dict(case.parameters),
        "spec": asdict(spec_of(case)),
        "loss": difference(their_loss, loss),
        "gradient": None if np.isnan(loss).any() else difference(their_gradient, gradient),
    }
    worst = max(result["loss"], result["gradient"] or 0)
    assert worst <= TOLERANCE[peer.precision], f"{peer.package}, {case.name}: {result}\n{their_loss}\n{loss}"
    return result


def impossible(peer: Peer) -> list[dict[str, Any]]:
    """What becomes of a logit of −inf, without smoothing and with it, in the first case of each dialect that has it."""
    found = []
    for dialect, epsilon in product(dict.fromkeys(case.dialect for case in peer.cases), (0, 0.1)):
        cases = [case for case in peer.cases if case.dialect == dialect and spec_of(case).label_smoothing == epsilon]
        if not cases:
            continue
        case = cases[0]._replace(batch=with_impossible_class())
        (loss, gradient), (their_loss, their_gradient) = ours(case), theirs(peer, case)
        same = difference(their_loss, loss) <= TOLERANCE[peer.precision]
        found.append(
            {
                "dialect": dialect,
                "ε": epsilon,
                "loss": "as the spec" if same else "NaN" if np.isnan(their_loss).any() else f"{np.max(their_loss):.4f}",
                "gradient": difference(their_gradient, gradient),
            }
        )
    return found


def difference(theirs: Any, ours: Any) -> float:
    """The largest difference over the largest number of ours; infinite where only one is NaN or infinite."""
    theirs, ours = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    finite = np.isfinite(ours)
    if not np.array_equal(theirs[~finite], ours[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    if not np.isfinite(theirs[finite]).all():
        return float("inf")
    return float(np.abs(theirs - ours)[finite].max() / (np.abs(ours[finite]).max() or 1.0))
