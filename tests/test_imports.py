"""What may import what, what importing the library loads, and how a missing framework is told."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import multismooth

PACKAGE = Path(multismooth.__file__).parent
FRAMEWORKS = ("torch", "jax", "tensorflow", "keras", "flax", "optax")
SECONDS = 0.3

CORE = {"errors", "spec", "blocks", "lowering", "values", "checks", "reduction", "few", "dialects"}
ARROWS: dict[str, tuple[set[str], set[str]]] = {
    # the module or room: the parts of multismooth, and the packages, that it may import
    "errors": (set(), set()),
    "spec": ({"errors", "porting"}, set()),  # porting inside of as_native only, which test_native.py sees to
    "blocks": (set(), set()),
    "lowering": ({"spec"}, set()),
    "values": ({"lowering"}, {"numpy"}),
    "checks": ({"errors", "spec", "lowering"}, {"numpy"}),
    "reduction": ({"errors", "spec", "lowering"}, set()),
    "few": ({"spec", "lowering", "values", "checks", "reduction"}, {"numpy"}),
    "dialects": ({"errors", "spec"}, set()),
    # identify imports the framework that it is asked for, and no other.
    "porting": ({*CORE, "numpy"}, {"numpy", "rich", "torch", "jax", "tensorflow", "keras"}),
    "plots": ({"porting"}, {"matplotlib"}),
    "cli": ({"errors", "porting", "plots"}, {"typer", "rich"}),
    "__init__": (CORE, set()),
    "__main__": ({*CORE, "__init__", "numpy", "porting", "cli"}, {"numpy"}),
    "numpy": (CORE, {"numpy"}),
    "torch": (CORE, {"numpy", "torch"}),
    "jax": (CORE, {"numpy", "jax", "flax"}),  # Flax in the layer only, which is imported with it
    "tensorflow": (CORE, {"numpy", "tensorflow"}),
    "keras": (CORE, {"keras"}),
}
ROOMS = {
    "torch": ("torch", "PyTorch"),
    "jax": ("jax", "JAX"),
    "tensorflow": ("tensorflow", "TensorFlow"),
    "keras": ("keras", "Keras"),
}

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
import multismooth
try:
    import multismooth.{room}
except ModuleNotFoundError as error:
    print(error, error.name, type(error.__cause__).__name__, sep="|")
"""


def run(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def part_of(file: Path) -> str:
    """The module or the room that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The full names of what a file imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(name: str) -> str:
    """The part of multismooth behind ``multismooth.part.…``; a name of the package itself is ``__init__``'s."""
    part = [*name.split("."), ""][1]
    return part if part in ARROWS else "__init__"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows(file: Path) -> None:
    part = part_of(file)
    assert part in ARROWS, f"{part} is new: say here what it may import"
    parts, packages = ARROWS[part]
    for name in imports(file):
        top = name.partition(".")[0]
        if top == "multismooth":
            assert ours(name) in {*parts, part}, f"{file} imports {name}"
        else:
            assert top in packages or top in sys.stdlib_module_names, f"{file} imports {name}"


def test_every_arrow_has_its_module() -> None:
    assert {part_of(file) for file in FILES} >= ARROWS.keys()


@pytest.mark.parametrize("other", [*ROOMS, "numpy"])
@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_import_each_other(room: str, other: str) -> None:
    names = {name for file in (PACKAGE / room).rglob("*.py") for name in imports(file)}
    assert other == room or not any(f"{name}.".startswith(f"multismooth.{other}.") for name in names)


@pytest.mark.parametrize("module", ["multismooth", "multismooth.numpy", "multismooth.porting", "multismooth.cli"])
def test_importing_loads_no_framework(module: str) -> None:
    loaded = run(f"import {module}, sys; print([name for name in {FRAMEWORKS!r} if name in sys.modules])")
    assert loaded == "[]"


def test_importing_is_fast() -> None:
    """NumPy's own import included. The fastest of five: a slower one tells what else the machine does."""
    code = "import time; start = time.perf_counter(); import multismooth; print(time.perf_counter() - start)"
    seconds = [float(run(code)) for _ in range(5)]
    assert min(seconds) < SECONDS, seconds


@pytest.mark.parametrize("room", ROOMS)
def test_a_missing_framework_is_named_with_its_remedy(room: str) -> None:
    package, name = ROOMS[room]
    message, missing, cause = run(BLOCKED.format(room=room, package=package)).split("|")
    assert message == f"multismooth.{room} needs {name}: pip install 'multismooth[{room}]'"
    assert missing == package
    assert cause == "ModuleNotFoundError"


def test_no_file_of_the_package_bears_a_framework_s_name() -> None:
    """Running ``multismooth/torch.py`` would make ``import torch`` import itself."""
    assert not {file.stem for file in FILES} & {*FRAMEWORKS, "numpy"}


def test_no_test_bears_a_framework_s_name() -> None:
    """``import torch`` would find it in the place of the framework."""
    here = Path(__file__).parent
    assert not {path.stem for path in here.rglob("*")} & {*FRAMEWORKS, "numpy"}


def test_public_names() -> None:
    assert multismooth.__all__ == ["InputError", "Spec", "Totals", "__version__", "dialects"]
    assert all(hasattr(multismooth, name) for name in multismooth.__all__)
