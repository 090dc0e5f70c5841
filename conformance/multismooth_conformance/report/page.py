"""The results as one page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from multismooth_conformance.report.heat import EVERY, heat
from multismooth_conformance.report.pairs import OUTPUTS, Matrix
from multismooth_conformance.report.results import STATES, Results, notes
from multismooth_conformance.report.terminal import sentence
from multismooth_conformance.tolerances import PAIR


def render(results: Results, apart: Sequence[Matrix]) -> str:
    """The same results give the same page."""
    environment = Environment(
        loader=PackageLoader("multismooth_conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        results=results,
        summaries=results.summaries(),
        states=STATES,
        failures=results.failures() + results.failures("gap"),
        flags=heat(results),
        every=EVERY,
        notes=notes(),
        matrices={(matrix.dtype, matrix.output): matrix for matrix in apart},
        sentence=sentence,
        dtypes=PAIR,
        outputs=OUTPUTS,
    )
