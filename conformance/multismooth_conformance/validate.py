"""What is wrong with files of vectors: ``python -m multismooth_conformance validate [FILE|FOLDER …]``.

One line for each fault: file, the vector's id, the field, what is wrong and what was expected.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multismooth_conformance import vectors
from multismooth_conformance.adapter import LINEAR, NUMBERS, Array
from multismooth_conformance.documents import FOLDER, Document, Fault, Json, read

SIZE = 2**20
"""Entries, of the largest array that anybody must read."""
RANK = 8
EXACT = 2**53
"""Integers up to here are exact in every language's numbers."""
SHARED = 3
"""So many vectors may have one spec cell, shape class, flags and reason."""

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
PARTS = ("expected", "scale")
Found = Iterator[tuple[str, str]]
"""Fields, and what is wrong with each."""


def main(paths: Sequence[Path]) -> int:
    """Print what is wrong with these files, or with the package's own; 1 if there is something."""
    documents = _read(paths or [FOLDER])
    found = _errors(documents)
    count = sum(len(document.vectors) for _, document in documents)
    print("\n".join(found or [f"{count} vectors are valid"]))
    return int(bool(found))


def errors(paths: Iterable[Path]) -> list[str]:
    """Everything that is wrong with these files and folders: one line each."""
    return _errors(_read(paths))


def _read(paths: Iterable[Path]) -> list[tuple[str, Document]]:
    return [(name, read(file)) for path in paths for name, file in _files(path)]


def _errors(named: Sequence[tuple[str, Document]]) -> list[str]:
    found = [_line(name, *fault) for name, document in named for fault in _faults(document)]
    return found + [_line(*error) for error in _set_errors(named)]


def _files(path: Path) -> list[tuple[str, Path]]:
    """Files of vectors, with the names that the errors use. A folder without any is read, and cannot be."""
    inside = [file for file in sorted(path.glob("*.json")) if file.name != "schema.json"] if path.is_dir() else []
    return [(file.name, file) for file in inside] or [(str(path), path)]


def _line(*parts: str) -> str:
    """One line, whatever stands in the file."""
    text = ": ".join(filter(None, parts))
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _faults(document: Document) -> Iterator[Fault]:
    yield from document.faults
    for raw in document.vectors:
        yield from (Fault(raw["id"], *found) for found in _vector(raw, document.notes))
    used = {flag for raw in document.vectors for flag in raw["flags"]}
    if not document.faults:
        unused = sorted(document.notes.keys() - used)
        yield from (Fault("", f"notes.{flag}", "is no vector's flag; expected notes that are used") for flag in unused)


def _vector(raw: Mapping[str, Json], notes: Mapping[str, Json]) -> Found:
    """Each array by itself; then, if all are sound, beside each other."""
    for flag in raw["flags"]:
        if flag not in notes or raw["flags"].count(flag) > 1:
            yield "flags", f"{flag} has no note, or stands twice; expected each flag once, with its note"
    given = {f"inputs.{name}": value for name, value in raw["inputs"].items()}
    given |= {name: raw[name] for name in ("cotangent", "tangent") if name in raw}
    answers = dict(_leaves(raw, PARTS))
    unsound = [found for field, value in given.items() for found in _input(field, value)]
    unsound += [found for field, value in answers.items() for found in _count(field, value)]
    if "hidden" in raw["inputs"]:
        unsound += _linear(raw)
    else:
        rank = len(raw["inputs"]["logits"]["shape"])
        if not -rank <= raw["axis"] < rank:
            unsound.append(("axis", f"is {raw['axis']}; expected one of the logits' {rank} axes"))
    yield from unsound
    if not unsound:
        layout = Layout.of(raw)
        unfit = [*_shapes(raw, layout), *_answers(raw, layout, answers)]
        yield from unfit or _values(raw, layout)


