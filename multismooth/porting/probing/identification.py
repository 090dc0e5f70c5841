"""What ``identify`` found out, for people and for files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from multismooth.errors import InputError
from multismooth.spec import Spec

SURE = {
    "certain": "every probe agrees, and no other spec does",
    "open": "every probe agrees, and so do the other specs that are named",
    "edges": "ordinary batches agree, and the edges that are named do not",
    "no": "no spec computes this",
}


class Finding(NamedTuple):
    """One thing that was found out."""

    about: str
    """a field of the spec, or the permanent name of a deviation"""
    probe: str
    """what was done"""
    fact: str
    """what came of it"""
    agrees: bool = True
    """False where no spec does this"""


@dataclass(frozen=True)
class Identification:
    """The spec that a loss computes, and how that is known.

    Attributes:
        spec: what it computes on ordinary batches; None if no spec does.
        sure: a key of ``SURE``: "certain", "open", "edges" or "no".
        findings: what was found out, each with its probe.
        also: other specs that no probe can tell from this one, in words.
        nearest: the spec that agrees with most probes; ``spec`` itself if there is one.
        loss_residual, gradient_residual: the largest difference on fresh random batches, in parts of the largest term.
        layout: how the loss takes its arguments, in words.
        arrays: what is built into the loss and must be passed to a room: ``class_weight``, ``prior``.
    """

    spec: Spec | None
    sure: str
    findings: tuple[Finding, ...]
    also: tuple[str, ...]
    nearest: Spec
    loss_residual: float
    gradient_residual: float
    layout: Mapping[str, Any]
    arrays: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def deviations(self) -> tuple[str, ...]:
        """The names of what no spec does."""
        return tuple(dict.fromkeys(finding.about for finding in self.findings if not finding.agrees))

    def to_json(self) -> str:
        """All of it as a JSON object; the specs as ``Spec.to_json`` writes them."""
        specs = {name: self._spec(name) for name in ("spec", "nearest")}
        residuals = {name: _number_or_none(getattr(self, name)) for name in ("loss_residual", "gradient_residual")}
        findings = {"findings": [finding._asdict() for finding in self.findings]}
        return json.dumps(asdict(self) | specs | residuals | findings, allow_nan=False)

    def _spec(self, name: str) -> Any:
        spec = getattr(self, name)
        return None if spec is None else json.loads(spec.to_json())

    @classmethod
    def from_json(cls, text: str) -> Identification:
        """What ``to_json`` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            saved = json.loads(text)
            spec, nearest = (
                saved[name] if saved[name] is None else Spec.from_json(json.dumps(saved[name]))
                for name in ("spec", "nearest")
            )
            return cls(
                spec,
                saved["sure"],
                tuple(Finding(**finding) for finding in saved["findings"]),
                tuple(saved["also"]),
                nearest,
                _or_infinite(saved["loss_residual"]),
                _or_infinite(saved["gradient_residual"]),
                saved["layout"],
                {name: tuple(values) for name, values in saved["arrays"].items()},
            )
        except InputError:
            raise
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                "not_an_identification",
                "Identification.from_json",
                f"this is not what to_json wrote ({type(error).__name__})",
                "Pass what to_json wrote",
            ) from error

    def __str__(self) -> str:
        head = f"{self.spec}" if self.spec is not None else f"no spec; the nearest is {self.nearest}"
        lines = [head, f"  sure: {self.sure}, {SURE[self.sure]}"]
        lines.append("  layout: " + ", ".join(f"{name} {value}" for name, value in self.layout.items()))
        for name, values in self.arrays.items():
            lines.append(f"  pass {name}: [{', '.join(f'{value:.6g}' for value in values)}]")
        lines.append(
            f"  on fresh batches: loss within {self.loss_residual:.1e}, gradient within {self.gradient_residual:.1e}"
        )
        lines += [f"  also: {other}" for other in self.also]
        for finding in sorted(self.findings, key=lambda finding: finding.agrees):
            sign = " " if finding.agrees else "!"
            lines.append(f"{sign} {finding.about}: {finding.fact} ({finding.probe})")
        return "\n".join(lines)


def _number_or_none(residual: float) -> float | None:
    """JSON has no infinity."""
    return residual if math.isfinite(residual) else None


def _or_infinite(residual: Any) -> float:
    return math.inf if residual is None else float(residual)
