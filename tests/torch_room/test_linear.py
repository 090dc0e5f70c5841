"""The linear layer with the loss, beyond the vectors: blocks, memory, what is skipped, derivatives, hosts."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from multismooth import Spec, dialects
from multismooth.torch import (
    LinearSmoothedCrossEntropy,
    SmoothedCrossEntropy,
    linear,
    linear_smoothed_cross_entropy,
    smoothed_cross_entropy,
)
from multismooth_conformance import Vector, judge, load
from multismooth_conformance.adapters.torch_room import ADAPTER
from tests.torch_room.test_memory import peak

VECTORS = [vector for vector in load().values() if vector.inputs.linear and vector.reason is None]
SPEC = Spec(0.1, ignore_index=0, z_loss=1e-2)


def arrays(rows: int = 6, features: int = 4, classes: int = 5, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden, kernel = torch.randn(rows, features, generator=draw), torch.randn(features, classes, generator=draw)
    given = {"hidden": hidden, "kernel": kernel, "bias": torch.randn(classes, generator=draw)}
    given = {name: array.to(dtype).requires_grad_() for name, array in given.items()}
    return given | {"labels": torch.arange(rows) % classes}


@pytest.fixture
def few() -> Iterator[None]:
    """Blocks of two rows or so, and products over two classes."""
    with patch.multiple(linear, ELEMENTS=8, CLASSES=2):
        yield


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("mode", ["eager", "checkpointed"])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.id)
def test_vectors_in_blocks(vector: Vector, mode: str) -> None:
    judge.judge(vector, *ADAPTER.linear(vector.inputs, vector.cotangent, mode))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("options", [{}, {"logit_scale": 0.5, "softcap": 2.0}], ids=["plain", "capped"])
def test_derivatives(reduction: str, options: dict[str, float]) -> None:
    """The first, batched too, and the second."""
    given = arrays()
    labels = given.pop("labels")

    def loss(hidden: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        spec = Spec(0.1, ignore_index=0, z_loss=1e-2, reduction=reduction)
        return linear_smoothed_cross_entropy(hidden, kernel, labels, spec, bias=bias, **options)

    assert gradcheck(loss, tuple(given.values()), check_batched_grad=True)
    assert gradgradcheck(loss, tuple(given.values()))


@pytest.mark.usefixtures("few")
def test_transformations() -> None:
    given = arrays()
    labels = given.pop("labels")
    call = partial(linear_smoothed_cross_entropy, labels=labels, spec=SPEC)
    hessian = torch.func.hessian(lambda hidden: call(hidden, given["kernel"]))(given["hidden"].detach())

    def plain(hidden: Tensor) -> Tensor:
        return smoothed_cross_entropy(hidden @ given["kernel"], labels, SPEC)

    torch.testing.assert_close(hessian, torch.func.hessian(plain)(given["hidden"].detach()))


def test_weights_that_want_a_gradient_have_it() -> None:
    given = arrays()
    weight = torch.rand(6, dtype=torch.float64, requires_grad=True)
    loss = linear_smoothed_cross_entropy(**given, spec=SPEC, sample_weight=weight)
    logits = given["hidden"] @ given["kernel"] + given["bias"]
    expected = smoothed_cross_entropy(logits, given["labels"], SPEC, sample_weight=weight)
    inputs = [weight, *(given[name] for name in ("hidden", "kernel", "bias"))]
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rows_that_do_not_count_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    given, seen = arrays(), []
    output = linear.Linear.output

    def watched(self: Any, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        seen.append(len(hidden))
        return output(self, hidden, out)

    monkeypatch.setattr(linear.Linear, "output", watched)
    where = torch.tensor([True, True, False, True, True, True])
    weight = torch.tensor([1.0, 1, 1, 0, 1, 1])
    linear_smoothed_cross_entropy(**given, spec=SPEC, where=where, sample_weight=weight).backward()
    # Of six, one is masked, one weighs nothing, and the labels 0 of two are ignored.
    assert seen == [2]


@pytest.mark.parametrize("plain", [False, True])
def test_what_they_hold_does_not_show(plain: bool) -> None:
    """In no gradient's bit, with a weight that wants one itself too."""
    where, weight = torch.tensor([True, False, True, True, True, True]), torch.tensor([1.0, 1, 0, 1, 1, 1])

    def outcome(garbage: float) -> list[bytes]:
        given = arrays(dtype=torch.float32)
        hidden = given["hidden"].detach().clone()
        hidden[1:3] = garbage
        given["hidden"] = hidden.requires_grad_()
        more = {"where": where, "sample_weight": weight.clone().requires_grad_(plain)}
        loss = linear_smoothed_cross_entropy(**given, spec=SPEC, **more)
        found = torch.autograd.grad(loss, [given[name] for name in ("hidden", "kernel", "bias")])
        return [x.detach().numpy().tobytes() for x in (loss, *found)]

    assert outcome(torch.inf) == outcome(torch.nan)
    if not plain:
        assert outcome(torch.nan) == outcome(1.0)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_scaled_loss(dtype: torch.dtype, scale: float) -> None:
    """The gradient that was made before is multiplied; not one that has been rounded."""
    given = arrays(dtype=dtype)
    names = ("hidden", "kernel", "bias")
    loss = linear_smoothed_cross_entropy(**given, spec=SPEC) * scale
    first, again = (torch.autograd.grad(loss, [given[n] for n in names], retain_graph=True) for _ in range(2))
    logits = torch.addmm(given["bias"], given["hidden"], given["kernel"])
    plain = smoothed_cross_entropy(logits, given["labels"], SPEC) * scale
    expected = torch.autograd.grad(plain, [given[n] for n in names])
    for one, other, right in zip(first, again, expected, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, right, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_as_autocast_treats_a_linear_layer() -> None:
    given = arrays(64, 16, 32, torch.float32)
    layer = nn.functional.linear
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(given["hidden"], given["kernel"].T, given["bias"])
        expected = smoothed_cross_entropy(logits, given["labels"], SPEC)
        loss = linear_smoothed_cross_entropy(**given, spec=SPEC)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    inputs = [given[name] for name in ("hidden", "kernel", "bias")]
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=2**-6, atol=2**-8)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_logits_are_never_held(reduction: str) -> None:
    """Beside the gradients to hidden and kernel, which are a fifth of them here, one block."""
    given = arrays(4096, 64, 32768, torch.float32)
    del given["bias"]

    def call() -> None:
        loss = linear_smoothed_cross_entropy(**given, spec=Spec(0.1, reduction=reduction))
        torch.autograd.grad(loss, [given["hidden"], given["kernel"]], torch.ones_like(loss))

    gradients = given["hidden"].nbytes + given["kernel"].nbytes
    block = 4 * linear.ELEMENTS
    assert peak(call) <= 1.1 * (gradients + block)


