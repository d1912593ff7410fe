// Compares this code with the golden vectors that `python -m esssim.explorer.golden FILE` wrote.

import { ensemble, interpolatingTargets } from "./data.mjs";
import { fastMotion, flowLaw, motion } from "./flow.mjs";
import { Model } from "./models.mjs";
import { edge, perronMatrix } from "./perron.mjs";
import { Quadratic } from "./quadratic.mjs";
import { Generator } from "./random.mjs";
import { recordSteps } from "./records.mjs";
import { covarianceCoefficient, drawBatches, drawWeights, enumerate } from "./sampling.mjs";
import { Sgd } from "./sgd.mjs";
import { initialisation, solution } from "./start.mjs";
import { at, gradientForms, kernel, largestEigenvalues, measure, ratioOfMeans } from "./statistics.mjs";

/** [{name, error, tolerance}] of every vector, error relative to the largest entry of what Python computed. */
export function check(golden) {
  const models = golden.problems.map(modelOf);
  return golden.vectors.map((vector) => {
    const found = COMPUTE[vector.kind]({ ...vector, model: models[vector.problem] }),
      errors = [];
    for (const [key, wanted] of Object.entries(vector.expected)) errors.push(difference(found[key], wanted));
    return { name: vector.name, error: Math.max(...errors), tolerance: vector.tolerance };
  });
}

function difference(found, wanted) {
  const a = [found].flat(2).flatMap((x) => (ArrayBuffer.isView(x) ? Array.from(x) : [x])),
    b = [wanted].flat(2);
  if (a.length !== b.length || !a.every(Number.isFinite)) return Infinity;
  const scale = Math.max(...b.map(Math.abs)) || 1;
  return Math.max(...b.map((x, i) => Math.abs(x - a[i]) / scale));
}

function modelOf({ form, depth, inputs, targets }) {
  const [n, d] = [inputs.length, inputs[0].length];
  const own = { n, d, inputs: Float64Array.from(inputs.flat()), targets: Float64Array.from(targets) };
  return form === "quadratic" ? new Quadratic(own) : new Model({ form, depth, ...own });
}

const COMPUTE = {
  random: ({ seed, key, count }) => {
    const first = new Generator(seed, key),
      second = new Generator(seed, key);
    return { uniform: Array.from({ length: count }, () => first.uniform()), normal: second.normals(count) };
  },
  ensemble: ({ data, n, d, seed, options }) => {
    const { inputs, targets } = ensemble(data, n, d, seed, options);
    return { inputs, targets, interpolating: interpolatingTargets(inputs, targets, n, d) };
  },
  batches: ({ seed, scheme, b, n, count }) => ({
    batches: drawBatches(new Generator(seed), scheme, b, n, count).map((batch) => Array.from(batch)),
  }),
  enumeration: ({ scheme, b, n }) => {
    const { batches, probabilities } = enumerate(scheme, b, n);
    return { batches: batches.map((batch) => Array.from(batch)), probabilities };
  },
  records: ({ n_steps, count, seed }) => ({ steps: recordSteps(n_steps, count, seed, true) }),
  start: ({ model, scale, second_scale }) => {
    return { theta: solution(model, initialisation(model, scale, second_scale)) };
  },
  eigenvalues: ({ model, theta, batches, weights }) => {
    const drawn = weights ? weights.map((x) => Float64Array.from(x)) : batches.map((x) => Int32Array.from(x));
    const { forms, norms } = gradientForms(at(model, Float64Array.from(theta)), drawn);
    const eigenvalues = largestEigenvalues(at(model, Float64Array.from(theta)), drawn);
    return { eigenvalues, ...(weights && { forms, norms }) };
  },
  weights: ({ seed, b, n, count }) => ({
    weights: drawWeights(new Generator(seed), b, n, count).map((w) => Array.from(w)),
  }),
  statistics: ({ model, theta, scheme, b, batches, probabilities }) => {
    const point = at(model, Float64Array.from(theta));
    const drawn = { batches: batches.map((x) => Int32Array.from(x)), probabilities };
    const { record } = measure(point, scheme, b, drawn);
    if (model.form === "quadratic")
      return { ...record, mean_square_sharpness: record.mean_square_sharpness_gauss_newton };
    return { ...record, ratio_of_means: ratioOfMeans(point, scheme, b) };
  },
  perron: ({ model, theta, scheme, b, momentum }) => {
    const c = covarianceCoefficient(scheme, b, model.n);
    if (model.form === "quadratic") return { edge: 2 / model.meanSquare(c, momentum) };
    const { Q, vector } = edge(perronMatrix(kernel(at(model, Float64Array.from(theta))), c, momentum), null, 1e-12);
    const size = Math.hypot(...vector);
    return { edge: 2 / Q, vector: vector.map((x) => x / size) };
  },
  flow: ({ model, theta, scheme, b, momentum, label_noise, step_size, follow, frozen }) => {
    const law = flowLaw({ model, scheme, b, noise: label_noise, momentum, follow, frozen });
    const fast = fastMotion(law, Float64Array.from(theta), step_size);
    return { velocity: motion(fast).velocity, noise: fast.rho };
  },
  run: ({ model, theta, scheme, b, momentum, label_noise, step_size, seed, n_steps }) => {
    const settings = { scheme, b, momentum, noise: label_noise, seed };
    const sgd = new Sgd(model, Float64Array.from(theta), settings, (step) => step_size * (1 + step / n_steps));
    sgd.advance(n_steps);
    return { theta: sgd.theta };
  },
};
