"""Laws of the linear loss, on calls that Hypothesis draws, in the plain mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from multismooth_conformance import tolerances
from multismooth_conformance.adapter import LINEAR, Array, Inputs
from multismooth_conformance.plugin import Run
from multismooth_conformance.strategies import Call, calls
from multismooth_conformance.suite.test_properties import (
    SIMPLE,
    Outputs,
    Sizes,
    Unsupported,
    changed,
    classes_last,
    flat,
    gradient_rounding,
    holds,
    identical,
    loss_rounding,
    near,
    outputs,
    sizes,
)

PER_POSITION = ("hidden", "labels", "where", "sample_weight")


def linear_outputs(run: Run, call: Call) -> Outputs:
    """The loss and the gradients, of a call with hidden and kernel."""
    if run.adapter.linear is None:
        raise Unsupported("has no linear loss")
    return outputs(run, call)


@st.composite
def heads(draw: st.DrawFn, of: st.SearchStrategy[Call]) -> tuple[Call, Call]:
    """A call of the linear loss, and one of the loss of its logits, which are exact in every dtype."""
    call = classes_last(draw(of))
    dtype, batch = call.inputs.arrays["logits"].dtype, call.inputs.counts().shape
    classes, features = call.inputs.logits[1][-1], draw(st.integers(1, 4))

    def some(shape: tuple[int, ...], unit: float) -> Array:
        size = int(np.prod(shape))
        data = draw(st.binary(min_size=size, max_size=size))
        return (np.frombuffer(data, np.uint8).reshape(shape) % 9 - 4.0) * unit

    head = {"hidden": some((*batch, features), 0.5), "kernel": some((features, classes), 0.5)}
    if draw(st.booleans()):
        head["bias"] = some((classes,), 0.5)
    scale = draw(st.sampled_from((None, 0.5, -1.0, 2.0)))
    logits = (head["hidden"] @ head["kernel"] + head.get("bias", 0.0)) * (scale or 1.0)
    given = {name: array for name, array in call.inputs.arrays.items() if name != "logits"}
    made = changed(call, logits=logits.astype(dtype))
    numbers = {} if scale is None else {"logit_scale": scale}
    arrays = {name: array.astype(dtype) for name, array in head.items()} | given
    return call._replace(inputs=call.inputs._replace(arrays=arrays, numbers=numbers)), made


HARD = calls(SIMPLE, soft=False, finite=True)


def test_linear_is_the_loss_of_its_logits(run: Run) -> None:
    """The same loss, and the chain rule from the logits' gradient to hidden, kernel and bias."""

    def law(case: tuple[Call, Call]) -> None:
        call, made = case
        here, there, size = linear_outputs(run, call), outputs(run, made), sizes(made.inputs)
        steps = tolerances.head(call.inputs)
        rounding = loss_rounding(made, size.loss)
        near(here.loss, there.loss, (2 + steps) * rounding, "the loss")
        for name, (wanted, allowed) in chained(call, made, there.logits, size).items():
            near(here.gradients[name], wanted, allowed, f"the gradient to {name}")

    holds(run, heads(HARD), law)


def chained(call: Call, made: Call, gradient: Array, size: Sizes) -> dict[str, tuple[Array, Array]]:
    """Gradients to what makes the logits, and how far a computed one may be from them."""
    arrays = {name: call.inputs.arrays[name].astype(np.longdouble) for name in LINEAR if name in call.inputs.arrays}
    scale = call.inputs.numbers.get("logit_scale", 1.0)
    g = gradient.astype(np.longdouble) * scale
    error = 2 * abs(scale) * gradient_rounding(made, size.gradient, gradient)
    h, w = arrays["hidden"], arrays["kernel"]
    positions = tuple(range(g.ndim - 1))
    forms: Mapping[str, Callable[[Array, Array, Array], Array]] = {
        "hidden": lambda g, h, w: g @ w.T,
        "kernel": lambda g, h, w: np.tensordot(h, g, (positions, positions)),
        "bias": lambda g, h, w: g.sum(positions),
    }
    found = {}
    for name in arrays:
        wanted, terms = forms[name](g, h, w), forms[name](abs(g), abs(h), abs(w))
        found[name] = wanted, forms[name](error, abs(h), abs(w)) + _sums(call.inputs, name, wanted, terms)
    return found


def _sums(inputs: Inputs, name: str, wanted: Array, terms: Array) -> Array:
    """The rounding of a sum of such terms, twice in half precision: as that of a term, and of the result."""
    dtype, _ = inputs.logits
    half_ulp = tolerances.half_ulp(terms, tolerances.compute_dtype(dtype))
    rounded = tolerances.terms(terms, dtype) + tolerances.rounded(wanted, dtype)
    return np.asarray(tolerances.linear_gradient(inputs, name) * half_ulp + rounded)


def test_linear_parts(run: Run) -> None:
    """Sums of the parts of a batch add up, and each position's hidden has the gradient of its part."""

    def law(case: tuple[tuple[Call, Call], int]) -> None:
        (call, made), cut = case[0], case[1]
        whole, size = linear_outputs(run, call), sizes(made.inputs)
        end = cut % (len(call.inputs.arrays["labels"]) + 1)
        parts = [linear_outputs(run, part(call, at)) for at in (slice(None, end), slice(end, None))]
        near(whole.loss, added([each.loss for each in parts]), 3 * loss_rounding(made, size.loss), "the loss")
        logits = outputs(run, made).logits
        for name, (_, allowed) in chained(call, made, logits, size).items():
            gradients = [each.gradients[name] for each in parts]
            wanted = np.concatenate(gradients) if name == "hidden" else added(gradients)
            near(whole.gradients[name], wanted, 3 * allowed, f"the gradient to {name}")

    sums = calls({**SIMPLE, "reduction": ("sum",)}, soft=False, finite=True).map(flat)
    holds(run, st.tuples(heads(sums), st.integers(0, 64)), law)


def part(call: Call, at: slice) -> Call:
    """Some of the positions, which are on one axis."""
    inputs = call.inputs
    by_position = [name for name in PER_POSITION if name in inputs.arrays]
    if "allowed" in inputs.arrays and inputs.arrays["allowed"].ndim > 1:
        by_position.append("allowed")
    arrays = dict(inputs.arrays) | {name: inputs.arrays[name][at] for name in by_position}
    return call._replace(inputs=inputs._replace(arrays=arrays))


def added(arrays: Sequence[Array]) -> Array:
    return np.asarray(sum(array.astype(np.longdouble) for array in arrays))


def test_linear_unread_values(run: Run) -> None:
    """What hidden holds at a masked position changes no bit, of the kernel's gradient neither."""

    def law(case: tuple[Call, Call]) -> None:
        call = case[0]
        unread, hidden = ~call.inputs.counts()[..., None], call.inputs.arrays["hidden"]
        zero, nan, inf = (
            linear_outputs(run, changed(call, hidden=np.where(unread, hidden.dtype.type(value), hidden)))
            for value in (0.0, np.nan, np.inf)
        )
        identical(nan, zero)
        identical(inf, zero)

    holds(run, heads(calls(soft=False)), law)


def test_linear_repetition(run: Run) -> None:
    """The same call gives the same bits."""
    holds(run, heads(HARD), lambda case: identical(linear_outputs(run, case[0]), linear_outputs(run, case[0])))
