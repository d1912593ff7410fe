// One run, from its settings: data, model, start, step sizes, SGD, and the flow beside it. It is the run of the
// Experiment that `esssim run` makes of the same settings as TOML (page/export.mjs), replica 0.

import { ensemble, interpolatingTargets, leastSquares } from "./data.mjs";
import { flowLaw } from "./flow.mjs";
import { FlowSolver } from "./integrate.mjs";
import { Model } from "./models.mjs";
import { Quadratic } from "./quadratic.mjs";
import { edge, meanSquareSharpness, perronMatrix } from "./perron.mjs";
import { countBatches, covarianceCoefficient, drawBatches, drawWeights, enumerate } from "./sampling.mjs";
import { recordSteps } from "./records.mjs";
import { batchesOfRecord, Sgd } from "./sgd.mjs";
import { Generator } from "./random.mjs";
import { balanced, initialisation, solution } from "./start.mjs";
import {
  at,
  average,
  criticalStepSize,
  fullSpectrum,
  gaussNewtonEigenvalues,
  largestEigenvalues,
  meanSquare,
  measure,
} from "./statistics.mjs";

/** name ↦ form, depth, and the second scale α′ as a share of α. */
export const MODELS = {
  two: { form: "product", depth: 2, second: 0 },
  product: { form: "product", depth: 2, second: 0 },
  depth2: { form: "difference", depth: 2, second: 6 / 13 },
  depth3: { form: "difference", depth: 3, second: 6 / 13 },
  depth4: { form: "difference", depth: 4, second: 6 / 13 },
  regression: { form: "linear", depth: 1, second: 0 },
  quadratic: { form: "quadratic", depth: 1, second: 0 },
};
export const N_RECORDS = 301;
export const N_BATCHES = 64;
const BELOW_THE_LAST_EDGE = 0.9;
const FOLLOWED = 1.15;
// Batches of a histogram that is refined while the run rests.
const MOST_BATCHES = 4096;
// Iterates that the picture of the plane shows.
const ITERATES = 40;

/** Settings that cannot be run; the message says which and what is allowed. */
export class Refused extends Error {}

export class Experiment {
  /**
   * table: {inputs, targets, n, d} of one's own, or null for an ensemble. changes: [{step, factor, b}, …] while it
   * ran.
   */
  constructor(settings, table = null, changes = []) {
    this.settings = settings;
    this.model = modelOf(settings, table);
    const { model } = this,
      { n } = model,
      { second } = MODELS[settings.model];
    if (settings.b > n && settings.scheme !== "with_replacement")
      throw new Refused(`b must be between 1 and n = ${n} for this scheme, got ${settings.b}`);
    this.second = second * settings.alpha;
    const begin = initialisation(model, settings.alpha, this.second);
    this.theta0 = settings.start === "solution" && model.p > model.d ? solution(model, begin) : begin;
    if (!this.theta0) throw new Refused("gradient flow finds no solution from here: another α or other data will do");
    this.b = settings.b;
    this.firstEdge = this.edgeAt(this.theta0);
    if (!(this.firstEdge > 0 && this.firstEdge < Infinity))
      throw new Refused("the Hessians are zero where the run starts: other data or another α will do");
    this.schedule = scheduleOf(this);
    this.changes = [];
    this.planned = [...changes];
    this.limit = settings.steps;
    const oscillating = settings.b === n && settings.scheme !== "with_replacement";
    this.recorded = recordSteps(settings.steps, N_RECORDS, settings.seed, oscillating);
    const { scheme, momentum, noise, seed } = settings;
    this.sgd = new Sgd(model, this.theta0, { scheme, b: this.b, momentum, noise, seed }, (step) => this.etaAt(step));
    this.vector = null;
    this.flow = null;
    this.startFlow(this.theta0, 0);
  }

  get c() {
    return covarianceCoefficient(this.settings.scheme, this.b, this.model.n);
  }

  /** η at a step: the schedule times the factor of the last change. */
  etaAt(step) {
    let factor = 1;
    for (const change of this.changes) if (change.step <= step) factor = change.factor;
    return factor * this.schedule(Math.min(step, this.settings.steps));
  }

  /** The critical step size of mean-square stability at θ: 2/Q_b without momentum. */
  edgeAt(theta) {
    return criticalStepSize(at(this.model, theta), this.c, this.settings.momentum, 1e-12);
  }

  /** The step from which on levels are averaged: where η passes 1.15 first edges, or half of the run. */
  get after() {
    const { steps, to, schedule } = this.settings,
      opens = FOLLOWED * this.firstEdge;
    const [start, stop] = [this.schedule(0), this.schedule(steps)];
    return schedule === "rising" && to && start < opens && opens < stop
      ? (steps * (opens - start)) / (stop - start)
      : steps / 2;
  }

