// Seeded ensembles with linear targets y = Xβ* + noise·z: esssim/data/ensembles.py, number by number.

import { gram, orthonormalColumns, symmetricEigen } from "./linalg.mjs";
import { Generator } from "./random.mjs";

const ROUNDING_OF_A_CONSTANT = 32 * Number.EPSILON;

export const ENSEMBLES = ["gaussian", "spiked", "two_clusters", "power_law"];

/** {inputs (n, d), targets (n)}; options: spike, separation, exponent, noise. */
export function ensemble(kind, n, d, seed, { spike = 10, separation = 4, exponent = 1, noise = 0 } = {}) {
  const [rows, geometry, weights, errors] = [0, 1, 2, 3].map((k) => new Generator(seed, [k]));
  let inputs = rows.normals(n * d);
  const stretched = (amount) => {
    const w = unit(geometry.normals(d));
    for (let i = 0; i < n; i++) {
      const add = amount(i, (at) => w.reduce((sum, x, k) => sum + x * inputs[at + k], 0));
      for (let k = 0; k < d; k++) inputs[i * d + k] += add * w[k];
    }
  };
  if (kind === "spiked") stretched((i, along) => (Math.sqrt(1 + spike) - 1) * along(i * d));
  if (kind === "two_clusters") stretched((i) => (i % 2 ? -1 : 1) * (separation / 2));
  if (kind === "power_law")
    inputs = coloured(inputs, n, d, exponent, orthonormalColumns(geometry.normals(d * d), d, d));
  const beta = weights.normals(d),
    targets = errors.normals(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let k = 0; k < d; k++) sum += inputs[i * d + k] * beta[k];
    targets[i] = sum + noise * targets[i];
  }
  return { inputs, targets };
}

function unit(vector) {
  const size = Math.hypot(...vector);
  return vector.map((x) => x / size);
}

/** Rows x = Σ_k k^(−exponent/2) z_k q_k, q the columns of a basis. */
function coloured(z, n, d, exponent, basis) {
  const inputs = new Float64Array(n * d);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < d; k++) {
      const scaled = z[i * d + k] * (k + 1) ** (-exponent / 2);
      for (let j = 0; j < d; j++) inputs[i * d + j] += scaled * basis[j * d + k];
    }
  return inputs;
}

/** Columns of mean 0 and variance 1; one that is constant up to rounding becomes zeros: esssim/data/dataset.py. */
export function standardised(columns, n, d) {
  const out = new Float64Array(n * d);
  for (let k = 0; k < d; k++) {
    const column = nearOne(Float64Array.from({ length: n }, (_, i) => columns[i * d + k])),
      spread = Math.max(...column) - Math.min(...column);
    if (spread <= ROUNDING_OF_A_CONSTANT * Math.max(...column.map(Math.abs))) continue;
    const mean = column.reduce((sum, x) => sum + x, 0) / n,
      deviation = Math.sqrt(column.reduce((sum, x) => sum + (x - mean) ** 2 / n, 0));
    for (let i = 0; i < n; i++) out[i * d + k] = (column[i] - mean) / (deviation || 1);
  }
  return out;
}

/** A column times powers of two: no digit changes, and sums of squares stay within range at any scale. */
function nearOne(column) {
  // 2^1023 is the largest power that is a number: the smallest columns need two steps.
  for (let step = 0; step < 2; step++) {
    const exponent = Math.floor(Math.log2(Math.max(...column.map(Math.abs)))),
      within = Math.max(-1023, Math.min(1022, exponent));
    column = column.map((x) => x * 2 ** -within);
  }
  return column;
}

/** {rowSpace V (d, r), weights}: an orthonormal basis of what the rows span, and the shortest least-squares β. */
export function leastSquares(inputs, targets, n, d) {
  const { values, vectors } = symmetricEigen(gram(inputs, n, d), d),
    top = values[d - 1];
  const kept = Array.from(values.keys()).filter((j) => values[j] > 1e-12 * top);
  const r = kept.length,
    V = new Float64Array(d * r),
    weights = new Float64Array(d),
    moment = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) moment[k] += inputs[i * d + k] * targets[i];
  kept.forEach((j, column) => {
    let along = 0;
    for (let k = 0; k < d; k++) along += vectors[k * d + j] * moment[k];
    for (let k = 0; k < d; k++) {
      V[k * r + column] = vectors[k * d + j];
      weights[k] += (vectors[k * d + j] * along) / values[j];
    }
  });
  return { V, r, weights };
}

/** Xβ of the shortest least-squares β: targets that the model fits exactly. */
export function interpolatingTargets(inputs, targets, n, d) {
  const { weights } = leastSquares(inputs, targets, n, d),
    fitted = new Float64Array(n);
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) fitted[i] += inputs[i * d + k] * weights[k];
  return fitted;
}
