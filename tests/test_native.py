"""``Spec.as_native``: what the code says, and what is refused. It runs in the rooms' tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

import multismooth
from multismooth import InputError, Spec, dialects
from tests.native_snippets import RUNNER, keyword_names, specs
from tests.native_snippets import dialects as every_dialect
from tests.test_spec import specs as any_spec

FRAMEWORKS = {
    "torch": {"torch", "torch.nn"},
    "optax": {"jax", "jax.numpy", "optax"},
    "keras": {"keras"},
    "tensorflow": {"tensorflow"},
}
EVERY = pytest.mark.parametrize("framework", FRAMEWORKS)


def last(spec: Spec, framework: str) -> str:
    return spec.as_native(framework).splitlines()[-1].strip()


@EVERY
def test_it_is_one_function_with_its_imports(framework: str) -> None:
    for spec in [*specs(), *every_dialect().values()]:
        code = spec.as_native(framework)
        *imports, function = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef)
        assert function.name == "loss"
        modules = {a.name for n in imports if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module for n in imports if isinstance(n, ast.ImportFrom) and n.module}
        assert modules == FRAMEWORKS[framework]
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        assert {(a.asname or a.name).split(".")[0] for n in imports for a in n.names} - {
            "torch",
            "jax",
            "optax",
            "keras",
        } <= used


@EVERY
def test_it_is_short(framework: str) -> None:
    for spec in [*specs(), *every_dialect().values()]:
        lines = spec.as_native(framework).splitlines()
        assert len(lines) <= 45
        assert max(map(len, lines)) <= 140


@EVERY
def test_no_name_is_bound_for_nothing(framework: str) -> None:
    for spec in specs():
        names = [n for n in ast.walk(ast.parse(spec.as_native(framework))) if isinstance(n, ast.Name)]
        bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        assert bound <= {name.id for name in names if isinstance(name.ctx, ast.Load)}, spec


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (dialects.torch(), "return F.cross_entropy(logits, labels, weight=class_weight)"),
        (dialects.torch(0.1), "return F.cross_entropy(logits, labels, weight=class_weight, label_smoothing=0.1)"),
        (dialects.huggingface(0.1), "return F.cross_entropy(logits, labels, label_smoothing=0.1)"),
        (dialects.tinygrad(0.1, 3), "return F.cross_entropy(logits, labels, ignore_index=3, label_smoothing=0.1)"),
        (
            dialects.fairseq_2020(0.1),
            'return F.cross_entropy(logits, labels, ignore_index=1, label_smoothing=0.1, reduction="sum")',
        ),
        (
            dialects.fairseq(0.1),
            'return F.cross_entropy(logits, labels, ignore_index=1, label_smoothing=smoothing, reduction="sum")',
        ),
        (
            dialects.pytorch_loss(0.1),
            "return mass * F.cross_entropy(logits, labels, label_smoothing=smoothing)",
        ),
        (
            dialects.article(),
            "return mass * F.cross_entropy(logits, labels, ignore_index=255, label_smoothing=smoothing)",
        ),
    ],
    ids=str,
)
def test_pytorch_s_own_loss_is_the_last_line(spec: Spec, line: str) -> None:
    assert last(spec, "torch") == line


@pytest.mark.parametrize(
    ("spec", "framework", "call"),
    [
        (dialects.optax(0.1), "optax", "optax.softmax_cross_entropy(logits, target)"),
        (dialects.optax(0.1), "optax", "optax.smooth_labels(hit, 0.1)"),
        (dialects.optax(), "optax", "optax.softmax_cross_entropy_with_integer_labels(logits, labels)"),
        (dialects.article(), "optax", "optax.softmax_cross_entropy(logits, target)"),
        (dialects.t5x(0.1), "optax", "optax.kl_divergence(log_p, target)"),
        (dialects.t5x(0.1), "torch", 'F.kl_div(log_p, target, reduction="none").sum(-1)'),
        (dialects.keras(0.1), "keras", "keras.losses.categorical_crossentropy(target, logits, from_logits=True)"),
        (dialects.keras(), "keras", "keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)"),
        (dialects.tf_v1(0.1), "tensorflow", "tf.nn.softmax_cross_entropy_with_logits(target, logits)"),
        (dialects.tf_v1(), "tensorflow", "tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)"),
    ],
    ids=str,
)
def test_a_framework_s_own_loss_is_taken_where_it_computes_the_spec(spec: Spec, framework: str, call: str) -> None:
    assert call in spec.as_native(framework)


@pytest.mark.parametrize("framework", ["tensorflow", "keras"])
def test_a_loss_whose_gradient_takes_the_mass_for_1_is_not_taken(framework: str) -> None:
    assert "crossentropy" not in dialects.article().as_native(framework)
    assert "cross_entropy" not in dialects.pytorch_loss(0.1).as_native(framework)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (Spec(), ["where"]),
        (Spec(ignore_index=0), []),
        (Spec(denominator="weights"), ["sample_weight"]),
        (Spec(denominator="sequences", ignore_index=0), ["sample_weight"]),
        (Spec(denominator="class_weights"), ["where", "class_weight"]),
        (Spec(denominator="class_weights", ignore_index=0), ["class_weight"]),
        (Spec(denominator="class_weights", kl=True), ["where"]),
        (Spec(class_weight_rule="expected"), ["where", "class_weight"]),
        (Spec(class_weight_rule="label_term", denominator="weights"), ["sample_weight", "class_weight"]),
    ],
    ids=str,
)
@EVERY
def test_it_takes_the_arrays_that_the_spec_speaks_of(spec: Spec, names: list[str], framework: str) -> None:
    assert keyword_names(spec.as_native(framework)) == names


@EVERY
def test_a_deviation_is_told(framework: str) -> None:
    told = {"torch": "# A label outside [0, K) is an error"}.get(framework, "# Check the labels first")
    assert told in Spec(0.1).as_native(framework)
    assert told not in Spec(0.1, out_of_range="nan").as_native(framework)


def holds(framework: str, spec: Spec) -> bool:
    """Whether the framework's labels can be all that the spec names."""
    bits = 63 if framework == "torch" else 31
    return all(-(2**bits) <= label < 2**bits for label in (spec.ignore_index or 0, *spec.exclude))


