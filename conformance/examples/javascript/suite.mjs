/**
 * The conformance vectors against `loss.mjs` and `linear.mjs`: node suite.mjs [--report=FILE]
 *
 * Reads every vector, judges the loss and the gradients to the logits, or to hidden,
 * kernel and bias, by the bounds of tolerances.py, prints what
 * passed by flag and what failed, and exits with 1 if anything did. The report is what pytest's --multismooth-report
 * writes, so that `python -m multismooth_conformance report` shows it beside other implementations.
 */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { linearSmoothedCrossEntropy } from "./linear.mjs";
import { smoothedCrossEntropy } from "./loss.mjs";

const VECTORS = new URL("../../multismooth_conformance/vectors/v1/", import.meta.url);

// --- Numbers ---------------------------------------------------------------------------------------------------------

/** Significant bits, and the exponents of the smallest normal number and of the largest. */
const FORMATS = {
  float64: { digits: 53, lowest: -1022, highest: 1023 },
  float32: { digits: 24, lowest: -126, highest: 127 },
  float16: { digits: 11, lowest: -14, highest: 15 },
  bfloat16: { digits: 8, lowest: -126, highest: 127 },
};

/** What logits of this dtype are computed in. */
const computeDtype = (dtype) => (dtype === "float64" ? "float64" : "float32");

/** One unit in the last place of x, which is at least the smallest normal number. */
export function ulp(x, dtype) {
  const { digits, lowest } = FORMATS[dtype];
  return 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), lowest) - digits + 1);
}

/** x in a dtype, half to even: beside a large number the double itself rounds to multiples of the unit. */
export function round(x, dtype) {
  if (dtype === "float64" || !Number.isFinite(x)) return x;
  const large = 1.5 * 2 ** 52 * ulp(x, dtype);
  const nearest = x + large - large;
  return Math.abs(nearest) < 2 ** (FORMATS[dtype].highest + 1) ? nearest : Math.sign(x) * Infinity;
}

// --- The vectors -----------------------------------------------------------------------------------------------------

/** JSON has no NaN and no infinities; expected values are strings of 20 digits. */
export function decode(entry) {
  if (typeof entry !== "string") return entry;
  return { nan: NaN, inf: Infinity, "-inf": -Infinity }[entry] ?? Number(entry);
}

/** ((a·j + b) mod m − offset)·scale for each flat index j, step by step: a·j + b may need more than 53 bits. */
export function fromRecipe({ a, b, mod, offset, scale }, length, dtype) {
  const data = new Array(length);
  const positive = (n) => ((n % mod) + mod) % mod;
  let rest = positive(b);
  for (let j = 0; j < length; j++) {
    const value = (rest - offset) * scale;
    data[j] = dtype === "bool" ? value !== 0 : value;
    rest = (rest + positive(a)) % mod;
  }
  return data;
}

function decodeInput({ dtype, shape, data, recipe }) {
  const length = shape.reduce((a, b) => a * b, 1);
  return { dtype, shape, data: recipe ? fromRecipe(recipe, length, dtype) : data.map(decode) };
}

/** Every vector, and what each flag is about. */
export function load() {
  const names = readdirSync(VECTORS).filter((name) => name.endsWith(".json") && name !== "schema.json");
  const files = names.sort().map((name) => JSON.parse(readFileSync(new URL(name, VECTORS), "utf8")));
  const notes = Object.assign({}, ...files.map((file) => file.notes));
  return { vectors: files.flatMap((file) => file.vectors), notes };
}

// --- The judge -------------------------------------------------------------------------------------------------------

/** The loss of a vector: of its logits, or of those that a linear layer makes. */
const implementationOf = ({ inputs }) => (inputs.hidden ? linearSmoothedCrossEntropy : smoothedCrossEntropy);

/** Runs one vector; its entry in the report. */
export function run(vector, implementation = implementationOf(vector)) {
  const entry = { id: vector.id, mode: "eager" };
  try {
    const inputs = Object.fromEntries(Object.entries(vector.inputs).map(([name, array]) => [name, decodeInput(array)]));
    const result = implementation(inputs, vector.spec, vector.axis);
    const pulled = result.pullBack(decodeInput(vector.cotangent).data);
    if (vector.result === "invalid") throw new Error(`${vector.reason} was not refused`);
    const loss = rounded(result.loss, computeDtype(vector.dtype));
    const gradients = looked(vector, vector.inputs.hidden ? pulled : { logits: pulled });
    const outputs = Object.entries(gradients).map(([name, numbers]) => [`${name}_gradient`, numbers]);
    return { ...entry, outcome: "passed", loss, ...Object.fromEntries(outputs), ...judge(vector, loss, gradients) };
  } catch (error) {
    const refused = vector.result === "invalid" && error.reason === vector.reason;
    return refused ? { ...entry, outcome: "passed" } : { ...entry, outcome: "failed", reason: error.message };
  }
}

/** The gradients in their dtype; of a large one the vector looks at a few elements. */
function looked({ dtype, expected }, gradients) {
  const named = Object.entries(gradients).map(([name, numbers]) => {
    const { indices } = expected.grad[name];
    return [name, rounded(indices ? indices.map((j) => numbers[j]) : numbers, dtype)];
  });
  return Object.fromEntries(named);
}

