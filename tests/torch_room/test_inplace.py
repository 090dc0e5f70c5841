"""The gradient that takes the logits' place."""

import pytest
import torch
from torch import Tensor

from multismooth import InputError, Spec
from multismooth.torch import few, smoothed_cross_entropy
from tests.torch_room.test_memory import peak

SPEC = Spec(0.1, ignore_index=0)


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """A leaf, what a layer makes of it, and labels: enough of them not to go the way of few."""
    draw, rows = torch.Generator().manual_seed(0), few.SIZE // 7 + 1
    hidden = torch.randn(rows, 7, generator=draw).to(dtype).requires_grad_()
    return hidden, hidden + 0.5, torch.randint(7, (rows,), generator=draw)


def gradient(spec: Spec, scale: float, dtype: torch.dtype, *, inplace: bool) -> Tensor:
    hidden, logits, labels = batch(dtype)
    (smoothed_cross_entropy(logits, labels, spec, inplace=inplace) * scale).backward()
    return hidden.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spec", [SPEC, Spec(0.1, "others", z_loss=0.1, reduction="sum"), Spec()], ids=repr)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_it_is_the_same_gradient(spec: Spec, scale: float, dtype: torch.dtype) -> None:
    both = [gradient(spec, scale, dtype, inplace=inplace) for inplace in (False, True)]
    assert torch.equal(*both)


def test_the_logits_hold_it() -> None:
    _, logits, labels = batch()
    storage = logits.data_ptr()
    loss = smoothed_cross_entropy(logits, labels, SPEC, inplace=True)
    (given,) = torch.autograd.grad(loss, logits)
    assert given.data_ptr() == storage


def test_without_a_gradient_nothing_is_overwritten() -> None:
    _, logits, labels = batch()
    before = logits.detach().clone()
    with torch.no_grad():
        smoothed_cross_entropy(logits, labels, SPEC, inplace=True)
    smoothed_cross_entropy(logits.detach(), labels, SPEC, inplace=True)
    assert torch.equal(logits, before)


def test_a_mean_of_nothing_has_a_gradient_of_zeros() -> None:
    hidden, logits, labels = batch()
    smoothed_cross_entropy(logits, torch.zeros_like(labels), SPEC, inplace=True).backward()
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_no_memory_of_the_logits_size_is_held() -> None:
    logits = torch.zeros(256, 32768, requires_grad=True).clone()
    labels = torch.ones(256, dtype=torch.int64)

    def call() -> None:
        torch.autograd.grad(smoothed_cross_entropy(logits, labels, SPEC, inplace=True), logits)

    assert peak(call) <= 0.05 * logits.nbytes


@pytest.mark.parametrize(
    ("spec", "leaf", "dtype", "fact"),
    [
        (Spec(reduction="none"), False, torch.float32, "without a reduction"),
        (SPEC, True, torch.float32, "a leaf"),
        (SPEC, False, torch.float16, "float16"),
    ],
)
def test_what_cannot_be_is_refused(spec: Spec, leaf: bool, dtype: torch.dtype, fact: str) -> None:
    hidden, logits, labels = batch(dtype)
    with pytest.raises(InputError, match=fact) as caught:
        smoothed_cross_entropy(hidden if leaf else logits, labels, spec, inplace=True)
    assert caught.value.reason == "inplace"


def test_nobody_else_may_want_a_gradient() -> None:
    _, logits, labels = batch()
    weight = torch.ones(labels.shape, requires_grad=True)
    with pytest.raises(InputError, match="logits alone"):
        smoothed_cross_entropy(logits, labels, SPEC, sample_weight=weight, inplace=True)


def test_a_compiled_call_is_refused() -> None:
    _, logits, labels = batch()
    with pytest.raises(InputError, match="eager mode"):
        torch.compile(smoothed_cross_entropy, backend="eager")(logits, labels, SPEC, inplace=True)


def test_a_second_backward_pass_is_refused() -> None:
    _, logits, labels = batch()
    loss = smoothed_cross_entropy(logits, labels, SPEC, inplace=True)
    torch.autograd.grad(loss, logits, retain_graph=True)
    with pytest.raises(InputError, match="twice"):
        torch.autograd.grad(loss, logits)


def test_a_second_derivative_is_refused() -> None:
    _, logits, labels = batch()
    loss = smoothed_cross_entropy(logits, labels, SPEC, inplace=True)
    with pytest.raises(InputError, match="derivative"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_a_rounded_gradient_is_not_rounded_twice() -> None:
    _, logits, labels = batch(torch.bfloat16)
    loss = smoothed_cross_entropy(logits, labels, SPEC, inplace=True) / 3
    with pytest.raises(InputError, match="multiplied"):
        torch.autograd.grad(loss, logits)


@pytest.mark.parametrize("writes", ["the layer's own output", "somebody else"])
def test_autograd_notices_who_needs_the_logits(writes: str) -> None:
    hidden, logits, labels = batch()
    logits = hidden.exp() if writes == "the layer's own output" else logits
    loss = smoothed_cross_entropy(logits, labels, SPEC, inplace=True)
    if writes == "somebody else":
        with torch.no_grad():
            logits.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
