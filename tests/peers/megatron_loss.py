"""Megatron-LM's, in a group of one process."""

import sys
import tempfile
from typing import Any

import torch

from tests.peers.bridges import torch_in
from tests.peers.case import BATCH, Case, Fact, Peer, with_gap
from tests.peers.partly import without_init

sys.modules["transformer_engine"] = None  # Megatron would use it, but not in this loss
without_init("megatron-core", "megatron", "megatron.core", "megatron.core.tensor_parallel")
from megatron.core import parallel_state  # noqa: E402
from megatron.core.tensor_parallel.cross_entropy import vocab_parallel_cross_entropy  # noqa: E402

torch.distributed.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/group", rank=0, world_size=1)
parallel_state.initialize_model_parallel(1)


def smoothed(epsilon: float) -> Any:
    return lambda x, b: vocab_parallel_cross_entropy(x, torch.tensor(b.y), epsilon)


def underflow() -> str:
    largest = float(smoothed(0.1)(torch.tensor(with_gap(gap=200.0).x), BATCH).max())
    assert largest == float("inf")
    return f"a largest loss of {largest} at gaps of 200 in float64"


PEER = Peer(
    "megatron-core",
    "megatron.core.tensor_parallel.vocab_parallel_cross_entropy",
    torch_in("float64"),
    [
        *(Case("megatron", f"ε = {e:g}", smoothed(e), {"label_smoothing": e}) for e in (0.0, 0.1, 0.9)),
        Case("megatron", "ε = 0, a gap of 200", smoothed(0.0), batch=with_gap()),
    ],
    [Fact("it is the logarithm of a softmax in float32, which underflows", underflow)],
    precision="float32",
)
