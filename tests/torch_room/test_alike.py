"""The way of positions that are alike: which calls take it, in how many of PyTorch's, and where it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from multismooth import Spec
from multismooth.torch import alike, few, fused, smoothed_cross_entropy

SHAPES = {"rows": ((70, 300), -1), "planes": ((300, 70), 0)}
LABELS = torch.arange(70)
WHERE = LABELS % 3 > 0


def logits(shape: str = "rows", dtype: torch.dtype = torch.float32) -> Tensor:
    size, _ = SHAPES[shape]
    assert size[0] * size[1] > few.SIZE
    return (5 * torch.randn(size, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()


def takes(**given: Any) -> bool:
    """Whether no coefficient of a position is worked out."""
    with patch.object(fused, "visit", side_effect=AssertionError) as visit:
        try:
            smoothed_cross_entropy(**{"logits": logits(), "labels": LABELS} | given)
        except AssertionError:
            return not visit.called
    return True


def outcome(g: float = 1.0, **given: Any) -> tuple[Tensor, Tensor]:
    """The loss and g times its gradient."""
    loss = smoothed_cross_entropy(**{"labels": LABELS} | given)
    return loss.detach(), torch.autograd.grad(loss, given["logits"], torch.tensor(g, dtype=loss.dtype))[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "spec",
    [
        Spec(),
        Spec(0.1),
        Spec(0.1, "others", reduction="sum"),
        Spec(0.1, "leaky", denominator="expected_class_weights"),
        Spec(values=(2.0, 0.002), denominator="all"),
        Spec(values=(2.0, 0.0), denominator="class_weights"),
        Spec(0.5, ignore_index=2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", [None, WHERE], ids=["all", "where"])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_loss_of_the_way_for_all(shape: str, where: Tensor | None, spec: Spec, dtype: torch.dtype) -> None:
    """In float64, within the bounds for a loss, and for a gradient beside what it is made of: p and q, each over D."""
    x = logits(shape, dtype)
    given: dict[str, Any] = {"spec": spec, "axis": SHAPES[shape][1], "where": where}
    assert takes(logits=x, **given)
    loss, gradient = outcome(logits=x, **given)
    with patch.object(alike, "alike", return_value=None):
        exact, slopes = outcome(logits=x.detach().double().requires_grad_(), **given)
    unit = torch.finfo(loss.dtype).eps
    torch.testing.assert_close(loss.double(), exact, rtol=4 * unit, atol=0)
    rounding = torch.finfo(dtype).eps / 2 if dtype != loss.dtype else 0.0
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.double(), slopes, rtol=rounding, atol=4 * unit * slopes.abs().max() + least)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_calls_are_fewer_than_those_of_pytorch(shape: str) -> None:
    """With those that others make, forward and backward."""
    axis = SHAPES[shape][1] % 2

    def count(loss: Callable[[Tensor], Tensor]) -> int:
        x = logits(shape)
        with profile(activities=[ProfilerActivity.CPU]) as record:
            loss(x).backward()
        return sum(event.name.startswith("aten::") for event in record.events())

    def native(x: Tensor) -> Tensor:
        return functional.cross_entropy(x if axis == 1 else x.T, LABELS, label_smoothing=0.1, ignore_index=0)

    assert count(lambda x: smoothed_cross_entropy(x, LABELS, 0.1, axis=axis, where=WHERE)) < count(native)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": Spec(0.1, z_loss=0.1)},
        {"spec": Spec(0.9)},
        {"spec": Spec(values=(1.0, 0.25))},
        {"spec": Spec(0.3), "logits": torch.zeros(few.SIZE, 2), "labels": torch.zeros(few.SIZE, dtype=torch.int64)},
        {"spec": Spec(values=(0.0, 0.0))},
        {"spec": Spec(0.1, out_of_range="nan")},
        {"sample_weight": torch.ones(70)},
        {"class_weight": torch.ones(300)},
        {"prior": torch.full((300,), 1 / 300)},
        {"allowed": torch.ones(300, dtype=torch.bool)},
        {"labels": torch.full((70, 300), 1 / 300)},
        {"spec": Spec(0.1), "normalizer": 1e39},
        {"spec": Spec(0.1), "normalizer": 1e-39},
    ],
    ids=str,
)
def test_what_needs_more_goes_elsewhere(change: dict[str, Any]) -> None:
    assert not takes(**change)


def test_a_second_backward_pass_is_the_same_to_the_last_bit() -> None:
    x = logits()
    loss = smoothed_cross_entropy(x, LABELS, 0.1, where=WHERE)
    first, second = (torch.autograd.grad(loss, x, torch.tensor(3.0), retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_slope_beyond_float32_does_not_reach_what_is_masked(dtype: torch.dtype) -> None:
    _, gradient = outcome(1e38, logits=logits(dtype=dtype), spec=Spec(0.1), where=WHERE, normalizer=0.01)
    assert not gradient[WHERE].isfinite().all()
    assert torch.equal(gradient[~WHERE], torch.zeros_like(gradient[~WHERE]))
