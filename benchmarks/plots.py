"""The pictures of the page: times beside one another, growth with N and with K, and training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import figures
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter, NullLocator

NAMES = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}
OURS, THEIRS, OTHERS = "#d1495b", "#00798c", "#8d96a3"
"""colours of our losses, of the framework's own, and of all others"""


def draw(found: dict[str, Any], folder: Path) -> None:
    """Of what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    for framework in figures.having(found, "losses"):
        times(found, framework, folder / f"{framework}.png")
    if figures.having(found, "growth"):
        growths(found, folder / "growth.png")
    if figures.having(found, "training"):
        trainings(found, folder / "training.png")


def save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def colour(name: str, reference: str) -> str:
    return OURS if name.startswith("multismooth") else THEIRS if name == reference else OTHERS


def times(found: dict[str, Any], framework: str, file: Path) -> None:
    """A panel for each shape: forward and backward in parts of the reference's, warm, and the quartiles."""
    shapes = figures.cells(found, framework, "losses")
    names = figures.contenders(shapes)[::-1]
    across = min(3, len(shapes))
    down = -(-len(shapes) // across)
    size = (4 + 3 * across, 0.8 + down * (0.7 + 0.24 * len(names)))
    figure, axes = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, (shape, cell) in zip(axes.flat, shapes.items(), strict=False):
        panel(ax, cell, names)
        ax.set_title(shape, fontsize=10)
    for ax in axes.flat[len(shapes) :]:
        ax.set_axis_off()
    reference = next(iter(shapes.values()))["reference"]
    figure.suptitle(f"{NAMES[framework]}: forward and backward, time ÷ that of {reference}", fontsize=12)
    save(figure, file)


def panel(ax: Axes, cell: figures.Cell, names: list[str]) -> None:
    """Dots on a logarithmic axis."""
    reference = figures.row(cell, "warm", cell["reference"], "median")
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.axvline(1, color=THEIRS, linewidth=0.8)
    ax.grid(axis="x", which="both", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    for y, name in enumerate(names):
        row = figures.row(cell, "warm", name, "median")
        if row and reference:
            low, middle, high = (row[which] / reference["median"] for which in ("low", "median", "high"))
            ax.plot([low, high], [y, y], color=colour(name, cell["reference"]), linewidth=2)
            ax.plot(middle, y, "o", color=colour(name, cell["reference"]), markersize=5)
    low, high = ax.get_xlim()
    plain_ticks(ax.xaxis, low, high)
    ax.tick_params(axis="x", labelsize=8)


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Few enough that their labels do not touch."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=12))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def growths(found: dict[str, Any], file: Path) -> None:
    """Time against N at K = 1024 and against K at N = 256, with the exponent of the large sizes."""
    frameworks = figures.having(found, "growth")
    figure, axes = plt.subplots(
        len(frameworks), 2, figsize=(9, 1 + 2.9 * len(frameworks)), squeeze=False, layout="constrained"
    )
    for panels, framework in zip(axes, frameworks, strict=True):
        shapes = figures.cells(found, framework, "growth")
        for ax, axis, fixed in zip(panels, "NK", ("K = 1024", "N = 256"), strict=True):
            for name in figures.contenders(shapes):
                sizes, spent, power = figures.growth(shapes, axis, name)
                reference = next(iter(shapes.values()))["reference"]
                mark = {"color": colour(name, reference), "marker": "o", "markersize": 4}
                ax.loglog(sizes, spent, label=f"{name}: {axis}$^{{{power:.2f}}}$", **mark)
            ax.set_title(f"{NAMES[framework]}, {fixed}", fontsize=10)
            ax.set_xticks(sizes, map(str, sizes))
            ax.xaxis.set_minor_locator(NullLocator())
            plain_ticks(ax.yaxis, *ax.get_ylim())
            ax.tick_params(labelsize=8)
            ax.set_xlabel(axis)
            ax.set_ylabel("seconds")
            ax.grid(color="#e6e6e6", linewidth=0.6)
            ax.legend(fontsize=8, frameon=False)
    figure.suptitle("Forward and backward, warm; exponents fitted from 2¹⁸ logits on", fontsize=12)
    save(figure, file)


def trainings(found: dict[str, Any], file: Path) -> None:
    """Tokens per second, one bar for each loss."""
    frameworks = figures.having(found, "training")
    counts = [len(figures.contenders(figures.cells(found, framework, "training"))) for framework in frameworks]
    figure, axes = plt.subplots(
        len(frameworks),
        figsize=(8, 1.2 + sum(0.6 + 0.35 * count for count in counts)),
        squeeze=False,
        height_ratios=counts,
        layout="constrained",
    )
    for ax, framework in zip(axes[:, 0], frameworks, strict=True):
        ((shape, cell),) = figures.cells(found, framework, "training").items()
        names = figures.contenders({shape: cell})[::-1]
        speeds = [figures.tokens(cell, shape, "warm", name) or 0 for name in names]
        bars = ax.barh(names, speeds, color=[colour(name, cell["reference"]) for name in names])
        ax.bar_label(bars, fmt=" {:,.0f}", fontsize=8)
        ax.margins(x=0.15)
        ax.set_title(NAMES[framework], fontsize=10)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle("A whole training step: tokens per second, warm", fontsize=12)
    save(figure, file)
