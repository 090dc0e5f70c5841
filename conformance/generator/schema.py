"""The files' format as JSON Schema 2020-12."""

from __future__ import annotations

from generator.arrays import Json
from generator.options import DENOMINATORS

REASONS = [
    "label_out_of_range",
    "label_not_allowed",
    "soft_label_not_allowed",
    "negative_soft_label",
    "soft_labels_not_normalized",
    "bad_sample_weight",
    "bad_class_weight",
    "bad_prior",
    "prior_not_normalized",
    "bad_normalizer",
    "exclude_out_of_range",
    "exclude_all_classes",
]
FLOAT = ["float64", "float32", "float16", "bfloat16"]
LINEAR = ["hidden", "kernel", "bias", "logit_scale", "softcap"]
ABSENT: dict[str, Json] = {"not": {}}
ARGUMENTS = ["where", "sample_weight", "class_weight", "prior", "allowed", "normalizer"]
SLUG = "^[a-z0-9]+(-[a-z0-9]+)*$"


def _closed(properties: dict[str, Json], optional: tuple[str, ...] = ()) -> dict[str, Json]:
    """An object with exactly these keys, all required but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }


def _one_form(inputs: dict[str, Json]) -> dict[str, Json]:
    """Logits, or else what a linear layer makes them from."""
    return inputs | {
        "if": {"required": LINEAR[:1]},
        "then": {"required": LINEAR[:2], "properties": {"logits": ABSENT}},
        "else": {"required": ["logits"], "properties": dict.fromkeys(LINEAR, ABSENT)},
    }


def _array(entry: dict[str, Json], *, recipe: bool = False, indices: bool = False) -> dict[str, Json]:
    """An array of such entries; large ones may be a recipe, or a few entries at flat indices."""
    head = {
        "dtype": {"enum": [*FLOAT, "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    }
    data = {"type": "array", "items": entry}
    forms = [_closed(head | {"data": data})]
    if recipe:
        forms.append(_closed(head | {"recipe": {"$ref": "#/$defs/recipe"}}))
    if indices:
        forms.append(_closed(head | {"indices": {"$ref": "#/$defs/flat"}, "data": data}))
    return {"oneOf": forms} if len(forms) > 1 else forms[0]


def _spec() -> dict[str, Json]:
    pair = {"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2, "items": False}
    return _closed(
        {
            "label_smoothing": {"type": "number", "minimum": 0, "maximum": 1},
            "spread": {"enum": ["uniform", "others", "leaky"]},
            "values": {"anyOf": [{"type": "null"}, pair]},
            "exclude": {"$ref": "#/$defs/flat"},
            "kl": {"type": "boolean"},
            "class_weight_rule": {"enum": ["per_class", "per_label", "expected", "label_term"]},
            "z_loss": {"type": "number", "minimum": 0},
            "ignore_index": {"type": ["integer", "null"]},
            "out_of_range": {"enum": ["raise", "nan"]},
            "reduction": {"enum": ["mean", "sum", "none"]},
            "denominator": {"enum": list(DENOMINATORS)},
            "empty": {"enum": ["zero", "nan"]},
        }
    )


def _results(array: str) -> dict[str, Json]:
    """Loss, gradients and totals: exact strings in `expected`, numbers in `scale`."""
    each = {"$ref": f"#/$defs/{array}"}
    names = ["logits", "hidden", "kernel", "bias", "labels", "sample_weight", "class_weight", "prior"]
    return _closed(
        {
            "loss": each,
            "grad": _one_form(_closed(dict.fromkeys(names, each), optional=tuple(names))),
            "hvp": each,
            "totals": _closed(dict.fromkeys(("loss", "weight", "nll", "z_loss"), each)),
        },
        optional=("hvp",),
    )


def _vector() -> dict[str, Json]:
    given = {"$ref": "#/$defs/input"}
    vector = _closed(
        {
            "id": {"type": "string", "pattern": SLUG},
            "comment": {"type": "string", "minLength": 1},
            "flags": {"type": "array", "items": {"type": "string", "pattern": SLUG}},
            "spec": _spec(),
            "axis": {"type": "integer"},
            "dtype": {"enum": FLOAT},
            "inputs": _one_form(
                _closed(
                    dict.fromkeys(("logits", *LINEAR, "labels", *ARGUMENTS), given),
                    optional=("logits", *LINEAR, *ARGUMENTS),
                )
            ),
            "cotangent": given,
            "tangent": given,
            "expected": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/expected"}]},
            "scale": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/scale"}]},
            "result": {"enum": ["valid", "invalid"]},
            "reason": {"enum": [None, *REASONS]},
            "twin": {"type": "string", "pattern": SLUG},
            "rows": {"$ref": "#/$defs/flat"},
        },
        optional=("tangent", "twin", "rows"),
    )
    return vector | {
        "if": {"properties": {"result": {"const": "invalid"}}},
        "then": {
            "required": ["twin", "rows"],
            "properties": {
                "expected": {"type": "null"},
                "scale": {"type": "null"},
                "reason": {"type": "string"},
            },
        },
        "else": {
            "properties": {
                "expected": {"type": "object"},
                "scale": {"type": "object"},
                "reason": {"type": "null"},
                "twin": False,
                "rows": False,
            }
        },
    }


def schema() -> dict[str, Json]:
    """The schema of one file of vectors."""
    number = {"anyOf": [{"type": ["number", "boolean"]}, {"enum": ["nan", "inf", "-inf"]}]}
    digits = {"type": "string", "pattern": r"^(nan|-?inf|-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)$"}
    integer = {"type": "integer"}
    note = _closed({"bug": {"type": "string"}, "link": {"type": "string", "pattern": "^https://"}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Conformance vectors of a smoothed cross-entropy, version 1",
        **_closed(
            {
                "version": {"const": "1"},
                "notes": {
                    "type": "object",
                    "propertyNames": {"pattern": SLUG},
                    "additionalProperties": note,
                },
                "vectors": {"type": "array", "items": {"$ref": "#/$defs/vector"}},
            }
        ),
        "$defs": {
            "vector": _vector(),
            "input": _array(number, recipe=True),
            "exact": _array(digits, indices=True),
            "size": _array({"type": "number", "minimum": 0}, indices=True),
            "expected": _results("exact"),
            "scale": _results("size"),
            "flat": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "recipe": _closed(
                {
                    "a": integer,
                    "b": integer,
                    "mod": integer,
                    "offset": integer,
                    "scale": {"type": "number"},
                }
            ),
        },
    }
