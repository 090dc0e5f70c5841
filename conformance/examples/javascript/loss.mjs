/**
 * A label-smoothed, masked softmax cross-entropy and its gradient: plain JavaScript, double precision, no dependencies.
 *
 * A position has logits x and a target q; with mass = Σ_k q_k and lse = log Σ_k exp x_k
 *
 *     ℓ      = mass·lse − ⟨q, x⟩ + z_loss·lse² − H              (1)
 *     ∂ℓ/∂x  = (mass + 2·z_loss·lse)·softmax(x) − q             (2)
 *     loss   = Σ_i w_i·ℓ_i / D                                  (3)
 *
 * Inputs and spec are those of a vector; an array is {dtype, shape, data} with `data` flat and row-major.
 */

/** How far from 1 probabilities may sum. */
const SUM_TOLERANCE = 2 ** -8;

/** A bad value; `reason` is its permanent name. */
export class InputError extends Error {
  constructor(reason, fact) {
    super(fact);
    this.reason = reason;
  }
}

/** The loss, flat, and the function from its cotangent to the gradient to the logits, both flat. */
export function smoothedCrossEntropy(inputs, spec, axis = -1) {
  const batch = batchOf(inputs, spec, axis);
  checkClasses(batch);
  batch.positions.forEach((position) => checkPosition(batch, position));
  const rows = batch.positions.map((position) => row(batch, position));
  const { loss, slopes } = reduce(batch, rows);
  const pullBack = (cotangent) => {
    const gradient = new Float64Array(inputs.logits.data.length);
    rows.forEach(({ slope }, i) => {
      const g = slopes[i] * cotangent[spec.reduction === "none" ? i : 0];
      if (g !== 0) batch.positions[i].offsets.forEach((flat, k) => (gradient[flat] = g * slope[k]));
    });
    return gradient;
  };
  return { loss, pullBack };
}

// --- What is given ---------------------------------------------------------------------------------------------------

/** One call, position by position. */
function batchOf(inputs, spec, axis) {
  const { shape } = inputs.logits;
  const at = axis < 0 ? axis + shape.length : axis;
  const labelsShape = shape.filter((_, d) => d !== at);
  const perSequence = product(labelsShape.slice(1));
  const batch = { spec, classes: shape[at], length: labelsShape[0] ?? 1 };
  for (const name of ["class_weight", "prior"]) batch[name] = inputs[name]?.data;
  batch.normalizer = inputs.normalizer?.data[0];
  batch.positions = classOffsets(shape, at).map((offsets, i) => ({
    ...position(inputs, spec, offsets, i),
    offsets,
    sequence: labelsShape.length ? Math.floor(i / perSequence) : 0,
  }));
  return batch;
}

function position(inputs, spec, offsets, i) {
  const row = (array) => offsets.map((flat) => array.data[flat]);
  const { logits, labels, allowed, where, sample_weight } = inputs;
  const soft = labels.dtype.includes("float") ? row(labels) : null;
  const label = soft ? null : labels.data[i];
  const mask = (where?.data[i] ?? true) && (soft !== null || label !== spec.ignore_index);
  return {
    logits: row(logits),
    allowed: allowed?.shape.length === logits.shape.length ? row(allowed) : allowed?.data,
    soft,
    label,
    mask,
    weight: mask ? (sample_weight?.data[i] ?? 1) : 0,
  };
}

/** For each position in row-major order, where its classes lie in the flat logits. */
function classOffsets(shape, at) {
  const [outer, classes, inner] = [product(shape.slice(0, at)), shape[at], product(shape.slice(at + 1))];
  return Array.from({ length: outer * inner }, (_, i) => {
    const start = Math.floor(i / inner) * classes * inner + (i % inner);
    return Array.from({ length: classes }, (_, k) => start + k * inner);
  });
}

// --- Bad values ------------------------------------------------------------------------------------------------------

