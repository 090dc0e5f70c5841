"""A spec as source code: mask, loss of each position, reduction."""

from __future__ import annotations

from multismooth.porting.native import torch_loss
from multismooth.porting.native.words import Words
from multismooth.spec import Spec


def positions(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    """The lines, for every framework and every spec."""
    masked, each, reduced = (part(spec, words, arguments) for part in (_masked, _each, _reduced))
    lines = [*masked, *each, *reduced]
    if any("classes" in line for line in lines):
        lines.insert(0, f"classes = logits.shape[{1 if words.module == 'torch' else -1}]")
    if spec.out_of_range == "raise":
        lines.insert(0, f"# {words.bad_label}")
    return lines


def _masked(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    """``counts``, ``weight`` where it is taken, and logits and labels that are harmless where nothing counts."""
    xp, lines = words.module, []
    ones = f"{xp}.ones_like(labels, dtype={{}}) if {{}} is None else {{}}"
    if "class_weight" in arguments:
        if _weights_of_1_matter(spec):
            lines.append("weighted = class_weight is not None")
        lines.append(f"class_weight = {words.ones} if class_weight is None else class_weight")
    if "sample_weight" in arguments:
        lines.append(f"weight = {ones.format('logits.dtype', 'sample_weight', 'sample_weight')}")
        if spec.ignore_index is not None:
            lines.append(f"weight = {xp}.where(labels != {spec.ignore_index}, weight, 0.0)")
        lines.append("counts = weight != 0")
    elif "where" in arguments:
        lines.append(f"counts = {ones.format(words.boolean, 'where', 'where')}")
    else:
        lines.append(f"counts = labels != {spec.ignore_index}")
    lines += [
        f"logits = {xp}.where({words.across.format('counts')}, logits, 0.0)",
        f"labels = {xp}.where(counts, labels, 0)",
    ]
    if spec.out_of_range == "nan":
        lines += [
            "bad = (labels < 0) | (labels >= classes)",
            f"labels = {xp}.where(bad, 0, labels)",
        ]
    return lines


def _each(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    """``each``, the loss of every position that counts; some number elsewhere."""
    xp = words.module
    if xp == "torch" and torch_loss.has_target(spec, arguments):
        smoothing, mass, lines = torch_loss.smoothed(spec)
        weight = "weight=class_weight, " if "class_weight" in arguments else ""
        smoothing = f"{smoothing}, " if smoothing else ""
        lines = [line for line in lines if not line.startswith("classes =")]
        lines = [*lines, f'each = {mass}F.cross_entropy(logits, labels, {weight}{smoothing}reduction="none")']
    elif spec.values is None and spec.label_smoothing == 0:
        lines = [f"each = {words.hard}"]
        if "class_weight" in arguments:
            lines.append(f"each = {words.at_label.format('class_weight')} * each")
        if words.hard_note:
            lines.insert(0, f"# {words.hard_note}")
    else:
        lines = [*_target(spec, words), *_dense(spec, words, arguments)]
    if spec.z_loss:
        lines.append(f"each = each + {spec.z_loss!r} * {words.lse} ** 2")
    if spec.out_of_range == "nan":
        lines.append(f'each = each * {xp}.where(bad, float("nan"), {xp}.ones_like(each))')
    return lines


def _target(spec: Spec, words: Words) -> list[str]:
    """``target``, with the classes last."""
    epsilon, total = spec.label_smoothing, words.sum
    lines = [f"hit = {words.one_hot.format('labels')}"]
    if spec.exclude:
        excluded = words.one_hot.format(words.vector.format(spec.exclude))
        lines.append(f"included = 1 - {total}({excluded}, 0)")
    if spec.values is not None:
        on, off = spec.values
        miss = "included * (1 - hit)" if spec.exclude else "(1 - hit)"
        return [*lines, f"target = {on!r} * hit + {off!r} * {miss}"]
    share = f"{epsilon!r} / classes"
    if spec.exclude:
        share = f"{epsilon!r} * included / {total}(included)"
    keep = f"(1 - {epsilon!r})"
    match spec.spread:
        case "uniform" if words.smooth and not spec.exclude:
            lines.append(f"target = {words.smooth.format(repr(epsilon))}")
        case "uniform":
            lines.append(f"target = {keep} * hit + {share}")
        case "leaky":
            lines.append(f"target = {keep} * hit + {share} * (1 - hit)")
        case _ if spec.exclude:
            lines += [
                "receivers = included * (1 - hit)",
                f"number = {total}(receivers, -1)[..., None]",
                f"target = {words.module}.where(number > 0, {keep} * hit + {epsilon!r} * receivers / number, hit)",
            ]
        case _:
            lines += [
                f"kept = 1 - {epsilon!r} if classes > 1 else 1.0",
                f"target = kept * hit + {epsilon!r} / max(classes - 1, 1) * (1 - hit)",
            ]
    return lines


def _dense(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    """The loss of ``target``."""
    xp, total = words.module, words.sum
    weighted = "class_weight" in arguments
    entropy = [f"each = each + {total}({words.xlogx.format('target')}, -1)"] if spec.kl else []
    if not weighted and not _may_be_zero(spec):
        if spec.kl and words.divergence:
            return [f"log_p = {words.log_softmax}", f"each = {words.divergence}"]
        if words.soft and (words.any_mass or _mass_is_1(spec)):
            return [f"each = {words.soft}", *entropy]
    q, lines = "target", [f"log_p = {words.log_softmax}"]
    if weighted:
        q, lines = "q", [*lines, f"q = {_weighted(spec, words)}"]
    return [*lines, f"each = -{total}({xp}.where({q} != 0, {q} * log_p, 0.0), -1)", *entropy]


def _weighted(spec: Spec, words: Words) -> str:
    """The target after class weights."""
    match spec.class_weight_rule:
        case "per_class":
            return "class_weight * target"
        case "per_label":
            return f"{words.at_label.format('class_weight')}[..., None] * target"
        case "expected":
            product = f"{words.sum}(class_weight * target, -1)[..., None] * target"
            return f"{product} if weighted else target" if _weights_of_1_matter(spec) else product
        case _:  # label_term
            return f"target + (1 - {spec.label_smoothing!r}) * (class_weight - 1) * hit"


def _weights_of_1_matter(spec: Spec) -> bool:
    """Whether class weights of 1 differ from none: Σ_k q_k·w_k is the mass then."""
    return spec.class_weight_rule == "expected" and not _mass_is_1(spec)


def _may_be_zero(spec: Spec) -> bool:
    """Whether the target can be 0 for a class, so that 0 times a logarithm of −inf must be skipped."""
    if spec.values is not None:
        return bool(spec.exclude) or 0 in spec.values
    return bool(spec.exclude) or (spec.label_smoothing == 1 and spec.spread != "uniform")


def _mass_is_1(spec: Spec) -> bool:
    return spec.values is None and spec.spread != "leaky"


def _reduced(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    xp, total = words.module, words.sum
    weighted = "sample_weight" in arguments
    each = f"{xp}.where(counts, each, 0.0)"
    if weighted:
        each = "weight * each"
    if spec.reduction == "none":
        return [f"return {each}"]
    if spec.reduction == "sum":
        return [f"return {total}({each})"]
    if "sequences" in spec.denominator:
        lines = [
            f"length = {words.by_sequence.format('weight')}",
            f"sums = {words.by_sequence.format('weight * each')}",
            f"total = {total}(sums / {xp}.where(length > 0, length, 1.0))",
        ]
    else:
        lines = [f"total = {total}({each})"]
    divisor = {
        "valid": words.number.format("counts"),
        "all": words.size,
        "batch": words.batch,
        "weights": f"{total}(weight)",
        "nonzero_weights": words.number.format("counts"),
        "sequences": words.batch,
        "nonempty_sequences": words.number.format("length > 0"),
    }.get(spec.denominator)
    if divisor is None:
        divisor = _class_weights(spec, words, arguments)
    if words.counts_in_python and spec.denominator in ("all", "batch", "sequences"):
        return [*lines, f"return total / {f'max({divisor}, 1)' if spec.empty == 'zero' else divisor}"]
    lines.append(f"divisor = {divisor}")
    mean = f"total / {xp}.where(divisor > 0, divisor, 1)"
    if spec.empty == "zero" and "class_weights" not in spec.denominator:  # the total is 0 too
        return [*lines, f"return {mean}"]
    fill = "0.0" if spec.empty == "zero" else 'float("nan")'
    return [*lines, f"return {xp}.where(divisor > 0, {mean}, {fill})"]


def _class_weights(spec: Spec, words: Words, arguments: list[str]) -> str:
    """Σ w_y or Σ_k q_k·w_k over the positions that count; with kl there are no class weights, and each counts 1."""
    if "class_weight" not in arguments:
        weight = f"{words.sum}(target, -1)" if spec.denominator == "expected_class_weights" else None
    elif spec.denominator == "class_weights":
        weight = words.at_label.format("class_weight")
    else:
        weight = f"{words.sum}(class_weight * target, -1)"
    counts = "counts & ~bad" if spec.out_of_range == "nan" else "counts"
    if weight is None:
        return words.number.format(counts)
    return f"{words.sum}({words.module}.where({counts}, {weight}, 0.0))"
