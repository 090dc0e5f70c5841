"""What the porting tools say, and that it is so."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from multismooth import InputError, Spec, dialects
from multismooth.cli import app
from multismooth.dialects import DIALECTS, INEXPRESSIBLE
from multismooth.lowering import smooths
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
from multismooth.porting import Identification, compare, explain, identify, loss, render, target
from multismooth.porting.batches import batches, outcome, read
from multismooth.porting.explain import CLASS_WEIGHTS, DENOMINATORS, SPREAD
from multismooth.spec import CLASS_WEIGHT_RULES, SPREADS
from multismooth.spec import DENOMINATORS as ALL_DENOMINATORS

K = 7


# --- a loss by its name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIALECTS)
def test_a_name_is_its_dialect(name: str) -> None:
    assert loss(name, 0.3).spec == DIALECTS[name].smoothed(0.3)
    assert loss(name, 0.3) == loss(loss(name, 0.3))


def test_a_file_is_its_spec(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    Spec(0.2, "leaky").save(path)
    assert loss(path).spec == loss(str(path)).spec == loss(Spec(0.2, "leaky")).spec == Spec(0.2, "leaky")


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ("torhc", "unknown_dialect", "Did you mean torch"),
        ("Flash-Attention", "unknown_dialect", "Did you mean flash_attention"),
        ("xyzzy", "unknown_dialect", "multismooth list"),
        ("fastai", "no_spec", "two denominators"),
        ("missing.json", "unreadable_file", "missing.json cannot be read"),
    ],
)
def test_what_is_no_loss_is_refused(given: str, reason: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        loss(given)
    assert caught.value.reason == reason


# --- explain ------------------------------------------------------------------------------------------------------


def test_every_choice_has_words() -> None:
    assert set(SPREAD) == set(SPREADS)
    assert set(CLASS_WEIGHTS) == set(CLASS_WEIGHT_RULES)
    assert set(DENOMINATORS) == set(ALL_DENOMINATORS)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("classes", [2, 7, 32000])
def test_the_target_is_the_gradients(name: str, classes: int) -> None:
    """At equal logits the gradient is (mass + 2·z_loss·lse)/K − q."""
    spec = replace(DIALECTS[name].smoothed(0.3), reduction="sum", z_loss=0.0, ignore_index=None)
    found = explain(name, classes, 0.3).target
    label = classes - 1
    gradient = smoothed_cross_entropy_vjp(1.0, np.zeros((1, classes)), np.array([label]), spec)[0]
    q = found.mass / classes - gradient
    expected = np.full(classes, found.off)
    expected[[k for k in spec.exclude if k < classes]] = 0
    expected[label] = found.on
    if label not in spec.exclude:
        np.testing.assert_allclose(q, expected, rtol=0, atol=1e-15)
        assert found.mass == pytest.approx(expected.sum(), rel=1e-12)
        assert found.entropy == pytest.approx(-sum(x * math.log(x) for x in expected if x > 0), rel=1e-12)


def test_the_explanation_of_one_loss() -> None:
    found = explain("opennmt", 10)
    assert found.formula == "q_y = 1 − ε, q_k = ε/((K − 1) − 1);  ℓ = Σ_k q_k·(−log p_k) − H(q);  L = Σ m·s·ℓ"
    assert "none for the classes 1" in found.words
    assert found.target.receivers == 8
    assert found.divisor == "nothing: a sum"
    assert found.masked.startswith("the label 1, ")
    assert found.standing == "executed"
    assert "onmt/utils/loss.py" in found.source


@pytest.mark.parametrize(
    ("spec", "reduction"),
    [
        (Spec(), "L = Σ m·s·ℓ / (Σ m)"),
        (Spec(reduction="none"), "L = m·s·ℓ"),
        (Spec(denominator="sequences"), "L = Σ_b (Σ m·s·ℓ / Σ m·s) / B"),
        (Spec(z_loss=0.25), "L = Σ m·s·ℓ / (Σ m)"),
    ],
)
def test_the_reduction_in_symbols(spec: Spec, reduction: str) -> None:
    assert explain(spec).formula.endswith(reduction)
    assert ("lse²" in explain(spec).formula) == (spec.z_loss > 0)


@pytest.mark.parametrize(
    ("spec", "edges"),
    [
        (Spec(), ["an error where values can be read, NaN in its row elsewhere", "0, and the gradient is 0"]),
        (Spec(out_of_range="nan", empty="nan"), ["NaN in its row", "NaN, and the gradient is 0"]),
        (Spec(reduction="sum"), ["an error where values can be read, NaN in its row elsewhere"]),
    ],
)
def test_the_edges_in_words(spec: Spec, edges: list[str]) -> None:
    *found, infinite = explain(spec).edges
    assert [edge.partition(": ")[2] for edge in found] == edges
    assert infinite.startswith("a −inf logit")


def test_a_target_in_words() -> None:
    assert explain("keras_sparse").formula.startswith("q = e_y;")
    assert explain("keras_sparse").words == "the label alone"
    assert explain("article").formula.startswith("q_y = 0.9, q_k = 0.005;")
    assert target(Spec(values=(0.9, 0.05), exclude=(0,)), 2)[:4] == (0.9, 0.0, 0, 0.9)


@pytest.mark.parametrize("classes", [1, 0, True, 2.0, "10"])
def test_too_few_classes_are_refused(classes: Any) -> None:
    with pytest.raises(InputError) as caught:
        explain("torch", classes)
    assert caught.value.reason == "bad_classes"


# --- compare ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIALECTS)
def test_a_loss_is_itself(name: str) -> None:
    found = compare(name, name, K)
    assert found.same
    assert not found.parameters
    assert not found.remaining
    assert found.distance.loss == found.distance.gradient == found.distance.angle == 0


CHANGES: dict[str, dict[str, Any]] = {
    "target": {"spread": "others"},
    "class_weight_rule": {"class_weight_rule": "expected"},
    "kl": {"kl": True},
    "z_loss": {"z_loss": 0.1},
    "ignore_index": {"ignore_index": 2},
    "out_of_range": {"out_of_range": "nan"},
    "reduction": {"reduction": "sum"},
    "empty": {"empty": "nan"},
}
WHEN = {
    "class_weight_rule": ("with class weights",),
    "ignore_index": ("with the label 2",),
    "out_of_range": ("with a label out of range",),
    "empty": ("where nothing counts", "without positions"),
}


@pytest.mark.parametrize("choice", CHANGES)
def test_each_choice_is_found_alone(choice: str) -> None:
    (found,) = compare(Spec(0.1), Spec(0.1, **CHANGES[choice]), K).differences
    assert found.choice == choice
    assert found.when == WHEN.get(choice, ("always",))
    assert found.gradient == (choice not in ("kl", "empty"))


MASKED = ("with a mask", "with sample weights", "with class weights")
"""The three batches that have a mask."""
BY_DENOMINATOR = {
    "all": MASKED,
    "batch": ("always",),
    "weights": ("with sample weights",),
    "nonzero_weights": ("with sample weights",),
    "class_weights": ("with class weights",),
    "expected_class_weights": ("with class weights",),
    "sequences": MASKED,
    "nonempty_sequences": MASKED,
}


def test_no_denominator_is_left_out() -> None:
    assert {"valid", *BY_DENOMINATOR} == set(ALL_DENOMINATORS)


@pytest.mark.parametrize("denominator", BY_DENOMINATOR)
def test_each_denominator_is_found(denominator: str) -> None:
    (found,) = compare(Spec(0.1), Spec(0.1, denominator=denominator), K).differences
    assert found.choice == "reduction"
    assert found.when == BY_DENOMINATOR[denominator]
    assert found.gradient


def test_a_little_is_a_difference_too() -> None:
    assert not compare(Spec(0.1), Spec(0.1 + 1e-9), K).same
    assert not compare(Spec(0.1, z_loss=0.1), Spec(0.1, z_loss=0.1 + 1e-9), K).same


def test_z_loss_and_entropy_know_no_factor() -> None:
    """They are not part of the target, and so its mass is no factor of theirs."""
    for rest in ({"z_loss": 0.1}, {"kl": True}):
        found = compare(Spec(0.1, **rest), Spec(0.1, "leaky", **rest), K)
        assert found.factor == 1
        assert [difference.choice for difference in found.remaining] == ["target"]


def test_a_coefficient_of_the_z_loss_is_a_parameter() -> None:
    assert compare("liger", Spec(0.1, z_loss=0.01, ignore_index=-100), K).parameters == {"lse_square_scale": 0.01}


def test_a_mean_by_another_divisor_is_nearer_than_a_sum() -> None:
    found = compare("keras_weighted_mean", "timm", K)
    assert found.parameters == {}
    assert compare("tf_v1", "huggingface", K).parameters.get("reduction") != "weighted_sum"


def test_what_does_not_show_is_no_difference() -> None:
    """With ε = 0 there is nothing to spread."""
    assert compare(Spec(0.0), Spec(0.0, "others", exclude=(3,)), K).same


TRANSFORMATIONS: list[tuple[str, str, int, dict[str, Any], float, list[str]]] = [
    ("huggingface", "fairseq", 32000, {"epsilon": 0.1 * 32000 / 31999, "ignore_index": 1}, 1.0, ["reduction"]),
    ("fairseq", "fairseq_2020", 10, {"label_smoothing": 0.1 * 9 / 10}, 1.0, []),
    ("timm", "classy_vision", 10, {"smoothing": 0.1 / 1.1}, 1.0, ["empty"]),
    ("classy_vision", "timm", 10, {"smoothing_param": 0.1 / 0.9}, 1.0, ["empty"]),
    ("huggingface", "pytorch_loss", 10, {"epsilon": 0.1 / 0.99}, 0.99, []),
    ("huggingface", "article", 10, {"epsilon": 0.05 / 0.945, "ignore_index": 255}, 0.945, []),
    ("article", "huggingface", 10, {"lb_pos": 0.91, "lb_neg": 0.01, "ignore_index": -100}, 1.0, []),
    ("keras_weighted_mean", "keras", 10, {}, 1.0, ["reduction"]),
    ("tf_v1", "keras_weighted_mean", 10, {"reduction": "weighted_mean"}, 1.0, []),
    ("t5x", "flax_wmt", 10, {"loss_normalizing_factor": "NUM_REAL_TARGET_TOKENS"}, 1.0, ["ignore_index"]),
    ("espnet", "speechbrain_kldiv", 10, {"padding_idx": 0}, 1.0, ["reduction"]),
    ("liger", "flash_attention", 10, {}, 1.0, ["reduction", "empty"]),
]


@pytest.mark.parametrize(("a", "b", "classes", "parameters", "factor", "remaining"), TRANSFORMATIONS)
def test_what_makes_them_the_same(
    a: str, b: str, classes: int, parameters: dict[str, Any], factor: float, remaining: list[str]
) -> None:
    found = compare(a, b, classes)
    assert [difference.choice for difference in found.remaining] == remaining
    assert found.parameters.keys() == parameters.keys()
    for name, value in parameters.items():
        assert found.parameters[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-14))
    assert found.factor == pytest.approx(factor, rel=1e-14)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("other", ["torch", "t5x"])
def test_the_parameters_do_what_they_promise(name: str, other: str) -> None:
    """On a batch of its own: nothing but what is named as remaining is left."""
    for a, b in ((name, other), (other, name)):
        found = compare(a, b, K)
        row = DIALECTS[a]
        adapted = row.spec(**(loss(a).arguments() | found.parameters))
        wanted = DIALECTS[b].smoothed(0.1)
        left = {difference.choice for difference in found.remaining if difference.when == ("always",)}
        random = np.random.default_rng(1)
        logits, labels = random.normal(size=(4, 5, K)), random.integers(3, K, (4, 5))
        if not left:
            one = smoothed_cross_entropy(logits, labels, adapted) * found.factor
            np.testing.assert_allclose(one, smoothed_cross_entropy(logits, labels, wanted), rtol=1e-12)
        if not left - {"kl"}:
            slope, other_slope = (gradient(logits, labels, spec) for spec in (adapted, wanted))
            np.testing.assert_allclose(slope * found.factor, other_slope, rtol=0, atol=1e-13)


def gradient(logits: Any, labels: Any, spec: Spec) -> Any:
    loss = smoothed_cross_entropy(logits, labels, spec)
    return smoothed_cross_entropy_vjp(np.ones_like(loss), logits, labels, spec)


def test_the_nearest_keeps_what_is_its_own() -> None:
    """Neither a sum for a mean nor an ignored label is given away for nothing."""
    found = compare("keras", "torch", K)
    assert found.parameters == {"ignore_class": -100}
    assert [difference.choice for difference in found.remaining] == ["reduction", "empty"]


def test_the_distance_on_a_batch_of_ones_own(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    arrays = {"logits": random.normal(size=(2, 3, K)), "labels": random.integers(2, K, (2, 3))}
    np.savez(tmp_path / "batch.npz", **arrays, sample_weight=np.ones((2, 3)))
    found = compare("timm", "fairseq_2020", K, batch=read(tmp_path / "batch.npz"))
    assert found.distance.loss == pytest.approx(5)
    assert found.distance.gradient == pytest.approx(5)
    assert found.distance.angle == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.distance.losses[0], smoothed_cross_entropy(**arrays, spec=dialects.timm(0.1)))


def test_the_angle_between_gradients() -> None:
    found, arrays = compare("torch", "article", K), batches(K, (-100, 255))["with a mask"]
    one, other = (outcome(loss(name).spec, arrays).gradient.ravel() for name in ("torch", "article"))
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert found.distance.angle == pytest.approx(math.degrees(math.acos(cosine)), rel=1e-6)
    assert found.distance.gradient == pytest.approx(np.linalg.norm(other - one) / np.linalg.norm(one))
    assert found.distance.angle > 0.5


def test_batches_show_what_they_are_for() -> None:
    found = batches(K, (2, -100))
    assert list(found)[:4] == ["always", "with a mask", "with sample weights", "with class weights"]
    assert {"with the label -100", "with the label 2"} < set(found)
    assert not np.isin(found["always"]["labels"], (0, 1, 2, -100)).any()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"logits": np.zeros((2, K))}, "not_a_batch"),
        ({"logits": np.zeros((2, K)), "labels": np.zeros(2, int), "mask": np.ones(2)}, "not_a_batch"),
        ({"logits": np.array([None]), "labels": np.zeros(1, int)}, "unreadable_file"),
    ],
)
def test_what_is_no_batch_is_refused(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    np.savez(tmp_path / "batch.npz", **arrays)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "batch.npz")
    assert caught.value.reason == reason


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "batch.npz").write_text("no archive")
    np.save(tmp_path / "batch.npy", np.zeros(3))
    for name in ("batch.npz", "batch.npy", "missing.npz"):
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert caught.value.reason == "unreadable_file"


def test_a_batch_of_other_classes_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        compare("torch", "timm", K, batch={"logits": np.zeros((2, K + 1)), "labels": np.zeros(2, int)})
    assert caught.value.reason == "other_classes"
    with pytest.raises(InputError, match="the batch is none for"):
        compare("torch", "timm", K, batch={"logits": np.zeros((2, K)), "labels": np.full(2, K)})


# --- the command line ---------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_list() -> None:
    code, text = run("list")
    assert code == 0
    for name in (*DIALECTS, *INEXPRESSIBLE):
        assert f" {name} " in text
    found = json.loads(run("list", "--json")[1])
    assert [row["name"] for row in found["dialects"]] == list(DIALECTS)
    assert found["dialects"][0]["spec"]["denominator"] == "class_weights"
    assert found["dialects"][0]["source"]["repository"] == "pytorch/pytorch"
    assert [row["name"] for row in found["inexpressible"]] == list(INEXPRESSIBLE)


@pytest.mark.parametrize("name", DIALECTS)
def test_explain(name: str) -> None:
    code, text = run("explain", name, "--classes", "9")
    assert code == 0
    assert DIALECTS[name].library in text
    assert "█" in text
    found = json.loads(run("explain", name, "--json")[1])
    assert Spec.from_json(json.dumps(found["spec"])) == DIALECTS[name].smoothed(0.1)


def test_compare_exits_1_where_they_differ() -> None:
    assert run("compare", "torch", "torch")[0] == 0
    code, text = run("compare", "huggingface", "fairseq", "--classes", "32000")
    assert code == 1
    assert "huggingface(epsilon=0.100003125" in text
    code, text = run("compare", "huggingface", "fairseq", "--classes", "32000", "--json")
    found = json.loads(text)
    assert code == 1
    assert found["same"] is False
    assert found["parameters"]["ignore_index"] == 1
    assert [difference["choice"] for difference in found["remaining"]] == ["reduction"]


def test_compare_takes_files(tmp_path: Path) -> None:
    Spec(0.1, empty="nan", ignore_index=-100).save(tmp_path / "loss.json")
    np.savez(tmp_path / "batch.npz", logits=np.zeros((2, 4)), labels=np.ones(2, int))
    batch = ("--classes", "4", "--batch", str(tmp_path / "batch.npz"))
    assert run("compare", str(tmp_path / "loss.json"), "huggingface", *batch)[0] == 0


@pytest.mark.parametrize("command", [("explain", "t5x", "--classes", "32000"), ("compare", "opennmt", "article")])
def test_pictures(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "picture.png"
    run(*command, "--plot", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [("explain", "torhc"), ("compare", "torch", "fastai")])
def test_a_bad_name_is_one_sentence(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "multismooth", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


LOSS = """
from multismooth import Spec
from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp

