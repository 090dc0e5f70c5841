"""A loss by whatever the caller calls it: a dialect's name, a file, or a ``Spec``."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from multismooth.dialects import DIALECTS, INEXPRESSIBLE, Dialect
from multismooth.errors import InputError
from multismooth.spec import Spec


class Loss(NamedTuple):
    """A loss that a spec computes."""

    name: str
    spec: Spec
    dialect: Dialect | None = None
    """where it is from; None for a spec of the caller's own"""
    label_smoothing: float | None = None
    """what was asked of the dialect"""

    def arguments(self) -> dict[str, Any]:
        """What the dialect was called with, its defaults included; of a spec of the caller's own, its ε."""
        if self.dialect is None:
            return {"label_smoothing": self.spec.label_smoothing}
        given = {name: parameter.default for name, parameter in signature(self.dialect.spec).parameters.items()}
        return given if self.dialect.smoothing is None else given | {self.dialect.smoothing: self.label_smoothing}


def loss(given: str | Path | Spec | Loss, label_smoothing: float = 0.1) -> Loss:
    """The loss that a name, a file of JSON or a spec stands for.

    A dialect takes ``label_smoothing``, where it has any, and its library's other defaults. What ends in ``.json`` is
    a file that ``Spec.save`` wrote.

    Raises:
        InputError: no such dialect, one that no spec computes, no such file, or a file that holds no spec.

    >>> loss("fairseq", 0.2).spec
    Spec(label_smoothing=0.2, spread='others', ignore_index=1, reduction='sum')
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, Spec):
        return Loss(repr(given), given)
    name = str(given)
    if name.endswith(".json"):
        return Loss(name, _read(Path(given)))
    if name in INEXPRESSIBLE:
        row = INEXPRESSIBLE[name]
        raise InputError("no_spec", f"dialects.{name}", row.reason, f"The nearest is dialects.{row.nearest}")
    if name not in DIALECTS:
        near = get_close_matches(name.lower().replace("-", "_"), [*DIALECTS, *INEXPRESSIBLE], n=3)
        remedy = f"Did you mean {' or '.join(near)}" if near else "Pass one of those that `multismooth list` shows"
        raise InputError("unknown_dialect", "multismooth", f"there is no dialect {name!r}", remedy)
    return Loss(name, DIALECTS[name].smoothed(label_smoothing), DIALECTS[name], label_smoothing)


def _read(path: Path) -> Spec:
    try:
        return Spec.load(path)
    except OSError as error:
        fact = f"{path} cannot be read: {error}"
        raise InputError("unreadable_file", "multismooth", fact, "Pass a file that Spec.save wrote") from error
