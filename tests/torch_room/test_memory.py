"""What the loss of many logits holds at its peak: nothing of their size but the gradient."""

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor import metrics
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from multismooth import Spec
from multismooth.torch import fused, parts, smoothed_cross_entropy

SHAPES = {"rows": ((1024, 32768), -1), "planes": ((2, 64, 512, 512), 1)}
"""2²⁵ logits each, 32 parts"""
SPECS = [Spec(0.1, ignore_index=0), Spec(0.1, "others", z_loss=1e-4), Spec(), Spec(0.1, reduction="none")]


def peak(call: Callable[[], Any]) -> int:
    """Bytes above what was there before, by the allocator's own record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    held = highest = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest


def batch(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    shape, axis = SHAPES[name]
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    labels = torch.ones([n for i, n in enumerate(shape) if i != axis % len(shape)], dtype=torch.int64)
    return logits, labels, axis


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_gradient_is_all_that_is_held(spec: Spec, dtype: torch.dtype) -> None:
    """Beside it a part of float32 while it is worked on, twice where a sum needs it: 2 / 32 of float32 logits."""
    logits, labels, axis = batch("rows", dtype)

    def call() -> None:
        loss = smoothed_cross_entropy(logits, labels, spec, axis=axis)
        torch.autograd.grad(loss, logits, torch.ones_like(loss))

    spare = 2 * parts.SIZE * 4
    assert peak(call) <= logits.nbytes + spare + 64 * labels.nbytes


def test_soft_labels_ride_along() -> None:
    logits = torch.zeros(SHAPES["rows"][0], requires_grad=True)
    labels = torch.full_like(logits, 1 / logits.shape[1]).requires_grad_(False)
    held = peak(lambda: torch.autograd.grad(smoothed_cross_entropy(logits, labels, Spec(0.1, z_loss=1e-4)), logits))
    assert held <= logits.nbytes + 2 * parts.SIZE * 4


def test_classes_allowed_by_position_ride_along() -> None:
    """What they receive differs by position, and is worked out part by part."""
    logits, labels, _ = batch("rows", torch.float32)
    allowed = (torch.arange(logits.shape[-1]) < 32000).expand_as(logits)
    spec = Spec(0.1, denominator="class_weights")
    held = peak(lambda: torch.autograd.grad(smoothed_cross_entropy(logits, labels, spec, allowed=allowed), logits))
    assert held <= logits.nbytes + 4 * parts.SIZE * 4 + 64 * labels.nbytes


@pytest.mark.parametrize("name", ["class_weight", "prior", "allowed"])
def test_arrays_of_the_classes_ride_along(name: str) -> None:
    """With parts of logits that are masked, or weighted, in the place of the whole."""
    logits, labels, _ = batch("rows", torch.float32)
    classes = logits.shape[-1]
    array = torch.arange(classes) < classes - 7 if name == "allowed" else torch.full((classes,), 1 / classes)
    held = peak(lambda: torch.autograd.grad(smoothed_cross_entropy(logits, labels, 0.1, **{name: array}), logits))
    assert held <= logits.nbytes + 4 * parts.SIZE * 4 + 64 * labels.nbytes


def test_planes_of_classes_are_not_transposed() -> None:
    """Nor is anything else of their size held: what each position needs, it needs while its block is worked on."""
    logits, labels, axis = batch("planes", torch.float32)
    held = peak(lambda: torch.autograd.grad(smoothed_cross_entropy(logits, labels, 0.1, axis=axis), logits))
    assert held <= logits.nbytes + 2 * parts.SIZE * 4


def test_few_classes_hold_no_more_than_a_block_of_positions() -> None:
    """And the mask. With 19 classes an array of int64 for every position would be a tenth of the logits.

    Of a block's positions: labels as given and made safe, four statistics, three slopes, and what these are made from,
    64 bytes each.
    """
    logits = torch.zeros((8, 19, 256, 256), requires_grad=True)
    labels = torch.ones((8, 256, 256), dtype=torch.int64)
    spec = Spec(0.1, ignore_index=0)
    held = peak(lambda: torch.autograd.grad(smoothed_cross_entropy(logits, labels, spec, axis=1), logits))
    assert held <= logits.nbytes + labels.numel() + 64 * fused.BLOCK


def test_without_a_gradient_nothing_of_their_size_is_held() -> None:
    logits, labels, axis = batch("rows", torch.float32)
    with torch.no_grad():
        assert peak(lambda: smoothed_cross_entropy(logits, labels, 0.1, axis=axis)) <= logits.nbytes / 8


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles for a CPU with g++")
@pytest.mark.parametrize(("name", "kernels"), [("rows", 13), ("planes", 9)])
def test_compiled_no_exponential_is_stored(name: str, kernels: int) -> None:
    """What the forward pass holds are numbers of each position, and three sums of each block of 2048 classes.

    The kernels are those of both passes, as PyTorch 2.13 makes them, three of which add up blocks of rows; what
    each position's loss adds to the result is one more loop, which PyTorch counts three times along rows. With the
    exponentials stored it were two more.
    """
    logits, labels, axis = batch(name, torch.float32)
    torch.compiler.reset()
    metrics.reset()
    loss = torch.compile(partial(smoothed_cross_entropy, spec=Spec(0.1, ignore_index=0), axis=axis), fullgraph=True)
    torch.autograd.grad(loss(logits, labels), logits)
    assert metrics.generated_kernel_count <= kernels
    assert peak(lambda: loss(logits, labels)) <= 8 * labels.nbytes + 3 * logits.nbytes / 2048
    torch.compiler.reset()


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles for a CPU with g++")
@pytest.mark.parametrize("name", ["label", "allowed", "allowed of a row", "soft"])
def test_compiled_with_its_layer_the_gradient_takes_the_logits_place(name: str) -> None:
    """Nobody reads them after it, if the loss reads each once. Beside them are the gradients of the layer."""
    hidden, kernel = (torch.ones(n, 8, requires_grad=True) for n in (256, 4096))
    labels = torch.full((256, 4096), 1 / 4096) if name == "soft" else torch.ones(256, dtype=torch.int64)
    exist = {"allowed": torch.ones(4096, dtype=torch.bool), "allowed of a row": torch.ones(256, 4096, dtype=torch.bool)}
    torch.compiler.reset()

    @torch.compile(fullgraph=True)
    def loss() -> Tensor:
        return smoothed_cross_entropy(hidden @ kernel.T, labels, 0.1, allowed=exist.get(name))

    def call() -> None:
        torch.autograd.grad(loss(), (hidden, kernel))

    call()
    logits, row = 4 * 256 * 4096, 64 * 256
    assert peak(call) <= logits + hidden.nbytes + kernel.nbytes + row
    torch.compiler.reset()


def test_the_record_sees_what_is_held() -> None:
    """PyTorch's own loss holds the logits' size three times."""
    logits, labels, _ = batch("rows", torch.float32)
    held = peak(lambda: torch.autograd.grad(functional.cross_entropy(logits, labels, label_smoothing=0.1), logits))
    assert 2.9 * logits.nbytes <= held <= 3.1 * logits.nbytes


@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 7, 4), (2, 7, 3, 5), (1, 7, 1)], ids=str)
@pytest.mark.parametrize("size", [1, 8, 30, 10**6])
def test_parts_cover_every_logit_once(shape: tuple[int, ...], size: int) -> None:
    dim = shape.index(7)
    seen = torch.zeros(shape, dtype=torch.int64)
    for part in parts.parts(shape, dim, size):
        assert seen[part].numel() <= max(1.5 * size, shape[dim])
        assert seen[part].shape[dim] == shape[dim]
        seen[part] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("length", "size", "count"), [(10, 90, 1), (10, 40, 2), (10, 30, 3), (10, 5, 10), (111, 100, 11)]
)
def test_no_small_part_is_left_over(length: int, size: int, count: int) -> None:
    """100 logits are a part of 90 too: the last ten would cost as many calls as the rest."""
    found = [part[0].stop - part[0].start for part in parts.parts((length, 10), 1, size)]
    assert len(found) == count
    assert max(found) == found[0] <= min(found) + 1
