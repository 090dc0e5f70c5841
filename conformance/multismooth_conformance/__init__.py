"""The conformance suite: vectors, tolerances, and a pytest plugin that runs them against any implementation."""

from multismooth_conformance.adapter import Adapter, Inputs
from multismooth_conformance.vectors import Vector, load

__all__ = ["Adapter", "Inputs", "Vector", "load"]
