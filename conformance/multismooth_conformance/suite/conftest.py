"""Turns vectors and modes into tests."""

from __future__ import annotations

from typing import Any

import pytest

from multismooth_conformance import vectors
from multismooth_conformance.plugin import RUN, Run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run = metafunc.config.stash.get(RUN, None)
    if run is None:
        raise pytest.UsageError("the suite needs an implementation: pass --multismooth-adapter=module:ADAPTER")
    every = vectors.load().values()
    if "valid" in metafunc.fixturenames:
        chosen = [vector for vector in every if vector.reason is None]
        _parametrize(metafunc, "valid", chosen, run.modes, run)
    elif "invalid" in metafunc.fixturenames:
        chosen = [vector for vector in every if vector.reason is not None]
        _parametrize(metafunc, "invalid", chosen, run.modes, run)
    elif "plain" in metafunc.fixturenames:
        chosen = [vector for vector in every if vector.reason is None]
        if metafunc.function.__name__ == "test_reruns":
            # A hundred runs each: one vector of every file is enough.
            chosen = list({vector.file: vector for vector in reversed(chosen)}.values())
        if metafunc.function.__name__ == "test_split":
            # What a mean divides by is what may not add up.
            chosen = [vector for vector in chosen if vector.file == "denominators.json"]
        _parametrize(metafunc, "plain", chosen, run.modes[:1], run)


def _parametrize(metafunc: pytest.Metafunc, name: str, chosen: list[Any], modes: list[str], run: Run) -> None:
    test = metafunc.function.__name__.removeprefix("test_")
    cases = []
    for vector in chosen:
        for mode in modes:
            case = f"{test}-{vector.id}-{mode}"
            marks = [pytest.mark.xfail(reason=run.gaps[case], strict=True)] if case in run.gaps else []
            cases.append(pytest.param(vector, mode, id=case, marks=marks))
    metafunc.parametrize((name, "mode"), cases)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    return request.config.stash[RUN]
