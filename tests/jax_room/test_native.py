"""Snippets of ``as_native("optax")``, run without multismooth."""

from pathlib import Path

from tests.native_snippets import call, check, dialects, edges, specs, uneven


def test_every_target_with_every_reduction(tmp_path: Path) -> None:
    assert check("optax", [call(spec, "optax", uneven()) for spec in specs()], tmp_path) > 400


def test_dialects(tmp_path: Path) -> None:
    found = dialects().values()
    assert check("optax", [call(spec, "optax", uneven()) for spec in found], tmp_path) == len(found)


def test_edges(tmp_path: Path) -> None:
    assert check("optax", edges("optax"), tmp_path) > 400
