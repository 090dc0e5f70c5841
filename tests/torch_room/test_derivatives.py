"""First and second derivatives in PyTorch, by every route that leads to them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from multismooth import InputError, Spec
from multismooth.torch import smoothed_cross_entropy, smoothed_cross_entropy_totals
from tests import cases
from tests.cases import CASES, IDS, Case

LOGITS, LABELS, WHERE = (torch.tensor(array) for array in (cases.LOGITS, cases.LABELS, cases.WHERE))
SPEC = Spec(0.1, "others", z_loss=0.05)


def function_of(case: Case) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The loss as a function of its differentiable arguments, and these."""
    arrays = {name: torch.tensor(array) for name, array in case.arrays.items()}
    names = case.differentiable

    def loss(*given: Tensor) -> Tensor:
        return smoothed_cross_entropy(**arrays | dict(zip(names, given, strict=True)), spec=case.spec, axis=case.axis)

    return loss, [arrays[name].requires_grad_() for name in names]


def loss_of(logits: Tensor) -> Tensor:
    return smoothed_cross_entropy(logits, LABELS, SPEC, where=WHERE)


def gradient_of(logits: Tensor, loss: Callable[[Tensor], Tensor] = loss_of) -> Tensor:
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


BATCH_FIRST = [case for case in CASES if case.axis == -1]
every = pytest.mark.parametrize("case", CASES, ids=IDS)


@every
def test_first(case: Case) -> None:
    loss, inputs = function_of(case)
    assert gradcheck(loss, inputs, fast_mode=True, check_forward_ad=True, check_batched_grad=True)


@every
def test_second(case: Case) -> None:
    loss, inputs = function_of(case)
    assert gradgradcheck(loss, inputs, fast_mode=True, check_fwd_over_rev=True)


@every
def test_hessian_by_four_routes(case: Case) -> None:
    """Forward over reverse, reverse over reverse, reverse over forward, and plain autograd."""
    loss, inputs = function_of(case)
    if case.spec.reduction == "none":
        cotangent = torch.tensor(cases.COTANGENT)

        def scalar(logits: Tensor) -> Tensor:
            return (cotangent * loss(logits, *inputs[1:])).sum()
    else:

        def scalar(logits: Tensor) -> Tensor:
            return loss(logits, *inputs[1:])

    logits = inputs[0].detach()
    plain = torch.autograd.functional.hessian(scalar, logits)
    for route in (hessian(scalar), jacrev(jacrev(scalar)), jacrev(jacfwd(scalar))):
        torch.testing.assert_close(route(logits), plain, rtol=1e-12, atol=1e-14)
    assert plain.isfinite().all()
    assert plain.count_nonzero() > 10


@pytest.mark.parametrize("case", BATCH_FIRST, ids=[case.id for case in BATCH_FIRST])
def test_gradients_of_examples_are_those_of_the_batch(case: Case) -> None:
    """vmap(grad) over the first axis of the positions, for losses that do not divide by the batch."""
    arrays = {name: torch.tensor(array) for name, array in case.arrays.items()}
    spec = Spec(**{**vars(case.spec), "reduction": "sum", "denominator": "valid"})
    shared = {name: a for name, a in arrays.items() if name in ("class_weight", "prior") or a.shape == (4,)}
    rows = {name: a for name, a in arrays.items() if name not in shared and name != "logits"}

    def loss(logits: Tensor, rows: dict[str, Tensor]) -> Tensor:
        return smoothed_cross_entropy(logits, spec=spec, **rows, **shared)

    batch = gradient_of(arrays["logits"], lambda logits: loss(logits, rows))
    torch.testing.assert_close(vmap(grad(loss))(arrays["logits"], rows), batch, rtol=1e-13, atol=1e-15)


