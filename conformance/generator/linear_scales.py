"""Yardsticks of the linear loss: how large the numbers are whose rounding an implementation may show.

hidden·kernel + bias is exact in the vectors, in the logits' dtype and in any order. What is done to it rounds: a
product with logit_scale (unless that is a power of two), a quotient, a tanh, a product. A logit x that is off by its
own half-ULP moves −log p_k by |x_k| + Σ_j p_j·|x_j| of them, and that is added to −log p_k wherever a yardstick of
scales.py has it: in the loss, in the totals, in the gradients to weights and to a prior.

The gradients to hidden, kernel and bias are sums, over classes or positions, of terms g·w with
g = ∂x/∂z·∂ℓ/∂x. Half-ULP of a term: w times those of g. With e = |effective cotangent|, F = mass + 2·z_loss·reach,
reach = max(|max x|, L), and p_k = exp((x_k − m) − L), whose relative error is that of its exponent,

* ∂ℓ/∂x: e·(F·p_k·(1 + (m − x_k) + L) + |q_k|); where logits round, e·(F + 2·z_loss)·p_k·(|x_k| + Σ_j p_j·|x_j|) more;
* ∂x/∂z = logit_scale·(1 − t²): that of ∂ℓ/∂x times the slope, and logit_scale·t²·|∂ℓ/∂x|, for 1 − t² cancels.

The logits' own yardstick, e·(mass + |q_k|), would be far too large here: it is the same for a class of p = 1e-9, and
there are very many of these in a sum over the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import gradients, oracle
from generator.linear import Gradients
from generator.oracle import ZERO, Number, Position, Row
from generator.scales import Yardsticks


class LinearYardsticks:
    """The scales of the gradients to hidden, kernel and bias, and of everything else."""

    def __init__(self, of: Gradients) -> None:
        self.head = of.head
        self.problem = of.problem
        self.rows = of.rows
        self.cotangent = of.cotangent
        self.counts = of.counts
        effective = gradients.effective_cotangents(of.problem, of.cotangent)
        self.terms = [
            self._terms(abs(e), position, at, g, z) if e != 0 else [ZERO] * len(g)
            for e, position, at, g, z in zip(effective, of.problem.positions, of.rows, of.logits, of.z, strict=True)
        ]
        """half-ULP of ∂(cotangent·loss)/∂(hidden·kernel + bias)"""

    @property
    def rounds(self) -> bool:
        """Whether logits are not exact."""
        return self.head.cap is not None or abs(mp.frexp(self.head.scale)[0]) != 0.5

    def of_the_rest(self) -> Yardsticks:
        """Those that know nothing of a linear layer, on what logits that round make of −log p."""
        return Yardsticks(self.problem, [self._moved(*pair) for pair in self._pairs()], self.cotangent)

    def _pairs(self) -> list[tuple[Position, Row]]:
        return list(zip(self.problem.positions, self.rows, strict=True))

    def _moved(self, position: Position, at: Row) -> Row:
        if not self.rounds or not at.valid:
            return at
        reach = self._reaches(position, at)
        surprises = oracle.each(lambda s, r: s + r if mp.isfinite(s) else s, at.surprises, reach)
        return replace(at, surprises=tuple(surprises))

    def _reaches(self, position: Position, at: Row) -> list[Number]:
        """|x_k| + Σ_j p_j·|x_j|: what a half-ULP of each logit does to −log p_k."""
        if not self.rounds:
            return [ZERO for _ in position.logits]
        sizes = oracle.each(lambda x: abs(x) if mp.isfinite(x) else ZERO, position.logits)
        mean = oracle.dot(at.probabilities, sizes)
        return oracle.each(lambda size: size + mean, sizes)

    def _terms(self, e: Number, position: Position, at: Row, g: Sequence[Number], z: Sequence[Number]) -> list[Number]:
        if not at.valid or not position.label_in_range:
            return [ZERO for _ in g]
        z_loss = mp.mpf(self.problem.spec["z_loss"])
        q = oracle.weighted_target(self.problem, position)
        spread = at.lse - at.top
        factor = oracle.total(q) + 2 * z_loss * max(abs(at.top), spread)

        def half_ulp(p_k: Number, q_k: Number, x_k: Number, reach: Number, g_k: Number, z_k: Number) -> Number:
            own = factor * p_k * (1 + at.top - x_k + spread) + (factor + 2 * z_loss) * p_k * reach if p_k else ZERO
            slope, lost = self.head.slope(z_k), self.head.scale * self.head.saturation(z_k)
            return e * abs(slope) * (own + abs(q_k)) + abs(lost * g_k)

        return oracle.each(half_ulp, at.probabilities, q, position.logits, self._reaches(position, at), g, z)

    def hidden(self) -> list[list[Number]]:
        features = [oracle.each(abs, w) for w in zip(*self.head.kernel, strict=True)]
        return [[oracle.dot(terms, w) for w in features] for terms in self.terms]

    def kernel(self, classes: Sequence[int]) -> list[list[Number]]:
        """Of these classes."""
        live = [
            (h, terms) for h, terms, counts in zip(self.head.hidden, self.terms, self.counts, strict=True) if counts
        ]
        features = range(len(self.head.kernel[0]))
        return [[mp.fsum(abs(h[d]) * terms[k] for h, terms in live) for k in classes] for d in features]

    def bias(self, classes: Sequence[int]) -> list[Number]:
        """Of these classes."""
        return [mp.fsum(terms[k] for terms in self.terms) for k in classes]
