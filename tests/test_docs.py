"""The documentation says what is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import multismooth
from multismooth.spec import DENOMINATORS
from multismooth_conformance import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_choices_is_what_the_reference_says() -> None:
    assert (ROOT / "docs/choices.md").read_text(encoding="utf-8") == _module(ROOT / "docs/choices.py").page()


def test_the_porting_guide_is_what_the_scripts_and_the_tools_say() -> None:
    assert (ROOT / "docs/porting.md").read_text(encoding="utf-8") == _module(ROOT / "docs/porting.py").page()


def test_the_readme_lists_every_denominator() -> None:
    assert re.findall(r'^\| `"(\w+)"` \|', README, re.MULTILINE) == list(DENOMINATORS)


def test_the_number_of_vectors_is_true() -> None:
    assert f"{len(load()):,} vectors" in README


def test_the_page_of_coverage_is_what_the_vectors_say() -> None:
    assert (ROOT / "docs/coverage.md").read_text(encoding="utf-8") == _module(ROOT / "docs/coverage.py").page()


def test_the_number_of_dialects_is_true() -> None:
    assert f"as {len(multismooth.dialects.DIALECTS)} losses in use" in README


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_the_readme_links_to_files_that_exist(link: str) -> None:
    assert (ROOT / link).is_file()


def test_the_versions_agree() -> None:
    assert f"version: {multismooth.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {multismooth.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
