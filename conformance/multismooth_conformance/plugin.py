"""The pytest plugin: ``pytest --pyargs multismooth_conformance.suite --multismooth-adapter=module:ADAPTER``."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from multismooth_conformance.adapter import Adapter, completed

ENTRY = "multismooth"
"""The property of a test that carries its entry in the report."""

OUTCOMES = ("passed", "failed", "unsupported", "gap")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("multismooth")
    group.addoption("--multismooth-adapter", metavar="MODULE:NAME", help="the implementation to test")
    group.addoption("--multismooth-modes", metavar="MODE,…", help="these modes only, or all; both with every vector")
    group.addoption("--multismooth-gaps", metavar="FILE", help="known gaps, a reason and a link each")
    group.addoption("--multismooth-report", metavar="FILE", help="where to write results and raw outputs (JSON)")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--multismooth-adapter")
    if name is not None:
        # What was asked for and is not there is a failure, not an empty run.
        run = Run(_load(name), config)
        config.stash[RUN] = run
        config.pluginmanager.register(run)


def _load(name: str) -> Adapter:
    module, _, attribute = name.partition(":")
    try:
        return completed(getattr(import_module(module), attribute or "ADAPTER"))
    except (ImportError, AttributeError, TypeError) as error:
        raise pytest.UsageError(f"--multismooth-adapter={name}: {error}") from error


class Run:
    """One implementation under test, with its results."""

    def __init__(self, adapter: Adapter, config: pytest.Config) -> None:
        self.adapter = adapter
        self.report = config.getoption("--multismooth-report")
        wanted = config.getoption("--multismooth-modes")
        self.modes = list(adapter.modes) if wanted in (None, "all") else wanted.split(",")
        self.core = set(adapter.slow) if wanted is None else set()
        """the modes that run the core vectors only"""
        self.compiles = adapter.modes[0] == "compiled"
        """whether every new call takes a compilation: the laws try fewer, and the promises in a default run"""
        self.spares = self.compiles and wanted is None
        self.known: set[str] = set()
        """the tests that there are, whether they run or not"""
        unknown = [mode for mode in self.modes if mode not in adapter.modes]
        if unknown:
            raise pytest.UsageError(f"{adapter.name} has the modes {', '.join(adapter.modes)}, not {unknown[0]}")
        self.gaps = _gaps(adapter.name, config.getoption("--multismooth-gaps"))
        self.results: list[dict[str, Any]] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for gap in self.gaps:
            if self.known and gap not in self.known:
                raise pytest.UsageError(f"the known gap {gap} names no test of {self.adapter.name}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, entry in report.user_properties:
            if name == ENTRY and isinstance(entry, dict):
                self.results.append(entry | {"outcome": _outcome(report)})

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.results:
            return
        # Not at the top: pytest imports this module in every run, where ml_dtypes may be missing.
        from multismooth_conformance.vectors import load

        terminalreporter.section(f"conformance of {self.adapter.name}")
        for mode in self.modes:
            rows = [row for row in self.results if row["mode"] == mode]
            counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in OUTCOMES}
            worst = max((row["loss_ulp"] for row in rows if row.get("loss_ulp") is not None), default=0.0)
            gradient = max((row["gradient"] for row in rows if row.get("gradient") is not None), default=0.0)
            words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            core = " (the core)" if mode in self.core else ""
            terminalreporter.write_line(
                f"{mode}: {len(rows)} of {len(load())} vectors{core}: {words}; "
                f"worst loss {worst:.2f} ULP, worst gradient {gradient:.2f} of its bound"
            )
        if self.report is not None:
            path = Path(self.report)
            path.parent.mkdir(parents=True, exist_ok=True)
            document = {
                "adapter": self.adapter.name,
                "modes": self.modes,
                "core": sorted(self.core),
                "vectors": len(load()),
                "results": self.results,
            }
            path.write_text(json.dumps(document))


def _outcome(report: pytest.TestReport) -> str:
    if report.skipped:
        return "gap" if hasattr(report, "wasxfail") else "unsupported"
    return "passed" if report.passed else "failed"


RUN = pytest.StashKey[Run]()


class Gap(NamedTuple):
    reason: str
    strict: bool
    """whether the test fails everywhere, and not on some machines only"""


def _gaps(adapter: str, path: str | None) -> dict[str, Gap]:
    """``test id  # reason, link`` a line. The tests must fail: a gap that has closed is an error.

    That of ``test id ?  # reason, link`` may: an implementation's rounding can depend on the machine.
    """
    if path is not None:
        text = Path(path).read_text(encoding="utf-8")
    else:
        file = files("multismooth_conformance") / "gaps" / f"{adapter}.txt"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    gaps = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        test, hash_, reason = line.partition("#")
        name = test.strip().removesuffix("?").strip()
        if not name:
            continue
        if not hash_ or "http" not in reason:
            raise pytest.UsageError(f"the known gap {name} needs a reason and a link")
        gaps[name] = Gap(reason.strip(), strict="?" not in test)
    return gaps