def test_losses_of_examples_are_those_of_the_batch() -> None:
    spec = Spec(0.1, reduction="none")
    mapped = vmap(lambda logits, labels: smoothed_cross_entropy(logits, labels, spec))(LOGITS, LABELS)
    torch.testing.assert_close(mapped, smoothed_cross_entropy(LOGITS, LABELS, spec), rtol=1e-15, atol=0)


def test_a_bad_label_among_the_mapped_is_nan() -> None:
    """Its value cannot be read there."""
    labels = torch.tensor([0, 4, -1, 3])
    mapped = vmap(smoothed_cross_entropy)(LOGITS[0, :1].expand(4, 4), labels)
    assert mapped.isnan().tolist() == [False, True, True, False]


def test_jvp_is_the_gradient_s_product() -> None:
    tangent = torch.randn(LOGITS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, derivative = jvp(loss_of, (LOGITS,), (tangent,))
    torch.testing.assert_close(derivative, (gradient_of(LOGITS) * tangent).sum(), rtol=1e-13, atol=0)


@every
def test_a_gradient_has_a_slope_where_the_cotangent_is_0(case: Case) -> None:
    """Along which ``torch.autograd.functional.jvp`` differentiates it."""
    loss, inputs = function_of(case)
    draw = torch.Generator().manual_seed(0)
    directions = tuple(torch.randn(given.shape, generator=draw, dtype=given.dtype) for given in inputs)
    _, expected = jvp(loss, tuple(inputs), directions)
    _, found = torch.autograd.functional.jvp(loss, tuple(inputs), directions)
    torch.testing.assert_close(found, expected)


def test_a_slope_at_0_is_not_that_of_what_is_masked() -> None:
    logits = LOGITS.masked_fill(~WHERE.unsqueeze(-1), torch.nan)
    direction = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
    for spec in (SPEC, Spec(0.1, z_loss=0.05, reduction="none")):

        def loss(logits: Tensor, spec: Spec = spec) -> Tensor:
            return smoothed_cross_entropy(logits, LABELS, spec, where=WHERE)

        _, expected = torch.autograd.functional.jvp(loss, LOGITS, direction)
        _, found = torch.autograd.functional.jvp(loss, logits, direction)
        torch.testing.assert_close(found, expected)
        assert found.abs().sum() > 0


@pytest.mark.parametrize("recorded", [False, True])
def test_a_masked_infinity_has_no_part_in_a_prior_s_gradient(recorded: bool) -> None:
    """Nor where the gradient is recorded, to be differentiated itself."""
    classes = LOGITS.shape[-1]
    masked = ~WHERE.unsqueeze(-1) & (torch.arange(classes) == 1)

    def gradient(logits: Tensor) -> Tensor:
        prior = torch.full((classes,), 1 / classes, dtype=logits.dtype, requires_grad=True)
        loss = smoothed_cross_entropy(logits, LABELS, Spec(0.1), where=WHERE, prior=prior)
        return torch.autograd.grad(loss, prior, create_graph=recorded)[0]

    torch.testing.assert_close(gradient(LOGITS.masked_fill(masked, -torch.inf)), gradient(LOGITS), rtol=0, atol=0)


def test_forward_mode_twice_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        jacfwd(jacfwd(loss_of))(LOGITS)
    assert caught.value.reason == "nested_forward_mode"
    soft = torch.tensor(cases.SOFT)
    with pytest.raises(InputError) as caught:
        jvp(lambda x: jvp(lambda x: smoothed_cross_entropy(x, soft), (x,), (x,))[1], (LOGITS,), (LOGITS,))
    assert caught.value.reason == "nested_forward_mode"


@pytest.mark.parametrize("spec", [SPEC, Spec(0.1, reduction="none"), Spec(0.1, denominator="sequences")], ids=repr)
def test_a_second_backward_gives_the_same(spec: Spec) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = smoothed_cross_entropy(logits, LABELS, spec, where=WHERE)
    cotangent = torch.randn(loss.shape, dtype=torch.float64)
    first, second = (torch.autograd.grad(loss, logits, cotangent, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_accumulate() -> None:
    logits = LOGITS.clone().requires_grad_()
    for _ in range(3):
        loss_of(logits).backward()
    torch.testing.assert_close(logits.grad, 3 * gradient_of(LOGITS), rtol=1e-15, atol=0)


def test_inputs_stay_as_they_are() -> None:
    logits, labels, where = LOGITS.clone().requires_grad_(), LABELS.clone(), WHERE.clone()
    smoothed_cross_entropy(logits, labels, SPEC, where=where).backward()
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, LABELS)
    assert torch.equal(where, WHERE)


@every
def test_a_cotangent_reaches_each_position(case: Case) -> None:
    """Of unreduced losses, row by row."""
    spec = Spec(**{**vars(case.spec), "reduction": "none"})
    loss, inputs = function_of(case._replace(spec=spec))
    cotangent = torch.tensor(cases.COTANGENT)
    positions = loss(*inputs)
    whole = torch.autograd.grad(positions, inputs[0], cotangent, retain_graph=True)[0]
    rows = torch.stack(
        [
            torch.autograd.grad(value, inputs[0], retain_graph=True)[0] * g
            for value, g in zip(positions.flatten(), cotangent.flatten(), strict=True)
        ]
    )
    torch.testing.assert_close(whole, rows.sum(0), rtol=1e-13, atol=1e-16)


def test_inputs_that_need_no_gradient_get_none() -> None:
    weight = torch.tensor(cases.CLASS_WEIGHT, requires_grad=True)
    prior = torch.tensor(cases.PRIOR)
    smoothed_cross_entropy(LOGITS, LABELS, Spec(0.1), class_weight=weight, prior=prior).backward()
    assert weight.grad is not None
    assert prior.grad is None
    assert LOGITS.grad is None
    assert not loss_of(LOGITS).requires_grad
    with torch.no_grad():
        assert not loss_of(LOGITS.clone().requires_grad_()).requires_grad


# --- Layouts ------------------------------------------------------------------------------------------------------

IMAGES = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
PIXELS = torch.arange(30).reshape(2, 3, 5) % 4


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
        lambda x: torch.stack([x, x], -1)[..., 0],
        lambda x: torch.cat([x, x], 1)[:, :4],
    ],
    ids=["channels_last", "transposed", "strided", "sliced"],
)
def test_other_layouts_give_the_contiguous_numbers(lay_out: Callable[[Tensor], Tensor]) -> None:
    logits = lay_out(IMAGES)
    assert not logits.is_contiguous()
    assert torch.equal(logits, IMAGES)

    def loss(x: Tensor) -> Tensor:
        return smoothed_cross_entropy(x, PIXELS, SPEC, axis=1)

    torch.testing.assert_close(loss(logits), loss(IMAGES), rtol=4e-16, atol=0)
    torch.testing.assert_close(gradient_of(logits, loss), gradient_of(IMAGES, loss), rtol=4e-16, atol=1e-18)


