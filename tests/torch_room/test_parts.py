"""The way of many logits, part by part, taken by few: all vectors, and what is masked."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from multismooth import InputError, Spec
from multismooth.torch import alike, few, fused, parts, smoothed_cross_entropy, smoothed_cross_entropy_totals
from multismooth_conformance import Vector, judge, load
from multismooth_conformance.adapters.torch_room import ADAPTER

VECTORS = load().values()


@pytest.fixture(params=[True, False], ids=["alike", "by position"], autouse=True)
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Blocks of two positions, and parts of eight logits, or of one row; of positions that are alike, or may be."""
    with (
        patch.multiple(fused, SIZE=8, BLOCK=2),
        patch.object(parts, "SIZE", 8),
        patch.object(few, "SIZE", 0),
        contextlib.nullcontext() if request.param else patch.object(alike, "alike", return_value=None),
    ):
        yield


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.reason is None], ids=lambda v: v.id)
def test_valid_vectors(vector: Vector) -> None:
    judge.judge(vector, *judge.run(ADAPTER, vector.inputs, vector.cotangent, "eager"))


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.reason is not None], ids=lambda v: v.id)
def test_invalid_vectors(vector: Vector) -> None:
    with pytest.raises(InputError) as caught:
        judge.run(ADAPTER, vector.inputs, vector.cotangent, "eager")
    assert caught.value.reason == vector.reason


@pytest.mark.parametrize("spec", [Spec(), Spec(0.1), Spec(0.1, "others", z_loss=0.1)], ids=repr)
@pytest.mark.parametrize("weighted", [False, True], ids=["where", "sample_weight"])
@pytest.mark.parametrize("axis", [0, 1], ids=["planes", "rows"])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
def test_what_is_masked_does_not_show_in_a_bit(spec: Spec, weighted: bool, axis: int, soft: bool) -> None:
    """Nor in the sign of a 0, where the cotangent is negative."""
    where = torch.tensor([True, False, True, False])
    mask = {"sample_weight": where.float()} if weighted else {"where": where}
    labels = torch.tensor([0, 1, 2, 0])
    if soft:
        labels = functional.one_hot(labels, 3).float() if axis == 1 else functional.one_hot(labels, 3).float().T
        spec = replace(spec, spread="uniform")

    def outcome(garbage: float) -> tuple[Any, Any]:
        logits = torch.arange(12.0).reshape(4, 3).masked_fill(~where[:, None], garbage).requires_grad_()
        given = logits if axis == 1 else logits.T
        loss = smoothed_cross_entropy(given, labels, spec, axis=axis, **mask)
        (gradient,) = torch.autograd.grad(loss, logits, torch.tensor(-1.0))
        return loss.detach().numpy().tobytes(), gradient.numpy().tobytes()

    assert len({outcome(garbage) for garbage in (0.0, 1e30, np.inf, -np.inf, np.nan)}) == 1


@pytest.mark.parametrize("classes", [1, 2, 3, 5, 7, 11])
def test_any_number_of_rows_of_soft_labels(classes: int) -> None:
    """A block of soft labels is one part."""
    random = np.random.default_rng(classes)
    for rows in range(1, 9):
        logits = torch.tensor(random.normal(size=(rows, classes)), requires_grad=True)
        labels = torch.tensor(random.dirichlet(np.ones(classes), rows))
        (gradient,) = torch.autograd.grad(smoothed_cross_entropy(logits, labels, 0.1), logits)
        expected = (logits.detach().softmax(1) - (0.9 * labels + 0.1 / classes)) / rows
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


def test_a_confident_row_of_soft_labels_keeps_its_digits() -> None:
    """The sum without the maximum is far below what 1 + it would round away."""
    logits = torch.zeros(3, 5)
    logits[1, 2] = 30.0
    labels = torch.nn.functional.one_hot(torch.tensor([2, 2, 2]), 5).float()
    losses = smoothed_cross_entropy(logits, labels, Spec(reduction="none"))
    exact = torch.tensor(-30.0, dtype=torch.float64).exp().mul(4).log1p()
    torch.testing.assert_close(losses[1].double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rule", [None, "per_class", "expected"])
@pytest.mark.parametrize("part", ["loss", "nll", "z_loss"])
def test_the_totals_of_soft_labels_and_their_gradients(part: str, rule: str | None) -> None:
    """Of parts, and as PyTorch derives the plain loss."""
    draw = torch.Generator().manual_seed(0)
    logits, labels = (torch.rand(4, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    labels /= labels.sum(1, keepdim=True)
    weight = None if rule is None else torch.arange(1.0, 6.0, dtype=torch.float64)
    spec = Spec(0.2, z_loss=0.1, class_weight_rule=rule or "per_class")

    def total(logits: Tensor) -> Tensor:
        return getattr(smoothed_cross_entropy_totals(logits, labels, spec, class_weight=weight), part)

    given = logits.clone().requires_grad_()
    found = total(given)
    gradient, value = torch.func.grad_and_value(total)(logits)
    torch.testing.assert_close(found.detach(), value, rtol=1e-13, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found, given)[0], gradient, rtol=1e-12, atol=1e-15)
