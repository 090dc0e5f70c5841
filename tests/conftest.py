"""A room's tests need its framework: the folders ``*_room`` are collected only where they are asked for."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not collection_path.name.endswith("_room"):
        return None
    here = config.invocation_params.dir
    asked = [(here / argument.partition("::")[0]).resolve() for argument in config.args]
    room = collection_path.resolve()
    return None if any(room in (path, *path.parents) for path in asked) else True
