"""The choices that make one loss out of many, as data: ``Spec``."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, NoReturn

from multismooth.errors import InputError

SPREADS = ("uniform", "others", "leaky")
CLASS_WEIGHT_RULES = ("per_class", "per_label", "expected", "label_term")
OUT_OF_RANGE = ("raise", "nan")
REDUCTIONS = ("mean", "sum", "none")
DENOMINATORS = (
    "valid",
    "all",
    "batch",
    "weights",
    "nonzero_weights",
    "class_weights",
    "expected_class_weights",
    "sequences",
    "nonempty_sequences",
)
EMPTY = ("zero", "nan")

_LABELS = range(-(2**63), 2**64)
"""what some integer dtype holds"""

VERSION = 1
"""of the file that ``Spec.save`` writes"""
LARGEST = 2**20
"""Bytes of a file that ``Spec.load`` reads: room for 100,000 excluded classes."""

_CHOICES = {
    "spread": SPREADS,
    "class_weight_rule": CLASS_WEIGHT_RULES,
    "out_of_range": OUT_OF_RANGE,
    "reduction": REDUCTIONS,
    "denominator": DENOMINATORS,
    "empty": EMPTY,
}


@dataclass(frozen=True, repr=False)
class Spec:
    """What a label-smoothed, masked cross-entropy computes; equal specs give equal losses everywhere.

    A position with logits ``x``, label ``y`` and ``c_k`` = prior (or 1) × not excluded × allowed has

        loss = mass·lse − ⟨q, x⟩ + z_loss·lse² − H,        lse = log Σ_k exp x_k,   mass = Σ_k q_k

    Attributes:
        label_smoothing: ε in [0, 1], the probability that is taken from the label.
        spread: who receives ε. ``"uniform"``: q_y = 1 − ε + ε·c_y/C and q_k = ε·c_k/C with C = Σ c_k.
            ``"others"``: every class but the label, q_y = 1 − ε. ``"leaky"``: q_y = 1 − ε and
            q_k = ε·c_k/C, so that the label's own share is lost and mass < 1.
        values: ``(on, off)`` gives the target outright: q_y = on and q_k = off·c_k. In the place of
            ``label_smoothing`` and ``spread``.
        exclude: classes that receive no smoothing mass, such as a column of padding.
        kl: subtract H, the target's entropy: the Kullback-Leibler divergence. The gradient stays.
        class_weight_rule: how ``class_weight`` w enters. ``"per_class"``: q_k becomes w_k·q_k.
            ``"per_label"``: the row is multiplied by w_y. ``"expected"``: by Σ_k q_k·w_k.
            ``"label_term"``: only the label's (1 − ε) is multiplied by w_y.
        z_loss: coefficient of lse²; never class-weighted.
        ignore_index: label of the positions that do not count, in [−2⁶³, 2⁶⁴), or None.
        out_of_range: what a label outside [0, K) does: ``"raise"`` an ``InputError`` where the values
            can be read, NaN in that row elsewhere; or ``"nan"`` everywhere.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        denominator: what the mean divides by. ``"valid"``: positions that count; ``"all"``: all of
            them; ``"batch"``: the length of the labels' first axis; ``"weights"``: Σ sample_weight;
            ``"nonzero_weights"``: positions whose weight is not 0; ``"class_weights"``: Σ w_y and
            ``"expected_class_weights"``: Σ_i Σ_k q_k·w_k over positions that count, without the
            sample weights; ``"sequences"``: each element of the first axis has its own weighted
            mean, and these are averaged; ``"nonempty_sequences"``: over those that have any weight.
        empty: the mean where the denominator is 0: ``"zero"`` or ``"nan"``. The gradient is 0 then.

    Raises:
        InputError: a field out of its range, or two fields that exclude each other.

    >>> Spec(label_smoothing=0.1, ignore_index=-100)
    Spec(label_smoothing=0.1, ignore_index=-100)
    >>> Spec.from_json(Spec(spread="others").to_json()) == Spec(spread="others")
    True

    Reference: Szegedy et al., Rethinking the Inception Architecture (2016), section 7, for ε.
    """

    label_smoothing: float = 0.0
    spread: str = "uniform"
    values: tuple[float, float] | None = None
    exclude: tuple[int, ...] = ()
    kl: bool = False
    class_weight_rule: str = "per_class"
    z_loss: float = 0.0
    ignore_index: int | None = None
    out_of_range: str = "raise"
    reduction: str = "mean"
    denominator: str = "valid"
    empty: str = "zero"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        if type(self.kl) is not bool:
            _refuse("kl_not_bool", "kl", self.kl, "Pass True or False")
        smoothing = _real("label_smoothing", self.label_smoothing)
        if not 0 <= smoothing <= 1:
            _refuse(
                "label_smoothing_out_of_range",
                "label_smoothing",
                self.label_smoothing,
                "Pass a number from 0 to 1",
            )
        z_loss = _real("z_loss", self.z_loss)
        if not 0 <= z_loss < math.inf:
            _refuse("z_loss_out_of_range", "z_loss", self.z_loss, "Pass a finite number ≥ 0")
        # Numbers of NumPy and the like become Python's, so that equal specs are equal and hash alike.
        object.__setattr__(self, "label_smoothing", smoothing)
        object.__setattr__(self, "z_loss", z_loss)
        object.__setattr__(self, "values", _pair(self.values))
        object.__setattr__(self, "exclude", _classes(self.exclude))
        object.__setattr__(self, "ignore_index", _index(self.ignore_index))
        self._check_together()

    def _check_together(self) -> None:
        if self.values is not None and (self.label_smoothing != 0 or self.spread != "uniform"):
            raise InputError(
                "values_exclude_smoothing",
                "Spec",
                f"values={self.values!r} gives the whole target, but label_smoothing="
                f"{self.label_smoothing!r} and spread={self.spread!r} are given too",
                "Leave out values, or the other two",
            )
        if self.class_weight_rule == "label_term" and (self.values is not None or self.spread != "uniform"):
            raise InputError(
                "label_term_needs_uniform",
                "Spec",
                "class_weight_rule='label_term' is defined for spread='uniform' only",
                "Pass spread='uniform' without values, or another class_weight_rule",
            )

    def __repr__(self) -> str:
        changed = (f for f in fields(self) if getattr(self, f.name) != f.default)
        return f"Spec({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"

    def to_json(self) -> str:
        """All fields as a JSON object; defaults are written too, so a saved spec never changes.

        >>> Spec(values=(0.9, 0.005)).to_json()[:47]
        '{"label_smoothing": 0.0, "spread": "uniform", "'
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The spec that ``to_json`` wrote. A missing field takes its default.

        Raises:
            InputError: not JSON, not an object, an unknown or repeated key, or a bad value.
        """
        return cls(**_fields(_parsed(text, "Spec.from_json"), "Spec.from_json"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the spec to a file, beside a checkpoint: JSON, with the version of its format.

        The file is there as a whole or not at all.

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp(), "loss.json")
        >>> Spec(0.1, "others").save(path)
        >>> Spec.load(path)
        Spec(label_smoothing=0.1, spread='others')
        """
        text = json.dumps({"version": VERSION, "spec": asdict(self)}, indent=1) + "\n"  # ASCII
        where = os.path.realpath(path)  # a link stays one
        unfinished = f"{where}.{os.urandom(4).hex()}"
        try:
            with open(unfinished, "xb") as file:
                file.write(text.encode())
            os.replace(unfinished, where)
        except BaseException:
            if os.path.exists(unfinished):
                os.unlink(unfinished)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Spec:
        """The spec that ``save`` wrote. Safe on a file of whatever origin: nothing of it is run.

        Raises:
            OSError: the file cannot be read.
            InputError: it is of more than 1 MiB, no JSON in UTF-8, of another version, or holds no spec.
        """
        call = "Spec.load"
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError("spec_too_large", call, f"the file has more than {LARGEST} bytes", "Pass what save wrote")
        saved = _parsed(content, call)
        if not isinstance(saved, dict) or saved.keys() != {"version", "spec"}:
            fact = "a saved spec is an object of version and spec, and this is another"
            raise InputError("not_a_saved_spec", call, fact, "Pass what save wrote")
        if saved["version"] != VERSION or type(saved["version"]) is not int:
            fact = f"the file is of version {brief(saved['version'])}, and this library reads version {VERSION}"
            raise InputError("unknown_version", call, fact, "Take the multismooth that wrote it")
        return cls(**_fields(saved["spec"], call))

    def as_native(self, framework: str) -> str:
        """Source code of a function ``loss`` that equals this spec, in a framework's own functions.

        The code needs no multismooth. It takes class indices, with the class axis where the framework has it: axis 1
        in PyTorch, the last elsewhere; and by keyword, all optional, the arrays that a field speaks of:
        ``sample_weight`` for the denominators of weights and sequences, ``class_weight`` for those of class weights
        or another rule than ``"per_class"``, and ``where`` if neither ``ignore_index`` nor a weight can mask. It has
        no soft labels, prior, allowed classes or normalizer.

        Loss and gradient to the logits are the spec's to rounding, which is that of the framework's own log_softmax:
        a confident row without smoothing may be 0, and a class weight of 0 times an infinite loss is NaN. Where a
        framework's own function differs on another edge, a comment in the code says so.

        Args:
            framework: ``"torch"``, ``"optax"``, ``"keras"`` or ``"tensorflow"``.

        Raises:
            InputError: another framework, or a label that the framework's labels cannot hold.

        >>> code = Spec(0.1, ignore_index=255, denominator="class_weights", empty="nan").as_native("torch")
        >>> print(code.splitlines()[-1].strip())
        return F.cross_entropy(logits, labels, weight=class_weight, ignore_index=255, label_smoothing=0.1)
        """
        from multismooth.porting.native import source  # what only a port needs is not loaded before

        return source(self, framework)


