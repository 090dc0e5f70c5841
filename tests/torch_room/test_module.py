"""``SmoothedCrossEntropy`` in the place of ``nn.CrossEntropyLoss``."""

import copy
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multismooth import InputError, Spec, dialects
from multismooth.torch import SmoothedCrossEntropy, smoothed_cross_entropy

RANDOM = torch.Generator()
CLASSES = 5
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0], dtype=torch.float64)
SHAPES = {"[K]": (), "[N, K]": (6,), "[N, K, d1]": (3, 4), "[N, K, d1, d2]": (2, 3, 4)}
"""The labels' shape of each."""

by_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
by_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
by_smoothing = pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
by_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test's numbers are its own, whichever tests ran before it in the same process."""
    RANDOM.manual_seed(0)


def logits_of(shape: tuple[int, ...]) -> Tensor:
    logits = torch.randn(*shape, CLASSES, generator=RANDOM, dtype=torch.float64)
    return logits.movedim(-1, 1) if len(shape) > 1 else logits


def labels_of(shape: tuple[int, ...], ignored: int | None = None) -> Tensor:
    labels = torch.randint(CLASSES, shape, generator=RANDOM)
    return labels if ignored is None else labels.masked_fill(torch.rand(shape, generator=RANDOM) < 0.4, ignored)


def assert_same(options: dict[str, Any], logits: Tensor, target: Tensor) -> None:
    """Loss and gradient of the host's class and ours."""
    results = []
    for criterion in (SmoothedCrossEntropy(**options), nn.CrossEntropyLoss(**options)):
        x = logits.clone().requires_grad_()
        loss = criterion(x, target)
        cotangent = torch.linspace(1, 2, loss.numel(), dtype=torch.float64).reshape(loss.shape)
        results.append((loss.detach(), torch.autograd.grad(loss, x, cotangent)[0]))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14, equal_nan=True)


@by_shape
@by_reduction
@by_smoothing
@by_weight
def test_labels(shape: tuple[int, ...], reduction: str, label_smoothing: float, weight: Tensor | None) -> None:
    options = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing}
    assert_same(options, logits_of(shape), labels_of(shape))


@by_reduction
@by_smoothing
@by_weight
@pytest.mark.parametrize("ignored", [-100, 255, 2])
def test_ignored_labels(ignored: int, reduction: str, label_smoothing: float, weight: Tensor | None) -> None:
    options = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignored}
    assert_same(options, logits_of((3, 8)), labels_of((3, 8), ignored))


@by_shape
@by_reduction
@by_smoothing
@by_weight
def test_probabilities(shape: tuple[int, ...], reduction: str, label_smoothing: float, weight: Tensor | None) -> None:
    options = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing}
    logits = logits_of(shape)
    assert_same(options, logits, logits_of(shape).softmax(1 if shape else 0))


@by_reduction
def test_nothing_but_ignored_labels(reduction: str) -> None:
    """The mean is NaN, as the host's; its gradient is 0 here."""
    options = {"reduction": reduction, "label_smoothing": 0.1}
    logits, target = logits_of((4,)).requires_grad_(), torch.full((4,), -100)
    ours, theirs = (criterion(**options)(logits, target) for criterion in (SmoothedCrossEntropy, nn.CrossEntropyLoss))
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    assert torch.autograd.grad(ours.sum(), logits)[0].count_nonzero() == 0


@pytest.mark.parametrize("target", [torch.tensor(3), torch.tensor([3, 3])], ids=["[K]", "[N, K]"])
def test_no_weight_at_the_labels(target: Tensor) -> None:
    """Σ w_y is 0: NaN, as the host's, whose gradient is NaN too; ours is 0."""
    logits = logits_of(tuple(target.shape)).requires_grad_()
    ours, theirs = SmoothedCrossEntropy(WEIGHT)(logits, target), nn.CrossEntropyLoss(WEIGHT)(logits, target)
    assert ours.isnan()
    assert theirs.isnan()
    assert torch.autograd.grad(ours, logits)[0].count_nonzero() == 0
    assert torch.autograd.grad(theirs, logits)[0].isnan().all()


def test_the_parameters_are_the_host_s_in_order() -> None:
    ours = {name: p.default for name, p in inspect.signature(SmoothedCrossEntropy).parameters.items()}
    theirs = {name: p.default for name, p in inspect.signature(nn.CrossEntropyLoss).parameters.items()}
    for gone in ("size_average", "reduce"):
        del theirs[gone]
    del ours["spec"]
    assert list(ours.items()) == list(theirs.items())


def test_the_target_may_have_any_integer_dtype() -> None:
    logits, labels = logits_of((6,)), labels_of((6,))
    criterion = SmoothedCrossEntropy(label_smoothing=0.1)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.equal(criterion(logits, labels.to(dtype)), criterion(logits, labels))


def test_mask_weights_and_normalizer_are_passed_on() -> None:
    logits, labels = logits_of((3, 4)), labels_of((3, 4))
    extra = {
        "where": labels > 0,
        "sample_weight": torch.rand(3, 4, generator=RANDOM, dtype=torch.float64),
        "normalizer": torch.tensor(7.0),
    }
    criterion = SmoothedCrossEntropy(WEIGHT, label_smoothing=0.1)
    expected = smoothed_cross_entropy(logits, labels, criterion.spec, axis=1, class_weight=WEIGHT, **extra)
    assert torch.equal(criterion(logits, labels, **extra), expected)


