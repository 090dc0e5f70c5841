"""The way of few logits: which calls take it, in how many of PyTorch's, and to how many digits."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from multismooth import InputError, Spec, checks
from multismooth.torch import few, fused, smoothed_cross_entropy

WHERE = torch.tensor([True, False, True, True, False, True])
LABELS = torch.tensor([0, 4, 2, 1, 1, 3])
SHAPES = {"rows": ((6, 5), -1), "planes": ((5, 6), 0), "images": ((2, 5, 3), 1), "one": ((5,), 0)}
SPECS = [
    Spec(),
    Spec(values=(2.0, 0.0), reduction="sum"),
    Spec(0.1),
    Spec(1.0),
    Spec(0.3, "others", reduction="sum"),
    Spec(0.1, "leaky", denominator="expected_class_weights"),
    Spec(values=(2.0, 0.25), denominator="all"),
    Spec(0.1, ignore_index=2, denominator="class_weights"),
]


def arrays(shape: str) -> dict[str, Any]:
    """Logits, labels and a mask of this shape."""
    size, axis = SHAPES[shape]
    positions = [n for i, n in enumerate(size) if i != axis % len(size)]
    logits = torch.linspace(-9, 4, 5 * len(LABELS))[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    count = int(np.prod(positions))
    labels, where = (given[:count].reshape(positions) for given in (LABELS, WHERE))
    return {"logits": logits[: 5 * count].reshape(size), "labels": labels, "where": where, "axis": axis}


def outcome(spec: Spec, g: float = 1.0, **given: Any) -> tuple[Tensor, Tensor]:
    """The loss and g times its gradient."""
    logits = given.pop("logits").detach().requires_grad_()
    loss = smoothed_cross_entropy(logits, spec=spec, **given)
    return loss.detach(), torch.autograd.grad(loss, logits, torch.tensor(g, dtype=loss.dtype))[0]


def takes(**given: Any) -> bool:
    with patch.object(fused, "loss", return_value=None):
        return smoothed_cross_entropy(**given) is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_to_the_last_digit(spec: Spec, shape: str) -> None:
    """Beside the way of many logits, in float64."""
    given = arrays(shape)
    assert takes(spec=spec, **given)
    exact = outcome(spec, **given | {"logits": given["logits"].double()})
    for got, expected in zip(outcome(spec, **given), exact, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=2.0**-23, atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", ["per_class", "per_label", "expected", "label_term"])
@pytest.mark.parametrize("denominator", ["valid", "class_weights", "expected_class_weights", "weights"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_weights_ride_along(epsilon: float, denominator: str, rule: str, shape: str) -> None:
    """Whatever stands where nothing counts, or where the weight is 0."""
    spec, given = Spec(epsilon, class_weight_rule=rule, denominator=denominator), arrays(shape)
    where, logits = given["where"], given["logits"].clone()
    weight = torch.linspace(2.0, 0.0, 6)[: where.numel()].reshape(where.shape)
    given |= {"class_weight": torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0]), "sample_weight": weight.masked_fill(~where, -1)}
    given["labels"] = given["labels"].masked_fill(~where, 255).to(torch.uint64)
    logits.masked_fill_((~where | (weight == 0)).unsqueeze(given["axis"]), torch.nan)
    given["logits"] = logits
    assert takes(spec=spec, **given)
    exact = outcome(spec, **given | {"logits": logits.double()})
    for got, expected in zip(outcome(spec, **given), exact, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=2.0**-23, atol=1e-15)


def test_weights_of_half_precision_are_not_added_in_it() -> None:
    given = {"logits": torch.zeros(64, 5), "labels": torch.zeros(64, dtype=torch.int64)}
    given["sample_weight"] = torch.full((64,), 2000.0, dtype=torch.float16)
    assert takes(spec=Spec(0.1, denominator="weights"), **given)
    loss, _ = outcome(Spec(0.1, denominator="weights"), **given)
    assert loss.item() == pytest.approx(np.log(5))


def test_a_confident_batch_is_tried_once() -> None:
    logits = torch.tensor([[30.0, 0, 0]])
    with patch.object(torch, "log_softmax", wraps=torch.log_softmax) as log_softmax:
        smoothed_cross_entropy(logits, torch.tensor([0]))
    assert log_softmax.call_count == 1


def test_a_class_of_weight_0_is_not_masked() -> None:
    given = arrays("rows") | {"class_weight": torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])}
    given["logits"][given["labels"] == 2] = torch.nan
    loss, _ = outcome(Spec(0.1, class_weight_rule="per_label", reduction="sum"), **given)
    assert loss.isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    given = arrays("rows")
    given["logits"] = given["logits"].to(dtype)
    assert takes(spec=Spec(0.1), **given)
    loss, gradient = outcome(Spec(0.1), 3.0, **given)
    exact, slopes = outcome(Spec(0.1), 3.0, **given | {"logits": given["logits"].double()})
    assert loss == exact.float()
    assert torch.equal(gradient, slopes.to(dtype))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (Spec(), {"logits": torch.tensor([[20.0, 0, 0, 0, 0]] * 6), "labels": torch.zeros(6, dtype=torch.int64)}),
        (Spec(), {"logits": torch.zeros(6, 1), "labels": torch.zeros(6, dtype=torch.int64)}),
        (Spec(1e-7), {}),
        (Spec(1.0, "others"), {}),
        (Spec(values=(1e6, 0.1)), {}),
        (Spec(0.1, z_loss=0.1), {}),
        (Spec(0.1, kl=True), {}),
        (Spec(0.1, exclude=(1,)), {}),
        (Spec(0.1, denominator="sequences"), {}),
        (Spec(0.1, out_of_range="nan"), {}),
        (Spec(0.1), {"logits": torch.zeros(6, 5, dtype=torch.float64)}),
        (Spec(0.1), {"logits": torch.zeros(6, 1), "labels": torch.zeros(6, dtype=torch.int64)}),
        (Spec(0.1), {"labels": torch.full((6, 5), 0.2)}),
        (Spec(0.1), {"class_weight": torch.tensor([1.0, 0, 0, 0, 0])}),
        (Spec(0.1, denominator="weights"), {"sample_weight": torch.zeros(6)}),
        (Spec(0.1), {"prior": torch.full((5,), 0.2)}),
        (Spec(0.1), {"allowed": torch.ones(5, dtype=torch.bool)}),
        (Spec(0.1), {"normalizer": 0.0}),
        (Spec(0.1), {"where": torch.zeros(6, dtype=torch.bool)}),
        (Spec(0.1), {"inplace": True}),
        (Spec(0.1), {"logits": torch.full((6, 5), torch.inf)}),
        (Spec(0.1), {"logits": torch.zeros(6, few.SIZE), "where": None}),
    ],
    ids=str,
)
def test_what_needs_more_goes_elsewhere(spec: Spec, change: dict[str, Any]) -> None:
    assert not takes(spec=spec, **arrays("rows") | change)


def test_a_reduction_to_nothing_goes_elsewhere() -> None:
    assert not takes(spec=Spec(0.1, reduction="none"), **arrays("rows"))


def test_two_classes_that_share_are_enough() -> None:
    """One class alone has the whole target where the label receives nothing of two."""
    given = {"logits": torch.tensor([[0.0, 30.0]]), "labels": torch.tensor([0])}
    assert takes(spec=Spec(0.1, "others"), **given)
    assert not takes(spec=Spec(1.0, "others"), **given)
    assert smoothed_cross_entropy(**given, spec=Spec(1.0, "others")) == pytest.approx(np.log1p(np.exp(-30)), rel=1e-6)


@pytest.mark.parametrize("name", [None, "sample_weight", "class_weight"])
def test_the_calls_are_few(name: str | None) -> None:
    """With those that others make, forward and backward: fewer than PyTorch's own loss has."""

    def count(loss: Callable[[Tensor], Tensor]) -> int:
        logits = torch.zeros(32, 10, requires_grad=True)
        with profile(activities=[ProfilerActivity.CPU]) as record:
            loss(logits).backward()
        return sum(event.name.startswith("aten::") for event in record.events())

    labels, weight = torch.arange(32) % 10, torch.ones(32 if name == "sample_weight" else 10)
    given = {} if name is None else {name: weight}

    def native(logits: Tensor) -> Tensor:
        options: dict[str, Any] = {"ignore_index": 0, "label_smoothing": 0.1}
        if name == "sample_weight":
            return (functional.cross_entropy(logits, labels, reduction="none", **options) * weight).mean()
        return functional.cross_entropy(logits, labels, given.get("class_weight"), **options)

    assert count(lambda logits: smoothed_cross_entropy(logits, labels, 0.1, where=labels > 0, **given)) < count(native)