  /** The step of record k; behind the end of the schedule, where changes lead, they go on equally spaced. */
  stepOfRecord(k) {
    const { steps } = this.settings;
    return this.recorded[k] ?? Math.round((k * steps) / (N_RECORDS - 1));
  }

  get finished() {
    return this.sgd.divergedAt >= 0 || this.sgd.step >= this.limit;
  }

  /** Run to the next record and measure there. */
  next() {
    const k = this.count ?? 0,
      step = this.stepOfRecord(k);
    this.path = [];
    if (this.settings.model === "two") this.advanceInSight(step);
    else this.sgd.advance(step);
    this.count = k + 1;
    if (this.sgd.divergedAt >= 0) return { k, step, eta: this.etaAt(step), b: this.b, diverged: this.sgd.divergedAt };
    const record = this.measured(k, step);
    while (this.planned.length && this.planned[0].step <= step) this.change(this.planned.shift());
    return record;
  }

  /** The last iterates before a record, for the picture of a plane. */
  advanceInSight(step) {
    this.sgd.advance(step - ITERATES);
    while (this.sgd.step < step && this.sgd.divergedAt < 0) {
      this.sgd.advance(this.sgd.step + 1);
      this.path.push(this.sgd.theta[0], this.sgd.theta[1]);
    }
  }

  measured(k, step) {
    const { scheme, seed } = this.settings,
      { model, b } = this,
      point = at(model, this.sgd.theta);
    const exact = countBatches(scheme, b, model.n) <= N_BATCHES,
      drawn =
        exact && scheme !== "gaussian_weights"
          ? enumerate(scheme, b, model.n)
          : batchesOfRecord(seed, step, scheme, b, model.n, N_BATCHES);
    const { record, eigenvalues, spectrum, vector } = measure(point, scheme, b, drawn, this.vector);
    this.vector = this.c > 0 ? vector : null;
    const eta = this.etaAt(step),
      { momentum } = this.settings;
    let critical = 2 / record.mean_square_sharpness_gauss_newton;
    if (momentum && spectrum) critical = 2 / edge(perronMatrix(spectrum, this.c, momentum), this.vector).Q;
    else if (momentum) critical = criticalStepSize(point, this.c, momentum);
    this.last = {
      step,
      theta: Float64Array.from(this.sgd.theta),
      eigenvalues: Array.from(eigenvalues),
      exact,
      eta,
      b,
    };
    return { k, step, eta, b, exact, share: eta / critical, ...record };
  }

  /** Another η or b from the present step on: {step, factor, b}. */
  change({ step = this.sgd.step, factor, b }) {
    this.changes.push({ step, factor, b });
    if (b !== this.b) {
      this.b = b;
      this.sgd.rebatch(b);
      this.vector = null;
    }
    this.limit = Math.max(
      this.limit,
      this.stepOfRecord(Math.round((step / this.settings.steps + 0.25) * (N_RECORDS - 1))),
    );
    this.restartFlow = true;
  }

  // The flow beside the run.

  startFlow(theta, step) {
    const { model, settings, b } = this,
      { scheme, noise, momentum, start } = settings;
    this.flow = null;
    if (model.p === model.d) return;
    const follow = start === "solution" ? "solutions" : "mean";
    const frozen = follow === "solutions" ? unreachable(model) : null;
    const law = flowLaw({ model, scheme, b, noise, momentum, follow, frozen });
    const solver = new FlowSolver(law, theta, (s) => this.etaAt(s), { step });
    this.flow = solver.stopped ? null : solver;
  }

  /** Move the flow on, not beyond the run, until `until` (ms): the records that it passed on its way. */
  followFlow(until, now) {
    const records = [];
    if (this.restartFlow) {
      // The flow goes on from where it is; above the edge it has no stationary state, and waits for SGD to come down.
      this.restartFlow = false;
      this.startFlow(
        this.flow && !this.flow.stopped ? this.flow.theta : this.sgd.theta,
        this.flow?.step ?? this.sgd.step,
      );
    }
    this.flowAt ??= 0;
    while (this.flow && !this.flow.stopped && now() < until) {
      const target = this.stepOfRecord(this.flowAt);
      if (target > this.sgd.step) break;
      this.flow.advance(target);
      if (this.flow.step >= target) {
        records.push(this.observedFlow(target));
        this.flowAt++;
      }
    }
    return records;
  }

