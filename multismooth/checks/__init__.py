"""What a call must look like, in one set of messages for every framework.

``check_call`` reads shapes and dtypes, which are known even while a function is compiled. ``check_values`` reads
the values, where that needs no waiting; ``bad_positions`` finds the same faults with a framework's own arrays, for
the places where nobody can raise an error and the row becomes NaN instead.
"""

from multismooth.checks.arrays import UNREAD, Batch, Described, Layout
from multismooth.checks.linear import check_linear
from multismooth.checks.shapes import check_call, check_call_once
from multismooth.checks.values import SUM_TOLERANCE, Good, bad_positions, check_values

__all__ = [
    "SUM_TOLERANCE",
    "UNREAD",
    "Batch",
    "Described",
    "Good",
    "Layout",
    "bad_positions",
    "check_call",
    "check_call_once",
    "check_linear",
    "check_values",
]
