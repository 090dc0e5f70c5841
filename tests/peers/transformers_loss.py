"""Hugging Face's LabelSmoother, as the Trainer calls it, and the loss of its language models."""

from typing import Any

import torch
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_pt_utils import LabelSmoother

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, CLASSES, NOTHING, Batch, Case, Fact, Peer, with_gap


def smoother(epsilon: float, ignore_index: int = -100, **options: Any) -> Any:
    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        call = LabelSmoother(epsilon, ignore_index)
        return call({"logits": x}, torch.tensor(b.labels(ignore_index)), **options)

    return loss


def causal(ignore_index: int = -100, **options: Any) -> Any:
    """With the labels where the Trainer's collator has shifted them to."""

    def loss(x: torch.Tensor, b: Batch) -> torch.Tensor:
        labels = torch.tensor(b.labels(ignore_index))
        return ForCausalLMLoss(x, labels, CLASSES, shift_labels=labels, ignore_index=ignore_index, **options)

    return loss


def negative_label() -> str:
    x, y = torch.tensor(BATCH.x[:1, :1]), torch.tensor([[-1]])
    below = float(LabelSmoother(0.1)({"logits": x}, y))
    zero = float(LabelSmoother(0.1)({"logits": x}, 0 * y))
    assert below == zero
    return f"{below:.6f} for label −1 and for label 0"


SMOOTHED = {"epsilon": 0.1}
PEER = Peer(
    "transformers",
    "transformers.trainer_pt_utils.LabelSmoother and transformers.loss.loss_utils.ForCausalLMLoss",
    torch_in("float64"),
    [
        *(Case("huggingface", f"ε = {e:g}", smoother(e), {"epsilon": e}) for e in (0.0, 0.1, 1.0)),
        Case("huggingface", "another label is ignored", smoother(0.1, 0), {"epsilon": 0.1, "ignore_index": 0}),
        Case("huggingface", "num_items_in_batch", smoother(0.1, num_items_in_batch=31), SMOOTHED, {"normalizer": 31.0}),
        Case("huggingface", "nothing counts", smoother(0.1), SMOOTHED, batch=NOTHING),
        Case("huggingface", "a gap of 200", smoother(0.1), SMOOTHED, batch=with_gap()),
        Case("huggingface_causal_lm", "as it is", causal(), {}),
        Case("huggingface_causal_lm", "another label is ignored", causal(0), {"ignore_index": 0}),
        Case("huggingface_causal_lm", "num_items_in_batch", causal(num_items_in_batch=31), {}, {"normalizer": 31.0}),
        Case("huggingface_causal_lm", "nothing counts", causal(), {}, batch=NOTHING),
        Case("huggingface_causal_lm", "a gap of 200", causal(), {}, batch=with_gap()),
    ],
    [Fact("other negative labels count as class 0", negative_label)],
    precision="float32",
)
