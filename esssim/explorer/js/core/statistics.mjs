// The statistics of esssim/statistics/table.py at a point θ, from the same batches for all sampled ones.

import { eigenvaluesInPlace, dot, gram } from "./linalg.mjs";
import { criticalSharpness } from "./critical.mjs";
import { batchWeights } from "./models.mjs";
import { diagonalForm } from "./quadratic.mjs";
import { edge, perronMatrix, spectrumOfGram } from "./perron.mjs";
import { covarianceCoefficient, thirdCoefficient } from "./sampling.mjs";
import { denseHessian, largestOfBatches, largestOfWeights } from "./spectra.mjs";

/** Everything about θ that the statistics share. */
export function at(model, theta) {
  if (model.form === "quadratic") return { model, theta };
  const link = model.link(theta),
    residuals = model.residuals(theta);
  return { model, theta, link, residuals };
}

/** Eigenvalues of the full Hessian, ascending. */
export function fullSpectrum({ model, link, residuals }) {
  if (model.form === "quadratic") return model.curvature().sort();
  const rows = Array.from({ length: model.n }, (_, i) => [i, 1 / model.n]);
  return eigenvaluesInPlace(denseHessian(model, link, residuals, rows), model.p);
}

/** λ, U and the factors of K = JJᵀ at the point. */
export function kernel(point) {
  const { model, link } = point;
  return spectrumOfGram(model.factors(link), model.n, model.d);
}

/** Q_b of the Gauss–Newton Hessians; start: the Perron vector of a point nearby. */
export function meanSquare(spectrum, c, start = null) {
  return edge(perronMatrix(spectrum, c), start);
}

/** η_c = 2/Q of mean-square stability: of the Gauss–Newton Hessians, of the full ones of a quadratic. */
export function criticalStepSize(point, c, momentum, tolerance) {
  if (point.model.form === "quadratic") return 2 / point.model.meanSquare(c, momentum);
  return 2 / edge(perronMatrix(kernel(point), c, momentum), null, tolerance).Q;
}

/** λ_max(H_B) of each batch (indices), or of each vector of weights. */
export function largestEigenvalues({ model, link, residuals }, batches) {
  if (model.form === "quadratic")
    return Float64Array.from(batches, (batch) => Math.max(...model.curvature(weightsOf(batch, model.n))));
  return batches[0] instanceof Int32Array
    ? largestOfBatches(model, link, residuals, batches)
    : largestOfWeights(model, link, residuals, batches);
}

const weightsOf = (batch, n) => (batch instanceof Int32Array ? batchWeights(batch, n) : batch);

/** λ_max of the Gauss–Newton part of each batch, which is that of K_BB/b. */
export function gaussNewtonEigenvalues({ model, link, residuals }, batches) {
  if (!(batches[0] instanceof Int32Array))
    return largestEigenvalues({ model, link, residuals: residuals.map(() => 0) }, batches);
  const { d } = model,
    A = model.factors(link);
  return Float64Array.from(batches, (batch) => {
    const b = batch.length,
      K = new Float64Array(b * b);
    if (b > d) {
      const rows = new Float64Array(b * d);
      batch.forEach((i, a) => rows.set(A.subarray(i * d, (i + 1) * d), a * d));
      return eigenvaluesInPlace(gram(rows, b, d), d).at(-1) / b;
    }
    for (let i = 0; i < b; i++)
      for (let j = 0; j <= i; j++)
        for (let k = 0; k < d; k++) K[i * b + j] += A[batch[i] * d + k] * A[batch[j] * d + k];
    return eigenvaluesInPlace(K, b).at(-1) / b;
  });
}

/** g_BᵀH_Bg_B and ‖g_B‖² of each batch. */
export function gradientForms(point, batches) {
  const forms = new Float64Array(batches.length),
    norms = new Float64Array(batches.length);
  batches.forEach((batch, m) => {
    const { model, theta } = point,
      weights = weightsOf(batch, model.n);
    if (model.form === "quadratic") {
      const g = model.gradient(theta, weights);
      norms[m] = dot(g, g);
      forms[m] = diagonalForm(model.curvature(weights), g);
      return;
    }
    const s = point.model.covector(point.residuals, weights);
    norms[m] = squaredNorm(point.link, s);
    forms[m] = quadraticForm(point, s, weights);
  });
  return { forms, norms };
}

/** ‖(∂β)ᵀs‖². */
function squaredNorm({ G }, s) {
  let sum = 0;
  for (let k = 0; k < s.length; k++) sum += G[k] * s[k] * s[k];
  return sum;
}

/** gᵀH_w g for g = (∂β)ᵀs: Σ wᵢ (xᵢᵀ(G∘s))² + the curvature of β along g, weighted by the covector of w. */
function quadraticForm({ model, link, residuals }, s, weights, covector = model.covector(residuals, weights)) {
  const { n, d, inputs } = model,
    { first, second, G, p11, p12, p22 } = link;
  let total = 0;
  for (let i = 0; i < n; i++) {
    const w = weights ? weights[i] : 1 / n;
    if (w === 0) continue;
    let along = 0;
    for (let k = 0; k < d; k++) along += inputs[i * d + k] * G[k] * s[k];
    total += w * along * along;
  }
  for (let k = 0; k < d; k++) {
    const a = first[k] * s[k],
      b = second[k] * s[k];
    total += covector[k] * (p11[k] * a * a + 2 * p12[k] * a * b + p22[k] * b * b);
  }
  return total;
}

