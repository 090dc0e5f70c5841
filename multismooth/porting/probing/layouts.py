"""How a loss takes its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multismooth.errors import InputError
from multismooth.porting.probing import rows
from multismooth.porting.probing.frameworks import Differentiate, not_differentiable
from multismooth.spec import brief

Array = NDArray[Any]

NAMES = {
    "logits": ("logits", "input", "inputs", "y_pred", "pred", "preds", "predictions", "output", "outputs", "x",
               "log_probs", "lprobs", "logprobs", "scores", "cls_score", "vocab_parallel_logits", "net_output"),
    "labels": ("labels", "label", "target", "targets", "y_true", "onehot_labels", "y", "lb", "gold",
               "vocab_parallel_target"),
    "where": ("where", "mask", "loss_mask", "output_mask", "valid", "valid_mask", "attention_mask", "padding_mask",
              "pad_mask"),
    "sample_weight": ("sample_weight", "sample_weights", "weights", "loss_weights"),
    "class_weight": ("class_weight", "class_weights", "weight"),
    "prior": ("prior",),
    "allowed": ("allowed",),
    "normalizer": ("normalizer", "num_items_in_batch", "avg_factor", "normalization"),
}  # fmt: skip
"""Names of parameters for each of ours, those of PyTorch, Keras, TensorFlow and optax among them."""

OPTIONAL = tuple(NAMES)[2:]


class Answer(NamedTuple):
    """What a call gave. The gradient is that of the sum of the losses."""

    loss: Array
    gradient: Array
    error: str | None = None

    @property
    def finite(self) -> bool:
        return self.error is None and bool(np.isfinite(self.loss).all() and np.isfinite(self.gradient).all())

    @property
    def total(self) -> float:
        return float(self.loss.sum())


NOTHING = np.empty(0)


@dataclass(frozen=True)
class Layout:
    """One way to pass logits and labels."""

    logits: str | int
    """name or place"""
    labels: str | int
    form: str = "indices"
    """of the labels: "indices", "one-hot" or "column" (indices in a last axis of 1)"""
    inputs: str = "logits"
    """ "logits", "log-probabilities" or "probabilities" """
    axes: int = 2
    """of the logits, the least that the loss takes"""
    most: int = 2
    class_axis: int = -1
    """of logits with three axes"""
    dtype: str = "float64"


@dataclass(frozen=True)
class Callee:
    """The loss as a function of NumPy's logits with the classes last, class indices, and our names for the rest."""

    function: Callable[..., Any]
    differentiate: Differentiate
    parameters: Mapping[str, str]
    """ours to theirs, of the optional ones"""
    layout: Layout
    mask_dtype: str = "bool"
    inverted: bool = False
    """whether its mask is True where nothing counts"""
    required: tuple[str, ...] = ()
    """those that are always given: what changes nothing, where there is nothing else"""

    def __call__(
        self,
        x: Array,
        labels: Array,
        arrays: Mapping[str, Array] = MappingProxyType({}),
        *,
        cotangent: bool = False,
        dtype: str | None = None,
    ) -> Answer:
        """Of a loss for each position the gradient is pulled back from uneven cotangents, and divided by them."""
        layout = self.layout
        given = _into(layout.inputs, x)
        others = {"labels": _formed(layout.form, labels, x.shape[-1], dtype or layout.dtype)}
        if layout.class_axis != -1 and x.ndim > 2:
            given = np.moveaxis(given, -1, layout.class_axis)
            if layout.form in ("one-hot", "given"):
                others["labels"] = np.moveaxis(others["labels"], -1, layout.class_axis)
        missing = {name: neutral(name, x.shape[:-1], x.shape[-1]) for name in self.required if name not in arrays}
        for name, array in (missing | dict(arrays)).items():
            kind = self.mask_dtype if name == "where" else None if name == "allowed" else dtype or layout.dtype
            array = ~array if name == "where" and self.inverted else array
            others[name] = np.array(array, kind, order="C")
        used: list[Array] = []

        def cotangents(shape: tuple[int, ...]) -> Array:
            used.append(uneven(shape))
            return used[-1]

        try:
            with np.errstate(all="ignore"):
                loss, gradient = self.differentiate(
                    self._call, np.ascontiguousarray(given, dtype or layout.dtype), others, cotangents
                )
        except InputError as error:
            if error.reason == "not_differentiable":
                raise
            return Answer(NOTHING, NOTHING, f"{type(error).__name__}: {error}")
        except Exception as error:  # whatever a loss raises is its answer
            return Answer(NOTHING, NOTHING, f"{type(error).__name__}: {brief(str(error))}")
        loss, gradient = np.asarray(loss, np.float64), np.asarray(gradient, np.float64)
        if gradient.shape != given.shape:
            return Answer(loss, gradient, f"the gradient has shape {gradient.shape}, and the logits have {given.shape}")
        if layout.class_axis != -1 and x.ndim > 2:
            gradient = np.moveaxis(gradient, layout.class_axis, -1)
        positions = x.shape[:-1]
        if loss.size == np.prod(positions) and loss.ndim:
            loss = loss.reshape(positions)
            if not cotangent:
                gradient = gradient / used[0].reshape(positions)[..., None]
        return Answer(loss, _back(layout.inputs, x, gradient))

    def _call(self, x: Any, others: dict[str, Any]) -> Any:
        places: dict[int, Any] = {}
        named = {self.parameters[name]: array for name, array in others.items() if name != "labels"}
        for where, array in ((self.layout.logits, x), (self.layout.labels, others["labels"])):
            if isinstance(where, int):
                places[where] = array
            else:
                named[where] = array
        return self.function(*(places[place] for place in sorted(places)), **named)


