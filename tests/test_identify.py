"""``identify`` on losses whose spec is known. Those of the frameworks are in the rooms' folders."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from multismooth import Spec
from multismooth.dialects import DIALECTS
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth.porting import identify


def with_pullback(spec: Spec, axis: int = -1, **arrays: Any) -> Any:
    """The reference, as a function of logits, labels and what arrays are named."""

    def loss(logits: Any, labels: Any, **given: Any) -> tuple[Any, Callable[[Any], Any]]:
        given = {"axis": axis, **arrays, **given}
        value = smoothed_cross_entropy(logits, labels, spec, **given)
        return value, lambda g: smoothed_cross_entropy_vjp(g, logits, labels, spec, **given)

    return loss


def everything(spec: Spec, axis: int = -1) -> Any:
    loss = with_pullback(spec, axis)

    def named(logits: Any, labels: Any, where: Any = None, sample_weight: Any = None, class_weight: Any = None) -> Any:
        return loss(logits, labels, where=where, sample_weight=sample_weight, class_weight=class_weight)

    return named


def close(one: Spec, other: Spec) -> bool:
    """Equal, but for the last digits of ε and of z_loss, which are measured, and for what an unused mean divides by."""
    fields: dict[str, Any] = {"label_smoothing": 0.0, "z_loss": 0.0}
    unused: dict[str, Any] = {} if other.reduction == "mean" else {"denominator": "valid", "empty": "zero"}
    return replace(one, **fields) == replace(other, **fields, **unused) and all(
        getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12) for name in fields
    )


def same(one: Spec, other: Spec) -> bool:
    """Whether losses and gradients are the same on a batch with all that a spec can tell apart."""
    random = np.random.default_rng(5)
    x, mask = random.normal(size=(4, 5, 8)), np.arange(5) < np.array([5, 3, 1, 0])[:, None]
    y = random.integers(2, 8, (4, 5))
    arrays = {"where": mask, "sample_weight": random.uniform(0, 2, (4, 5))}
    if not (one.kl or other.kl):
        arrays["class_weight"] = random.uniform(0.2, 2, 8)
    y[0, 1] = y[0, 1] if one.ignore_index is None else one.ignore_index
    answers = []
    for spec in (one, other):
        loss = smoothed_cross_entropy(x, y, spec, **arrays)
        answers.append((loss, smoothed_cross_entropy_vjp(np.ones(loss.shape), x, y, spec, **arrays)))
    return all(np.allclose(mine, theirs, rtol=0, atol=1e-12) for mine, theirs in zip(*answers, strict=True))


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.1, 1.0])
@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect(name: str, epsilon: float) -> None:
    spec = DIALECTS[name].smoothed(epsilon)
    found = identify(everything(spec), "numpy")
    assert found.spec is not None, found
    # At ε = 0 the spreads are one and kl subtracts nothing; at ε = 1 the rules of class weights meet.
    assert close(found.spec, spec) or (epsilon in (0, 1) and same(found.spec, spec)), found
    assert found.deviations == ()
