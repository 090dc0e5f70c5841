"""What can be said of the session ``dialects`` without its packages: its harness bites, and its results are current."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multismooth import InputError, Spec
from multismooth.dialects import DIALECTS, INEXPRESSIBLE
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_totals, smoothed_cross_entropy_vjp
from multismooth.spec import DENOMINATORS
from tests.peers.blind import identified
from tests.peers.case import BATCH, NO_POSITIONS, NOTHING, Batch, Case, Peer, cotangent
from tests.peers.compare import TOLERANCE, compared, difference
from tests.test_docs import _module

ROOT = Path(__file__).parents[1]
PAGE = _module(ROOT / "docs/dialects.py")
RESULTS = PAGE.results()
ENVIRONMENTS = tomllib.loads((ROOT / "tests/peers/environments.toml").read_text(encoding="utf-8"))
CASES = [(result, case) for result in RESULTS for case in result["cases"]]


def reference(spec: Spec, **arrays: str) -> Peer:
    """A package that computes this spec, beside the dialect of PyTorch."""

    def differentiate(loss: Any, batch: Batch, pulled: Any = cotangent) -> tuple[Any, Any]:
        arguments = {name: getattr(batch, array) for name, array in arrays.items()}
        labels = batch.labels(-100)
        value = smoothed_cross_entropy(batch.x, labels, spec, **arguments)
        gradient = smoothed_cross_entropy_vjp(pulled(np.shape(value)), batch.x, labels, spec, **arguments)
        return value, gradient

    return Peer("numpy", "a loss", differentiate, [])


def case(**changes: Any) -> Case:
    mean = Case("torch", "mean", lambda x, batch: x, {"label_smoothing": 0.1}, {"class_weight": "w"})
    return mean._replace(**changes)


TORCH = DIALECTS["torch"].spec(0.1)


def test_the_right_spec_passes() -> None:
    result = compared(reference(TORCH, class_weight="w"), case())
    assert (result["loss"], result["gradient"]) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        *({"denominator": name} for name in DENOMINATORS if name != "class_weights"),
        *({"class_weight_rule": name} for name in ("per_label", "expected", "label_term")),
        {"spread": "others"},
        {"spread": "leaky"},
        {"label_smoothing": 0.1 + 1e-10},
        {"z_loss": 1e-9},
        {"reduction": "sum"},
    ],
    ids=str,
)
def test_another_spec_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match=r"'(loss|gradient)': |is not"):
        compared(reference(replace(TORCH, **change), class_weight="w"), case())


def test_a_gradient_that_is_not_the_loss_s_is_rejected() -> None:
    right = reference(TORCH, class_weight="w")

    def scaled(loss: Any, batch: Batch) -> tuple[Any, Any]:
        value, gradient = right.differentiate(loss, batch)
        return value, gradient * (1 + 1e-11)

    with pytest.raises(AssertionError, match="'gradient': "):
        compared(right._replace(differentiate=scaled), case())


def test_a_number_is_no_nan_and_a_nan_is_no_number() -> None:
    assert difference(np.nan, np.nan) == 0
    assert difference(np.nan, 1.0) == difference(1.0, np.nan) == difference(np.inf, 1.0) == np.inf
    with pytest.raises(AssertionError):
        compared(reference(replace(TORCH, empty="zero"), class_weight="w"), case(batch=NOTHING))


def test_what_is_added_to_a_denominator_is_seen() -> None:
    spec = DIALECTS["torch"].spec(0.1)
    weight = float(smoothed_cross_entropy_totals(BATCH.x, BATCH.labels(-100), spec, class_weight=BATCH.w).weight)

    def larger(loss: Any, batch: Batch) -> tuple[Any, Any]:
        value, gradient = reference(TORCH, class_weight="w").differentiate(loss, batch)
        return value * weight / (weight + 1e-6), gradient * weight / (weight + 1e-6)

    peer = reference(TORCH)._replace(differentiate=larger)
    compared(peer, case(added=1e-6))
    with pytest.raises(AssertionError):
        compared(peer, case())


def test_a_black_box_is_identified() -> None:
    seen = identified(reference(TORCH, class_weight="w"), case())
    assert seen["spec"] == repr(TORCH)
    assert seen["sure"] == "open"


def test_a_black_box_that_no_spec_computes_is_named() -> None:
    right = reference(TORCH, class_weight="w")

    def scaled(loss: Any, batch: Batch, pulled: Any = cotangent) -> tuple[Any, Any]:
        value, gradient = right.differentiate(loss, batch, pulled)
        return value, gradient * 1.01

    wrong = right._replace(differentiate=scaled)
    with pytest.raises(AssertionError, match="gradient_not_the_loss_s"):
        identified(wrong, case())
    with pytest.raises(AssertionError, match="sure: open"):
        identified(right._replace(misfits={"torch": ("target",)}), case())


def test_every_loss_was_identified() -> None:
    """But that of probabilities alone, which torch_room/test_identify.py has."""
    named = {(result["package"], seen["dialect"]) for result in RESULTS for seen in result["identified"]}
    assert named == {(result["package"], found["dialect"]) for result, found in CASES} - {
        ("torch", "torch_probabilities")
    }


def test_no_two_denominators_are_the_same() -> None:
    """Nor is any of them 1, the divisor of a sum."""

    def loss(denominator: str) -> float:
        spec = Spec(0.1, ignore_index=-100, denominator=denominator)
        labels = BATCH.labels(-100)
        return float(smoothed_cross_entropy(BATCH.x, labels, spec, sample_weight=BATCH.s, class_weight=BATCH.w))

    losses = sorted(loss(denominator) for denominator in DENOMINATORS)
    assert min(np.diff(losses)) > 1e-3 * losses[0]
    assert NO_POSITIONS.y.size == NOTHING.mask.sum() == 0


@pytest.mark.parametrize(("result", "found"), CASES, ids=lambda value: value.get("package", value.get("case")))
def test_a_recorded_comparison_is_of_today_s_dialect(result: dict[str, Any], found: dict[str, Any]) -> None:
    assert max(found["loss"], found["gradient"] or 0) <= TOLERANCE[result["precision"]]
    if found["dialect"] not in DIALECTS:
        return
    try:
        spec = DIALECTS[found["dialect"]].spec(**found["parameters"])
    except InputError:
        return  # a loss that no spec expresses, compared where one would
    recorded = found["spec"] | {"exclude": tuple(found["spec"]["exclude"])}
    values = recorded["values"]
    assert asdict(spec) == recorded | {"values": values and tuple(values)}


def test_the_page_is_what_the_results_say() -> None:
    assert (ROOT / "docs/dialects.md").read_text(encoding="utf-8") == PAGE.page()


def test_every_module_has_run_in_the_version_that_is_pinned() -> None:
    modules = {path.stem for path in (ROOT / "tests/peers").glob("*_loss.py")}
    listed = [name for environment in ENVIRONMENTS.values() for name in environment["peers"]]
    assert sorted(listed) == sorted(modules) == sorted(path.stem for path in (ROOT / "results/dialects").glob("*.json"))
    pins = re.findall(
        r'[" ]([A-Za-z][\w.-]*)(?:\[\w+\])?==([\w.]+)"', (ROOT / "tests/peers/environments.toml").read_text()
    )
    for result in RESULTS:
        assert (result["package"], result["version"].partition("+")[0]) in pins


def test_every_dialect_was_compared_or_cannot_be() -> None:
    executed = {found["dialect"] for _, found in CASES}
    assert not executed & set(PAGE.absent())
    assert set(DIALECTS) <= executed | set(PAGE.absent())
    assert executed <= {name for name, row in DIALECTS.items() if row.executed} | set(INEXPRESSIBLE)
    assert len({result["package"] for result in RESULTS}) >= 14
