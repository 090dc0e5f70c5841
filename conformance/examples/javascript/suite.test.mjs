/** What reads and judges the vectors can fail: node --test */

import assert from "node:assert/strict";
import { test } from "node:test";

import { linearSmoothedCrossEntropy } from "./linear.mjs";
import { InputError, smoothedCrossEntropy } from "./loss.mjs";
import { decode, fromRecipe, load, round, run, ulp } from "./suite.mjs";

const { vectors } = load();
const invalid = vectors.filter(({ result }) => result === "invalid");
const valid = vectors.filter(({ result }) => result === "valid");

/** How many of these vectors pass an implementation that was spoilt. */
function passed(some, spoil) {
  const implementation = (inputs, spec, axis) =>
    spoil(() => (inputs.hidden ? linearSmoothedCrossEntropy : smoothedCrossEntropy)(inputs, spec, axis));
  return some.filter((vector) => run(vector, implementation).outcome === "passed").length;
}

test("a dtype's unit and its rounding, half to even", () => {
  assert.equal(ulp(1, "float64"), 2 ** -52);
  assert.equal(ulp(0, "float32"), 2 ** -149);
  assert.equal(round(1 + 2 ** -8, "bfloat16"), 1);
  assert.equal(round(1 + 3 * 2 ** -8, "bfloat16"), 1 + 2 ** -6);
  assert.equal(round(1 / 3, "float16"), 0.333251953125);
  assert.equal(round(2 ** -25, "float16"), 0);
  assert.deepEqual([65519, 65520, -1e5].map((x) => round(x, "float16")), [65504, Infinity, -Infinity]);
  assert.equal(round(1e39, "bfloat16"), Infinity);
  for (const x of [0.1, -1 / 3, 12345.678, 1e-40]) assert.equal(round(x, "float32"), Math.fround(x));
});

test("what JSON cannot say is a string", () => {
  assert.deepEqual(["nan", "inf", "-inf", "1.25e-3", 7].map(decode), [NaN, Infinity, -Infinity, 0.00125, 7]);
});

test("a recipe is exact where a·j + b needs more than 53 bits", () => {
  const recipe = { a: 2 ** 50 + 7, b: -3, mod: 2 ** 51 - 1, offset: 5, scale: 0.5 };
  const exact = (j) => {
    const mod = BigInt(recipe.mod);
    const rest = (BigInt(recipe.a) * BigInt(j) + BigInt(recipe.b)) % mod;
    return Number((rest + mod) % mod - 5n) * 0.5;
  };
  assert.deepEqual(fromRecipe(recipe, 1000, "float64"), Array.from({ length: 1000 }, (_, j) => exact(j)));
  assert.deepEqual(fromRecipe({ a: 1, b: 0, mod: 2, offset: 0, scale: 1 }, 3, "bool"), [false, true, false]);
});

/** A gradient, or each of several by name, made wrong. */
function offBy(off, gradient) {
  if (gradient instanceof Float64Array) return off(gradient);
  return Object.fromEntries(Object.entries(gradient).map(([name, numbers]) => [name, off(numbers)]));
}

test("a loss or a gradient that is off by one millionth is wrong", () => {
  const off = (numbers) => numbers.map((number) => number * (1 + 1e-6));
  const spoiltLoss = (call) => ({ ...call(), loss: off(call().loss) });
  const spoiltGradient = (call) => ({ ...call(), pullBack: (cotangent) => offBy(off, call().pullBack(cotangent)) });
  const double = valid.filter(({ dtype }) => dtype === "float64");
  assert.ok(passed(double, spoiltLoss) < double.length / 4);
  assert.ok(passed(double, spoiltGradient) < double.length / 4);
});

test("a bad value needs an error, and the right one", () => {
  assert.equal(passed(invalid, (call) => call()), invalid.length);
  const silent = () => ({ loss: [0], pullBack: () => [] });
  const other = () => {
    throw new InputError("something_else", "");
  };
  assert.equal(passed(invalid, silent) + passed(invalid, other), 0);
});
