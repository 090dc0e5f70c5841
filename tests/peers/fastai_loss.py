"""fastai's, whose two terms have two denominators: no spec says it but where they are the same."""

from itertools import product
from typing import Any

import torch
from fastai.losses import LabelSmoothingCrossEntropy

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, Batch, Case, Fact, Peer, with_gap


def smoothing(epsilon: float, reduction: str = "mean", weighted: bool = False) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        weight = torch.tensor(b.w) if weighted else None
        call = LabelSmoothingCrossEntropy(epsilon, weight, reduction)
        value = call(x.reshape(-1, CLASSES), torch.tensor(b.y.ravel()))
        return value.reshape(b.y.shape) if reduction == "none" else value

    return loss


def two_denominators() -> str:
    x = torch.tensor(BATCH.x.reshape(-1, CLASSES), requires_grad=True)
    y = torch.tensor(BATCH.labels(-100).ravel())
    loss = LabelSmoothingCrossEntropy(0.1)(x, y)
    (gradient,) = torch.autograd.grad(loss, x)
    lp, counts = x.detach().log_softmax(-1), y != -100
    nll = -lp.gather(1, y.clamp(min=0)[:, None])[:, 0]
    n, total = int(counts.sum()), len(y)
    both = 0.9 * nll[counts].sum() / n + 0.1 * -lp.mean(-1).sum() / total
    assert abs(float(loss.detach() - both)) < 1e-12
    one = 0.9 * nll[counts].sum() / n + 0.1 * -lp.mean(-1)[counts].sum() / n
    ignored = float(gradient[~counts].abs().max())
    return (
        f"{float(both):.6f}, the label's term over n = {n} and the uniform one over N = {total}; both over n are "
        f"{float(one):.6f}, and the largest gradient of an ignored row is {ignored:.6f}"
    )


def weights_too() -> str:
    x, w = torch.tensor(BATCH.x.reshape(-1, CLASSES)), torch.tensor(BATCH.w)
    y = torch.tensor(BATCH.y.ravel())
    lp = x.log_softmax(-1)
    nll = -lp.gather(1, y[:, None])[:, 0]
    both = float(0.9 * (w[y] * nll).sum() / w[y].sum() + 0.1 * -lp.mean())
    loss = float(smoothing(0.1, weighted=True)(torch.tensor(BATCH.x), BATCH))
    assert abs(loss - both) < 1e-12
    return f"{loss:.6f}, over Σ w_y = {float(w[y].sum()):g} and over N = {len(y)}"


CASES = []
for epsilon, reduction in product((0.0, 0.1, 1.0), ("mean", "sum", "none")):
    spec = Spec(epsilon, reduction=reduction, denominator="all", empty="nan")
    options = {"eps": epsilon, "reduction": reduction}
    CASES.append(Case("fastai", f"ε = {epsilon:g}, {reduction}", smoothing(epsilon, reduction), options, spec=spec))
for reduction in ("sum", "none"):
    spec = Spec(0.1, class_weight_rule="label_term", reduction=reduction, denominator="all", empty="nan")
    theirs, options = smoothing(0.1, reduction, weighted=True), {"eps": 0.1, "reduction": reduction}
    CASES.append(Case("fastai", f"class weights, {reduction}", theirs, options, {"class_weight": "w"}, spec=spec))
NEAREST = Spec(0.1, denominator="all", empty="nan")
CASES.append(Case("fastai", "a gap of 200", smoothing(0.1), {"eps": 0.1}, batch=with_gap(), spec=NEAREST))

PEER = Peer(
    "fastai",
    "fastai.losses.LabelSmoothingCrossEntropy, where nothing is ignored",
    torch_in("float64"),
    CASES,
    [
        Fact("an ignored label leaves one of two terms, and one of two denominators", two_denominators),
        Fact("class weights are in one of two terms, and in one of two denominators", weights_too),
    ],
    misfits={"fastai": ("ignored_leak", "two_denominators")},
)
