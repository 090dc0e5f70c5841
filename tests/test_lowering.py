"""The coefficients, against targets q written out class by class in fractions."""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from multismooth import Spec
from multismooth.lowering import STEEPEST, ClassSums, Coefficients, divide, lower, lower_soft, smooths, xlogx
from multismooth.values import FUNCTIONS

Vector = list[Fraction]

EPSILONS = (0.0, 0.1, 1.0)
SPREADS = ("uniform", "others", "leaky", "values")
ON, OFF = 0.9, 0.005

# Everything below is for K classes, K one of these.
WIDTHS = (1, 2, 5)
PRIORS = {1: [1], 2: [Fraction(1, 4), Fraction(3, 4)], 5: [Fraction(n, 16) for n in (4, 0, 9, 2, 1)]}
EXCLUDED = {1: [()], 2: [(), (0,), (1,)], 5: [(), (0,), (1, 2), (0, 1, 2, 3)]}
ALLOWED = {1: [(0,)], 2: [(0, 1), (1,)], 5: [(0, 1, 2, 3, 4), (0, 2, 4), (3,)]}
WEIGHTS = [Fraction(n, 4) for n in (2, 12, 0, 5, 7)]


def spec_of(spread: str, epsilon: float, **options: Any) -> Spec:
    if spread == "values":
        return Spec(values=(ON, OFF), **options)
    return Spec(epsilon, spread, **options)


def receivers(classes: int, with_prior: bool, exclude: tuple[int, ...], allowed: tuple[int, ...]) -> Vector:
    """c: prior (or 1) × not excluded × allowed."""
    prior = PRIORS[classes] if with_prior else [Fraction(1)] * classes
    return [Fraction(prior[k]) if k in allowed and k not in exclude else Fraction(0) for k in range(classes)]


def target(spread: str, epsilon: float, c: Vector, label: int) -> Vector:
    """q, as the specification's table defines it."""
    e = Fraction(epsilon)
    everyone, others = sum(c), sum(c) - c[label]
    if spread == "values":
        return [Fraction(ON) if k == label else Fraction(OFF) * c[k] for k in range(len(c))]
    if spread == "uniform":
        share, own = (e / everyone, 1 - e + e * c[label] / everyone) if everyone else (0, 1)
    elif spread == "others":
        share, own = (e / others, 1 - e) if others else (0, 1)
    else:
        share, own = (e / everyone if everyone else 0), 1 - e
    return [Fraction(own) if k == label else share * c[k] for k in range(len(c))]


def sums_of(c: Vector, label: int, weights: Vector | None = None) -> ClassSums:
    rest = [k for k in range(len(c)) if k != label]
    return ClassSums(
        own=float(c[label]),
        rest=float(sum(c[k] for k in rest)),
        xlogx_rest=math.fsum(float(c[k]) * math.log(c[k]) for k in rest if c[k]),
        label_weight=None if weights is None else float(weights[label]),
        weighted_rest=None if weights is None else float(sum(c[k] * weights[k] for k in rest)),
    )


def cases(classes: int, with_prior: bool) -> list[tuple[Vector, int]]:
    """Every c and label; a label that is not allowed is out of range."""
    return [
        (receivers(classes, with_prior, exclude, allowed), label)
        for exclude, allowed in product(EXCLUDED[classes], ALLOWED[classes])
        for label in allowed
    ]


def dot(a: Vector, b: Vector) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def close(actual: Any, expected: Any, what: str) -> None:
    assert float(actual) == pytest.approx(float(expected), rel=4e-15, abs=1e-16), what


EVERY = pytest.mark.parametrize(
    ("spread", "epsilon"), [(s, e) for s, e in product(SPREADS, EPSILONS) if s != "values" or e == 0.0]
)
EVERY_WIDTH = pytest.mark.parametrize("classes", WIDTHS)
WITH_PRIOR = pytest.mark.parametrize("with_prior", [False, True], ids=["ones", "prior"])


@EVERY
@EVERY_WIDTH
@WITH_PRIOR
def test_target(spread: str, epsilon: float, classes: int, with_prior: bool) -> None:
    for c, label in cases(classes, with_prior):
        q = target(spread, epsilon, c, label)
        on, off, mass, entropy, expected_weight = lower(spec_of(spread, epsilon), sums_of(c, label), FUNCTIONS)
        where = f"c = {c}, label {label}"
        close(on, q[label], where)
        close(mass, sum(q), where)
        for k in range(classes):
            if k != label:
                close(off * c[k], q[k], f"{where}, class {k}")
        assert entropy == 0.0
        close(expected_weight, sum(q), where)


@EVERY
@EVERY_WIDTH
@WITH_PRIOR
def test_entropy(spread: str, epsilon: float, classes: int, with_prior: bool) -> None:
    for c, label in cases(classes, with_prior):
        q = target(spread, epsilon, c, label)
        h = -math.fsum(float(x) * math.log(x) for x in q if x)
        lowered = lower(spec_of(spread, epsilon, kl=True), sums_of(c, label), FUNCTIONS)
        assert float(lowered.entropy) == pytest.approx(h, rel=1e-13, abs=1e-15), f"c = {c}, label {label}"


def weighted(rule: str, q: Vector, c: Vector, epsilon: float, label: int) -> Vector:
    """q after class weights."""
    w = WEIGHTS[: len(q)]
    if rule == "per_class":
        return [q[k] * w[k] for k in range(len(q))]
    if rule == "per_label":
        return [x * w[label] for x in q]
    if rule == "expected":
        return [x * dot(q, w) for x in q]
    # label_term: the label's own 1 − ε, or all of it where nobody receives ε.
    kept = 1 - Fraction(epsilon) if sum(c) else Fraction(1)
    return [x + kept * (w[k] - 1) if k == label else x for k, x in enumerate(q)]


