"""``SmoothedCrossEntropy`` in the place of Keras's own losses, on the backend that is active."""

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from multismooth import InputError, Spec, dialects
from multismooth.keras import SmoothedCrossEntropy, smoothed_cross_entropy

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (3, 4, 5)).astype("float32")
LABELS = RANDOM.integers(0, 5, (3, 4)).astype("int32")
IGNORED = np.where(RANDOM.random((3, 4)) < 0.4, 255, LABELS).astype("int32")
PROBABILITIES = RANDOM.dirichlet(np.ones(5), (3, 4)).astype("float32")
WEIGHT = RANDOM.uniform(0.5, 2, (3, 4)).astype("float32")
CLOSE: dict[str, Any] = {"rtol": 2e-6, "atol": 1e-7}

by_reduction = pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]
)
by_weight = pytest.mark.parametrize(
    "sample_weight",
    [None, WEIGHT, WEIGHT * (WEIGHT > 1), WEIGHT[..., None]],
    ids=["unweighted", "positions", "with-zeros", "column"],
)


def number(loss: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(loss))


def assert_same(ours: Any, theirs: Any, *arguments: Any) -> None:
    np.testing.assert_allclose(number(ours(*arguments)), number(theirs(*arguments)), **CLOSE)


@by_reduction
@by_weight
def test_labels(reduction: str | None, sample_weight: np.ndarray | None) -> None:
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    assert_same(SmoothedCrossEntropy(reduction=reduction), theirs, LABELS, LOGITS, sample_weight)


@by_reduction
@by_weight
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_probabilities(label_smoothing: float, reduction: str | None, sample_weight: np.ndarray | None) -> None:
    options: dict[str, Any] = {"label_smoothing": label_smoothing, "reduction": reduction}
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, **options)
    assert_same(SmoothedCrossEntropy(**options), theirs, PROBABILITIES, LOGITS, sample_weight)


@by_reduction
@pytest.mark.parametrize("label_smoothing", [0.1, 1.0])
def test_smoothed_labels_are_smoothed_one_hot_rows(label_smoothing: float, reduction: str | None) -> None:
    ours = SmoothedCrossEntropy(label_smoothing, reduction=reduction)
    one_hot = np.eye(5, dtype="float32")[LABELS]
    np.testing.assert_allclose(number(ours(LABELS, LOGITS)), number(ours(one_hot, LOGITS)), **CLOSE)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "none"])
def test_weights_of_sequences(reduction: str) -> None:
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    assert_same(SmoothedCrossEntropy(reduction=reduction), theirs, LABELS, LOGITS, WEIGHT[:, :1])


def test_the_mean_by_weights_of_sequences() -> None:
    """Σ s over all positions; Keras takes one s per sequence, and so a loss that is T times as large."""
    ours = SmoothedCrossEntropy(reduction="mean_with_sample_weight")
    weights = WEIGHT[:, :1]
    expected = ours(LABELS, LOGITS, np.repeat(weights, 4, 1))
    np.testing.assert_allclose(number(ours(LABELS, LOGITS, weights)), number(expected), **CLOSE)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    np.testing.assert_allclose(number(theirs(LABELS, LOGITS, weights)), 4 * number(expected), **CLOSE)


COLUMNS = (PROBABILITIES.transpose(0, 2, 1), LOGITS.transpose(0, 2, 1))


@by_reduction
def test_the_class_axis(reduction: str | None) -> None:
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, axis=1, reduction=reduction)
    assert_same(SmoothedCrossEntropy(axis=1, reduction=reduction), theirs, *COLUMNS)


def test_smoothing_on_another_axis() -> None:
    """Over the classes; Keras divides ε by the length of the last axis."""
    rows = SmoothedCrossEntropy(0.1)(PROBABILITIES, LOGITS)
    np.testing.assert_allclose(number(SmoothedCrossEntropy(0.1, axis=1)(*COLUMNS)), number(rows), **CLOSE)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, axis=1, label_smoothing=0.1)
    assert abs(number(theirs(*COLUMNS)) - number(rows)) > 1e-3


@by_reduction
def test_ignored_labels(reduction: str | None) -> None:
    """With ``ignore_class`` Keras does not divide unless it is told to take the mean."""
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255, reduction=reduction)
    assert_same(SmoothedCrossEntropy(ignore_class=255, reduction=reduction), theirs, IGNORED, LOGITS)


def test_nothing_but_ignored_labels_is_zero() -> None:
    assert number(SmoothedCrossEntropy(0.1, ignore_class=255)(np.full((3, 4), 255), LOGITS)) == 0.0


@pytest.mark.parametrize("shape", [(3,), (3, 4)], ids=str)
def test_labels_may_stand_in_a_column(shape: tuple[int, ...]) -> None:
    logits, labels = (LOGITS, LABELS) if len(shape) == 2 else (LOGITS[:, 0], LABELS[:, 0])
    ours = SmoothedCrossEntropy(0.1)
    np.testing.assert_array_equal(number(ours(labels[..., None], logits)), number(ours(labels, logits)))


