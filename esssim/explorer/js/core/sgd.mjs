// SGD, step by step with the batches and the label noise of `esssim.simulate`: replica 0 of the same seed.

import { Generator } from "./random.mjs";
import { covarianceCoefficient, drawBatches, drawWeights } from "./sampling.mjs";

const LIMIT = 1e100;

export class Sgd {
  /** settings: scheme, b, momentum, noise, seed; etaAt: step ↦ η. */
  constructor(model, theta0, settings, etaAt) {
    Object.assign(this, settings, { model, etaAt, step: 0, divergedAt: -1 });
    this.theta = Float64Array.from(theta0);
    this.velocity = new Float64Array(model.p);
    this.rng = new Generator(settings.seed, [0]);
    this.order = Int32Array.from({ length: model.n }, (_, i) => i);
    this.rows = this.rowsOf(settings.b);
    this.beta = model.weights(this.theta);
    this.covector = new Float64Array(model.d);
  }

  /** Run up to a step; stops where a number leaves every regime of interest. */
  advance(to) {
    const { model, momentum, theta, velocity, beta, covector } = this,
      { d, p } = model;
    while (this.step < to && this.divergedAt < 0) {
      const bounded = this.scheme === "gaussian_weights" ? this.weighted() : this.batched();
      if (!bounded) {
        this.divergedAt = this.step;
        return;
      }
      const eta = this.etaAt(this.step);
      if (model.form === "product" && momentum === 0) {
        for (let k = 0; k < d; k++) {
          const u = theta[k],
            v = theta[d + k],
            move = eta * covector[k];
          theta[k] = u - move * v;
          theta[d + k] = v - move * u;
          beta[k] = theta[k] * theta[d + k];
        }
      } else {
        const { first, second } = model.link(theta);
        for (let k = 0; k < p; k++) {
          const gradient = k < d ? first[k] * covector[k] : second[k - d] * covector[k - d];
          velocity[k] = momentum * velocity[k] + gradient;
          theta[k] -= eta * velocity[k];
        }
        model.weights(theta, beta);
      }
      this.step++;
    }
  }

  /**
   * The rows that batches of b are drawn from, and what label noise is multiplied with: triangular for full batches.
   */
  rowsOf(b) {
    const { n, d, inputs, targets } = this.model;
    const full = this.scheme === "without_replacement" && b === n;
    if (this.model.form === "quadratic" || !full || n <= d) return { inputs, targets, b, unit: 1 };
    return { ...triangular(inputs, targets, n, d), b: d, unit: Math.sqrt(d / n) };
  }

  /** The covector of the next batch; false where a residual is out of range. */
  batched() {
    const { model, rng, order, beta, covector } = this,
      { n, d } = model,
      { inputs, targets, b, unit } = this.rows;
    const batch = (this.batch ??= new Int32Array(b)),
      noise = unit * this.noise;
    for (let i = 0; i < b; i++) {
      if (this.scheme === "with_replacement") batch[i] = Math.floor(rng.uniform() * n);
      else if (this.b === n) batch[i] = i;
      else {
        const j = i + Math.floor(rng.uniform() * (n - i)),
          kept = order[i];
        order[i] = order[j];
        order[j] = kept;
        batch[i] = order[i];
      }
    }
    covector.fill(0);
    if (model.form === "quadratic") {
      for (const i of batch) model.addGradient(i, this.theta, 1 / b, covector);
      return covector.every((g) => Math.abs(g) <= LIMIT);
    }
    let bounded = true;
    for (let i = 0; i < b; i++) {
      const at = batch[i] * d;
      let r = -targets[batch[i]];
      for (let k = 0; k < d; k++) r += inputs[at + k] * beta[k];
      if (noise > 0) r -= noise * rng.normal();
      bounded &&= Math.abs(r) <= LIMIT;
      r /= b;
      for (let k = 0; k < d; k++) covector[k] += r * inputs[at + k];
    }
    return bounded;
  }

  /** The same for Gaussian weights of all samples. */
  weighted() {
    const { model, rng, b, noise, beta, covector } = this,
      { n, d, inputs, targets } = model;
    const [weights] = drawWeights(rng, b, n, 1);
    covector.fill(0);
    if (model.form === "quadratic") {
      weights.forEach((w, i) => model.addGradient(i, this.theta, w, covector));
      return covector.every((g) => Math.abs(g) <= LIMIT);
    }
    let bounded = true;
    for (let i = 0; i < n; i++) {
      const at = i * d;
      let r = -targets[i];
      for (let k = 0; k < d; k++) r += inputs[at + k] * beta[k];
      if (noise > 0) r -= noise * rng.normal();
      bounded &&= Math.abs(r) <= LIMIT;
      for (let k = 0; k < d; k++) covector[k] += weights[i] * r * inputs[at + k];
    }
    return bounded;
  }

  /** Another batch size from here on. */
  rebatch(b) {
    Object.assign(this, { b, batch: null, rows: this.rowsOf(b) });
  }
}

/**
 * √(d/n)·R (d, d) and √(d/n)·Qᵀy (d) of X = QR, n > d, by Householder reflections with the signs of LAPACK:
 * Xᵀ(Xβ − y)/n = R̃ᵀ(R̃β − ỹ)/d, and Qᵀz is as normal as z.
 */
function triangular(inputs, targets, n, d) {
  const A = Float64Array.from(inputs),
    y = Float64Array.from(targets),
    unit = Math.sqrt(d / n);
  for (let j = 0; j < d; j++) {
    let size = 0;
    for (let i = j; i < n; i++) size += A[i * d + j] ** 2;
    const alpha = A[j * d + j],
      beta = alpha < 0 ? Math.sqrt(size) : -Math.sqrt(size);
    if (beta === 0) continue;
    const v = new Float64Array(n),
      scale = 1 / (alpha - beta),
      tau = (beta - alpha) / beta;
    v[j] = 1;
    for (let i = j + 1; i < n; i++) v[i] = A[i * d + j] * scale;
    for (let k = j; k <= d; k++) {
      let along = 0;
      for (let i = j; i < n; i++) along += v[i] * (k < d ? A[i * d + k] : y[i]);
      for (let i = j; i < n; i++) {
        if (k < d) A[i * d + k] -= tau * along * v[i];
        else y[i] -= tau * along * v[i];
      }
    }
  }
  const rows = new Float64Array(d * d);
  for (let j = 0; j < d; j++) for (let k = j; k < d; k++) rows[j * d + k] = unit * A[j * d + k];
  return { inputs: rows, targets: y.slice(0, d).map((value) => unit * value) };
}

/**
 * {batches} of the record at a step, the same for all its statistics, as `esssim.simulate` draws them; with the
 * probability of the one batch where there is no other.
 */
export function batchesOfRecord(seed, step, scheme, b, n, count) {
  const rng = new Generator(seed, [0, step]);
  if (scheme !== "gaussian_weights") return { batches: drawBatches(rng, scheme, b, n, count) };
  if (covarianceCoefficient(scheme, b, n) > 0) return { batches: drawWeights(rng, b, n, count) };
  return { batches: [new Float64Array(n).fill(1 / n)], probabilities: [1] };
}