def test_a_gradient_in_place_is_the_same_to_the_last_digit() -> None:
    """It goes the way of many, within the bound on an element: 4 half-ULP of mass + q, over the four that count."""
    gradients = []
    for inplace in (False, True):
        given = arrays("rows")
        leaf = given.pop("logits").requires_grad_()
        loss = smoothed_cross_entropy(leaf + 0.5, spec=Spec(0.1), inplace=inplace, **given)
        gradients += torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(*gradients, rtol=0, atol=2 * 4 * 2.0**-24 / 4)


def test_a_confident_row_that_does_not_count_stays() -> None:
    given = arrays("rows")
    given["logits"][1] = torch.tensor([0.0, 0, 0, 0, 30])
    assert takes(spec=Spec(), **given)
    assert not takes(spec=Spec(), **given | {"where": None})


@pytest.mark.parametrize("g", [1.0, -1.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("shape", ["rows", "planes", "images"])
def test_what_is_masked_does_not_show_in_a_bit(shape: str, epsilon: float, g: float) -> None:
    """Nor in the sign of a 0, where the cotangent is negative."""

    def filled(garbage: float) -> tuple[bytes, bytes]:
        given = arrays(shape)
        masked = ~given["where"].unsqueeze(given["axis"])
        loss, gradient = outcome(Spec(epsilon), g, **given | {"logits": given["logits"].masked_fill(masked, garbage)})
        zeros = gradient[masked.expand_as(gradient)]
        assert not zeros.any()
        assert not torch.signbit(zeros).any()
        return loss.numpy().tobytes(), gradient.numpy().tobytes()

    assert len({filled(garbage) for garbage in (0.0, 1e30, np.inf, -np.inf, np.nan)}) == 1


def test_a_sum_of_nothing_is_zero() -> None:
    given = arrays("rows") | {"where": torch.zeros(6, dtype=torch.bool)}
    loss, gradient = outcome(Spec(0.1, reduction="sum"), **given)
    assert not any(torch.signbit(loss).any() or loss.any() for loss in (loss, gradient))


@pytest.mark.parametrize("normalizer", [4, 2.5, np.float32(2.5), torch.tensor(2.5, dtype=torch.bfloat16)], ids=repr)
def test_a_normalizer_divides(normalizer: Any) -> None:
    given = arrays("rows") | {"normalizer": normalizer}
    assert takes(spec=Spec(0.1), **given)
    total, slopes = outcome(Spec(0.1, reduction="sum"), **arrays("rows"))
    loss, gradient = outcome(Spec(0.1), **given)
    torch.testing.assert_close((loss, gradient), (total / float(normalizer), slopes / float(normalizer)))


def test_second_derivatives() -> None:
    given = arrays("planes")
    logits = given.pop("logits")

    def loss(logits: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, spec=Spec(0.1), **given)

    hessian, exact = (torch.autograd.functional.hessian(loss, x) for x in (logits, logits.double()))
    torch.testing.assert_close(hessian.double(), exact, rtol=1e-6, atol=1e-9)


def test_a_batch_like_one_before_has_its_values_checked_alone() -> None:
    logits = torch.randn(7, 11)
    expected = smoothed_cross_entropy(logits, torch.arange(7), 0.1)
    with patch.object(checks, "check_call", side_effect=AssertionError):
        assert smoothed_cross_entropy(logits, torch.arange(7), 0.1) == expected
        with pytest.raises(InputError, match="labels at"):
            smoothed_cross_entropy(logits, torch.arange(7) + 5, 0.1)
