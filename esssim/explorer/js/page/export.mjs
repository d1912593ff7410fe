// What leaves the page: the run as TOML for `esssim run`, its records as CSV, its pictures as PNG and SVG.

import { MODELS, N_BATCHES, N_RECORDS } from "../core/experiment.mjs";
import { STATISTICS } from "./looks.mjs";
import { isNetwork } from "./state.mjs";

/** Python's name of a statistic: Q_b of a quadratic is that of its full Hessians. */
const nameOf = (settings) => (name) =>
  settings.model === "quadratic" && name === "mean_square_sharpness_gauss_newton" ? "mean_square_sharpness" : name;

/** The settings as TOML. run: {eta: [first, last], second, table}; changes cannot be said in TOML, and are listed. */
export function toToml(settings, { eta, second, table }, changes = []) {
  const { form, depth } = MODELS[settings.model],
    network = isNetwork(settings),
    text = (value) => JSON.stringify(value);
  const number = (value) => (Number.isInteger(value) ? `${value}.0` : String(value).replace(/^(\d+)e/, "$1.0e"));
  const d = settings.model === "two" ? 1 : settings.d;
  const problem = !network
    ? [`kind = "${form === "linear" ? "linear_regression" : "quadratic"}"`]
    : ['kind = "diagonal_linear_network"', `form = ${text(form)}`, `depth = ${depth}`];
  const data = table
    ? [
        'kind = "file"',
        `path = ${text(table.name)}`,
        `target = ${text(table.target)}`,
        `targets = ${text(settings.targets)}`,
      ]
    : [
        `kind = ${text(settings.data)}`,
        `n_samples = ${settings.n}`,
        `n_features = ${d}`,
        `seed = ${settings.dataSeed}`,
        'targets = "interpolating"',
      ];
  const start = !network
    ? ['kind = "zeros"']
    : [
        `kind = ${text(settings.start === "solution" ? "solution" : "scale")}`,
        `scale = ${number(settings.alpha)}`,
        `second_scale = ${number(second)}`,
      ];
  const stepSize =
    settings.schedule === "constant"
      ? number(eta[0])
      : `{ from = ${number(settings.from)}, to = ${number(settings.to)}, unit = "first edge" }`;
  const dynamics = [
    `step_size = ${stepSize}`,
    `n_steps = ${settings.steps}`,
    `label_noise = ${number(settings.noise)}`,
    `momentum = ${number(settings.momentum)}`,
    `seed = ${settings.seed}`,
  ];
  const statistics = ["loss", ...STATISTICS.map(nameOf(settings))].map(text).join(", ");
  const notes = ["# A run of the explorer. `esssim run FILE.toml` repeats it, number by number."];
  if (table) notes.push(`# The table ${table.name} has to lie beside this file.`);
  for (const { step, factor, b } of changes)
    notes.push(
      `# Not repeated: from step ${step} on, the step size was ${Number(factor.toPrecision(6))} times that of the ` +
      `schedule, and b = ${b}.`,
    );
  const sections = {
    problem,
    data,
    start,
    sampling: [`scheme = ${text(settings.scheme)}`, `batch_size = ${settings.b}`],
    dynamics,
    records: [`statistics = [${statistics}]`, `n_records = ${N_RECORDS}`, `n_batches = ${N_BATCHES}`],
  };
  return `${notes.join("\n")}\n\n${Object.entries(sections)
    .map(([name, lines]) => `[${name}]\n${lines.join("\n")}\n`)
    .join("\n")}`;
}

/**
 * One line a record: step, step size, batch size, loss, the statistics with their standard errors, the levels of the
 * flow.
 */
export function toCsv(records, flow, settings) {
  const sampled = ["minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts"];
  const columns = [
    "step",
    "eta",
    "b",
    "loss",
    ...STATISTICS.flatMap((name) => (sampled.includes(name) ? [name, `${name}_standard_error`] : [name])),
  ];
  const followed = ["sharpness", "minibatch_sharpness", "mean_square_sharpness_gauss_newton"];
  const levels = new Map(flow.map((each) => [each.step, each]));
  const head = [
    ...columns.map((name) => ({ eta: "step_size", b: "batch_size" })[name] ?? nameOf(settings)(name)),
    ...followed.map((name) => `flow_level_${name}`),
  ];
  const lines = records.map((record) => {
    const along = levels.get(record.step);
    return [...columns.map((name) => record[name] ?? ""), ...followed.map((name) => along?.[name] ?? "")].join(",");
  });
  return `${[head.join(","), ...lines].join("\n")}\n`;
}

/** Let the browser save a file. */
export function save(name, content, kind) {
  const link = document.createElement("a"),
    url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
