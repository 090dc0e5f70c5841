"""``identify`` on a package's loss, which it sees as a black box."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from multismooth.porting import Identification, identify
from tests.peers.case import BATCH, CLASSES, Batch, Case, Peer
from tests.peers.compare import TOLERANCE, difference, ours, spec_of, theirs

PROBED = {"mask": "where", "kept": "where", "s": "sample_weight", "weights": "sample_weight", "w": "class_weight"}
"""The arrays of a batch that a probe can choose, and what ``identify`` calls them."""


def chosen(peer: Peer) -> Iterator[Case]:
    """For each dialect the case with ε = 0.1, or without where it has none: a mean, if there is one, of most arrays."""
    for dialect in dict.fromkeys(case.dialect for case in peer.cases):
        cases = [
            case
            for case in peer.cases
            if case.dialect == dialect and case.batch is BATCH and {*case.arguments.values()} <= PROBED.keys()
        ]
        smoothed = [case for case in cases if spec_of(case).label_smoothing == 0.1]
        if cases:
            yield max(smoothed or cases, key=lambda case: (spec_of(case).reduction == "mean", len(case.arguments)))


def identified(peer: Peer, case: Case) -> dict[str, Any]:
    """The spec that is found computes what the package does; or none is found, for the reason that the peer names."""
    found = identify(black_box(peer, case), "numpy", classes=CLASSES)
    named = peer.misfits.get(case.dialect, ())
    if found.spec is None:
        assert set(named) == set(found.deviations), f"{peer.package}, {case.name}: {found}"
    else:
        assert not named, f"{peer.package}, {case.name}: {found}"
        assert _worst(peer, case, found) <= TOLERANCE[peer.precision], f"{peer.package}, {case.name}: {found}"
    return {
        "dialect": case.dialect,
        "case": case.name,
        "spec": None if found.spec is None else repr(found.spec),
        "sure": found.sure,
        "deviations": found.deviations,
    }


def _worst(peer: Peer, case: Case, found: Identification) -> float:
    names = {PROBED[array]: array for array in case.arguments.values()}
    probed = case._replace(arguments=names | ({"where": "mask"} if "where" in names else {}))
    pairs = zip(theirs(peer, case), ours(probed, found.spec), strict=True)
    return max(difference(their, our) for their, our in pairs)


def black_box(peer: Peer, case: Case) -> Callable[..., Any]:
    """The loss as ``identify`` takes one of NumPy's: it returns its value and the pullback."""

    def loss(logits: Any, labels: Any, **arrays: Any) -> Any:
        if logits.ndim != 3:
            raise ValueError("the cases have sequences")
        if peer.reads_outside and ((labels < 0) | (labels >= CLASSES)).any():
            raise ValueError("a label out of range may end the process")
        mask = arrays.get("where", np.ones(labels.shape, bool))
        weight = arrays.get("sample_weight", np.ones(labels.shape))
        class_weight = arrays.get("class_weight", np.ones(CLASSES))
        batch = Batch(logits, labels, mask, weight, class_weight, np.empty(0))
        value, _ = peer.differentiate(case.theirs, batch)
        return value, lambda g: peer.differentiate(case.theirs, batch, lambda _: np.asarray(g))[1]

    names = ("logits", "labels", *(PROBED[array] for array in case.arguments.values()))
    loss.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names])
    return loss
