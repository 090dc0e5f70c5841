"""Every dialect against the spec that it documents, and against its library's formula, written out densely."""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from multismooth import InputError, Spec, dialects
from multismooth.dialects import DIALECTS, INEXPRESSIBLE
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp

EPSILON = 0.1

SPECS = {
    "article": Spec(values=(0.9, 0.005), ignore_index=255, empty="nan"),
    "pytorch_loss": Spec(0.1, "leaky", ignore_index=-100, empty="nan"),
    "torch": Spec(0.1, ignore_index=-100, denominator="class_weights", empty="nan"),
    "torch_probabilities": Spec(0.1, denominator="all", empty="nan"),
    "optax": Spec(0.1, reduction="none"),
    "keras": Spec(0.1),
    "tf_v1": Spec(0.1, denominator="nonzero_weights"),
    "fairseq": Spec(0.1, "others", ignore_index=1, reduction="sum"),
    "fairseq_2020": Spec(0.1, ignore_index=1, reduction="sum"),
    "t5x": Spec(0.1, "others", kl=True, reduction="sum"),
    "flax_wmt": Spec(0.1, "others", kl=True, ignore_index=0, denominator="weights", empty="nan"),
    "tensor2tensor": Spec(0.1, "others", kl=True, ignore_index=0, denominator="weights"),
    "big_vision": Spec(0.1, "others", denominator="sequences", empty="nan"),
    "huggingface": Spec(0.1, ignore_index=-100, empty="nan"),
    "timm": Spec(0.1, denominator="all", empty="nan"),
    "smp": Spec(0.1, ignore_index=-100, denominator="all", empty="nan"),
    "opennmt": Spec(0.1, "others", exclude=(1,), kl=True, ignore_index=1, reduction="sum"),
    "espnet": Spec(0.1, "others", kl=True, ignore_index=-1, denominator="batch", empty="nan"),
    "megatron": Spec(0.1, "others", reduction="none"),
    "flash_attention": Spec(0.1, ignore_index=-100, empty="nan"),
    "liger": Spec(0.1, ignore_index=-100, denominator="class_weights"),
    "paddle": Spec(0.1, class_weight_rule="expected", denominator="expected_class_weights"),
    "classy_vision": Spec(0.1 / 1.1, denominator="all"),
    "tinygrad": Spec(0.1, empty="nan"),
    "mlx": Spec(0.1, reduction="none", denominator="all", empty="nan"),
    "keras_mask": Spec(0.1),
    "keras_weighted_mean": Spec(0.1, denominator="weights"),
    "keras_sparse": Spec(),
    "keras_hub": Spec(denominator="all"),
    "burn": Spec(0.1, denominator="class_weights", empty="nan"),
    "transformer_engine": Spec(0.1, ignore_index=-100, reduction="none"),
    "apex": Spec(0.1, ignore_index=0, reduction="none"),
    "cut_cross_entropy": Spec(ignore_index=-100, empty="nan"),
    "tokamax": Spec(reduction="sum", denominator="all"),
    "huggingface_causal_lm": Spec(ignore_index=-100, empty="nan"),
    "allennlp": Spec(0.1, class_weight_rule="per_label", denominator="nonempty_sequences"),
    "marian": Spec(0.1, reduction="sum"),
    "sockeye": Spec(0.1, ignore_index=0, empty="nan"),
    "gluonnlp": Spec(0.1, reduction="none"),
    "maxtext": Spec(),
    "speechbrain_nll": Spec(0.1, class_weight_rule="label_term", empty="nan"),
    "speechbrain_kldiv": Spec(0.1, "others", kl=True, ignore_index=0, reduction="sum"),
    "nemo": Spec(0.1, "others", denominator="weights"),
    "mmpretrain": Spec(0.1, denominator="all"),
    "mmsegmentation": Spec(ignore_index=-100, denominator="all"),
    "scenic": Spec(0.1, denominator="weights"),
}


