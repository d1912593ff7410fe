// What hands do to a run: other settings, another preset, play, step, a larger η, a smaller b. The worker computes.

import { PRESETS } from "./presets.mjs";
import { Run } from "./run.mjs";
import { fromHash, mended, toHash } from "./state.mjs";
import { problemOf, readTable } from "./table.mjs";

const RAISE = 1.25,
  // A slider that is dragged restarts the run once it rests for so long (ms).
  PATIENCE = 120;

export class Session {
  /** changed: called where controls and words have to follow; moved: where only numbers and pictures have to. */
  constructor(source, { playing, changed, moved }) {
    const script = new Blob([source], { type: "text/javascript" });
    Object.assign(this, { ...fromHash(location.hash), playing, changed, moved, table: null, preset: null, id: 0 });
    this.run = new Run(this.settings);
    this.worker = new Worker(URL.createObjectURL(script));
    this.worker.onmessage = ({ data }) => this.hear(data);
    // A fault of the page itself: said where the reader looks, instead of a picture that stands still.
    this.worker.onerror = ({ message }) => {
      this.run.message = `The computation stopped: ${message}`;
      this.changed();
    };
  }

  /** Start the run from its beginning; keep: changes to make again on the way. */
  begin({ keep = [], play = this.playing } = {}) {
    this.settings = this.mended(this.settings);
    this.run = new Run(this.settings);
    Object.assign(this, { changes: keep, playing: play, preset: presetOf(this.settings) });
    const table = this.settings.data === "own" ? this.table.problem : null;
    this.worker.postMessage({
      type: "configure", id: ++this.id, settings: this.settings, table, changes: keep, play,
    });
    this.writeHash();
    this.changed();
  }

  hear(data) {
    if (data.id !== this.id) return;
    const { finished, changes } = this.run;
    this.run.hear(data);
    if (this.run.changes !== changes) {
      this.changes = data.changes;
      this.writeHash();
    }
    if (this.run.finished !== finished) this.changed();
    this.moved();
  }

  mended(settings) {
    return mended(settings, this.table?.problem.n ?? null);
  }

  /** Another value of one setting. */
  set(name, value) {
    this.settings = this.mended({ ...this.settings, [name]: value });
    if (this.settings.data !== "own") this.table = null;
    else if (name === "target" || name === "data")
      this.table.problem = problemOf(this.table, this.settings.target);
    this.changed();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.begin({ play: true }), PATIENCE);
  }

  choose(id, options) {
    const found = PRESETS.find((each) => each.id === id);
    if (!found) return;
    this.table = null;
    this.settings = mended({ ...found.settings });
    this.begin(options);
  }

  /** The settings of another address. */
  follow(hash) {
    Object.assign(this, { ...fromHash(hash), table: null });
    this.begin({ keep: this.changes });
  }

  /** A table of one's own: its last column is what the model predicts. */
  async take(file) {
    try {
      const { names, columns } = readTable(await file.text()),
        target = names.at(-1);
      const table = { names, columns, file: file.name };
      this.table = { ...table, problem: problemOf(table, target) };
      const model = this.settings.model === "two" ? "product" : this.settings.model;
      this.settings = this.mended({ ...this.settings, data: "own", target, model });
      this.begin({ play: true });
    } catch (error) {
      this.run.message = error.message;
      this.changed();
    }
  }

  play(on = !this.playing) {
    if (on && (this.run.finished || this.run.diverged >= 0)) return this.begin({ keep: this.changes, play: true });
    this.playing = on;
    this.worker.postMessage({ type: "play", on });
    this.changed();
  }

  step() {
    this.playing = false;
    this.worker.postMessage({ type: "step" });
    this.changed();
  }

  /** So many records a second. */
  pace(pace) {
    this.worker.postMessage({ type: "pace", pace });
  }

  /** From now on η times `ratio`, and batches of b. */
  change(ratio, b = this.run.b) {
    if (!this.run.records.length || this.run.diverged >= 0) return;
    this.playing = true;
    this.worker.postMessage({ type: "change", factor: this.run.factor * ratio, b });
    this.changed();
  }

  raise() {
    this.change(RAISE);
  }

  halve() {
    this.change(1, Math.max(1, Math.floor(this.run.b / 2)));
  }

  writeHash() {
    const hash = toHash(this.settings, this.changes);
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }
}

const presetOf = (settings) =>
  PRESETS.find((each) => toHash(mended({ ...each.settings })) === toHash(settings)) ?? null;
