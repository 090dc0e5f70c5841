"""``python -m tests.peers timm_loss``: runs these modules, and writes ``results/dialects/timm_loss.json`` for each."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from tests.peers.compare import report

RESULTS = Path(__file__).parents[2] / "results/dialects"


def main(names: list[str]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        (RESULTS / f"{name}.json").unlink(missing_ok=True)
        peer = import_module(f"tests.peers.{name}").PEER
        (RESULTS / f"{name}.json").write_text(report(peer), encoding="utf-8")
        print(f"{name}: {len(peer.cases)} cases and {len(peer.facts)} facts of {peer.package}")


if __name__ == "__main__":
    main(sys.argv[1:])