def test_a_graph_without_a_break() -> None:
    given = arrays(dtype=torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(linear_smoothed_cross_entropy, backend="aot_eager", fullgraph=True)
    names = ("hidden", "kernel", "bias")
    both = []
    for call in (linear_smoothed_cross_entropy, compiled):
        loss = call(**given, spec=SPEC)
        both.append([loss.detach(), *torch.autograd.grad(loss, [given[name] for name in names])])
    torch.testing.assert_close(*both)


def test_the_layer_takes_the_place_of_two() -> None:
    head = nn.Linear(8, 5)
    criterion = LinearSmoothedCrossEntropy(8, 5, spec=dialects.torch(0.1))
    criterion.load_state_dict(head.state_dict())
    hidden, labels = torch.randn(3, 7, 8), torch.arange(21).reshape(3, 7) % 6 - 1
    labels = labels.masked_fill(labels < 0, -100)
    loss = criterion(hidden, labels)
    expected = SmoothedCrossEntropy(label_smoothing=0.1)(head(hidden).movedim(-1, 1), labels)
    torch.testing.assert_close(loss, expected)
    expected.backward()
    loss.backward()
    for ours, theirs in zip(criterion.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_layer_makes_logits() -> None:
    criterion = LinearSmoothedCrossEntropy(8, 5, logit_scale=0.5, softcap=3.0)
    hidden = torch.randn(2, 8)
    output = nn.functional.linear(hidden, criterion.weight, criterion.bias)
    torch.testing.assert_close(criterion.logits(hidden), 3 * torch.tanh(output * 0.5 / 3))
    assert "logit_scale=0.5, softcap=3.0" in repr(criterion)
