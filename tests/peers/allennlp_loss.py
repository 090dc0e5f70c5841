"""AllenNLP's, whose weights are a mask or any other numbers."""

from itertools import product
from typing import Any

import torch

from multismooth import Spec
from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, NOTHING, Batch, Case, Fact, Peer, with_gap
from tests.peers.partly import absent, without_init

without_init("allennlp", "allennlp", "allennlp.nn", "allennlp.common")
absent("allennlp.common.checks", "allennlp.common.util")
from allennlp.nn.util import sequence_cross_entropy_with_logits  # noqa: E402

AVERAGES = {"batch": "nonempty_sequences", "token": "weights"}


def sequence(
    epsilon: float | None,
    average: str | None,
    weights: str = "kept",
    weighted: bool = False,
    gamma: float | None = None,
) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        return sequence_cross_entropy_with_logits(
            x,
            torch.tensor(b.y),
            torch.tensor(getattr(b, weights)),
            average=average,
            label_smoothing=epsilon,
            gamma=gamma,
            alpha=torch.tensor(b.w) if weighted else None,
        )

    return loss


CASES = []
for epsilon, (average, denominator), weights, weighted in product(
    (0.0, 0.1, 1.0), AVERAGES.items(), ("kept", "weights"), (False, True)
):
    CASES.append(
        Case(
            "allennlp",
            f"ε = {epsilon:g}, {average}, {'a mask' if weights == 'kept' else 'weights'}" + ", alpha" * weighted,
            sequence(epsilon, average, weights, weighted),
            {"label_smoothing": epsilon, "average": average},
            {"sample_weight": weights} | ({"class_weight": "w"} if weighted else {}),
            spec=Spec(epsilon, class_weight_rule="per_label", denominator=denominator),
        )
    )
for (average, denominator), (name, batch) in product(
    AVERAGES.items(), {"nothing counts": NOTHING, "a gap of 200": with_gap()}.items()
):
    CASES.append(
        Case(
            "allennlp",
            f"{name}, {average}",
            sequence(0.1, average),
            {"label_smoothing": 0.1, "average": average},
            {"sample_weight": "kept"},
            batch,
            Spec(0.1, class_weight_rule="per_label", denominator=denominator),
        )
    )


def per_sequence() -> str:
    means = sequence(0.1, None)(torch.tensor(BATCH.x), BATCH)
    assert means.shape == (len(BATCH.y),)
    return f"a loss of shape {tuple(means.shape)} for labels of shape {BATCH.y.shape}"


def focal() -> str:
    x = torch.tensor(BATCH.x)
    plain, focused = (float(sequence(0.1, "token", gamma=gamma)(x, BATCH)) for gamma in (None, 2.0))
    assert focused < plain
    return f"{plain:.6f} becomes {focused:.6f} with gamma = 2"


PEER = Peer(
    "allennlp",
    "allennlp.nn.util.sequence_cross_entropy_with_logits",
    torch_in("float64"),
    CASES,
    [
        Fact("average=None gives the mean of each sequence", per_sequence),
        Fact("gamma multiplies the weights by a focal factor of (1 − p_y)^gamma", focal),
    ],
)
