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

# Okabe and Ito's palette, which the colour-blind can tell apart; the markers do without colours.
STYLES = {
    "torch": {"color": "#0072B2", "marker": "o", "label": "PyTorch"},
    "flax": {"color": "#D55E00", "marker": "s", "label": "Flax and optax"},
    "keras-tf": {"color": "#009E73", "marker": "^", "label": "Keras on TensorFlow"},
}


def draw(plan: Plan, results: dict[str, Any], path: Path) -> None:
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(12, 10), sharex=True, layout="constrained")
    draw_ours(upper, plan, results)
    draw_own(lower, plan, results)
    lower.set_xlim(-1, plan.steps)
    lower.set_xlabel("step")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_ours(axes: Axes, plan: Plan, results: dict[str, Any]) -> None:
    curves = results["curves"]
    draw_curve(axes, plan, curves["handover"], curves["whole"])
    axes.set_title("multismooth: one run, handed over twice", loc="left", fontweight="bold")
    axes.set_ylim(top=stretched(axes, 0.3))
    for seam in results["seams"]["float64"]:
        mark_seam(axes, seam)
    worst = {row.dtype: row.losses for row in results["handover"]}
    note(
        axes,
        "Largest relative difference of a loss\nto the unbroken run of any stack:\n"
        f"{worst['float64']:.1e} in float64 (shown),\n{worst['float32']:.1e} in float32",
    )


def draw_own(axes: Axes, plan: Plan, results: dict[str, Any]) -> None:
    curves = results["curves"]
    draw_curve(axes, plan, curves["own_handover"], curves["own_whole"])
    axes.set_title("the frameworks' own losses, nominally the same settings", loc="left", fontweight="bold")
    axes.set_yscale("log")
    axes.set_ylim(top=10 ** stretched(axes, 0.3, np.log10))
    for seam in results["own_seams"]:
        mark_seam(axes, seam)
    factors = " and ".join(f"× {seam.factor()}" for seam in results["own_labelled_seams"])
    note(
        axes,
        "PyTorch divides by the labelled pixels;\n.mean() with optax, and Keras with the\n"
        f"mask as sample_weight, by all pixels.\nBoth told to divide by the labelled:\n{factors}",
    )


def draw_curve(axes: Axes, plan: Plan, handed: np.ndarray, unbroken: np.ndarray) -> None:
    """The three segments, with the unbroken run as a thin line over them."""
    for stack in ROUTE:
        first, last = plan.bounds(stack)
        axes.plot(range(first, last), handed[first:last], markersize=5, linewidth=4, alpha=0.75, **STYLES[stack])
    axes.plot(unbroken, color="black", linewidth=1, label="unbroken, in PyTorch")
    axes.set_ylabel("loss of the step's batch")


def stretched(axes: Axes, share: float, scale: Any = lambda value: value) -> float:
    """The upper limit that leaves this share of room above the data, for the words at the hand-overs."""
    low, high = (scale(limit) for limit in axes.get_ylim())
    return float(high + share * (high - low))


def mark_seam(axes: Axes, seam: Seam) -> None:
    axes.axvline(seam.step - 0.5, color="0.35", linestyle="--", linewidth=1.2)
    axes.annotate(
        f"same weights, same batch:\n{seam.before:.4f} → {seam.after:.4f}\n× {seam.factor()}",
        (seam.step - 0.5, 1),
        xycoords=("data", "axes fraction"),
        xytext=(6, -2),
        textcoords="offset points",
        verticalalignment="top",
    )


def note(axes: Axes, text: str) -> None:
    axes.annotate(text, (0.01, 0.03), xycoords="axes fraction")
