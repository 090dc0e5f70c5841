"""A spec as source code in a framework's own functions."""

from multismooth.porting.native.source import source

__all__ = ["source"]
