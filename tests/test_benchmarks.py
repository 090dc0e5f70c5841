"""Of the benchmarks what does not depend on the machine: what is measured, how, and what the page says of it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multismooth import dialects
from multismooth.numpy import smoothed_cross_entropy

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import exact  # noqa: E402
import figures  # noqa: E402
import measure  # noqa: E402
import options  # noqa: E402
import run  # noqa: E402
import shapes  # noqa: E402
import tables  # noqa: E402
import tasks  # noqa: E402
import text  # noqa: E402
import worker  # noqa: E402


def _page() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_page", ROOT / "docs/benchmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = _page()
EVERYTHING = (tasks.KINDS, ())


def test_contenders_take_turns_at_least_five_times() -> None:
    order: list[str] = []
    times = measure.interleaved({name: lambda name=name: order.append(name) for name in "abc"}, seconds=0.0)
    rounds = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert [sorted(turns) for turns in rounds] == [["a", "b", "c"]] * measure.LEAST
    assert len({turns[0] for turns in rounds}) > 1
    assert {name: len(spent) for name, spent in times.items()} == dict.fromkeys("abc", 5)


def test_contenders_take_more_turns_while_there_is_time() -> None:
    assert len(measure.interleaved({"a": lambda: None}, seconds=60.0)["a"]) == measure.MOST


def test_a_summary_has_the_quartiles() -> None:
    assert measure.summary([5.0, 1.0, 4.0, 2.0, 3.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 5}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_of_a_power_law_is_its_power(power: float) -> None:
    sizes = [4.0**n for n in range(3, 9)]
    assert measure.slope(sizes, [0.001 * size**power for size in sizes]) == pytest.approx(power)


def test_growth_is_fitted_where_the_work_is() -> None:
    cell = {64: 1.0, 1024: 1.0, 4096: 4.0, 16384: 16.0}
    found = {f"N = {n}": {"reference": "a", "warm": {"a": {"median": spent}}} for n, spent in cell.items()}
    sizes, times, power = figures.growth(found, "N", "a")
    assert (sizes, times) == ([64, 1024, 4096, 16384], [1.0, 1.0, 4.0, 16.0])
    assert power == pytest.approx(1.0)


def test_the_true_gradient_is_the_reference_s() -> None:
    shape = shapes.Shape((6, 5))
    logits, labels = shapes.arrays(shape)
    labels[2] = shapes.IGNORED
    spec = replace(dialects.torch(shapes.LABEL_SMOOTHING, shapes.IGNORED), denominator="valid")
    step = 1e-6
    by_differences = np.empty(logits.shape)
    for index in np.ndindex(*logits.shape):
        sides = []
        for sign in (1, -1):
            moved = logits.astype(np.float64)
            moved[index] += sign * step
            sides.append(float(smoothed_cross_entropy(moved, labels, spec)))
        by_differences[index] = (sides[0] - sides[1]) / (2 * step)
    assert exact.worst_error(by_differences, exact.gradient(logits, labels)) < 1e-8


def test_an_error_is_relative_to_the_largest_number() -> None:
    assert exact.worst_error(np.array([0.5, 4.0]), np.array([0.0, -4.0])) == 2.0


@pytest.mark.parametrize("shape", shapes.LOSSES.values(), ids=shapes.LOSSES)
def test_a_shape_knows_its_labels_and_bytes(shape: shapes.Shape) -> None:
    assert np.prod(shape.labels) * shape.classes == np.prod(shape.logits)
    assert shape.bytes == np.prod(shape.logits) * {"float32": 4, "bfloat16": 2}[shape.dtype]


def test_a_tenth_of_the_labels_is_ignored() -> None:
    _, labels = shapes.arrays(shapes.LOSSES["cls"])
    assert 0.07 < (labels == shapes.IGNORED).mean() < 0.13
    assert labels.max() < 1000


def test_every_shape_of_every_kind_is_measured() -> None:
    cells = [task for process in tasks.PROCESSES for task in tasks.tasks(process, False, *EVERYTHING)]
    assert {(task.kind, task.name) for task in cells} == {
        (kind, name) for kind in tasks.FULL for name in tasks.FULL[kind]
    }


def test_forward_alone_is_measured_too() -> None:
    parts = {(task.name, task.part) for task in tasks.tasks("warm", False, *EVERYTHING)}
    assert {("LM1", "gradient"), ("LM1", "forward"), ("head", "forward")} <= parts


def test_the_quick_run_has_every_kind_but_options() -> None:
    """PyTorch's compiler takes seconds for each of these."""
    quick = {task.kind for process in tasks.processes(True) for task in tasks.tasks(process, True, *EVERYTHING)}
    assert quick == set(tasks.KINDS) - {"options"}


