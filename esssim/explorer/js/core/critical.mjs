// Critical sharpness λ_c = 2/η_c, η_c the step along the full gradient beyond which the loss exceeds its start:
// esssim/statistics/critical.py.

const EPS = Number.EPSILON;

/** λ_c at a point, from the moments {full, fullForm} = {‖g‖², gᵀHg}; NaN where the gradient is zero. */
export function criticalSharpness({ model, theta, link, residuals }, { full, fullForm }) {
  if (!(full > 0)) return NaN;
  if (model.p === model.d) return Math.max(fullForm / full, 0);
  const gradient = model.pullBack(link, model.covector(residuals)),
    largest = Math.max(...gradient.map(Math.abs));
  const line = gradient.map((g) => g / largest);
  return 2 * largest * inverseRise(model, theta, residuals, line, full / largest);
}

/**
 * 1/η_c along θ − ηd: the residuals are r + ηs₁ + … + ηᴰs_D, so that (L(θ − ηd) − L(θ))/η has degree 2D − 1, and in
 * 1/η the leading coefficient 2r·s₁ = −2n g·d, never zero. The first rise is the largest 1/η at which it changes sign.
 */
function inverseRise(model, theta, residuals, line, slope) {
  const { n, depth } = model,
    steps = residualSteps(model, theta, line);
  const size = largestOf(residuals),
    // η in units in which r and s₁ are near 1.
    unit = size / largestOf(steps[0]);
  const series = [residuals, ...steps].map((values, k) => values.map((x) => (x * unit ** k) / size));
  const leading = ((-2 * n * slope) / size) * (unit / size),
    coefficients = [1];
  for (let k = 2; k <= 2 * depth; k++) {
    let square = 0;
    for (let i = Math.max(0, k - depth); i <= Math.min(k, depth); i++)
      for (let j = 0; j < n; j++) square += series[i][j] * series[k - i][j];
    coefficients.push(square / leading);
  }
  return largestSignChange(coefficients) / unit;
}

const largestOf = (values) => values.reduce((top, x) => Math.max(top, Math.abs(x)), 0);

/** s₁ … s_D (n each), the coefficients of the residuals in η. */
function residualSteps({ n, d, depth, form, inputs }, theta, line) {
  return Array.from({ length: depth }, (_, place) => {
    const k = place + 1,
      out = new Float64Array(n);
    for (let j = 0; j < d; j++) {
      const [u, v, du, dv] = [theta[j], theta[d + j], line[j], line[d + j]];
      const weight =
        form === "product"
          ? [-(u * dv + v * du), du * dv][place]
          : choose(depth, k) * (-1) ** k * (u ** (depth - k) * du ** k - v ** (depth - k) * dv ** k);
      for (let i = 0; i < n; i++) out[i] += inputs[i * d + j] * weight;
    }
    return out;
  });
}

function choose(n, k) {
  let count = 1;
  for (let i = 1; i <= k; i++) count = (count * (n - k + i)) / i;
  return count;
}

/** The largest s > 0 at which Σ aₖ s^{K−k}, a₀ = 1, changes sign; 0 where it does not. */
export function largestSignChange(coefficients) {
  return Math.max(0, ...signChanges(coefficients).map(({ at, changed }) => (changed ? at : 0)));
}

/** Points in order, between which the polynomial has one sign on s > 0, and whether it changes there: bisection
 * between the points of the derivative, where it is monotone. */
function signChanges(a) {
  const degree = a.length - 1;
  if (degree === 1) return [{ at: Math.max(-a[1], 0), changed: a[1] < 0 }];
  // Fujiwara 1916.
  const bound = 2 * Math.max(...a.slice(1).map((x, k) => Math.abs(x) ** (1 / (k + 1))));
  const turning = signChanges(a.slice(0, -1).map((x, k) => x * (1 - k / degree)));
  const grid = [0, ...turning.map(({ at }) => Math.min(at, bound)), bound];
  const value = (s) => a.reduce((sum, x) => sum * s + x, 0),
    signs = grid.map((s) => Math.sign(value(s)));
  // Where it only touches zero it has the sign of what follows.
  for (let k = degree; k >= 0; k--) if (signs[k] === 0) signs[k] = k < degree ? signs[k + 1] : 1;
  return grid.slice(1).map((high, k) => {
    const changed = signs[k] > 0 !== signs[k + 1] > 0;
    return { at: changed ? bisected(value, signs[k] > 0, grid[k], high, bound) : high, changed };
  });
}

function bisected(value, before, low, high, bound) {
  while (high - low > 2 * EPS * high && high > 1e-30 * bound) {
    const middle = low + (high - low) / 2;
    // The smallest numbers have no number between them.
    if (middle === low || middle === high) break;
    if (value(middle) > 0 === before) low = middle;
    else high = middle;
  }
  return high;
}