def test_every_public_function_is_in_the_table() -> None:
    functions = {name for name, member in vars(dialects).items() if inspect.isfunction(member)}
    assert functions == {*DIALECTS, *INEXPRESSIBLE}
    assert {*functions, "DIALECTS", "INEXPRESSIBLE", "Dialect", "Inexpressible", "Source"} == set(dialects.__all__)
    assert set(DIALECTS) == set(SPECS)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_spec_is_the_documented_one(name: str) -> None:
    spec = DIALECTS[name].smoothed(EPSILON)
    assert spec == SPECS[name]
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", DIALECTS)
def test_the_docstring_cites_its_source(name: str) -> None:
    dialect = DIALECTS[name]
    page = " ".join((dialect.spec.__doc__ or "").split())
    assert f"Source: {dialect.source}." in page
    assert f"Not expressed: {dialect.not_expressed}." in page or not dialect.not_expressed
    assert page.endswith("Standing: executed." if dialect.executed else "Standing: from source.")


@pytest.mark.parametrize("name", INEXPRESSIBLE)
def test_what_no_spec_computes_says_why_and_what_is_nearest(name: str) -> None:
    row = INEXPRESSIBLE[name]
    with pytest.raises(InputError, match=re.escape(row.reason)) as caught:
        getattr(dialects, name)(0.1)
    assert caught.value.reason == "no_spec"
    assert row.nearest.partition("(")[0] in DIALECTS
    assert str(row.source) in (getattr(dialects, name).__doc__ or "")


class Data(NamedTuple):
    """A batch in which n = 9, N = 20 and B = 4 differ, one sequence is empty, and no weight is 0 or 1."""

    x: Any
    y: Any
    mask: Any
    s: Any
    w: Any


CLASSES = 7


def data() -> Data:
    random = np.random.default_rng(0)
    mask = np.arange(5) < np.array([5, 3, 1, 0])[:, None]
    return Data(
        x=random.normal(size=(4, 5, CLASSES)) * 3,
        y=random.integers(2, CLASSES, (4, 5)),
        mask=mask,
        s=random.uniform(0.2, 2, mask.shape),
        w=random.uniform(0.2, 2, CLASSES),
    )


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def two_valued(d: Data, on: float, off: float) -> Any:
    return np.where(d.y[..., None] == np.arange(CLASSES), on, off)


def cross_entropy(d: Data, q: Any) -> Any:
    return -(q * log_softmax(d.x)).sum(-1)


def uniform(d: Data, epsilon: float = EPSILON) -> Any:
    return cross_entropy(d, two_valued(d, 1 - epsilon + epsilon / CLASSES, epsilon / CLASSES))


def others(d: Data, *, kl: bool = False) -> Any:
    q = two_valued(d, 1 - EPSILON, EPSILON / (CLASSES - 1))
    return cross_entropy(d, q) + (q * np.log(q)).sum(-1) * kl


def excluding_class_1(d: Data) -> Any:
    q = two_valued(d, 1 - EPSILON, EPSILON / (CLASSES - 2))
    q[..., 1] = 0
    return cross_entropy(d, q) + (q * np.log(np.where(q == 0, 1, q))).sum(-1)


def z_loss(d: Data, coefficient: float) -> Any:
    return coefficient * np.log(np.exp(d.x).sum(-1)) ** 2


def per_class(d: Data) -> Any:
    q = two_valued(d, 1 - EPSILON + EPSILON / CLASSES, EPSILON / CLASSES)
    return cross_entropy(d, q * d.w)


def label_term(d: Data) -> Any:
    nll = uniform(d, 0)
    return (1 - EPSILON) * d.w[d.y] * nll + EPSILON * uniform(d, 1)


def expected_weight(d: Data) -> Any:
    return two_valued(d, 1 - EPSILON + EPSILON / CLASSES, EPSILON / CLASSES) @ d.w


