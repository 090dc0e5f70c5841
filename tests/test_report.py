"""The report: results of several implementations as one table and one page."""

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multismooth_conformance import load, report
from multismooth_conformance.__main__ import main
from multismooth_conformance.report import page
from multismooth_conformance.report.heat import EVERY, heat
from multismooth_conformance.report.pairs import Matrix, differences
from multismooth_conformance.report.results import Results, UnreadableError, notes
from multismooth_conformance.tolerances import PAIR
from multismooth_conformance.vectors import Vector

Entry = dict[str, Any]


def names(vector: Vector) -> tuple[str, ...]:
    """The inputs whose gradients are in the report."""
    return ("hidden", "kernel") if vector.inputs.linear else ("logits",)


def dtype(vector: Vector) -> str:
    return vector.inputs.logits[0]


def is_plain(vector: Vector) -> bool:
    """Valid, in float32, finite, with flags, and with a loss whose size is its own."""
    if vector.expected is None or vector.scale is None or dtype(vector) != "float32" or not vector.flags:
        return False
    loss = vector.expected["loss"].values
    return loss.size > 0 and bool(np.isfinite(loss).all() and (abs(loss) > 0.1).all())


FIRST, SECOND, THIRD, *_ = filter(is_plain, load().values())
DOUBLE = next(vector for vector in load().values() if vector.expected is not None and dtype(vector) == "float64")
HALF = next(vector for vector in load().values() if vector.expected is not None and dtype(vector) == "bfloat16")
LINEAR = next(vector for vector in load().values() if vector.inputs.linear and is_plain(vector))
INVALID = next(vector for vector in load().values() if vector.reason is not None)


def entry(vector: Vector, outcome: str = "passed", mode: str = "eager", **more: Any) -> Entry:
    """What the suite writes of a vector; the outputs are the truth."""
    row: Entry = {"id": vector.id, "mode": mode, "outcome": outcome}
    if outcome == "passed" and vector.expected is not None:
        row["loss"] = vector.expected["loss"].values.astype(float).tolist()
        for name in names(vector):
            row[f"{name}_gradient"] = vector.expected["grad"][name].values.astype(float).tolist()
        row |= {"loss_ulp": 0.5, "gradient": 0.25}
    return row | more


def moved(vector: Vector, output: str, parts: float) -> Entry:
    """The truth, flat, with every element moved by some parts of what any two may differ by."""
    assert vector.expected is not None
    assert vector.scale is not None
    row = entry(vector)
    scale = vector.scale["loss"] if output == "loss" else vector.scale["grad"]["logits"]
    step = parts * PAIR["float64" if dtype(vector) == "float64" else "float32"] * scale.values.astype(float)
    return row | {output: (np.ravel(row[output]) + step.reshape(-1)).tolist()}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(adapter: str, *rows: Entry, modes: tuple[str, ...] = ("eager",), name: str = "") -> Path:
        path = tmp_path / f"{name or adapter}.json"
        path.write_text(json.dumps({"adapter": adapter, "modes": modes, "results": rows}))
        return path

    return write


def matrix(results: Results, output: str, kind: str) -> Matrix:
    return next(found for found in differences(results) if (found.output, found.dtype) == (output, kind))


# --- The table ----------------------------------------------------------------------------------------------------


def test_what_did_not_run_and_what_is_unsupported_are_not_passed(write: Any) -> None:
    rows = [
        entry(FIRST, loss_ulp=1.5, gradient=0.75),
        entry(SECOND, "unsupported"),
        entry(THIRD, "gap"),
        entry(INVALID, "failed"),
    ]
    (summary,) = Results.read([write("mine", *rows)]).summaries()
    assert summary.counts == {"passed": 1, "failed": 1, "unsupported": 1, "gap": 1, "not run": len(load()) - 4}
    assert (summary.loss, summary.gradient) == (1.5, 0.75)


def test_each_mode_has_its_line(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("mine", entry(FIRST), entry(FIRST, mode="compiled", loss_ulp=3.21), modes=("eager", "compiled"))
    assert main(["report", str(path)]) == 0
    eager, compiled = capsys.readouterr().out.splitlines()[1:3]
    assert eager.split()[:3] == ["mine", "eager", "1"]
    assert "0.50" in eager
    assert compiled.split()[:2] == ["compiled", "1"]
    assert "3.21" in compiled


def test_a_failure_is_named_and_fails_the_command(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(write("mine", entry(FIRST), entry(SECOND, "failed")))]) == 1
    assert f"mine eager failed {SECOND.id}\n" in capsys.readouterr().out


