"""Hypothesis strategies: calls of the loss, over everything that a ``Spec`` and its arguments admit.

Every call is valid: its values are drawn so, and none is thrown away. The logits are dyadic, so that x − max x is
exact; what no loss may read (masked positions, classes that are not allowed) holds garbage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from multismooth_conformance.adapter import Array, Inputs
from multismooth_conformance.tolerances import compute_dtype
from multismooth_conformance.vectors import dtype

Draw = Callable[[Any], Any]
Choices = Mapping[str, Sequence[Any]]

WIDE = 300
"""Classes beyond int8 and uint8."""

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int32", "int64", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
WEIGHTS = (0.5, 0.25, 0.75, 1.25, 1.5, 1.75, 2.0)

SPEC: Choices = {
    "spread": ("uniform", "others", "leaky"),
    "values": (None, None, (0.9, 0.005), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (2.0, 0.1), (0.0, 0.0)),
    "kl": (False, True),
    "class_weight_rule": ("per_class", "per_label", "expected", "label_term"),
    "z_loss": (0.0, 1e-4, 0.25, 0.1, 2.0),
    "ignore_index": (None, -100, 255, 0, 2, 2**40),
    "out_of_range": ("raise", "nan"),
    "reduction": ("mean", "none", "sum"),
    "denominator": (
        *("valid", "all", "batch", "weights", "nonzero_weights", "sequences", "nonempty_sequences"),
        *("class_weights", "expected_class_weights"),
    ),
    "empty": ("zero", "nan"),
}
"""The choices of a spec's fields, the simplest first. Not here: label_smoothing, any number, and exclude."""

SOFT: Choices = {
    "spread": ("uniform",),
    "values": (None,),
    "class_weight_rule": ("per_class", "expected"),
    "ignore_index": (None,),
    "denominator": SPEC["denominator"][:7],
}
"""What soft labels go with."""

BY_FIRST_AXIS = ("batch", "sequences", "nonempty_sequences")
BY_CLASS_WEIGHT = ("class_weights", "expected_class_weights")


class Call(NamedTuple):
    """A call, and what its gradient is pulled back from."""

    inputs: Inputs
    cotangent: Array


@st.composite
def calls(draw: Draw, only: Choices | None = None, *, soft: bool | None = None, finite: bool = False) -> Call:
    """A valid call.

    ``only`` narrows the choices of some fields, ``soft`` the kind of labels; a ``finite`` one has no infinite logit
    at a position that counts.
    """
    classes, batch = draw(shapes())
    soft = draw(st.booleans()) if soft is None else soft
    given = draw(st.sets(st.sampled_from(("where", "sample_weight", "class_weight", "prior", "allowed", "normalizer"))))
    spec = draw(specs(classes, only or {}, soft=soft, scalar=not batch, given=given))
    axis = draw(st.integers(-len(batch) - 1, len(batch)))
    call: Call = draw(arrays(Inputs(spec, axis, {}), classes, batch, given, soft=soft, finite=finite))
    return call


@st.composite
def shapes(draw: Draw) -> tuple[int, tuple[int, ...]]:
    """The number of classes, and the labels' shape: a scalar, up to three axes, now and then empty."""
    classes = draw(st.sampled_from((3, 2, 5, 4, 7, 12, 1)) | _rarely(WIDE, 3))
    if classes == WIDE:
        return classes, draw(st.sampled_from(((2,), (1, 2), ())))
    batch = draw(st.lists(st.sampled_from((2, 3, 1, 4)), min_size=draw(_rarely(0, 1)), max_size=3))
    if batch and draw(_rarely(True, False)):
        batch[draw(st.integers(0, len(batch) - 1))] = 0
    return classes, tuple(batch)