def masked_mean(d: Data, losses: Any, divisor: Any) -> Any:
    return (losses * d.mask).sum() / divisor


def mean_of_means(d: Data, losses: Any, sequences: int) -> Any:
    weights = d.s * d.mask
    sums = weights.sum(1)
    return ((losses * weights).sum(1) / np.where(sums == 0, 1, sums)).sum() / sequences


class Case(NamedTuple):
    id: str
    spec: Spec
    formula: Callable[[Data], Any]
    arguments: tuple[str, ...] = ()
    """which of where, sample_weight and class_weight the library's user gives"""


def weighted(d: Data) -> Any:
    return d.s * d.mask


CASES = [
    Case("article", dialects.article(), lambda d: masked_mean(d, cross_entropy(d, two_valued(d, 0.9, 0.005)), 9)),
    Case(
        "pytorch_loss",
        dialects.pytorch_loss(EPSILON),
        lambda d: masked_mean(d, cross_entropy(d, two_valued(d, 1 - EPSILON, EPSILON / CLASSES)), 9),
    ),
    Case("torch", dialects.torch(EPSILON), lambda d: masked_mean(d, uniform(d), 9)),
    Case(
        "torch-weight",
        dialects.torch(EPSILON),
        lambda d: masked_mean(d, per_class(d), d.w[d.y][d.mask].sum()),
        ("class_weight",),
    ),
    Case("torch-sum", dialects.torch(EPSILON, reduction="sum"), lambda d: masked_mean(d, uniform(d), 1)),
    Case(
        "torch_probabilities-weight",
        dialects.torch_probabilities(EPSILON),
        lambda d: per_class(d).sum() / 20,
        ("class_weight",),
    ),
    Case("optax", dialects.optax(EPSILON), uniform),
    Case("keras-mask", dialects.keras(EPSILON), lambda d: masked_mean(d, uniform(d), 9), ("where",)),
    Case(
        "keras-mask-and-weights",
        dialects.keras(EPSILON),
        lambda d: masked_mean(d, uniform(d) * d.s, 9),
        ("where", "sample_weight"),
    ),
    Case("keras-weights", dialects.keras(EPSILON), lambda d: (uniform(d) * d.s).sum() / 20, ("sample_weight",)),
    Case(
        "keras-weighted-mean",
        dialects.keras(EPSILON, reduction="mean_with_sample_weight"),
        lambda d: (uniform(d) * weighted(d)).sum() / weighted(d).sum(),
        ("where", "sample_weight"),
    ),
    Case("keras-ignore", dialects.keras(EPSILON, ignore_class=1), lambda d: masked_mean(d, uniform(d), 9)),
    Case("keras-none", dialects.keras(EPSILON, reduction=None), lambda d: uniform(d) * d.s, ("sample_weight",)),
    Case(
        "tf_v1",
        dialects.tf_v1(EPSILON),
        lambda d: (uniform(d) * weighted(d)).sum() / 9,
        ("weight",),
    ),
    Case(
        "tf_v1-mean",
        dialects.tf_v1(EPSILON, "weighted_mean"),
        lambda d: (uniform(d) * weighted(d)).sum() / weighted(d).sum(),
        ("weight",),
    ),
    Case(
        "tf_v1-batch",
        dialects.tf_v1(EPSILON, "weighted_sum_over_batch_size"),
        lambda d: (uniform(d) * weighted(d)).sum() / 20,
        ("weight",),
    ),
    Case("fairseq", dialects.fairseq(EPSILON), lambda d: masked_mean(d, others(d), 1)),
    Case("fairseq_2020", dialects.fairseq_2020(EPSILON), lambda d: masked_mean(d, uniform(d), 1)),
    Case(
        "t5x",
        dialects.t5x(EPSILON, 0.01),
        lambda d: ((others(d, kl=True) + z_loss(d, 0.01)) * weighted(d)).sum(),
        ("weight",),
    ),
    Case(
        "t5x-real",
        dialects.t5x(EPSILON, 0.01, "NUM_REAL_TARGET_TOKENS"),
        lambda d: ((others(d, kl=True) + z_loss(d, 0.01)) * weighted(d)).sum() / weighted(d).sum(),
        ("weight",),
    ),
    Case(
        "t5x-total",
        dialects.t5x(EPSILON, 0, "NUM_TOTAL_TARGET_TOKENS"),
        lambda d: (others(d, kl=True) * weighted(d)).sum() / 20,
        ("weight",),
    ),
    Case(
        "t5x-sequence",
        dialects.t5x(EPSILON, 0.01, "AVERAGE_PER_SEQUENCE"),
        lambda d: mean_of_means(d, others(d, kl=True) + z_loss(d, 0.01), 3),
        ("weight",),
    ),
    Case("flax_wmt", dialects.flax_wmt(EPSILON), lambda d: masked_mean(d, others(d, kl=True), 9)),
    Case("tensor2tensor", dialects.tensor2tensor(EPSILON), lambda d: masked_mean(d, others(d, kl=True), 9)),
    Case("big_vision", dialects.big_vision(EPSILON), lambda d: mean_of_means(d, others(d), 4), ("weight",)),
    Case(
        "big_vision-batch",
        dialects.big_vision(EPSILON, normalize=False),
        lambda d: (others(d) * weighted(d)).sum() / 4,
        ("weight",),
    ),
    Case("huggingface", dialects.huggingface(EPSILON), lambda d: masked_mean(d, uniform(d), 9)),
    Case("timm", dialects.timm(EPSILON), lambda d: uniform(d).sum() / 20),
    Case("smp", dialects.smp(EPSILON), lambda d: masked_mean(d, uniform(d), 20)),
    Case("opennmt", dialects.opennmt(EPSILON), lambda d: masked_mean(d, excluding_class_1(d), 1)),
    Case("espnet", dialects.espnet(EPSILON), lambda d: masked_mean(d, others(d, kl=True), 4)),
    Case(
        "espnet-length",
        dialects.espnet(EPSILON, normalize_length=True),
        lambda d: masked_mean(d, others(d, kl=True), 9),
    ),
    Case("megatron", dialects.megatron(EPSILON), others),
    Case(
        "flash_attention",
        dialects.flash_attention(EPSILON, lse_square_scale=0.01),
        lambda d: masked_mean(d, uniform(d) + z_loss(d, 0.01), 9),
    ),
    Case(
        "liger",
        dialects.liger(EPSILON, lse_square_scale=0.01),
        lambda d: masked_mean(d, uniform(d) + z_loss(d, 0.01), 9),
    ),
    Case(
        "liger-weight",
        dialects.liger(EPSILON),
        lambda d: masked_mean(d, per_class(d), d.w[d.y][d.mask].sum()),
        ("class_weight",),
    ),
    Case(
        "paddle-weight",
        dialects.paddle(EPSILON),
        lambda d: (uniform(d) * expected_weight(d)).sum() / expected_weight(d).sum(),
        ("class_weight",),
    ),
    Case("classy_vision", dialects.classy_vision(EPSILON), lambda d: uniform(d, EPSILON / (1 + EPSILON)).sum() / 20),
    Case("tinygrad", dialects.tinygrad(EPSILON), lambda d: uniform(d).sum() / 20),
    Case("tinygrad-ignore", dialects.tinygrad(EPSILON, 1), lambda d: masked_mean(d, uniform(d), 9)),
    Case("keras_mask", dialects.keras_mask(EPSILON), lambda d: masked_mean(d, uniform(d), 9), ("where",)),
    Case(
        "keras_weighted_mean",
        dialects.keras_weighted_mean(EPSILON),
        lambda d: (uniform(d) * weighted(d)).sum() / weighted(d).sum(),
        ("weight",),
    ),
    Case("keras_sparse", dialects.keras_sparse(1), lambda d: masked_mean(d, uniform(d, 0), 9)),
    Case("keras_hub", dialects.keras_hub(), lambda d: (uniform(d, 0) * weighted(d)).sum() / 20, ("weight",)),
    Case("burn", dialects.burn(EPSILON, 1), lambda d: masked_mean(d, uniform(d), 9)),
    Case(
        "burn-weight",
        dialects.burn(EPSILON, 1),
        lambda d: masked_mean(d, per_class(d), d.w[d.y][d.mask].sum()),
        ("class_weight",),
    ),
    Case("transformer_engine", dialects.transformer_engine(EPSILON), lambda d: uniform(d) * d.mask),
    Case(
        "transformer_engine-mean",
        dialects.transformer_engine(EPSILON, reduce_loss=True),
        lambda d: masked_mean(d, uniform(d), 9),
    ),
    Case("apex", dialects.apex(EPSILON), lambda d: uniform(d) * d.mask),
    Case("cut_cross_entropy", dialects.cut_cross_entropy(), lambda d: masked_mean(d, uniform(d, 0), 9)),
    Case("tokamax", dialects.tokamax(), lambda d: uniform(d, 0).sum()),
    Case("tokamax-mean", dialects.tokamax("mean"), lambda d: uniform(d, 0).sum() / 20),
    Case("huggingface_causal_lm", dialects.huggingface_causal_lm(), lambda d: masked_mean(d, uniform(d, 0), 9)),
    Case("allennlp", dialects.allennlp(EPSILON), lambda d: mean_of_means(d, uniform(d), 3), ("weight",)),
    Case(
        "allennlp-token-alpha",
        dialects.allennlp(EPSILON, "token"),
        lambda d: (uniform(d) * d.w[d.y] * weighted(d)).sum() / weighted(d).sum(),
        ("weight", "class_weight"),
    ),
    Case("marian", dialects.marian(EPSILON), lambda d: masked_mean(d, uniform(d), 1), ("where",)),
    Case(
        "marian-words",
        dialects.marian(EPSILON, "ce-mean-words"),
        lambda d: masked_mean(d, uniform(d) * d.s, 9),
        ("where", "sample_weight"),
    ),
    Case("marian-mean", dialects.marian(EPSILON, "ce-mean"), lambda d: masked_mean(d, uniform(d), 4), ("where",)),
    Case("sockeye", dialects.sockeye(EPSILON), lambda d: masked_mean(d, uniform(d), 9)),
    Case("sockeye-fairseq", dialects.sockeye(EPSILON, "fairseq"), lambda d: masked_mean(d, others(d), 9)),
    Case("gluonnlp", dialects.gluonnlp(EPSILON), uniform),
    Case("maxtext", dialects.maxtext(0.01), lambda d: masked_mean(d, uniform(d, 0) + z_loss(d, 0.01), 9), ("where",)),
    Case("speechbrain_nll", dialects.speechbrain_nll(EPSILON), lambda d: masked_mean(d, uniform(d), 9), ("where",)),
    Case(
        "speechbrain_nll-batch",
        dialects.speechbrain_nll(EPSILON, "batchmean"),
        lambda d: masked_mean(d, label_term(d), 4),
        ("where", "class_weight"),
    ),
    Case("speechbrain_kldiv", dialects.speechbrain_kldiv(EPSILON), lambda d: masked_mean(d, others(d, kl=True), 1)),
    Case(
        "speechbrain_kldiv-batch",
        dialects.speechbrain_kldiv(EPSILON, reduction="batchmean"),
        lambda d: masked_mean(d, others(d, kl=True), 4),
    ),
    Case("nemo", dialects.nemo(EPSILON), lambda d: (others(d) * weighted(d)).sum() / weighted(d).sum(), ("weight",)),
    Case("mmpretrain", dialects.mmpretrain(EPSILON), lambda d: per_class(d).sum() / 20, ("class_weight",)),
    Case(
        "mmpretrain-classy",
        dialects.mmpretrain(EPSILON, "classy_vision"),
        lambda d: (uniform(d, EPSILON / (1 + EPSILON)) * d.s).sum() / 20,
        ("sample_weight",),
    ),
    Case("mmsegmentation", dialects.mmsegmentation(), lambda d: masked_mean(d, uniform(d, 0), 20)),
    Case(
        "mmsegmentation-non-ignore",
        dialects.mmsegmentation(avg_non_ignore=True),
        lambda d: masked_mean(d, uniform(d, 0), 9),
    ),
    Case(
        "scenic",
        dialects.scenic(EPSILON),
        lambda d: (per_class(d) * weighted(d)).sum() / weighted(d).sum(),
        ("weight", "class_weight"),
    ),
    Case("mlx-mean", dialects.mlx(EPSILON, "mean"), lambda d: (uniform(d) * d.s).sum() / 20, ("sample_weight",)),
]