def _linear(raw: Mapping[str, Json]) -> Found:
    """What makes logits must fit together before they have a shape."""
    inputs = raw["inputs"]
    hidden, kernel = inputs["hidden"]["shape"], inputs["kernel"]["shape"]
    if not hidden:
        yield "inputs.hidden.shape", "is []; expected the features on the last axis"
    elif len(kernel) != 2 or kernel[0] != hidden[-1]:
        yield "inputs.kernel.shape", f"is {kernel}; expected {hidden[-1]} features and the classes"
    if raw["axis"] != -1:
        yield "axis", f"is {raw['axis']}; expected -1, for a kernel has the classes last"
    if inputs["labels"]["dtype"] not in INTEGERS:
        yield "inputs.labels.dtype", f"is {inputs['labels']['dtype']}; expected class indices"
    if "tangent" in raw:
        yield "tangent", "is given; expected none, for the logits are not an input"


def _leaves(value: Mapping[str, Json], keys: Iterable[str], above: str = "") -> Iterator[tuple[str, Json]]:
    """The arrays under some keys, each with its path."""
    for key in keys:
        below = value[key]
        if below is not None and "dtype" in below:
            yield above + key, below
        elif below is not None:
            yield from _leaves(below, below, f"{above}{key}.")


# --- An array -----------------------------------------------------------------------------------------------------


def _count(field: str, value: Mapping[str, Json]) -> Found:
    """As many entries as the shape, or the indices, say."""
    shape = value["shape"]
    if len(shape) > RANK or max(shape, default=0) > SIZE or math.prod(shape) > SIZE:
        yield f"{field}.shape", f"is {reprlib.repr(shape)}; expected at most {RANK} axes and {SIZE} entries"
        return
    size = math.prod(shape)
    indices = value.get("indices")
    if indices is not None:
        yield from _rising(f"{field}.indices", indices, size)
    count = size if indices is None else len(indices)
    if len(value.get("data", ())) != count and "recipe" not in value:
        yield f"{field}.data", f"has {len(value['data'])} entries; expected {count}"


def _rising(field: str, indices: Sequence[int], size: int) -> Found:
    if sorted(set(indices)) != indices or any(i >= size for i in indices):
        yield field, f"is {reprlib.repr(indices)}; expected rising indices below {size}"


def _input(field: str, value: Mapping[str, Json]) -> Found:
    """Numbers that their dtype holds exactly, so that everybody reads the same input."""
    miscounted = list(_count(field, value))
    yield from miscounted
    if miscounted:
        return
    if "recipe" in value:
        yield from _recipe(f"{field}.recipe", value)
        return
    inexact = _inexact(value["data"], value["dtype"])
    if any(inexact):
        i = inexact.index(True)
        entry = json.dumps(value["data"][i])
        yield f"{field}.data[{i}]", f"is {entry}; expected a value that {value['dtype']} holds exactly"


def _inexact(data: Sequence[Json], dtype: str) -> list[bool]:
    """Which entries a dtype does not hold."""
    if dtype == "bool":
        return [type(entry) is not bool for entry in data]
    kind = vectors.dtype(dtype)
    if dtype in INTEGERS:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        return [type(entry) is not int or not low <= entry <= high for entry in data]
    no_float = [type(entry) is bool or (type(entry) is int and abs(entry) > EXACT) for entry in data]
    rounds = _rounds(np.array([float(entry) for entry in data]), kind)
    return [bool(a or b) for a, b in zip(no_float, rounds, strict=True)]


