"""``identify`` on Keras's losses, on the backend that is active."""

import keras

from multismooth.porting import identify


def test_categorical() -> None:
    found = identify(keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), "keras")
    assert found.spec is not None, found
    assert abs(found.spec.label_smoothing - 0.1) < 1e-6  # its labels pass through float32
    assert (found.spec.spread, found.spec.reduction) == ("uniform", "mean")
