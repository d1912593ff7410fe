// ℓᵢ(θ) = ½ Σₖ hᵢₖ(θₖ − yᵢ)² with hᵢₖ = xᵢₖ²: every Hessian is diagonal and the same at every θ, and a sample has its
// minimum at yᵢ in each coordinate.

/** A quadratic of X (n, d), row after row, and y (n), with what SGD and the statistics ask of a model. */
export class Quadratic {
  constructor({ inputs, targets, n, d }) {
    Object.assign(this, { form: "quadratic", inputs, targets, n, d, p: d });
    this.curvatures = inputs.map((x) => x * x);
  }

  /** θ itself, and ∂θ/∂θ: SGD takes the gradient with respect to θ as it is. */
  weights(theta, out = new Float64Array(this.d)) {
    out.set(theta);
    return out;
  }

  link() {
    return { first: new Float64Array(this.d).fill(1) };
  }

  /** Σ wᵢhᵢ (d), the diagonal of H_w, for weights w (1/n each by default). */
  curvature(weights) {
    const { n, d, curvatures } = this,
      h = new Float64Array(d);
    for (let i = 0; i < n; i++) {
      const w = weights ? weights[i] : 1 / n;
      if (w !== 0) for (let k = 0; k < d; k++) h[k] += w * curvatures[i * d + k];
    }
    return h;
  }

  /** Adds w·∇ℓᵢ(θ) to g. */
  addGradient(i, theta, w, g) {
    const { d, curvatures, targets } = this;
    for (let k = 0; k < d; k++) g[k] += w * curvatures[i * d + k] * (theta[k] - targets[i]);
  }

  /** Σ wᵢ∇ℓᵢ(θ). */
  gradient(theta, weights) {
    const g = new Float64Array(this.d);
    for (let i = 0; i < this.n; i++) this.addGradient(i, theta, weights ? weights[i] : 1 / this.n, g);
    return g;
  }

  /** (1/n) Σ ℓᵢ(θ). */
  loss(theta) {
    const { n, d, curvatures, targets } = this;
    let total = 0;
    for (let i = 0; i < n; i++)
      for (let k = 0; k < d; k++) total += curvatures[i * d + k] * (theta[k] - targets[i]) ** 2;
    return total / (2 * n);
  }

  /**
   * Q with η_c = 2/Q, the mean-square edge of the full Hessians: coordinate by coordinate, with h the mean curvature
   * and v its variance over batches, Q = max h/(1+β) + v/((1−β)h).
   */
  meanSquare(c, momentum = 0) {
    const { n, d, curvatures } = this,
      h = this.curvature();
    let Q = 0;
    for (let k = 0; k < d; k++) {
      let variance = 0;
      for (let i = 0; i < n; i++) variance += (c * (curvatures[i * d + k] - h[k]) ** 2) / n;
      if (h[k] > 0) Q = Math.max(Q, h[k] / (1 + momentum) + variance / ((1 - momentum) * h[k]));
    }
    return Q;
  }
}

/** gᵀHg for a diagonal H. */
export function diagonalForm(h, g) {
  return g.reduce((sum, x, k) => sum + h[k] * x * x, 0);
}
