"""NeMo's, from log-probabilities and a mask."""

from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NOTHING, PAD, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, without_init

PACKAGES = ("nemo", "nemo.collections", "nemo.collections.common", "nemo.collections.common.losses", "nemo.core")
without_init("nemo-toolkit", *PACKAGES)
absent(
    "nemo.core.classes",
    Exportable=object,
    Loss=torch.nn.Module,
    NeuralModule=torch.nn.Module,
    typecheck=lambda: lambda checked: checked,
)
absent("nemo.core.neural_types")
from nemo.collections.common.losses.smoothed_cross_entropy import SmoothedCrossEntropyLoss  # noqa: E402


def smoothed(epsilon: float, mask: str | None = "kept", per_token_reduction: bool = True, **options: Any) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = SmoothedCrossEntropyLoss(label_smoothing=epsilon, per_token_reduction=per_token_reduction, **options)
        labels = torch.tensor(b.y if mask else b.labels(PAD))
        return call(x.log_softmax(-1), labels, torch.tensor(getattr(b, mask)) if mask else None)

    return loss


def says(epsilon: float) -> Spec:
    return Spec(epsilon, "others", denominator="weights")


def masked(name: str, epsilon: float, batch: Batch = BATCH, mask: str = "kept") -> Case:
    options, arguments = {"label_smoothing": epsilon}, {"sample_weight": mask}
    return Case("nemo", name, smoothed(epsilon, mask), options, arguments, batch, says(epsilon), 1e-6)


def padding() -> str:
    x = torch.tensor(BATCH.x)
    by_label, by_mask = (float(smoothed(0.1, mask, pad_id=PAD)(x, BATCH)) for mask in (None, "kept"))
    assert by_label == by_mask
    return f"{by_label:.6f} by either"


PEER = Peer(
    "nemo-toolkit",
    "nemo.collections.common.losses.SmoothedCrossEntropyLoss",
    torch_in("float64"),
    [
        *(masked(f"ε = {e:g}, a mask", e) for e in (0.0, 0.1, 1.0)),
        masked("a mask of other numbers", 0.1, mask="weights"),
        masked("nothing counts", 0.1, NOTHING),
        masked("a gap of 200", 0.1, with_gap()),
    ],
    [Fact("pad_id in the place of a mask masks the labels that are it", padding)],
)
