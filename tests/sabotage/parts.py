"""What the bugs are made of: the reference's answers, its pieces, and the suite's verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from multismooth import checks, reduction
from multismooth.checks import Batch
from multismooth.errors import InputError
from multismooth.numpy import functional
from multismooth.spec import Spec
from multismooth_conformance import Inputs, Vector, judge, load
from multismooth_conformance.adapter import Adapter, Array
from multismooth_conformance.adapters.reference import ADAPTER
from multismooth_conformance.adapters.rooms import spec_of
from multismooth_conformance.tolerances import compute_dtype

Outputs = tuple[Array, dict[str, Array]]
Run = Callable[[Inputs, Array], Outputs]

VECTORS = load()
WIDE = 1024
"""More classes than these are slow in the reference, and few bugs need them."""
_VECTOR_OF = {id(vector.inputs): vector for vector in VECTORS.values()}
_right: dict[int, Outputs | InputError] = {}
_pieces: dict[int, Pieces] = {}


def vector_of(inputs: Inputs) -> Vector:
    """The vector whose own inputs these are."""
    return _VECTOR_OF[id(inputs)]


def is_wide(vector: Vector) -> bool:
    return bool(vector.inputs.logits[1][vector.inputs.axis] > WIDE)


def correct(inputs: Inputs, cotangent: Array) -> Outputs:
    """The reference's loss and gradient, worked out once for the inputs of a vector."""
    if id(inputs) not in _VECTOR_OF or cotangent is not vector_of(inputs).cotangent:
        return ADAPTER.run(inputs, cotangent, "eager")
    if id(inputs) not in _right:
        try:
            _right[id(inputs)] = ADAPTER.run(inputs, cotangent, "eager")
        except InputError as error:
            _right[id(inputs)] = error
    answer = _right[id(inputs)]
    if isinstance(answer, InputError):
        raise answer
    return answer