def loss(logits, labels, spec=Spec(0.1, "others", ignore_index=1, reduction="sum")):
    value = smoothed_cross_entropy(logits, labels, spec)
    return value, lambda g: smoothed_cross_entropy_vjp(g, logits, labels, spec)

def broken(logits, labels):
    value, pullback = loss(logits, labels)
    return value, lambda g: 2 * pullback(g)
"""


def test_identify_is_a_port_in_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left_behind.py").write_text(LOSS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, text = run("identify", "left_behind:loss", "--framework", "numpy", "--save", "loss.json")
    assert code == 0
    assert Spec.load("loss.json") == dialects.fairseq(0.1)
    assert run("compare", "loss.json", "fairseq")[0] == 0
    found = Identification.from_json(run("identify", "left_behind:loss", "--framework", "numpy", "--json")[1])
    assert found.spec == dialects.fairseq(0.1)
    assert str(found).splitlines()[0] == text.splitlines()[0] == repr(dialects.fairseq(0.1))
    assert run("identify", "left_behind:broken", "--framework", "numpy")[0] == 1


@pytest.mark.parametrize(
    ("where", "framework", "reason"),
    [
        ("no_such_module:loss", "numpy", "no_such_callable"),
        ("json:nothing", "numpy", "no_such_callable"),
        ("json", "numpy", "no_such_callable"),
        ("json:__name__", "numpy", "not_callable"),
        ("json:dumps", "caffe", "unknown_framework"),
        ("json:dumps", "jax", "framework_missing"),
    ],
)
def test_what_cannot_be_identified(where: str, framework: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(InputError) as caught:
        run("identify", where, "--framework", framework)
    assert caught.value.reason == reason


def test_an_argument_that_no_loss_has() -> None:
    with pytest.raises(InputError) as caught:
        identify(lambda logits, labels: logits.sum(), "numpy", arguments={"mask": "mask"})
    assert caught.value.reason == "unknown_argument"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": null, "nearest": 1}'])
def test_what_is_no_identification(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Identification.from_json(text)
    assert caught.value.reason in ("not_an_identification", "spec_not_object")


def test_a_bar_is_as_long_as_its_probability() -> None:
    for probability in (0.0, 0.3, 0.5, 1.0):
        assert abs(len(render.bar(probability)) - probability * render.WIDTH) <= 1
    assert render.bar(2.0) == render.bar(1.0)


def test_smoothing_spreads_over_the_other_classes() -> None:
    for name, row in DIALECTS.items():
        assert (target(row.smoothed(0.1), K).off > 0) == smooths(row.smoothed(0.1)), name
