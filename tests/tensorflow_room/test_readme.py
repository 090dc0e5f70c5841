"""The README's examples run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readme import examples


@pytest.mark.parametrize("example", examples("tensorflow"))
def test_the_examples_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert "loss" in names or "model" in names
