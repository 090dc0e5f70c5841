"""What the tools say, as rich text for people and as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from multismooth.dialects import DIALECTS, INEXPRESSIBLE, Dialect
from multismooth.porting.compare import Comparison, Difference, Distance
from multismooth.porting.explain import Explanation, explain
from multismooth.porting.losses import Loss
from multismooth.porting.target import Target
from multismooth.spec import Spec

WIDTH = 32
"""Characters of a bar that stands for a probability of 1."""
EIGHTHS = " ▏▎▍▌▋▊▉"


def to_json(found: object) -> str:
    """Any answer of the tools; a spec is the object that ``Spec.to_json`` writes."""
    return json.dumps(_plain(found), indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case Spec():
            return json.loads(value.to_json())
        case Loss():
            return {"name": value.name, "spec": _plain(value.spec)}
        case Dialect():
            return _plain(value._asdict() | {"spec": value.smoothed(0.1)})
        case tuple() if hasattr(value, "_asdict"):
            return _plain(value._asdict())
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case tuple() | list():
            return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return fields | ({"same": value.same} if isinstance(value, Comparison) else {})
    return value


def everything() -> dict[str, object]:
    """All dialects, and what no spec computes."""
    return {"dialects": list(DIALECTS.values()), "inexpressible": list(INEXPRESSIBLE.values())}


def bar(probability: float) -> str:
    """A probability as a bar, exact to an eighth of a character."""
    eighths = round(min(max(probability, 0.0), 1.0) * WIDTH * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def dialects() -> RenderableType:
    """All of them, and what no spec computes."""
    name = Column("name", no_wrap=True)
    table = Table(name, "loss", "target", "divided by", title="losses that a spec computes")
    for found in map(explain, DIALECTS):
        entropy = "; minus H(q)" if found.spec.kl else ""
        table.add_row(found.name, escape(found.library), found.formula.split(";")[0] + entropy, found.divisor)
    other = Table(Column("name", no_wrap=True), "loss", "why not", "nearest", title="losses that none computes")
    for each in INEXPRESSIBLE.values():
        other.add_row(each.name, escape(each.library), escape(each.reason), escape(each.nearest))
    return Group(table, other)


def explanation(found: Explanation) -> RenderableType:
    """One loss."""
    facts = _grid()
    for fact, text in _facts(found):
        facts.add_row(fact, Text(text))
    title = Text(f"{found.name} – {found.library}", style="bold")
    return Group(title, "", facts, "", target(found.target, found.classes))


def _facts(found: Explanation) -> Iterator[tuple[str, str]]:
    target, position, reduction = found.formula.split(";  ")
    yield "target", f"{target}: {found.words}"
    yield "position", position
    yield "loss", reduction
    yield "divided by", found.divisor
    yield "masked", found.masked
    yield "class weights", found.class_weights
    for edge in found.edges:
        yield "edge", edge
    if found.not_expressed:
        yield "not expressed", found.not_expressed
    if found.source:
        yield "source", f"{found.source} ({found.standing})"
    yield "spec", repr(found.spec)


def target(found: Target, classes: int) -> RenderableType:
    """The target as bars."""
    grid = _grid()
    grid.add_row("the label", f"{found.on:.6g}", Text(bar(found.on), style="green"))
    grid.add_row(f"each of {found.receivers} others", f"{found.off:.6g}", Text(bar(found.off), style="cyan"))
    without = classes - 1 - found.receivers
    if without:
        grid.add_row(f"each of {without} excluded", "0", "")
    grid.add_row("mass", f"{found.mass:.6g}", Text(bar(found.mass), style="dim"))
    grid.add_row("entropy", f"{found.entropy:.6g}", "nats")
    return Group(Text(f"the target at K = {classes}", style="bold"), grid)


def comparison(found: Comparison) -> RenderableType:
    """Two losses."""
    a, b = found.a.name, found.b.name
    if found.same:
        return Text(f"{a} and {b} compute the same at K = {found.classes}", style="bold green")
    parts: list[RenderableType] = [Text(f"{a} and {b} differ at K = {found.classes}", style="bold"), ""]
    parts.append(_differences(found.differences))
    parts += ["", Text("to make them the same", style="bold"), *_transformation(found)]
    distances = Table("", a, b, "loss", "gradient", "angle", title="on one batch")
    distances.add_row("as they are", *_distance(found.distance))
    if found.parameters or found.factor != 1:
        distances.add_row("with that", *_distance(found.distance_with_parameters))
    return Group(*parts, "", distances)


def _differences(differences: tuple[Difference, ...]) -> RenderableType:
    table = Table("choice", "what", "when it shows", "gradient")
    for each in differences:
        shows = "differs" if each.gradient else "the same"
        table.add_row(each.choice, escape(each.words), ", ".join(each.when), shows)
    return table


def _transformation(found: Comparison) -> Iterator[RenderableType]:
    arguments = ", ".join(f"{name}={value!r}" for name, value in found.parameters.items())
    if arguments:
        yield Text(f"  {found.a.name}({arguments})")
    if found.factor != 1:
        yield Text(f"  times {found.factor!r}, the ratio of the targets' masses")
    if not found.remaining:
        yield Text("  and nothing else", style="green")
        return
    yield Text("  and what no parameter makes the same:" if arguments else "  no parameter helps:")
    yield _differences(found.remaining)


def _distance(found: Distance) -> list[str]:
    first, second = found.losses
    return [f"{first:.6g}", f"{second:.6g}", f"{found.loss:+.2%}", f"{found.gradient:.2%}", f"{found.angle:.3g}°"]


def _grid() -> Table:
    return Table(box=None, show_header=False, padding=(0, 2, 0, 2))
