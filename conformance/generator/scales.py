"""Yardsticks for tolerances: how large the numbers are whose rounding an implementation may show.

Position: s = max(|ℓ|, H if kl, 2·z_loss·|lse|·max(|max x|, L)) with L = lse − max x; under kl also
Σ_k q_k·|log q_k + 1| where q is smoothed: q rounds, and H moves with it, though it may be 0; and where the
label's own coefficient beyond its share of the smoothing mass is negative (ε near 1), that times
max x − x_y, which cancels. A reduction adds s as it adds ℓ.

Gradients are sums over positions of absolute contributions. With e = |effective cotangent| and
g_k = |∂ℓ/∂q_k| (the class-weighted −log p_k, plus |log q_k| + 1 under kl):

* logits: e·(mass + |q_k| + 2·z_loss·max(|max x|, L)), mass and q after class weights;
* the logits' gradient along a tangent v: e·(mass + 2·z_loss·(max(|max x|, L) + 1))·max|v|;
* soft labels: e·(1−ε)·g_k;
* class_weight: e·(cross-entropy terms that w_k multiplies);
* prior: e·share·(g_k + Σ_j c_j·g_j / C), share = ε/C (others: C without the label's class);
* sample_weight: |cotangent|·s·|∂coefficient/∂w|, over D for a mean;
* where D depends on the argument too: plus |cotangent|·(scale of the mean)/D·|∂D/∂argument|.

Stored with three digits, rounded down, never to 0 unless the value is.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpmath import mp  # type: ignore[import-untyped]  # mpmath ships no types

from generator import oracle
from generator.gradients import effective_cotangents, vanishes
from generator.oracle import ONE, ZERO, Counting, Number, Position, Problem, Row

SMALLEST = 5e-324


def shortened(value: Number) -> float:
    """Three digits, rounded down; a nonzero value stays nonzero."""
    if value == 0 or not mp.isfinite(value):
        return 0.0
    exponent = int(mp.floor(mp.log10(value)))
    digits = int(mp.floor(value * mp.mpf(10) ** (2 - exponent)))
    return max(float(f"{digits}e{exponent - 2}"), SMALLEST)


class Yardsticks:
    """All scales of one problem; what they share is computed once."""

    def __init__(self, problem: Problem, rows: Sequence[Row], cotangent: Sequence[Number]) -> None:
        self.problem = problem
        self.rows = rows
        self.cotangent = cotangent
        self.counting = Counting.of(problem)
        self.losses = oracle.losses(problem, rows)
        self.positions = [self._position(i) for i in range(len(rows))]
        self.effective = [abs(e) for e in effective_cotangents(problem, cotangent)]
        self.by = oracle.divisor(problem, self.counting)

    def _reach(self, i: int) -> Number:
        """max(|max x|, L): what lse is made of, hence what its rounding is measured by."""
        at = self.rows[i]
        return max(abs(at.top), at.lse - at.top)

    def _position(self, i: int) -> Number:
        loss, position = self.losses[i], self.problem.positions[i]
        if not mp.isfinite(loss):
            return ZERO
        parts = [abs(loss), self._cancelling_hit(i), self._z_part(i)]
        if self.problem.spec["kl"]:
            parts += self._entropy_parts(position)
        return max(parts)

    def _entropy_parts(self, position: Position) -> list[Number]:
        """H, and how it moves with the rounding of a q that is smoothed."""
        q = oracle.target(self.problem, position)
        moves = oracle.total(oracle.each(lambda q_k: q_k * abs(mp.log(q_k) + 1) if q_k else ZERO, q))
        return [oracle.entropy(q), moves if self._share(position) else ZERO]

    def _z_part(self, i: int) -> Number:
        z = mp.mpf(self.problem.spec["z_loss"])
        return ZERO if z == 0 else 2 * z * abs(self.rows[i].lse) * self._reach(i)

    def _cancelling_hit(self, i: int) -> Number:
        """−hit·(max x − x_y) where hit = q_y − share·c_y is negative."""
        position = self.problem.positions[i]
        if position.label is None or self.problem.spec["values"] is not None:
            return ZERO
        y, share = position.label, self._share(position)
        c = oracle.receivers(self.problem, position)
        hit = oracle.target(self.problem, position)[y] - share * c[y]
        gap = self.rows[i].top - position.logits[y]
        weights = self.problem.class_weight or (ONE,)
        return max(ZERO, -hit) * gap * max(weights) if hit < 0 and mp.isfinite(gap) else ZERO

    def _share(self, position: Position) -> Number:
        """What multiplies c_k: ε/C, with the label's class left out of C for others."""
        spec, c = self.problem.spec, oracle.receivers(self.problem, position)
        among = oracle.total(c)
        if spec["spread"] == "others" and position.label is not None:
            among -= c[position.label]
        return mp.mpf(spec["label_smoothing"]) / among if among else ZERO

    def loss(self) -> list[Number]:
        """The scale of the loss, flat."""
        if vanishes(self.problem):
            return [ZERO]
        return oracle.reduced(self.problem, self.counting, self.positions)

    def totals(self) -> dict[str, Number]:
        """The scales of the four sums."""
        pairs = list(zip(self.problem.positions, self.rows, strict=True))
        nll = [oracle.position_nll(self.problem, p, r) for p, r in pairs]
        z = [self._z_part(i) if r.valid else ZERO for i, r in enumerate(self.rows)]

        def add(values: list[Number]) -> Number:
            finite = [abs(v) if mp.isfinite(v) else ZERO for v in values]
            return oracle.added(self.problem, self.counting, finite)

        weight = oracle.denominator(self.problem, self.counting)
        return {"loss": add(self.positions), "weight": weight, "nll": add(nll), "z_loss": add(z)}

    def logits(self) -> list[list[Number]]:
        """One list of K for each position."""
        return [self._logits_row(i) for i in range(len(self.rows))]

    def _logits_row(self, i: int) -> list[Number]:
        position, at = self.problem.positions[i], self.rows[i]
        if self.effective[i] == 0 or not at.valid or not position.label_in_range:
            return [ZERO for _ in position.logits]
        q = oracle.weighted_target(self.problem, position)
        common = oracle.total(q) + 2 * mp.mpf(self.problem.spec["z_loss"]) * self._reach(i)
        return oracle.each(
            lambda q_k, is_allowed: self.effective[i] * (common + abs(q_k)) if is_allowed else ZERO,
            q,
            position.allowed,
        )

    def hvp(self, tangent: Sequence[Sequence[Number]]) -> list[list[Number]]:
        """One list of K for each position."""
        return [self._hvp_row(i, max(map(abs, v), default=ZERO)) for i, v in enumerate(tangent)]

    def _hvp_row(self, i: int, largest: Number) -> list[Number]:
        position, at = self.problem.positions[i], self.rows[i]
        if self.effective[i] == 0 or not at.valid or not position.label_in_range:
            return [ZERO for _ in position.logits]
        mass = oracle.total(oracle.weighted_target(self.problem, position))
        size = self.effective[i] * largest * (mass + 2 * mp.mpf(self.problem.spec["z_loss"]) * (self._reach(i) + 1))
        return [size if is_allowed else ZERO for is_allowed in position.allowed]

    def _slopes(self, i: int) -> list[Number]:
        """g_k = |∂ℓ/∂q_k|, at the classes that exist and whose loss is finite."""
        position, at = self.problem.positions[i], self.rows[i]
        q = oracle.target(self.problem, position)
        cross = oracle.dot(q, at.surprises)
        return [
            self._slope(position, cross, k, q[k], surprise) if mp.isfinite(surprise) else ZERO
            for k, surprise in enumerate(at.surprises)
        ]

    def _slope(self, position: Position, cross: Number, k: int, q_k: Number, surprise: Number) -> Number:
        if self.problem.spec["kl"]:
            return surprise + (abs(mp.log(q_k)) + 1 if q_k else ZERO)
        w, rule = self.problem.class_weight, self.problem.spec["class_weight_rule"]
        if w is None or rule == "label_term":
            return surprise
        if rule == "per_class":
            return w[k] * surprise
        if rule == "per_label":
            assert position.label is not None
            return w[position.label] * surprise
        return oracle.expected_class_weight(self.problem, position) * surprise + w[k] * cross

    def soft_labels(self) -> list[list[Number]]:
        """One list of K for each position."""
        return [
            [self.effective[i] * oracle.kept(self.problem, position) * g for g in self._slopes(i)]
            if self.effective[i]
            else [ZERO for _ in position.logits]
            for i, position in enumerate(self.problem.positions)
        ]

    def class_weight(self) -> list[Number]:
        """One number for each class."""
        classes = len(self.problem.class_weight or ())
        through_loss = [
            mp.fsum(e * self._class_weight_term(i, k) for i, e in enumerate(self.effective) if e != 0)
            for k in range(classes)
        ]
        through_d = [self._through_denominator(self._counted_class(k)) for k in range(classes)]
        return [a + b for a, b in zip(through_loss, through_d, strict=True)]

    def _class_weight_term(self, i: int, k: int) -> Number:
        position, at = self.problem.positions[i], self.rows[i]
        q, rule = oracle.target(self.problem, position), self.problem.spec["class_weight_rule"]
        if rule == "per_class":
            return q[k] * at.surprises[k] if q[k] else ZERO
        if rule == "expected":
            return q[k] * oracle.dot(q, at.surprises)
        if k != position.label:
            return ZERO
        if rule == "per_label":
            return oracle.dot(q, at.surprises)
        return oracle.kept(self.problem, position) * at.surprises[k]

    def _counted_class(self, k: int) -> Number:
        """∂D/∂w_k."""
        name = self.problem.spec["denominator"]
        masked_in = [p for p in self.problem.positions if p.mask]
        if name == "class_weights":
            return mp.mpf(sum(p.label == k for p in masked_in))
        if name == "expected_class_weights":
            return mp.fsum(oracle.target(self.problem, p)[k] for p in masked_in)
        return ZERO

    def prior(self) -> list[Number]:
        """One number for each class."""
        classes = len(self.problem.prior or ())
        return [
            mp.fsum(self._prior_term(i, k) for i, e in enumerate(self.effective) if e != 0)
            + self._through_denominator(self._counted_prior(k))
            for k in range(classes)
        ]

    def _prior_term(self, i: int, k: int) -> Number:
        return self.effective[i] * self._spread_slope(self.problem.positions[i], k, self._slopes(i))

    def _spread_slope(self, position: Position, k: int, g: Sequence[Number]) -> Number:
        """Σ_j |∂(share·c_j)/∂prior_k|·g_j: the share itself falls as c_k grows."""
        c, share = oracle.receivers(self.problem, position), self._share(position)
        blocked = k in self.problem.spec["exclude"] or not position.allowed[k]
        if blocked or share == 0:
            return ZERO
        among = mp.mpf(self.problem.spec["label_smoothing"]) / share
        return share * (g[k] + mp.fsum(c_j * g_j for c_j, g_j in zip(c, g, strict=True)) / among)

    def _counted_prior(self, k: int) -> Number:
        """∂D/∂prior_k."""
        if self.problem.spec["denominator"] != "expected_class_weights":
            return ZERO
        masked_in = [p for p in self.problem.positions if p.mask]
        return mp.fsum(self._spread_slope(p, k, self.problem.class_weight or (ONE,) * len(p.logits)) for p in masked_in)

    def sample_weight(self) -> list[Number]:
        """One number for each position."""
        return [self._sample_weight_term(i) for i in range(len(self.rows))]

    def _sample_weight_term(self, i: int) -> Number:
        position, spec = self.problem.positions[i], self.problem.spec
        if not position.mask or not mp.isfinite(self.losses[i]) or vanishes(self.problem):
            return ZERO
        if spec["reduction"] == "none":
            return abs(self.cotangent[i]) * self.positions[i]
        outer = abs(self.cotangent[0])
        if spec["reduction"] == "sum":
            return outer * self.positions[i]
        if oracle.per_sequence(spec):
            return outer / self.by * self._within_sequence(i)
        direct = outer / self.by * self.positions[i]
        return direct + self._through_denominator(ONE if spec["denominator"] == "weights" else ZERO)

    def _within_sequence(self, i: int) -> Number:
        """s_i / W_b + Σ_t w_t·s_t / W_b²."""
        sequence = self.problem.positions[i].sequence
        own = [
            (p.weight, s)
            for p, s in zip(self.problem.positions, self.positions, strict=True)
            if p.mask and p.sequence == sequence
        ]
        weight = mp.fsum(w for w, _ in own)
        return self.positions[i] / weight + mp.fsum(w * s for w, s in own) / weight**2 if weight else ZERO

    def _through_denominator(self, slope: Number) -> Number:
        """|cotangent|·(scale of the mean)/D·|∂D|; nothing for other reductions or a normalizer."""
        no_mean = self.problem.spec["reduction"] != "mean" or vanishes(self.problem)
        if slope == 0 or no_mean or self.problem.normalizer is not None:
            return ZERO
        (mean,) = self.loss()
        return abs(self.cotangent[0]) * mean / self.by * slope