def neutral(name: str, shape: tuple[int, ...], classes: int) -> Array:
    """What changes nothing of labels in this shape; the normalizer is that of a plain mean."""
    match name:
        case "where":
            return np.ones(shape, bool)
        case "sample_weight":
            return np.ones(shape)
        case "class_weight":
            return np.ones(classes)
        case "prior":
            return np.full(classes, 1 / classes)
        case "allowed":
            return np.ones(classes, bool)
        case _:
            return np.array(float(np.prod(shape)))


def uneven(shape: tuple[int, ...]) -> Array:
    """Cotangents of which no two are alike; 1 for a scalar."""
    size = int(np.prod(shape))
    return np.ones(shape) if not shape else (1 + np.arange(size).reshape(shape) * 0.625 % 2.0).reshape(shape)


def _into(inputs: str, x: Array) -> Array:
    match inputs:
        case "logits":
            return x
        case "log-probabilities":
            return rows.log_softmax(x)
        case _:
            return rows.softmax(x)


def _back(inputs: str, x: Array, gradient: Array) -> Array:
    """From the gradient to what the loss was given to that to the logits."""
    if inputs == "logits":
        return gradient
    p = rows.softmax(x)
    if inputs == "probabilities":
        gradient = gradient * p
    with np.errstate(invalid="ignore"):
        return np.asarray(gradient - p * gradient.sum(-1, keepdims=True))


def _formed(form: str, labels: Array, classes: int, dtype: str) -> Array:
    match form:
        case "indices":
            return labels
        case "given":  # soft labels
            return np.asarray(labels, dtype)
        case "column":
            return labels[..., None]
        case _:
            return np.asarray(labels[..., None] == np.arange(classes), dtype)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that can be given; none where Python cannot tell."""
    target = getattr(function, "forward", None) if hasattr(function, "register_forward_hook") else None
    try:
        found = inspect.signature(target or function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter for parameter in found if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]


def named(function: Callable[..., Any], arguments: Mapping[str, str | None]) -> dict[str, str]:
    """Our names for the loss's parameters, by the user's word or by their own names.

    Raises:
        InputError: an argument that is none of ours.
    """
    for name in arguments:
        if name not in NAMES:
            raise InputError(
                "unknown_argument", "identify", f"arguments names {brief(name)}", f"Its keys are {', '.join(NAMES)}"
            )
    theirs = {
        parameter.name for parameter in parameters_of(function) if parameter.kind is not parameter.POSITIONAL_ONLY
    }
    found: dict[str, str] = {}
    for ours, usual in NAMES.items():
        chosen = arguments[ours] if ours in arguments else next((name for name in usual if name in theirs), None)
        if chosen is not None:
            found[ours] = chosen
    return found


def layouts(function: Callable[..., Any], names: Mapping[str, str]) -> Iterator[Layout]:
    """Every way to pass logits and labels, the usual ones first."""
    if "logits" in names and "labels" in names:
        orders: list[tuple[str | int, str | int]] = [(names["logits"], names["labels"])]
    else:
        labels_first = "labels" in names or "y_true" in str(parameters_of(function)[:1])
        orders = [(1, 0), (0, 1)] if labels_first else [(0, 1), (1, 0)]
    axes = [(2, -1), (3, -1), (3, 1)]
    for dtype, (least, class_axis), inputs, form, (logits, labels) in product(
        ("float64", "float32"),
        axes,
        ("logits", "log-probabilities", "probabilities"),
        ("indices", "one-hot", "column"),
        orders,
    ):
        yield Layout(logits, labels, form, inputs, least, least, class_axis, dtype)


FLOAT64, FLOAT32 = 1e-11, 3e-4
"""What a fit leaves over, at most, where the loss computes in either."""


class Found(NamedTuple):
    callee: Callee
    tolerance: float
    fits: bool
    """whether a row's gradients are those of a softmax cross-entropy"""


