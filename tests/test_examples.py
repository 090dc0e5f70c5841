"""The guide for third parties says what is so, and its example in Python passes the suite."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFORMANCE = Path(__file__).parents[1] / "conformance"
GUIDE = (CONFORMANCE / "README.md").read_text(encoding="utf-8")
EXAMPLE = CONFORMANCE / "examples" / "python"
PACKAGE = CONFORMANCE / "multismooth_conformance"


def suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The guide's command, called in a folder that holds the example."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "multismooth_conformance.suite.test_vectors"]
    options = ["--multismooth-adapter=my_adapter:ADAPTER", "--tb=line", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command + options, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "200"}
    )


def test_the_example_passes_but_for_its_gaps(tmp_path: Path) -> None:
    report = tmp_path / "mine.json"
    done = suite(EXAMPLE, "--multismooth-gaps=my_gaps.txt", f"--multismooth-report={report}")
    assert done.returncode == 0, done.stdout
    outcomes = [row["outcome"] for row in json.loads(report.read_text())["results"]]
    assert {"passed", "gap", "unsupported"} == set(outcomes)


def test_the_example_fails_with_a_bug(tmp_path: Path) -> None:
    """ε/(K−1) for ε/K."""
    for file in EXAMPLE.glob("my_*"):
        source = file.read_text(encoding="utf-8")
        (tmp_path / file.name).write_text(source.replace("/ classes", "/ (classes - 1)"), encoding="utf-8")
    done = suite(tmp_path, "--multismooth-gaps=my_gaps.txt", "-k=by-hand")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert re.search(r"\d+ passed, \d+ failed", done.stdout)


@pytest.mark.parametrize(("mark", "code"), [("", pytest.ExitCode.TESTS_FAILED), (" ?", pytest.ExitCode.OK)])
def test_a_gap_of_some_machines_may_pass(mark: str, code: pytest.ExitCode, tmp_path: Path) -> None:
    gaps = tmp_path / "gaps.txt"
    known = (EXAMPLE / "my_gaps.txt").read_text(encoding="utf-8")
    gaps.write_text(f"{known}\nvalid-by-hand-001-eager{mark}  # none, https://example.org\n", encoding="utf-8")
    done = suite(EXAMPLE, f"--multismooth-gaps={gaps}", "-k=by-hand-001")
    assert done.returncode == code, done.stdout


@pytest.mark.parametrize("file", sorted(EXAMPLE.glob("*.py")), ids=lambda file: file.name)
def test_the_example_does_not_import_the_library(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules <= {"numpy", "my_loss", "multismooth_conformance"}


def test_the_guide_shows_the_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    sources = [file.read_text(encoding="utf-8") for file in EXAMPLE.glob("*.py")]
    assert blocks
    for block in blocks:
        assert any(block in source for source in sources), block


def test_the_guide_shows_a_gap_of_the_example() -> None:
    (line,) = re.findall(r"^valid-\S+  # .*https.*$", GUIDE, re.MULTILINE)
    assert line in (EXAMPLE / "my_gaps.txt").read_text(encoding="utf-8").splitlines()


def named(heading: str) -> list[str]:
    """What the first column of a table in the guide names, in alphabetical order."""
    rows = GUIDE.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()
    return sorted(name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[1]))


def test_the_guide_names_every_field_and_every_reason() -> None:
    fields = json.loads((PACKAGE / "vectors/v1/schema.json").read_text(encoding="utf-8"))["$defs"]["vector"][
        "properties"
    ]
    assert named("field") == sorted(fields)
    assert named("field of `spec`") == sorted(fields["spec"]["properties"])
    assert named("input") == sorted(fields["inputs"]["properties"])
    assert named("reason") == sorted(reason for reason in fields["reason"]["enum"] if reason is not None)


def test_the_guide_names_every_option() -> None:
    plugin = (PACKAGE / "plugin.py").read_text(encoding="utf-8")
    assert set(re.findall(r"--multismooth-\w+", GUIDE)) == set(re.findall(r'"(--multismooth-\w+)"', plugin))


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", GUIDE))
def test_the_guide_links_to_files_that_exist(link: str) -> None:
    assert (CONFORMANCE / link).exists()