/** ‖g‖, GNI E[g_BᵀHg_B]/‖g‖² and IAS tr(HG_b)/tr G_b, exact by E[g_Bg_Bᵀ] = (1−c)ggᵀ + c·mean gᵢgᵢᵀ. */
function gradientStatistics({ full, norms, fullForm, forms }, c) {
  const squared = (1 - c) * full + c * norms,
    form = (1 - c) * fullForm + c * forms;
  return {
    gradient_norm: Math.sqrt(full),
    gradient_noise_interaction: form / full,
    interaction_aware_sharpness: form / squared,
  };
}

/** ‖g‖² and gᵀHg, and their means over the samples' own gradients: mean ‖gᵢ‖² and mean gᵢᵀHgᵢ. */
function gradientMoments(point) {
  const { model, residuals, link, theta } = point,
    { n, d, inputs } = model,
    everyone = null;
  if (model.form === "quadratic") {
    const h = model.curvature(),
      g = model.gradient(theta),
      moments = { full: dot(g, g), fullForm: diagonalForm(h, g), norms: 0, forms: 0 };
    for (let i = 0; i < n; i++) {
      const own = new Float64Array(d);
      model.addGradient(i, theta, 1, own);
      moments.norms += dot(own, own) / n;
      moments.forms += diagonalForm(h, own) / n;
    }
    return moments;
  }
  const mean = model.covector(residuals),
    full = squaredNorm(link, mean);
  let norms = 0,
    forms = 0;
  const own = new Float64Array(d);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) own[k] = residuals[i] * inputs[i * d + k];
    norms += squaredNorm(link, own) / n;
    forms += quadraticForm(point, own, everyone, mean) / n;
  }
  return { full, norms, fullForm: quadraticForm(point, mean, everyone, mean), forms };
}

const mean = (values, weights) =>
  weights ? dot(values, weights) : values.reduce((sum, value) => sum + value, 0) / values.length;

const errorOf = (values) => {
  const centre = mean(values),
    count = values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (count - 1) / count);
};

/** {value, error} of a mean over batches: exact with their probabilities, sampled without. */
export function average(values, probabilities) {
  return { value: mean(values, probabilities), error: probabilities ? 0 : errorOf(values) };
}

/** {value, error} of E[f]/E[g]: to first order the error is that of f − value·g, over E[g]. */
export function ratio(forms, norms, probabilities) {
  const below = mean(norms, probabilities),
    value = mean(forms, probabilities) / below;
  return { value, error: probabilities ? 0 : errorOf(forms.map((f, m) => f - value * norms[m])) / Math.abs(below) };
}

/** All statistics by their names in Python; sampled ones come with name_standard_error. */
export function measure(point, scheme, b, { batches, probabilities }, start = null) {
  const { model } = point,
    c = covarianceCoefficient(scheme, b, model.n);
  const values = fullSpectrum(point),
    quadratic = model.form === "quadratic",
    spectrum = quadratic ? null : kernel(point),
    { Q, vector } = quadratic ? { Q: model.meanSquare(c), vector: null } : meanSquare(spectrum, c, start);
  const eigenvalues = largestEigenvalues(point, batches),
    { forms, norms } = gradientForms(point, batches);
  const moments = gradientMoments(point);
  const record = {
    loss: model.loss(point.theta),
    ...gradientStatistics(moments, c),
    critical_sharpness: criticalSharpness(point, moments),
    sharpness: values.at(-1),
    // Of a quadratic: Q_b of the full Hessians, the only ones that it has.
    mean_square_sharpness_gauss_newton: Q,
  };
  for (const j of [2, 3]) if (model.p >= j) record[`eigenvalue_${j}`] = values.at(-j);
  const add = (name, { value, error }) => Object.assign(record, { [name]: value, [`${name}_standard_error`]: error });
  add("minibatch_sharpness", average(eigenvalues, probabilities));
  add(
    "batch_sharpness",
    average(
      forms.map((f, m) => f / norms[m]),
      probabilities,
    ),
  );
  add("batch_sharpness_parts", ratio(forms, norms, probabilities));
  return { record, eigenvalues, spectrum, vector };
}

/** E[g_BᵀH_Bg_B]/E‖g_B‖² without batches, from the second and third moments of batch means. */
export function ratioOfMeans(point, scheme, b) {
  const { model, residuals, link } = point,
    { n, d, inputs } = model;
  const c = covarianceCoefficient(scheme, b, n),
    c3 = thirdCoefficient(scheme, b, n);
  const s = model.covector(residuals),
    full = quadraticForm(point, s, null, s);
  let spread = 0,
    own = 0,
    cross = 0,
    norms = 0;
  const si = new Float64Array(d),
    weights = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) si[k] = residuals[i] * inputs[i * d + k];
    weights.fill(0);
    weights[i] = 1;
    spread += quadraticForm(point, si, null, s) / n;
    own += quadraticForm(point, si, weights, si) / n;
    norms += squaredNorm(link, si) / n;
    const sum = si.map((x, k) => x + s[k]),
      difference = si.map((x, k) => x - s[k]);
    // gᵀHᵢgᵢ by polarisation.
    cross += (quadraticForm(point, sum, weights, si) - quadraticForm(point, difference, weights, si)) / (4 * n);
  }
  const second = 2 * (cross - full) + (spread - full),
    third = own - 2 * cross - spread + 2 * full;
  return (full + c * second + c3 * third) / ((1 - c) * squaredNorm(link, s) + c * norms);
}