def test_a_known_gap_does_not_fail_the_command(write: Any) -> None:
    assert main(["report", str(write("mine", entry(FIRST), entry(SECOND, "gap")))]) == 0


def test_names_are_printed_as_they_are(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(write("[red]mine[/red]", entry(FIRST), name="mine"))])
    assert "[red]mine[/red]" in capsys.readouterr().out


def test_several_entries_of_one_vector_count_once_with_the_worst_outcome(write: Any) -> None:
    path = write("mine", entry(FIRST, "failed"), entry(FIRST), entry(SECOND), entry(SECOND, "unsupported"))
    (summary,) = Results.read([path]).summaries()
    assert (summary.counts["failed"], summary.counts["passed"], summary.counts["unsupported"]) == (1, 1, 0)


def test_two_files_of_one_implementation_are_two_columns(write: Any) -> None:
    paths = [write("mine", entry(FIRST), name=name) for name in ("here", "there")]
    assert Results.read(paths).implementations == ("mine", "mine (there)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is not what --multismooth-report writes"),
        ('{"adapter": "a", "modes": ["eager"], "results": [{"id": "x"}]}', "is not what"),
        ('{"adapter": ["a"], "modes": ["eager"], "results": []}', "is not what"),
        ('{"adapter": "a", "modes": ["eager"], "results": [{"id": [], "mode": "eager", "outcome": "gap"}]}', "is not"),
        ('{"adapter": "a", "modes": ["x"], "results": [{"id": "x", "mode": "y", "outcome": "gap"}]}', "is not what"),
        ('{"adapter": "a", "modes": ["x"], "results": [{"id": "x", "mode": "x", "outcome": "fine"}]}', "is not what"),
        ('{"adapter": "a", "modes": ["x"], "results": [{"id": "x", "mode": "x", "outcome": "gap"}]}', "no vector of"),
    ],
)
def test_what_is_no_report_is_said_in_one_line(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    assert main(["report", str(path)]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: ")
    assert sentence in line
    with pytest.raises(UnreadableError):
        Results.read([path])


# --- The heat maps ------------------------------------------------------------------------------------------------


def test_a_cell_is_what_passed_of_what_is_supported(write: Any) -> None:
    flag = FIRST.flags[0]
    rows = [
        entry(FIRST, loss_ulp=1.25),
        entry(FIRST, "gap", "compiled"),
        entry(FIRST, "unsupported", "vmapped"),
        entry(FIRST, "failed", "xla"),
    ]
    results = Results.read([write("mine", *rows, modes=("eager", "compiled", "vmapped", "xla"))])
    (cell,) = heat(results)[flag]
    carriers = sum(flag in vector.flags for vector in load().values())
    assert (cell.passed, cell.gap, cell.unsupported, cell.failed) == (1, 1, 1, 1)
    assert cell.not_run == 4 * carriers - 4
    assert (cell.supported, cell.share) == (3, 1 / 3)
    assert (cell.kind, cell.loss) == ("failed", 1.25)
    other = next(name for name in notes() if name not in FIRST.flags)
    assert heat(results)[other][0].kind == "not-run"


@pytest.mark.parametrize("outcome", ["passed", "gap", "unsupported", "failed"])
def test_a_cell_is_of_the_worst_kind_that_happened(outcome: str, write: Any) -> None:
    path = write("mine", entry(FIRST, outcome), entry(FIRST, "unsupported", "other"), modes=("eager", "other"))
    cells = heat(Results.read([path]))
    assert cells[FIRST.flags[0]][0].kind == cells[EVERY][0].kind == outcome


# --- Any two ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["loss", "logits_gradient"])
@pytest.mark.parametrize("vector", [FIRST, DOUBLE], ids=["float32", "float64"])
def test_the_worst_difference_is_in_parts_of_what_is_allowed(output: str, vector: Vector, write: Any) -> None:
    paths = [
        write("a", entry(vector)),
        write("b", moved(vector, output, 0.5)),
        write("c", moved(vector, output, -0.25)),
    ]
    found = matrix(Results.read(paths), output, dtype(vector))
    parts = {names: pair.difference for names, pair in found.pairs.items()}
    assert parts == pytest.approx({("a", "b"): 0.5, ("a", "c"): 0.25, ("b", "c"): 0.75}, rel=0.01)
    assert found.ranked()[0].names == ("b eager", "c eager")
    assert found.ranked()[0].vector == vector.id


@pytest.mark.parametrize("output", ["loss", "logits_gradient"])
def test_too_much_fails_the_command(output: str, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one, near, far = (write(name, moved(FIRST, output, parts)) for name, parts in (("a", 0), ("b", 0.9), ("c", 1.2)))
    assert main(["report", str(one), str(near)]) == 0
    assert main(["report", str(one), str(far)]) == 1
    assert f"a eager and c eager on {FIRST.id}" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["hidden_gradient", "kernel_gradient"])
def test_the_gradients_of_a_linear_layer_are_compared(output: str, write: Any) -> None:
    assert LINEAR.expected is not None
    truth = np.ravel(LINEAR.expected["grad"][output.removesuffix("_gradient")].values.astype(float))
    near, far = (entry(LINEAR) | {output: (truth * (1 + off)).tolist()} for off in (1e-7, 1e-3))
    paths = [write("a", entry(LINEAR)), write("b", near), write("c", far)]
    found = matrix(Results.read(paths), output, "float32").pairs
    assert found["a", "b"].difference < 1 < found["a", "c"].difference
    assert not matrix(Results.read(paths), "logits_gradient", "float32").pairs


def test_any_of_the_modes_may_be_the_one_that_differs(write: Any) -> None:
    compiled = moved(SECOND, "loss", 0.5) | {"mode": "compiled"}
    paths = [write("a", entry(SECOND)), write("b", entry(SECOND), compiled, modes=("eager", "compiled"))]
    (pair,) = matrix(Results.read(paths), "loss", "float32").pairs.values()
    assert pair.names == ("a eager", "b compiled")
    assert pair.difference == pytest.approx(0.5, rel=0.01)


def test_the_modes_of_one_implementation_are_no_two(write: Any) -> None:
    path = write("a", entry(FIRST), entry(FIRST, mode="compiled"), modes=("eager", "compiled"))
    assert all(not found.pairs for found in differences(Results.read([path])))


def test_only_what_both_passed_is_compared(write: Any) -> None:
    wrong = moved(FIRST, "loss", 99) | {"outcome": "failed"}
    without = {key: value for key, value in entry(SECOND).items() if key not in ("loss", "logits_gradient")}
    other_size = entry(THIRD) | {"loss": [1.0] * 1000}
    results = Results.read([write("a", *map(entry, (FIRST, SECOND, THIRD))), write("b", wrong, without, other_size)])
    assert not matrix(results, "loss", "float32").pairs


def test_half_precision_may_round_the_other_way(write: Any) -> None:
    assert HALF.expected is not None
    row = entry(HALF)
    truth = np.asarray(row["logits_gradient"])
    row["logits_gradient"] = (truth * (1 + 2.0**-8)).tolist()
    found = matrix(Results.read([write("a", entry(HALF)), write("b", row)]), "logits_gradient", "float32")
    assert 0.1 < found.worst <= 1
    row["logits_gradient"] = (truth * (1 + 2.0**-5)).tolist()
    found = matrix(Results.read([write("a", entry(HALF)), write("b", row)]), "logits_gradient", "float32")
    assert found.worst > 1


# --- The page -----------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Tags that are open, and everything that the page would load."""

    EMPTY = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag in ("link", "script", "img", "iframe") or "src" in given:
            self.loads.append(tag)
        if tag == "a":
            self.links.add(str(given["href"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(write: Any, tmp_path: Path) -> None:
    paths = [write("a", entry(FIRST), entry(SECOND, "failed")), write("b", moved(FIRST, "loss", 0.5))]
    target = tmp_path / "folder" / "page.html"
    assert report.main(paths, target) == 1
    text = target.read_text(encoding="utf-8")
    read = Page(text)
    assert not read.open
    assert not read.loads
    assert not re.search(r"@import|url\(", text)
    assert {note.link for note in notes().values()} <= read.links
    assert "✗ 1/2" in text
    assert f"a eager and b eager on {FIRST.id}" in text


def test_the_page_is_the_same_each_time(write: Any) -> None:
    paths = [write("a", entry(FIRST)), write("b", moved(FIRST, "loss", 0.5))]
    first, second = (page.render(results, differences(results)) for results in map(Results.read, (paths, paths)))
    assert first == second


def test_the_page_escapes_names(write: Any) -> None:
    results = Results.read([write("<b>bold", entry(FIRST), name="bold")])
    text = page.render(results, differences(results))
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
