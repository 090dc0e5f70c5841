"""Equation (4): from the positions to a mean, in sums that add up over microbatches, devices and hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from multismooth.errors import InputError
from multismooth.lowering import Functions, divide
from multismooth.spec import Spec

_rooms: list[tuple[Any, Callable[[Any], Functions]]] = []


def register(arrays: Any, functions_for: Callable[[Any], Functions]) -> None:
    """A room tells which type its arrays have, and the functions for them."""
    _rooms.append((arrays, functions_for))


class Totals(NamedTuple):
    """The sums that a mean is made of; they add up over microbatches, devices and hosts.

        loss = Σ_i w_i·ℓ_i,     weight = Σ_i d_i,     mean = loss / weight

    with ``w_i`` = mask × sample weight and ``d_i`` what ``spec.denominator`` counts. For the denominators
    of sequences w_i is divided by its sum over the sequence. Add first and divide once: a mean of means
    is wrong whenever the masks are uneven.

    Attributes:
        loss: the numerator, in nats.
        weight: the denominator.
        nll: Σ w_i·(−log p_y), neither smoothed nor class-weighted; exp(nll / weight) is the perplexity.
        z_loss: Σ w_i·z_loss·lse², the part of ``loss`` that ``spec.z_loss`` adds.

    All four are scalars of the framework's own arrays. It is a ``NamedTuple``, and so a pytree.

    >>> import numpy as np
    >>> from multismooth.numpy import smoothed_cross_entropy_totals
    >>> halves = [smoothed_cross_entropy_totals(np.zeros((n, 4)), np.zeros(n, int)) for n in (1, 3)]
    >>> round(float(sum(halves).mean(Spec())), 6)
    1.386294
    """

    loss: Any
    weight: Any
    nll: Any
    z_loss: Any

    def __add__(self, other: Any) -> Totals:
        if not isinstance(other, Totals):
            # NotImplemented would end in a longer tuple.
            raise TypeError(f"Totals are added to Totals, not to a {type(other).__name__}")
        return Totals(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def __radd__(self, other: Any) -> Totals:
        """``sum()`` starts from 0."""
        if type(other) is int and other == 0:
            return self
        raise TypeError(f"Totals are added to Totals, not to a {type(other).__name__}")

    def mean(self, spec: Spec) -> Any:
        """``loss / weight``; where the weight is 0, what ``spec.empty`` says, with a gradient of 0."""
        for arrays, functions_for in _rooms:
            if isinstance(self.weight, arrays):
                return _mean(self.loss, self.weight, spec, functions_for(self.loss))
        raise InputError(
            "unknown_array",
            "Totals.mean",
            f"weight is a {type(self.weight).__name__}",
            "Import the room of multismooth that these totals came from",
        )


class Positions(NamedTuple):
    """What a room knows of each position. The first three are 0 where it does not count."""

    loss: Any
    nll: Any
    z_loss: Any
    mask: Any
    """the positions that count, or None for all"""
    sample_weight: Any
    """0 at a masked position; None for ones"""
    class_weight: Any
    """what the denominators of class weights add up: a number, or an array that is 0 at a masked position"""


def reduce(spec: Spec, positions: Positions, normalizer: Any, functions: Functions) -> Any:
    """The loss that ``spec.reduction`` asks for."""
    if spec.reduction == "none":
        return weighted(positions.loss, positions.sample_weight)
    if spec.reduction == "sum":
        return functions.sum(weighted(positions.loss, positions.sample_weight))
    loss = functions.sum(weighted(positions.loss, weights_of(spec, positions, functions)))
    return _mean(loss, divisor_of(spec, positions, normalizer, functions), spec, functions)


def slope(spec: Spec, positions: Positions, normalizer: Any, functions: Functions) -> Any:
    """The derivative of the loss to each position's ℓ_i, for a gradient that is derived by hand."""
    if spec.reduction != "mean":
        return _present(positions, functions)
    divisor = divisor_of(spec, positions, normalizer, functions)
    weights = weights_of(spec, positions, functions)
    weights = _present(positions, functions) if weights is None else weights
    return divide(weights, divisor, functions)


def totals(spec: Spec, positions: Positions, functions: Functions) -> Totals:
    """The sums before the division, whatever ``spec.reduction`` is."""
    weights = weights_of(spec, positions, functions)
    loss, nll, z_loss = (functions.sum(weighted(values, weights)) for values in positions[:3])
    return Totals(loss, _denominator(spec, positions, functions), nll, z_loss)


def _mean(loss: Any, weight: Any, spec: Spec, functions: Functions) -> Any:
    fill = 0.0 if spec.empty == "zero" else float("nan")
    nothing = weight == 0
    return functions.where(nothing, fill, loss / functions.where(nothing, 1.0, weight))


def divisor_of(spec: Spec, positions: Positions, normalizer: Any, functions: Functions) -> Any:
    """What the mean divides by: the normalizer, or else the spec's denominator."""
    if normalizer is None:
        return _denominator(spec, positions, functions)
    weight = functions.array(normalizer)
    return functions.where((weight >= 0) & (weight < float("inf")), weight, float("nan"))


def weighted(values: Any, weights: Any) -> Any:
    return values if weights is None else weights * values


def weights_of(spec: Spec, positions: Positions, functions: Functions) -> Any:
    """w_i; for the denominators of sequences, divided by its sum over the sequence."""
    if "sequences" not in spec.denominator:
        return positions.sample_weight
    weights = _present(positions, functions)
    return divide(weights, _by_sequence(weights, functions), functions)


def _present(positions: Positions, functions: Functions) -> Any:
    """w_i as an array."""
    if positions.sample_weight is not None:
        return positions.sample_weight
    ones = functions.ones_like(positions.loss)
    return ones if positions.mask is None else functions.where(positions.mask, ones, 0.0)


def _by_sequence(weights: Any, functions: Functions) -> Any:
    """Sums over all axes but the first, which keep their place."""
    inner = tuple(range(1, len(weights.shape)))
    return functions.sum(weights, inner, True) if inner else weights


def _denominator(spec: Spec, positions: Positions, functions: Functions) -> Any:
    loss, mask, class_weight = positions.loss, positions.mask, positions.class_weight
    match spec.denominator:
        case "all":
            return functions.array(functions.size(loss))
        case "batch" | "sequences":
            return functions.array(functions.length(loss))
        case "weights":
            return functions.sum(_present(positions, functions))
        case "nonzero_weights":
            return functions.count(_present(positions, functions) != 0)
        case "nonempty_sequences":
            return functions.count(_by_sequence(_present(positions, functions), functions) != 0)
    if spec.denominator != "valid" and not isinstance(class_weight, float):
        return functions.sum(class_weight)
    valid = functions.array(functions.size(loss)) if mask is None else functions.count(mask)
    return valid if spec.denominator == "valid" else valid * class_weight
