"""The table of dialects, and the decorator that writes a row of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import Any, Literal, NamedTuple, TypeVar

from multismooth.errors import InputError
from multismooth.spec import Spec

Reduction = Literal["mean", "sum", "none"]
"""the words that a library has in common with ``Spec``"""

Function = TypeVar("Function", bound=Callable[..., Any])
Meaning = TypeVar("Meaning")


class Source(NamedTuple):
    """Where a loss was read."""

    repository: str
    file: str
    version: str
    """a release, a commit, or when it was read"""

    def __str__(self) -> str:
        return f"{self.repository}, {self.file}, {self.version}"


class Dialect(NamedTuple):
    """A loss in use: one row of ``DIALECTS``."""

    name: str
    """that of its function"""
    library: str
    """what the loss is called where it comes from"""
    spec: Callable[..., Spec]
    source: Source
    executed: bool
    """whether the library's own code was run and agreed; otherwise it was read only"""
    not_expressed: str
    """what of the library's loss the spec leaves out, or nothing"""
    smoothing: str | None
    """the parameter of ``spec`` that is ε; None where there is none"""
    padding: str
    """how the library is told that a position does not count: by a ``"label"``, a ``"mask"``, a ``"weight"`` of 0,
    or not at all (``"none"``), so that the caller leaves such positions out"""

    def smoothed(self, label_smoothing: float) -> Spec:
        """The spec with this ε, where the library has one, and the library's other defaults.

        >>> from multismooth.dialects import DIALECTS, pytorch_loss
        >>> DIALECTS["pytorch_loss"].smoothed(0.2) == pytorch_loss(lb_smooth=0.2)
        True
        """
        return self.spec() if self.smoothing is None else self.spec(**{self.smoothing: label_smoothing})


class Inexpressible(NamedTuple):
    """A loss in use that no spec computes: one row of ``INEXPRESSIBLE``."""

    name: str
    library: str
    source: Source
    reason: str
    """why no spec computes it"""
    nearest: str
    """the call of a dialect that comes nearest"""


DIALECTS: dict[str, Dialect] = {}
"""Every loss that a spec computes, by the name of its function."""

INEXPRESSIBLE: dict[str, Inexpressible] = {}
"""Every loss that none computes, by the name of its function."""


def dialect(
    library: str,
    repository: str,
    file: str,
    version: str,
    *,
    executed: bool = False,
    not_expressed: str = "",
    smoothing: str | None = "label_smoothing",
    padding: str = "label",
) -> Callable[[Function], Function]:
    """Enter a function that returns a spec; its docstring ends with what the table says."""

    def enter(spec: Function) -> Function:
        source = Source(repository, file, version)
        row = Dialect(spec.__name__, library, spec, source, executed, not_expressed, smoothing, padding)
        DIALECTS[row.name] = row
        left_out = [f"Not expressed: {not_expressed}."] if not_expressed else []
        standing = f"Source: {source}. Standing: {'executed' if executed else 'from source'}."
        spec.__doc__ = "\n\n".join([cleandoc(spec.__doc__ or ""), *left_out, standing])
        return spec

    return enter


def inexpressible(
    library: str, repository: str, file: str, version: str, *, reason: str, nearest: str
) -> Callable[[Callable[..., None]], Callable[..., Spec]]:
    """Enter a loss that no spec computes: a function of its parameters that raises the reason."""

    def enter(function: Callable[..., None]) -> Callable[..., Spec]:
        row = Inexpressible(function.__name__, library, Source(repository, file, version), reason, nearest)
        INEXPRESSIBLE[row.name] = row

        def refuse(*_: Any, **__: Any) -> Spec:
            raise InputError("no_spec", f"dialects.{row.name}", reason, f"The nearest is dialects.{nearest}")

        refuse.__name__ = refuse.__qualname__ = row.name
        refuse.__module__ = function.__module__
        without = f"No spec computes it: {reason}. The nearest is ``{nearest}``."
        refuse.__doc__ = "\n\n".join([cleandoc(function.__doc__ or ""), without, f"Source: {row.source}."])
        return refuse

    return enter


def choose(call: str, parameter: str, value: object, choices: Mapping[str, Meaning]) -> Meaning:
    """What a library's word stands for."""
    if not isinstance(value, str) or value not in choices:
        names = ", ".join(map(repr, choices))
        raise InputError(
            f"unknown_{parameter}", f"dialects.{call}", f"{parameter} is {value!r}", f"Pass one of {names}"
        )
    return choices[value]
