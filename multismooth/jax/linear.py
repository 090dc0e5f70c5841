"""A model's last linear layer and its loss in one, in JAX: the logits of a few rows at a time."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from multismooth import checks, reduction
from multismooth.checks import Batch, Described, Layout
from multismooth.errors import InputError
from multismooth.jax.functional import (
    Targets,
    cast,
    coefficients,
    counted,
    evaluate,
    hard_labels,
)
from multismooth.jax.functions import describe, functions_for, read
from multismooth.jax.rows import loss_dtype, widened
from multismooth.spec import Spec, as_spec, brief

PRODUCT = 2**20
"""Elements of a product that is added to the kernel's gradient at once, and that stay in the processor's cache."""


def linear_smoothed_cross_entropy(
    hidden: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    spec: Spec | float = Spec(),
    *,
    bias: ArrayLike | None = None,
    logit_scale: float | None = None,
    softcap: float | None = None,
    where: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    normalizer: ArrayLike | None = None,
    rows: int = 256,
) -> Array:
    """``smoothed_cross_entropy`` of the logits that a linear layer makes, which are never held as a whole.

        logits = softcap·tanh(logit_scale·(hidden·kernel + bias) / softcap)

    Args:
        hidden: float16, bfloat16, float32 or float64 [*batch, features].
        kernel: [features, classes], of hidden's dtype.
        labels: class indices [*batch] of any integer dtype.
        spec: the choices; a number stands for ``Spec(label_smoothing=number)``.
        bias: [classes], of hidden's dtype.
        logit_scale: a finite number of Python or NumPy; 1 if it is None.
        softcap: one > 0 that no logit exceeds, or None for no bound.
        where, sample_weight, class_weight, prior, allowed, normalizer: as in ``smoothed_cross_entropy``, with the
            classes last.
        rows: how many rows have their logits in memory at once, about twice over in the loss's dtype. More are
            faster, fewer are smaller; the loss is the same. For the mean of 4096 rows with 131,072 classes on a CPU,
            256 at once take, beside the gradients, 0.13 of the memory that all logits would, and 64 take 0.04.

    Returns:
        A scalar, or [*batch] with ``reduction="none"``, 0 at masked positions. float64 for float64 hidden, else
        float32. Gradients have the dtype of what they are the gradients to: the logits' is rounded to hidden's, and
        the sums over rows are added up in the loss's dtype and rounded once.

    A sum or a mean computes its gradients beside the loss, where they are asked for; ``reduction="none"`` computes
    the logits twice. Blocks whose rows are all masked are skipped, and masked rows are put together to that end; what
    they hold does not matter. Derivatives of every order are exact, to hidden, kernel, bias, sample_weight,
    class_weight and prior.

    Raises:
        InputError: a wrong shape, dtype or option, soft labels among them, which are as large as the logits; or a bad
            value where it can be read, outside of transformations; elsewhere the position's loss is NaN, and so is
            its gradient.

    >>> import jax.numpy as jnp
    >>> hidden, kernel = jnp.ones((2, 3)), jnp.zeros((3, 4))
    >>> print(linear_smoothed_cross_entropy(hidden, kernel, jnp.array([0, 3]), 0.1))
    1.3862944

    Reference: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2024); for softcap, Gemma Team,
    Gemma 2 (2024), section 2.
    """
    call = "linear_smoothed_cross_entropy"
    spec = as_spec(spec, call)
    described = checks.check_linear(call, hidden, kernel, bias, logit_scale, softcap, labels, describe)
    if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1:
        raise InputError("bad_rows", call, f"rows is {brief(rows)}", "Pass how many rows a block has, an integer ≥ 1")
    logits = ShapeDtypeStruct(described.shape, described.dtype)
    batch = Batch(logits, labels, where, sample_weight, class_weight, prior, allowed, normalizer)

    def describe_batch(array: Any) -> Described | None:
        return described if array is logits else describe(array)

    layout = checks.check_call(call, spec, batch, -1, describe_batch)
    good = checks.check_values(call, spec, batch, layout, read) is not None
    targets, batch = hard_labels(spec, batch, layout, good), cast(batch)
    scale, cap = (None if number is None else float(number) for number in (logit_scale, softcap))
    loss = _Loss(spec, layout.classes, good, scale, cap)
    by_row, shared = _arrays(batch, targets, *(None if a is None else jnp.asarray(a) for a in (hidden, kernel, bias)))
    functions = functions_for(logits)
    weight = 1.0
    if "class_weights" in spec.denominator:
        weight = coefficients(spec, batch, layout, targets.labels, functions)[2]
    shape = targets.labels.shape
    positions = counted(batch, targets, weight)._replace(loss=jnp.zeros(shape, loss_dtype(logits)))
    if spec.reduction == "none":
        losses = loss.of_each(by_row, shared, int(rows)).reshape(shape)
        return reduction.weighted(losses, positions.sample_weight)
    # Divided before they are added up, so that the gradients need no other factor, which were a copy of them.
    by_row = by_row._replace(weight=reduction.slope(spec, positions, normalizer, functions).reshape(-1))
    total = _total(loss, *_blocks(by_row, shared, int(rows)))
    if spec.reduction == "sum" or spec.empty == "zero":
        return total
    nothing = reduction.divisor_of(spec, positions, normalizer, functions) == 0
    return total + jnp.where(nothing, jnp.nan, jnp.zeros_like(total))


class _Rows(NamedTuple):
    """What each row has of its own, or None."""

    hidden: Array
    labels: Array
    mask: Array | None
    bad: Array | None
    sample_weight: Array | None
    allowed: Array | None
    weight: Array | None = None
    """what the losses are multiplied with before they are added up"""


class _Shared(NamedTuple):
    """What all rows have in common, or None."""

    kernel: Array
    bias: Array | None
    class_weight: Array | None
    prior: Array | None
    allowed: Array | None


def _arrays(
    batch: Batch,
    targets: Targets,
    hidden: Array,
    kernel: Array,
    bias: Array | None,
) -> tuple[_Rows, _Shared]:
    """With no more than one axis of rows. A row that does not count is 0, whatever it held."""
    used, weight = targets.mask, batch.sample_weight
    if weight is not None:
        weight = jax.lax.stop_gradient(weight)
        live = (weight != 0) | jnp.isfinite(hidden).all(-1)
        used = live if used is None else used & live
    if used is not None:
        hidden = jnp.where(used[..., None], hidden, 0)
    by_row = _Rows(hidden, targets.labels, used, targets.bad, weight, None)
    shared = _Shared(kernel, bias, batch.class_weight, batch.prior, batch.allowed)
    if batch.allowed is not None and batch.allowed.ndim > 1:
        by_row, shared = by_row._replace(allowed=batch.allowed), shared._replace(allowed=None)
    rank, rows = targets.labels.ndim, targets.labels.size  # not −1, which no array without features could tell
    return jax.tree.map(lambda array: array.reshape(rows, *array.shape[rank:]), by_row), shared


def _blocks(by_row: _Rows, shared: _Shared, size: int) -> tuple[_Rows, _Shared]:
    """Rows as [blocks, size, …], those that count before the others."""
    order = _order(by_row, size)
    if order is None:
        return jax.tree.map(lambda array: array[None], by_row), shared
    count = -(-len(order) // size)
    missing = count * size - len(order)
    mask = jnp.ones(len(order), bool) if by_row.mask is None and missing else by_row.mask

    def block(array: Array) -> Array:
        array = array if by_row.mask is None else array[order]
        return jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)).reshape(count, size, *array.shape[1:])

    return jax.tree.map(block, by_row._replace(mask=mask)), shared


def _order(by_row: _Rows, size: int) -> Array | None:
    """Which row comes when, or None if they are one block."""
    if len(by_row.labels) <= size:
        return None
    if by_row.mask is None:
        return jnp.arange(len(by_row.labels))
    return jnp.argsort(~by_row.mask, stable=True)


def scaled(z: Array, logit_scale: float | None, softcap: float | None) -> Array:
    """The logits, in the loss's dtype; without a scale and a cap, the products z as they are."""
    if logit_scale is not None:
        z = widened(z) * float(logit_scale)
    if softcap is not None:
        z = jnp.tanh(widened(z) / float(softcap)) * float(softcap)
    return z


