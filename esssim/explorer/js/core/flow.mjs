// The stochastic central flow of a diagonal network: esssim/flow. Residuals r fluctuate about the set of solutions with
// covariance R = U[M∘(Uᵀ diag(ρ) U)]Uᵀ, (I − κ₂Ψ)ρ = κ₂ r*∘r* + ε²/(bn), and push θ along it:
//
//   dθ/dt = −(η/(n(1−β))) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ],   t in steps, P the projection on ker J ("solutions"), or
//   dθ/dt = −(η/(n(1−β))) [JᵀUUᵀr + Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ]],   r = f(θ) − y                       ("mean").

import { dot } from "./linalg.mjs";
import { folded, perronMatrix, respond, spectrumOfGram } from "./perron.mjs";
import { covarianceCoefficient } from "./sampling.mjs";

/** What does not change along a flow. follow: "solutions" or "mean"; noise: ε; residuals: r*, zero where all fit. */
export function flowLaw({ model, scheme, b, noise, momentum = 0, follow = "solutions", frozen = null }) {
  const { n } = model;
  return {
    model,
    scheme,
    b,
    momentum,
    follow,
    c: covarianceCoefficient(scheme, b, n),
    fresh: noise ** 2 / (b * n),
    frozen,
  };
}

/** The fast motion at θ and η: the spectrum of K, ρ, and UᵀRU; null at and beyond the mean-square edge. */
export function fastMotion(law, theta, eta, guess = null, accuracy = 1e-12) {
  const { model, c, fresh } = law,
    { n, d } = model;
  const link = model.link(theta),
    residuals = law.follow === "mean" ? model.residuals(theta) : law.frozen;
  const spectrum = spectrumOfGram(model.factors(link), n, d),
    perron = perronMatrix(spectrum, c, law.momentum);
  const Q = 2 / eta,
    { r } = spectrum;
  if (!(r > 0) || !(perron.slopes[r * r - 1] * Q - perron.poles[r * r - 1] > 0)) return null;
  const source = new Float64Array(n).fill(fresh);
  if (residuals) for (let i = 0; i < n; i++) source[i] += perron.kappa2 * residuals[i] ** 2;
  const rho = noiseOf(perron, Q, source, guess, accuracy);
  return rho && { law, theta, eta, link, residuals, perron, rho, source, rotated: respond(perron, Q, rho) };
}

/** ρ with (I − κ₂Ψ)ρ = source, by conjugate gradients; null unless it is positive, which certifies stability. */
function noiseOf(perron, Q, source, guess, accuracy) {
  const { n, kappa2 } = perron;
  if (kappa2 === 0) return source;
  const silent = source.every((x) => x === 0),
    right = silent ? source.map(() => 1) : source;
  const apply = (x) => folded(perron, respond(perron, Q, x)).map((y, i) => x[i] - kappa2 * y);
  const x = guess && !silent ? Float64Array.from(guess) : Float64Array.from(right);
  const image = apply(x),
    rest = right.map((y, i) => y - image[i]);
  let direction = Float64Array.from(rest),
    left = dot(rest, rest);
  const enough = accuracy ** 2 * dot(right, right);
  for (let iteration = 0; left > enough; iteration++) {
    if (iteration > 4 * n + 20) return null;
    const along = apply(direction),
      curvature = dot(direction, along);
    if (!(curvature > 0)) return null;
    const step = left / curvature;
    for (let i = 0; i < n; i++) {
      x[i] += step * direction[i];
      rest[i] -= step * along[i];
    }
    const now = dot(rest, rest),
      share = now / left;
    direction = rest.map((y, i) => y + share * direction[i]);
    left = now;
  }
  if (!x.every((y) => y > 0)) return null;
  return silent ? source : x;
}

const rate = ({ law, eta }) => eta / (1 - law.momentum) / law.model.n;

/** Y = UᵀX (r, d): UᵀJ = (Y∘first, Y∘second). */
function modes({ law, perron }) {
  const { n, d, inputs } = law.model,
    { r, U } = perron,
    Y = new Float64Array(r * d);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < r; j++) {
      const u = U[i * r + j];
      for (let k = 0; k < d; k++) Y[j * d + k] += u * inputs[i * d + k];
    }
  return Y;
}

/** Σᵢ ∇²fᵢ[Jᵀ U S Uᵀ eᵢ] (p) for S (r, r): ∇²β at coordinate k times E_k (first, second), E_k = Σ_jl Y_jk S_lj Y_lk. */
function curvatureSum(fast, Y, S) {
  const { model } = fast.law,
    { d, p } = model,
    { r } = fast.perron,
    { first, second, p11, p12, p22 } = fast.link;
  const E = new Float64Array(d),
    image = new Float64Array(d),
    out = new Float64Array(p);
  for (let j = 0; j < r; j++) {
    image.fill(0);
    for (let l = 0; l < r; l++) {
      const s = S[l * r + j];
      for (let k = 0; k < d; k++) image[k] += s * Y[l * d + k];
    }
    for (let k = 0; k < d; k++) E[k] += Y[j * d + k] * image[k];
  }
  for (let k = 0; k < d && p > d; k++) {
    out[k] = (p11[k] * first[k] + p12[k] * second[k]) * E[k];
    out[d + k] = (p12[k] * first[k] + p22[k] * second[k]) * E[k];
  }
  return out;
}

