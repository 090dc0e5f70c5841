"""``python -m tests.peers timm_loss``: runs these modules, and writes ``results/dialects/timm_loss.json`` for each."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import warnings
from importlib import import_module
from pathlib import Path

from tests.peers.blind import chosen, identified
from tests.peers.case import Peer
from tests.peers.compare import compared, impossible

RESULTS = Path(__file__).parents[2] / "results/dialects"


def report(peer: Peer) -> str:
    """All cases and facts, as JSON."""
    result = {
        "package": peer.package,
        "version": importlib.metadata.version(peer.package),
        "loss": peer.loss,
        "precision": peer.precision,
        "cases": [compared(peer, case) for case in peer.cases],
        "impossible": impossible(peer),
        "identified": [identified(peer, case) for case in chosen(peer)],
        "facts": [{"says": fact.says, "shows": fact.shows()} for fact in peer.facts],
    }
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"


def main(names: list[str]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        (RESULTS / f"{name}.json").unlink(missing_ok=True)
        peer = import_module(f"tests.peers.{name}").PEER
        warnings.simplefilter("ignore")
        (RESULTS / f"{name}.json").write_text(report(peer), encoding="utf-8")
        print(f"{name}: {len(peer.cases)} cases and {len(peer.facts)} facts of {peer.package}")


if __name__ == "__main__":
    main(sys.argv[1:])