class _Loss(NamedTuple):
    """The choices: how a block's loss is computed."""

    spec: Spec
    classes: int
    good: bool
    logit_scale: float | None
    softcap: float | None

    def of_products(self, z: Array, block: _Rows, shared: _Shared) -> Array:
        """Each row's loss by its products z = hidden·kernel + bias."""
        allowed = shared.allowed if block.allowed is None else block.allowed
        given = (block.mask, block.sample_weight, shared.class_weight, shared.prior, allowed)
        batch = Batch(scaled(z, self.logit_scale, self.softcap), block.labels, *given)
        targets, layout = Targets(block.labels, block.mask, block.bad), Layout(1, self.classes, soft=False)
        return evaluate(self.spec, batch, layout, targets, self.good).loss

    def of_rows(self, block: _Rows, shared: _Shared) -> Array:
        z = _products(block.hidden, shared.kernel, shared.bias)
        return self.of_products(z.astype(block.hidden.dtype), block, shared)

    def of_each(self, by_row: _Rows, shared: _Shared, size: int) -> Array:
        """Each row's loss, in the rows' order. The logits are computed again for the gradient."""
        # In the loss's dtype, for the blocks' gradients are added up in the kernel's.
        shared = shared._replace(
            kernel=widened(shared.kernel), bias=None if shared.bias is None else widened(shared.bias)
        )
        blocks, shared = _blocks(by_row, shared, size)

        @jax.checkpoint
        def add(_: None, block: _Rows) -> tuple[None, Array]:
            zero = jnp.zeros(block.labels.shape, loss_dtype(block.hidden))
            return None, _unless_empty(block, lambda: self.of_rows(block, shared), zero)

        losses = jax.lax.scan(add, None, blocks)[1].reshape(-1)
        order = _order(by_row, size)
        return losses if order is None else losses[jnp.argsort(order)]