def test_every_dialect_has_a_case() -> None:
    assert {case.id.split("-")[0] for case in CASES} == set(DIALECTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_loss_and_gradient_are_the_formula_s(case: Case) -> None:
    d = data()
    labels = d.y if case.spec.ignore_index is None else np.where(d.mask, d.y, case.spec.ignore_index)
    given = {"where": d.mask, "sample_weight": d.s, "class_weight": d.w}
    arguments = {name: value for name, value in given.items() if name in case.arguments}
    if "weight" in case.arguments:
        arguments["sample_weight"] = weighted(d)

    loss = smoothed_cross_entropy(d.x, labels, case.spec, **arguments)
    expected = case.formula(d)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)

    cotangent = np.random.default_rng(1).normal(size=np.shape(loss))
    gradient = smoothed_cross_entropy_vjp(cotangent, d.x, labels, case.spec, **arguments)
    np.testing.assert_allclose(gradient, complex_step(case.formula, d, cotangent), rtol=0, atol=1e-12)


def complex_step(formula: Callable[[Data], Any], d: Data, cotangent: Any) -> Any:
    """The gradient of ⟨cotangent, formula⟩ without a difference, and so without its rounding."""
    gradient = np.empty_like(d.x)
    for index in np.ndindex(d.x.shape):
        x = d.x.astype(complex)
        x[index] += 1e-30j
        gradient[index] = (cotangent * np.imag(formula(d._replace(x=x)))).sum() / 1e-30
    return gradient