/** The rows of UᵀJ (r, p). */
function reachedRows(fast, Y) {
  const { d, p } = fast.law.model,
    { r } = fast.perron,
    { first, second } = fast.link,
    rows = new Float64Array(r * p);
  for (let j = 0; j < r; j++)
    for (let k = 0; k < d; k++) {
      rows[j * p + k] = Y[j * d + k] * first[k];
      if (p > d) rows[j * p + d + k] = Y[j * d + k] * second[k];
    }
  return rows;
}

/** v − Σⱼ gⱼ aⱼ(aⱼ·v) for the rows aⱼ of UᵀJ, ‖aⱼ‖² = λⱼ. */
function without(rows, gains, v) {
  const p = v.length,
    out = Float64Array.from(v);
  gains.forEach((gain, j) => {
    let inner = 0;
    for (let k = 0; k < p; k++) inner += rows[j * p + k] * v[k];
    for (let k = 0; k < p; k++) out[k] -= gain * inner * rows[j * p + k];
  });
  return out;
}

/**
 * {velocity, solve, ofStep}: dθ/dt; the map (h, y) ↦ (I − hF)⁻¹y for the stiff part F of its Jacobian; and the part of
 * ∂(dθ/dt)/∂η that diverges at the edge.
 */
export function motion(fast) {
  const { law, perron, rotated, residuals } = fast,
    { r, lambda, U, n } = perron,
    { p } = law.model;
  const Y = modes(fast),
    rows = reachedRows(fast, Y),
    scale = rate(fast),
    onSolutions = law.follow === "solutions";
  const pushed = curvatureSum(
    fast,
    Y,
    rotated.map((x, m) => x / lambda[Math.floor(m / r)]),
  );
  let velocity;
  if (onSolutions) {
    // Where K has as many modes as there are parameters, a solution stands alone.
    velocity =
      r === p
        ? new Float64Array(p)
        : without(
            rows,
            lambda.map((x) => 1 / x),
            pushed,
          ).map((x) => -scale * x);
  } else {
    const along = new Float64Array(r);
    for (let i = 0; i < n; i++) for (let j = 0; j < r; j++) along[j] += U[i * r + j] * residuals[i];
    velocity = Float64Array.from(pushed);
    for (let j = 0; j < r; j++) for (let k = 0; k < p; k++) velocity[k] += along[j] * rows[j * p + k];
    velocity = velocity.map((x) => -scale * x);
  }
  const driven = onSolutions ? velocity : pushed.map((x) => -scale * x),
    { gradient, slope } = stiffness(fast, Y);
  const solve = (h, y) => {
    // F = −(η′/n)JᵀJ ("mean") + driven⊗gradient, the second part by Sherman and Morrison.
    const gains = lambda.map((x) => (onSolutions ? 0 : (h * scale) / (1 + h * scale * x)));
    const base = (v) => (onSolutions ? v : without(rows, gains, v));
    const found = base(y),
      descended = base(driven);
    const gain = (h * dot(gradient, found)) / (1 - h * dot(gradient, descended));
    return found.map((x, k) => x + gain * descended[k]);
  };
  return { velocity, solve, ofStep: driven.map((x) => slope * x) };
}

/**
 * The derivatives of log⟨source, diag R⟩ by θ and η: with velocity, the part of the Jacobian that diverges at the
 * edge.
 */
function stiffness(fast, Y) {
  const { perron, rotated, source, eta, law } = fast,
    { r, lambda, n, slopes } = perron,
    S = new Float64Array(r * r);
  let squares = 0;
  for (let j = 0; j < r; j++)
    for (let l = 0; l < r; l++) {
      const x = rotated[j * r + l];
      squares += slopes[j * r + l] * x * x;
      for (let k = 0; k < r; k++) S[j * r + k] += x * rotated[l * r + k];
    }
  for (let j = 0; j < r; j++) for (let k = 0; k < r; k++) S[j * r + k] /= lambda[j] * lambda[k];
  const variance = dot(source, folded(perron, rotated)),
    sum = curvatureSum(fast, Y, S);
  if (!(variance > 0)) return { gradient: new Float64Array(sum.length), slope: 0 };
  const unit = 4 / n / ((eta / (1 - law.momentum)) * variance);
  return { gradient: sum.map((x) => unit * x), slope: (2 * squares) / eta ** 2 / variance };
}
