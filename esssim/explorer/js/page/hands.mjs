// Hands on the page: buttons, the speed, keys, the mouse on the pictures, files that are dropped.

import { find, onClick } from "./dom.mjs";
import { boxOf } from "./trajectory.mjs";

/** Play, step, restart, interventions, speed. still: whether motion is to be reduced. */
export function buildTransport(session, still) {
  onClick("play", () => session.play());
  onClick("step", () => session.step());
  onClick("restart", () => session.begin({ play: !still.matches }));
  onClick("raise", () => session.raise());
  onClick("halve", () => session.halve());
  find("speed").addEventListener("input", () => setPace(session));
  setPace(session);
}

function setPace(session) {
  const value = Number(find("speed").value),
    pace = value >= 100 ? Infinity : 2 * 60 ** (value / 99);
  session.pace(pace);
  const words = pace === Infinity ? "fastest" : `${Math.round(pace)} records/s`;
  find("speed").setAttribute("aria-valuetext", words);
  find("pace").textContent = words;
}

/** The button of play says what it does. */
export function showPlaying({ playing, run }) {
  const runs = playing && !run.finished;
  find("play").textContent = runs ? "❚❚ pause" : "▶ play";
  find("play").setAttribute("aria-label", runs ? "pause" : "play");
}

/** Numbers at the step under the mouse; a click on the diagram goes to that η and b. */
export function buildPointer(session, pictures, moved) {
  const canvas = find("trajectory"),
    point = (step) => {
      pictures.cursor = step;
      moved();
    };
  canvas.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = canvas.getBoundingClientRect(),
      box = boxOf({ width, height: 0 }),
      share = (clientX - left - box.left) / (box.right - box.left);
    point(session.run.records.length ? Math.max(0, share * session.run.limit) : null);
  });
  canvas.addEventListener("pointerleave", () => point(null));
  find("diagram").addEventListener("click", ({ clientX, clientY }) => {
    const wanted = pictures.changeAt(clientX, clientY);
    if (wanted) session.change(wanted.ratio, wanted.b);
  });
}

/** A table of one's own, chosen or dropped. */
export function buildFiles(session) {
  find("file").addEventListener("change", ({ target }) => target.files[0] && session.take(target.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) session.take(event.dataTransfer.files[0]);
  });
}

/** One key for each button; arrows go through the tour. */
export function buildKeys(session, guide) {
  const keys = {
    " ": () => session.play(),
    ".": () => session.step(),
    r: () => session.begin({ play: true }),
    e: () => session.raise(),
    b: () => session.halve(),
    f: () => find("flow").click(),
    t: () => guide.toggle(),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || belongsTo(event)) return;
    const { key, target } = event,
      free = target.type !== "range";
    if (guide.open && key === "Escape") guide.visit(-1);
    else if (guide.open && key === "ArrowRight" && free) guide.visit(guide.place + 1);
    else if (guide.place > 0 && key === "ArrowLeft" && free) guide.visit(guide.place - 1);
    else if (keys[key]) {
      event.preventDefault();
      keys[key]();
    }
  });
}

/** Whether the key is meant for the element that has the focus. */
function belongsTo({ key, target }) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) && target.type !== "range";
  return typing || (key === " " && target.tagName === "BUTTON");
}