@EVERY
@given(spec=any_spec())
def test_every_spec_has_code_or_a_reason(framework: str, spec: Spec) -> None:
    if holds(framework, spec):
        code = spec.as_native(framework)
        compile(code, "snippet", "exec")
        assert code == Spec.from_json(spec.to_json()).as_native(framework)
    else:
        with pytest.raises(InputError) as caught:
            spec.as_native(framework)
        assert caught.value.reason == "native_label_too_large"


@pytest.mark.parametrize("framework", ["jax", "Torch", "", None, 1, ["torch"], "x" * 1000], ids=lambda x: str(x)[:9])
def test_another_framework_is_refused(framework: object) -> None:
    with pytest.raises(InputError, match=r"^Spec\.as_native: framework is .+\. Pass one of 'torch', ") as caught:
        Spec().as_native(framework)
    assert caught.value.reason == "unknown_framework"
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize(
    ("framework", "fits", "too_large"),
    [("torch", 2**63 - 1, 2**63), *((name, 2**31 - 1, 2**31) for name in ("optax", "keras", "tensorflow"))],
)
def test_a_label_that_the_framework_cannot_hold_is_refused(framework: str, fits: int, too_large: int) -> None:
    for spec in (Spec(ignore_index=fits), Spec(ignore_index=-fits - 1), Spec(exclude=(fits,))):
        assert spec.as_native(framework)
    for spec in (Spec(ignore_index=too_large), Spec(exclude=(0, too_large))):
        with pytest.raises(InputError, match=f"and {framework}'s own functions take labels of") as caught:
            spec.as_native(framework)
        assert caught.value.reason == "native_label_too_large"
    if framework != "torch":
        with pytest.raises(InputError, match="ignore_index=-2147483649"):
            Spec(ignore_index=-too_large - 1).as_native(framework)


def test_a_spec_alone_does_not_load_the_tools() -> None:
    code = "import multismooth, sys; multismooth.Spec(); print('multismooth.porting' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_snippets_are_not_run_where_multismooth_is(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-I",
        "-S",
        str(RUNNER),
        "torch",
        str(tmp_path),
        str(Path(multismooth.__file__).parents[1]),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("AssertionError: multismooth is installed here")
