// What the page says in words about the run: where it is, its levels, what went wrong.

import { rounded, said } from "./axes.mjs";
import { meanInWords } from "./histogram.mjs";
import { find } from "./dom.mjs";
import { look, MEAN_SQUARE } from "./looks.mjs";
import { levelOf, nearest } from "./trajectory.mjs";
import { isNetwork } from "./state.mjs";

/** The record that numbers are of: under the cursor, or the last one. */
export const recordAt = (run, cursor) => (cursor === null ? run.last : nearest(run.records, cursor));

/** All sentences that follow the run. */
export function sayNumbers({ run, preset, changes }, cursor, theme) {
  const at = recordAt(run, cursor),
    level = run.mean((record) => levelOf(record, MEAN_SQUARE));
  find("now").textContent = at ? where(at) : run.message ? "" : "computing the start …";
  find("level").textContent =
    run.records.length && Number.isFinite(level) ? `mean level of Q_b in the shaded window: ${said(level, 3)}` : "";
  find("golden").textContent = preset && run.finished && !changes.length ? golden(run, preset, theme) : "";
  find("message").textContent = run.message;
  find("message").hidden = !run.message;
  find("histogram-words").textContent =
    run.eigenvalues.length && at ? meanInWords(run.eigenvalues, run.last.eta, run.exact) : "";
  find("flow-words").textContent = run.ready ? ofFlow(run) : "";
  find("status").textContent =
    run.diverged >= 0 ? "diverged" : run.finished && run.records.length ? "the run is done" : "";
}

function where({ step, eta, b, exact, minibatch_sharpness_standard_error: error }) {
  const sampled = exact
    ? "all batches enumerated: exact"
    : `64 sampled batches a record, MiniBS ± ${rounded((eta / 2) * error, 2)}`;
  return `step ${step.toLocaleString("en")} · η = ${rounded(eta, 4)} · b = ${b} · ${sampled}`;
}

function golden(run, preset, theme) {
  const { short } = look(preset.statistic, theme);
  return `(η/2)·${short}: ${goldenOf(run, preset).toFixed(6)} here, ${preset.golden.toFixed(6)} in Python.`;
}

/** The number of a preset as this page finds it. */
export const goldenOf = (run, { statistic }) => run.mean((record) => (record.eta / 2) * record[statistic]);

function ofFlow({ ready, flowLost }) {
  if (!ready.hasFlow && ready.p === ready.d)
    return "There is no flow here: the Hessians are the same everywhere, and no solution is flatter than another.";
  if (!ready.hasFlow) return "The flow has no stationary state above the edge: nothing to draw.";
  return flowLost ? "The flow met an edge that it cannot leave, and ends there." : "";
}

const PLANES = {
  two: {
    title: "Loss surface and walls",
    words: "Thick: the solutions uv = β*. A circle is the wall of one batch size, where (η/2)Q_b = 1.",
  },
  linear: { title: "Weights", words: "The parameters θ, one bar for each coordinate." },
  many: {
    title: "The coordinates",
    words: "Each point is one coordinate of the network; grey: where it began. SGD carries them to the flat solution.",
  },
};

/** Title and sentence of the third picture; that of two parameters stands first. */
export function sayPlane(settings) {
  const form = settings.model === "two" ? "two" : isNetwork(settings) ? "many" : "linear";
  find("plane").closest("section").style.order = form === "two" ? -1 : 0;
  find("plane-title").textContent = PLANES[form].title;
  find("plane-words").textContent = PLANES[form].words;
}