def test_labels_in_a_column_of_one_class() -> None:
    """A column of class indices, not one-hot rows."""
    assert number(SmoothedCrossEntropy(0.1)(np.zeros((3, 1), "int32"), np.ones((3, 1), "float32"))) == 0.0


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
def test_labels_may_have_any_integer_dtype(dtype: str) -> None:
    ours = SmoothedCrossEntropy(0.1)
    np.testing.assert_array_equal(number(ours(LABELS.astype(dtype), LOGITS)), number(ours(LABELS, LOGITS)))


@pytest.mark.parametrize("label", [257, 513, 1023])
def test_class_indices_are_not_rounded_to_bfloat16(label: int) -> None:
    """In bfloat16, 257 is 256."""
    logits = np.zeros((1, 1024), "float32")
    logits[0, label] = 8
    loss = SmoothedCrossEntropy(dtype="bfloat16")(np.array([label]), ops.cast(logits, "bfloat16"))
    assert number(ops.cast(loss, "float32")) < 0.5


def model_of(*layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(7, 6, mask_zero=True), *layers])


TOKENS = np.array([[3, 1, 0, 0], [5, 2, 4, 6], [0, 0, 0, 0]], "int32")


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_the_mask_of_an_embedding_counts(reduction: str, weighted: bool) -> None:
    """Both in the sum and in the number that it is divided by, in evaluate."""
    keras.utils.set_random_seed(0)
    model = model_of(keras.layers.Dense(5))
    model.compile(loss=SmoothedCrossEntropy(0.1, reduction=reduction))
    weights = WEIGHT if weighted else None
    loss = model.evaluate(TOKENS, LABELS, sample_weight=weights, verbose=0, batch_size=3)
    spec = dialects.keras(0.1, None, reduction)
    expected = smoothed_cross_entropy(
        ops.convert_to_tensor(number(model(TOKENS))),
        ops.convert_to_tensor(LABELS),
        spec,
        where=ops.convert_to_tensor(TOKENS != 0),
        sample_weight=None if weights is None else ops.convert_to_tensor(weights),
    )
    np.testing.assert_allclose(loss, number(expected), rtol=1e-5)


