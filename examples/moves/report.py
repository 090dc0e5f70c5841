"""What a move shows in the end: three loss curves, a table, a picture, and whether the loss has moved."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

BOUND = 1e-9
"""Relative. All is float64: a step's gradient differs by some 1e-15 between frameworks, and training makes it grow."""

# Okabe and Ito's palette, which the colour-blind can tell apart.
BEFORE, OWN, PORTED = "#0072B2", "#D55E00", "black"


class Move(NamedTuple):
    """Losses of the same steps from the same weights on the same data, float64 [steps] each."""

    old: str
    """the stack that is left, with its own loss"""
    new: str
    before: list[float]
    own: list[float]
    """in the new stack, with the loss that its documentation leads to"""
    ported: list[float]
    """in the new stack, with the old one's Spec"""

    def figures(self) -> dict[str, float]:
        """How far the two are from the curve before: relative, at the first step and at the worst."""
        before = np.array(self.before)
        own, ported = (np.abs(np.array(curve) / before - 1) for curve in (self.own, self.ported))
        return {"own_first": own[0], "own_worst": own.max(), "ported_first": ported[0], "ported_worst": ported.max()}


def conclude(move: Move) -> None:
    """Tell, draw and save; exits with 1 where the ported loss is not the old one, or the stack's own one is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("results/moves"), help="folder of the picture and the figures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    name, figures = Path(sys.argv[0]).stem, move.figures()
    draw(move, out / f"{name}.png")
    (out / f"{name}.json").write_text(json.dumps({k: float(f"{v:.2g}") for k, v in figures.items()}, indent=1) + "\n")
    show(move, figures)
    print(f"picture and figures: {out / name}.png, .json")
    if figures["ported_worst"] > BOUND:
        sys.exit(f"the ported loss is another: {figures['ported_worst']:.1e} away, and {BOUND:.0e} is allowed")
    if figures["own_worst"] < BOUND:
        sys.exit("the new stack's own loss is the old one: there is nothing to see")


def show(move: Move, figures: dict[str, float]) -> None:
    table = Table(title=f"{move.old} → {move.new}: distance to the old loss")
    for column in ("in the new stack", "first step", "worst step"):
        table.add_column(column)
    for name, which in (("its own loss", "own"), ("multismooth with the old loss's Spec", "ported")):
        table.add_row(name, f"{figures[f'{which}_first']:.1e}", f"{figures[f'{which}_worst']:.1e}")
    Console().print(table)


def draw(move: Move, path: Path) -> None:
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    axes.plot(move.before, color=BEFORE, linewidth=6, alpha=0.45, label=f"before: {move.old}, its own loss")
    axes.plot(move.own, color=OWN, linestyle="--", linewidth=2, label=f"after: {move.new}, its own loss")
    axes.plot(move.ported, color=PORTED, linewidth=1.2, label=f"after: {move.new}, multismooth with the old Spec")
    axes.set_xlabel("step")
    axes.set_ylabel("loss of the step's batch, nats")
    axes.set_xlim(0, len(move.before) - 1)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper left", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
