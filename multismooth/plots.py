"""Pictures of what the tools say, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "multismooth.plots needs matplotlib: pip install 'multismooth[plots]'", name="matplotlib"
    ) from error

from multismooth.porting.compare import Comparison
from multismooth.porting.explain import Explanation
from multismooth.porting.target import Target

SHOWN = 12
"""Classes that have a bar of their own; of more, the first of them."""
COLOURS = "#3b6fb6", "#d9822b"


def explanation(found: Explanation, path: str | Path) -> None:
    """The target of one loss as bars, the label first."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    _bars(axes, found.target, found.classes, COLOURS[0])
    axes.set_title(f"{found.library}: the target at K = {found.classes}")
    figure.savefig(path, dpi=150)


def comparison(found: Comparison, path: str | Path) -> None:
    """The targets of two losses side by side, and what each loss is on the batch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    names = found.a.name, found.b.name
    for side, (name, target, colour) in enumerate(zip(names, found.targets, COLOURS, strict=True)):
        _bars(left, target, found.classes, colour, name, (side - 0.5) * 0.4)
    left.legend()
    left.set_title(f"the target at K = {found.classes}")
    right.bar(names, found.distance.losses, color=COLOURS)
    right.set_title("the loss on a batch")
    right.set_xlabel(f"{found.distance.loss:+.3g} of the first")
    right.tick_params(axis="x", labelrotation=15)
    figure.savefig(path, dpi=150)


def _bars(axes: Any, target: Target, classes: int, colour: str, name: str | None = None, shift: float = 0.0) -> None:
    """One bar a class: the label, those that share, and those that are excluded."""
    shown = min(classes, SHOWN)
    heights = [target.on, *([target.off] * target.receivers + [0.0] * (classes - 1 - target.receivers))[: shown - 1]]
    width = 0.8 if name is None else 0.4
    bars = axes.bar([k + shift for k in range(shown)], heights, width, color=colour, label=name)
    axes.bar_label(bars, [f"{height:.3g}" for height in heights], fontsize=7, padding=1)
    axes.set_yscale("symlog", linthresh=max(min(target.off or 1.0, 1e-1), 1e-6))
    axes.set_ylim(0, 2)
    axes.set_xticks(range(shown), ["y", *map(str, range(1, shown))])
    axes.set_xlabel("class" if shown == classes else f"the first {shown} of {classes} classes, the label y before them")
    axes.set_ylabel("probability, logarithmic")
