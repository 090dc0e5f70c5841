"""``LinearSmoothedCrossEntropy`` in the place of a dense layer and its loss, on the backend that is active."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.backend import set_keras_mask

from multismooth import InputError, Spec, dialects
from multismooth.keras import LinearSmoothedCrossEntropy, SmoothedCrossEntropy, linear_smoothed_cross_entropy

RANDOM = np.random.default_rng(0)
HIDDEN = RANDOM.normal(0, 1, (3, 4, 6)).astype("float32")
KERNEL = RANDOM.normal(0, 1, (6, 5)).astype("float32")
BIAS = RANDOM.normal(0, 1, 5).astype("float32")
LABELS = RANDOM.integers(0, 5, (3, 4)).astype("int32")
MASK = RANDOM.random((3, 4)) < 0.6
WEIGHT = RANDOM.uniform(0.5, 2, (3, 4)).astype("float32")
CLOSE: dict[str, Any] = {"rtol": 2e-6, "atol": 1e-6}
OPTIONS = pytest.mark.parametrize(
    "options",
    [{}, {"spec": 0.1}, {"spec": Spec(0.2, "others"), "use_bias": False}, {"logit_scale": 0.5, "softcap": 3.0}],
    ids=["plain", "smoothed", "no-bias", "capped"],
)


def number(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value))


def layer(**options: Any) -> LinearSmoothedCrossEntropy:
    made = LinearSmoothedCrossEntropy(5, **options)
    made.build([HIDDEN.shape, LABELS.shape])
    made.set_weights([KERNEL, BIAS] if made.use_bias else [KERNEL])
    return made


@OPTIONS
def test_equals_the_loss_of_its_logits(options: dict[str, Any]) -> None:
    made = layer(**options)
    logits = made.logits(HIDDEN)
    bias = BIAS if made.use_bias else 0
    plain = HIDDEN @ KERNEL + bias
    if "softcap" in options:
        plain = 3.0 * np.tanh(0.5 * plain / 3.0)
    np.testing.assert_allclose(number(logits), plain, **CLOSE)
    loss = SmoothedCrossEntropy(spec=made.spec)
    np.testing.assert_allclose(number(made((HIDDEN, LABELS))), number(loss(LABELS, plain)), **CLOSE)
    weighted = made((HIDDEN, LABELS, WEIGHT))
    np.testing.assert_allclose(number(weighted), number(loss(LABELS, plain, WEIGHT)), **CLOSE)


def test_the_function_is_the_rooms() -> None:
    loss = linear_smoothed_cross_entropy(
        *map(ops.convert_to_tensor, (HIDDEN, KERNEL, LABELS)), 0.1, bias=ops.convert_to_tensor(BIAS)
    )
    np.testing.assert_allclose(number(loss), number(layer(spec=Spec(0.1))((HIDDEN, LABELS))), rtol=1e-6)


def test_a_keras_mask_tells_what_counts() -> None:
    made = layer(spec=0.1)
    hidden = ops.convert_to_tensor(np.where(MASK[..., None], HIDDEN, np.nan).astype("float32"))
    set_keras_mask(hidden, ops.convert_to_tensor(MASK))
    loss = SmoothedCrossEntropy(spec=made.spec)
    expected = loss(LABELS[MASK], number(made.logits(HIDDEN))[MASK])
    np.testing.assert_allclose(number(made((hidden, LABELS))), number(expected), **CLOSE)


def test_a_loss_of_each_position_is_not_added() -> None:
    made = layer(spec=Spec(0.1, reduction="none"))
    assert tuple(made((HIDDEN, LABELS)).shape) == (3, 4)
    assert made.losses == []
    summed = layer(spec=0.1)
    loss = summed((HIDDEN, LABELS))
    assert number(summed.losses[0]) == number(loss)


def test_it_is_saved_with_its_choices(tmp_path: Path) -> None:
    spec = dialects.torch(0.1)
    made = layer(spec=spec, logit_scale=0.5, softcap=30.0, kernel_initializer="he_normal", name="head")
    again = LinearSmoothedCrossEntropy.from_config(made.get_config())
    assert (again.spec, again.logit_scale, again.softcap, again.name) == (spec, 0.5, 30.0, "head")
    assert isinstance(again.kernel_initializer, keras.initializers.HeNormal)
    features, labels = keras.Input([4, 6]), keras.Input([4], dtype="int32")
    model = keras.Model([features, labels], made((features, labels)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(number(loaded([HIDDEN, LABELS])), number(model([HIDDEN, LABELS])))


def test_fit_needs_no_other_loss() -> None:
    """As a dense layer and its loss learn, so does this."""
    features, labels = keras.Input([6]), keras.Input([], dtype="int32")
    data, targets = HIDDEN.reshape(-1, 6), LABELS.reshape(-1)
    made = layer(spec=0.1)
    model = keras.Model([features, labels], made((features, labels)))
    model.compile(optimizer=keras.optimizers.SGD(0.5))
    history = model.fit([data, targets], batch_size=5, epochs=3, shuffle=False, verbose=0)

    dense = keras.layers.Dense(5)
    twin = keras.Sequential([keras.Input([6]), dense])
    dense.set_weights([KERNEL, BIAS])
    twin.compile(optimizer=keras.optimizers.SGD(0.5), loss=SmoothedCrossEntropy(0.1))
    expected = twin.fit(data, targets, batch_size=5, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"][-1], expected.history["loss"][-1], rtol=0.05)
    for ours, theirs in zip(made.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_mixed_precision() -> None:
    made = LinearSmoothedCrossEntropy(5, spec=0.1, dtype="mixed_bfloat16")
    made.build([HIDDEN.shape, LABELS.shape])
    made.set_weights([KERNEL, BIAS])
    loss = made((HIDDEN, LABELS))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(number(loss), number(layer(spec=0.1)((HIDDEN, LABELS))), rtol=0.02)


def test_soft_labels_are_refused() -> None:
    soft = np.full((3, 4, 5), 0.2, "float32")
    with pytest.raises(InputError) as caught:
        layer()((HIDDEN, soft))
    assert caught.value.reason == "linear_soft_labels"
    assert str(caught.value).startswith("linear_smoothed_cross_entropy: labels of dtype float32")
