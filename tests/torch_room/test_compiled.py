"""torch.compile: one graph for all batches, and no silent second derivative."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor
from torch._dynamo.eval_frame import _debug_get_cache_entry_list
from torch._dynamo.testing import AotEagerAndRecordGraphs, CompileCounterWithBackend, EagerAndRecordGraphs

from multismooth import Spec
from multismooth.errors import InputError
from multismooth.torch import SmoothedCrossEntropy, smoothed_cross_entropy, traced

SPECS = [
    Spec(0.1),
    Spec(0.1, "others", ignore_index=-100, z_loss=1e-4),
    Spec(0.1, kl=True, exclude=(1,), denominator="sequences", empty="nan"),
    Spec(values=(0.9, 0.005), out_of_range="nan", reduction="none"),
]


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def batch(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and a mask, another for every seed; the last mask is empty."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, 5, generator=random, dtype=torch.float64).requires_grad_()
    labels = torch.randint(5, shape, generator=random)
    return logits, labels, torch.rand(shape, generator=random) < 1 - seed / 3


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_another_mask_needs_no_other_graph(spec: Spec) -> None:
    counter = CompileCounterWithBackend("aot_eager")

    def loss(logits: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, labels, spec, where=where)

    compiled = torch.compile(loss, backend=counter, fullgraph=True)
    for seed in range(4):
        arguments = batch(seed, 3, 4)
        torch.testing.assert_close(compiled(*arguments), loss(*arguments), rtol=1e-14, atol=1e-15, equal_nan=True)
    assert counter.frame_count == 1


DENOMINATORS = ["valid", "all", "batch", "weights", "nonzero_weights", "sequences", "nonempty_sequences"]


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("given", [(), ("sample_weight",)], ids=str)
@pytest.mark.parametrize("dynamic", [None, True])
def test_another_batch_size_needs_no_other_graph(
    dynamic: bool | None, given: tuple[str, ...], denominator: str
) -> None:
    """But for the first one, which PyTorch takes for the only one if it is not told."""
    counter = CompileCounterWithBackend("aot_eager")

    def loss(logits: Tensor, labels: Tensor, **more: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, labels, Spec(0.1, denominator=denominator), **more)

    compiled = torch.compile(loss, backend=counter, fullgraph=True, dynamic=dynamic)
    for size in (3, 6, 8, 11):
        logits, labels, where = batch(1, size, 4)
        more = dict.fromkeys(given, where + 0.5)
        expected = loss(logits, labels, **more)
        torch.testing.assert_close(compiled(logits, labels, **more), expected, rtol=1e-14, atol=1e-15)
    assert counter.frame_count == (1 if dynamic else 2)


def test_a_normalizer_tensor_needs_no_other_graph() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(smoothed_cross_entropy, backend=counter, fullgraph=True)
    logits, labels, _ = batch(0, 3, 4)
    losses = [compiled(logits, labels, normalizer=torch.tensor(float(n))) * n for n in (1, 2, 4)]
    assert len({round(loss.item(), 12) for loss in losses}) == 1
    assert counter.frame_count == 1


def test_equal_specs_share_a_graph() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(smoothed_cross_entropy, backend=counter, fullgraph=True)
    logits, labels, _ = batch(0, 3, 4)
    for _ in range(3):
        compiled(logits, labels, Spec(label_smoothing=0.1, spread="others"))
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("calls", "frames"),
    [
        ([{"normalizer": n} for n in (3, 4, 0, 2**24 + 1)], 2),
        ([{"normalizer": n} for n in (3.0, 4.5, 1e30, 1e-30)], 2),
        ([{"spec": epsilon} for epsilon in (0.1, 0.2, 0.3)], 2),
        ([{"spec": Spec(0.1, ignore_index=n)} for n in (0, 1, 2)], 2),
        ([{"classes": n} for n in (5, 7, 9)], 2),
    ],
    ids=["integer", "float", "label_smoothing", "ignore_index", "classes"],
)
def test_a_number_that_changes_is_left_open(calls: list[dict[str, Any]], frames: int) -> None:
    """The first graph is of the first number, and the second one of all that come after it."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(smoothed_cross_entropy, backend=counter, fullgraph=True)
    labels = torch.arange(12) % 5
    for call in calls:
        given = {"spec": 0.1} | call
        draw = torch.Generator().manual_seed(0)
        logits = torch.randn(12, given.pop("classes", 5), dtype=torch.float64, generator=draw).requires_grad_()
        losses = [loss(logits, labels, **given) for loss in (compiled, smoothed_cross_entropy)]
        torch.testing.assert_close(*losses, rtol=1e-14, atol=0)
        (found,), (expected,) = (torch.autograd.grad(loss, logits) for loss in losses)
        # p − q has the rounding of p, however small it is itself.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14 * expected.abs().max().item())
    assert counter.frame_count == frames