def test_shapes_can_be_chosen_that_are_not_in_the_whole_run() -> None:
    chosen = tasks.tasks("memory", False, tasks.KINDS, ("large head",))
    assert [(task.kind, task.shape) for task in chosen] == [("linear", shapes.Linear(4096, 512, 131072))]


def test_the_text_is_python_and_the_following_bytes_follow() -> None:
    shape = shapes.Training(3, 16)
    given, following = next(text.batches(shape))
    assert given.shape == following.shape == (3, 16)
    assert np.array_equal(given[:, 1:], following[:, :-1])
    assert bytes(given[0].astype(np.uint8)) in text.corpus().tobytes()
    assert text.allowed(shape).sum() == 256


def test_all_runs_see_the_same_batches() -> None:
    one, other = (text.batches(shapes.Training(2, 8)) for _ in range(2))
    assert all(np.array_equal(next(one)[0], next(other)[0]) for _ in range(3))


class Room:
    """Contenders that need no framework."""

    REFERENCE = "theirs"
    CORE = GROWING = (REFERENCE, "multismooth")

    def __init__(self, **losses: Any) -> None:
        self.losses = losses

    def contenders(self, shape: Any, part: str) -> dict[str, Any]:
        return {name.replace("_", " "): Contender(loss) for name, loss in self.losses.items()}


class Contender:
    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self) -> Any:
        if isinstance(self.loss, Exception):
            raise self.loss
        return (self.loss,)

    def peak(self) -> int:
        return 2 * shapes.LOSSES["tiny"].bytes


TINY = tasks.Task("losses", "tiny", "gradient")


def _measured(process: str = "warm", only: str = "", **losses: Any) -> dict[str, Any]:
    return worker.measured(Room(**losses), process, TINY, True, re.compile(only))


def test_a_contender_that_cannot_run_is_a_row_with_the_reason() -> None:
    found = _measured(theirs=1.0, other=RuntimeError("\nno GPU\nnor TPU"))
    assert found["other"] == {"reason": "no GPU"}
    assert found["theirs"]["rounds"] >= 5


def test_ours_may_not_fail() -> None:
    with pytest.raises(RuntimeError, match="no GPU"):
        _measured(theirs=1.0, multismooth=RuntimeError("no GPU"))


def test_another_loss_has_no_time() -> None:
    assert _measured(theirs=1.0, other=1.5)["other"] == {"reason": "computes another loss: 1.5 in the place of 1"}
    assert "median" in _measured(theirs=1.0, other__no_smoothing=1.5)["other  no smoothing"]


def test_another_loss_has_no_peak() -> None:
    assert set(_measured("memory", theirs=1.0, other=1.5)["other"]) == {"reason"}


def test_ours_may_not_compute_another_loss() -> None:
    with pytest.raises(AssertionError, match="the loss of multismooth is"):
        _measured(theirs=1.0, multismooth=1.001)


def test_memory_is_in_parts_of_the_logits() -> None:
    assert _measured("memory", theirs=1.0)["theirs"] == {"bytes": 2560, "peak": 2.0}


def test_contenders_can_be_chosen() -> None:
    assert set(_measured(only="^t", theirs=1.0, other=1.0)) == {"theirs"}
    assert set(_measured("default", theirs=1.0, other=1.0)) == {"theirs"}


FOUND: dict[str, Any] = {"frameworks": {}}
WARM = {"theirs": {"median": 0.5, "low": 0.4, "high": 0.7}, "multismooth": {"median": 0.2, "low": 0.1, "high": 0.3}}
MEMORY = {"theirs": {"peak": 3.0}, "multismooth": {"peak": 1.0}, "other": {"reason": "needs a GPU"}}
for _process, _rows in (("warm", WARM), ("memory", MEMORY)):
    run.place(FOUND, "torch", _process, {"task": list(TINY), "reference": "theirs", "rows": _rows})


