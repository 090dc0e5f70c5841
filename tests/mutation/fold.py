"""A pytest plugin: one item for a parametrized test, which runs all of its cases.

mutmut starts pytest for every mutant, and to collect a thousand items would take most of its time.
"""

from collections.abc import Generator
from typing import Any

import pytest

REST = pytest.StashKey[list[dict[str, Any]]]()
"""The arguments of every case but the first."""


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    items = yield
    if not isinstance(items, list) or len(items) < 2:
        return items
    first, *others = items
    first.stash[REST] = [item.callspec.params for item in others]
    return [first]


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """The quick ones first, in an order of their own, for mutmut keeps tests in a set; and none that is random."""
    items[:] = (item for item in items if not hasattr(item.obj, "hypothesis"))
    items.sort(key=lambda item: (len(item.stash.get(REST, [])), item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    result = yield
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    for params in pyfuncitem.stash.get(REST, []):
        pyfuncitem.obj(**given | params)
    return result
