"""The article's worked case, once for every room: images, labels with holes, and the target's two values."""

import numpy as np

ON, OFF, IGNORED = 0.9, 0.005, 255

_random = np.random.default_rng(0)

IMAGES = _random.normal(0, 1, (2, 3, 5, 5))
"""[batch, channels, rows, columns]"""

LABELS = _random.integers(0, 3, (2, 5, 5)).astype(np.int64)
LABELS[_random.random((2, 5, 5)) < 0.2] = IGNORED
