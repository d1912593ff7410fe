// The settings: what they are, what each may be, a sentence on each, and their way into the address of the page and
// back.

export const isNetwork = ({ model }) => model !== "regression" && model !== "quadratic";

/**
 * In the order of the page. kind: choice, number (a slider), integer, seed. when: for which settings it has a
 * meaning.
 */
export const CONTROLS = [
  {
    group: "Model",
    name: "model",
    label: "model",
    kind: "choice",
    value: "product",
    options: {
      two: "two parameters: f = u·v·x",
      product: "diagonal network, u∘v",
      depth2: "diagonal network, w₊² − w₋²",
      depth3: "diagonal network, depth 3",
      depth4: "diagonal network, depth 4",
      regression: "linear regression",
      quadratic: "quadratic, diagonal Hessians",
    },
    sentence:
      "What is trained. A network can move along its solutions to flatter ones; the Hessians of a regression and of " +
      "the quadratic ℓᵢ = ½Σₖxᵢₖ²(θₖ − yᵢ)² never change.",
  },
  {
    group: "Model",
    name: "start",
    label: "start",
    kind: "choice",
    value: "solution",
    options: { solution: "a sharp solution", initialisation: "the initialisation" },
    sentence: "Where SGD begins: where gradient flow ends, or where it begins, so that the run first has to learn.",
    when: isNetwork,
  },
  {
    group: "Model",
    name: "alpha",
    label: "α",
    kind: "number",
    value: 2,
    low: 0.5,
    high: 4,
    step: 0.05,
    sentence: "The size of the first weights at initialisation: the larger α, the sharper the solution.",
    when: isNetwork,
  },
  {
    group: "Data",
    name: "data",
    label: "data",
    kind: "choice",
    value: "gaussian",
    options: {
      gaussian: "Gaussian",
      spiked: "spiked: one strong direction",
      two_clusters: "two clusters",
      power_law: "power law",
      own: "my own table (drop a CSV)",
    },
    sentence: "The inputs x. Strong directions make the spectra of mini-batches wide.",
  },
  {
    group: "Data",
    name: "target",
    label: "column to predict",
    kind: "column",
    value: "",
    sentence: "The column of your table that the model predicts; all others are inputs.",
    when: (s) => s.data === "own",
  },
  {
    group: "Data",
    name: "targets",
    label: "targets",
    kind: "choice",
    value: "interpolating",
    options: { interpolating: "fitted: a solution exists", own: "as they are" },
    sentence: "Targets that the model can fit exactly, or with the noise of the table.",
    when: (s) => s.data === "own",
  },
  {
    group: "Data",
    name: "n",
    label: "samples n",
    kind: "integer",
    value: 40,
    low: 2,
    high: 128,
    sentence: "How many samples there are to draw batches from.",
    when: (s) => s.data !== "own",
  },
  {
    group: "Data",
    name: "d",
    label: "inputs d",
    kind: "integer",
    value: 20,
    low: 1,
    high: 64,
    sentence: "How many inputs, and coordinates of the model. With d > n there are many solutions.",
    when: (s) => s.data !== "own" && s.model !== "two",
  },
  {
    group: "Data",
    name: "dataSeed",
    label: "seed of the data",
    kind: "seed",
    value: 1,
    sentence: "Another number draws another table.",
    when: (s) => s.data !== "own",
  },
  {
    group: "SGD",
    name: "scheme",
    label: "scheme",
    kind: "choice",
    value: "without_replacement",
    options: {
      without_replacement: "without replacement",
      with_replacement: "with replacement",
      gaussian_weights: "Gaussian weights, same covariance",
    },
    sentence:
      "How a batch is drawn. Gaussian weights have the mean and covariance of batches without replacement, hence " +
      "the same Q_b, and no batches.",
  },
  {
    group: "SGD",
    name: "b",
    label: "batch size b",
    kind: "integer",
    value: 4,
    low: 1,
    high: 128,
    sentence: "Samples in a batch. At b = n there is no noise of batches and every candidate is the sharpness.",
  },
  {
    group: "SGD",
    name: "schedule",
    label: "step size η",
    kind: "choice",
    value: "rising",
    options: { rising: "rises slowly", constant: "constant" },
    sentence: "A slow rise keeps pushing the run against the edge, as progressive sharpening does in deep networks.",
  },
  {
    group: "SGD",
    name: "from",
    label: "η at the start",
    kind: "number",
    value: 0.8,
    low: 0.05,
    high: 3,
    step: 0.05,
    suffix: "η₀",
    sentence: "In units of η₀ = 2/Q_b at the start, the largest stable step size there.",
  },
  {
    group: "SGD",
    name: "to",
    label: "η at the end",
    kind: "number",
    value: 2.5,
    low: 0.1,
    high: 6,
    step: 0.05,
    suffix: "η₀",
    sentence: "Where the rise ends; at most at 90 % of the edge of the flattest solution, past which none is stable.",
    when: (s) => s.schedule === "rising",
  },
  {
    group: "SGD",
    name: "noise",
    label: "label noise ε",
    kind: "log",
    value: 0.001,
    low: 1e-4,
    high: 0.3,
    zero: true,
    sentence:
      "Noise on the targets, drawn anew at every step. It pushes the run to flat solutions, away from the edge.",
    when: (s) => s.model !== "quadratic",
  },
  {
    group: "SGD",
    name: "momentum",
    label: "momentum β",
    kind: "number",
    value: 0,
    low: 0,
    high: 0.95,
    step: 0.05,
    sentence: "Heavy ball v ← βv + g, θ ← θ − ηv. It moves the edge: the share of it, η/η_c, is shown for Q_b.",
  },
  {
    group: "SGD",
    name: "steps",
    label: "steps",
    kind: "log",
    value: 60000,
    low: 300,
    high: 400000,
    round: true,
    sentence: "The length of the run, recorded 301 times. Longer runs come nearer to the edge.",
  },
  {
    group: "SGD",
    name: "seed",
    label: "seed of SGD",
    kind: "seed",
    value: 0,
    sentence: "Another number draws other batches. The same number gives the same run, here and in Python.",
  },
];