@pytest.mark.parametrize(
    ("name", "empty"),
    [("torch", np.nan), ("article", np.nan), ("huggingface", np.nan), ("keras", 0.0), ("liger", 0.0), ("tf_v1", 0.0)],
)
def test_a_batch_in_which_nothing_counts(name: str, empty: float) -> None:
    spec = DIALECTS[name].smoothed(EPSILON)
    nothing = np.zeros(3)
    loss = smoothed_cross_entropy(
        np.zeros((3, 4)), np.ones(3, int), spec, where=np.zeros(3, bool), sample_weight=nothing
    )
    np.testing.assert_equal(float(loss), empty)


@pytest.mark.parametrize(
    ("factor", "empty"),
    [("NUM_REAL_TARGET_TOKENS", np.nan), ("NUM_TOTAL_TARGET_TOKENS", 0.0), ("AVERAGE_PER_SEQUENCE", np.nan)],
)
def test_a_batch_without_tokens_in_t5x(factor: str, empty: float) -> None:
    spec = dialects.t5x(EPSILON, loss_normalizing_factor=factor)
    loss = smoothed_cross_entropy(np.zeros((2, 3, 4)), np.ones((2, 3), int), spec, sample_weight=np.zeros((2, 3)))
    np.testing.assert_equal(float(loss), empty)


