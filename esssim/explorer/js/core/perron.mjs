// The mean-square sharpness Q_b of rank-one samples from a positive n×n matrix: esssim/statistics/perron.py.
//
//   K = JJᵀ = UΛUᵀ,   κ₁ = (1−c)/n²,   κ₂ = c/n,   M_jk(η) = 1/((1/λⱼ + 1/λ_k)/(nη) − κ₁),
//   Ψ(η)x = diag(U[M∘(Uᵀ diag(x) U)]Uᵀ),   ηQ_b = 2 exactly where the Perron eigenvalue of κ₂Ψ(η) is 1.
//
// Heavy ball has another M: (1−β)(1/λⱼ+1/λ_k)/(nη) − κ₁ + [2β/(1+β) + β(λⱼ−λ_k)²/((1−β²)λⱼλ_k)]/n².

import { gram, lanczos, symmetricEigen, transposed } from "./linalg.mjs";

const RANK_TOLERANCE = 1e-12;

/** λ (r) ascending and U (n, r) of AAᵀ on its range, for A (n, d). */
export function spectrumOfGram(A, n, d) {
  const wide = n <= d,
    size = wide ? n : d;
  const { values, vectors } = symmetricEigen(wide ? gram(transposed(A, n, d), d, n) : gram(A, n, d), size);
  const top = values[size - 1];
  const kept = Array.from(values.keys()).filter((j) => values[j] > RANK_TOLERANCE * top);
  const r = kept.length,
    U = new Float64Array(n * r),
    lambda = Float64Array.from(kept, (j) => values[j]);
  kept.forEach((j, column) => {
    for (let i = 0; i < n; i++) {
      let sum = 0;
      if (wide) sum = vectors[i * n + j];
      else for (let k = 0; k < d; k++) sum += A[i * d + k] * vectors[k * d + j];
      U[i * r + column] = wide ? sum : sum / Math.sqrt(values[j]);
    }
  });
  return { n, r, lambda, U };
}

/** The map Q = 2/η ↦ Ψ of a spectrum, for a scheme's c and momentum β: 1/M = slopes·Q − poles. */
export function perronMatrix({ n, r, lambda, U }, c, momentum = 0) {
  const kappa1 = (1 - c) / n ** 2,
    kappa2 = c / n,
    beta = momentum;
  const slopes = new Float64Array(r * r),
    poles = new Float64Array(r * r);
  for (let j = 0; j < r; j++)
    for (let k = 0; k < r; k++) {
      const ratio = lambda[j] / lambda[k];
      slopes[j * r + k] = ((1 - beta) * (1 / lambda[j] + 1 / lambda[k])) / (2 * n);
      const memory = (2 * beta) / (1 + beta) + (beta / (1 - beta ** 2)) * (ratio + 1 / ratio - 2);
      poles[j * r + k] = kappa1 - memory / n ** 2;
    }
  return { n, r, lambda, U, kappa1, kappa2, slopes, poles };
}

/** Uᵀ diag(x) U, (r, r). */
export function inEigenbasis({ n, r, U }, x) {
  return gram(U, n, r, x);
}

/** diag(U S Uᵀ) for a symmetric S (r, r). */
export function folded({ n, r, U }, S) {
  const out = new Float64Array(n),
    image = new Float64Array(r);
  for (let i = 0; i < n; i++) {
    const at = i * r;
    image.fill(0);
    for (let j = 0; j < r; j++) {
      const u = U[at + j];
      for (let k = 0; k < r; k++) image[k] += u * S[j * r + k];
    }
    let sum = 0;
    for (let k = 0; k < r; k++) sum += image[k] * U[at + k];
    out[i] = sum;
  }
  return out;
}

/** x ↦ M∘(Uᵀ diag(x) U) at Q = 2/η. */
export function respond(perron, Q, x) {
  const S = inEigenbasis(perron, x);
  for (let m = 0; m < S.length; m++) S[m] /= perron.slopes[m] * Q - perron.poles[m];
  return S;
}

/** {Q, vector}: the Q = 2/η at which the Perron eigenvalue of κ₂Ψ is 1; start: a vector nearby, or null. */
export function edge(perron, start = null, tolerance = 1e-9) {
  const { n, r, kappa2, slopes, poles } = perron;
  if (kappa2 === 0) {
    let Q = 0;
    for (let m = 0; m < r * r; m++) Q = Math.max(Q, poles[m] / slopes[m]);
    return { Q, vector: new Float64Array(n).fill(1) };
  }
  let vector = start ?? new Float64Array(n).fill(1);
  let Q = rayleigh(perron, vector, 0);
  for (let iteration = 0; iteration < 50; iteration++) {
    // No more digits at first than the alternation has yet.
    const enough = Math.max(tolerance, 10 ** -(2 ** (iteration + 1)));
    vector = lanczos((x) => folded(perron, respond(perron, Q, x)), vector, enough).vector.map(Math.abs);
    const before = Q;
    Q = rayleigh(perron, vector, Q);
    if (enough === tolerance && Math.abs(Q - before) <= tolerance * Q) break;
  }
  return { Q, vector };
}

/** The Q at which κ₂ Σ M_jk Y_jk² = ‖x‖², Y = Uᵀ diag(x) U: Newton on the reciprocal of the sum, which is concave. */
function rayleigh(perron, x, least) {
  const { slopes, poles, kappa2 } = perron,
    Y = inEigenbasis(perron, x);
  let size = 0;
  for (const value of x) size += value * value;
  const weights = Y.map((y) => (kappa2 * y * y) / size);
  let Q = least;
  for (let m = 0; m < weights.length; m++) Q = Math.max(Q, (poles[m] + weights[m]) / slopes[m]);
  for (let iteration = 0; iteration < 60; iteration++) {
    let total = 0,
      slope = 0;
    for (let m = 0; m < weights.length; m++) {
      const distance = Q * slopes[m] - poles[m],
        term = weights[m] / distance;
      total += term;
      slope += (term * slopes[m]) / distance;
    }
    const step = ((total - 1) * total) / slope;
    Q += step;
    if (Math.abs(step) <= 1e-14 * Q) break;
  }
  return Q;
}

/** Q_b of the Gauss–Newton Hessians of rows A (n, d), for a scheme of coefficient c. */
export function meanSquareSharpness(A, n, d, c) {
  return edge(perronMatrix(spectrumOfGram(A, n, d), c)).Q;
}
