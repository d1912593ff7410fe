// Where a run starts: the initialisation (α, α′) in both halves, or the solution that gradient flow leads to from
// there.

import { leastSquares } from "./data.mjs";
import { solvePositive } from "./linalg.mjs";

/** θ = (α·1, α′·1), or zeros for a regression. */
export function initialisation(model, scale, secondScale) {
  const theta = new Float64Array(model.p);
  if (model.p > model.d) theta.fill(scale, 0, model.d).fill(secondScale, model.d);
  return theta;
}

/**
 * The limit of gradient flow from θ₀. It conserves how each coordinate answers to z = ∫s dt, s the covector:
 * product: (u+v, u−v) = ((u₀+v₀)e^−z, (u₀−v₀)e^z); difference: w₊^(2−D) grows by D(D−2)z, for D = 2 w₊ = w₊₀e^−2z.
 * z lies in the span of the inputs, z = Vζ, and Newton finds the ζ with Vᵀβ = Vᵀβ*, the gradient of a convex function.
 * null where there is none.
 */
export function solution(model, theta0) {
  const { n, d, p, inputs, targets } = model;
  const { V, r, weights } = leastSquares(inputs, targets, n, d);
  if (p === d) return weights;
  const wanted = projected(V, weights, d, r);
  let zeta = new Float64Array(r),
    state = answer(model, theta0, spread(V, zeta, d, r));
  let miss = projected(V, state.beta, d, r).map((x, j) => x - wanted[j]);
  const size = (vector) => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  for (let iteration = 0; iteration < 200; iteration++) {
    if (size(miss) <= 1e-14 * (size(wanted) + 1e-300)) break;
    const H = new Float64Array(r * r);
    for (let k = 0; k < d; k++)
      for (let i = 0; i < r; i++)
        for (let j = 0; j < r; j++) H[i * r + j] += state.slope[k] * V[k * r + i] * V[k * r + j];
    const step = solvePositive(H, miss, r);
    if (!step) return null;
    let taken = false;
    for (let share = 1; share > 1e-10; share /= 2) {
      const tried = zeta.map((x, j) => x + share * step[j]),
        there = answer(model, theta0, spread(V, tried, d, r));
      if (!there) continue;
      const left = projected(V, there.beta, d, r).map((x, j) => x - wanted[j]);
      if (!(size(left) < size(miss))) continue;
      taken = true;
      [zeta, state, miss] = [tried, there, left];
      break;
    }
    if (!taken) break;
  }
  return size(miss) <= 1e-9 * size(wanted) ? state.theta : null;
}

/** {theta, beta, slope = −dβ/dz} of every coordinate after z; null beyond what z may be. */
function answer(model, theta0, z) {
  const { d, form, depth: D } = model,
    theta = new Float64Array(2 * d),
    slope = new Float64Array(d);
  for (let k = 0; k < d; k++) {
    const [a, b] = [theta0[k], theta0[d + k]];
    if (form === "product") {
      const sum = (a + b) * Math.exp(-z[k]),
        difference = (a - b) * Math.exp(z[k]);
      theta[k] = (sum + difference) / 2;
      theta[d + k] = (sum - difference) / 2;
      slope[k] = (sum * sum + difference * difference) / 2;
    } else {
      const first = moved(a, z[k], D),
        second = moved(b, -z[k], D);
      if (!(first >= 0 && second >= 0)) return null;
      theta[k] = first;
      theta[d + k] = second;
      slope[k] = D * D * (first ** (2 * D - 2) + second ** (2 * D - 2));
    }
  }
  return slope.every(Number.isFinite) ? { theta, slope, beta: model.weights(theta) } : null;
}

function moved(w, z, D) {
  if (w === 0) return 0;
  return D === 2 ? w * Math.exp(-2 * z) : (w ** (2 - D) + D * (D - 2) * z) ** (1 / (2 - D));
}

function spread(V, zeta, d, r) {
  const z = new Float64Array(d);
  for (let k = 0; k < d; k++) for (let j = 0; j < r; j++) z[k] += V[k * r + j] * zeta[j];
  return z;
}

function projected(V, vector, d, r) {
  const out = new Float64Array(r);
  for (let k = 0; k < d; k++) for (let j = 0; j < r; j++) out[j] += V[k * r + j] * vector[k];
  return out;
}

/** The parameters of weights β that are flattest: |u| = |v|, or one of w₊ and w₋ zero. */
export function balanced({ d, depth, form }, beta) {
  const out = new Float64Array(2 * d);
  for (let k = 0; k < d; k++) {
    const root = Math.abs(beta[k]) ** (1 / depth);
    out[k] = form === "product" || beta[k] > 0 ? root : 0;
    out[d + k] = form === "product" ? Math.sign(beta[k]) * root : beta[k] < 0 ? root : 0;
  }
  return out;
}
