"""The README's example runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readme import example


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example("jax"), names)
    assert "loss" in names or "model" in names
