"""Every check of the project: ``python -m nox`` runs them all, ``python -m nox -s port`` the main job."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "vectors", "tests", "conformance", "package", "lowest", "moves"]

PROJECT = nox.project.load_toml("pyproject.toml")
RESULTS = Path("results/conformance")
ADAPTERS = "multismooth_conformance.adapters"

# A framework is a row: the groups of its environment, and the implementations that run in it.
ROOMS = {
    "reference": ([], ["reference"]),
    "torch": (["torch", "keras"], ["torch_room", "keras_on_torch", "torch_native"]),
    "jax": (["jax", "keras"], ["jax_room", "keras_on_jax", "optax_native"]),
    "tensorflow": (["tensorflow", "keras"], ["tensorflow_room", "keras_on_tensorflow"]),
}
PEERS = tomllib.loads(Path("tests/peers/environments.toml").read_text(encoding="utf-8"))
ROOMS_OF_OUR_OWN = ("reference", "torch_room", "jax_room", "tensorflow_room")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

# The lowest versions that the extras admit, in one environment.
LOWEST = ["numpy==2.0.2", "torch==2.13.0", "jax==0.8.0", "tensorflow==2.20.0", "keras==3.10.0"]
LOWEST_TOOLS = ["pytest==8.2.0", "pytest-xdist==3.6.1", "ml_dtypes==0.5.1"]


def install(session: nox.Session, *groups: str) -> None:
    """The project with the exact versions of some dependency groups."""
    session.install(*nox.project.dependency_groups(PROJECT, "test", *groups), "-e", ".")


def suite(session: nox.Session, adapter: str, *arguments: str, tests: str = "") -> None:
    """The conformance suite against one implementation."""
    folder = "conformance/multismooth_conformance/suite"
    session.run(
        "pytest",
        folder + tests,
        f"--multismooth-adapter={ADAPTERS}.{adapter}:ADAPTER",
        "--quiet",
        "--no-header",
        "--durations=10",
        "-p",
        "no:cacheprovider",
        *arguments,
        env=QUIET,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style, by ruff."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of all that is framework-free, by mypy --strict."""
    session.install(*nox.project.dependency_groups(PROJECT, "types"))
    session.run("mypy")


@nox.session
def vectors(session: nox.Session) -> None:
    """The vectors are what mpmath computes, and fit their schema."""
    install(session, "vectors")
    session.run("python", "conformance/generate.py", "--check")


@nox.session
def tests(session: nox.Session) -> None:
    """What needs no framework."""
    install(session, "vectors", "port_data", "cli")
    session.run("pytest", "tests", "--numprocesses=2", *session.posargs)
    modules = sorted(str(path) for path in Path("multismooth").glob("[a-z]*.py"))
    session.run(
        "pytest",
        "--doctest-modules",
        *modules,
        *(f"multismooth/{folder}" for folder in ("dialects", "numpy", "porting")),
    )


@nox.session
@nox.parametrize("room", [*ROOMS, "table"], ids=[*ROOMS, "table"])
def conformance(session: nox.Session, room: str) -> None:
    """The suite against every implementation, the room's own tests, and one table across frameworks."""
    if room == "table":
        table(session)
        return
    groups, adapters = ROOMS[room]
    install(session, *groups)
    for adapter in adapters:
        report = RESULTS / f"{adapter}.json"
        report.unlink(missing_ok=True)
        native = adapter.endswith("_native")
        suite(
            session,
            adapter,
            f"--multismooth-report={report}",
            "--numprocesses=2",
            tests="/test_vectors.py" if native else "",
        )
    if room != "reference":
        env = QUIET | {"KERAS_BACKEND": room}
        folders = (f"tests/{room}_room", "tests/keras_room")
        session.run("pytest", *folders, "--numprocesses=2", "--durations=5", "--quiet", env=env)
        session.run("pytest", "--doctest-modules", f"multismooth/{room}", "multismooth/keras", env=env)


def table(session: nox.Session) -> None:
    """Passed vectors, worst errors, and the worst difference between any two."""
    install(session)
    reports = [str(RESULTS / f"{adapter}.json") for _, adapters in ROOMS.values() for adapter in adapters]
    session.run("python", "-m", "multismooth_conformance", "report", *reports, "--html", str(RESULTS / "report.html"))


