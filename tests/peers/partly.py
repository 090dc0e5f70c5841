"""Imports a loss from a package without the rest of it, which needs what no loss needs."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock


def without_init(distribution: str, *packages: str) -> None:
    """Lets modules of these packages be imported, their files untouched, without running any ``__init__``."""
    for name in packages:
        module = ModuleType(name)
        module.__path__ = [str(importlib.metadata.distribution(distribution).locate_file(name.replace(".", "/")))]
        sys.modules[name] = module


def absent(*names: str, **members: object) -> None:
    """Stands in for modules that are imported but not used by the loss; what is asked of them is no number."""

    def member(name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()

    for name in names:
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(members, __getattr__=member)
        sys.modules[name] = module


def unpacked(archive: str) -> None:
    """Finds a distribution in the source archive that the session has unpacked, for what no longer builds."""
    sys.path.insert(0, str(Path(os.environ["PEER_SOURCES"]) / archive))


def interpret_triton() -> None:
    """Runs Triton's kernels on the CPU, by its own interpreter, for losses that ask for a tensor of CUDA.

    Call it before the loss is imported: the kernels are decorated then.
    """
    os.environ["TRITON_INTERPRET"] = "1"
    import torch

    torch.cuda.device = lambda index: nullcontext()
    torch.Tensor.is_cuda = property(lambda tensor: True)
