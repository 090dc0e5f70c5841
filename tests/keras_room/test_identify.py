"""``identify`` on Keras's own losses, on the backend that is active."""

from typing import Any

import keras
import pytest

from multismooth import Spec, dialects
from multismooth.porting import identify

ROUNDING = {"loss_through_float32", "labels_rounded", "labels_narrowed"}
"""Keras casts labels to the loss's dtype."""


def categorical(**options: Any) -> Any:
    return keras.losses.CategoricalCrossentropy(label_smoothing=0.1, **options)


@pytest.mark.parametrize(
    ("reduction", "dtype"),
    [("sum_over_batch_size", "float64"), ("mean_with_sample_weight", "float32"), ("none", "float32")],
)
def test_categorical(reduction: str, dtype: str) -> None:
    found = identify(categorical(from_logits=True, reduction=reduction, dtype=dtype), "keras")
    assert found.spec == dialects.keras(0.1, reduction=reduction), str(found)
    assert found.layout["labels"] == "one-hot"
    assert set(found.deviations) <= {*ROUNDING, "nan_under_zero_weight"}, str(found)


def test_from_probabilities() -> None:
    found = identify(categorical(dtype="float64"), "keras")
    assert found.spec == dialects.keras(0.1), str(found)
    assert found.layout["inputs"] == "probabilities"
    assert "probabilities_clipped" in found.deviations, str(found)


@pytest.mark.parametrize("ignore_class", [None, 0, 255])
def test_sparse(ignore_class: int | None) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignore_class, dtype="float64")
    found = identify(loss, "keras")
    assert found.spec is not None, str(found)
    if keras.backend.backend() == "torch" and ignore_class is None:
        # PyTorch's own loss is under it, which has an ignored label of its own; Keras counts it.
        assert found.spec == Spec(ignore_index=-100, denominator="all"), str(found)
    else:
        assert found.spec == Spec(ignore_index=ignore_class, out_of_range=found.spec.out_of_range), str(found)


def test_a_function() -> None:
    found = identify(keras.losses.categorical_crossentropy, "keras", arguments={"labels": "y_true", "logits": "y_pred"})
    assert found.spec == Spec(reduction="none"), str(found)
    assert found.layout["inputs"] == "probabilities"