def find(
    function: Callable[..., Any],
    differentiate: Differentiate,
    names: Mapping[str, str],
    classes: int,
    always: Collection[str] = (),
) -> Found:
    """The first layout in which the gradients of two labels are those of a softmax cross-entropy.

    Arguments that the loss has no default for, and those of ``always``, are given in every call.

    Raises:
        InputError: every layout raises an error, or none has a gradient.
    """
    optional = {name: names[name] for name in OPTIONAL if name in names}
    runs: Found | None = None
    errors: dict[str, None] = {}
    failure: InputError | None = None
    bare = {parameter.name for parameter in parameters_of(function) if parameter.default is parameter.empty}
    required = tuple(name for name, theirs in optional.items() if theirs in bare or name in always)
    masks = product(("bool", "float64"), (False, True)) if "where" in required else [("bool", False)]
    for layout, mask in product(layouts(function, names), masks):
        callee = Callee(function, differentiate, optional, layout, *mask, required)
        try:
            residual, error = _try(callee, classes)
        except InputError as refused:
            failure = refused
            continue
        if error is not None:
            errors[error] = None
        elif residual <= FLOAT32:
            return Found(callee, FLOAT64 if residual <= FLOAT64 else FLOAT32, True)
        elif runs is None:
            runs = Found(callee, FLOAT32, False)
    if runs is not None:
        return runs
    if failure is not None:
        raise failure
    if not errors or all("no gradient" in error for error in errors):
        raise not_differentiable("it is 0 whatever the label is")
    told = next(error for error in errors if "no gradient" not in error)
    raise InputError(
        "no_layout",
        "identify",
        f"the loss raises for every layout of logits and labels with {classes} classes, first {told}",
        "Pass classes= that the loss was made for, arguments= with the names of its parameters, or a function of "
        "(logits, labels)",
    )


def _try(callee: Callee, classes: int) -> tuple[float, str | None]:
    """The worst residual of the fits for two labels, or the error."""
    x = rows.settings(classes)
    worst = 0.0
    for label in sorted({classes // 2, classes - 2 if classes > 2 else classes - 1}):
        answers = [single(callee, row, label) for row in x]
        for answer in answers:
            if answer.error is not None:
                return np.inf, answer.error
        gradients = np.stack([answer.gradient.reshape(-1) for answer in answers])
        if not gradients.any():
            return np.inf, "no gradient"
        if not np.isfinite(gradients).all():
            return np.inf, None
        row = rows.fit(x, gradients)
        # Log-probabilities taken for logits have no softmax in their gradient, and logits taken for labels have q < 0.
        belongs = row.mass > 0.5 * row.q.sum() > 0 and row.q.min() > -0.5 * row.q.max()
        worst = max(worst, row.residual if belongs else np.inf)
    return worst, _try_three(callee, x).error


def _try_three(callee: Callee, x: Array) -> Answer:
    """Three positions, so that nothing is broadcast by accident."""
    shape = (3,) + (1,) * (callee.layout.axes - 2)
    return callee(x[:3].reshape(*shape, -1), np.full(shape, x.shape[-1] // 2))


def single(callee: Callee, row: Array, label: int, **options: Any) -> Answer:
    """The loss of a batch of one position."""
    ones = (1,) * (callee.layout.axes - 1)
    return callee(row.reshape(*ones, -1), np.full(ones, label), **options)


def in_three(callee: Callee) -> list[Callee]:
    """The same with logits of three axes, the classes last or second."""
    return [replace(callee, layout=replace(callee.layout, class_axis=axis)) for axis in (-1, 1)]
