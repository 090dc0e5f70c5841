"""From the answers of a loss to the spec that it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from multismooth.errors import InputError
from multismooth.porting.probing import batches, built_in, labels, layouts, targets
from multismooth.porting.probing.batches import Batch
from multismooth.porting.probing.built_in import BuiltIn
from multismooth.porting.probing.edges import edges
from multismooth.porting.probing.frameworks import autodiff
from multismooth.porting.probing.identification import Finding, Identification
from multismooth.porting.probing.inquiry import Inquiry
from multismooth.porting.probing.layouts import Found
from multismooth.porting.probing.targets import Candidate
from multismooth.spec import CLASS_WEIGHT_RULES, DENOMINATORS, Spec, brief

Array = NDArray[Any]


def identify(
    loss: Callable[..., Any],
    framework: str,
    *,
    classes: int | Sequence[int] = (7, 9),
    arguments: Mapping[str, str | None] | None = None,
) -> Identification:
    """Finds the ``Spec`` that a loss computes, by its values and gradients alone.

    A batch of one position has the gradient (mass + 2·z_loss·lse)·softmax − q, and so a few logits tell the target;
    batches in which no two denominators coincide tell the rest.

    Args:
        loss: a function of logits and labels, in either order, or a module; a class without arguments is made an
            instance. Its result is a scalar, one loss per position, or a tuple that begins with it. Masks and weights
            are probed where its signature has a parameter with a usual name.
        framework: "torch", "jax", "tensorflow", "keras" (on the active backend), or "numpy", where the loss returns
            (value, pullback) with pullback(cotangent) the logits' gradient.
        classes: the number of classes, or two of them, which tell spreads apart that are the same at one.
        arguments: the loss's names for ``logits``, ``labels``, ``where``, ``sample_weight``, ``class_weight``,
            ``prior``, ``allowed`` and ``normalizer``, where they are not found by themselves, or must be given in
            every call; None for one that is not to be used.

    Raises:
        InputError: the framework is missing, the loss has no gradient, or it raises for every layout.

    >>> from multismooth.numpy import smoothed_cross_entropy, smoothed_cross_entropy_vjp
    >>> def loss(logits, labels, spec=Spec(0.1, "leaky", ignore_index=255)):
    ...     value = smoothed_cross_entropy(logits, labels, spec)
    ...     return value, lambda g: smoothed_cross_entropy_vjp(g, logits, labels, spec)
    >>> found = identify(loss, "numpy")
    >>> found.spec, found.sure
    (Spec(label_smoothing=0.1, spread='leaky', ignore_index=255), 'open')
    """
    sizes = _sizes(classes)
    function = _instance(loss)
    names = layouts.named(function, arguments or {})
    found = layouts.find(function, autodiff(framework), names, sizes[0], always=set(arguments or ()))
    answer = _search(found, sizes)
    if not _may_be_rounded(found, answer):
        return answer
    rounded = _search(found._replace(tolerance=layouts.FLOAT32), sizes)
    if rounded.spec is None and ("target" not in answer.deviations or "target" in rounded.deviations):
        return answer
    if answer.spec is not None and targets.digits(rounded.nearest) > 4:
        return answer
    remark = Finding("partly_in_float32", "float64 logits", "some of it is rounded to float32")
    return replace(rounded, findings=(*rounded.findings, remark))


def _search(found: Found, sizes: tuple[int, ...]) -> Identification:
    return _Search(Inquiry(found.callee, sizes[0], found.tolerance), sizes[1:], found.fits).identification()


FLOAT32_ROUNDING = 1e-6
"""Of a loss and its gradient, in parts of the largest term: a few times 2⁻²⁴."""


def _may_be_rounded(found: Found, answer: Identification) -> bool:
    """Whether no spec of few digits fits, for no more than float32 may explain."""
    if found.tolerance != layouts.FLOAT64 or "floor_in_denominator" in answer.deviations:
        return False
    many_digits = answer.nearest.values is not None and targets.digits(answer.nearest) > 4
    if answer.spec is not None or many_digits:
        return many_digits
    near = max(answer.loss_residual, answer.gradient_residual) <= FLOAT32_ROUNDING
    return near or not {"target", "offset"}.isdisjoint(answer.deviations)


def _sizes(classes: int | Sequence[int]) -> tuple[int, ...]:
    sizes = (classes,) if isinstance(classes, int) else tuple(classes)
    if not sizes or not all(isinstance(size, int) and size >= 3 for size in sizes):
        raise InputError("bad_classes", "identify", f"classes is {brief(classes)}", "Pass one or two integers ≥ 3")
    return sizes


def _instance(loss: Any) -> Any:
    if not callable(loss):
        raise InputError(
            "not_callable", "identify", f"the loss is a {type(loss).__name__}", "Pass a function or a module"
        )
    if not isinstance(loss, type):
        return loss
    try:
        made = loss()
    except Exception as error:
        raise InputError(
            "class_needs_arguments",
            "identify",
            f"{loss.__name__}() raises {type(error).__name__}: {brief(str(error))}",
            "Pass an instance",
        ) from error
    return _instance(made)


def _common(found: Mapping[int, Array], others: Mapping[int, Mapping[int, Array]], tolerance: float) -> list[Candidate]:
    """The specs whose targets these are, at every number of classes."""
    return [
        one
        for one in targets.candidates(found, tolerance)
        if all(targets.agrees(one.spec, other, 10 * tolerance) for other in others.values())
    ]


@dataclass
class _Search:
    """The state of one identification."""

    inquiry: Inquiry
    more_classes: tuple[int, ...]
    fits: bool
    known: bool = True
    """whether a spec has its target"""
    also: list[str] = field(default_factory=list)
    arrays: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def identification(self) -> Identification:
        inquiry = self.inquiry
        inquiry.start()
        target = self._target()
        if not self.fits:
            return self._no_softmax(target)
        inquiry.settle(target)
        base = replace(target, reduction=inquiry.reduction())
        base = labels.out_of_range(inquiry, base)
        survivors = self._reduced(base)
        spec = survivors[0]
        spec = batches.empty(inquiry, spec)
        loss_residual, gradient_residual = batches.residuals(inquiry, spec)
        agrees = self.known and max(loss_residual, gradient_residual) <= inquiry.loose
        if agrees:
            edges(inquiry, spec)
        sure = "no" if not agrees else "certain"
        if agrees and any(not finding.agrees for finding in inquiry.findings):
            sure = "edges"
        elif agrees and self.also:
            sure = "open"
        return self._concluded(sure, spec, loss_residual, gradient_residual)

    def _no_softmax(self, nearest: Spec) -> Identification:
        """Of a loss that is no cross-entropy of this family, a position alone tells all that can be told."""
        return self._concluded("no", nearest, math.inf, math.inf)

    def _concluded(self, sure: str, spec: Spec, loss: float, gradient: float) -> Identification:
        inquiry = self.inquiry
        return Identification(
            None if sure == "no" else spec,
            sure,
            tuple(inquiry.findings),
            tuple(self.also),
            spec,
            loss,
            gradient,
            inquiry.described(),
            self.arrays,
        )

    def _target(self) -> Spec:
        """The fields that say what a position's loss is."""
        inquiry = self.inquiry
        inquiry.check_mass()
        others: dict[int, Mapping[int, Array]] = {}
        for size in self.more_classes:
            other = inquiry.targets_at(size)
            if other is None:
                inquiry.say("classes", f"{size} classes", f"it takes {inquiry.classes} classes only")
            else:
                others[size] = other
        found = _common(inquiry.targets, others, inquiry.fine)
        inside = None if found or others else self._built_in()
        shown, probe = inquiry.shown_target(others), "one position, each label"
        if inside is not None:
            inquiry.say("target", probe, shown)
            return inquiry.with_value_terms(inside.spec)
        if not found or found[0].digits > 4:
            found = self._floored(others) or found
        if not found:
            self.known = False
            inquiry.say("target", probe, f"no spec has it: {shown}", False)
            return inquiry.with_value_terms(inquiry.nearest_target())
        self.also += [f"{one.spec!r}, the same at {inquiry.classes} classes" for one in found[1:]]
        inquiry.say("target", probe, shown)
        return inquiry.with_value_terms(found[0].spec)

    def _floored(self, others: Mapping[int, Mapping[int, Array]]) -> list[Candidate]:
        """The targets of a loss that divides one position by a little more than 1."""
        inquiry = self.inquiry
        mass = inquiry.mass
        if not 10 * inquiry.fine < 1 - mass < 0.01:
            return []
        whole = {label: q / mass for label, q in inquiry.targets.items()}
        rest = {size: {label: q / mass for label, q in found.items()} for size, found in others.items()}
        found = _common(whole, rest, inquiry.fine)
        if not found or found[0].digits > 4:
            return []
        inquiry.floor = 1 / mass - 1
        inquiry.say("floor_in_denominator", "one position", f"it is divided by 1 + {inquiry.floor:.6g}", False)
        return found

    def _built_in(self) -> BuiltIn | None:
        """Class weights or a prior inside the loss, if they explain a target that no spec has."""
        inquiry = self.inquiry
        alone = inquiry.targets
        found = built_in.prior(alone, inquiry.fine)
        found = found or next(built_in.class_weights(inquiry.callee, alone, inquiry.fine), None)
        if found is None:
            return None
        inquiry.built_in = found.arrays
        for name, array in found.arrays.items():
            self.arrays[name] = tuple(array.tolist())
            shown = ", ".join(f"{value:.6g}" for value in array)
            inquiry.say(name, "each label, alone and in one batch", f"there is one inside the loss: {shown}")
        return found

    def _reduced(self, base: Spec) -> list[Spec]:
        """The specs that agree with every batch but those that none agrees with."""
        inquiry = self.inquiry
        denominators = DENOMINATORS if base.reduction == "mean" else ("valid",)
        rules = CLASS_WEIGHT_RULES if "class_weight" in inquiry.optional else (base.class_weight_rule,)
        survivors = [
            replace(base, denominator=denominator, class_weight_rule=rule)
            for denominator in denominators
            for rule in rules
            if rule != "label_term" or (base.values is None and base.spread == "uniform")
        ]
        for batch in batches.telling(inquiry, base):
            survivors = self._filtered(batch, survivors)
        self._name_others(survivors)
        return survivors

    def _filtered(self, batch: Batch, survivors: list[Spec]) -> list[Spec]:
        inquiry = self.inquiry
        answer = inquiry.ask(batch)
        if answer.error is not None:
            inquiry.say("raises", batch.name, answer.error, False)
            return survivors
        left = [spec for spec in survivors if inquiry.agrees(answer, spec, batch)]
        if not left:
            about, fact = batches.diagnosis(inquiry, answer, survivors, batch)
            inquiry.say(about, batch.name, fact, False)
            return survivors
        gone = {spec.denominator for spec in survivors} - {spec.denominator for spec in left}
        if gone:
            kept = ", ".join(dict.fromkeys(spec.denominator for spec in left))
            inquiry.say("denominator", batch.name, f"{inquiry.divisor(answer, left[0], batch)}: {kept}")
        rules = {spec.class_weight_rule for spec in survivors} - {spec.class_weight_rule for spec in left}
        if rules:
            kept = ", ".join(dict.fromkeys(spec.class_weight_rule for spec in left))
            inquiry.say("class_weight_rule", batch.name, kept)
        return left

    def _name_others(self, survivors: list[Spec]) -> None:
        """The specs that are left, by their fields where every combination of these is."""
        fields = {
            name: list(dict.fromkeys(getattr(spec, name) for spec in survivors))
            for name in ("denominator", "class_weight_rule")
        }
        if len(survivors) < math.prod(map(len, fields.values())):
            self.also += [f"{spec!r}, the same here" for spec in survivors[1:]]
            return
        for name, values in fields.items():
            if len(values) > 1:
                others = " or ".join(map(repr, values[1:]))
                self.also.append(f"{name} {others}, the same with the arguments that it takes")
