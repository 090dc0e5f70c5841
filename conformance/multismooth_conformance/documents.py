"""Reads files of vectors that nobody trusts, and holds them against the schema."""

from __future__ import annotations

import json
import math
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jsonschema  # type: ignore[import-untyped]  # jsonschema ships no types

from multismooth_conformance import vectors

Json: TypeAlias = Any

FOLDER = Path(str(files("multismooth_conformance"))) / "vectors" / vectors.VERSION
INTEGER = 20
"""Characters of the longest integer that a dtype holds."""
MESSAGE = 300
DRAFT: Any = jsonschema.Draft202012Validator


class Fault(NamedTuple):
    """What is wrong with a field, and what was expected. Without an id it is the file's."""

    id: str
    field: str
    what: str


class Document(NamedTuple):
    """What a file holds."""

    notes: Mapping[str, Json]
    vectors: list[Mapping[str, Json]]
    """those that fit the schema"""
    faults: list[Fault]


class NotJson:
    """A number that JSON does not have, or that no dtype holds: of no type that the schema knows."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text if len(self.text) <= 30 else f"{self.text[:29]}…"


def read(file: Path) -> Document:
    """The vectors that fit the schema, and a fault for all that does not."""
    try:
        contents = parse(file.read_bytes().decode("utf-8"))
        broken = list(_broken(contents))
    except RecursionError:
        return Document({}, [], [Fault("", "", "is nested too deeply; expected a file of vectors")])
    except (OSError, ValueError) as error:
        return Document({}, [], [Fault("", "", f"cannot be read: {error}; expected JSON in UTF-8")])
    faults = [fault for _, fault in broken]
    places = {place for place, _ in broken}
    if None in places:
        return Document({}, [], faults)
    return Document(contents["notes"], [raw for i, raw in enumerate(contents["vectors"]) if i not in places], faults)


def parse(text: str) -> Json:
    """JSON; what is none stays in its place, as something that does not fit the schema."""
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=NotJson,
        parse_int=lambda digits: int(digits) if len(digits) <= INTEGER else NotJson(digits),
        parse_float=lambda digits: float(digits) if math.isfinite(float(digits)) else NotJson(digits),
    )


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """A key that stands twice gets a name that the schema does not know."""
    found: dict[str, Json] = {}
    for key, value in pairs:
        found[f"{key} (a second time)" if key in found else key] = value
    return found


@cache
def _validator() -> Any:
    """JSON Schema takes 4.0 for an integer; not every reader does."""
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    types = DRAFT.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(DRAFT, {"items": _items()}, type_checker=types)(schema)


def _items() -> Callable[..., Iterator[Any]]:
    """The keyword of that name, which looks at a number or a string once: most of them come again."""
    sound: set[tuple[int, type, Json]] = set()

    def check(validator: Any, items: Json, instance: Json, schema: Mapping[str, Json]) -> Iterator[Any]:
        if not isinstance(instance, list) or "prefixItems" in schema:
            yield from DRAFT.VALIDATORS["items"](validator, items, instance, schema)
            return
        for i, item in enumerate(instance):
            key = (id(items), type(item), item) if isinstance(item, str | int | float) else None
            if key is None or key not in sound:
                errors = list(validator.descend(item, items, path=i))
                yield from errors
                if key is not None and not errors:
                    sound.add(key)

    return check


def _broken(contents: Json) -> Iterator[tuple[int | None, Fault]]:
    """The first error of each field, with the place of its vector in the list."""
    seen = set()
    for error in (inner for outer in _validator().iter_errors(contents) for inner in _innermost(outer)):
        path = list(error.absolute_path)
        place = path[1] if path[:1] == ["vectors"] and len(path) > 1 else None
        field = path if place is None else path[2:]
        key = (place, error.validator, *(part for part in field if isinstance(part, str)))
        if key not in seen:
            seen.add(key)
            yield place, Fault(_id(contents, place), _dotted(field), _reason(error))


def _innermost(error: Any) -> Iterator[Any]:
    """Of several forms that a value may have, the faults in the one whose keys it has."""
    forms = defaultdict(list)
    for inner in error.context:
        forms[inner.schema_path[0]].append(inner)
    chosen = [faults for faults in forms.values() if all(inner.path for inner in faults)]
    if len(chosen) != 1:
        yield error
        return
    for inner in chosen[0]:
        yield from _innermost(inner)


def _id(contents: Json, place: int | None) -> str:
    if place is None:
        return ""
    raw = contents["vectors"][place]
    name = raw.get("id") if isinstance(raw, dict) else None
    return name if isinstance(name, str) and name else f"vectors[{place}]"


def _dotted(path: Iterable[Json]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _reason(error: Any) -> str:
    """jsonschema's sentence, with a long value shortened."""
    short = reprlib.repr(error.instance)
    if error.validator is None:
        # A schema that is `false` stands for these two alone, and its error tells no path.
        return f"{short} is given; expected twin and rows in invalid vectors only"
    if error.validator == "not":
        return f"{short} is given; expected logits, or else what a linear layer makes them from"
    if error.validator in ("anyOf", "oneOf"):
        return f"{short} is not {' or '.join(map(_words, error.validator_value))}"
    message = short + str(error.message).removeprefix(repr(error.instance))
    if message == short + str(error.message):
        message = str(error.message)
    return message if len(message) <= MESSAGE else f"{message[:MESSAGE]}…"


def _words(schema: Mapping[str, Json]) -> str:
    """One alternative of the schema."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "required" in schema:
        return f"an object of {', '.join(schema['required'])}"
    kinds = schema.get("type", "object")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)
