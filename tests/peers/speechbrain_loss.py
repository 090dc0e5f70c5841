"""SpeechBrain's two, from log-probabilities and relative lengths."""

from itertools import product
from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("speechbrain", *(f"speechbrain{part}" for part in ("", ".dataio", ".decoders", ".utils", ".nnet")))
absent("torchaudio", "speechbrain.dataio.audio_io")
from speechbrain.nnet.losses import kldiv_loss, nll_loss  # noqa: E402


def lengths(b: Batch) -> torch.Tensor:
    return torch.tensor(b.mask.mean(1))


def nll(epsilon: float, reduction: str, weighted: bool = False) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        weight = torch.tensor(b.w) if weighted else None
        call = nll_loss(x.log_softmax(-1), torch.tensor(b.y), lengths(b), epsilon, weight=weight, reduction=reduction)
        return call

    return loss


def kldiv(epsilon: float, reduction: str) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        return kldiv_loss(
            x.log_softmax(-1), torch.tensor(b.labels(PAD)), label_smoothing=epsilon, pad_idx=PAD, reduction=reduction
        )

    return loss


NLL = {"mean": ("mean", "valid"), "batchmean": ("mean", "batch")}
KLDIV = {"mean": ("sum", "valid"), "sum": ("sum", "valid"), "batchmean": ("mean", "batch")}

CASES = []
for epsilon, (reduction, (reduced, denominator)), weighted in product((0.0, 0.1, 1.0), NLL.items(), (False, True)):
    CASES.append(
        Case(
            "speechbrain_nll",
            f"ε = {epsilon:g}, {reduction}" + ", class weights" * weighted,
            nll(epsilon, reduction, weighted),
            {"label_smoothing": epsilon, "reduction": reduction},
            {"where": "mask"} | ({"class_weight": "w"} if weighted else {}),
            spec=Spec(epsilon, class_weight_rule="label_term", reduction=reduced, denominator=denominator, empty="nan"),
        )
    )
for epsilon, (reduction, (reduced, denominator)) in product((0.1, 1.0), KLDIV.items()):
    CASES.append(
        Case(
            "speechbrain_kldiv",
            f"ε = {epsilon:g}, {reduction}",
            kldiv(epsilon, reduction),
            {"label_smoothing": epsilon, "pad_idx": PAD, "reduction": reduction},
            spec=Spec(
                epsilon,
                "others",
                kl=True,
                ignore_index=PAD,
                reduction=reduced,
                denominator=denominator,
                empty="nan" if reduced == "mean" else "zero",
            ),
        )
    )
NLL_MEAN = Spec(0.1, class_weight_rule="label_term", empty="nan")
KLDIV_MEAN = Spec(0.1, "others", kl=True, ignore_index=PAD, reduction="sum")
for name, batch in {"nothing counts": NOTHING, "a gap of 200": with_gap()}.items():
    CASES += [
        Case("speechbrain_nll", name, nll(0.1, "mean"), {"label_smoothing": 0.1}, {"where": "mask"}, batch, NLL_MEAN),
        Case("speechbrain_kldiv", name, kldiv(0.1, "mean"), {"label_smoothing": 0.1}, {}, batch, KLDIV_MEAN),
    ]


def sum_is_no_sum() -> str:
    shape = tuple(nll(0.1, "sum")(torch.tensor(BATCH.x), BATCH).shape)
    assert shape == BATCH.y.shape
    return f"a loss of shape {shape}"


def one_per_sequence() -> str:
    losses = nll(0.1, "batch")(torch.tensor(BATCH.x), BATCH)
    assert losses.shape == (len(BATCH.y),)
    assert losses.isnan().tolist() == [False, False, False, True]
    return f"{', '.join(f'{loss:.6f}' for loss in losses.tolist())} for sequences of 5, 3, 1 and 0"


def unsmoothed_padding() -> str:
    x = torch.tensor(BATCH.x)
    losses = [float(kldiv(e, "mean")(x, BATCH)) for e in (0.0, 1e-9)]
    mean = float(torch.nn.functional.cross_entropy(x.mT, torch.tensor(BATCH.labels(PAD))))
    assert abs(losses[0] - mean) < 1e-12
    return f"{losses[0]:.6f}, the mean over all {BATCH.y.size} positions, and {losses[1]:.6f} at ε = 1e-9"


PEER = Peer(
    "speechbrain",
    "speechbrain.nnet.losses.nll_loss, kldiv_loss",
    torch_in("float64"),
    CASES,
    [
        Fact('the reduction "sum" of nll_loss reduces nothing', sum_is_no_sum),
        Fact('the reduction "batch" gives the mean of each sequence, NaN for an empty one', one_per_sequence),
        Fact("kldiv_loss without smoothing is nll_loss, where padding counts", unsmoothed_padding),
    ],
    misfits={"speechbrain_nll": ("ignored_leak", "two_denominators", "empty")},
)
