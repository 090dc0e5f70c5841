"""One label-smoothed, masked softmax cross-entropy, the same in every framework.

The loss itself is in the framework's room, such as ``multismooth.torch``; this module imports none of them.
"""

from multismooth import dialects
from multismooth.errors import InputError
from multismooth.reduction import Totals
from multismooth.spec import Spec

__version__ = "0.1.0"
__all__ = ["InputError", "Spec", "Totals", "__version__", "dialects"]
