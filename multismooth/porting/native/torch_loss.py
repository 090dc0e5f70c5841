"""``torch.nn.functional.cross_entropy`` in the place of a spec, as source code.

It has every spread, for with K classes

    others(ε) = uniform(ε·K/(K − 1)),     leaky(ε) = c·uniform(ε/c), c = 1 − ε/K,
    values(p, r) = c·uniform(r·K/c), c = p + r·(K − 1)
"""

from __future__ import annotations

from multismooth.porting.native.words import Words
from multismooth.spec import Spec


def whole(spec: Spec, words: Words, arguments: list[str]) -> list[str]:
    """The lines where it is all, with its own mask and its own reduction; none where it is not."""
    by = spec.denominator if spec.reduction == "mean" else None
    own_mean = spec.empty == "nan" and by in ("valid", "class_weights")
    masked = "sample_weight" not in arguments
    reduced = own_mean or by in (None, "valid", "all", "batch")
    if not (reduced and masked and has_target(spec, arguments)) or spec.z_loss or spec.out_of_range == "nan":
        return []
    if by == "valid" and "class_weight" in arguments:  # the own mean would divide by the weights
        return []
    ignored = -100 if spec.ignore_index is None else spec.ignore_index
    lines = [
        f"# {words.bad_label}",
        "# Where a position that does not count has a logit of infinity or NaN, its gradient is NaN, and not 0.",
    ]
    if own_mean and "class_weight" in arguments:
        lines.append("# Where the weights of all labels are 0 it is NaN too.")
    if "where" in arguments:
        lines += [
            f"# A label of {ignored} does not count either.",
            "if where is not None:",
            f"    labels = labels.masked_fill(~where, {ignored})",
        ]
    smoothing, mass, before = smoothed(spec)
    options = [
        "weight=class_weight" if "class_weight" in arguments else "",
        f"ignore_index={ignored}" if ignored != -100 else "",
        smoothing,
        "" if own_mean else f'reduction="{"none" if spec.reduction == "none" else "sum"}"',
    ]
    call = f"{mass}F.cross_entropy({', '.join(['logits', 'labels', *filter(None, options)])})"
    lines += before
    if by is None or own_mean:
        return [*lines, f"return {call}"]
    divisor = {"valid": f"torch.count_nonzero(labels != {ignored})", "all": words.size, "batch": words.batch}[by]
    if spec.empty == "zero":
        divisor = f"{divisor}.clamp(min=1)" if by == "valid" else f"max({divisor}, 1)"
    return [*lines, f"total = {call}", f"return total / {divisor}"]


def has_target(spec: Spec, arguments: list[str]) -> bool:
    """Whether ``F.cross_entropy`` has the target.

    Its ``label_smoothing`` must stay below 1, whatever K is: at 1 it multiplies the label's loss by 0, and that may be
    infinite.
    """
    own_weights = spec.class_weight_rule == "per_class" and spec.denominator != "expected_class_weights"
    if spec.exclude or spec.kl or ("class_weight" in arguments and not own_weights):
        return False
    if spec.values is not None:
        on, off = spec.values
        return 0 < 2 * off <= on
    return spec.label_smoothing < (1 if spec.spread == "uniform" else 0.5)


def smoothed(spec: Spec) -> tuple[str, str, list[str]]:
    """The option, the factor, and the lines before them."""
    epsilon, classes, option = spec.label_smoothing, "classes = logits.shape[1]", "label_smoothing=smoothing"
    if spec.values is not None:
        on, off = spec.values
        mass = f"mass = {on!r} + {off!r} * (classes - 1)"
        return option, "mass * ", [classes, mass, f"smoothing = {off!r} * classes / mass"]
    if epsilon == 0:
        return "", "", []
    if spec.spread == "others":
        return option, "", [classes, f"smoothing = {epsilon!r} * classes / max(classes - 1, 1)"]
    if spec.spread == "leaky":
        return option, "mass * ", [f"mass = 1 - {epsilon!r} / logits.shape[1]", f"smoothing = {epsilon!r} / mass"]
    return f"label_smoothing={epsilon!r}", "", []
