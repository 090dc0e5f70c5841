"""Rendering the vectors as files, and comparing them with what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from itertools import chain
from multiprocessing import Pool
from pathlib import Path

from generator.arrays import Json
from generator.catalogue import FILES
from generator.flagged import flags_of
from generator.flags import FLAGS
from generator.schema import schema
from generator.vector import Vector, answers, vector_from_json
from multismooth_conformance import validate

SOURCES = ("by_hand.json", "linear_by_hand.json", "found.json")
"""Worked out by hand, and found by fuzzing: never written, always checked. The last need not be there."""
SIZE_LIMIT = 5_000_000
OPENED = ("inputs", "expected", "scale", "grad", "totals")
"""Keys whose objects are spread over lines; everything else stays on one."""


def document(records: list[dict[str, Json]]) -> dict[str, Json]:
    """A file's contents: the notes of the flags that it uses, then its vectors."""
    used = {flag for record in records for flag in record["flags"]}
    notes = {flag: note._asdict() for flag, note in FLAGS.items() if flag in used}
    return {"version": "1", "notes": notes, "vectors": records}


def finished(vector: Vector) -> dict[str, Json]:
    """A vector with its flags and its answer, which take the time."""
    return replace(vector, flags=flags_of(vector)).to_json()


def rendered() -> Iterator[tuple[str, str]]:
    """Name and text of every generated file; the work is shared by all cores."""
    books = {name: make().vectors for name, make in FILES.items()}
    with Pool() as pool:
        records = iter(pool.imap(finished, chain(*books.values()), chunksize=4))
        for name, vectors in books.items():
            yield f"{name}.json", render(document([next(records) for _ in vectors]))
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
    found += validate.errors([folder])
    found += [f"{name} is missing" for name in SOURCES[:-1] if not (folder / name).exists()]
    for source in (folder / name for name in SOURCES):
        if source.exists() and not any(line.startswith(source.name) for line in found):
            found += source_differences(source)
    return found + _size_error(folder)


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


def source_differences(source: Path) -> list[str]:
    """Vectors that no catalogue makes against the oracle, number by number."""
    found = []
    for record in json.loads(source.read_text(encoding="utf-8"))["vectors"]:
        if record["result"] == "valid":
            vector = vector_from_json(record)
            flags = list(flags_of(vector))
            if record["flags"] != flags:
                found.append(f"{source.name}: {record['id']}: flags: {record['flags']} are stored; expected {flags}")
            for path, claimed, computed in _pairs(record, answers(vector), ("expected", "scale")):
                if not _same(claimed, computed):
                    found.append(
                        f"{source.name}: {record['id']}: {path}: {claimed} is stored; the oracle has {computed}"
                    )
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


def _size_error(folder: Path) -> list[str]:
    size = sum(path.stat().st_size for path in folder.glob("*.json"))
    return [f"{size} bytes in all, over {SIZE_LIMIT}"] if size > SIZE_LIMIT else []