def test_the_weight_is_a_persistent_buffer() -> None:
    criterion = SmoothedCrossEntropy(WEIGHT)
    assert list(criterion.state_dict()) == ["weight"]
    assert list(criterion.parameters()) == []
    assert torch.equal(criterion.state_dict()["weight"], WEIGHT)
    other = SmoothedCrossEntropy(torch.ones(CLASSES, dtype=torch.float64))
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(other.weight, WEIGHT)


def test_the_state_of_the_host_s_class_can_be_loaded() -> None:
    criterion = SmoothedCrossEntropy(torch.ones_like(WEIGHT))
    criterion.load_state_dict(nn.CrossEntropyLoss(WEIGHT).state_dict())
    assert torch.equal(criterion.weight, WEIGHT)


def test_without_a_weight_there_is_no_state() -> None:
    assert SmoothedCrossEntropy().state_dict() == {}


def test_to_moves_the_weight() -> None:
    criterion = SmoothedCrossEntropy(WEIGHT).to(torch.float32)
    assert criterion.weight.dtype == torch.float32
    assert criterion.to("meta").weight.device.type == "meta"


def saved(criterion: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(criterion, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved])
def test_copies_compute_the_same(remake: Any) -> None:
    criterion = SmoothedCrossEntropy(WEIGHT, 255, "sum", 0.1)
    again = remake(criterion)
    logits, labels = logits_of((3, 4)), labels_of((3, 4), 255)
    assert again.spec == criterion.spec
    assert torch.equal(again(logits, labels), criterion(logits, labels))


def test_repr_shows_the_choices() -> None:
    assert repr(SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255)) == (
        "SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255, denominator='class_weights', empty='nan')"
    )
    assert "label_smoothing=0.3" in repr(nn.Sequential(SmoothedCrossEntropy(label_smoothing=0.3)))


def test_the_spec_is_the_dialect() -> None:
    assert SmoothedCrossEntropy().spec == dialects.torch()
    assert SmoothedCrossEntropy(WEIGHT, 1, "sum", 0.2).spec == dialects.torch(0.2, 1, "sum")


def test_the_spec_of_another_room_is_taken_whole() -> None:
    spec = Spec(0.2, "others", kl=True, z_loss=0.1, ignore_index=0, denominator="batch")
    criterion = SmoothedCrossEntropy(spec=spec)
    logits, labels = logits_of((3, 4)), labels_of((3, 4))
    assert criterion.spec is spec
    assert torch.equal(criterion(logits, labels), smoothed_cross_entropy(logits, labels, spec, axis=1))


def test_a_port_gives_the_same_loss() -> None:
    criterion = SmoothedCrossEntropy(label_smoothing=0.1, ignore_index=255)
    ported = SmoothedCrossEntropy(spec=Spec.from_json(criterion.spec.to_json()))
    logits, labels = logits_of((3, 4)), labels_of((3, 4), 255)
    assert torch.equal(ported(logits, labels), criterion(logits, labels))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_probabilities_are_reduced_by_their_own_dialect(weight: Tensor | None) -> None:
    """Over all positions, those masked by ``where`` included."""
    logits, labels = logits_of((3, 4)), logits_of((3, 4)).softmax(1)
    where = torch.arange(12).reshape(3, 4) % 3 > 0
    criterion = SmoothedCrossEntropy(weight, label_smoothing=0.1)
    spec = dialects.torch_probabilities(0.1)
    expected = smoothed_cross_entropy(logits, labels, spec, axis=1, where=where, class_weight=weight)
    assert torch.equal(criterion(logits, labels, where=where), expected)


def test_a_spec_with_a_weight() -> None:
    criterion = SmoothedCrossEntropy(WEIGHT, spec=dialects.torch(0.1))
    logits, labels = logits_of((4,)), labels_of((4,))
    assert torch.equal(criterion(logits, labels), SmoothedCrossEntropy(WEIGHT, label_smoothing=0.1)(logits, labels))


@pytest.mark.parametrize("option", [{"label_smoothing": 0.1}, {"ignore_index": 255}, {"reduction": "sum"}], ids=str)
def test_a_spec_beside_options_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        SmoothedCrossEntropy(spec=Spec(), **option)
    assert caught.value.reason == "spec_and_options"


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("label_smoothing_out_of_range", {"label_smoothing": -0.1}),
        ("label_smoothing_out_of_range", {"label_smoothing": 1.5}),
        ("unknown_reduction", {"reduction": "batchmean"}),
        ("ignore_index_not_an_integer", {"ignore_index": 1.5}),
        ("not_a_spec", {"spec": "uniform"}),
        ("class_weight_dtype", {"weight": torch.ones(CLASSES, dtype=torch.int64)}),
        ("class_weight_shape", {"weight": torch.ones(CLASSES + 1)}),
        ("bad_class_weight", {"weight": -torch.ones(CLASSES)}),
    ],
)
def test_bad_options_are_refused(reason: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        SmoothedCrossEntropy(**options)(logits_of((4,)), labels_of((4,)))
    assert caught.value.reason == reason


def test_the_loss_of_half_precision_is_float32() -> None:
    loss = SmoothedCrossEntropy()(logits_of((4,)).half(), labels_of((4,)))
    assert loss.dtype == torch.float32


def test_a_label_between_classes_and_ignored_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        SmoothedCrossEntropy(ignore_index=255)(logits_of((4,)), torch.tensor([0, 255, 1, -100]))
    assert caught.value.reason == "label_out_of_range"