class Sabotaged(Adapter):
    """The reference with one bug. It reads no values, so that a bad one that it lets pass must come out as NaN."""

    name = "sabotaged"
    unread = ("eager",)
    refuses = True

    def __init__(self, run: Run, gradients: tuple[str, ...] = ("logits",)) -> None:
        self.bug = run
        self.gradients = gradients

    def run(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        return self.bug(inputs, cotangent)

    def linear(self, inputs: Inputs, cotangent: Array, mode: str) -> Outputs:
        return ADAPTER.linear(inputs, cotangent, mode)


def verdict(adapter: Adapter, vector: Vector) -> str | None:
    """Why the suite rejects the adapter on this vector, or None."""
    try:
        loss, gradients = judge.run(adapter, vector.inputs, vector.cotangent, "eager")
    except InputError as error:
        return None if error.reason == vector.reason else f"raised {error!r}"
    if gradients.keys() == {"logits"} and _is_right(vector, loss, gradients["logits"]):
        return None
    try:
        if vector.reason is None:
            judge.judge(vector, loss, gradients)
        else:
            judge.judge_nan(vector, loss, gradients)
    except AssertionError as error:
        return str(error)
    return None


def _is_right(vector: Vector, loss: Array, gradient: Array) -> bool:
    """Whether these are the arrays that the reference gave, which are judged once for all."""
    answer = _right.get(id(vector.inputs))
    return isinstance(answer, tuple) and loss is answer[0] and gradient is answer[1]["logits"]


# --- Answers to other questions -----------------------------------------------------------------------------------


def with_spec(inputs: Inputs, **fields: Any) -> Inputs:
    """The same inputs with another spec; the very same if nothing differs."""
    spec = dict(inputs.spec) | fields
    return inputs if spec == inputs.spec else inputs._replace(spec=spec)


def with_arrays(inputs: Inputs, **arrays: Array | None) -> Inputs:
    """The same inputs with other arrays; None takes one away."""
    old = inputs.arrays
    if all(new is old.get(name) or (new is not None and _same(new, old.get(name))) for name, new in arrays.items()):
        return inputs
    return inputs._replace(arrays={k: a for k, a in (dict(old) | arrays).items() if a is not None})


def _same(new: Array, old: Array | None) -> bool:
    return old is not None and new.dtype == old.dtype and np.array_equal(new, old)


def changed(change: Callable[[Inputs], Inputs], reads: bool = True) -> Run:
    """A bug that computes the right answer to another question. If it ``reads`` values, it refuses what is bad."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        outputs = correct(inputs, cotangent) if reads else None
        other = change(inputs)
        return outputs if other is inputs and outputs is not None else correct(other, cotangent)

    return run


def swapped(field: str, **values: str) -> Run:
    """A bug that takes one choice of the spec for another."""
    return changed(lambda inputs: with_spec(inputs, **{field: values.get(inputs.spec[field], inputs.spec[field])}))


def spread_as(**values: str) -> Run:
    """A bug that takes one spread for another, of what knows all of them."""

    def change(inputs: Inputs) -> Inputs:
        spec = inputs.spec
        fixed = inputs.soft or spec["values"] is not None or spec["class_weight_rule"] == "label_term"
        return inputs if fixed else with_spec(inputs, spread=values.get(spec["spread"], spec["spread"]))

    return changed(change)


def denominator_as(**values: str) -> Run:
    """A bug that takes one denominator for another, of a mean that one divides."""

    def change(inputs: Inputs) -> Inputs:
        name = inputs.spec["denominator"]
        new = values.get(name, name)
        is_scalar = inputs.arrays["logits"].ndim == 1 and (new == "batch" or "sequences" in new)
        return inputs if is_scalar or "normalizer" in inputs.arrays else with_spec(inputs, denominator=new)

    return changed(change)


def rescaled(outputs: Outputs, factor: float) -> Outputs:
    """Loss and gradient times a number."""
    if factor == 1:
        return outputs
    loss, gradients = outputs
    gradient = gradients["logits"].astype(np.float64) * factor
    return (loss * loss.dtype.type(factor)), {"logits": gradient.astype(gradients["logits"].dtype)}


def divisor(inputs: Inputs) -> float | None:
    """What a mean of the vector is divided by, if one of the denominators does it and it is not 0."""
    if inputs.spec["reduction"] != "mean" or "normalizer" in inputs.arrays:
        return None
    return float(ADAPTER.totals(inputs)["weight"]) or None


def divided(other: Callable[[Inputs, float], float]) -> Run:
    """A bug in the divisor: ``other`` makes it from the inputs and the right one."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        outputs = correct(inputs, cotangent)
        right = divisor(inputs)
        return outputs if right is None else rescaled(outputs, right / other(inputs, right))

    return run


def labels_as(cast: Callable[[Array], Array]) -> Run:
    """A bug in what becomes of integer labels."""

    def change(inputs: Inputs) -> Inputs:
        if inputs.soft:
            return inputs
        labels = inputs.arrays["labels"]
        with np.errstate(all="ignore"):
            cast_labels = cast(labels)
        return inputs if np.array_equal(cast_labels, labels) else with_arrays(inputs, labels=cast_labels)

    return changed(change, reads=False)


# --- The reference in pieces --------------------------------------------------------------------------------------


class Pieces(NamedTuple):
    """Of a call: the logits, the target, and how the positions count. float64, with the class axis last."""

    inputs: Inputs
    spec: Spec
    kind: np.dtype[Any]
    """of the arithmetic that the bounds are for"""
    x: Array
    q: Array
    mass: Array
    entropy: Any
    shares: Array
    one_hot: Array
    exists: Array
    mask: Array
    bad: Array
    weight: Array | None
    counted: Any

    @property
    def m(self) -> Array:
        return self.x.max(-1)

    @property
    def log_sum(self) -> Array:
        return functional._log_sum_exp(self.x - self.m[..., None])

    @property
    def lse(self) -> Array:
        return self.m + self.log_sum

    @property
    def surprises(self) -> Array:
        """−log p"""
        return self.log_sum[..., None] - (self.x - self.m[..., None])

    @property
    def counts(self) -> Array:
        """Positions whose loss reaches the result."""
        present = self.mask & ~self.bad
        return present if self.weight is None else present & (self.weight != 0)

    def losses(self, surprises: Array | None = None) -> Array:
        """Σ q·(−log p) + z_loss·lse² − H for each position."""
        surprises = self.surprises if surprises is None else surprises
        ce = np.where(self.q == 0, 0.0, self.q * surprises).sum(-1)
        return ce + (self.spec.z_loss * self.lse**2 if self.spec.z_loss else 0.0) - self.entropy

    def slopes(self, probabilities: Array | None = None, mass: Any = None) -> Array:
        """(mass + 2·z_loss·lse)·p − q for each position."""
        p = np.exp(-self.surprises) if probabilities is None else probabilities
        factor = (self.mass if mass is None else mass) + 2 * self.spec.z_loss * self.lse
        return np.asarray(factor)[..., None] * p - self.q


def pieces(inputs: Inputs) -> Pieces:
    """The reference's own first steps, taken once for the inputs of a vector."""
    if id(inputs) not in _VECTOR_OF or is_wide(vector_of(inputs)):
        return _first_steps(inputs)
    if id(inputs) not in _pieces:
        _pieces[id(inputs)] = _first_steps(inputs)
    return _pieces[id(inputs)]


def _first_steps(inputs: Inputs) -> Pieces:
    spec = spec_of(inputs.spec)
    names = ("logits", "labels", "where", "sample_weight", "class_weight", "prior", "allowed", "normalizer")
    batch = Batch(*(inputs.arrays.get(name) for name in names))
    layout = checks.check_call("sabotaged", spec, batch, inputs.axis, functional.describe)
    checks.check_values("sabotaged", spec, batch, layout, np.asarray)
    batch = functional._classes_last(batch, layout)
    labels, mask, bad = functional._labels(spec, batch, layout)
    target = (functional._soft_target if layout.soft else functional._target)(spec, batch, layout, labels)
    x = batch.logits if batch.allowed is None else np.where(batch.allowed, batch.logits, -np.inf)
    weight = batch.sample_weight
    return Pieces(
        inputs,
        spec,
        compute_dtype(str(inputs.arrays["logits"].dtype)),
        x,
        np.broadcast_to(target.q, x.shape),
        np.broadcast_to(target.mass, x.shape[:-1]),
        target.entropy,
        functional._shares(spec, batch),
        np.zeros(x.shape, bool) if layout.soft else np.arange(layout.classes) == labels[..., None],
        np.broadcast_to(True if batch.allowed is None else batch.allowed, x.shape),
        mask,
        bad,
        None if weight is None else np.where(mask, weight, 0.0),
        target.counted,
    )


def assembled(at: Pieces, cotangent: Array, losses: Array, slopes: Array) -> Outputs:
    """The outputs from each position's loss and slope."""
    losses, slopes = np.where(at.bad, np.nan, losses), np.where(at.bad[..., None], np.nan, slopes)
    slopes = np.where(at.exists, slopes, 0.0)
    keep = at.mask if at.weight is None else at.mask & (at.weight != 0)
    counted = np.where(at.mask & ~at.bad, at.counted, 0.0)
    nothing = np.zeros_like(losses)
    positions = reduction.Positions(np.where(keep, losses, 0.0), nothing, nothing, at.mask, at.weight, counted)
    normalizer = at.inputs.arrays.get("normalizer")
    loss = reduction.reduce(at.spec, positions, normalizer, functional.FUNCTIONS)
    g = np.asarray(cotangent * reduction.slope(at.spec, positions, normalizer, functional.FUNCTIONS))
    gradient = np.moveaxis(np.where((g == 0)[..., None], 0.0, g[..., None] * slopes), -1, at.inputs.axis)
    return np.asarray(loss, at.kind), {"logits": gradient.astype(at.inputs.arrays["logits"].dtype)}


def position_bug(wrong: Callable[[Pieces], tuple[Array, Array] | None]) -> Run:
    """A bug in a position's loss or slope; None where it makes no difference."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        outputs = correct(inputs, cotangent)
        with np.errstate(all="ignore"):
            at = pieces(inputs)
            answer = wrong(at)
            return outputs if answer is None else assembled(at, cotangent, *answer)

    return run


def target_bug(wrong: Callable[[Pieces], Array | None]) -> Run:
    """A bug in the target."""

    def change(at: Pieces) -> tuple[Array, Array] | None:
        q = wrong(at)
        if q is None:
            return None
        at = at._replace(q=q, mass=q.sum(-1))
        return at.losses(), at.slopes()

    return position_bug(change)


def leak(extra: Callable[[Pieces], Array | None]) -> Run:
    """A bug that adds something to the loss of positions that should not count."""

    def run(inputs: Inputs, cotangent: Array) -> Outputs:
        loss, gradients = correct(inputs, cotangent)
        with np.errstate(all="ignore"):
            more = extra(pieces(inputs))
        if more is None or not np.any(more != 0):
            return loss, gradients
        if inputs.spec["reduction"] == "none":
            return np.asarray(loss + more, loss.dtype), gradients
        by = 1.0 if inputs.spec["reduction"] == "sum" else inputs.arrays.get("normalizer", divisor(inputs))
        return (np.asarray(loss + more.sum() / by, loss.dtype) if by else loss), gradients

    return run