@pytest.mark.parametrize(
    ("words", "change", "stays"),
    [
        (["--shapes", "LM1"], {}, True),
        (["--frameworks", "jax"], {}, True),
        (["--kinds", "linear"], {}, True),
        ([], {}, False),
        (["--shapes", "LM1", "--only", "multismooth"], {}, False),
        (["--shapes", "LM1"], {"machine": "another"}, False),
        (["--shapes", "LM1"], {"quick": True}, False),
    ],
    ids=str,
)
def test_figures_of_this_machine_stay_where_others_are_chosen(
    words: list[str], change: dict[str, Any], stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "benchmarks.json"
    there = {"quick": False, "machine": run.machine(), "frameworks": FOUND["frameworks"]} | change
    file.write_text(json.dumps(there), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    found = run.figures(file, run.parse_arguments())
    assert found["frameworks"] == (FOUND["frameworks"] if stays else {})
    assert (found["quick"], found["machine"]) == (False, run.machine())


def test_a_time_is_in_parts_of_the_reference_s() -> None:
    shown = list(figures.grid(figures.cells(FOUND, "torch", "losses"), figures.time("warm")))
    assert shown == [("theirs", "500 ms"), ("multismooth", "0.40 ±0.20")]


def test_the_terminal_shows_time_and_peak() -> None:
    (table,) = tables.tables(FOUND)
    assert list(table.columns[1].cells) == ["500 ms, 3.00", "0.40 ±0.20, 1.00"]


def test_the_page_says_who_has_no_figures() -> None:
    section = PAGE.losses(FOUND, "torch")
    assert "- other, tiny: needs a GPU" in section
    assert "| multismooth | 1.00 |" in section


def test_the_page_says_where_another_loss_is_faster() -> None:
    found: dict[str, Any] = {"frameworks": {}}
    for shape, ours in (("LM1", 0.104), ("cls", 0.06), ("tiny", 0.14)):
        times = {"F.cross_entropy": 0.1, "multismooth": ours}
        rows = {name: {"median": time, "low": time, "high": time} for name, time in times.items()}
        said = {"task": ["losses", shape, "gradient"], "reference": "F.cross_entropy", "rows": rows}
        run.place(found, "torch", "warm", said)
    *_, told = PAGE.behind(found).splitlines()
    assert told.startswith("| PyTorch | `multismooth` | F.cross_entropy | tiny 1.40 | – | Half precision is")
    assert PAGE.behind(FOUND) == ""


def test_the_page_has_a_row_for_each_option() -> None:
    found: dict[str, Any] = {"frameworks": {}}
    for process, figure in (("warm", "median"), ("memory", "peak")):
        numbers = {"theirs: none": 0.5, "multismooth: none": 0.25, "multismooth: prior": 1.0}
        rows = {name: {figure: number, "low": number, "high": number} for name, number in numbers.items()}
        said = {"task": ["options", "rows", "gradient"], "reference": "theirs: none", "rows": rows}
        run.place(found, "torch", process, said)
    *_, header, _, none, prior = PAGE.options(found).splitlines()
    assert header == "|  | theirs | multismooth |"
    assert none == "| none | 500 ms, 0.50 | 0.50 ±0.00, 0.25 |"
    assert prior == "| prior | – | 2.00 ±0.00, 1.00 |"


@pytest.mark.parametrize("shape", shapes.OPTIONS.values(), ids=shapes.OPTIONS)
def test_an_option_s_arrays_are_good(shape: shapes.Shape) -> None:
    small = shape._replace(logits=tuple(min(length, 10) for length in shape.logits))
    logits, _ = shapes.arrays(small)
    plain, *others = (
        float(smoothed_cross_entropy(logits, spec=spec, axis=small.axis, **given))
        for spec, given in options.options(small).values()
    )
    assert all(np.isfinite(loss) and loss != plain for loss in others)


def test_losses_with_one_option_are_compared() -> None:
    task = tasks.Task("options", "rows", "gradient")
    room = Room(**{"theirs:_none": 1.0, "multismooth:_none": 1.0, "theirs:_prior": 2.0, "other:_prior": 2.5})
    found = worker.measured(room, "warm", task, True, re.compile(""))
    assert found["other: prior"] == {"reason": "computes another loss: 2.5 in the place of 2"}
    assert all("median" in found[name] for name in ("multismooth: none", "theirs: prior"))


def test_the_readme_s_table_stands_between_its_marks() -> None:
    before, after = (f"before\n{PAGE.MARKS[0]}\n{text}\n{PAGE.MARKS[1]}\nafter" for text in ("old", "new"))
    assert PAGE.inserted(before, "new") == after
    with pytest.raises(ValueError, match="has no place for the figures"):
        PAGE.inserted("before\nafter", "new")


def test_the_readme_s_table_has_time_and_peak_beside_the_reference() -> None:
    found: dict[str, Any] = {"frameworks": {}}
    for process, rows in (("warm", WARM), ("memory", MEMORY)):
        said = {"task": ["losses", "LM1", "gradient"], "reference": "theirs", "rows": rows}
        run.place(found, "torch", process, said)
    assert PAGE.telling(found).splitlines()[-1] == "| PyTorch, LM1 | `multismooth` | theirs | 0.40 | – | 1.00 | 3.00 |"


@pytest.mark.parametrize(
    ("number", "words"),
    [(12.3456, "12.3 s"), (1.5, "1.50 s"), (0.2, "200 ms"), (0.01234, "12.3 ms"), (5e-6, "5.00 µs")],
)
def test_seconds_have_three_digits(number: float, words: str) -> None:
    assert figures.seconds(number) == words
