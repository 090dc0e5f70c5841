"""A spec as source code in a framework's own functions: ``Spec.as_native``.

The code is put together line by line, from the ``words`` of one framework. Of the framework's own losses it takes the
one that computes the spec: in PyTorch ``F.cross_entropy`` with ``label_smoothing`` (``torch_loss``), elsewhere the one
of class indices where nothing is smoothed, and the one of a dense target where that is nowhere 0 and has the mass that
the loss's gradient takes for granted (``positions``). What is left is a few lines of log_softmax.
"""

from __future__ import annotations

from dataclasses import replace
from textwrap import indent, wrap

from multismooth.errors import InputError
from multismooth.porting.native import torch_loss
from multismooth.porting.native.positions import positions
from multismooth.porting.native.words import WORDS, Words
from multismooth.spec import Spec, brief


def source(spec: Spec, framework: str) -> str:
    """The code of one function ``loss``; what it takes and leaves out is in ``Spec.as_native``."""
    if not isinstance(framework, str) or framework not in WORDS:
        raise InputError(
            "unknown_framework",
            "Spec.as_native",
            f"framework is {brief(framework)}",
            f"Pass one of {', '.join(map(repr, WORDS))}",
        )
    words = WORDS[framework]
    _check_labels(spec, framework, words)
    arguments = _arguments(spec)
    plain = _plain(spec)
    own = torch_loss.whole(plain, words, arguments) if framework == "torch" else []
    body = own or positions(plain, words, arguments)
    signature = ", ".join(["logits", "labels", *(["*"] if arguments else []), *(f"{name}=None" for name in arguments)])
    lines = [f'"""{_page(spec, words, arguments)}', '"""', *body]
    return f"{words.imports}\n\n\ndef loss({signature}):\n{indent(chr(10).join(lines), '    ')}\n"


def _check_labels(spec: Spec, framework: str, words: Words) -> None:
    low, high = -(2 ** (words.label_bits - 1)), 2 ** (words.label_bits - 1)
    for name, numbers in {"ignore_index": [spec.ignore_index], "exclude": spec.exclude[-1:]}.items():
        if any(number is not None and not low <= number < high for number in numbers):
            raise InputError(
                "native_label_too_large",
                "Spec.as_native",
                f"{name}={brief(getattr(spec, name))}, and {framework}'s own functions take labels of "
                f"{words.label_bits} bits, which cannot hold it",
                "Give the label another index, or use multismooth, which compares labels of every dtype",
            )


def _arguments(spec: Spec) -> list[str]:
    """The arrays that a field of the spec speaks of, and a mask where neither labels nor weights tell one."""
    weighted = spec.denominator in ("weights", "nonzero_weights", "sequences", "nonempty_sequences")
    classes = "class_weights" in spec.denominator or spec.class_weight_rule != "per_class"
    wanted = {
        "where": spec.ignore_index is None and not weighted,
        "sample_weight": weighted,
        "class_weight": classes and not spec.kl,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _plain(spec: Spec) -> Spec:
    """The same loss, without the fields that play no part where nothing is smoothed."""
    if spec.values is None and spec.label_smoothing == 0:
        # The target is e_y: the rules for class weights are one, and so are their denominators.
        denominator = spec.denominator.removeprefix("expected_")
        spec = replace(
            spec, spread="uniform", exclude=(), kl=False, class_weight_rule="per_class", denominator=denominator
        )
    return spec


def _page(spec: Spec, words: Words, arguments: list[str]) -> str:
    """The snippet's docstring."""
    meanings = {
        "where": "where: bool like the labels; the positions that count.",
        "sample_weight": "sample_weight: float like the logits, in the labels' shape; 0 masks its position.",
        "class_weight": "class_weight: float like the logits, one per class.",
    }
    kind = "int64" if words.label_bits == 64 else "int32 or int64"
    page = [
        *wrap(f"{spec!r} of multismooth.", 100, break_long_words=False),
        "",
        f"logits: float32 or float64 {words.logits}; cast half precision to float32 first.",
        f"labels: {kind} class indices {words.logits.replace('classes, ', '').replace(', classes', '')}.",
        *(meanings[name] for name in arguments),
        f"Returns {'one loss per position' if spec.reduction == 'none' else 'a scalar'}.",
    ]
    return "\n".join(page)