def test_dynamo_does_not_look_into_the_loss() -> None:
    """Each function that it looks into it guards before every call."""
    backend = EagerAndRecordGraphs()
    logits, labels, where = batch(1, 3, 4)
    loss = torch.compile(partial(smoothed_cross_entropy, where=where), backend=backend, fullgraph=True)
    torch.testing.assert_close(loss(logits, labels), smoothed_cross_entropy(logits, labels, where=where))
    (graph,) = backend.graphs
    assert len([node for node in graph.graph.nodes if node.op.startswith("call")]) == 1


@pytest.mark.parametrize("spec", SPECS[:3], ids=repr)
def test_a_cotangent_is_worked_out_once_for_all_classes(spec: Spec) -> None:
    """What asks for a stride is not fused into the pass over the logits, which would repeat the rest for each."""
    backend = AotEagerAndRecordGraphs()
    logits, labels, where = batch(1, 3, 4)
    loss = torch.compile(partial(smoothed_cross_entropy, spec=spec, where=where), backend=backend, fullgraph=True)
    found, expected = (torch.autograd.grad(f(logits, labels), logits)[0] for f in (loss, loss.__wrapped__))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    (graph,) = backend.bw_graphs
    (held,) = [node for node in graph.graph.nodes if node.target is torch.ops.aten.as_strided.default]
    assert held.meta["val"].shape == labels.shape


def test_few_guards_are_evaluated_before_a_call() -> None:
    """Of few logits they take as long as the graph."""
    logits, labels, _ = batch(0, 3)
    spec = SPECS[1]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, labels, spec)

    torch.compile(loss, backend="eager", fullgraph=True)(logits, labels)
    (entry,) = _debug_get_cache_entry_list(loss.__code__)
    guards = [line for line in str(entry.guard_manager).splitlines() if "GuardManager" not in line]
    others = [line for line in guards if "L[" not in line and "__kwdefaults__" not in line]
    assert len(others) < 20, others  # those of the arguments and the spec apart, and of what was not given


def test_every_field_of_the_spec_reaches_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "_loss", lambda call, values, axis: Spec(*values))
    specs = [*SPECS, Spec(class_weight_rule="expected")]
    for field in fields(Spec):
        assert any(getattr(spec, field.name) != field.default for spec in specs), field.name
    for spec in specs:
        assert traced.loss_in_graph("", spec, -1, ()) == spec


def test_the_compiler_is_imported_by_who_compiles() -> None:
    """It takes as long as PyTorch itself."""
    code = "import sys, multismooth.torch; print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_arrays_of_numpy_are_refused() -> None:
    """In a graph they would be tensors."""
    logits, labels, _ = batch(0, 3, 4)
    with pytest.raises(InputError, match="labels is a ndarray"):
        torch.compile(smoothed_cross_entropy, backend="aot_eager")(logits, labels.numpy())


def total(logits: Tensor, labels: Tensor) -> Tensor:
    return smoothed_cross_entropy(logits, labels, Spec(0.1, "others", z_loss=0.1, reduction="sum"))


