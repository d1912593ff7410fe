// Models f(θ) = Xβ(θ) with squared loss, coordinate by coordinate: β_k depends on θ_k alone, or on (θ_k, θ_{d+k}).
//
//   product      β = u∘v                 difference   β = w₊ᴰ − w₋ᴰ                 linear   β = θ
//
// Every model gives the slopes ∂β_k (first, second) and the curvature ∂²β_k (the 2×2 matrix p11, p12, p22); then
// J_i = (x_i∘first, x_i∘second), ∇²f_i = x_i∘(p11 p12; p12 p22) and K = JJᵀ = X diag(G) Xᵀ, G = first² + second².

export const FORMS = ["linear", "product", "difference"];

export class Model {
  /** form: of FORMS; inputs: X (n, d), row after row; targets: y (n). */
  constructor({ form, depth = 2, inputs, targets, n, d }) {
    Object.assign(this, { form, depth, inputs, targets, n, d, p: form === "linear" ? d : 2 * d });
  }

  /** β(θ). */
  weights(theta, out = new Float64Array(this.d)) {
    const { d, depth } = this;
    for (let k = 0; k < d; k++)
      out[k] =
        this.form === "linear"
          ? theta[k]
          : this.form === "product"
            ? theta[k] * theta[d + k]
            : power(theta[k], depth) - power(theta[d + k], depth);
    return out;
  }

  /** {first, second, G, p11, p12, p22} at θ, each (d). */
  link(theta) {
    const { d, depth: D } = this,
      of = (f) => Float64Array.from({ length: d }, (_, k) => f(theta[k], theta[d + k]));
    const zero = new Float64Array(d),
      one = new Float64Array(d).fill(1);
    let link;
    if (this.form === "linear") link = { first: one, second: zero, p11: zero, p12: zero, p22: zero };
    else if (this.form === "product")
      link = { first: of((u, v) => v), second: of((u) => u), p11: zero, p12: one, p22: zero };
    else
      link = {
        first: of((w) => D * power(w, D - 1)),
        second: of((_, w) => -D * power(w, D - 1)),
        p11: of((w) => D * (D - 1) * power(w, D - 2)),
        p12: zero,
        p22: of((_, w) => -D * (D - 1) * power(w, D - 2)),
      };
    return { ...link, G: link.first.map((a, k) => a * a + link.second[k] ** 2) };
  }

  /** r = Xβ(θ) − y. */
  residuals(theta) {
    const { n, d, inputs, targets } = this,
      beta = this.weights(theta),
      r = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let sum = -targets[i];
      for (let k = 0; k < d; k++) sum += inputs[i * d + k] * beta[k];
      r[i] = sum;
    }
    return r;
  }

  /** L = (1/2n) Σ rᵢ². */
  loss(theta) {
    return this.residuals(theta).reduce((sum, r) => sum + r * r, 0) / (2 * this.n);
  }

  /** s = Σ wᵢ rᵢ xᵢ, the gradient of the loss with respect to β, for weights w (1/n each by default). */
  covector(residuals, weights) {
    const { n, d, inputs } = this,
      s = new Float64Array(d);
    for (let i = 0; i < n; i++) {
      const w = (weights ? weights[i] : 1 / n) * residuals[i];
      if (w !== 0) for (let k = 0; k < d; k++) s[k] += w * inputs[i * d + k];
    }
    return s;
  }

  /** (∂β/∂θ)ᵀs. */
  pullBack(link, s) {
    const { d, p } = this,
      out = new Float64Array(p);
    for (let k = 0; k < d; k++) {
      out[k] = link.first[k] * s[k];
      if (p > d) out[d + k] = link.second[k] * s[k];
    }
    return out;
  }

  /** The full gradient. */
  gradient(theta) {
    return this.pullBack(this.link(theta), this.covector(this.residuals(theta)));
  }

  /** √K-like factors: X diag(√G), (n, d), whose Gram matrices hold the spectrum of the Gauss–Newton Hessians. */
  factors(link) {
    const { n, d, inputs } = this,
      roots = link.G.map(Math.sqrt),
      A = new Float64Array(n * d);
    for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) A[i * d + k] = inputs[i * d + k] * roots[k];
    return A;
  }
}

/** x^k for a small natural k; 0⁰ = 1. */
export function power(x, k) {
  let result = 1;
  for (let i = 0; i < k; i++) result *= x;
  return result;
}

/** Weights (n) of a batch of indices: 1/b for each draw. */
export function batchWeights(batch, n) {
  const weights = new Float64Array(n);
  for (const i of batch) weights[i] += 1 / batch.length;
  return weights;
}
