"""Snippets of ``as_native("torch")``, run without multismooth."""

from pathlib import Path

import pytest

from multismooth import Spec
from tests.native_snippets import call, check, dialects, edges, specs, uneven


def test_every_target_with_every_reduction(tmp_path: Path) -> None:
    assert check("torch", [call(spec, "torch", uneven()) for spec in specs()], tmp_path) > 400


def test_dialects(tmp_path: Path) -> None:
    found = dialects().values()
    assert check("torch", [call(spec, "torch", uneven()) for spec in found], tmp_path) == len(found)


def test_edges(tmp_path: Path) -> None:
    assert check("torch", edges("torch"), tmp_path) > 400


@pytest.mark.parametrize(
    ("spec", "right", "wrong"),
    [
        (Spec(0.1), "label_smoothing=0.1", "label_smoothing=0.1000001"),
        (Spec(0.1, "others", ignore_index=-100), "classes - 1", "classes"),
        (Spec(ignore_index=-100), "labels != -100", "labels > -200"),
        (Spec(z_loss=0.03, denominator="weights"), "torch.sum(weight)", "labels.new_tensor(9)"),
        (Spec(0.2, kl=True, reduction="sum"), "F.kl_div(log_p, target, ", "(-target * log_p).sum(-1)  # ("),
    ],
    ids=["smoothing", "spread", "denominator", "weights", "entropy"],
)
def test_a_wrong_snippet_is_noticed(tmp_path: Path, spec: Spec, right: str, wrong: str) -> None:
    one = call(spec, "torch", uneven())
    assert right in one.code
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check("torch", [one._replace(code=one.code.replace(right, wrong))], tmp_path)
