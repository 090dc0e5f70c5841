"""The validator of vectors: one line for each fault, whatever the file holds."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multismooth_conformance import validate
from multismooth_conformance.__main__ import main
from multismooth_conformance.documents import FOLDER

Json = Any
FILES = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
VECTORS = {raw["id"]: raw for name, file in FILES.items() if name != "schema.json" for raw in file["vectors"]}


def first(suits: Callable[[Json], Any]) -> Json:
    return next(raw for raw in VECTORS.values() if "logits" in raw["inputs"] and suits(raw))


VALID = first(lambda raw: "where" in raw["inputs"] and raw["spec"]["reduction"] == "none" and raw["dtype"] == "float32")
ROWS = first(
    lambda raw: (
        raw["inputs"]["logits"]["shape"] == [4, 5] and raw["spec"]["reduction"] == "none" and raw["result"] == "valid"
    )
)
ALLOWED = first(
    lambda raw: (
        raw["inputs"].get("allowed", {}).get("shape") == [5]
        and raw["result"] == "valid"
        and raw["axis"] == -1
        and "int" in raw["inputs"]["labels"]["dtype"]
    )
)
RECIPE = first(lambda raw: "recipe" in raw["inputs"]["logits"] and raw["result"] == "valid")
LINEAR = next(
    raw
    for raw in VECTORS.values()
    if {"hidden", "bias"} <= raw["inputs"].keys()
    and raw["inputs"]["hidden"]["shape"] == [4, 3]
    and raw["dtype"] == "float32"
    and any(raw["inputs"]["hidden"]["data"])
    and "where" not in raw["inputs"]
    and raw["result"] == "valid"
)
INVALID = first(lambda raw: raw["result"] == "invalid")
INDICES = first(lambda raw: raw["expected"] and "indices" in raw["expected"]["grad"]["logits"])


def scalar(value: Json, dtype: str = "float64") -> Json:
    return {"dtype": dtype, "shape": [], "data": [value]}


def document(*raws: Json) -> Json:
    """A file of copies of some vectors, with the notes that they need."""
    flags = {flag for raw in raws for flag in raw["flags"]}
    notes = {flag: {"bug": "a bug", "link": "https://example.org"} for flag in flags}
    return {"version": "1", "notes": notes, "vectors": [copy.deepcopy(raw) for raw in raws]}


@pytest.fixture
def errors(tmp_path: Path) -> Any:
    """What is wrong with a text, or with contents."""

    def errors(contents: Json) -> list[str]:
        path = tmp_path / "some.json"
        path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())
        found = validate.errors([tmp_path])
        assert all(line.isprintable() for line in found)
        return found

    return errors


def edited(raw: Json, path: str, value: Json) -> Json:
    """A file with a copy of a vector, and one value in it replaced."""
    contents = document(raw)
    *above, last = path.split(".")
    place = contents["vectors"][0]
    for key in above:
        place = place[int(key) if isinstance(place, list) else key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return contents


# --- The package's own --------------------------------------------------------------------------------------------


def test_the_packages_own_vectors_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out == f"{len(VECTORS)} vectors are valid\n"


@pytest.mark.parametrize("raw", [VALID, ROWS, ALLOWED, RECIPE, INDICES, LINEAR], ids=lambda raw: raw["id"])
def test_the_vectors_of_these_tests_are_valid_alone(raw: Json, errors: Any) -> None:
    assert errors(document(raw)) == []


# --- What is no file of vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"\xef\xbb\xbf{}", "cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"notes": ' + b"[" * 900 + b"]" * 900 + b"}", "notes"),
        (b"[]", "[] is not of type 'object'"),
        (b"NaN", "NaN is not of type 'object'"),
        (b"null", "None is not of type 'object'"),
        (b"{}", "'version' is a required property"),
        (b'{"version": "1", "notes": {}, "vectors": {}}', "vectors: {} is not of type 'array'"),
        (b'{"version": "1", "notes": {}, "vectors": [1]}', "vectors[0]: 1 is not of type 'object'"),
        (b'{"version": "1", "notes": {}, "vectors": [{"id": "\\u001b[31m\\ud800"}]}', "\\x1b[31m\\ud800: 'comment'"),
        (b'{"version": 1e999, "notes": {}, "vectors": []}', "version: '1' was expected"),
    ],
)
def test_hostile_text_gives_one_line_and_no_traceback(text: bytes, sentence: str, errors: Any) -> None:
    found = errors(text)
    assert found[0].startswith("some.json: ")
    assert any(sentence in line for line in found), found


def test_a_file_or_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "none.json"), str(tmp_path)]) == 1
    missing, empty = capsys.readouterr().out.splitlines()
    assert missing.startswith(f"{tmp_path}/none.json: cannot be read")
    assert empty.startswith(f"{tmp_path}: cannot be read")


def test_a_key_that_stands_twice_is_found_where_it_is(errors: Any) -> None:
    text = json.dumps(document(ROWS)).replace('"axis": -1', '"axis": 0, "axis": -1').encode()
    (line,) = errors(text)
    assert line.startswith(f"some.json: {ROWS['id']}: ")
    assert "'axis (a second time)' was unexpected" in line


@pytest.mark.parametrize("literal", ["NaN", "-Infinity", "1e400", "9" * 5000])
def test_a_number_that_json_has_not_is_found_where_it_is(literal: str, errors: Any) -> None:
    text = json.dumps(edited(ROWS, "inputs.logits.data.3", "here")).replace('"here"', literal).encode()
    (line,) = errors(text)
    assert line.startswith(f"some.json: {ROWS['id']}: inputs.logits.data[3]: {literal[:20]}")
    assert len(line) < 300


# --- The schema ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("id", "Not a slug", "id: 'Not a slug' does not match"),
        ("id", 7, "id: 7 is not of type 'string'"),
        ("comment", ..., "'comment' is a required property"),
        ("more", 1, "'more' was unexpected"),
        ("spec.spread", "wide", "spec.spread: 'wide' is not one of ['uniform', 'others', 'leaky']"),
        ("spec.label_smoothing", 1.5, "spec.label_smoothing: 1.5 is greater than the maximum of 1"),
        ("spec.exclude", [0.0], "spec.exclude[0]: 0.0 is not of type 'integer'"),
        ("spec.kl", 0, "spec.kl: 0 is not of type 'boolean'"),
        ("axis", True, "axis: True is not of type 'integer'"),
        ("dtype", "float128", "dtype: 'float128' is not one of"),
        ("inputs.logits", ..., "inputs: 'logits' is a required property"),
        ("inputs.logits", [1, 2], "inputs.logits: [1, 2] is not"),
        ("inputs.logits.shape", [4.0, 5], "inputs.logits.shape[0]: 4.0 is not of type 'integer'"),
        (
            "inputs.logits.data.3",
            "one",
            "inputs.logits.data[3]: 'one' is not number or boolean or one of nan, inf, -inf",
        ),
        ("expected.loss.data.0", 1.5, "expected.loss.data[0]: 1.5 is not of type 'string'"),
        ("expected.loss.data.0", "1,5", "expected.loss.data[0]: '1,5' does not match"),
        ("scale.loss.data.0", -1, "scale.loss.data[0]: -1 is less than the minimum of 0"),
        ("expected", None, "expected: None is not of type 'object'"),
        ("reason", "bad_prior", "reason: 'bad_prior' is not of type 'null'"),
        ("twin", "good-label-001", "'good-label-001' is given; expected twin and rows in invalid"),
        ("flags", ["Two Words"], "flags[0]: 'Two Words' does not match"),
    ],
)
def test_what_the_schema_refuses(path: str, value: Json, expected: str, errors: Any) -> None:
    contents = edited(ROWS, path, value)
    name = contents["vectors"][0]["id"] if isinstance(contents["vectors"][0]["id"], str) else "vectors[0]"
    found = errors(contents)
    assert any(line.startswith(f"some.json: {name}: ") and expected in line for line in found), found


def test_a_note_needs_a_link(errors: Any) -> None:
    contents = document(ROWS)
    contents["notes"] = {"a-flag": {"bug": "a bug", "link": "http://example.org"}}
    assert errors(contents)[0] == "some.json: notes.a-flag.link: 'http://example.org' does not match '^https://'"


def test_many_faults_of_one_field_give_one_line(errors: Any) -> None:
    (line,) = errors(edited(ROWS, "inputs.logits.data", ["x"] * 20))
    assert "inputs.logits.data[0]" in line


# --- Arrays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "path", "value", "expected"),
    [
        (ROWS, "inputs.logits.data.0", 0.1, "inputs.logits.data[0]: is 0.1; expected a value that"),
        (ROWS, "inputs.logits.data.0", True, "inputs.logits.data[0]: is true; expected a value that"),
        (ROWS, "inputs.logits.data.0", 1e300, "inputs.logits.data[0]: is 1e+300; expected"),
        (ROWS, "inputs.logits.data.0", 2**53 + 1, f"inputs.logits.data[0]: is {2**53 + 1}; expected"),
        (ROWS, "inputs.labels.data.0", 1.0, "inputs.labels.data[0]: is 1.0; expected a value that int"),
        (ROWS, "inputs.labels.data.0", "nan", 'inputs.labels.data[0]: is "nan"; expected'),
        (ROWS, "inputs.labels.data.0", 2**63, f"inputs.labels.data[0]: is {2**63}; expected"),
        (VALID, "inputs.where.data.0", 1, "inputs.where.data[0]: is 1; expected a value that bool"),
        (ROWS, "inputs.logits.data", [1], "inputs.logits.data: has 1 entries; expected 20"),
        (ROWS, "expected.loss.data", ["1"], "expected.loss.data: has 1 entries; expected 4"),
        (ROWS, "inputs.logits.shape", [2**40, 5], "inputs.logits.shape: is [1099511627776, 5]; expected at most"),
        (ROWS, "inputs.logits.shape", [1] * 9, "inputs.logits.shape: is [1, 1, 1, 1, 1, 1, ...]; expected at most 8"),
        (ROWS, "inputs.labels.shape", [2, 2], "inputs.labels.shape: is [2, 2]; expected [4]"),
        (ROWS, "inputs.labels.dtype", "bool", "inputs.labels.data[0]: is"),
        (VALID, "inputs.where.shape", [VALID["inputs"]["where"]["shape"][0], -1], "inputs.where.shape[1]: -1 is less"),
        (ALLOWED, "inputs.allowed.shape", [5, 1], "inputs.allowed.shape: is [5, 1]; expected [5] or ["),
        (ROWS, "dtype", "float16", "inputs.logits.dtype: is"),
        (ROWS, "axis", 2, "axis: is 2; expected one of the logits' 2 axes"),
        (ROWS, "axis", 0, "inputs.labels.shape: is [4]; expected [5]"),
        (ROWS, "cotangent.shape", [2, 2], "cotangent.shape: is [2, 2]; expected [4]"),
        (ROWS, "cotangent.dtype", "float16", "cotangent.dtype: is float16; expected float"),
        (ROWS, "cotangent.data.1", 1, "cotangent: holds a 0 or a 1"),
        (ROWS, "cotangent.data.1", 0.0, "cotangent: holds a 0 or a 1"),
        (ROWS, "cotangent.data.1", "nan", "cotangent: holds a 0 or a 1"),
        (ROWS, "expected.loss.shape", [2, 2], "expected.loss.shape: is [2, 2]; expected [4]"),
        (ROWS, "expected.loss.dtype", "bfloat16", "expected.loss.dtype: is bfloat16; expected float"),
        (ROWS, "expected.grad.logits.shape", [5, 4], "expected.grad.logits.shape: is [5, 4]; expected [4, 5]"),
        (ROWS, "expected.totals.weight.shape", [1], "expected.totals.weight.shape: is [1]; expected []"),
        (ROWS, "scale.grad", {}, "scale.grad: 'logits' is a required property"),
        (
            ROWS,
            "expected.grad.prior",
            {"dtype": "float32", "shape": [], "data": ["1"]},
            "expected.grad.prior: is given",
        ),
        (INDICES, "expected.grad.logits.indices.0", 10**9, "expected.grad.logits.indices: is [1000000000,"),
        (INDICES, "expected.grad.logits.indices.1", 0, "rising indices below"),
        (RECIPE, "inputs.logits.recipe.mod", 0, "inputs.logits.recipe: is"),
        (RECIPE, "inputs.logits.recipe.a", 2**52, "inputs.logits.recipe: is"),
        (RECIPE, "inputs.logits.recipe.b", -1, "inputs.logits.recipe: is"),
        (RECIPE, "inputs.logits.recipe.scale", 0.1, "inputs.logits.recipe.scale: is 0.1; expected a power of two"),
        (RECIPE, "inputs.logits.recipe.offset", 2**40 + 1, "inputs.logits.recipe: gives "),
        (ROWS, "spec.exclude", [5], "spec.exclude: is [5]; expected rising indices below 5"),
        (ROWS, "spec.exclude", [1, 1], "spec.exclude: is [1, 1]; expected rising indices"),
        (ROWS, "inputs.labels.data.0", 5, "inputs.labels: hold 5; expected one of 5 classes where it counts"),
        (ROWS, "inputs.labels.data.0", -1, "inputs.labels: hold -1; expected"),
        (ALLOWED, "inputs.allowed.data", [False] * 5, "; expected a class that is allowed there"),
        (LINEAR, "inputs.hidden.shape", [2, 6], "inputs.kernel.shape: is [3, 5]; expected 6 features and the classes"),
        (LINEAR, "inputs.kernel.shape", [15], "inputs.kernel.shape: is [15]; expected 3 features and the classes"),
        (LINEAR, "inputs.kernel.shape", [3, 4], "inputs.kernel.data: has 15 entries; expected 12"),
        (LINEAR, "inputs.kernel.dtype", "float64", "inputs.kernel.dtype: is float64; expected float32"),
        (LINEAR, "inputs.bias.shape", [5, 1], "inputs.bias.shape: is [5, 1]; expected [5]"),
        (LINEAR, "inputs.labels.dtype", "float32", "inputs.labels.dtype: is float32; expected class indices"),
        (LINEAR, "axis", 0, "axis: is 0; expected -1"),
        (LINEAR, "inputs.softcap", scalar(0), "inputs.softcap: is 0.0; expected a finite number"),
        (LINEAR, "inputs.softcap", scalar("inf"), "inputs.softcap: is inf; expected a finite number"),
        (LINEAR, "inputs.logit_scale", scalar("nan"), "inputs.logit_scale: is nan; expected a finite number"),
        (LINEAR, "inputs.logit_scale", scalar(2, "float32"), "inputs.logit_scale.dtype: is float32; expected float64"),
        (LINEAR, "inputs.bias.data.0", 2.0**23 + 1, "expected logits that float32 holds exactly"),
        (
            LINEAR,
            "inputs.logits",
            scalar(2),
            "inputs.logits: {'data': [2], 'dtype': 'float64', 'shape': []} is given; expected logits, or else",
        ),
        (LINEAR, "inputs.kernel", ..., "inputs: 'kernel' is a required property"),
        (LINEAR, "expected.grad.kernel", ..., "expected.grad: 'kernel' is a required property"),
        (LINEAR, "expected.grad.bias.shape", [1, 5], "expected.grad.bias.shape: is [1, 5]; expected [5]"),
        (ROWS, "inputs.hidden", scalar(2), "inputs: 'kernel' is a required property"),
        (ROWS, "inputs.softcap", scalar(2), "[]} is given; expected logits, or else what a linear layer"),
        (ROWS, "flags", ["no-note"], None),
    ],
)
def test_what_arrays_must_be(raw: Json, path: str, value: Json, expected: str | None, errors: Any) -> None:
    contents = edited(raw, path, value)
    if expected is None:
        contents["notes"] = {}
        expected = "flags: no-note has no note"
    found = errors(contents)
    assert any(line.startswith(f"some.json: {raw['id']}: ") and expected in line for line in found), found


def with_input(raw: Json, name: str, dtype: str, data: Json) -> Json:
    """A file with a copy of a vector that is given one number for each position too."""
    contents = document(raw)
    shape = raw["inputs"]["labels"]["shape"]
    contents["vectors"][0]["inputs"][name] = {"dtype": dtype, "shape": shape, "data": data}
    return contents


def test_a_label_that_does_not_count_may_be_anything(errors: Any) -> None:
    masked = next(i for i, keep in enumerate(VALID["inputs"]["where"]["data"]) if not keep)
    assert errors(edited(VALID, f"inputs.labels.data.{masked}", 77)) == []

    weighted = with_input(ROWS, "sample_weight", ROWS["cotangent"]["dtype"], [0, 0.5, 0.5, 0.5])
    weighted["vectors"][0]["inputs"]["labels"]["data"][0] = 77
    assert errors(weighted) == []

    size = len(ALLOWED["inputs"]["labels"]["data"])
    contents = with_input(ALLOWED, "where", "bool", [False] + [True] * (size - 1))
    refused = ALLOWED["inputs"]["allowed"]["data"].index(False)
    contents["vectors"][0]["inputs"]["labels"]["data"][0] = refused
    assert errors(contents) == []


def test_a_bad_label_may_stand_where_the_spec_makes_it_nan(errors: Any) -> None:
    contents = edited(ROWS, "inputs.labels.data.0", 77)
    contents["vectors"][0]["spec"]["out_of_range"] = "nan"
    assert errors(contents) == []


def test_counts_that_a_wrong_denominator_could_mistake_must_differ(errors: Any) -> None:
    """Two positions of six, along a first axis of two."""
    raw = first(
        lambda raw: raw["inputs"].get("where", {}).get("shape") == [3, 4] and raw["spec"]["ignore_index"] is None
    )
    where = [True, False, False, False] * 3
    (line,) = errors(edited(raw, "inputs.where.data", where))
    assert (
        line
        == f"some.json: {raw['id']}: inputs: 3 of 12 positions count, and the first axis has 3; expected three numbers"
    )
    assert errors(edited(raw, "inputs.where.data", [False, *where[1:]])) == []
    assert errors(edited(raw, "inputs.where.data", [True] * 12)) != []
    assert errors(edited(raw, "inputs.where.data", [False] * 12)) == []
    empty = first(lambda raw: 0 in raw["inputs"]["labels"]["shape"][1:] and raw["result"] == "valid")
    assert errors(with_input(empty, "where", "bool", [])) == []


def test_expected_and_scale_hold_the_same_elements(errors: Any) -> None:
    indices = INDICES["scale"]["grad"]["logits"]["indices"]
    others = [index for index in range(len(indices) + 1) if index != indices[0]][: len(indices)]
    what = "has no counterpart; expected the same arrays and indices in expected and scale"
    assert errors(edited(INDICES, "scale.grad.logits.indices", others)) == [
        f"some.json: {INDICES['id']}: {part}.grad.logits: {what}" for part in ("expected", "scale")
    ]


def test_a_tangent_goes_with_its_answer(errors: Any) -> None:
    tangent = {"dtype": ROWS["cotangent"]["dtype"], "shape": [4, 5], "data": [0.5] * 20}
    found = errors(edited(ROWS, "tangent", tangent))
    assert found == [f"some.json: {ROWS['id']}: expected.hvp: goes with a tangent; expected both or neither"]


# --- The whole set ------------------------------------------------------------------------------------------------


def twins() -> tuple[Json, Json]:
    return copy.deepcopy(INVALID), copy.deepcopy(VECTORS[INVALID["twin"]])


def test_an_invalid_vector_and_its_twin_are_valid_together(errors: Any) -> None:
    assert errors(document(*twins())) == []


def test_a_twin_must_be_there_and_valid(errors: Any) -> None:
    bad, good = twins()
    where = f"some.json: {bad['id']}: twin: "
    assert errors(document(bad)) == [f"{where}is {good['id']}; expected the id of a valid vector in these files"]
    bad["twin"] = bad["id"]
    assert errors(document(bad, good)) == [f"{where}is {bad['id']}; expected the id of a valid vector in these files"]


@pytest.mark.parametrize(
    ("path", "value", "differs"),
    [
        ("spec.z_loss", 0.5, "inputs.labels, spec.z_loss"),
        ("cotangent.data.0", 7.5, "inputs.labels, cotangent"),
    ],
)
def test_twins_differ_in_one_thing(path: str, value: Json, differs: str, errors: Any) -> None:
    bad, good = twins()
    contents = edited(bad, path, value)
    contents["notes"] |= document(good)["notes"]
    contents["vectors"].append(good)
    expected = f"twin: differs in {differs}; expected one input or one field of the spec"
    assert errors(contents) == [f"some.json: {bad['id']}: {expected}"]


def test_twins_differ_at_all(errors: Any) -> None:
    bad, good = twins()
    bad["inputs"] = good["inputs"]
    assert "twin: differs in nothing" in errors(document(bad, good))[0]


def test_ids_are_unique_over_all_files(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(document(ROWS)))
    assert validate.errors([tmp_path]) == [f"b.json: {ROWS['id']}: id: stands in a.json too; expected an id of its own"]


def test_a_flag_has_one_note_and_every_note_a_flag(tmp_path: Path) -> None:
    flagged = first(lambda raw: raw["flags"])
    other = first(lambda raw: raw["flags"][:1] == flagged["flags"][:1] and raw["id"] != flagged["id"])
    one, two = document(flagged), document(other)
    flag = flagged["flags"][0]
    one["notes"][flag]["bug"] = "another bug"
    two["notes"]["unused"] = two["notes"][flag]
    for name, contents in (("a.json", one), ("b.json", two)):
        (tmp_path / name).write_text(json.dumps(contents))
    assert validate.errors([tmp_path]) == [
        "b.json: notes.unused: is no vector's flag; expected notes that are used",
        f"b.json: notes.{flag}: differs from another file's; expected one note for a flag",
    ]


def test_no_more_than_three_are_alike(errors: Any) -> None:
    def copies(**last: Json) -> Json:
        contents = document(*[ROWS] * 4)
        for i, raw in enumerate(contents["vectors"]):
            raw["id"] = f"copy-{i}"
        contents["vectors"][3]["spec"] |= last
        return contents

    (line,) = errors(copies())
    assert line.startswith("some.json: copy-0: spec, flags: ")
    assert "copy-1, copy-2, copy-3; expected at most 3 alike" in line
    smoothing = ROWS["spec"]["label_smoothing"]
    between = 0.25 if 0 < smoothing < 1 else smoothing
    assert errors(copies(label_smoothing=between)) == [line]
    assert errors(copies(label_smoothing=1.0 if smoothing != 1 else 0.0)) == []
    assert errors(copies(z_loss=0.5 if not ROWS["spec"]["z_loss"] else 0.0)) == []
    assert errors(copies(empty="nan" if ROWS["spec"]["empty"] == "zero" else "zero")) == []


# --- Whatever the file holds --------------------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**19), 10**19),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["nan", "-inf", "bool", "int8", "float16", "bfloat16", [], {}, [[]], [0], [2**62], {"a": 1}]),
)


def leaves(value: Json, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, below in items for path in [(*above, key), *leaves(below, (*above, key))]]


def test_any_change_gives_lines_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "some.json"

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from([ROWS, RECIPE, INDICES, INVALID, ALLOWED]), st.data())
    def check(raw: Json, data: st.DataObject) -> None:
        contents = document(raw)
        for _ in range(data.draw(st.integers(1, 3))):
            *above, last = data.draw(st.sampled_from(leaves(contents)))
            place = contents
            for key in above:
                place = place[key]
            place[last] = data.draw(HOSTILE)
        path.write_text(json.dumps(contents))
        for line in validate.errors([path]):
            assert line.startswith(f"{path}: ")
            assert line.isprintable()

    check()
