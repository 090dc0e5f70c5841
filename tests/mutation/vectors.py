"""The vectors through the reference, a test for each file of them."""

from itertools import groupby

import pytest

from multismooth_conformance import Vector, judge, load
from multismooth_conformance.adapters.reference import ADAPTER

FILES = {file: list(vectors) for file, vectors in groupby(load().values(), lambda vector: vector.file)}


@pytest.mark.parametrize("file", FILES)
def test_vectors(file: str) -> None:
    for vector in FILES[file]:
        check(vector)


def check(vector: Vector) -> None:
    try:
        loss, gradients = judge.run(ADAPTER, vector.inputs, vector.cotangent, "eager")
    except ValueError as error:
        if vector.reason is None or getattr(error, "reason", None) != vector.reason:
            raise
        return
    assert vector.reason is None, f"{vector.id}: {vector.reason} is an error, and no error was raised"
    judge.judge(vector, loss, gradients)