def _rarely(rare: Any, usual: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((usual,) * 15 + (rare,))


@st.composite
def specs(draw: Draw, classes: int, only: Choices, *, soft: bool, scalar: bool, given: set[str]) -> dict[str, Any]:
    """All fields. Arguments that the spec does not go with leave ``given``."""

    def choose(field: str, *narrow: Collection[Any] | None) -> Any:
        narrowed = [only.get(field), SOFT.get(field) if soft else None, *narrow]
        return draw(st.sampled_from([v for v in SPEC[field] if all(n is None or v in n for n in narrowed)]))

    values = choose("values")
    spread = "uniform" if values is not None else choose("spread")
    plain = values is None and spread == "uniform"
    kl, reduction = choose("kl"), choose("reduction")
    given -= {"class_weight"} if kl else set()
    given -= {"prior"} if values is not None else set()
    given -= {"normalizer"} if reduction != "mean" else set()
    return {
        "label_smoothing": 0.0 if values is not None else draw(_smoothing(only)),
        "spread": spread,
        "values": None if values is None else list(values),
        "exclude": draw(_excluded(classes)),
        "kl": kl,
        "class_weight_rule": choose("class_weight_rule", None if plain else SPEC["class_weight_rule"][:3]),
        "z_loss": choose("z_loss"),
        "ignore_index": choose("ignore_index"),
        "out_of_range": choose("out_of_range"),
        "reduction": reduction,
        "denominator": choose("denominator", set(SPEC["denominator"]) - set(BY_FIRST_AXIS if scalar else ())),
        "empty": choose("empty"),
    }


def _smoothing(only: Choices) -> st.SearchStrategy[float]:
    """ε: none, all, dyadic or not, tiny, and nearly 1."""
    some = st.sampled_from(only.get("label_smoothing", (0.25, 0.0, 0.1, 1.0, 1e-30, 1 - 2.0**-40)))
    return some if "label_smoothing" in only else some | st.floats(2.0**-20, 1.0)


def _excluded(classes: int) -> st.SearchStrategy[list[int]]:
    """Some of the classes, and never all; half of the time none."""
    some = st.sets(st.integers(0, classes - 1), max_size=min(classes - 1, 3)).map(sorted)
    return st.just([]) | some


@st.composite
def arrays(
    draw: Draw, call: Inputs, classes: int, batch: tuple[int, ...], given: set[str], *, soft: bool, finite: bool
) -> Call:
    """The arrays of a call whose spec and axis are drawn."""
    spec = call.spec
    logits_dtype = draw(st.sampled_from(FLOATS))
    other = draw(st.sampled_from(("float64",) if logits_dtype == "float64" else ("float32", *FLOATS)))
    by_class: dict[str, Array] = {}
    if "class_weight" in given:
        by_class["class_weight"] = draw(_weights((classes,), logits_dtype, other))
    if "prior" in given:
        by_class["prior"] = draw(_probabilities((), classes, other))[()]
    if "normalizer" in given:
        kind = draw(st.sampled_from(FLOATS + INTEGERS))
        by_class["normalizer"] = np.asarray(draw(st.sampled_from((7.5, 1.0, 96.0, 0.0)))).astype(dtype(kind))
    by_position: dict[str, Array] = {}
    if "where" in given:
        by_position["where"] = draw(_flags(batch))
    if "sample_weight" in given:
        by_position["sample_weight"] = draw(_weights(batch, logits_dtype, other))
    allowed = draw(_allowed(classes, batch)) if "allowed" in given else None

    everyone = np.ones((*batch, classes), bool)
    exist = everyone if allowed is None else everyone & allowed
    labels = draw(_soft_labels(exist, other) if soft else _labels(exist, spec["ignore_index"]))
    mask = by_position.get("where", np.ones(batch, bool))
    if not soft and spec["ignore_index"] is not None:
        mask = mask & (labels != spec["ignore_index"])
    logits = draw(_logits((*batch, classes), logits_dtype, finite))
    # What stands where nobody may look.
    unread = ~mask
    if "sample_weight" in given and draw(st.booleans()):
        by_position["sample_weight"] = _put(by_position["sample_weight"], ~mask, draw(_garbage()))
    if "sample_weight" in given and spec["denominator"] not in BY_CLASS_WEIGHT:
        unread = unread | (by_position["sample_weight"] == 0)
    if draw(st.booleans()):
        logits = _put(logits, unread[..., None] | ~exist, draw(_garbage()))
        labels = _put(labels, unread[..., None], draw(_garbage())) if soft else draw(_unread(labels, unread, spec))

    by_row = {"logits": logits} | ({"labels": labels} if soft else {})
    if not soft:
        by_position["labels"] = labels
    if allowed is not None:
        (by_class if allowed.ndim == 1 else by_row)["allowed"] = allowed
    moved = {name: np.ascontiguousarray(np.moveaxis(array, -1, call.axis)) for name, array in by_row.items()}
    shape = batch if spec["reduction"] == "none" else ()
    return Call(call._replace(arrays=moved | by_position | by_class), draw(_cotangents(shape, logits_dtype)))


def _put(array: Array, places: Array, value: float) -> Array:
    return np.where(places, np.asarray(value).astype(array.dtype), array)


def _garbage() -> st.SearchStrategy[float]:
    return st.sampled_from((np.nan, np.inf, -np.inf, -1.0))


def _flags(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Two of three are true; now and then none."""
    return _rarely((False,), (True, True, False)).flatmap(lambda flags: _filled(shape, flags))


def _filled(shape: tuple[int, ...], palette: Sequence[Any]) -> st.SearchStrategy[Array]:
    """An array of these values, the first the simplest. A byte for each, which is much quicker than a draw for each."""
    values, size = np.array(palette), math.prod(shape)

    def pick(data: bytes) -> Array:
        return np.asarray(values[np.frombuffer(data, np.uint8).astype(np.intp) % len(values)].reshape(shape))

    return st.binary(min_size=size, max_size=size).map(pick)


def _weights(shape: tuple[int, ...], logits: str, kind: str) -> st.SearchStrategy[Array]:
    """Numbers ≥ 0, some of them 0, exact in the dtype that the loss is computed in."""
    palette = st.sampled_from(((*WEIGHTS, 1.0, 0.0), (1.0, 0.0), (0.1, 3.3, 2.0**-8, 77.7, 1 / 3)))
    filled = palette.flatmap(lambda values: _filled(shape, values))
    return filled.map(lambda w: w.astype(compute_dtype(logits)).astype(dtype(kind)))


@st.composite
def _probabilities(draw: Draw, batch: tuple[int, ...], classes: int, kind: str) -> Array:
    """Rows that sum to 1, with zeros; dyadic, or rounded to their dtype."""
    whole = 256
    cuts = np.sort(draw(_filled((*batch, classes - 1), range(whole))), -1)
    edges = np.zeros((*batch, 1), np.int64)
    parts = np.diff(np.concatenate([edges, cuts, edges + whole], -1), axis=-1)
    if draw(st.booleans()):
        parts = parts**2
    probabilities = parts / parts.sum(-1, keepdims=True)
    return np.asarray(probabilities.astype(np.float32 if kind != "float64" else kind).astype(dtype(kind)))


@st.composite
def _allowed(draw: Draw, classes: int, batch: tuple[int, ...]) -> Array:
    """[classes], or for each position; at least one class exists."""
    shape = draw(st.sampled_from(((classes,), (*batch, classes))))
    allowed = draw(_filled(shape, (True, True, False)))
    first = draw(st.integers(0, classes - 1))
    allowed[..., first] |= ~allowed.any(-1)
    return np.asarray(allowed)


@st.composite
def _soft_labels(draw: Draw, exist: Array, kind: str) -> Array:
    """Probabilities of the classes that exist."""
    labels = draw(_probabilities(exist.shape[:-1], exist.shape[-1], kind)).astype(np.float64)
    labels = np.where(exist, labels, 0.0)
    # What stood on classes that do not exist goes to the first that does.
    rest = np.maximum(1 - labels.sum(-1, keepdims=True), 0.0)
    first = np.arange(exist.shape[-1]) == exist.argmax(-1)[..., None]
    return np.where(first, labels + rest, labels).astype(np.float32).astype(dtype(kind))


@st.composite
def _labels(draw: Draw, exist: Array, ignored: int | None) -> Array:
    """Class indices of any dtype that holds them all."""
    classes, batch = exist.shape[-1], exist.shape[:-1]
    kind: np.dtype[Any] = np.dtype(draw(st.sampled_from([n for n in INTEGERS if classes - 1 <= np.iinfo(n).max])))
    ranks = draw(_filled(batch, range(0, 256 * 37, 37))) % np.maximum(exist.sum(-1), 1)
    # The label is the class that has this rank among those that exist.
    labels = (np.cumsum(exist, -1) <= ranks[..., None]).sum(-1).astype(kind)
    if ignored is None or not np.iinfo(kind).min <= ignored <= np.iinfo(kind).max:
        return np.asarray(labels)
    return np.asarray(np.where(draw(_filled(batch, (False, False, True))), kind.type(ignored), labels))


@st.composite
def _unread(draw: Draw, labels: Array, places: Array, spec: Mapping[str, Any]) -> Array:
    """Labels of no class, where nothing counts; a position of weight 0 is not to become an ignored one."""
    info = np.iinfo(labels.dtype)
    outside = [value for value in (info.max, info.min, -1) if info.min <= value <= info.max]
    chosen = draw(st.sampled_from([value for value in outside if value != spec["ignore_index"]]))
    kept = np.zeros(places.shape, bool) if spec["ignore_index"] is None else labels == spec["ignore_index"]
    return np.where(places & ~kept, labels.dtype.type(chosen), labels)


_SMALL = tuple(k / 8 for k in sorted(range(-32, 33), key=abs))
_FINE = tuple(((2503 * k) % 2**14 - 2**13) / 2**10 for k in range(256))
_GAPS = (0.0, 20.0, 80.0, 104.0, 200.0, -200.0)
_LARGE = (0.0, 9984.0, 9985.0, 9920.5, -9984.0)
_TINY = (0.0, 1.0, 2.0**-140, -(2.0**-127))


@st.composite
def _logits(draw: Draw, shape: tuple[int, ...], kind: str, finite: bool) -> Array:
    """Dyadic numbers, one kind of them in an array or several."""
    palettes = (_SMALL, _FINE, _GAPS, _SMALL + 9 * _GAPS, _LARGE, _SMALL + 9 * _LARGE)
    # Subnormal in float32. In float64 they would make losses of 1e-90, which no difference shows beside one of 1.
    palette = draw(st.sampled_from(palettes if kind == "float64" else (*palettes, _TINY)))
    logits = draw(_filled(shape, palette)) + draw(_rarely(9984.0, 0.0))
    if not finite and draw(_rarely(True, False)):
        logits[draw(_filled(shape, (False, False, False, True)))] = -np.inf
    return np.asarray(logits).astype(dtype(kind))


def _cotangents(shape: tuple[int, ...], logits: str) -> st.SearchStrategy[Array]:
    return _filled(shape, (*WEIGHTS, *(-w for w in WEIGHTS))).map(lambda g: g.astype(compute_dtype(logits)))