def _rounds(numbers: Array, kind: np.dtype[Any]) -> Array:
    """Which of these numbers, float64 or longer, change in a dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((numbers.astype(kind).astype(numbers.dtype) != numbers) & ~np.isnan(numbers))


def _recipe(field: str, value: Mapping[str, Json]) -> Found:
    """Its distinct values decide: there are as many as ``mod`` says, or fewer."""
    a, b, mod, offset, scale = (value["recipe"][key] for key in ("a", "b", "mod", "offset", "scale"))
    size = math.prod(value["shape"])
    if min(a, b) < 0 or mod < 1 or a * size + b > EXACT or abs(offset) > EXACT:
        yield field, f"is {value['recipe']}; expected a, b ≥ 0 and mod ≥ 1, and a·j + b and offset below 2**53"
    elif scale <= 0 or math.frexp(scale)[0] != 0.5:
        yield f"{field}.scale", f"is {scale}; expected a power of two"
    elif value["dtype"] != "bool":
        with np.errstate(over="ignore"):
            numbers = ((a * np.arange(min(mod, size)) + b) % mod - offset) * float(scale)
        wrong = ~np.isfinite(numbers) | _rounds(numbers, vectors.dtype(value["dtype"]))
        if wrong.any():
            i = int(np.argmax(wrong))
            yield field, f"gives {numbers[i]} at {i}; expected values that {value['dtype']} holds exactly"


# --- Arrays beside each other -------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """What the logits and the labels decide."""

    logits: list[int]
    batch: list[int]
    classes: int
    soft: bool
    dtype: str
    """of the logits"""
    computed: str
    """the dtype of the arithmetic"""
    features: int
    """of hidden and kernel"""

    @classmethod
    def of(cls, raw: Mapping[str, Json]) -> Layout:
        shape = _logits_shape(raw)
        axis = raw["axis"] % len(shape)
        soft = raw["inputs"]["labels"]["dtype"] not in INTEGERS
        computed = "float64" if raw["dtype"] == "float64" else "float32"
        features = raw["inputs"].get("hidden", {"shape": [0]})["shape"][-1]
        return cls(shape, shape[:axis] + shape[axis + 1 :], shape[axis], soft, raw["dtype"], computed, features)

    def shapes(self, name: str) -> list[list[int]]:
        """Those that an input may have."""
        match name:
            case "labels":
                return [self.logits if self.soft else self.batch]
            case "where" | "sample_weight":
                return [self.batch]
            case "class_weight" | "prior":
                return [[self.classes]]
            case "allowed":
                return [[self.classes], self.logits]
            case "normalizer" | "logit_scale" | "softcap":
                return [[]]
            case "hidden":
                return [[*self.batch, self.features]]
            case "kernel":
                return [[self.features, self.classes]]
            case "bias":
                return [[self.classes]]
            case _:
                return [self.logits]

    def dtypes(self, name: str) -> list[str]:
        """Those that an input may have."""
        if name == "labels" and not self.soft:
            return INTEGERS
        if name in ("where", "allowed"):
            return ["bool"]
        if name in NUMBERS:
            return ["float64"]
        return [self.dtype if name in ("logits", *LINEAR) else self.computed]


def _logits_shape(raw: Mapping[str, Json]) -> list[int]:
    inputs = raw["inputs"]
    if "hidden" not in inputs:
        return list(inputs["logits"]["shape"])
    return [*inputs["hidden"]["shape"][:-1], inputs["kernel"]["shape"][-1]]


def _shapes(raw: Mapping[str, Json], layout: Layout) -> Found:
    for name, value in raw["inputs"].items():
        yield from _fits(f"inputs.{name}", value, layout.dtypes(name), layout.shapes(name))
    outputs = layout.batch if raw["spec"]["reduction"] == "none" else []
    yield from _fits("cotangent", raw["cotangent"], [layout.computed], [outputs])
    if "tangent" in raw:
        yield from _fits("tangent", raw["tangent"], [layout.computed], [layout.logits])


def _fits(field: str, value: Mapping[str, Json], dtypes: Sequence[str], shapes: Sequence[list[int]]) -> Found:
    for key, choices in (("dtype", dtypes), ("shape", shapes)):
        if value[key] not in choices:
            yield f"{field}.{key}", f"is {value[key]}; expected {' or '.join(map(str, choices))}"


def _answers(raw: Mapping[str, Json], layout: Layout, answers: Mapping[str, Json]) -> Found:
    """What is expected, and its scale, lie as the input or the output that they belong to."""
    for field, value in answers.items():
        part, _, name = field.partition(".")
        source = {"hvp": "logits"}.get(name, name.removeprefix("grad."))
        if name == "loss" or name.startswith("totals."):
            shape = raw["cotangent"]["shape"] if name == "loss" else []
            yield from _fits(field, value, [layout.computed], [shape])
        elif source not in raw["inputs"] or (source == "labels" and not layout.soft):
            yield field, "is given; expected gradients to inputs that are given, and to soft labels only"
        else:
            dtype = layout.dtype if source in ("logits", *LINEAR) else layout.computed
            yield from _fits(field, value, [dtype], [raw["inputs"][source]["shape"]])
        other = answers.get(f"{PARTS[part == 'expected']}.{name}")
        if other is None or other.get("indices") != value.get("indices"):
            yield field, "has no counterpart; expected the same arrays and indices in expected and scale"
    if raw["result"] == "valid" and ("tangent" in raw) != ("expected.hvp" in answers):
        yield "expected.hvp", "goes with a tangent; expected both or neither"


def _values(raw: Mapping[str, Json], layout: Layout) -> Found:
    """A cotangent that hides no error; in a valid vector, classes that exist, and counts that differ."""
    cotangent = vectors.array(raw["cotangent"])
    if (~np.isfinite(cotangent) | (cotangent == 0) | (cotangent == 1)).any():
        yield "cotangent", "holds a 0 or a 1, which hide errors, or no number; expected others"
    if "hidden" in raw["inputs"]:
        yield from _made_logits(raw, layout)
    if raw["result"] == "invalid":
        yield from _rising("rows", raw["rows"], math.prod(layout.batch))
        return
    yield from _rising("spec.exclude", raw["spec"]["exclude"], layout.classes)
    counts = _counts(raw, layout)
    if not layout.soft and raw["spec"]["out_of_range"] == "raise":
        yield from _labels(raw, layout, counts)
    masked = "where" in raw["inputs"] or not counts.all()
    numbers = (int(counts.sum()), counts.size, *layout.batch[:1])
    if masked and counts.ndim > 1 and counts.any() and len(set(numbers)) < 3:
        n, size, first = numbers
        yield "inputs", f"{n} of {size} positions count, and the first axis has {first}; expected three numbers"


def _made_logits(raw: Mapping[str, Json], layout: Layout) -> Found:
    """hidden·kernel + bias where it counts is exact, so that its rounding is in no bound."""
    inputs = {name: vectors.array(raw["inputs"][name]) for name in (*LINEAR, *NUMBERS) if name in raw["inputs"]}
    for name in NUMBERS:
        if name in inputs and not (np.isfinite(inputs[name]) and (name == "logit_scale" or inputs[name] > 0)):
            yield f"inputs.{name}", f"is {inputs[name]}; expected a finite number, and a bound above 0"
    with np.errstate(invalid="ignore", over="ignore"):
        z = inputs["hidden"].astype(np.longdouble) @ inputs["kernel"].astype(np.longdouble)
        z = z + inputs["bias"].astype(np.longdouble) if "bias" in inputs else z
        wrong = _counts(raw, layout)[..., None] & _rounds(z, vectors.dtype(layout.dtype))
    if wrong.any():
        i = tuple(int(j) for j in np.argwhere(wrong)[0])
        yield "inputs.hidden", f"times kernel is {z[i]} at {i}; expected logits that {layout.dtype} holds exactly"


def _counts(raw: Mapping[str, Json], layout: Layout) -> Array:
    """The positions that the mask and ``ignore_index`` leave."""
    inputs, ignored = raw["inputs"], raw["spec"]["ignore_index"]
    counts = vectors.array(inputs["where"]) if "where" in inputs else np.ones(layout.batch, bool)
    if ignored is None or layout.soft:
        return counts
    return np.asarray(counts & (vectors.array(inputs["labels"]) != ignored))


def _labels(raw: Mapping[str, Json], layout: Layout, counts: Array) -> Found:
    """Labels that count are classes, and allowed."""
    inputs = raw["inputs"]
    labels = vectors.array(inputs["labels"])
    if "sample_weight" in inputs:
        counts = counts & (vectors.array(inputs["sample_weight"]) != 0)
    outside = counts & ((labels < 0) | (labels >= layout.classes))
    if outside.any():
        yield "inputs.labels", f"hold {labels[outside][0]}; expected one of {layout.classes} classes where it counts"
    elif "allowed" in inputs:
        allowed = vectors.array(inputs["allowed"])
        by_class = allowed if allowed.shape == (layout.classes,) else np.moveaxis(allowed, raw["axis"], -1)
        by_class = np.broadcast_to(by_class, (*layout.batch, layout.classes))
        safe = np.where(counts, labels, 0).astype(np.int64)
        refused = counts & ~np.take_along_axis(by_class, safe[..., None], -1)[..., 0]
        if refused.any():
            yield "inputs.labels", f"hold {labels[refused][0]}; expected a class that is allowed there"


# --- The whole set ------------------------------------------------------------------------------------------------


def _set_errors(named: Sequence[tuple[str, Document]]) -> Iterator[tuple[str, ...]]:
    """File, id, field and fault of what needs more than one vector to see."""
    every = [(name, raw) for name, document in named for raw in document.vectors]
    first: dict[str, tuple[str, Mapping[str, Json]]] = {}
    for name, raw in every:
        if raw["id"] in first:
            yield name, raw["id"], "id", f"stands in {first[raw['id']][0]} too; expected an id of its own"
        first.setdefault(raw["id"], (name, raw))
    for name, raw in every:
        if raw["result"] == "invalid":
            _, twin = first.get(raw["twin"], ("", None))
            yield from ((name, raw["id"], "twin", fault) for fault in _twin(raw, twin))
    notes: dict[str, Json] = {}
    for name, document in named:
        for flag, note in document.notes.items():
            if notes.setdefault(flag, note) != note:
                yield name, "", f"notes.{flag}", "differs from another file's; expected one note for a flag"
    yield from _shared(every)


def _twin(raw: Mapping[str, Json], twin: Mapping[str, Json] | None) -> Iterator[str]:
    """An invalid vector differs from a valid one in one input, or in one field of the spec."""
    if twin is None or twin["result"] != "valid":
        yield f"is {raw['twin']}; expected the id of a valid vector in these files"
        return
    changed = [
        f"{part}.{key}"
        for part in ("inputs", "spec")
        for key in sorted({*raw[part], *twin[part]})
        if raw[part].get(key) != twin[part].get(key)
    ]
    changed += [key for key in ("axis", "dtype", "cotangent") if raw[key] != twin[key]]
    if len(changed) != 1 or changed[0] in ("axis", "dtype", "cotangent"):
        yield f"differs in {', '.join(changed) or 'nothing'}; expected one input or one field of the spec"


def _shared(every: Iterable[tuple[str, Mapping[str, Json]]]) -> Iterator[tuple[str, ...]]:
    """Many alike show nothing new."""
    alike = defaultdict(list)
    for name, raw in every:
        alike[_cell(raw)].append((name, raw["id"]))
    for group in alike.values():
        if len(group) > SHARED:
            (name, id), others = group[0], [id for _, id in group[1:]]
            what = f"shares them, its inputs' kinds and its shape with {', '.join(others)}"
            yield name, id, "spec, flags", f"{what}; expected at most {SHARED} alike"


def _cell(raw: Mapping[str, Json]) -> tuple[Json, ...]:
    """What makes two vectors alike: the spec but for its numbers, what is given, the shape, the flags, the reason."""
    spec, inputs = raw["spec"], raw["inputs"]
    smoothing, shape = spec["label_smoothing"], _logits_shape(raw)
    choices = {key: value for key, value in spec.items() if isinstance(value, str | bool)}
    return (
        *choices.items(),
        smoothing if smoothing in (0, 1) else "between",
        spec["z_loss"] > 0,
        spec["values"] is None,
        spec["ignore_index"] is None,
        bool(spec["exclude"]),
        tuple(sorted(inputs)),
        inputs["labels"]["dtype"] in INTEGERS,
        tuple(shape),
        inputs["hidden"]["shape"][-1] if "hidden" in inputs else None,
        raw["axis"] % max(len(shape), 1),
        tuple(sorted(raw["flags"])),
        raw["reason"],
    )
