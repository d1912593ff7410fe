// The chips under the run: which statistics are drawn, and their values at the cursor.

import { short } from "./axes.mjs";
import { find, onClick } from "./dom.mjs";
import { HIDDEN_AT_FIRST, look, STATISTICS } from "./looks.mjs";
import { levelOf } from "./trajectory.mjs";

/** What of the run is drawn: statistics that are hidden, values instead of levels, the flow. */
export const firstView = () => ({ hidden: new Set(HIDDEN_AT_FIRST), raw: false, flow: true });

/** Builds the chips; changed() is called after one is pressed. The result shows the values of a record. */
export function buildLegend(view, changed) {
  const chips = STATISTICS.map((name) => chip(name, view, changed));
  for (const key of ["flow", "raw"])
    onClick(key, () => {
      view[key] = !view[key];
      changed();
    });
  return (record, theme) => {
    for (const key of ["flow", "raw"]) find(key).setAttribute("aria-pressed", view[key]);
    for (const { name, button, line, value } of chips) {
      const { color, dash, width } = look(name, theme);
      line.setAttribute(
        "style",
        `stroke:${color};stroke-width:${Math.max(width, 1.5)};stroke-dasharray:${dash.join(" ")}`,
      );
      button.setAttribute("aria-pressed", !view.hidden.has(name));
      value.textContent = record ? shown(view.raw ? record[name] : levelOf(record, name), view.raw) : "";
    }
  };
}

function shown(value, raw) {
  if (!Number.isFinite(value)) return "–";
  if (raw && Math.abs(value) < 1000) return value.toPrecision(3);
  return !raw && Math.abs(value) < 100 ? value.toFixed(2) : short(value);
}

function chip(name, view, changed) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.title = look(name, { dark: false }).name;
  button.innerHTML =
    '<svg width="26" height="10" aria-hidden="true"><line x1="1" x2="25" y1="5" y2="5"/></svg>' +
    '<span class="name"></span><span class="value"></span>';
  button.querySelector(".name").textContent = look(name, { dark: false }).short;
  button.addEventListener("click", () => {
    view.hidden.has(name) ? view.hidden.delete(name) : view.hidden.add(name);
    changed();
  });
  find("legend").append(button);
  return { name, button, line: button.querySelector("line"), value: button.querySelector(".value") };
}