@pytest.mark.parametrize("rule", ["per_class", "per_label", "expected", "label_term"])
@EVERY
@EVERY_WIDTH
@WITH_PRIOR
def test_class_weights(rule: str, spread: str, epsilon: float, classes: int, with_prior: bool) -> None:
    if rule == "label_term" and spread != "uniform":
        spread, epsilon = "uniform", 0.5
    w = WEIGHTS[:classes]
    for c, label in cases(classes, with_prior):
        q = target(spread, epsilon, c, label)
        want = weighted(rule, q, c, epsilon, label)
        spec = spec_of(spread, epsilon, class_weight_rule=rule)
        on, off, mass, _, expected_weight = lower(spec, sums_of(c, label, w), FUNCTIONS)
        v = [c[k] * w[k] for k in range(classes)] if rule == "per_class" else c
        where = f"c = {c}, label {label}"
        close(on, want[label], where)
        close(mass, sum(want), where)
        for k in range(classes):
            if k != label:
                close(off * v[k], want[k], f"{where}, class {k}")
        close(expected_weight, dot(q, w), where)


def test_the_rules_differ() -> None:
    c, label = receivers(5, True, (0,), (0, 2, 4)), 2
    sums = sums_of(c, label, [Fraction(n, 4) for n in (2, 12, 3, 5, 7)])
    rules = ("per_class", "per_label", "expected", "label_term")
    assert len({lower(Spec(0.1, class_weight_rule=rule), sums, FUNCTIONS)[:3] for rule in rules}) == 4


@pytest.mark.parametrize("epsilon", EPSILONS)
@EVERY_WIDTH
@WITH_PRIOR
def test_soft_labels(epsilon: float, classes: int, with_prior: bool) -> None:
    t = [Fraction(n, 16) for n in ([16], [5, 11], [3, 0, 6, 7, 0])[WIDTHS.index(classes)]]
    for c, _ in cases(classes, with_prior):
        keep, share = lower_soft(Spec(epsilon), float(sum(c)), FUNCTIONS)
        e = Fraction(epsilon) if sum(c) else Fraction(0)
        for k in range(classes):
            q = (1 - e) * t[k] + (e * c[k] / sum(c) if e else 0)
            close(keep * float(t[k]) + share * float(c[k]), q, f"c = {c}, class {k}")


@pytest.mark.parametrize("spread", ["uniform", "others", "leaky"])
@pytest.mark.parametrize("kl", [False, True], ids=["plain", "kl"])
def test_arrays_are_lowered_like_their_elements(spread: str, kl: bool) -> None:
    """Rows that have receivers beside rows that have none."""
    rows = [sums_of(c, label, WEIGHTS) for c, label in cases(5, True)]
    stacked = ClassSums(*(np.array(column) for column in zip(*rows, strict=True)))
    spec = Spec(0.1, spread, kl=kl)
    together = lower(spec, stacked, FUNCTIONS)
    for i, row in enumerate(rows):
        alone = lower(spec, row, FUNCTIONS)
        for name in Coefficients._fields:
            column = np.broadcast_to(getattr(together, name), len(rows))
            assert column[i] == pytest.approx(getattr(alone, name), rel=1e-15, abs=1e-17), name


@pytest.mark.parametrize("spread", ["uniform", "others", "leaky"])
def test_the_mass_is_exactly_one_where_the_target_sums_to_one(spread: str) -> None:
    mass = lower(Spec(0.1, spread), sums_of([Fraction(1)] * 3, 0), FUNCTIONS).mass
    assert (mass == 1.0) == (spread != "leaky")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Spec(), False),
        (Spec(5e-324), True),
        (Spec(0.0, "leaky"), False),
        (Spec(values=(0.9, 0.0)), False),
        (Spec(values=(0.0, 0.1)), True),
    ],
    ids=repr,
)
def test_smooths(spec: Spec, expected: bool) -> None:
    assert smooths(spec) is expected


def test_division_by_zero_gives_zero() -> None:
    np.testing.assert_array_equal(divide(np.array([1.0, 3.0]), np.array([0.0, 2.0]), FUNCTIONS), [0.0, 1.5])
    assert divide(1.0, 0.0, FUNCTIONS) == 0.0


def test_xlogx_is_zero_at_zero() -> None:
    np.testing.assert_allclose(xlogx(np.array([0.0, 1.0, 2.0]), FUNCTIONS), [0.0, 0.0, 2 * math.log(2)], rtol=1e-15)
    assert xlogx(0.0, FUNCTIONS) == 0.0
    assert xlogx(0.5, FUNCTIONS) == pytest.approx(-0.5 * math.log(2), rel=1e-15)


def test_python_numbers_do_not_pass_through_the_framework_s_dtype() -> None:
    narrow = FUNCTIONS._replace(log=lambda x: np.log(np.float32(x)))
    assert xlogx(0.1, narrow) == 0.1 * math.log(0.1)
    assert lower(Spec(0.1, kl=True), ClassSums(1.0, 1.0), narrow).entropy == pytest.approx(
        -0.95 * math.log(0.95) - 0.05 * math.log(0.05), rel=1e-15
    )


def test_the_steepest_slope_has_a_finite_sum_in_float32() -> None:
    """As the reference's table of edges has it."""
    assert STEEPEST == -1e30
    assert np.isfinite(np.float32(STEEPEST) * np.float32(1e8))
