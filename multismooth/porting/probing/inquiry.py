"""Questions to a loss, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multismooth import numpy as reference
from multismooth.errors import InputError
from multismooth.porting.probing import layouts, rows, targets
from multismooth.porting.probing.batches import Batch, without_normalizer
from multismooth.porting.probing.identification import Finding
from multismooth.porting.probing.layouts import Answer, Callee
from multismooth.porting.probing.rows import Row
from multismooth.spec import Spec

Array = NDArray[Any]
MANY = 16
"""Up to so many classes each is tried as a label."""


@dataclass
class Inquiry:
    callee: Callee
    classes: int
    tolerance: float
    findings: list[Finding] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    """of each label that counts, from batches of one position"""
    ignored: tuple[int, ...] = ()
    """classes whose rows have no gradient"""
    offsets: dict[int, tuple[float, float]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    """the arguments that it takes beside logits and labels"""
    floor: float = 0.0
    """what is added to every denominator"""
    built_in: Mapping[str, Array] = field(default_factory=dict)
    """arrays inside the loss"""
    spec: Spec = field(default_factory=Spec)

    # --- Tolerances: a fit's own, a coefficient's, and a batch's -----------------------------------------------------

    @property
    def double(self) -> bool:
        return self.tolerance == layouts.FLOAT64

    @property
    def fine(self) -> float:
        """Of a coefficient: the rounding of K + 2 unknowns, each a sum of a few terms near 1."""
        return 1e-12 if self.double else 2e-6

    @property
    def loose(self) -> float:
        """Of a loss or gradient, in parts of its largest term."""
        return 1e-10 if self.double else 2e-5

    # --- Saying and asking --------------------------------------------------------------------------------------------

    def say(self, about: str, probe: str, fact: str, agrees: bool = True) -> None:
        self.findings.append(Finding(about, probe, fact, agrees))

    def ask(self, batch: Batch, **options: Any) -> Answer:
        return self.callee(batch.logits, batch.labels, batch.arrays, **options)

    def predict(self, spec: Spec, batch: Batch) -> Answer:
        """The reference's answer."""
        try:
            call: dict[str, Any] = {
                "logits": batch.logits,
                "labels": batch.labels,
                "spec": spec,
                **self.built_in,
                **batch.arrays,
            }
            loss = np.asarray(reference.smoothed_cross_entropy(**call))
            gradient = reference.smoothed_cross_entropy_vjp(np.ones(loss.shape), **call)
            factor = self._floored(spec, call)
        except InputError as error:
            return Answer(layouts.NOTHING, layouts.NOTHING, str(error))
        return Answer(factor * loss, factor * gradient)

    def _floored(self, spec: Spec, call: dict[str, Any]) -> float:
        """D/(D + floor)"""
        if not self.floor or spec.reduction != "mean" or "sequences" in spec.denominator:
            return 1.0
        totals = {name: array for name, array in call.items() if name != "normalizer"}
        weight = float(call.get("normalizer", reference.smoothed_cross_entropy_totals(**totals).weight))
        return weight / (weight + self.floor) if weight else 1.0

    def differences(self, answer: Answer, right: Answer) -> tuple[float, float]:
        """Of loss and gradient, in parts of the largest term; infinite where only one is a number."""
        if answer.error is not None or right.error is not None:
            return np.inf, np.inf
        return _difference(answer.loss, right.loss, 1.0), _difference(answer.gradient, right.gradient, 0.0)

    def agrees(self, answer: Answer, spec: Spec, batch: Batch) -> bool:
        return max(self.differences(answer, self.predict(spec, batch))) <= self.loose

    # --- One position -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Asks for every label, alone in a batch."""
        x = rows.settings(self.classes)
        ignored = []
        for label in labels_of(self.classes):
            answers = [layouts.single(self.callee, row, label) for row in x]
            if any(answer.error for answer in answers):
                self.say("raises", f"label {label} alone", next(a.error for a in answers if a.error) or "", False)
                continue
            gradients = np.stack([answer.gradient.reshape(-1) for answer in answers])
            losses = np.array([answer.total for answer in answers])
            if not np.nan_to_num(gradients).any() and not np.nan_to_num(losses).any():
                ignored.append(label)
            elif np.isfinite(gradients).all():
                self.rows[label] = row = rows.fit(x, gradients)
                self.offsets[label] = rows.offset(row, x, losses)
            else:
                self.say("nan", f"label {label} alone", "the gradient is not finite", False)
        self.ignored = tuple(ignored)
        worst = max((row.residual for row in self.rows.values()), default=np.inf)
        if worst > self.tolerance:
            self.say(
                "not_softmax",
                f"one position, {rows.SETTINGS} logits for each label",
                f"the gradient is no (mass + 2·z_loss·lse)·softmax − q: {worst:.1e} of it is left over",
                False,
            )

    @property
    def targets(self) -> dict[int, Array]:
        return {label: row.q for label, row in self.rows.items()}

    @property
    def mass(self) -> float:
        return float(np.median([row.q.sum() for row in self.rows.values()]))

    def targets_at(self, classes: int) -> dict[int, Array] | None:
        """Of a few labels with another number of classes, or None if it takes no other."""
        found = {}
        x = rows.settings(classes)
        for label in list(self.rows)[-2:]:
            answers = [layouts.single(self.callee, row, label) for row in x]
            if not all(answer.finite for answer in answers):
                return None
            found[label] = rows.fit(x, np.stack([answer.gradient.reshape(-1) for answer in answers])).q
        return found

    def shown_target(self, others: Mapping[int, Mapping[int, Array]]) -> str:
        """The target, here and with other numbers of classes."""
        values = {self.classes: self.targets, **others}
        shown = {size: _pair(found, list(found)[-1]) for size, found in values.items()}
        q = self.rows[list(self.rows)[-1]].q
        rest = np.delete(q, list(self.rows)[-1])
        uneven = "" if np.ptp(rest) <= 10 * self.fine else f", from {rest.min():.4g} to {rest.max():.4g}"
        return f"{targets.law(shown, self.fine)}{uneven}; {q.sum():.6g} in all of {self.classes} classes"

    def nearest_target(self) -> Spec:
        """The target's two values, however they vary."""
        q = np.array([row.q for row in self.rows.values()])
        own = np.array([row.q[label] for label, row in self.rows.items()])
        on = float(np.clip(own.mean(), 0, None))
        off = float(np.clip((q.sum() - own.sum()) / max(q.size - len(own), 1), 0, None))
        return Spec(values=(on, off))

    def check_mass(self) -> None:
        """The gradient's row sum is 0 but for the z-loss."""
        gap = max(abs(row.mass - row.q.sum()) for row in self.rows.values())
        if gap > 10 * self.fine:
            row = next(iter(self.rows.values()))
            self.say(
                "gradient_not_the_loss_s",
                "the gradient's sum over the classes",
                f"softmax is multiplied by {row.mass:.6g}, and the target's mass is {row.q.sum():.6g}",
                False,
            )

    def with_value_terms(self, spec: Spec) -> Spec:
        """With z_loss, by the gradient, and kl, by the value."""
        z_loss = targets.snapped(float(np.median([row.z_loss for row in self.rows.values()])), self.fine)
        z_loss = 0.0 if abs(z_loss) <= self.fine else z_loss
        if z_loss > 0:
            self.say("z_loss", "the gradient's sum over the classes", f"grows with lse: {z_loss:.6g}")
        elif z_loss < 0:
            self.say("z_loss", "the gradient's sum over the classes", f"z_loss is {z_loss:.6g}", False)
        spec = replace(spec, z_loss=max(z_loss, 0.0))
        means = np.array([mean for mean, _ in self.offsets.values()])
        spread = max(spread for _, spread in self.offsets.values())
        entropies = np.array([entropy(row.q) for row in self.rows.values()])
        probe = "the loss less what its gradient integrates to"
        bound = 100 * self.fine
        if not np.isfinite(means).all():
            self.say("not_finite", probe, "the loss is NaN where its gradient is not", False)
        elif spread > bound:
            through = spread < 1e-5 and self.double
            about = "loss_through_float32" if through else "gradient_not_the_loss_s"
            self.say(about, probe, f"is no constant: it varies by {spread:.2g}", False)
            self.tolerance = layouts.FLOAT32 if through else self.tolerance
        elif np.abs(means).max() > bound:
            return self._with_offset(spec, means, entropies, bound)
        return spec

    def _with_offset(self, spec: Spec, means: Array, entropies: Array, bound: float) -> Spec:
        probe = "the loss less what its gradient integrates to"
        if np.abs(means + entropies).max() <= bound:
            self.say("kl", probe, f"is minus the target's entropy, {entropies[0]:.6g}")
            return replace(spec, kl=True)
        if np.abs(means + 2 * entropies).max() <= bound:
            self.say("entropy_twice", probe, f"is twice minus the target's entropy, {entropies[0]:.6g}", False)
            return replace(spec, kl=True)
        self.say("offset", probe, f"is {means[0]:.6g}, and the target's entropy is {entropies[0]:.6g}", False)
        return spec

    # --- Several positions --------------------------------------------------------------------------------------------

    def settle(self, spec: Spec) -> None:
        """Which axes and which arguments it takes, now that the target is known."""
        self.spec = replace(spec, reduction="sum")
        self._settle_axes()
        self._settle_arguments()

    def _settle_axes(self) -> None:
        if self.callee.layout.axes == 3:
            return
        batch = self.batch((2, 3))
        right = self.predict(self.spec, batch)
        ran = None
        for callee in layouts.in_three(self.callee):
            answer = callee(batch.logits, batch.labels)
            if answer.error is None:
                if self.proportional(answer.gradient, right.gradient):
                    self.callee = replace(callee, layout=replace(callee.layout, most=3))
                    where = "last" if callee.layout.class_axis == -1 else "second"
                    self.say("class_axis", "logits of three axes", f"the classes are {where}")
                    return
                ran = callee
        if ran is None:
            self.say("class_axis", "logits of three axes", "it raises, with the classes last or second")
        else:
            self.say("class_axis", "logits of three axes", "positions are mixed with each other or with classes", False)

    def _settle_arguments(self) -> None:
        batch = self.batch(self.shape)
        plain = self.ask(batch)
        takes = []
        for name in self.callee.parameters:
            if name in self.built_in:
                continue
            if self._settle_argument(name, batch, plain):
                takes.append(name)
        self.optional = tuple(takes)

    def _settle_argument(self, name: str, batch: Batch, plain: Answer) -> bool:
        """Whether the argument, given so that nothing changes, changes nothing."""
        value, theirs = layouts.neutral(name, batch.labels.shape, self.classes), self.callee.parameters[name]
        kinds = [("bool", False), ("float64", False), ("bool", True), ("float64", True)]
        answer = plain
        for mask_dtype, inverted in kinds if name == "where" else [(self.callee.mask_dtype, self.callee.inverted)]:
            callee = replace(self.callee, mask_dtype=mask_dtype, inverted=inverted)
            answer = callee(batch.logits, batch.labels, {name: value})
            same = answer.error is None and max(self.differences(answer, plain)) <= self.loose
            if same or (name == "normalizer" and answer.error is None):
                self.callee = callee
                if callee.inverted and name == "where":
                    self.say("mask_inverted", f"{theirs} of ones", "it marks what does not count")
                return True
        self.say(name, f"{theirs} of ones", f"left out: {answer.error or 'they are not the same as none'}")
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels in a batch."""
        if self.callee.layout.most == 2:
            return (20,)
        return (4, 5) if self.classes not in (4, 5) else (6, 7)

    def batch(self, shape: tuple[int, ...], name: str = "random logits", seed: int = 0) -> Batch:
        """Random logits, and labels that count."""
        random = np.random.default_rng([self.classes, seed, *shape])
        usable = list(self.rows)
        labels = np.array(usable)[random.integers(0, len(usable), shape)]
        return Batch(name, 2 * random.normal(size=(*shape, self.classes)), labels, {})

    def proportional(self, gradient: Array, right: Array) -> bool:
        if gradient.shape != right.shape:
            return False
        scale = (gradient * right).sum() / (right * right).sum()
        return bool(scale > 0 and np.abs(gradient - scale * right).max() <= 100 * self.tolerance * abs(scale))

    def scale(self, gradient: Array, right: Array) -> float:
        return float((gradient * right).sum() / (right * right).sum())

    def reduction(self) -> str:
        shape = (3,) if self.callee.layout.axes == 2 else (3, 1)
        batch = self.batch(shape)
        label = int(batch.labels.reshape(-1)[0])
        batch = batch._replace(labels=np.full(shape, label))
        answer = self.ask(batch)
        probe = "three positions of one label"
        if answer.error is not None:
            self.say("raises", probe, answer.error, False)
            return "mean"
        scale = self.scale(answer.gradient, self.alone(batch))
        if answer.loss.size == 3:
            self.say("reduction", probe, "one loss for each")
            self._check_cotangent(batch, answer)
            return "none"
        if answer.loss.size != 1:
            self.say("loss_shape", probe, f"the loss has shape {answer.loss.shape}", False)
        name = min({"mean": 1 / 3, "sum": 1.0}.items(), key=lambda item: abs(item[1] - scale))[0]
        self.say("reduction", probe, f"the gradient is {scale:.6g} of one alone")
        return name

    def _check_cotangent(self, batch: Batch, answer: Answer) -> None:
        right = self.predict(replace(self.spec, reduction="none"), batch)
        if self.differences(answer, right)[1] <= self.loose:
            return
        pulled = self.ask(batch, cotangent=True).gradient
        scales = [self.scale(*pair) for pair in zip(pulled.reshape(3, -1), right.gradient.reshape(3, -1), strict=True)]
        given = ", ".join(f"{value:.6g}" for value in layouts.uneven((3,)))
        got = ", ".join(f"{value:.6g}" for value in scales)
        self.say("cotangent", "cotangents " + given, f"the rows of the gradient are multiplied by {got}", False)

    def alone(self, batch: Batch) -> Array:
        """The gradient of each position, as it is alone in a batch."""
        found = np.empty_like(batch.logits)
        for index in np.ndindex(batch.labels.shape):
            row, x = self.rows[int(batch.labels[index])], batch.logits[index]
            found[index] = (row.mass + 2 * row.z_loss * rows.log_sum_exp(x)) * rows.softmax(x) - row.q
        return found

    def divisor(self, answer: Answer, spec: Spec, batch: Batch) -> str:
        """What the gradient of the sum is divided by, in words."""
        if spec.reduction != "mean" or "sequences" in spec.denominator:
            return "each sequence has its own mean" if "sequences" in spec.denominator else "nothing is divided"
        right = self.predict(replace(spec, reduction="sum"), without_normalizer(batch))
        scale = self.scale(answer.gradient, right.gradient)
        return f"divided by {1 / scale:.10g}" if scale else "no gradient"

    def described(self) -> dict[str, Any]:
        layout = self.callee.layout
        last = {-1: "last", 1: "second"}[layout.class_axis]
        return {
            "inputs": layout.inputs,
            "labels": layout.form,
            "classes": last if layout.most == 3 else "last of two axes",
            "arguments": ", ".join(self.callee.parameters[name] for name in self.optional) or "none",
            "precision": "float64" if self.double else "float32",
        }


def _pair(found: Mapping[int, Array], label: int) -> tuple[float, float]:
    q = found[label]
    return float(q[label]), float(np.median(np.delete(q, label)))


def labels_of(classes: int) -> list[int]:
    if classes <= MANY:
        return list(range(classes))
    return sorted({0, 1, 2, 3, 5, classes // 2, classes - 2, classes - 1})


def entropy(q: Array) -> float:
    q = q[q > 1e-9]
    return float(-(q * np.log(q)).sum())


def _difference(one: Array, other: Array, least: float) -> float:
    if one.shape != other.shape:
        return np.inf
    if not one.size:
        return 0.0
    both = np.isfinite(one) & np.isfinite(other)
    if not (both | (np.isnan(one) & np.isnan(other)) | (one == other)).all():
        return np.inf
    if not both.any():
        return 0.0
    scale = max(np.abs(other[both]).max(), least)
    return float(np.abs(one - other)[both].max() / scale) if scale else float(np.abs(one[both]).max())
