"""Imports a loss from a package without the rest of it, which needs what no loss needs."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType


def without_init(distribution: str, *packages: str) -> None:
    """Lets modules of these packages be imported, their files untouched, without running any ``__init__``."""
    for name in packages:
        module = ModuleType(name)
        module.__path__ = [str(importlib.metadata.distribution(distribution).locate_file(name.replace(".", "/")))]
        sys.modules[name] = module


def absent(name: str, **members: object) -> None:
    """Stands in for a module that is imported but not used by the loss."""
    module = ModuleType(name)
    module.__path__ = []
    vars(module).update(members)
    sys.modules[name] = module