def as_spec(spec: Spec | float, call: str) -> Spec:
    """The spec itself; a number stands for ``Spec(label_smoothing=number)``."""
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, Real) and not isinstance(spec, bool):
        return Spec(label_smoothing=spec)
    raise InputError(
        "not_a_spec",
        call,
        f"spec is a {type(spec).__name__}",
        "Pass a Spec, or a number for its label_smoothing",
    )


def brief(value: object) -> str:
    """``repr`` on one line of at most 80 characters, for what is refused may be of any size."""
    try:
        text = repr(value).replace("\n", " ")
    except Exception:  # Python writes no integer of more than 4300 digits, and others may have no repr at all
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:79]}…"


def _refuse(reason: str, field: str, value: object, remedy: str) -> NoReturn:
    raise InputError(reason, "Spec", f"{field} is {brief(value)}", remedy)


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        _refuse(f"unknown_{field}", field, value, f"Pass one of {', '.join(map(repr, choices))}")


def _real(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        _refuse(f"{field}_not_a_number", field, value, "Pass a number")
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float is out of range like infinity
        return math.inf


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _pair(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        _refuse("values_not_a_pair", "values", values, "Pass a pair (on, off), or None")
    on, off = (_real("values", value) for value in values)
    if not (0 <= on < math.inf and 0 <= off < math.inf):
        _refuse("values_out_of_range", "values", values, "Pass two finite numbers ≥ 0")
    return on, off


def _classes(exclude: Any) -> tuple[int, ...]:
    if not isinstance(exclude, (tuple, list)) or not all(_is_int(k) and 0 <= k < _LABELS.stop for k in exclude):
        _refuse("exclude_not_classes", "exclude", exclude, "Pass a tuple of class indices, from 0 to 2**64 - 1")
    return tuple(sorted({int(k) for k in exclude}))


def _index(ignore_index: Any) -> int | None:
    if ignore_index is None:
        return None
    if not _is_int(ignore_index):
        _refuse("ignore_index_not_an_integer", "ignore_index", ignore_index, "Pass an integer or None")
    index = int(ignore_index)
    if not _LABELS.start <= index < _LABELS.stop:
        _refuse(
            "ignore_index_out_of_range",
            "ignore_index",
            index,
            "Pass an integer that a label can be, from -2**63 to 2**64 - 1, or None",
        )
    return index


_WRITER = {"Spec.from_json": "to_json", "Spec.load": "save"}


def _fields(saved: Any, call: str) -> dict[str, Any]:
    """The arguments of ``Spec`` that an object of JSON holds."""
    if not isinstance(saved, dict):
        raise InputError(
            "spec_not_object",
            call,
            f"a spec is a JSON object, and this is a {type(saved).__name__}",
            f"Pass what {_WRITER[call]} wrote",
        )
    names = [f.name for f in fields(Spec)]
    for key in saved:
        if key not in names:
            remedy = f"The fields are {', '.join(names)}"
            raise InputError("unknown_spec_field", call, f"there is no field {brief(key)}", remedy)
    return saved


def _parsed(text: str | bytes, call: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(key for key, _ in pairs).items():
            if times > 1:
                fact = f"the field {brief(key)} stands there twice"
                raise InputError("repeated_spec_field", call, fact, "Leave one of them out")
        return dict(pairs)

    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=unique)
    except RecursionError:
        fault = "it is nested too deeply"
    except (TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        fault = str(error)
    except InputError:
        raise
    except ValueError:  # Python reads no integer of more than 4300 digits
        fault = "it holds an integer of thousands of digits"
    raise InputError("spec_not_json", call, f"this is not JSON: {fault}", f"Pass what {_WRITER[call]} wrote")
