"""MMSegmentation's, with the class axis second. It has no smoothing."""

from itertools import product
from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("mmsegmentation", "mmseg", "mmseg.models", "mmseg.models.losses")


class Registry:
    """In the place of MMEngine's, which only looks classes up by name."""

    def register_module(self) -> Any:
        return lambda registered: registered


absent("mmengine", "mmengine.fileio")
absent("mmseg.registry", MODELS=Registry())
from mmseg.models.losses.cross_entropy_loss import CrossEntropyLoss  # noqa: E402

FLOOR = torch.finfo(torch.float32).eps
"""added to the divisor"""


def entropy(
    ignore_index: int = -100, avg_non_ignore: bool = False, reduction: str = "mean", weighted: bool = False
) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = CrossEntropyLoss(
            avg_non_ignore=avg_non_ignore, reduction=reduction, class_weight=b.w.tolist() if weighted else None
        )
        return call(x.mT, torch.tensor(b.labels(ignore_index)), ignore_index=ignore_index)

    return loss


def says(ignore_index: int, avg_non_ignore: bool, reduction: str = "mean") -> Spec:
    denominator = "valid" if avg_non_ignore else "all"
    return Spec(ignore_index=ignore_index, reduction=reduction, denominator=denominator)


CASES = []
for ignore_index, avg_non_ignore, reduction in product((-100, PAD), (False, True), ("mean", "sum", "none")):
    CASES.append(
        Case(
            "mmsegmentation",
            f"{reduction}, {ignore_index} is ignored, / {'n' if avg_non_ignore else 'N'}",
            entropy(ignore_index, avg_non_ignore, reduction),
            {"ignore_index": ignore_index, "avg_non_ignore": avg_non_ignore, "reduction": reduction},
            spec=says(ignore_index, avg_non_ignore, reduction),
            added=FLOOR * (reduction == "mean"),
        )
    )
for name, batch in {"nothing counts": NOTHING, "a gap of 200": with_gap()}.items():
    options = {"avg_non_ignore": True}
    theirs, spec = entropy(avg_non_ignore=True), says(-100, True)
    CASES.append(Case("mmsegmentation", f"{name}, / n", theirs, options, {}, batch, spec, FLOOR))


def weights_in_the_mean() -> str:
    x = torch.tensor(BATCH.x)
    labels = torch.tensor(BATCH.labels(PAD))
    w = torch.tensor(BATCH.w)
    each = torch.nn.functional.cross_entropy(x.mT, labels, w, ignore_index=PAD, reduction="none").sum()
    shown = []
    for avg_non_ignore, counted in ((False, labels >= 0), (True, labels != PAD)):
        mean = float(entropy(PAD, avg_non_ignore, weighted=True)(x, BATCH))
        assert abs(mean - float(each / w[labels][counted].sum())) < 1e-6
        shown.append(f"{mean:.6f}")
    return f"{shown[0]}, where the weight of the ignored label counts, and {shown[1]} with avg_non_ignore"


def weights_and_the_default() -> str:
    try:
        entropy(weighted=True)(torch.tensor(BATCH.x), BATCH)
    except IndexError as error:
        return f"IndexError: {error}"
    raise AssertionError("it does not fail")


PEER = Peer(
    "mmsegmentation",
    "mmseg.models.losses.CrossEntropyLoss",
    torch_in("float64"),
    CASES,
    [
        Fact("with class weights the mean divides by Σ w_y, not by N", weights_in_the_mean),
        Fact("class weights and an ignored label that is no class are an error", weights_and_the_default),
    ],
)
