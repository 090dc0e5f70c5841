"""Medians of calls that take turns in one process, and the law that they grow by."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

LEAST, MOST = 5, 200
"""rounds"""


def interleaved(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Seconds of every call, until all have taken so many ``seconds``, at least five times.

    They take turns, each round in another order, so that none is always the one after the slowest.
    """
    order, random = list(calls), Random(0)
    times: dict[str, list[float]] = {name: [] for name in calls}
    started = time.perf_counter()
    for done in range(MOST):
        if done >= LEAST and time.perf_counter() - started > seconds:
            break
        random.shuffle(order)
        for name in order:
            before = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - before)
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    """The median, and the quartiles around it."""
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": digits(median), "low": digits(low), "high": digits(high), "rounds": len(times)}


def digits(number: float) -> float:
    """Four, which is more than a time repeats."""
    return float(f"{number:.4g}")


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The exponent p of times ∝ sizes^p: the line of least squares through the logarithms."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(time) for time in times]).slope
