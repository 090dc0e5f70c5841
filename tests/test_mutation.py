"""What the mutation session makes of mutmut's results, and its plugin; mutmut itself is not needed."""

from collections import Counter
from pathlib import Path

import pytest

from multismooth import lowering
from tests.mutation import run

pytest_plugins = ["pytester"]

SHOWN = """# multismooth.reduction.xǁTotalsǁ__add____mutmut_2: survived
--- multismooth/reduction.py
+++ multismooth/reduction.py
@@ -1,4 +1,4 @@
     def __add__(self, other):
-        return self + other
+        return self - other
         # the end
"""
ADDED = "multismooth.reduction.Totals.__add__\n- return self + other\n+ return self - other"


def test_a_mutant_is_its_function_and_its_lines() -> None:
    assert run.described(SHOWN) == ADDED
    moved = SHOWN.replace("mutmut_2", "mutmut_77").replace("-1,4 +1,4", "-9,4 +9,4")
    assert run.described(moved) == ADDED
    private = SHOWN.replace("xǁTotalsǁ__add__", "x__mean")
    assert run.described(private).splitlines()[0] == "multismooth.reduction._mean"


def test_results_are_read() -> None:
    printed = "    a.x_f__mutmut_1: killed\n    a.x_f__mutmut_2: no tests\n"
    assert run.ends(printed) == {"a.x_f__mutmut_1": "killed", "a.x_f__mutmut_2": "no tests"}


@pytest.mark.parametrize(
    ("ends", "alive", "known", "code"),
    [
        ({"killed": 9, "survived": 1}, ["a"], ["a"], 0),
        ({"killed": 9, "timeout": 1}, ["a"], ["a"], 0),
        ({"killed": 9, "survived": 1}, ["a"], [], 1),
        ({"killed": 10}, [], ["a"], 1),
        ({"killed": 18, "survived": 2}, ["a", "a"], ["a"], 1),
        ({"killed": 8, "survived": 2}, ["a", "b"], ["a", "b"], 1),
        ({"killed": 8, "timeout": 2}, ["a", "b"], ["a", "b"], 1),
        ({"killed": 8, "no tests": 2}, ["a", "b"], ["a", "b"], 1),
    ],
)
def test_the_verdict(
    ends: dict[str, int], alive: list[str], known: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.verdict(Counter(ends), Counter(alive), Counter(known)) == code
    printed = capsys.readouterr().out
    assert f"{ends['killed']} killed" in printed
    assert ("survivors.toml" in printed) == (Counter(alive) != Counter(known))


def test_every_survivor_is_a_line_of_the_source_with_a_reason() -> None:
    """A list that has fallen behind the source is noticed without a mutation run."""
    package = Path(lowering.__file__).parents[1]
    for entry in run.survivors():
        assert len(entry["reason"]) > 20
        for mutant in entry["mutants"]:
            name, *lines = mutant.strip().splitlines()
            parts = name.split(".")
            files = [package.joinpath(*parts[:n]).with_suffix(".py") for n in range(2, len(parts))]
            source = next(file for file in files if file.is_file()).read_text(encoding="utf-8")
            written = {line.strip() for line in source.splitlines()}
            assert f"def {parts[-1]}(" in source, mutant
            assert {line[2:] for line in lines if line.startswith("- ")} <= written, mutant


def test_a_folded_test_runs_all_of_its_cases(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("a", [1, 2])
        @pytest.mark.parametrize("b", [3, 4])
        def test_last(a, b, tmp_path):
            assert tmp_path.is_dir() and (a, b) != (2, 4)

        @pytest.mark.parametrize("a", [1, 2])
        def test_good(a):
            pass

        def test_first():
            pass
        """
    )
    result = pytester.runpytest("-p", "tests.mutation.fold", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_first PASSED*", "*test_good*PASSED*", "*test_last*FAILED*"])
