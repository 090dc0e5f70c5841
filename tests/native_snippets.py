"""Snippets of ``as_native`` against the reference: the specs, the inputs, and the comparison, for every framework.

A snippet runs in another process, where multismooth cannot be imported; many share one, since a framework's import is
slow.
"""

import ast
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from multismooth import Spec
from multismooth.dialects import DIALECTS
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth.spec import CLASS_WEIGHT_RULES, DENOMINATORS, EMPTY

RUNNER = Path(__file__).with_name("native_runner.py")
SHAPE = (4, 5)
"""B = 4 sequences, N = 20 positions, of which 9 count: n, N and B differ, and every sum of weights from them"""
CLASSES = 7
LENGTHS = (5, 3, 1, 0)

TARGETS = [
    {"label_smoothing": 0.0},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.1, "spread": "others"},
    {"label_smoothing": 0.2, "spread": "leaky"},
    {"values": (0.9, 0.005)},
    {"label_smoothing": 1.0},
    {"label_smoothing": 1.0, "spread": "others"},
    {"label_smoothing": 0.8, "spread": "leaky"},
    {"values": (0.25, 0.5)},
    {"values": (0.75, 0.0)},
]
MEANS = [{"denominator": d, "empty": e} for d, e in product(DENOMINATORS, EMPTY)]
REDUCTIONS = [
    *MEANS,
    {"reduction": "sum"},
    {"reduction": "none"},
    {"reduction": "none", "denominator": "class_weights"},
]


def variants(number: int, target: dict[str, Any], reduction: dict[str, Any]) -> Iterator[Spec]:
    """One target and one reduction with what else a spec may say; ``number`` varies what is only one of two."""
    for kl, ignore_index in product((False, True), (None, -100)):
        spec = Spec(**target, **reduction, kl=kl, ignore_index=ignore_index, z_loss=(0.0, 0.03)[number % 2])
        yield spec
        yield replace(spec, exclude=((0,), (1, 4))[number % 2], z_loss=(0.03, 0.0)[number % 2])
    for rule in CLASS_WEIGHT_RULES:
        if rule == "label_term" and ("values" in target or "spread" in target):
            continue
        spec = Spec(**target, **reduction, class_weight_rule=rule, ignore_index=(3, None)[number % 2])
        yield spec
        yield replace(spec, z_loss=0.03, out_of_range="nan", exclude=((), (2,))[number % 2])


def specs(every: int = 7) -> list[Spec]:
    """Every target with every reduction, in one of ``every`` of its variants, which take turns."""
    pairs = enumerate(product(TARGETS, REDUCTIONS))
    return [spec for i, pair in pairs for spec in list(variants(i, *pair))[i % every :: every]]


def dialects() -> dict[str, Spec]:
    """Every dialect, without smoothing and with 0.1."""
    return {f"{name} of {e}": dialect.smoothed(e) for name, dialect in DIALECTS.items() for e in (0.0, 0.1)}


class Inputs(NamedTuple):
    """NumPy's arrays with the class axis last; the mask is told by labels, by ``where`` and by weights alike."""

    logits: Any
    labels: Any
    mask: Any
    sample_weight: Any
    class_weight: Any
    cotangent: Any
    """flat; a scalar loss takes the first"""


def uneven(
    dtype: str = "float64", classes: int = CLASSES, shape: tuple[int, ...] = SHAPE, lengths: Any = LENGTHS
) -> Inputs:
    random = np.random.default_rng(1)
    mask = np.arange(shape[-1]) < np.array(lengths)[..., None] if len(shape) > 1 else np.arange(shape[0]) < lengths
    weight = np.where(mask, random.uniform(0.5, 2.0, shape), 0.0)
    return Inputs(
        (3 * random.normal(size=(*shape, classes))).astype(dtype),
        random.integers(0, classes, shape),
        mask,
        weight.astype(dtype),
        random.uniform(0.5, 2.0, classes).astype(dtype),
        random.normal(size=max(1, math.prod(shape))).astype(dtype),
    )


class Call(NamedTuple):
    spec: Spec
    arrays: dict[str, Any]
    cotangent: Any
    code: str


def call(spec: Spec, framework: str, inputs: Inputs, *, bare: bool = False) -> Call:
    """The snippet's own arguments, or only two if ``bare``; masked logits are NaN where the code bears it."""
    code = spec.as_native(framework)
    garbage = 7.0 if "has a logit of infinity or NaN" in code else np.nan
    keywords = [] if bare else keyword_names(code)
    masked = spec.ignore_index is not None or "where" in keywords or "sample_weight" in keywords
    labels, logits, mask = inputs.labels, inputs.logits, inputs.mask
    if spec.ignore_index is not None:
        # A label that is the ignored one by chance is masked like the rest.
        labels = np.where(mask, labels, spec.ignore_index)
        mask = labels != spec.ignore_index
    if masked:
        logits = np.where(mask[..., None], logits, garbage).astype(logits.dtype)
    given = {
        "where": mask,
        "sample_weight": inputs.sample_weight,
        "class_weight": inputs.class_weight,
    }
    arrays = {"logits": logits, "labels": labels, **{name: given[name] for name in keywords}}
    return Call(spec, arrays, inputs.cotangent, code)