const rounded = (numbers, dtype) => Array.from(numbers, (number) => round(number, dtype));
const depth = (terms) => (terms < 2 ? 0 : Math.ceil(Math.log2(terms)));

/** The worst errors: of the loss in ULP, of the gradients in parts of what is allowed. Throws beyond the bounds. */
function judge({ dtype, spec, inputs, axis, expected, scale }, loss, gradients) {
  const { hidden, kernel } = inputs;
  const shape = hidden ? [...hidden.shape.slice(0, -1), kernel.shape[1]] : inputs.logits.shape;
  const positions = shape.reduce((a, b) => a * b, 1) / shape.at(axis);
  const head = (inputs.logit_scale ? 1 : 0) + (inputs.softcap ? 6 : 0); // what is done to hidden·kernel + bias
  const units = scale.loss.data.map((s) => ulp(s, computeDtype(dtype)));
  const steps = 4 + head + (spec.reduction === "none" ? 0 : depth(positions));
  const errors = Object.entries(gradients).map(([name, gradient]) => {
    const terms = name === "hidden" ? shape.at(-1) : positions;
    const half = name === "logits" ? 4 : 8 + 2 * head + Math.max(2 * depth(terms), Math.sqrt(terms) / 2);
    const right = expected.grad[name].data.map((entry) => held(decode(entry), dtype));
    const bounds = scale.grad[name].data.map((s, i) => bound(s, right[i], half, dtype, name !== "logits"));
    return check(`gradient to ${name}`, gradient, right, bounds, 1);
  });
  return {
    loss_ulp: check("loss", loss, expected.loss.data.map(decode), units, steps),
    gradient: Math.max(...errors),
  };
}

/** Half-ULP of s, in half precision the rounding of the result, and of a linear layer's also that of each term. */
function bound(s, right, half, dtype, ofTerms) {
  const { digits, lowest } = FORMATS[computeDtype(dtype)];
  const arithmetic = half * Math.max(s * 2 ** -digits, 2 ** lowest);
  if (dtype === computeDtype(dtype)) return arithmetic;
  return arithmetic + halfUlp(right, dtype) + (ofTerms ? s * 2 ** -FORMATS[dtype].digits : 0);
}

/** A gradient that rounds to an infinity is rightly one. */
const held = (x, dtype) => (Number.isFinite(round(x, dtype)) ? x : round(x, dtype));

/** Half-precision gradients are rounded once; just below a power of two that may be across it. */
const halfUlp = (x, dtype) => ulp(x, dtype) * (0.5 + 2 ** -8);

/** The largest error in units. NaN and the infinities must be the same; no error may exceed `allowed` units. */
function check(what, actual, expected, units, allowed) {
  if (actual.length !== expected.length) throw new Error(`the ${what} has ${actual.length} elements`);
  const errors = expected.map((right, i) => {
    const error = Object.is(actual[i] + 0, right + 0) ? 0 : Math.abs(actual[i] - right) / units[i];
    if (!(error <= allowed)) {
      throw new Error(`the ${what} at ${i} is ${actual[i]}, and ${right} is right: off by ${error} of ${allowed} units`);
    }
    return error;
  });
  return errors.reduce((a, b) => Math.max(a, b), 0);
}

// --- The report ------------------------------------------------------------------------------------------------------

/** NaN and the infinities as in the vectors. */
function encode(_, value) {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

/** What passed of the vectors of each flag, and every failure with the bugs that its flags name. */
function summary(vectors, results, notes) {
  const byId = new Map(results.map((entry) => [entry.id, entry]));
  const lines = Object.keys(notes)
    .sort()
    .map((flag) => line(flag, vectors.filter(({ flags }) => flags.includes(flag)).map(({ id }) => byId.get(id))));
  for (const { id, flags } of vectors.filter(({ id }) => byId.get(id).outcome === "failed")) {
    const bugs = flags.map((flag) => `  ${notes[flag].bug} ${notes[flag].link}`);
    lines.push(`FAILED ${id}: ${byId.get(id).reason}`, ...bugs);
  }
  return [...lines, line("all", results)].join("\n");
}

function line(name, results) {
  const passed = results.filter(({ outcome }) => outcome === "passed").length;
  const worst = (key) => results.reduce((most, entry) => Math.max(most, entry[key] ?? 0), 0).toFixed(2);
  const errors = `worst loss ${worst("loss_ulp")} ULP, gradient ${worst("gradient")} of its bound`;
  return `${name.padEnd(30)} ${String(passed).padStart(4)} of ${String(results.length).padStart(4)} passed; ${errors}`;
}

function main() {
  const { report } = parseArgs({ options: { report: { type: "string" } } }).values;
  const { vectors, notes } = load();
  const results = vectors.map((vector) => run(vector));
  console.log(summary(vectors, results, notes));
  if (report) {
    mkdirSync(dirname(report), { recursive: true });
    writeFileSync(report, JSON.stringify({ adapter: "javascript", modes: ["eager"], results }, encode));
  }
  process.exitCode = results.length > 0 && results.every(({ outcome }) => outcome === "passed") ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