function checkClasses({ spec, classes, class_weight, prior, normalizer }) {
  const { exclude } = spec;
  if (exclude.some((k) => k >= classes)) throw new InputError("exclude_out_of_range", `there are ${classes} classes`);
  if (exclude.length === classes) throw new InputError("exclude_all_classes", "nobody may receive anything");
  if (class_weight && !class_weight.every(isWeight)) throw new InputError("bad_class_weight", "an entry is no weight");
  if (prior && !prior.every(isWeight)) throw new InputError("bad_prior", "an entry is no weight");
  if (prior && !sumsToOne(prior)) throw new InputError("prior_not_normalized", `the prior sums to ${sum(prior)}`);
  if (normalizer !== undefined && !isWeight(normalizer)) throw new InputError("bad_normalizer", `it is ${normalizer}`);
}

/** What does not count may hold anything. */
function checkPosition({ spec, classes }, { soft, label, allowed, mask, weight }) {
  if (!mask || weight === 0) return;
  if (!isWeight(weight)) throw new InputError("bad_sample_weight", `a weight is ${weight}`);
  if (soft && !soft.every(isWeight)) throw new InputError("negative_soft_label", "an entry is no weight");
  if (soft && !sumsToOne(soft)) throw new InputError("soft_labels_not_normalized", `a label sums to ${sum(soft)}`);
  if (spec.out_of_range === "nan") return;
  if (soft && !exists(soft, allowed)) throw new InputError("soft_label_not_allowed", "it has mass on a missing class");
  if (!soft && !inRange(label, classes)) throw new InputError("label_out_of_range", `${label} of ${classes} classes`);
  if (!soft && allowed && !allowed[label]) throw new InputError("label_not_allowed", `no class ${label} there`);
}

const isWeight = (number) => number >= 0 && number < Infinity;
const sumsToOne = (numbers) => Math.abs(sum(numbers) - 1) <= SUM_TOLERANCE;
const inRange = (label, classes) => label >= 0 && label < classes;
const exists = (soft, allowed) => !allowed || soft.every((t, k) => t === 0 || allowed[k]);

// --- The target ------------------------------------------------------------------------------------------------------

/** c_k = prior (or 1) × not excluded × allowed: who receives smoothing mass. */
function receivers({ spec, classes, prior }, { allowed }) {
  const c = prior ? [...prior] : new Array(classes).fill(1);
  for (const k of spec.exclude) c[k] = 0;
  return allowed ? c.map((c_k, k) => (allowed[k] ? c_k : 0)) : c;
}

/** q of one position, before class weights; the rule "label_term" weighs the label's own 1 − ε. */
function target({ spec }, { soft, label }, c, labelWeight = 1) {
  const epsilon = spec.label_smoothing;
  if (spec.values) return c.map((c_k, k) => (k === label ? spec.values[0] : spec.values[1] * c_k));
  const receiving = sum(spec.spread === "others" ? c.filter((_, k) => k !== label) : c);
  const kept = receiving > 0 || spec.spread === "leaky" ? 1 - epsilon : 1;
  const share = receiving > 0 ? epsilon / receiving : 0;
  if (soft) return c.map((c_k, k) => kept * soft[k] + share * c_k);
  const own = spec.spread === "uniform" ? share * c[label] : 0;
  return c.map((c_k, k) => (k === label ? kept * labelWeight + own : share * c_k));
}

/** q with the class weights w in it. */
function weighted(batch, position, c, q) {
  const w = batch.class_weight;
  if (!w) return q;
  const expected = dot(q, w);
  switch (batch.spec.class_weight_rule) {
    case "per_class":
      return q.map((q_k, k) => w[k] * q_k);
    case "per_label":
      return q.map((q_k) => w[position.label] * q_k);
    case "expected":
      return q.map((q_k) => expected * q_k);
    case "label_term":
      return target(batch, position, c, w[position.label]);
  }
}

/** H = −Σ q_k·log q_k. */
const entropy = (q) => -sum(q.map((q_k) => (q_k === 0 ? 0 : q_k * Math.log(q_k))));

// --- A position ------------------------------------------------------------------------------------------------------

