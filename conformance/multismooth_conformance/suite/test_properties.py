"""Laws of the loss, on calls that Hypothesis draws, in the plain mode.

No law needs to know the loss: each compares calls, within what rounding the terms may do to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from multismooth_conformance import judge, tolerances
from multismooth_conformance.adapter import Array, Inputs, unsupported
from multismooth_conformance.plugin import Run
from multismooth_conformance.strategies import SOFT, SPEC, Call, Choices, calls

EXAMPLES = 25
EXAMPLES_COMPILED = 4
"""Where every new shape and spec is compiled first."""

PHASES = (hypothesis.Phase.generate, hypothesis.Phase.shrink)

SIMPLE: Choices = {"denominator": [name for name in SPEC["denominator"] if name != "expected_class_weights"]}
"""Denominators that ``sizes`` knows. The other is the vectors' business."""

BY_POSITION: Choices = {"denominator": ("valid", "weights", "nonzero_weights", "class_weights")}
"""Denominators that ask neither how many positions there are nor in which sequence one is."""


# --- What every law needs -----------------------------------------------------------------------------------------


class Unsupported(Exception):
    """The adapter cannot run a call."""


def holds(run: Run, draw: st.SearchStrategy[Any], law: Callable[[Any], None]) -> None:
    """Tries a law on drawn cases. Skips if the adapter can run none of them."""
    reasons: list[str] = []
    tried = 0

    @hypothesis.settings(
        max_examples=EXAMPLES_COMPILED if run.compiles else EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=PHASES,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(draw)
    def each(case: Any) -> None:
        nonlocal tried
        try:
            law(case)
        except Unsupported as error:
            reasons.append(str(error))
        else:
            tried += 1

    each()
    if not tried:
        pytest.skip(f"unsupported: {reasons[0]}")


class Outputs(NamedTuple):
    loss: Array
    gradients: Mapping[str, Array]

    @property
    def logits(self) -> Array:
        """The logits' gradient."""
        return self.gradients["logits"]


def outputs(run: Run, call: Call) -> Outputs:
    """The loss and the gradients."""
    _supported(run, call.inputs)
    return Outputs(*judge.run(run.adapter, call.inputs, call.cotangent, run.adapter.modes[0]))


def totals(run: Run, inputs: Inputs) -> Mapping[str, Array]:
    """The sums before the division."""
    _supported(run, inputs)
    sums = run.adapter.totals(inputs)
    if sums is None:
        raise Unsupported("has no totals")
    return sums


def _supported(run: Run, inputs: Inputs) -> None:
    reason = unsupported(run.adapter, inputs)
    if reason is not None:
        raise Unsupported(reason)


# --- How far two computations may be apart ------------------------------------------------------------------------


class Sizes(NamedTuple):
    """Bounds, from above, of the terms that round."""

    loss: Array
    """like the loss"""
    gradient: Array
    """of a row of the logits' gradient, like the labels"""
    share: Array
    """the factor of a position's loss in the reduced one, like the labels; 0 where nothing counts"""
    lse: Array
    """log Σ exp of the logits, like the labels"""


def sizes(inputs: Inputs) -> Sizes:
    """What rounds in a call whose logits are finite where it counts."""
    spec, arrays = inputs.spec, inputs.arrays
    counts = inputs.counts()
    weight = np.where(counts, arrays.get("sample_weight", np.ones(counts.shape)), 0).astype(np.longdouble)
    exist, x = existing(inputs), rows(inputs, "logits").astype(np.longdouble)
    x = np.where(exist & (weight != 0)[..., None], x, 0)
    top = np.where(exist, x, -np.inf).max(-1)
    gap = top - np.where(exist, x, np.inf).min(-1)
    spread = np.log(np.where(exist, np.exp(x - top[..., None]), 0).sum(-1))
    heaviest = float(arrays.get("class_weight", np.ones(1)).astype(np.float64).max())
    mass = 1.0 if spec["values"] is None else spec["values"][0] + spec["values"][1] * x.shape[-1]
    # Squared, for the rule "expected" multiplies by a sum over the target once more.
    scale = max(1.0, mass) ** 2 * max(1.0, heaviest)
    reach = np.abs(top) + spread
    entropy = math.log(x.shape[-1]) if spec["kl"] else 0.0
    share = weight * _inverse_divisor(inputs, counts, weight)
    loss = share * (scale * (spread + gap) + entropy + 2 * spec["z_loss"] * reach**2)
    return Sizes(
        loss if spec["reduction"] == "none" else np.asarray(loss.sum()),
        share * (2 * scale + 2 * spec["z_loss"] * reach),
        share,
        top + spread,
    )


def _inverse_divisor(inputs: Inputs, counts: Array, weight: Array) -> Array:
    """1 over what the mean divides by, which broadcasts to the labels; 0 where that is 0."""
    spec, arrays = inputs.spec, inputs.arrays
    if spec["reduction"] != "mean":
        return np.ones((), np.longdouble)
    match "normalizer" if "normalizer" in arrays else spec["denominator"]:
        case "normalizer":
            return _inverse(arrays["normalizer"])
        case "valid":
            return _inverse(counts.sum())
        case "all":
            return _inverse(counts.size)
        case "batch":
            return _inverse(len(counts))
        case "weights":
            return _inverse(weight.sum())
        case "nonzero_weights":
            return _inverse((weight != 0).sum())
        case "class_weights":
            by_class = arrays.get("class_weight", np.ones(rows(inputs, "logits").shape[-1])).astype(np.longdouble)
            return _inverse(by_class[np.where(counts, arrays["labels"], 0).astype(np.intp)].sum(where=counts))
        case name:
            own = weight.sum(tuple(range(1, weight.ndim)), keepdims=True)
            return _inverse(own) * _inverse(len(own) if name == "sequences" else (own > 0).sum())


def _inverse(divisor: Any) -> Array:
    divisor = np.asarray(divisor).astype(np.longdouble)
    return np.where(divisor == 0, 0, 1 / np.where(divisor == 0, 1, divisor))


def loss_rounding(call: Call, size: Array) -> Array:
    """How far a computed loss may be from the true one."""
    kind = tolerances.compute_dtype(str(call.inputs.arrays["logits"].dtype))
    depth = tolerances.reduction(call.inputs.counts().size)
    return (tolerances.position(call.inputs) + depth) * tolerances.ulp(size, kind)


def gradient_rounding(call: Call, size: Array, gradient: Array) -> Array:
    """How far a computed gradient may be from the true one; the classes are last."""
    name = str(call.inputs.arrays["logits"].dtype)
    terms = tolerances.half_ulp(size * np.abs(call.cotangent), tolerances.compute_dtype(name))
    return tolerances.GRADIENT * terms[..., None] + tolerances.rounded(gradient.astype(np.longdouble), name)


def near(actual: Array, wanted: Array, allowed: Array, what: str) -> None:
    """Raises unless what is finite is as near as allowed, and everything else the same."""
    actual, wanted = np.asarray(actual).astype(np.longdouble), np.asarray(wanted).astype(np.longdouble)
    assert actual.shape == wanted.shape, f"{what} has shape {actual.shape}, not {wanted.shape}"
    equal = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        wrong = ~equal & ~(np.abs(actual - wanted) <= allowed)
    assert not wrong.any(), f"{what} is {actual[wrong][0]}, and must be as good as {wanted[wrong][0]}"


def same(call: Call, actual: Outputs, wanted: Outputs) -> None:
    """Raises unless two computations of the call agree."""
    size = sizes(call.inputs)
    near(actual.loss, wanted.loss, 2 * loss_rounding(call, size.loss), "the loss")
    a, b = (np.moveaxis(each.logits, call.inputs.axis, -1) for each in (actual, wanted))
    allowed = gradient_rounding(call, size.gradient, a) + gradient_rounding(call, size.gradient, b)
    near(a, b, allowed, "the gradient")


def identical(actual: Outputs, wanted: Outputs) -> None:
    """Raises unless loss and gradients are the same to the bit."""
    np.testing.assert_array_equal(actual.loss, wanted.loss, err_msg="the loss")
    for name, gradient in wanted.gradients.items():
        np.testing.assert_array_equal(actual.gradients[name], gradient, err_msg=f"the gradient to {name}")


# --- Other calls made of one --------------------------------------------------------------------------------------


def rows(inputs: Inputs, name: str) -> Array:
    """An array with the classes on the last axis."""
    return np.moveaxis(inputs.arrays[name], inputs.axis, -1)


def existing(inputs: Inputs) -> Array:
    """Which classes exist, with the classes on the last axis."""
    logits = rows(inputs, "logits")
    allowed = inputs.arrays.get("allowed")
    if allowed is None:
        return np.ones(logits.shape, bool)
    return np.broadcast_to(allowed if allowed.ndim == 1 else rows(inputs, "allowed"), logits.shape)


def changed(call: Call, spec: Mapping[str, Any] | None = None, **arrays: Array | None) -> Call:
    """The call with other choices and arrays; None takes one away."""
    given = {name: array for name, array in (dict(call.inputs.arrays) | arrays).items() if array is not None}
    return call._replace(inputs=call.inputs._replace(spec=dict(call.inputs.spec) | dict(spec or {}), arrays=given))


def without_ignored(call: Call) -> Call:
    """The same mask, with no label in the part of a mask."""
    return changed(call, {"ignore_index": None}, where=call.inputs.counts())


def _by_class(inputs: Inputs) -> list[str]:
    """What has a number for every position and class."""
    names = ["logits", *(["labels"] if inputs.soft else []), "allowed"]
    return [name for name in names if name in inputs.arrays and (name != "allowed" or inputs.arrays[name].ndim > 1)]


def _by_position(inputs: Inputs) -> list[str]:
    """What has one number for every position."""
    names = [*([] if inputs.soft else ["labels"]), "where", "sample_weight"]
    return [name for name in names if name in inputs.arrays]


def classes_last(call: Call) -> Call:
    """The same call with the class axis last."""
    moved = {name: np.ascontiguousarray(rows(call.inputs, name)) for name in _by_class(call.inputs)}
    inputs = call.inputs._replace(axis=-1, arrays=dict(call.inputs.arrays) | moved)
    return call._replace(inputs=inputs)


def flat(call: Call) -> Call:
    """The same positions on one axis, the classes after it."""
    inputs = call.inputs
    size, arrays = inputs.counts().size, dict(inputs.arrays)
    for name in _by_class(inputs):
        arrays[name] = rows(inputs, name).reshape(size, arrays[name].shape[inputs.axis])
    for name in _by_position(inputs):
        arrays[name] = arrays[name].reshape(size)
    cotangent = call.cotangent.reshape(size) if inputs.spec["reduction"] == "none" else call.cotangent
    return Call(inputs._replace(axis=-1, arrays=arrays), cotangent)


def taken(call: Call, indices: Array) -> Call:
    """These elements of the labels' first axis."""
    inputs, arrays = call.inputs, dict(call.inputs.arrays)
    for name in _by_class(inputs):
        arrays[name] = np.take(arrays[name], indices, _first_axis(inputs))
    for name in _by_position(inputs):
        arrays[name] = arrays[name][indices]
    cotangent = call.cotangent[indices] if inputs.spec["reduction"] == "none" else call.cotangent
    return Call(inputs._replace(arrays=arrays), cotangent)


def _first_axis(inputs: Inputs) -> int:
    """The labels' first axis, in the logits."""
    return 1 if inputs.class_axis == 0 else 0


def batches(only: Choices) -> st.SearchStrategy[Call]:
    """Calls whose labels have an axis."""
    return calls(only, finite=True).filter(lambda call: call.inputs.counts().ndim > 0)


def ordered(draw: st.SearchStrategy[Call], size: Callable[[Call], int]) -> st.SearchStrategy[tuple[Call, Array]]:
    """A call, and an order of that many things."""

    def with_order(call: Call) -> st.SearchStrategy[tuple[Call, Array]]:
        return st.tuples(st.just(call), st.permutations(range(size(call))).map(_indices))

    return draw.flatmap(with_order)


def _indices(order: Sequence[int]) -> Array:
    return np.array(order, np.intp)


def _classes(call: Call) -> int:
    return int(call.inputs.arrays["logits"].shape[call.inputs.axis])


def _length(call: Call) -> int:
    return len(call.inputs.counts())


# --- The laws -----------------------------------------------------------------------------------------------------


def test_shift(run: Run) -> None:
    """A number added to all logits changes neither loss nor gradient, without a z-loss."""

    def law(case: tuple[Call, float]) -> None:
        call, shift = case
        if call.inputs.arrays["logits"].dtype.itemsize < 4:
            # In float32 the sum is exact, so that nothing else changes.
            call = changed(call, logits=call.inputs.arrays["logits"].astype(np.float32))
        shifted = changed(call, logits=call.inputs.arrays["logits"] + np.float32(shift))
        same(call, outputs(run, shifted), outputs(run, call))

    shifts = st.sampled_from((1.0, -2.0, 64.0))
    holds(run, st.tuples(calls({**SIMPLE, "z_loss": (0.0,)}, finite=True), shifts), law)


def test_order_of_classes(run: Run) -> None:
    """The classes in another order, everywhere, change nothing."""

    def law(case: tuple[Call, Array]) -> None:
        call, order = without_ignored(case[0]), case[1]
        inputs, axis, new = call.inputs, call.inputs.axis, np.argsort(order)
        moved = {name: np.take(inputs.arrays[name], order, axis) for name in _by_class(inputs)}
        for name in ("class_weight", "prior", "allowed"):
            if name in inputs.arrays and name not in moved:
                moved[name] = inputs.arrays[name][order]
        if not inputs.soft:
            labels = inputs.arrays["labels"]
            is_class = (labels >= 0) & (labels < len(order))
            there = new[np.where(is_class, labels, 0).astype(np.intp)]
            moved["labels"] = np.where(is_class, there.astype(labels.dtype), labels)
        exclude = sorted(int(new[k]) for k in inputs.spec["exclude"])
        loss, gradients = outputs(run, changed(call, {"exclude": exclude}, **moved))
        same(call, Outputs(loss, {"logits": np.take(gradients["logits"], new, axis)}), outputs(run, call))

    holds(run, ordered(calls(SIMPLE, finite=True), _classes), law)


def test_order_of_positions(run: Run) -> None:
    """Positions in another order change nothing, where nothing counts sequences."""
    holds(run, ordered(batches(BY_POSITION).map(flat), _length), lambda case: _reordered(run, *case))


def test_order_of_sequences(run: Run) -> None:
    """The elements of the first axis in another order change nothing."""
    holds(run, ordered(batches(SIMPLE), _length), lambda case: _reordered(run, *case))


def _reordered(run: Run, call: Call, order: Array) -> None:
    loss, gradients = outputs(run, taken(call, order))
    back = np.argsort(order)
    loss = loss[back] if call.inputs.spec["reduction"] == "none" else loss
    gradient = np.take(gradients["logits"], back, _first_axis(call.inputs))
    same(call, Outputs(loss, {"logits": gradient}), outputs(run, call))


def test_microbatches(run: Run) -> None:
    """The totals of two parts of a batch add up to those of the whole."""

    def law(case: tuple[Call, int]) -> None:
        call, cut = changed(case[0], {"reduction": "sum"}, normalizer=None), case[1]
        everyone = np.arange(_length(call))
        first, second, whole = (
            totals(run, taken(call, indices).inputs) for indices in (everyone[:cut], everyone[cut:], everyone)
        )
        for name, total in whole.items():
            size = np.abs(total).astype(np.longdouble) if name == "weight" else _size_of_total(call)
            near(np.add(first[name], second[name]), total, 2 * loss_rounding(call, size), f"totals.{name}")

    cuts = batches(SIMPLE).flatmap(lambda call: st.tuples(st.just(call), st.integers(0, _length(call))))
    holds(run, cuts, law)


def _size_of_total(call: Call) -> Array:
    """The sum of the positions' sizes; of the positions' means over sequences, for these."""
    denominator = call.inputs.spec["denominator"]
    if denominator not in ("sequences", "nonempty_sequences"):
        return sizes(call.inputs).loss
    size = sizes(changed(call, {"reduction": "mean", "denominator": "sequences"}).inputs).loss
    return np.asarray(size * _length(call))


def test_masking_is_removing(run: Run) -> None:
    """A masked position is as good as none, in a mean too."""

    def law(case: tuple[Call, int]) -> None:
        call = changed(flat(case[0]), normalizer=None)
        kept = call.inputs.counts() & (np.arange(_length(call)) % 3 != case[1])
        call = changed(call, where=kept)
        loss, gradients = outputs(run, changed(taken(call, np.flatnonzero(kept)), where=None))
        gradient = np.zeros(call.inputs.arrays["logits"].shape, gradients["logits"].dtype)
        gradient[kept] = gradients["logits"]
        here = outputs(run, call)
        same(call, here, Outputs(loss, {"logits": gradient}))
        assert not here.logits[~kept].any(), "the gradient of a masked position is not 0"

    means = calls({**BY_POSITION, "reduction": ("mean",)}, finite=True)
    holds(run, st.tuples(means, st.integers(0, 2)), law)


def test_one_hot(run: Run) -> None:
    """Soft labels with all mass on one class are that label."""

    def law(call: Call) -> None:
        call = without_ignored(call)
        logits, labels = rows(call.inputs, "logits"), call.inputs.arrays["labels"]
        one_hot = (labels[..., None] == np.arange(logits.shape[-1])).astype(logits.dtype)
        soft = changed(call, labels=np.ascontiguousarray(np.moveaxis(one_hot, -1, call.inputs.axis)))
        same(call, outputs(run, soft), outputs(run, call))

    choices = {field: values for field, values in SOFT.items() if field != "ignore_index"}
    holds(run, calls(choices, soft=False, finite=True), law)


def test_affine_in_smoothing(run: Run) -> None:
    """The loss at ε lies on the line between those at 0 and 1, and so does the gradient."""

    def law(case: tuple[Call, float]) -> None:
        call, epsilon = case
        zero, one, middle = (outputs(run, changed(call, {"label_smoothing": e})) for e in (0.0, 1.0, epsilon))
        size = sizes(call.inputs)
        loss = _between(zero.loss, one.loss, epsilon)
        near(middle.loss, loss, 2 * loss_rounding(call, size.loss), "the loss")
        a, b, c = (np.moveaxis(each.logits, call.inputs.axis, -1) for each in (zero, one, middle))
        at_a, at_b, at_c = (gradient_rounding(call, size.gradient, each) for each in (a, b, c))
        near(c, _between(a, b, epsilon), at_c + _between(at_a, at_b, epsilon), "the gradient")

    rules = [rule for rule in SPEC["class_weight_rule"] if rule != "expected"]
    choices = {**SIMPLE, "kl": (False,), "values": (None,), "class_weight_rule": rules}
    holds(run, st.tuples(calls(choices, finite=True), st.sampled_from((0.5, 0.25, 0.125, 0.75))), law)


def _between(at_zero: Array, at_one: Array, epsilon: float) -> Array:
    return (1 - epsilon) * at_zero.astype(np.longdouble) + epsilon * at_one.astype(np.longdouble)


def test_sum_of_gradient(run: Run) -> None:
    """A row of the gradient sums to 2·z_loss·lse times its share of the cotangent: the mass cancels."""

    def law(call: Call) -> None:
        size = sizes(call.inputs)
        gradient = np.moveaxis(outputs(run, call).logits, call.inputs.axis, -1)
        wanted = 2 * call.inputs.spec["z_loss"] * size.lse * size.share * call.cotangent
        allowed = gradient_rounding(call, size.gradient, gradient).sum(-1)
        near(gradient.astype(np.longdouble).sum(-1), wanted, allowed, "the gradient's sum")

    holds(run, calls(SIMPLE, finite=True), law)


def test_repetition(run: Run) -> None:
    """The same call gives the same bits."""
    holds(run, calls(), lambda call: identical(outputs(run, call), outputs(run, call)))


def test_unread_values(run: Run) -> None:
    """What stands at a masked position, or on a class that is not allowed, changes no bit."""

    def law(call: Call) -> None:
        inputs = call.inputs
        unread = np.moveaxis(~inputs.counts()[..., None] | ~existing(inputs), -1, inputs.axis)
        logits = inputs.arrays["logits"]
        zero, nan, inf = (
            outputs(run, changed(call, logits=np.where(unread, logits.dtype.type(value), logits)))
            for value in (0.0, np.nan, np.inf)
        )
        identical(nan, zero)
        identical(inf, zero)

    holds(run, calls(), law)