@pytest.mark.parametrize(
    "function",
    [
        torch.func.grad(total),
        torch.func.vmap(total),
        torch.func.vmap(torch.func.grad(total)),
        torch.func.jacrev(total),
        torch.func.hessian(total),
        lambda logits, labels: torch.func.jvp(lambda x: total(x, labels), (logits,), (logits,)),
        lambda logits, labels: torch.utils.checkpoint.checkpoint(total, logits, labels, use_reentrant=False),
    ],
    ids=["grad", "vmap", "vmap-grad", "jacrev", "hessian", "jvp", "checkpoint"],
)
def test_compiled_transformations(function: Callable[[Tensor, Tensor], Any]) -> None:
    logits, labels, _ = batch(0, 3, 4)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    expected = function(logits.detach(), labels)
    torch.testing.assert_close(compiled(logits.detach(), labels), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("axis", [1, -1], ids=["planes", "rows"])
@pytest.mark.parametrize(
    ("spec", "option"),
    [
        (spec, option)
        for spec in [*SPECS, Spec(), Spec(0.95), Spec(z_loss=0.1)]
        for option in [None, "allowed", *["prior"] * (spec.values is None), *["class_weight"] * (not spec.kl)]
    ],
    ids=repr,
)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_compiled_gradient_is_the_eager_one(spec: Spec, option: str | None, reduction: str, axis: int) -> None:
    """Whatever a masked position or a class that is not allowed holds, with a label's −inf and another class's +inf."""
    logits, labels, where = batch(1, 3, 4)
    labels, where = labels.clamp(max=3), where.index_fill(1, torch.tensor([0]), True)
    with torch.no_grad():
        logits[~where] = torch.nan
        logits[0, 0, labels[0, 0]] = -torch.inf
        logits[1, 0, labels[1, 0] - 1] = torch.inf
        if option == "allowed":
            logits[2, 0, -1], logits[0, 0, -1] = torch.nan, torch.inf
    options = {
        "allowed": torch.tensor([True, True, True, True, False]),
        "prior": torch.tensor([0.1, 0.4, 0.2, 0.3, 0.0], dtype=torch.float64),
        "class_weight": torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=torch.float64),
    }
    given = {} if option is None else {option: options[option]}
    compiled = torch.compile(smoothed_cross_entropy, backend="aot_eager", fullgraph=True)
    losses = [
        loss(logits.movedim(-1, axis), labels, replace(spec, reduction=reduction), axis=axis, where=where, **given)
        for loss in (compiled, smoothed_cross_entropy)
    ]
    torch.testing.assert_close(*losses, rtol=1e-14, atol=1e-16, equal_nan=True)
    ours, theirs = (torch.autograd.grad(loss.sum(), logits)[0] for loss in losses)
    assert theirs.isfinite().all(-1).sum() == labels.numel() - 1
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-16, equal_nan=True)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft"])
def test_a_second_derivative_of_a_compiled_loss_raises(soft: bool) -> None:
    logits, labels, _ = batch(0, 3, 4)
    labels = torch.nn.functional.one_hot(labels, 5).double() if soft else labels
    compiled = torch.compile(smoothed_cross_entropy, backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(logits, labels, 0.1), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.square().sum().backward()


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles for a CPU with g++")
@pytest.mark.parametrize(
    ("classes", "axis", "soft"),
    [(50_257, -1, False), (50_257, -1, True), (8191, -1, False), (4099, 0, False), (4099, 0, True)],
    ids=["rows", "soft-rows", "prime-rows", "planes", "soft-planes"],
)
def test_a_compiler_s_sums_keep_their_digits(classes: int, axis: int, soft: bool) -> None:
    """Of thousands of logits, even or alike: added one after another they lose 6 to 40 units."""
    even = ((137 * torch.arange(classes) + 11) % 509 - 254) / 32
    alike = torch.full((classes,), -0.3567).index_fill(0, torch.tensor(0), 0.0)
    logits = torch.stack([even, even.flip(0), alike]).movedim(-1, axis).contiguous()
    labels = torch.tensor([0, 7, 14])
    if soft:
        labels = torch.nn.functional.one_hot(labels, classes).movedim(-1, axis).float()
    call = partial(smoothed_cross_entropy, labels=labels, spec=Spec(0.1, reduction="none"), axis=axis)
    found, exact = torch.compile(call, fullgraph=True)(logits), call(logits.double())
    units = torch.ldexp(torch.ones(3), exact.frexp().exponent - 24)
    assert ((found - exact).abs() <= 4 * units).all()


def test_a_compiled_module() -> None:
    criterion = SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255)
    logits, labels, where = batch(1, 3, 4)
    logits, labels = logits.movedim(-1, 1), labels.masked_fill(~where, 255)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, labels), criterion(logits, labels), rtol=1e-14, atol=0)


def test_a_bad_label_makes_its_row_nan() -> None:
    """A compiled graph cannot raise."""
    logits, labels, _ = batch(0, 3, 4)
    labels[1, 2] = 5
    compiled = torch.compile(smoothed_cross_entropy, backend="aot_eager", fullgraph=True)
    loss = compiled(logits, labels, Spec(0.1, reduction="none"))
    assert loss.isnan().nonzero().tolist() == [[1, 2]]
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.isnan().any(-1).nonzero().tolist() == [[1, 2]]


def test_bad_class_weights_leave_what_is_masked_0() -> None:
    """They cannot be refused here: what counts is NaN, and a gradient of 0 is no product with them."""
    logits, labels, where = batch(1, 3, 4)
    weight = torch.tensor([1.0, torch.nan, torch.inf, 1.0, 1.0], dtype=torch.float64)
    compiled = torch.compile(smoothed_cross_entropy, backend="aot_eager", fullgraph=True)
    loss = compiled(logits, labels, 0.1, where=where, class_weight=weight)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isnan()
    assert (gradient[~where] == 0).all()
    assert gradient[where].isnan().any(-1).all()
