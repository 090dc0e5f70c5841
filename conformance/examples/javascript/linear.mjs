/**
 * The loss of logits that a linear layer makes, and its gradients: plain JavaScript, double precision.
 *
 *     z = hidden·kernel + bias,     x = softcap·tanh(logit_scale·z / softcap)
 *     g = ∂loss/∂z = logit_scale·(1 − tanh²)·∂loss/∂x
 *
 * The gradients to hidden, kernel and bias are g·kernelᵀ, Σ_i hidden_i ⊗ g_i and Σ_i g_i.
 */

import { smoothedCrossEntropy } from "./loss.mjs";

/** The loss, flat, and the function from its cotangent to the gradients by name, all flat. */
export function linearSmoothedCrossEntropy(inputs, spec) {
  const { hidden, kernel, bias, logit_scale, softcap, ...rest } = inputs;
  const [features, classes] = kernel.shape;
  const batch = hidden.shape.slice(0, -1);
  const positions = batch.reduce((a, b) => a * b, 1);
  const [scale, cap] = [logit_scale?.data[0] ?? 1, softcap?.data[0]];
  const [data, slopes] = [new Float64Array(positions * classes), new Float64Array(positions * classes)];
  for (let i = 0; i < positions; i++) {
    for (let k = 0; k < classes; k++) {
      let z = bias?.data[k] ?? 0;
      for (let d = 0; d < features; d++) z += hidden.data[i * features + d] * kernel.data[d * classes + k];
      const t = cap === undefined ? 0 : Math.tanh((scale * z) / cap);
      data[i * classes + k] = cap === undefined ? scale * z : cap * t;
      slopes[i * classes + k] = scale * (1 - t * t);
    }
  }
  const logits = { dtype: hidden.dtype, shape: [...batch, classes], data };
  const { loss, pullBack } = smoothedCrossEntropy({ logits, ...rest }, spec);
  return { loss, pullBack: (cotangent) => pullThrough(inputs, slopes, pullBack(cotangent)) };
}

/** The chain rule. Where the logits' gradient is 0, as where nothing counts, hidden may hold anything. */
function pullThrough({ hidden, kernel, bias }, slopes, gradient) {
  const [features, classes] = kernel.shape;
  const to = (array) => new Float64Array(array.data.length);
  const found = { hidden: to(hidden), kernel: to(kernel), ...(bias && { bias: to(bias) }) };
  gradient.forEach((slope, flat) => {
    if (slope === 0) return;
    const [i, k, g] = [Math.floor(flat / classes), flat % classes, slope * slopes[flat]];
    for (let d = 0; d < features; d++) {
      found.hidden[i * features + d] += g * kernel.data[d * classes + k];
      found.kernel[d * classes + k] += g * hidden.data[i * features + d];
    }
    if (bias) found.bias[k] += g;
  });
  return found;
}
