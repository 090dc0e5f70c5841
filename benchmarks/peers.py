"""What the contenders of other packages need said."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType


class Unfit(Exception):
    """Says why a contender has no figure here."""


def without_init(distribution: str, *packages: str) -> None:
    """Lets modules of these packages be imported, untouched, without an ``__init__`` that needs what no loss needs."""
    for name in packages:
        module = ModuleType(name)
        module.__path__ = [str(importlib.metadata.distribution(distribution).locate_file(name.replace(".", "/")))]
        sys.modules[name] = module
