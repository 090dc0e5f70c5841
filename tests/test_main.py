"""``python -m multismooth``, as a user of the first minute runs it."""

import math
import subprocess
import sys
import time

from multismooth import __main__ as main

FRAMEWORKS = ("torch", "jax", "tensorflow", "keras", "optax")


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=True, text=True, timeout=60).stdout


def printed_loss(report: str, library: str) -> float:
    """The first number after the library's name."""
    line = next(line for line in report.splitlines() if line.strip().startswith(library))
    return float(line.strip().removeprefix(library).split()[0])


def log_softmax(row: list[float]) -> list[float]:
    lse = math.log(sum(math.exp(x) for x in row))
    return [x - lse for x in row]


def test_it_runs_in_seconds_and_fits_a_terminal() -> None:
    start = time.monotonic()
    report = run("-m", "multismooth")
    assert time.monotonic() - start < 5
    assert report.isascii()
    assert max(map(len, report.splitlines())) <= 100
    assert all(line == line.rstrip() for line in report.splitlines())


def test_with_arguments_it_is_the_command() -> None:
    assert "q = (1 − ε)·e_y" in run("-m", "multismooth", "explain", "torch")


def test_it_imports_no_framework() -> None:
    script = f"import runpy, sys; runpy.run_module('multismooth', run_name='__main__'); \
print('loaded:', [name for name in {FRAMEWORKS} if name in sys.modules])"
    assert run("-c", script).splitlines()[-1] == "loaded: []"


def test_the_printed_losses_are_true() -> None:
    """In plain Python, from the batch alone: PyTorch's mean over the tokens, and T5X's sum of divergences."""
    logits, labels, mask = (array.tolist() for array in main.example())
    classes, epsilon = len(logits[0][0]), main.SMOOTHING
    torch = t5x = tokens = 0.0
    for sequence in range(len(mask)):
        for position in range(len(mask[0])):
            if not mask[sequence][position]:
                continue
            tokens += 1
            for k, log_p in enumerate(log_softmax(logits[sequence][position])):
                is_label = k == labels[sequence][position]
                torch -= ((1 - epsilon) * is_label + epsilon / classes) * log_p
                q = 1 - epsilon if is_label else epsilon / (classes - 1)
                t5x += q * (math.log(q) - log_p)

    report = "\n".join(main.report())
    assert abs(printed_loss(report, "PyTorch cross_entropy") - torch / tokens) < 1e-4
    assert abs(printed_loss(report, "T5X") - t5x) < 1e-4


def test_the_batch_tells_the_denominators_apart() -> None:
    mask = main.example().mask
    assert len({int(mask.sum()), mask.size, len(mask)}) == 3
    assert len(set(main.LENGTHS)) == len(main.LENGTHS)


def test_the_steps_from_pytorch_arrive_at_t5x() -> None:
    steps = [line.split() for line in main.explanation(main.example())]
    numbers = {words[0]: float(words[1]) for words in steps if len(words) > 1 and words[0] in ("kl=True", "T5X")}
    assert numbers["kl=True"] == numbers["T5X"]
