"""One loss in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multismooth.porting.losses import Loss, loss
from multismooth.porting.target import Target, target
from multismooth.spec import Spec

CLASSES = 10
"""K, where the caller names none."""

SPREAD = {
    "uniform": ("q = (1 − ε)·e_y + ε/{K}", "ε is shared by all {K} classes, the label among them"),
    "others": ("q_y = 1 − ε, q_k = ε/({K} − 1)", "ε is shared by the classes other than the label"),
    "leaky": ("q_y = 1 − ε, q_k = ε/{K}", "each of {K} classes gets ε/{K}, and the label's own share is lost"),
}
CLASS_WEIGHTS = {
    "per_class": ("w_k·q_k", "each class's term has its own weight"),
    "per_label": ("w_y·ℓ", "the label's weight multiplies the position"),
    "expected": ("(Σ_k q_k·w_k)·ℓ", "the weight that the target expects multiplies the position"),
    "label_term": ("w_y·(1 − ε)·e_y + ε/K", "the label's weight multiplies its own 1 − ε only"),
}
DENOMINATORS = {
    "valid": ("Σ m", "the positions that count"),
    "all": ("N", "all positions, masked ones included"),
    "batch": ("B", "the length of the labels' first axis"),
    "weights": ("Σ m·s", "the sum of the sample weights"),
    "nonzero_weights": ("Σ m·[s ≠ 0]", "the sample weights that are not 0"),
    "class_weights": ("Σ m·w_y", "the sum of the labels' class weights; without them, the positions that count"),
    "expected_class_weights": ("Σ m·Σ_k q_k·w_k", "the class weights that the targets expect"),
    "sequences": ("B", "the sequences, each by its own weighted mean"),
    "nonempty_sequences": ("B′", "the sequences that have any weight, each by its own weighted mean"),
}


@dataclass(frozen=True)
class Explanation:
    """What ``explain`` says; every field is text but the spec and the target."""

    name: str
    library: str
    spec: Spec
    classes: int
    target: Target
    formula: str
    """the target, the position's loss and the reduction, in symbols"""
    words: str
    """the target in words"""
    masked: str
    divisor: str
    class_weights: str
    edges: tuple[str, ...]
    not_expressed: str
    source: str
    standing: str


def explain(given: str | Path | Spec | Loss, classes: int = CLASSES, label_smoothing: float = 0.1) -> Explanation:
    """What a loss computes: its formula, its target at K = ``classes``, its masks, its divisor, its edges, its source.

    Raises:
        InputError: there is no such loss, or no spec computes it.

    >>> print(explain("t5x").formula)
    q_y = 1 − ε, q_k = ε/(K − 1);  ℓ = Σ_k q_k·(−log p_k) − H(q);  L = Σ m·s·ℓ
    """
    found = loss(given, label_smoothing)
    spec, dialect = found.spec, found.dialect
    symbols, words = _target_in_words(spec)
    _, divisor = DENOMINATORS[spec.denominator]
    rule, rule_words = CLASS_WEIGHTS[spec.class_weight_rule]
    return Explanation(
        name=found.name,
        library=dialect.library if dialect else "a spec",
        spec=spec,
        classes=classes,
        target=target(spec, classes),
        formula=f"{symbols};  {_position(spec)};  {_reduction(spec)}",
        words=words,
        masked=_masked(spec),
        divisor=divisor if spec.reduction == "mean" else {"sum": "nothing: a sum", "none": "nothing"}[spec.reduction],
        class_weights=f"{rule}: {rule_words}",
        edges=tuple(_edges(spec)),
        not_expressed=dialect.not_expressed if dialect else "",
        source=str(dialect.source) if dialect else "",
        standing=("executed" if dialect.executed else "from source") if dialect else "",
    )


def _target_in_words(spec: Spec) -> tuple[str, str]:
    if spec.values is not None:
        on, off = spec.values
        return f"q_y = {on:g}, q_k = {off:g}", "both values are given outright, whatever K is"
    if spec.label_smoothing == 0:
        return "q = e_y", "the label alone"
    symbols, words = SPREAD[spec.spread]
    receivers = f"(K − {len(spec.exclude)})" if spec.exclude else "K"
    excluded = f"; none for the classes {', '.join(map(str, spec.exclude))}" if spec.exclude else ""
    return symbols.format(K=receivers), words.format(K=receivers) + excluded


def _position(spec: Spec) -> str:
    z_loss = f" + {spec.z_loss:g}·lse²" if spec.z_loss else ""
    return f"ℓ = Σ_k q_k·(−log p_k){z_loss}{' − H(q)' if spec.kl else ''}"


def _reduction(spec: Spec) -> str:
    match spec.reduction, spec.denominator:
        case "none", _:
            return "L = m·s·ℓ"
        case "sum", _:
            return "L = Σ m·s·ℓ"
        case "mean", ("sequences" | "nonempty_sequences") as denominator:
            return f"L = Σ_b (Σ m·s·ℓ / Σ m·s) / {DENOMINATORS[denominator][0]}"
        case _, denominator:
            return f"L = Σ m·s·ℓ / ({DENOMINATORS[denominator][0]})"


def _masked(spec: Spec) -> str:
    ignored = "" if spec.ignore_index is None else f"the label {spec.ignore_index}, "
    return f"{ignored}what where= leaves out, and sample weights of 0 contribute nothing"


def _edges(spec: Spec) -> list[str]:
    out_of_range = {
        "raise": "an error where values can be read, NaN in its row elsewhere",
        "nan": "NaN in its row",
    }
    edges = [f"a label out of range: {out_of_range[spec.out_of_range]}"]
    if spec.reduction == "mean":
        edges.append(f"nothing counts: {'0' if spec.empty == 'zero' else 'NaN'}, and the gradient is 0")
    edges.append("a −inf logit under a target above 0: +inf, with a finite gradient")
    return edges