def test_a_constant_of_t5x_is_a_normalizer() -> None:
    d = data()
    total = smoothed_cross_entropy(d.x, d.y, dialects.t5x(EPSILON), sample_weight=d.s)
    spec = dialects.t5x(EPSILON, loss_normalizing_factor="NUM_TOTAL_TARGET_TOKENS")
    mean = smoothed_cross_entropy(d.x, d.y, spec, sample_weight=d.s, normalizer=233.0)
    np.testing.assert_allclose(mean, total / 233, rtol=1e-15)


def test_the_families_are_one_family() -> None:
    """others(ε) = uniform(ε·K/(K − 1)), leaky(ε) = c·uniform(ε/c) and values(p, r) = c·uniform(r·K/c), c the mass."""
    d, k = data(), CLASSES

    def losses(spec: Spec) -> Any:
        return smoothed_cross_entropy(d.x, d.y, spec)

    def of(epsilon: float) -> Any:
        return losses(Spec(epsilon, reduction="none"))

    np.testing.assert_allclose(losses(dialects.megatron(0.1)), of(0.1 * k / (k - 1)), rtol=1e-12)
    c = 1 - 0.1 / k
    np.testing.assert_allclose(losses(dialects.pytorch_loss(0.1, "none")), c * of(0.1 / c), rtol=1e-12)
    c = 0.9 + 0.005 * (k - 1)
    np.testing.assert_allclose(losses(dialects.article(reduction="none")), c * of(0.005 * k / c), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.smoothing is not None])
