"""Turns vectors and modes into tests."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from multismooth_conformance import vectors
from multismooth_conformance.plugin import RUN, Run
from multismooth_conformance.vectors import Vector


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run = metafunc.config.stash.get(RUN, None)
    if run is None:
        raise pytest.UsageError("the suite needs an implementation: pass --multismooth-adapter=module:ADAPTER")
    valid = [vector for vector in vectors.load().values() if vector.reason is None]
    if "valid" in metafunc.fixturenames:
        _parametrize(metafunc, "valid", valid, run.modes, run)
    elif "invalid" in metafunc.fixturenames:
        invalid = [vector for vector in vectors.load().values() if vector.reason is not None]
        _parametrize(metafunc, "invalid", invalid, run.modes, run)
    elif "plain" in metafunc.fixturenames:
        _parametrize(metafunc, "plain", _chosen(metafunc.function.__name__, valid, run), run.modes[:1], run)


def _chosen(test: str, valid: list[Vector], run: Run) -> Iterable[Vector]:
    """The vectors for a promise."""
    match test:
        case "test_reruns":
            # A hundred runs each: one vector of every file is enough.
            return {vector.file: vector for vector in reversed(valid)}.values()
        case "test_split":
            # What a mean divides by is what may not add up.
            return [vector for vector in valid if vector.file == "denominators.json"]
        case "test_totals":
            valid = [vector for vector in valid if not vector.inputs.linear]
        case "test_second_order":
            return [vector for vector in valid if vector.tangent is not None]
    return [vector for vector in valid if vector.id in vectors.core()] if run.spares else valid


def _parametrize(metafunc: pytest.Metafunc, name: str, chosen: Iterable[Vector], modes: list[str], run: Run) -> None:
    test = metafunc.function.__name__.removeprefix("test_")
    cases = []
    for vector in chosen:
        for mode in modes:
            case = f"{test}-{vector.id}-{mode}"
            run.known.add(case)
            if mode not in run.core or vector.id in vectors.core():
                gap = run.gaps.get(case)
                marks = [] if gap is None else [pytest.mark.xfail(reason=gap.reason, strict=gap.strict)]
                cases.append(pytest.param(vector, mode, id=case, marks=marks))
    metafunc.parametrize((name, "mode"), cases)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    return request.config.stash[RUN]
