"""A step of TensorFlow's, and the bytes that it holds at its peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

MODES: dict[str, Callable[[Any], Any]] = {
    "graph": tf.function,
    "eager": lambda step: step,
    "XLA": tf.function(jit_compile=True),
}


class Call:
    """Runs a step that returns the loss and perhaps its gradients."""

    def __init__(self, step: Callable[[], Any]) -> None:
        self.step = step

    def __call__(self) -> Any:
        return self.step()

    def peak(self) -> int:
        """Above what was there before, of a step that has run before; needs ``TF_CPU_ALLOCATOR_USE_BFC=true``."""
        tf.config.experimental.reset_memory_stats("CPU:0")
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        self.step()
        return tf.config.experimental.get_memory_info("CPU:0")["peak"] - before
