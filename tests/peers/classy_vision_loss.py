"""Classy Vision's, for logits of two axes. Its target is in float32."""

from itertools import product
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("classy-vision", "classy_vision")
absent("fvcore", "fvcore.common", "fvcore.common.file_io")
from classy_vision.losses.label_smoothing_loss import LabelSmoothingCrossEntropyLoss  # noqa: E402


def smoothing(epsilon: float, reduction: str = "mean") -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = LabelSmoothingCrossEntropyLoss(reduction=reduction, smoothing_param=epsilon)
        value = call(x.reshape(-1, CLASSES), torch.tensor(b.y.ravel()))
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


def ignored_rows() -> str:
    x, y = torch.tensor(BATCH.x.reshape(-1, CLASSES)), torch.tensor(BATCH.labels(-100).ravel())
    mean = float(LabelSmoothingCrossEntropyLoss(smoothing_param=0.1)(x, y))
    lp = x.log_softmax(-1)
    k, ignored = CLASSES, y == -100
    rows = -(lp.mean(-1) * 0.1 + lp.gather(1, y.clamp(min=0)[:, None])[:, 0]) / 1.1
    counted = float(torch.where(ignored, -lp.mean(-1), rows).mean())
    assert abs(mean - counted) < 1e-5  # its floor of 1.2e-7 stands beside ε = 0.1 in these rows
    left_out = float(rows[~ignored].mean())
    return f"{mean:.6f} with {int(ignored.sum())} of {len(y)} rows ignored, {left_out:.6f} without these rows (K = {k})"


def refused(call: Any) -> Any:
    def shows() -> str:
        try:
            call()
        except (NotImplementedError, RuntimeError) as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise AssertionError("it is not refused")

    return shows


def empty() -> None:
    smoothing(0.1)(torch.zeros(0, 5, CLASSES), BATCH._replace(y=BATCH.y[:0]))


PEER = Peer(
    "classy-vision",
    "classy_vision.losses.LabelSmoothingCrossEntropyLoss",
    torch_in("float64"),
    [
        *(
            Case("classy_vision", f"ε = {e:g}, {r}", smoothing(e, r), {"smoothing_param": e, "reduction": r})
            for e, r in product((0.0, 0.1, 1.0), ("mean", "none"))
        ),
        Case("classy_vision", "a gap of 200", smoothing(0.1), {"smoothing_param": 0.1}, batch=with_gap()),
    ],
    [
        Fact("the rows of ignore_index become uniform targets, and count", ignored_rows),
        Fact('it has no reduction "sum"', refused(lambda: smoothing(0.1, "sum")(torch.tensor(BATCH.x), BATCH))),
        Fact("an empty batch is an error", refused(empty)),
    ],
    precision="float32",
    misfits={"classy_vision": ("floor_in_denominator", "denominator")},
)
