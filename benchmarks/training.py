"""What the frameworks' training runs share: one small byte-level language model, told by its numbers."""

from __future__ import annotations

WIDTH = 256
TAPS = 8
"""bytes that a causal convolution sees"""
BLOCKS = 2
LEARNING_RATE = 0.1
MOMENTUM = 0.9
SEED = 0