def keyword_names(code: str) -> list[str]:
    (function,) = (node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef))
    return [argument.arg for argument in function.args.kwonlyargs]


def run(framework: str, calls: list[Call], folder: Path) -> Iterator[tuple[Call, Any, Any]]:
    """What each snippet returns, with the class axis last."""
    axis = 1 if framework == "torch" else -1
    arrays, told = {}, []
    for number, one in enumerate(calls):
        moved = one.arrays | {"logits": np.moveaxis(one.arrays["logits"], -1, axis), "cotangent": one.cotangent}
        arrays |= {f"{number}.{name}": array for name, array in moved.items()}
        told.append({"code": one.code, "inputs": str(number), "keywords": list(one.arrays)[2:]})
    np.savez(folder / "inputs.npz", **arrays)
    (folder / "calls.json").write_text(json.dumps(told), encoding="utf-8")
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    command = [sys.executable, "-I", "-S", str(RUNNER), framework, str(folder), *packages]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    results = np.load(folder / "results.npz")
    for number, one in enumerate(calls):
        yield one, results[f"{number}.loss"], np.moveaxis(results[f"{number}.gradient"], axis, -1)


def expected(one: Call) -> tuple[Any, Any]:
    """The reference's loss and its gradient to the logits."""
    with np.errstate(all="ignore"):
        loss = smoothed_cross_entropy(**one.arrays, spec=one.spec)
        cotangent = one.cotangent[: np.size(loss)].reshape(np.shape(loss))
        return loss, smoothed_cross_entropy_vjp(cotangent, **one.arrays, spec=one.spec)


BOUND = {"float64": 1e-12, "float32": 1e-5}
"""Relative to the largest value. A position's loss adds K = 7 terms of log p, each with an error of a few units in the
last place u of a logit of at most 12, and a sum has N = 20 of them: 20·7·12·u·few is 1e-12 with u = 1.1e-16; in float32
the same is 5e-4, but the errors do not line up, and 1e-5 is what a wrong ε of 1e-4 would still exceed."""


def check(framework: str, calls: Iterable[Call], folder: Path) -> int:
    """How many agreed, which is all of them."""
    calls = list(calls)
    for one, loss, gradient in run(framework, calls, folder):
        dtype = one.arrays["logits"].dtype.name
        assert gradient.dtype == dtype, one.code
        assert loss.dtype == dtype or "the loss is float64" in one.code
        for mine, theirs in zip(expected(one), (loss, gradient), strict=True):
            scale = np.abs(np.where(np.isfinite(mine), mine, 0)).max(initial=1.0)
            bound = BOUND[dtype] * scale
            np.testing.assert_allclose(theirs, mine, rtol=0, atol=bound, err_msg=f"{one.spec}\n{one.code}")
    return len(calls)


def edges(framework: str) -> Iterator[Call]:
    """What the frameworks' own losses are known to differ in."""
    chosen = specs(29)[::2]
    nothing = uneven(lengths=(0, 0, 0, 0))
    for spec in chosen:
        yield call(spec, framework, uneven(), bare=True)
        yield call(spec, framework, nothing)
        yield call(spec, framework, uneven(shape=(0, 5), lengths=()))
        yield call(spec, framework, uneven(shape=(11,), lengths=7))
        yield call(spec, framework, uneven(shape=(2, 3, 4), lengths=((4, 1, 0), (2, 0, 0))))
        yield call(spec, framework, uneven("float32"))
        for classes in (1, 2):
            if not spec.exclude and spec.ignore_index != 3:
                yield call(spec, framework, uneven(classes=classes))
    for spec in chosen[::2]:
        yield from infinite(spec, framework)
    for spec in (spec for spec in specs() if spec.out_of_range == "nan"):
        yield bad_labels(spec, framework)


def infinite(spec: Spec, framework: str) -> Iterator[Call]:
    """Logits of −inf: an excluded class, the label's, and another's."""
    one = call(spec, framework, uneven())
    if "logit of -inf" in one.code:
        return
    label = np.arange(CLASSES) == np.where(uneven().mask, uneven().labels, 0)[..., None]
    for where in (np.isin(np.arange(CLASSES), spec.exclude) & ~label, label, np.roll(label, 1, -1)):
        where = where & (np.arange(5) == 1)[:, None]  # in the second column, so that the other rows stay finite
        yield one._replace(arrays=one.arrays | {"logits": np.where(where, -np.inf, one.arrays["logits"])})


def bad_labels(spec: Spec, framework: str) -> Call:
    one = call(spec, framework, uneven())
    labels = one.arrays["labels"].copy()
    labels[0, 0], labels[1, 2] = CLASSES, -1
    return one._replace(arrays=one.arrays | {"labels": labels})


if __name__ == "__main__":  # the whole product: python -m tests.native_snippets torch
    with TemporaryDirectory() as whole:
        print(check(sys.argv[1], (call(spec, sys.argv[1], uneven()) for spec in specs(1)), Path(whole)), "agree")