def test_the_mask_is_the_host_s() -> None:
    keras.utils.set_random_seed(0)
    losses = []
    for loss in (SmoothedCrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        keras.utils.set_random_seed(0)
        model = model_of(keras.layers.Dense(5))
        model.compile(loss=loss)
        losses.append(model.evaluate(TOKENS, LABELS, verbose=0, batch_size=3))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
def test_three_steps_of_fit_are_the_host_s(jit_compile: bool) -> None:
    if keras.backend.backend() == "torch":
        jit_compile = False  # needs a C++ compiler
    weights = []
    for loss in (SmoothedCrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        keras.utils.set_random_seed(0)
        model = model_of(keras.layers.Dense(5))
        model.compile("sgd", loss, jit_compile=jit_compile)
        before = model.get_weights()
        model.fit(TOKENS, LABELS, sample_weight=WEIGHT, epochs=3, batch_size=3, verbose=0, shuffle=False)
        assert all(np.abs(a - b).max() > 1e-5 for a, b in zip(before, model.get_weights(), strict=True))
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss() -> None:
    keras.utils.set_random_seed(0)
    model = model_of(keras.layers.Dense(5))
    model.compile(keras.optimizers.Adam(0.1), SmoothedCrossEntropy(0.1))
    history = model.fit(TOKENS, LABELS, epochs=20, batch_size=3, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


# --- What the host writes and reads -------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {"label_smoothing": 0.1, "ignore_class": 255, "axis": 2, "reduction": "sum"}


def serialized(loss: Any) -> Any:
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))


@pytest.mark.parametrize(
    "remake",
    [
        serialized,
        lambda loss: keras.losses.deserialize(keras.losses.serialize(loss)),
        lambda loss: type(loss).from_config(loss.get_config()),
        lambda loss: pickle.loads(pickle.dumps(loss)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["keras.saving", "keras.losses", "config", "pickle", "copy", "deepcopy"],
)
def test_copies_compute_the_same(remake: Any) -> None:
    loss = SmoothedCrossEntropy(**OPTIONS, name="mine", dtype="float32")
    again = remake(loss)
    assert type(again) is SmoothedCrossEntropy
    assert (again.spec, again.axis, again.name, again.dtype) == (loss.spec, 2, "mine", "float32")
    np.testing.assert_array_equal(number(again(IGNORED, LOGITS)), number(loss(IGNORED, LOGITS)))


def test_the_config_holds_every_field_of_the_spec() -> None:
    config = SmoothedCrossEntropy(**OPTIONS).get_config()
    assert Spec.from_json(config["spec"]) == dialects.keras(0.1, 255, "sum")


def test_a_saved_model_brings_its_loss(tmp_path: Path) -> None:
    model = model_of(keras.layers.Dense(5))
    model.compile("sgd", SmoothedCrossEntropy(0.1, ignore_class=255))
    model.fit(TOKENS, IGNORED, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.spec == model.loss.spec
    losses = [m.evaluate(TOKENS, IGNORED, batch_size=3, verbose=0) for m in (model, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_parameters_are_the_host_s_with_their_defaults() -> None:
    ours = {name: p.default for name, p in inspect.signature(SmoothedCrossEntropy).parameters.items()}
    for host in (keras.losses.CategoricalCrossentropy, keras.losses.SparseCategoricalCrossentropy):
        theirs = {name: p.default for name, p in inspect.signature(host).parameters.items()}
        for name in theirs.keys() - {"from_logits", "name"}:
            assert ours[name] == theirs[name], name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_result_has_the_loss_s_dtype(dtype: str) -> None:
    loss = SmoothedCrossEntropy(0.1, dtype=dtype)(LABELS, LOGITS)
    assert keras.backend.standardize_dtype(loss.dtype) == dtype


def test_the_dtype_is_floatx_by_default() -> None:
    loss = SmoothedCrossEntropy(0.1)(LABELS, ops.cast(LOGITS, "bfloat16"))
    assert keras.backend.standardize_dtype(loss.dtype) == keras.config.floatx()


def test_call_gives_every_position() -> None:
    loss = SmoothedCrossEntropy(0.1)
    plain = SmoothedCrossEntropy(0.1, reduction="none")
    tensors = ops.convert_to_tensor(LABELS), ops.convert_to_tensor(LOGITS)
    np.testing.assert_array_equal(number(loss.call(*tensors)), number(plain(LABELS, LOGITS)))


# --- The port, and what is refused --------------------------------------------------------------------------------


def test_the_spec_is_the_dialect() -> None:
    assert SmoothedCrossEntropy().spec == dialects.keras()
    assert SmoothedCrossEntropy(0.1, 255, reduction="mean").spec == dialects.keras(0.1, 255, "mean")


def test_the_spec_of_another_room_is_taken_whole() -> None:
    spec = dialects.torch(0.1, ignore_index=255)
    loss = SmoothedCrossEntropy(spec=spec)
    assert loss.spec is spec
    expected = smoothed_cross_entropy(ops.convert_to_tensor(LOGITS), ops.convert_to_tensor(IGNORED), spec)
    np.testing.assert_array_equal(number(loss(IGNORED, LOGITS)), number(expected))
    assert serialized(loss).spec == spec


def reason_of(function: Any) -> str:
    with pytest.raises(InputError) as caught:
        function()
    return caught.value.reason


@pytest.mark.parametrize("option", [{"label_smoothing": 0.1}, {"ignore_class": 255}, {"reduction": "sum"}], ids=str)
def test_a_spec_beside_options_is_refused(option: dict[str, Any]) -> None:
    assert reason_of(lambda: SmoothedCrossEntropy(spec=Spec(), **option)) == "spec_and_options"


def test_probabilities_in_the_place_of_logits_are_refused() -> None:
    assert reason_of(lambda: SmoothedCrossEntropy(from_logits=False)) == "from_probabilities"


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("label_smoothing_out_of_range", {"label_smoothing": -0.1}),
        ("ignore_index_not_an_integer", {"ignore_class": 1.5}),
    ],
)
def test_bad_options_are_refused(reason: str, options: dict[str, Any]) -> None:
    assert reason_of(lambda: SmoothedCrossEntropy(**options)) == reason


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(InputError, match="reduction"):
        SmoothedCrossEntropy(reduction="auto")


def test_labels_out_of_range_are_refused() -> None:
    assert reason_of(lambda: SmoothedCrossEntropy()(IGNORED, LOGITS)) == "label_out_of_range"


def test_float_labels_are_refused() -> None:
    assert reason_of(lambda: SmoothedCrossEntropy()(LABELS.astype("float32"), LOGITS)) == "float_labels"


def test_negative_weights_are_refused() -> None:
    assert reason_of(lambda: SmoothedCrossEntropy()(LABELS, LOGITS, -WEIGHT)) == "bad_sample_weight"


@pytest.mark.parametrize("shape", [(3, 3), (4,), (3,), (3, 4, 5)], ids=str)
def test_weights_of_other_positions_are_refused(shape: tuple[int, ...]) -> None:
    """One weight per sequence is [B, 1]: Keras takes [B] for weights of the last axis, where that fits."""
    with pytest.raises(InputError, match="sample_weight"):
        SmoothedCrossEntropy()(LABELS, LOGITS, np.ones(shape, "float32"))
