"""Mutation testing: mutmut changes the code that needs no framework, and the tests must notice.

``python tests/mutation/run.py [PROCESSES]`` works in ``build/mutation``, where ``mutmut show NAME`` and
``mutmut browse`` tell more. It fails if the score is below its floor, or if the mutants that live are not those of
survivors.toml.

mutmut mutates the bodies of functions and methods, and none of their decorators, annotations and calls of ``len`` and
``isinstance``. Constants of a module, fields of a class and properties stay as they are.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "mutation"
FLOOR = 0.90
"""Of all mutants. One that runs into a time-out is not killed, and neither is one that no test reaches."""


def main(processes: str = "2") -> int:
    prepare()
    # pytest starts for every mutant, and its plugins are a good part of that.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(["mutmut", "run", "--max-children", processes], cwd=WORK, env=environment, check=True)
    statuses = ends(mutmut("results", "--all", "true"))
    alive = Counter(described(mutmut("show", name)) for name, status in statuses.items() if status != "killed")
    return verdict(Counter(statuses.values()), alive, listed())


def prepare() -> None:
    """A fresh folder: mutmut keeps what it knows of an earlier run, and reads its options where it runs."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    shutil.copy(HERE / "setup.cfg", WORK)
    for name in ("multismooth", "tests"):
        (WORK / name).symlink_to(ROOT / name)


def mutmut(*arguments: str) -> str:
    """What a command of mutmut prints."""
    return subprocess.run(["mutmut", *arguments], cwd=WORK, check=True, capture_output=True, text=True).stdout


def ends(results: str) -> dict[str, str]:
    """How each mutant ended, from lines of ``name: status``."""
    return dict(line.strip().split(": ") for line in results.splitlines())


def described(shown: str) -> str:
    """A mutant by its function and the lines that differ: its number changes with the lines before it."""
    head, *lines = shown.splitlines()
    mangled = head.removeprefix("# ").partition("__mutmut")[0]
    function = mangled.replace(".xǁ", ".").replace("ǁ", ".").replace(".x_", ".")
    changed = [f"{line[0]} {line[1:].strip()}" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join([function, *changed])


def survivors() -> list[dict[str, Any]]:
    """The mutants that are known to live, each under a reason."""
    return tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))["survivors"]


def listed() -> Counter[str]:
    return Counter(mutant.strip() for entry in survivors() for mutant in entry["mutants"])


def verdict(counts: Counter[str], alive: Counter[str], known: Counter[str]) -> int:
    """Prints the score and what is wrong with the list; 0 if all is well."""
    score = counts["killed"] / counts.total()
    wrong = {
        "lives, and is not in survivors.toml": alive - known,
        "is in survivors.toml, and does not live": known - alive,
    }
    for what, mutants in wrong.items():
        for mutant in sorted(mutants.elements()):
            print(f"This {what}:\n'''\n{mutant}\n''',\n")
    print(", ".join(f"{count} {end}" for end, count in counts.most_common()))
    print(f"score {score:.1%} of {counts.total()} mutants; at least {FLOOR:.0%} is needed")
    return int(score < FLOOR or any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
