"""Tools for moving a loss from one code base to another: what a loss computes, and what differs from another."""

from multismooth.porting.compare import Comparison, compare
from multismooth.porting.explain import Explanation, explain
from multismooth.porting.losses import Loss, loss
from multismooth.porting.target import Target, target

__all__ = ["Comparison", "Explanation", "Loss", "Target", "compare", "explain", "loss", "target"]