  /** (η/2)·statistic on the flow, of its Gauss–Newton Hessians; MiniBS of the same sampled batches at every step. */
  observedFlow(step) {
    const { model, b, flow } = this,
      { scheme, seed } = this.settings,
      eta = this.etaAt(step);
    const { Q } = meanSquare(flow.fast.perron, this.c),
      point = at(model, flow.theta);
    // The same batches all along: the line is then as smooth as the flow.
    const { batches } = batchesOfRecord(seed, 0, scheme, b, model.n, N_BATCHES);
    const { lambda } = flow.fast.perron;
    return {
      step,
      eta,
      sharpness: (eta / 2) * (lambda.at(-1) / model.n),
      mean_square_sharpness_gauss_newton: (eta / 2) * Q,
      minibatch_sharpness: (eta / 2) * average(gaussNewtonEigenvalues(point, batches)).value,
    };
  }

  // What the panels on the right show.

  /** More eigenvalues of mini-batches at the last record: {eigenvalues, exact} or null when there are enough. */
  refine(count) {
    const { last, model } = this,
      { scheme, seed } = this.settings;
    if (!last || last.exact || last.eigenvalues.length >= MOST_BATCHES || last.b !== this.b) return null;
    this.more ??= new Generator(seed, [1, 1]);
    const { n } = model,
      draw =
        scheme === "gaussian_weights"
          ? drawWeights(this.more, last.b, n, count)
          : drawBatches(this.more, scheme, last.b, n, count);
    last.eigenvalues.push(...largestEigenvalues(at(model, last.theta), draw));
    return last.eigenvalues;
  }

  /** Batch sizes of the stability diagram: powers of two, and n. */
  get sizes() {
    const sizes = [];
    for (let b = 1; b < this.model.n; b *= 2) sizes.push(b);
    return [...sizes, this.model.n];
  }

  /** The edges of one batch size at the last record: {b, meanSquare, minibatch, minibatchError, sharpness}. */
  edgesOf(b) {
    const { model, settings, last } = this,
      c = covarianceCoefficient(settings.scheme, b, model.n);
    const point = at(model, last.theta),
      critical = criticalStepSize(point, c, settings.momentum, 1e-6);
    const { batches, probabilities } = batchesOfRecord(
      settings.seed, last.step, settings.scheme, b, model.n, b === 1 ? 64 : 32,
    );
    const { value, error } = average(largestEigenvalues(point, batches), probabilities);
    return {
      b,
      meanSquare: critical,
      minibatch: 2 / value,
      minibatchError: (2 * error) / value ** 2,
      sharpness: 2 / fullSpectrum(point).at(-1),
    };
  }

  /**
   * Q_b of the inputs alone for every batch size: on a two-parameter network (η/2)Q_b = 1 where u² + v² = 2/(η q_b).
   */
  walls() {
    const { inputs, n, d } = this.model;
    return this.sizes.map((b) => ({
      b,
      q: meanSquareSharpness(inputs, n, d, covarianceCoefficient(this.settings.scheme, b, n)),
    }));
  }
}

function modelOf(settings, table) {
  const { form, depth } = MODELS[settings.model],
    { n } = table ?? settings;
  const d = settings.model === "two" ? 1 : (table ?? settings).d;
  const found = table ?? ensemble(settings.data, n, d, settings.dataSeed);
  const targets = settings.targets === "own" ? found.targets : interpolatingTargets(found.inputs, found.targets, n, d);
  const own = { inputs: found.inputs, targets, n, d };
  return form === "quadratic" ? new Quadratic(own) : new Model({ form, depth, ...own });
}

/** step ↦ η: constant or rising linearly, in units of the first edge, as `Experiment.step_size` of Python. */
function scheduleOf({ settings, model, theta0, firstEdge }) {
  const start = settings.from * firstEdge;
  if (settings.schedule === "constant") return () => start;
  let stop = settings.to * firstEdge;
  if (model.p > model.d && model.n >= model.d) {
    const c = covarianceCoefficient(settings.scheme, settings.b, model.n);
    // With n ≥ d all solutions have the weights of least squares; those of another start are no solution's.
    const { inputs, targets, n, d } = model,
      weights = settings.start === "solution" ? model.weights(theta0) : leastSquares(inputs, targets, n, d).weights,
      last = criticalStepSize(at(model, balanced(model, weights)), c, settings.momentum, 1e-12);
    if (last > 0) stop = Math.min(stop, BELOW_THE_LAST_EDGE * last);
  }
  return start === stop ? () => start : (step) => start + ((stop - start) * step) / settings.steps;
}

/** r*: what no β can fit of the targets; null where that is rounding. */
function unreachable(model) {
  const { inputs, targets, n, d } = model,
    fitted = interpolatingTargets(inputs, targets, n, d);
  const left = fitted.map((y, i) => y - targets[i]);
  return Math.max(...left.map(Math.abs)) > 1e-10 * Math.max(...targets.map(Math.abs)) ? left : null;
}