export const DEFAULTS = Object.fromEntries(CONTROLS.map(({ name, value }) => [name, value]));

/** The nearest settings that may be: choices known, numbers inside, b at most n. */
export function mended(settings, n = null) {
  const found = { ...DEFAULTS };
  for (const control of CONTROLS) {
    const given = settings[control.name];
    if (given === undefined) continue;
    if (control.kind === "choice") {
      if (given in control.options) found[control.name] = given;
    } else if (control.kind === "column") found[control.name] = String(given);
    else {
      const number = Number(given),
        { low = 0, high = 2 ** 31 - 1 } = control;
      if (given === "" || !Number.isFinite(number)) continue;
      const inside = control.zero && number === 0 ? 0 : Math.min(high, Math.max(low, number));
      found[control.name] = ["integer", "seed"].includes(control.kind) || control.round ? Math.round(inside) : inside;
    }
  }
  if (found.model === "two") found.d = DEFAULTS.d;
  if (found.model === "quadratic") found.noise = 0;
  const samples = n ?? found.n;
  if (found.scheme !== "with_replacement") found.b = Math.min(found.b, samples);
  return found;
}

/** What differs from the defaults, and the changes made while it ran, as the fragment of an address. */
export function toHash(settings, changes = []) {
  const parts = [];
  for (const [name, value] of Object.entries(settings))
    if (value !== DEFAULTS[name]) parts.push(`${name}=${encodeURIComponent(value)}`);
  if (changes.length)
    parts.push(
      `changes=${changes.map(({ step, factor, b }) => [step, Number(factor.toPrecision(6)), b].join(":")).join(",")}`,
    );
  return parts.join("&");
}

/** {settings, changes} of a fragment; what it does not name, or names wrongly, is as by default. */
export function fromHash(hash) {
  const given = {},
    changes = [];
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, value = ""] = part.split("=");
    let text;
    try {
      text = decodeURIComponent(value);
    } catch {
      continue;
    }
    if (name === "changes")
      for (const each of text.split(",")) {
        const [step, factor, b] = each.split(":").map(Number);
        if (step >= 0 && factor > 0 && Math.max(step, factor) < Infinity && Number.isInteger(b) && b > 0 && b <= 128)
          changes.push({ step, factor, b });
      }
    else if (name in DEFAULTS) given[name] = text;
  }
  if (given.data === "own") given.data = "gaussian"; // a table does not fit into an address
  const settings = mended(given);
  return { settings, changes: changes.filter(({ b }) => b <= settings.n) };
}
