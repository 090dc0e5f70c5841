"""``Spec``: what it refuses, and that it is plain, exact data."""

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multismooth import InputError, Spec
from multismooth.porting.native import source
from multismooth.spec import (
    CLASS_WEIGHT_RULES,
    DENOMINATORS,
    EMPTY,
    LARGEST,
    OUT_OF_RANGE,
    REDUCTIONS,
    SPREADS,
    as_spec,
)

NAN, INF = math.nan, math.inf
HUGE = 10**400
"""an integer that no float can hold"""

CHANGED = {
    "label_smoothing": 0.1,
    "spread": "others",
    "values": (0.9, 0.005),
    "exclude": (0, 3),
    "kl": True,
    "class_weight_rule": "expected",
    "z_loss": 1e-4,
    "ignore_index": -100,
    "out_of_range": "nan",
    "reduction": "none",
    "denominator": "sequences",
    "empty": "nan",
}
"""Each field with a value that is not its default."""

BAD = [
    *[("label_smoothing_out_of_range", {"label_smoothing": x}) for x in (-0.1, -1e-300, 1.0000001, 2, NAN, INF, -INF)],
    *[("label_smoothing_out_of_range", {"label_smoothing": x}) for x in (np.float32("nan"), np.float64(1.5), HUGE)],
    *[("label_smoothing_not_a_number", {"label_smoothing": x}) for x in ("0.1", None, True, [0.1], 0.1j, np.True_)],
    ("label_smoothing_not_a_number", {"label_smoothing": np.array([0.1])}),
    *[("z_loss_out_of_range", {"z_loss": x}) for x in (-1e-4, NAN, INF, HUGE)],
    *[("z_loss_not_a_number", {"z_loss": x}) for x in ("0", None, False, 1j)],
    *[("values_not_a_pair", {"values": x}) for x in (0.9, "ab", (), (0.9,), (0.9, 0.1, 0.0), {0.9: 0, 0.1: 1})],
    *[("values_not_a_number", {"values": x}) for x in ((True, 0.1), ("0.9", 0.1), (0.9, None), ((0.9, 0.1), 0.1))],
    *[("values_out_of_range", {"values": x}) for x in ((-0.1, 0.1), (0.9, -0.1), (NAN, 0), (0.9, INF), (HUGE, 0))],
    *[("exclude_not_classes", {"exclude": x}) for x in (1, "01", None, (-1,), (1.0,), (True,), {0}, ("0",), ((0,),))],
    ("exclude_not_classes", {"exclude": (2**64,)}),
    *[("ignore_index_not_an_integer", {"ignore_index": x}) for x in (1.0, NAN, True, "255", (255,), np.float32(3))],
    *[("ignore_index_out_of_range", {"ignore_index": x}) for x in (2**64, -(2**63) - 1, 10**5000)],
    *[("kl_not_bool", {"kl": x}) for x in (0, 1, None, "yes", np.True_)],
    *[(f"unknown_{field}", {field: x}) for field in ("spread", "reduction") for x in ("", "Mean", None, 1, True, ())],
    ("unknown_spread", {"spread": "unifrom"}),
    ("unknown_spread", {"spread": ["uniform"]}),
    ("unknown_class_weight_rule", {"class_weight_rule": "column"}),
    ("unknown_out_of_range", {"out_of_range": "ignore"}),
    ("unknown_denominator", {"denominator": "tokens"}),
    ("unknown_empty", {"empty": 0}),
    ("values_exclude_smoothing", {"values": (0.9, 0.1), "label_smoothing": 0.1}),
    ("values_exclude_smoothing", {"values": (0.9, 0.1), "spread": "others"}),
    ("values_exclude_smoothing", {"values": (0.9, 0.1), "spread": "leaky"}),
    ("label_term_needs_uniform", {"class_weight_rule": "label_term", "spread": "others"}),
    ("label_term_needs_uniform", {"class_weight_rule": "label_term", "spread": "leaky"}),
    ("label_term_needs_uniform", {"class_weight_rule": "label_term", "values": (0.9, 0.1)}),
]


def specs() -> st.SearchStrategy[Spec]:
    """Every spec that is valid."""
    rest = {
        "exclude": st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
        "kl": st.booleans(),
        "z_loss": st.floats(0, 1e300),
        "ignore_index": st.none() | st.integers(-(2**63), 2**64 - 1),
        "out_of_range": st.sampled_from(OUT_OF_RANGE),
        "reduction": st.sampled_from(REDUCTIONS),
        "denominator": st.sampled_from(DENOMINATORS),
        "empty": st.sampled_from(EMPTY),
    }
    smoothing = st.floats(0, 1)
    uniform = st.builds(Spec, smoothing, class_weight_rule=st.sampled_from(CLASS_WEIGHT_RULES), **rest)
    rules = st.sampled_from([rule for rule in CLASS_WEIGHT_RULES if rule != "label_term"])
    spread = st.builds(Spec, smoothing, st.sampled_from(SPREADS), class_weight_rule=rules, **rest)
    pairs = st.tuples(st.floats(0, 1e300), st.floats(0, 1e300))
    return uniform | spread | st.builds(Spec, values=pairs, class_weight_rule=rules, **rest)