/** Its loss ℓ, the slope ∂ℓ/∂x, and Σ_k q_k·w_k, which a denominator may count. */
function row(batch, position) {
  const { spec, classes, class_weight } = batch;
  const { logits, allowed, soft, label } = position;
  // A class that does not exist has no gradient, in a lost row either.
  const lost = Array.from({ length: classes }, (_, k) => (allowed && !allowed[k] ? 0 : NaN));
  const nan = { loss: NaN, slope: lost, expectedWeight: 0 };
  if (soft ? !exists(soft, allowed) : !inRange(label, classes) || (allowed && !allowed[label])) return nan;
  const c = receivers(batch, position);
  const plain = target(batch, position, c);
  const q = weighted(batch, position, c, plain);
  const mass = sum(q);
  const expectedWeight = class_weight ? dot(plain, class_weight) : mass;

  const x = allowed ? logits.map((x_k, k) => (allowed[k] ? x_k : -Infinity)) : logits;
  const top = x.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(top)) return { ...nan, expectedWeight };
  const z = x.map((x_k) => x_k - top);
  const e = z.map(Math.exp);
  e[x.indexOf(top)] = 0; // log1p of the sum without one maximum keeps a confident row's digits
  const L = Math.log1p(sum(e));
  const lse = top + L;
  const zLoss = spec.z_loss ? spec.z_loss * lse ** 2 : 0;
  const loss = mass * L - dot(q, z) + zLoss - (spec.kl ? entropy(plain) : 0); // (1)
  const pull = mass + 2 * spec.z_loss * lse;
  const slope = q.map((q_k, k) => pull * Math.exp(z[k] - L) - q_k); // (2)
  return { loss, slope, expectedWeight };
}

// --- The reduction ---------------------------------------------------------------------------------------------------

/** The loss and its derivative to each ℓ_i. What does not count is never multiplied: it may be NaN. */
function reduce(batch, rows) {
  const { spec, positions, normalizer } = batch;
  const product = (w, i) => (w === 0 ? 0 : w * rows[i].loss);
  const weights = positions.map(({ weight }) => weight);
  if (spec.reduction === "none") return { loss: weights.map(product), slopes: weights };
  if (spec.reduction === "sum") return { loss: [sum(weights.map(product))], slopes: weights };
  const sequences = Array.from({ length: batch.length }, () => []);
  positions.forEach(({ sequence, weight }) => sequences[sequence].push(weight));
  const sequenceWeights = sequences.map(sum);
  const parts = spec.denominator.includes("sequences")
    ? positions.map(({ sequence, weight }) => (weight === 0 ? 0 : weight / sequenceWeights[sequence]))
    : weights;
  const D = normalizer ?? denominator(batch, rows, sequenceWeights);
  if (D === 0) return { loss: [spec.empty === "nan" ? NaN : 0], slopes: parts.map(() => 0) };
  return { loss: [sum(parts.map(product)) / D], slopes: parts.map((w) => w / D) };
}

/** What the mean divides by. */
function denominator({ spec, positions, length, class_weight }, rows, sequenceWeights) {
  const count = (condition) => positions.filter(condition).length;
  switch (spec.denominator) {
    case "valid":
      return count(({ mask }) => mask);
    case "all":
      return positions.length;
    case "batch":
    case "sequences":
      return length;
    case "nonempty_sequences":
      return sequenceWeights.filter((weight) => weight !== 0).length;
    case "weights":
      return sum(sequenceWeights);
    case "nonzero_weights":
      return count(({ weight }) => weight !== 0);
    case "class_weights":
      return sum(positions.map(({ mask, label }) => (mask ? (class_weight ? (class_weight[label] ?? 0) : 1) : 0)));
    case "expected_class_weights":
      return sum(positions.map(({ mask }, i) => (mask ? rows[i].expectedWeight : 0)));
  }
}

// --- Arithmetic ------------------------------------------------------------------------------------------------------

/** Neumaier's sum: as if in twice the precision, so that 131,072 classes round no more than two. */
function sum(numbers) {
  let total = 0;
  let lost = 0;
  for (const number of numbers) {
    const next = total + number;
    lost += Math.abs(total) >= Math.abs(number) ? total - next + number : number - next + total;
    total = next;
  }
  return Number.isFinite(total) ? total + lost : total;
}

/** Σ q_k·v_k, where a coefficient of 0 skips its term: 0·−∞ is no number. */
const dot = (q, v) => sum(q.map((q_k, k) => (q_k === 0 ? 0 : q_k * v[k])));

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);