@nox.session
def package(session: nox.Session) -> None:
    """The wheel, installed without the checkout, has the vectors and runs them."""
    session.install(*nox.project.dependency_groups(PROJECT, "package", "test"))
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    wheel = max(Path(folder).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    with session.chdir(folder):
        session.run("python", "-m", "multismooth")
        session.run("python", "-m", "multismooth_conformance", "validate")
        suite = "multismooth_conformance.suite.test_vectors"
        session.run("pytest", "--pyargs", suite, f"--multismooth-adapter={ADAPTERS}.reference:ADAPTER", "-q")


@nox.session
def lowest(session: nox.Session) -> None:
    """The lowest supported versions of everything, on the vectors that were worked out by hand."""
    session.install(*LOWEST, *LOWEST_TOOLS, "-e", ".")
    for adapter in ("reference", "torch_room", "jax_room", "tensorflow_room", "keras_on_tensorflow"):
        selected = ("-k", "by-hand", "--multismooth-modes=all")
        suite(session, adapter, *selected, "--numprocesses=2", tests="/test_vectors.py")


@nox.session
def moves(session: nox.Session) -> None:
    """The porting guide's scripts: the loss is the same before and after, and a wrong port is noticed."""
    install(session, "port")
    session.run("pytest", "tests/moves_room", "--numprocesses=2", "--quiet", "--durations=5", env=QUIET)


@nox.session(default=False)
def inductor(session: nox.Session) -> None:
    """The vectors through torch.compile's own code generator, which needs a C++ compiler."""
    install(session, "torch")
    suite(session, "torch_inductor", *(session.posargs or ["-k", "by-hand or article"]), tests="/test_vectors.py")


@nox.session(default=False)
def modes(session: nox.Session) -> None:
    """Every vector in every mode of every implementation, which takes hours: ``nox -s modes -- torch_room`` for one."""
    install(session, "torch", "jax", "tensorflow", "keras")
    for adapter in session.posargs or [adapter for _, adapters in ROOMS.values() for adapter in adapters]:
        report = RESULTS / f"{adapter}-all.json"
        suite(session, adapter, "--multismooth-modes=all", f"--multismooth-report={report}", "--numprocesses=2")


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Random calls against mpmath, as long as it is told: ``nox -s fuzz -- --minutes 60``; keeps what it finds."""
    install(session, "vectors", "torch", "jax", "tensorflow")
    adapters = [f"--adapter={ADAPTERS}.{name}:ADAPTER" for name in ROOMS_OF_OUR_OWN]
    session.run("python", "conformance/fuzz.py", *adapters, *session.posargs, env=QUIET)


@nox.session(default=False)
@nox.parametrize("environment", [*PEERS, "page"], ids=[*PEERS, "page"])
def dialects(session: nox.Session, environment: str) -> None:
    """The packages themselves against their dialects, each in its own process, and the page that tells of it."""
    if environment == "page":
        session.install("-e", ".")
        session.run("python", "docs/dialects.py")
        return
    held = PEERS[environment]
    session.install(*held["install"], "-e", ".")
    if "bare" in held:
        session.install("--no-deps", "--no-build-isolation", *held["bare"], env=held.get("building"))
    sources = Path(session.create_tmp(), "sources").resolve()
    for archive in held.get("unpacked", []):
        session.run("python", "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={sources}", *archive.split())
    for archive in sources.glob("*.tar.gz"):
        shutil.unpack_archive(archive, sources)
    for archive in sources.glob("*.whl"):
        shutil.unpack_archive(archive, sources / "-".join(archive.name.split("-")[:2]), "zip")
    for peer in held["peers"]:
        session.run("python", "-m", "tests.peers", peer, env=QUIET | {"PEER_SOURCES": str(sources)})


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """mutmut changes what needs no framework, and the tests must notice; ``-- 1`` for one process."""
    install(session, "mutation")
    session.run("python", "tests/mutation/run.py", *session.posargs)


@nox.session(default=False)
def javascript(session: nox.Session) -> None:
    """The worked example in another language; needs Node.js 18 or later."""
    install(session)
    folder, report = "conformance/examples/javascript", str(RESULTS / "javascript.json")
    session.run("node", "--test", f"{folder}/suite.test.mjs", external=True)
    session.run("node", f"{folder}/suite.mjs", f"--report={report}", external=True)
    suite(session, "reference", f"--multismooth-report={RESULTS}/reference.json", tests="/test_vectors.py")
    session.run("python", "-m", "multismooth_conformance", "report", report, str(RESULTS / "reference.json"))


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time and memory beside the frameworks' own losses: ``nox -s bench -- --quick`` takes two minutes.

    Without arguments it measures everything, and writes the page.
    """
    session.install(*nox.project.dependency_groups(PROJECT, "bench"), "-e", ".")
    session.install("--no-deps", *nox.project.dependency_groups(PROJECT, "bench_bare"))
    session.run("python", "benchmarks/run.py", *session.posargs, env=QUIET)
    if not session.posargs:
        session.run("python", "docs/benchmarks.py")


@nox.session(default=False)
def port(session: nox.Session) -> None:
    """The main job: one training run that moves between frameworks without a seam."""
    session.install(*nox.project.dependency_groups(PROJECT, "port"), "-e", ".")
    session.run("python", "examples/port/run.py", *session.posargs, env=QUIET)
