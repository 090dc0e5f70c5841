"""Rendering the vectors as files, comparing them with what is stored, and checking the set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # jsonschema ships no types

from generator.arrays import Array, Json, from_json, representable
from generator.book import Book
from generator.catalogue import FILES
from generator.flags import FLAGS
from generator.schema import schema
from generator.vector import answers, vector_from_json

HAND = "by_hand.json"
SIZE_LIMIT = 2_500_000
OPENED = ("inputs", "expected", "scale", "grad", "totals")
"""Keys whose objects are spread over lines; everything else stays on one."""


def document(book: Book) -> dict[str, Json]:
    """A file's contents: the notes of the flags that it uses, then its vectors."""
    used = {flag for vector in book.vectors for flag in vector.flags}
    unknown = used - FLAGS.keys()
    if unknown:
        raise ValueError(f"flags without a note: {sorted(unknown)}")
    notes = {flag: {"bug": bug, "link": link} for flag, (bug, link) in FLAGS.items() if flag in used}
    vectors = [vector.to_json() for vector in book.vectors]
    return {"version": "1", "notes": notes, "vectors": vectors}


def rendered() -> Iterator[tuple[str, str]]:
    """Name and text of every generated file."""
    for name, make in FILES.items():
        yield f"{name}.json", render(document(make()))
    yield "schema.json", json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def render(contents: dict[str, Json]) -> str:
    """JSON with one key of a vector on a line, and one array on a line."""
    notes = ",\n".join(f"  {_line(k)}: {_line(v)}" for k, v in contents["notes"].items())
    vectors = ",\n".join(_block(vector, "  ") for vector in contents["vectors"])
    notes_block = f"{{\n{notes}\n }}" if notes else "{}"
    return f'{{\n "version": "1",\n "notes": {notes_block},\n "vectors": [\n{vectors}\n ]\n}}\n'


def _block(value: dict[str, Json], indent: str) -> str:
    lines = [f"{indent} {_line(key)}: {_value(key, item, indent + ' ')}" for key, item in value.items()]
    return indent + "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _value(key: str, item: Json, indent: str) -> str:
    if key in OPENED and item is not None:
        return _block(item, indent).lstrip()
    return _line(item)


def _line(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write(folder: Path) -> list[str]:
    """Write every generated file; the hand-made one is a source and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, text in rendered():
        (folder / name).write_text(text, encoding="utf-8")
        names.append(f"{name}: {len(text.encode())} bytes")
    return names


def differences(folder: Path) -> list[str]:
    """Everything that is wrong with the stored files: one sentence each."""
    found: list[str] = []
    for name, text in rendered():
        path = folder / name
        stored = path.read_text(encoding="utf-8") if path.exists() else None
        if stored != text:
            found += [f"{name}: {what}" for what in _compare(stored, text)]
    documents = {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != "schema.json"
    }
    if HAND not in documents:
        return [*found, f"{HAND} is missing"]
    found += _hand_differences(documents[HAND])
    return found + list(_set_errors(documents)) + _size_error(folder)


def _compare(stored: str | None, text: str) -> list[str]:
    """Which vectors differ, where both sides can be read."""
    if stored is None:
        return ["is missing"]
    try:
        old, new = json.loads(stored), json.loads(text)
        before = {vector["id"]: vector for vector in old["vectors"]}
        after = {vector["id"]: vector for vector in new["vectors"]}
    except (ValueError, KeyError, TypeError):
        return ["differs"]
    ids = list(dict.fromkeys([*before, *after]))
    changed = [f"{i} differs" for i in ids if before.get(i) != after.get(i)]
    return changed or ["differs outside its vectors"]


def _hand_differences(contents: dict[str, Json]) -> list[str]:
    """The hand-made vectors against the oracle, number by number."""
    found = []
    for record in contents["vectors"]:
        if record["result"] == "valid":
            answer = answers(vector_from_json(record))
            for path, claimed, computed in _pairs(record, answer, ("expected", "scale")):
                if not _same(claimed, computed):
                    found.append(f"{HAND}: {record['id']} {path}: by hand {claimed}, oracle {computed}")
    return found


def _pairs(a: Json, b: Json, keys: Iterable[str], path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Leaves at the same place of two answers; a key on one side only is a leaf as well."""
    for key in keys:
        left, right, here = a.get(key), b.get(key), f"{path}/{key}"
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _pairs(left, right, list(dict.fromkeys([*left, *right])), here)
        elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            yield from ((f"{here}[{i}]", *pair) for i, pair in enumerate(zip(left, right, strict=True)))
        else:
            yield here, left, right


def _same(claimed: Json, computed: Json) -> bool:
    """Equal, or equal to 18 of the twenty digits."""
    if claimed == computed:
        return True
    try:
        a, b = Decimal(str(claimed)), Decimal(str(computed))
    except InvalidOperation:
        return False
    return a.is_finite() and b.is_finite() and abs(a - b) <= Decimal("1e-18") * abs(b)


def _set_errors(documents: dict[str, Json]) -> Iterator[str]:
    """Schema, unique ids, twins, notes, and inputs that their dtypes hold exactly."""
    validator = jsonschema.Draft202012Validator(schema())
    for name, contents in documents.items():
        for error in validator.iter_errors(contents):
            yield f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
    vectors: dict[str, Json] = {}
    for name, contents in documents.items():
        for record in contents["vectors"]:
            if record["id"] in vectors:
                yield f"{name}: the id {record['id']} is not unique"
            vectors[record["id"]] = record
            for flag in set(record["flags"]) - contents["notes"].keys():
                yield f"{name}: {record['id']}: the flag {flag} has no note"
            yield from (f"{name}: {record['id']}: {error}" for error in _input_errors(record))
    for record in vectors.values():
        if record["result"] == "invalid":
            yield from _twin_errors(record, vectors.get(record["twin"]))


def _input_errors(record: Json) -> Iterator[str]:
    for name, value in [*record["inputs"].items(), ("cotangent", record["cotangent"])]:
        array: Array = from_json(value)
        if len(array.data) != math.prod(array.shape):
            yield f"{name} has {len(array.data)} entries, and the shape {array.shape}"
        for entry in array.data:
            if not representable(entry, array.dtype):
                yield f"{name} holds {entry}, which is not exact in {array.dtype}"
    cotangent = record["cotangent"]["data"]
    if any(c in (0, 1) for c in cotangent):
        yield "the cotangent holds a 0 or a 1, which hides errors"


def _twin_errors(record: Json, twin: Json) -> Iterator[str]:
    """An invalid vector differs from a valid one in one input, or in one field of the spec."""
    if twin is None or twin["result"] != "valid":
        yield f"{record['id']}: its twin {record['twin']} is not a valid vector"
        return
    changed = [
        f"{part}.{key}"
        for part in ("inputs", "spec")
        for key in {*record[part], *twin[part]}
        if record[part].get(key) != twin[part].get(key)
    ]
    same = all(record[key] == twin[key] for key in ("axis", "dtype", "cotangent"))
    if len(changed) != 1 or not same:
        yield f"{record['id']}: differs from its twin in {sorted(changed)}, not in one input"


def _size_error(folder: Path) -> list[str]:
    size = sum(path.stat().st_size for path in folder.glob("*.json"))
    return [f"{size} bytes in all, over {SIZE_LIMIT}"] if size > SIZE_LIMIT else []
