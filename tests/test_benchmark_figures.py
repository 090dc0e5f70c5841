"""The committed figures of the benchmarks are whole, and the page is what they say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import figures  # noqa: E402
import tasks  # noqa: E402


def _page() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_page", ROOT / "docs/benchmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_figures_say() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert page == _page().page(figures.load(ROOT / "results/benchmarks"))


def test_the_page_shows_pictures_that_exist() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8"))
    assert pictures
    assert all((ROOT / "docs" / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_the_figures_are_whole() -> None:
    """Every task of the run that they are of, in all three frameworks."""
    found = figures.load(ROOT / "results/benchmarks")
    quick = found["quick"]
    for framework in tasks.FRAMEWORKS:
        for process in tasks.processes(quick):
            for task in tasks.tasks(process, quick, tasks.KINDS, ()):
                assert process in found["frameworks"][framework][task.kind][task.name][task.part]


def test_the_gradient_of_confident_logits_is_ten_times_as_accurate_as_torch_s() -> None:
    cells = figures.cells(figures.load(ROOT / "results/benchmarks"), "torch", "accuracy")
    factors = [figures.error_factor(cell, "multismooth") for shape, cell in cells.items() if shape.endswith("σ = 8")]
    assert factors
    assert all(factor is not None and factor >= 10 for factor in factors)
