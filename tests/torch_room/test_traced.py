"""Many logits where somebody traces what is done to them: no value may be asked for, nor built in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from multismooth.torch import fused, smoothed_cross_entropy

SHAPE = (2048, 100)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    return smoothed_cross_entropy(logits, labels, 0.1)


def gradient(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits, labels), logits)[0]


def batch(confident: bool) -> tuple[Tensor, Tensor]:
    """Confident rows take another way through the sum of the exponentials."""
    logits = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 30.0 * confident
    return logits, torch.arange(SHAPE[0]) % 7


@pytest.mark.parametrize("function", [loss, gradient])
@pytest.mark.parametrize("tracing_mode", ["real", "fake", "symbolic"])
def test_a_graph_holds_for_other_values(function: Callable[..., Tensor], tracing_mode: str) -> None:
    graph = make_fx(function, tracing_mode=tracing_mode)(*batch(confident=False))
    for confident in (False, True):
        torch.testing.assert_close(graph(*batch(confident)), function(*batch(confident)), rtol=1e-6, atol=1e-9)


def test_fake_tensors_have_a_loss() -> None:
    with FakeTensorMode():
        assert loss(torch.randn(SHAPE), torch.zeros(SHAPE[0], dtype=torch.int64)).shape == ()


def test_it_can_be_exported() -> None:
    class Module(torch.nn.Module):
        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            return loss(logits, labels)

    exported = torch.export.export(Module(), batch(confident=False)).module()
    for confident in (False, True):
        torch.testing.assert_close(exported(*batch(confident)), loss(*batch(confident)))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("rows", [4, 2048])
def test_torch_jit_builds_no_label_in(rows: int) -> None:
    def first(n: int, confident: bool = True) -> tuple[Tensor, ...]:
        return tuple(array[:n] for array in batch(confident))

    graph = torch.jit.trace(loss, first(rows, confident=False))
    for n in (rows, rows // 2):
        torch.testing.assert_close(graph(*first(n)), loss(*first(n)))
        torch.testing.assert_close(graph(first(n)[0], first(n)[1] + 1), loss(first(n)[0], first(n)[1] + 1))
    assert graph(first(rows)[0], first(rows)[1] - 1).isnan()


def test_a_subclass_of_tensors_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Tensor):
        pass

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError

    expected = loss(*batch(confident=False))
    monkeypatch.setattr(fused, "loss", refused)
    logits, labels = batch(confident=False)
    torch.testing.assert_close(torch.as_tensor(loss(logits.as_subclass(Other), labels)), expected, check_dtype=True)
    with pytest.raises(AssertionError):
        loss(logits, labels)
