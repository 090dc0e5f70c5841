"""The picture: one curve without a seam, and under it what the frameworks' own losses do at the same hand-overs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from compare import Seam
from matplotlib.axes import Axes
from plan import ROUTE, Plan

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {"torch": "#0072B2", "flax": "#D55E00", "keras-tensorflow": "#009E73"}
NAMES = {"torch": "PyTorch", "flax": "Flax / optax", "keras-tensorflow": "Keras on TensorFlow"}
MARKERS = {"torch": "o", "flax": "s", "keras-tensorflow": "^"}


def draw(plan: Plan, results: dict[str, Any], path: Path) -> None:
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(12, 9.5), sharex=True, layout="constrained")
    draw_curve(upper, plan, results["curves"]["handover"], results["curves"]["whole"])
    draw_curve(lower, plan, results["curves"]["own_handover"], results["curves"]["own_whole"])
    worst = max(row.losses for row in results["handover"] if row.dtype == "float64")
    upper.set_title("multismooth: one run, handed over twice", loc="left", fontweight="bold")
    note(upper, f"largest relative difference to the unbroken runs: {worst:.1e} (float64)")
    lower.set_title("the frameworks' own losses, nominally the same settings", loc="left", fontweight="bold")
    for axes, seams in ((upper, results["seams"]["float64"]), (lower, results["own_seams"])):
        for seam in seams:
            mark_seam(axes, seam)
    lower.set_xlabel("step")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_curve(axes: Axes, plan: Plan, handed: np.ndarray, unbroken: np.ndarray) -> None:
    """The three segments, a little thicker, with the unbroken run as a thin line over them."""
    for stack in ROUTE:
        first, last = plan.bounds(stack)
        style = {"color": COLOURS[stack], "marker": MARKERS[stack], "markersize": 5, "linewidth": 4, "alpha": 0.75}
        axes.plot(range(first, last), handed[first:last], label=NAMES[stack], **style)
    axes.plot(unbroken, color="black", linewidth=1, label="unbroken in PyTorch")
    axes.set_ylabel("loss of the step's batch")
    axes.set_yscale("log")
    axes.set_xlim(-1, plan.steps)


def mark_seam(axes: Axes, seam: Seam) -> None:
    axes.axvline(seam.step - 0.5, color="0.35", linestyle="--", linewidth=1.2)
    axes.annotate(
        f"same weights, same batch:\n{seam.before:.4f} → {seam.after:.4f}\n× {seam.ratio:.4g}",
        (seam.step - 0.5, 1),
        xycoords=("data", "axes fraction"),
        xytext=(6, -4),
        textcoords="offset points",
        verticalalignment="top",
    )


def note(axes: Axes, text: str) -> None:
    axes.annotate(text, (0.01, 0.03), xycoords="axes fraction")