@pytest.mark.parametrize(("reason", "options"), BAD, ids=[f"{i}-{reason}" for i, (reason, _) in enumerate(BAD)])
def test_bad_values_are_refused(reason: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Spec(**options)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("reason", "options"), [case for case in BAD if len(case[1]) == 1][::5])
def test_a_message_names_the_field_and_a_remedy(reason: str, options: dict[str, Any]) -> None:
    (field,) = options
    with pytest.raises(InputError, match=rf"^Spec: {field} is .+\. Pass .+\.$"):
        Spec(**options)


def test_a_message_shows_the_value_that_was_given() -> None:
    with pytest.raises(InputError) as caught:
        Spec(label_smoothing=1.5)
    assert str(caught.value) == "Spec: label_smoothing is 1.5. Pass a number from 0 to 1."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 78, repr("x" * 78)),
        ("x" * 79, "'" + "x" * 78 + "…"),
        (np.zeros((2, 2)), "array([[0., 0.],        [0., 0.]])"),
    ],
    ids=["80", "81", "lines"],
)
def test_a_message_shows_one_line_of_at_most_80_characters(value: Any, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        Spec(label_smoothing=value)
    assert str(caught.value) == f"Spec: label_smoothing is {shown}. Pass a number."


def test_every_field_has_a_changed_value_here() -> None:
    assert [field.name for field in fields(Spec)] == list(CHANGED)


@pytest.mark.parametrize("smoothing", [0, 1, 0.0, 1.0, 5e-324, Fraction(1, 10), np.float16(0.5), np.int8(1)], ids=repr)
def test_every_real_number_will_do(smoothing: Any) -> None:
    spec = Spec(smoothing)
    assert type(spec.label_smoothing) is float
    assert spec.label_smoothing == float(smoothing)


@pytest.mark.parametrize("field", CHANGED)
def test_it_is_frozen(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(Spec(), field, CHANGED[field])


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_makes_a_difference(field: str) -> None:
    changed = Spec(**{field: CHANGED[field]})
    assert changed != Spec()
    assert hash(changed) != hash(Spec())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"label_smoothing": 0.5}, {"label_smoothing": np.float32(0.5)}),
        ({"label_smoothing": 1.0}, {"label_smoothing": 1}),
        ({"label_smoothing": 0.0}, {"label_smoothing": -0.0}),
        ({"z_loss": 0.25}, {"z_loss": np.float32(0.25)}),
        ({"ignore_index": 255}, {"ignore_index": np.uint8(255)}),
        ({"exclude": (1, 3)}, {"exclude": [np.int64(3), 1, 3]}),
        ({"values": (1.0, 0.5)}, {"values": [np.float16(1), np.float32(0.5)]}),
    ],
    ids=repr,
)
def test_equal_numbers_of_any_type_make_equal_specs(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    a, b = Spec(**ours), Spec(**theirs)
    assert a == b
    assert hash(a) == hash(b)
    assert a.to_json().replace("-0.0", "0.0") == b.to_json().replace("-0.0", "0.0")


@pytest.mark.parametrize("field", CHANGED)
def test_repr_shows_what_differs_from_the_defaults(field: str) -> None:
    assert repr(Spec(**{field: CHANGED[field]})) == f"Spec({field}={CHANGED[field]!r})"


def test_repr_of_the_defaults_is_empty() -> None:
    assert repr(Spec()) == "Spec()"


def test_repr_of_two_changes() -> None:
    assert repr(Spec(0.5, kl=True)) == "Spec(label_smoothing=0.5, kl=True)"


@given(specs())
def test_repr_is_code(spec: Spec) -> None:
    assert eval(repr(spec), {"Spec": Spec}) == spec


@given(specs())
def test_json_writes_every_field(spec: Spec) -> None:
    assert list(json.loads(spec.to_json())) == list(CHANGED)


@given(specs())
def test_json_round_trip(spec: Spec) -> None:
    again = Spec.from_json(spec.to_json())
    assert again == spec
    assert hash(again) == hash(spec)


def test_json_of_the_defaults_never_changes() -> None:
    assert Spec().to_json() == (
        '{"label_smoothing": 0.0, "spread": "uniform", "values": null, "exclude": [], "kl": false, '
        '"class_weight_rule": "per_class", "z_loss": 0.0, "ignore_index": null, "out_of_range": "raise", '
        '"reduction": "mean", "denominator": "valid", "empty": "zero"}'
    )


def test_json_may_leave_fields_out() -> None:
    assert Spec.from_json('{"spread": "leaky"}') == Spec(spread="leaky")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("unknown_spec_field", '{"label_smoothing": 0.1, "smoothing": 0.1}'),
        ("unknown_spec_field", '{"Spread": "uniform"}'),
        ("repeated_spec_field", '{"kl": true, "kl": true}'),
        ("repeated_spec_field", '{"z_loss": 0.0, "kl": true, "z_loss": 1.0}'),
        ("spec_not_json", ""),
        ("spec_not_json", "{'kl': true}"),
        ("spec_not_json", '{"kl": true'),
        ("spec_not_json", "[" * 100_000),
        ("spec_not_json", None),
        ("spec_not_json", {"kl": True}),
        ("spec_not_json", b"\xff"),
        ("spec_not_json", '{"label_smoothing": ' + "1" * 5000 + "}"),
        ("spec_not_object", "[]"),
        ("spec_not_object", "0.1"),
        ("spec_not_object", "null"),
        ("spec_not_object", '"uniform"'),
        ("label_smoothing_not_a_number", '{"label_smoothing": "0.1"}'),
        ("label_smoothing_not_a_number", '{"label_smoothing": null}'),
        ("label_smoothing_not_a_number", '{"label_smoothing": true}'),
        ("label_smoothing_out_of_range", '{"label_smoothing": NaN}'),
        ("label_smoothing_out_of_range", '{"label_smoothing": 1e999}'),
        ("label_smoothing_out_of_range", '{"label_smoothing": ' + "1" * 400 + "}"),
        ("values_not_a_pair", '{"values": [0.9]}'),
        ("values_not_a_pair", '{"values": {"on": 0.9, "off": 0.1}}'),
        ("exclude_not_classes", '{"exclude": 1}'),
        ("exclude_not_classes", '{"exclude": [1.0]}'),
        ("exclude_not_classes", '{"exclude": null}'),
        ("kl_not_bool", '{"kl": 1}'),
        ("ignore_index_not_an_integer", '{"ignore_index": 255.0}'),
        ("unknown_reduction", '{"reduction": null}'),
        ("values_exclude_smoothing", '{"values": [0.9, 0.1], "label_smoothing": 0.1}'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_json_is_refused(reason: str, text: Any) -> None:
    with pytest.raises(InputError) as caught:
        Spec.from_json(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
@pytest.mark.parametrize("field", CHANGED)
def test_copies_and_pickles_are_equal(remake: Any, field: str) -> None:
    spec = Spec(**{field: CHANGED[field]})
    assert remake(spec) == spec


def test_replace_checks_too() -> None:
    with pytest.raises(InputError, match="label_smoothing is 2"):
        replace(Spec(0.1), label_smoothing=2)


@pytest.mark.parametrize("number", [0.25, 1, 0, np.float32(0.25), np.int64(1), Fraction(1, 4)], ids=repr)
def test_a_number_stands_for_its_label_smoothing(number: Any) -> None:
    assert as_spec(number, "call") == Spec(label_smoothing=float(number))


def test_a_spec_stands_for_itself() -> None:
    spec = Spec(0.1, "others")
    assert as_spec(spec, "call") is spec


@pytest.mark.parametrize("wrong", [True, "0.1", None, {"label_smoothing": 0.1}, [0.1], Spec, 0.1j], ids=repr)
def test_nothing_else_is_a_spec(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^call: spec is a \w+\. Pass a Spec, or a number") as caught:
        as_spec(wrong, "call")
    assert caught.value.reason == "not_a_spec"


@pytest.mark.parametrize("number", [1.5, -1, NAN, HUGE], ids=lambda x: str(x)[:5])
def test_a_number_is_checked_as_a_label_smoothing(number: Any) -> None:
    with pytest.raises(InputError) as caught:
        as_spec(number, "call")
    assert caught.value.reason == "label_smoothing_out_of_range"


def test_an_error_survives_pickling() -> None:
    with pytest.raises(InputError) as caught:
        Spec(0.1, values=(0.9, 0.1))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is InputError
    assert str(again) == str(caught.value)
    assert again.reason == caught.value.reason
    assert isinstance(again, ValueError)


# --- files --------------------------------------------------------------------------------------------------------


@given(spec=specs())
def test_a_saved_spec_is_loaded(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("spec") / "loss.json"
    spec.save(path)
    assert Spec.load(path) == Spec.load(str(path)) == spec


SAVED = """{
 "version": 1,
 "spec": {
  "label_smoothing": 0.1,
  "spread": "uniform",
  "values": null,
  "exclude": [
   2
  ],
  "kl": false,
  "class_weight_rule": "per_class",
  "z_loss": 0.0,
  "ignore_index": null,
  "out_of_range": "raise",
  "reduction": "mean",
  "denominator": "valid",
  "empty": "zero"
 }
}
"""


def test_a_file_names_its_version_and_every_field(tmp_path: Path) -> None:
    Spec(0.1, exclude=(2,)).save(tmp_path / "loss.json")
    assert (tmp_path / "loss.json").read_bytes().decode() == SAVED


def test_a_spec_takes_the_place_of_another_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loss.json"
    Spec(0.1).save(path)
    Spec(0.2).save(path)
    assert Spec.load(path) == Spec(0.2)

    def fails(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="no space"):
        Spec(0.3).save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["loss.json"]
    assert Spec.load(path) == Spec(0.2)


def test_a_saved_spec_is_for_whom_other_files_are(tmp_path: Path) -> None:
    Spec(0.1).save(tmp_path / "loss.json")
    (tmp_path / "other").touch()
    assert (tmp_path / "loss.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "loss.json")
    Spec(0.1).save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert Spec.load(tmp_path / "loss.json") == Spec(0.1)


def test_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spec(0.1).save(tmp_path / "none" / "loss.json")


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("spec_not_json", b""),
        ("spec_not_json", b"\xff\xfe{}"),
        ("spec_not_json", '{"version": 1, "spec": {}}'.encode("utf-16")),
        ("spec_not_json", b'{"version": 1, "spec": {}'),
        ("spec_not_json", b"[" * 100_000),
        ("spec_not_json", b'{"version": 1, "spec": {"ignore_index": ' + b"1" * 5000 + b"}}"),
        ("spec_too_large", b'{"version": 1, "spec": {}}' + b" " * LARGEST),
        ("not_a_saved_spec", b"[]"),
        ("not_a_saved_spec", b"null"),
        ("not_a_saved_spec", b"{}"),
        ("not_a_saved_spec", Spec(0.1).to_json().encode()),
        ("not_a_saved_spec", b'{"version": 1}'),
        ("not_a_saved_spec", b'{"version": 1, "spec": {}, "more": 1}'),
        ("unknown_version", b'{"version": 2, "spec": {}}'),
        ("unknown_version", b'{"version": "1", "spec": {}}'),
        ("unknown_version", b'{"version": true, "spec": {}}'),
        ("unknown_version", b'{"version": 1.0, "spec": {}}'),
        ("spec_not_object", b'{"version": 1, "spec": []}'),
        ("unknown_spec_field", b'{"version": 1, "spec": {"__class__": "os.system"}}'),
        ("repeated_spec_field", b'{"version": 1, "spec": {"kl": true, "kl": false}}'),
        ("repeated_spec_field", b'{"version": 1, "version": 1, "spec": {}}'),
        ("label_smoothing_out_of_range", b'{"version": 1, "spec": {"label_smoothing": NaN}}'),
        ("z_loss_out_of_range", b'{"version": 1, "spec": {"z_loss": Infinity}}'),
        ("exclude_not_classes", b'{"version": 1, "spec": {"exclude": {"0": 1}}}'),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_file_that_holds_no_spec_is_refused(reason: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "loss.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        Spec.load(tmp_path / "loss.json")
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("sentence", "content"),
    [
        ("the file has more than 1048576 bytes. Pass what save wrote", b" " * (LARGEST + 1)),
        ("a saved spec is an object of version and spec, and this is another. Pass what save wrote", b"{}"),
        (
            "the file is of version 2, and this library reads version 1. Take the multismooth that wrote it",
            b'{"version": 2, "spec": {}}',
        ),
    ],
    ids=["size", "object", "version"],
)
def test_a_file_that_is_refused_is_told_why(sentence: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "loss.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        Spec.load(tmp_path / "loss.json")
    assert str(caught.value) == f"Spec.load: {sentence}."


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    content = b'{"version": 1, "spec": {}}'
    (tmp_path / "loss.json").write_bytes(content + b" " * (LARGEST - len(content)))
    assert Spec.load(tmp_path / "loss.json") == Spec()


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spec.load(tmp_path / "loss.json")


@pytest.mark.parametrize("label", [-(2**63), 2**64 - 1])
def test_the_outermost_labels_can_be_ignored(label: int) -> None:
    assert Spec(ignore_index=label).ignore_index == label


def test_native_code_is_that_of_the_porting_tools() -> None:
    assert Spec(0.1).as_native("torch") == source(Spec(0.1), "torch")
