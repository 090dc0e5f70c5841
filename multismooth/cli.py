"""``multismooth``: list, explain, compare and identify losses on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console, RenderableType
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"multismooth's command line needs {error.name}: pip install 'multismooth[cli]'", name=error.name
    ) from error

from multismooth.errors import InputError
from multismooth.porting import compare as compare_losses
from multismooth.porting import explain as explain_loss
from multismooth.porting import identify as identify_loss
from multismooth.porting import render
from multismooth.porting.batches import read
from multismooth.porting.explain import CLASSES

app = typer.Typer(
    help="What losses compute, and what differs between them.", no_args_is_help=True, add_completion=False
)
console = Console()

Name = Annotated[str, typer.Argument(help="the name of a dialect, or a .json file that Spec.save wrote")]
Classes = Annotated[int, typer.Option("--classes", help="K, the width of the logits", min=2)]
Smoothing = Annotated[float, typer.Option("--label-smoothing", help="ε, for the losses that have one")]
Json = Annotated[bool, typer.Option("--json", help="for machines")]
Plot = Annotated[Path | None, typer.Option("--plot", help="write a picture, .png or .svg")]
Batch = Annotated[Path | None, typer.Option("--batch", help="an .npz with logits and labels, the classes last")]


@app.command("list")
def list_dialects(json: Json = False) -> None:
    """All losses that have a name here."""
    if json:
        print(render.to_json(render.everything()))
    else:
        console.print(render.dialects())


@app.command()
def explain(
    name: Name, classes: Classes = CLASSES, label_smoothing: Smoothing = 0.1, json: Json = False, plot: Plot = None
) -> None:
    """What one loss computes: formula, target, masks, divisor, edges, source."""
    found = explain_loss(name, classes, label_smoothing)
    if plot is not None:
        from multismooth import plots

        plots.explanation(found, plot)
    _say(found, render.explanation, json)


@app.command()
def compare(
    a: Name,
    b: Name,
    classes: Classes = CLASSES,
    label_smoothing: Smoothing = 0.1,
    batch: Batch = None,
    json: Json = False,
    plot: Plot = None,
) -> None:
    """Whether two losses are the same, what makes them the same, and how far apart they are. Exits 1 if they differ."""
    found = compare_losses(a, b, classes, label_smoothing, None if batch is None else read(batch))
    if plot is not None:
        from multismooth import plots

        plots.comparison(found, plot)
    _say(found, render.comparison, json)
    if not found.same:
        raise typer.Exit(1)


@app.command()
def identify(
    where: Annotated[str, typer.Argument(metavar="MODULE:CALLABLE", help="the loss, as Python finds it here")],
    framework: Annotated[str, typer.Option("--framework", help="torch, jax, tensorflow, keras or numpy")],
    save: Annotated[Path | None, typer.Option("--save", help="write the spec to this file, for Spec.load")] = None,
    json: Json = False,
) -> None:
    """Which spec the loss of another code base computes, by its values and gradients. Exits 1 if none does."""
    found = identify_loss(_callable(where), framework)
    if json:
        print(found.to_json())
    else:
        console.print(str(found), markup=False, highlight=False, soft_wrap=True)
    if found.spec is None:
        raise typer.Exit(1)
    if save is not None:
        found.spec.save(save)


def _callable(where: str) -> Any:
    """What MODULE:CALLABLE names."""
    module, _, path = where.partition(":")
    sys.path.insert(0, "")
    try:
        return attrgetter(path)(import_module(module))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            "no_such_callable", "identify", f"{where!r} names nothing: {error}", "Pass MODULE:CALLABLE"
        ) from error


def _say(found: Any, rendered: Callable[[Any], RenderableType], json: bool) -> None:
    if json:
        print(render.to_json(found))
    else:
        console.print(rendered(found))


def main() -> None:
    """The entry point; a bad argument is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