def test_expanded_inputs_give_the_contiguous_numbers() -> None:
    row, label = LOGITS[:1, :1], LABELS[:1, :1]
    arguments: dict[str, Any] = {"where": torch.tensor([[True]]), "sample_weight": torch.tensor([[0.5]]).double()}
    expanded = smoothed_cross_entropy(
        row.expand(5, 2, 4), label.expand(5, 2), SPEC, **{k: v.expand(5, 2) for k, v in arguments.items()}
    )
    repeated = smoothed_cross_entropy(
        row.repeat(5, 2, 1), label.repeat(5, 2), SPEC, **{k: v.repeat(5, 2) for k, v in arguments.items()}
    )
    torch.testing.assert_close(expanded, repeated, rtol=4e-16, atol=0)


def test_the_gradient_of_an_expanded_row_is_the_sum() -> None:
    def loss(row: Tensor) -> Tensor:
        return smoothed_cross_entropy(row.expand(5, 4), torch.arange(5) % 4, Spec(0.1, reduction="sum"))

    row = LOGITS[0, :1].clone()
    assert gradcheck(loss, [row.requires_grad_()])


# --- Hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing(use_reentrant: bool) -> None:
    logits = LOGITS.clone().requires_grad_()
    checkpoint(loss_of, logits, use_reentrant=use_reentrant).backward()
    assert torch.equal(logits.grad, gradient_of(LOGITS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_loss_in_float32(dtype: torch.dtype) -> None:
    hidden, kernel = LOGITS.float(), torch.eye(4, requires_grad=True)
    with torch.autocast("cpu", dtype):
        logits = hidden @ kernel
        loss = smoothed_cross_entropy(logits, LABELS, SPEC)
    assert logits.dtype == dtype
    assert loss.dtype == torch.float32
    assert torch.equal(loss, smoothed_cross_entropy(logits, LABELS, SPEC))
    loss.backward()
    assert kernel.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_gradients_have_the_dtype_of_their_inputs(dtype: torch.dtype) -> None:
    inputs = {
        "logits": LOGITS.to(dtype).requires_grad_(),
        "sample_weight": torch.tensor(cases.SAMPLE_WEIGHT).float().requires_grad_(),
        "class_weight": torch.tensor(cases.CLASS_WEIGHT).bfloat16().requires_grad_(),
        "prior": torch.tensor(cases.PRIOR).double().requires_grad_(),
    }
    loss = smoothed_cross_entropy(labels=LABELS, spec=Spec(0.1), **inputs)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for tensor, gradient in zip(inputs.values(), torch.autograd.grad(loss, list(inputs.values())), strict=True):
        assert gradient.dtype == tensor.dtype
        assert gradient.shape == tensor.shape


def test_totals_are_differentiable() -> None:
    def mean(logits: Tensor) -> Tensor:
        halves = [slice(0, 1), slice(1, 2)]
        return sum(
            smoothed_cross_entropy_totals(logits[half], LABELS[half], SPEC, where=WHERE[half]) for half in halves
        ).mean(SPEC)

    torch.testing.assert_close(gradient_of(LOGITS, mean), gradient_of(LOGITS), rtol=1e-14, atol=0)


def test_nll_and_z_loss_of_the_totals_are_differentiable() -> None:
    spec = Spec(0.1, z_loss=0.05)
    assert gradcheck(lambda x: tuple(smoothed_cross_entropy_totals(x, LABELS, spec)), [LOGITS.clone().requires_grad_()])


def test_gradients_of_a_model_s_parameters() -> None:
    model = torch.nn.Linear(4, 4).double()

    def loss(parameters: dict[str, Tensor], hidden: Tensor, labels: Tensor) -> Tensor:
        return smoothed_cross_entropy(functional_call(model, parameters, hidden), labels, SPEC)

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    per_example = vmap(grad(loss), (None, 0, 0))(parameters, LOGITS, LABELS)
    whole = grad(loss)(parameters, LOGITS, LABELS)
    for name, gradient in whole.items():
        torch.testing.assert_close(per_example[name].mean(0), gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_a_tangent_of_a_class_that_is_not_allowed_is_not_read(soft: bool) -> None:
    logits, allowed = torch.arange(8.0).reshape(2, 4), torch.tensor([True, True, True, False])
    labels = torch.tensor([[0.5, 0.5, 0.0, 0.0]] * 2) if soft else torch.tensor([0, 2])
    tangent = torch.ones(2, 4) * torch.tensor([1.0, 2.0, 3.0, torch.nan])

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return smoothed_cross_entropy(logits, labels, 0.1, allowed=allowed)

    _, slope = torch.func.jvp(loss, (logits,), (tangent,))
    gradient = torch.func.grad(loss)(logits)
    torch.testing.assert_close(slope, (gradient * tangent)[:, :3].sum())