@pytest.mark.parametrize(
    ("smoothing", "reason"),
    [
        (-0.1, "label_smoothing_out_of_range"),
        (1.1, "label_smoothing_out_of_range"),
        (float("nan"), "label_smoothing_out_of_range"),
        ("0.1", "label_smoothing_not_a_number"),
        (None, "label_smoothing_not_a_number"),
    ],
)
def test_a_bad_smoothing_is_refused(name: str, smoothing: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        DIALECTS[name].smoothed(smoothing)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: dialects.torch(reduction="average"), "unknown_reduction"),
        (lambda: dialects.keras(reduction="average"), "unknown_reduction"),
        (lambda: dialects.keras(reduction=["sum"]), "unknown_reduction"),  # type: ignore[arg-type]  # bad on purpose
        (lambda: dialects.tf_v1(reduction="mean"), "unknown_reduction"),
        (lambda: dialects.tokamax("none"), "unknown_reduction"),
        (lambda: dialects.speechbrain_nll(reduction="batch"), "unknown_reduction"),
        (lambda: dialects.speechbrain_kldiv(reduction="batch"), "unknown_reduction"),
        (lambda: dialects.allennlp(average=None), "unknown_average"),  # type: ignore[arg-type]  # same
        (lambda: dialects.sockeye(label_smoothing_impl="marian"), "unknown_label_smoothing_impl"),
        (lambda: dialects.classy_vision(reduction="sum"), "unknown_reduction"),
        (lambda: dialects.marian(cost_type="ce-rescore"), "unknown_cost_type"),
        (lambda: dialects.mmpretrain(0.1, mode="multi_label"), "unknown_mode"),
        (lambda: dialects.article(lb_neg=-0.1), "values_out_of_range"),
        (lambda: dialects.article(ignore_index=2.5), "ignore_index_not_an_integer"),  # type: ignore[arg-type]  # same
        (lambda: dialects.opennmt(0.1, -1), "exclude_not_classes"),
        (lambda: dialects.t5x(z_loss=-1e-4), "z_loss_out_of_range"),
        (lambda: dialects.t5x(loss_normalizing_factor="TOKENS"), "unknown_loss_normalizing_factor"),
        (lambda: dialects.t5x(loss_normalizing_factor=233.0), "unknown_loss_normalizing_factor"),  # type: ignore[arg-type]  # same
    ],
)
def test_a_bad_argument_is_refused(call: Callable[[], Spec], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.reason == reason
