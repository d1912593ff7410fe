// Eigenvalues of mini-batch Hessians H_w = Σ wᵢ Hᵢ: dense, or for small batches as a diagonal plus a few rows.

import { eigenvaluesInPlace, symmetricEigen } from "./linalg.mjs";

/** All eigenvalues of H_w, ascending; rows: the samples with their weight, [[i, w], …]. */
export function hessianEigenvalues(model, link, residuals, rows) {
  return eigenvaluesInPlace(denseHessian(model, link, residuals, rows), model.p);
}

/** H_w (p, p), in full. */
export function denseHessian(model, link, residuals, rows) {
  const { d, p, inputs } = model,
    M = new Float64Array(d * d),
    s = new Float64Array(d);
  for (const [i, w] of rows) {
    const at = i * d,
      r = w * residuals[i];
    for (let j = 0; j < d; j++) {
      const x = w * inputs[at + j];
      s[j] += r * inputs[at + j];
      for (let k = 0; k <= j; k++) M[j * d + k] += x * inputs[at + k];
    }
  }
  const H = new Float64Array(p * p),
    { first, second, p11, p12, p22 } = link;
  for (let j = 0; j < d; j++)
    for (let k = 0; k <= j; k++) {
      const m = M[j * d + k];
      H[j * p + k] = H[k * p + j] = first[j] * first[k] * m + (j === k ? p11[j] * s[j] : 0);
      if (p === d) continue;
      H[(d + j) * p + d + k] = H[(d + k) * p + d + j] = second[j] * second[k] * m + (j === k ? p22[j] * s[j] : 0);
      const cross = j === k ? p12[j] * s[j] : 0;
      H[(d + j) * p + k] = H[k * p + d + j] = second[j] * first[k] * m + cross;
      H[(d + k) * p + j] = H[j * p + d + k] = second[k] * first[j] * m + cross;
    }
  return H;
}

/** λ_max(H_B) of every batch of indices. */
export function largestOfBatches(model, link, residuals, batches) {
  return Float64Array.from(batches, (batch) => largestOfBatch(model, link, residuals, batch));
}

/** λ_max(H_w) for weights of all samples. */
export function largestOfWeights(model, link, residuals, weights) {
  return Float64Array.from(weights, (w) => hessianEigenvalues(model, link, residuals, Array.from(w.entries())).at(-1));
}

function largestOfBatch(model, link, residuals, batch) {
  const b = batch.length;
  if (6 * b <= model.p) {
    const found = secular(diagonalPlusRows(model, link, residuals, batch), b, model.p);
    if (found !== null) return found;
  }
  return hessianEigenvalues(
    model,
    link,
    residuals,
    Array.from(batch, (i) => [i, 1 / b]),
  ).at(-1);
}

/** H_B = diag(δ) + AᵀA in a basis in which the curvature of β is diagonal: {delta (p), A (b, p)}. */
function diagonalPlusRows(model, link, residuals, batch) {
  const { d, p, inputs, form } = model,
    b = batch.length;
  const A = new Float64Array(b * p),
    delta = new Float64Array(p),
    s = new Float64Array(d);
  const { first, second, p11, p22 } = link,
    share = 1 / Math.sqrt(b);
  for (let a = 0; a < b; a++) {
    const at = batch[a] * d,
      r = residuals[batch[a]] / b;
    for (let k = 0; k < d; k++) {
      const x = inputs[at + k];
      s[k] += r * x;
      if (form === "product") {
        // The rotation ((a+c)/√2, (a−c)/√2) turns u v into (q₊² − q₋²)/2.
        A[a * p + k] = (x * (first[k] + second[k]) * share) / Math.SQRT2;
        A[a * p + d + k] = (x * (first[k] - second[k]) * share) / Math.SQRT2;
      } else {
        A[a * p + k] = x * first[k] * share;
        if (p > d) A[a * p + d + k] = x * second[k] * share;
      }
    }
  }
  for (let k = 0; k < d && p > d; k++) {
    delta[k] = form === "product" ? s[k] : p11[k] * s[k];
    delta[d + k] = form === "product" ? -s[k] : p22[k] * s[k];
  }
  return { delta, A };
}

/**
 * The largest eigenvalue λ of diag(δ) + AᵀA: λ_max(A (λ − δ)⁻¹ Aᵀ) = 1 beyond max δ. Newton on the reciprocal, from
 * max δ + ‖A‖_F² downwards. null where it does not converge: the eigenvalue may be max δ itself.
 */
function secular({ delta, A }, b, p) {
  let top = -Infinity,
    squares = 0;
  for (let k = 0; k < p; k++) top = Math.max(top, delta[k]);
  for (let k = 0; k < b * p; k++) squares += A[k] * A[k];
  let value = top + squares;
  const inverse = new Float64Array(p),
    B = new Float64Array(b * b);
  for (let iteration = 0; iteration < 40; iteration++) {
    for (let k = 0; k < p; k++) inverse[k] = 1 / (value - delta[k]);
    for (let a = 0; a < b; a++)
      for (let c = 0; c <= a; c++) {
        let sum = 0;
        for (let k = 0; k < p; k++) sum += A[a * p + k] * A[c * p + k] * inverse[k];
        B[a * b + c] = B[c * b + a] = sum;
      }
    const { values, vectors } = b === 1 ? { values: B, vectors: [1] } : symmetricEigen(B, b);
    const mu = values[b - 1];
    let slope = 0;
    for (let k = 0; k < p; k++) {
      let sum = 0;
      for (let a = 0; a < b; a++) sum += A[a * p + k] * vectors[a * b + b - 1];
      slope += (sum * inverse[k]) ** 2;
    }
    // d(1/μ)/dλ = slope/μ².
    const step = ((1 - 1 / mu) * mu * mu) / slope;
    value += step;
    if (!(value > top)) return null;
    if (Math.abs(step) <= 1e-15 * Math.abs(value)) return value;
    if (iteration > 6 && Math.abs(step) <= 1e-13 * Math.abs(value)) return value;
  }
  return null;
}
