"""The four moves of the porting guide, run as a user would; ``nox -s moves``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples/moves"
COMMITTED = ROOT / "docs/moves"
WRONG = {
    "torch_to_flax": (", class_weight=jnp.asarray(WEIGHT)", ""),
    "torch_to_keras": ("dialects.torch(0.1, ignore_index=255)", "dialects.fairseq(0.1, 255)"),
    "huggingface_to_t5x": ("dialects.huggingface(0.1), where=following != PAD", "dialects.huggingface(0.1)"),
    "keras_to_torch": ("where=characters != PAD", "where=following != PAD"),
}
"""For each script what a port may get wrong."""


def run(script: Path, out: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, str(script), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def figures(folder: Path, name: str) -> dict[str, float]:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_every_script_is_in_the_guide() -> None:
    page = (ROOT / "docs/porting.md").read_text(encoding="utf-8")
    assert {path.stem for path in SCRIPTS.glob("*_to_*.py")} == WRONG.keys()
    assert all(f"moves/{name}.png" in page for name in WRONG)


@pytest.mark.parametrize("name", WRONG)
def test_a_move_keeps_the_loss(tmp_path: Path, name: str) -> None:
    done = run(SCRIPTS / f"{name}.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found, told = figures(tmp_path, name), figures(COMMITTED, name)
    assert found.keys() == told.keys()
    for key in ("own_first", "own_worst"):  # two digits, of which rounding may move the last
        assert found[key] == pytest.approx(told[key], rel=0.1)


@pytest.mark.parametrize(("name", "change"), WRONG.items())
def test_a_wrong_port_is_told(tmp_path: Path, name: str, change: tuple[str, str]) -> None:
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    assert change[0] in text
    script = tmp_path / f"{name}.py"
    script.write_text(text.replace(*change), encoding="utf-8")
    done = run(script, tmp_path)
    assert done.returncode == 1
    assert "the ported loss is another" in done.stderr