def _products(hidden: Array, kernel: Array, bias: Array | None) -> Array:
    z = jnp.matmul(hidden.astype(kernel.dtype), kernel)
    return z if bias is None else z + bias


def _unless_empty(block: _Rows, compute: Any, nothing: Any) -> Any:
    """What is computed, but where no row counts."""
    if block.mask is None:
        return compute()
    return jax.lax.cond(block.mask.any(), compute, lambda: nothing)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _total(loss: _Loss, blocks: _Rows, shared: _Shared) -> Array:
    """Σ weight·ℓ over the rows of all blocks, with the gradients computed beside it."""

    def add(_: None, block: _Rows) -> tuple[None, Array]:
        zero = jnp.zeros((), loss_dtype(block.hidden))
        weighted = lambda: reduction.weighted(loss.of_rows(block, shared), block.weight).sum()  # noqa: E731
        return None, _unless_empty(block, weighted, zero)

    return jax.lax.scan(add, None, blocks)[1].sum()


def _total_jvp(loss: _Loss, primals: tuple[_Rows, _Shared], tangents: tuple[_Rows, _Shared]) -> tuple[Array, Array]:
    """The gradient of each argument that moves, times how it moves."""
    blocks, shared = primals
    moving_rows, moving_shared = (_moving(tangent) for tangent in tangents)
    dtype = loss_dtype(blocks.hidden)
    start = {name: jnp.zeros(getattr(shared, name).shape, dtype) for name in moving_shared}

    def add(sums: dict[str, Array], block: _Rows) -> tuple[dict[str, Array], tuple[Array, dict[str, Array]]]:
        nothing = {name: jnp.zeros(getattr(block, name).shape, dtype) for name in moving_rows}

        def compute() -> Any:
            value, of_rows, added = _gradients(loss, block, shared, set(moving_rows), sums)
            return added, (value, of_rows)

        return _unless_empty(block, compute, (sums, (jnp.zeros((), dtype), nothing)))

    of_shared, (values, of_rows) = jax.lax.scan(add, start, blocks)
    gradients, moving = of_rows | of_shared, moving_rows | moving_shared
    moved = [(gradients[name] * moving[name].astype(dtype)).sum() for name in gradients]
    return values.sum(), sum(moved, jnp.zeros((), dtype))


def _moving(tangent: Any) -> dict[str, Array]:
    arrays = tangent._asdict().items()
    return {name: array for name, array in arrays if array is not None and not isinstance(array, SymbolicZero)}


def _gradients(
    loss: _Loss,
    block: _Rows,
    shared: _Shared,
    of_rows: set[str],
    sums: dict[str, Array],
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """A block's sum of losses, and by name its rows' gradients and the sums of gradients over rows with its own."""
    hidden, kernel, dtype = block.hidden, shared.kernel, loss_dtype(block.hidden)
    own = {name: getattr(block, name) for name in of_rows - {"hidden"}}
    common = {name: getattr(shared, name) for name in sums.keys() - {"kernel", "bias"}}

    def total(z: Array, own: dict[str, Array], common: dict[str, Array]) -> Array:
        rows = block._replace(**own)
        return reduction.weighted(loss.of_products(z, rows, shared._replace(**common)), rows.weight).sum()

    value, pullback = jax.vjp(total, _products(hidden, kernel, shared.bias), own, common)
    slope, of_own, of_common = pullback(jnp.ones_like(value))
    if "hidden" in of_rows:
        of_own["hidden"] = jnp.einsum("rk,dk->rd", slope, kernel, preferred_element_type=dtype)
    if "bias" in sums:
        of_common["bias"] = slope.sum(0, dtype=dtype)
    added = {name: sums[name] + of_common[name] for name in of_common}
    if "kernel" in sums:
        added["kernel"] = _plus_product(sums["kernel"], hidden, slope)
    return value, of_own, added


def _plus_product(sums: Array, hidden: Array, slope: Array) -> Array:
    """sums + hiddenᵀ·slope, on a CPU for some classes after the others.

    There XLA holds the whole product, which is as large as the kernel; on a GPU it multiplies and adds in one.
    """
    features, classes = sums.shape
    size = min(classes, max(1, PRODUCT // max(1, features)))

    def plus(sums: Array, hidden: Array, slope: Array) -> Array:
        return sums + jnp.matmul(hidden.T, slope, preferred_element_type=sums.dtype)

    def by_classes(sums: Array, hidden: Array, slope: Array) -> Array:
        def add(start: Any, size: int, sums: Array) -> Array:
            here, some = (jax.lax.dynamic_slice_in_dim(array, start, size, 1) for array in (sums, slope))
            # Widened, for XLA refuses some products of bfloat16 in a loop; it widens the others itself.
            return jax.lax.dynamic_update_slice_in_dim(sums, plus(here, widened(hidden), widened(some)), start, 1)

        whole = classes // size
        sums = jax.lax.fori_loop(0, whole, lambda i, sums: add(i * size, size, sums), sums)
        return add(whole * size, classes - whole * size, sums) if classes % size else sums

    return jax.lax.platform_dependent(sums, hidden, slope, cpu=by_classes, default=plus)


_total.defjvp(_total_jvp, symbolic_zeros=True)
