// The controls on the left: one for each setting, with its sentence.

import { CONTROLS, DEFAULTS } from "./state.mjs";

const el = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};

/** Builds the controls in `root`; changed(name, value) is called when a person moves one. */
export function buildControls(root, changed) {
  const groups = new Map(),
    parts = new Map();
  for (const control of CONTROLS) {
    if (!groups.has(control.group)) {
      const group = el("fieldset", {}, el("legend", { textContent: control.group }));
      groups.set(control.group, group);
      root.append(group);
    }
    const id = `control-${control.name}`,
      note = el("small", { id: `${id}-note`, textContent: control.sentence });
    const input = inputOf(control, id),
      output = el("output", { htmlFor: id });
    input.setAttribute("aria-describedby", note.id);
    const row = el(
      "div",
      { className: `control ${control.kind}` },
      el("label", { htmlFor: id, textContent: control.label }),
      input,
      output,
      note,
    );
    groups.get(control.group).append(row);
    input.addEventListener(input.tagName === "SELECT" || control.kind === "seed" ? "change" : "input", () =>
      changed(control.name, valueOf(control, input)),
    );
    parts.set(control.name, { control, input, output, row });
  }
  return parts;
}

function inputOf(control, id) {
  if (control.kind === "choice") {
    const options = Object.entries(control.options).map(([value, text]) => el("option", { value, textContent: text }));
    return el("select", { id }, ...options);
  }
  if (control.kind === "column") return el("select", { id });
  if (control.kind === "seed") return el("input", { id, type: "number", min: 0, max: 2 ** 31 - 1, step: 1 });
  if (control.kind === "log") return el("input", { id, type: "range", min: control.zero ? -1 : 0, max: 100, step: 1 });
  return el("input", { id, type: "range", min: control.low, max: control.high, step: control.step ?? 1 });
}

function valueOf(control, input) {
  if (["choice", "column"].includes(control.kind)) return input.value;
  const number = Number(input.value);
  if (control.kind !== "log") return number;
  if (number < 0) return 0;
  const value = control.low * (control.high / control.low) ** (number / 100);
  return roundTo(value, 2);
}

const roundTo = (value, digits) => Number(value.toPrecision(digits));

/** Show the settings; n: how many samples a table of one's own has; names: its columns. */
export function showControls(parts, settings, { n, names = [] } = {}) {
  for (const [name, { control, input, output, row }] of parts) {
    row.hidden = Boolean(control.when && !control.when(settings));
    const value = settings[name];
    if (control.kind === "column" && input.options.length !== names.length)
      input.replaceChildren(...names.map((each) => el("option", { value: each, textContent: each })));
    if (name === "b") input.max = settings.scheme === "with_replacement" ? 128 : (n ?? settings.n);
    if (control.kind === "log")
      input.value =
        value === 0 ? -1 : Math.round((100 * Math.log(value / control.low)) / Math.log(control.high / control.low));
    else if (document.activeElement !== input || control.kind !== "seed") input.value = value;
    const shown =
      control.kind === "log" && control.round
        ? value.toLocaleString("en")
        : control.suffix
          ? `${value} ${control.suffix}`
          : String(value);
    output.textContent = ["choice", "column", "seed"].includes(control.kind) ? "" : shown;
    if (control.kind === "log") input.setAttribute("aria-valuetext", shown);
    row.classList.toggle("changed", value !== DEFAULTS[name]);
  }
}
