// The page: settings in, a worker that computes, pictures out.

import { serve } from "../core/worker.mjs";
import { check } from "../core/check.mjs";
import { Experiment } from "../core/experiment.mjs";
import { buildControls, showControls } from "./controls.mjs";
import { find } from "./dom.mjs";
import { buildDownloads, tomlOf } from "./downloads.mjs";
import { Frames } from "./frames.mjs";
import { Guide } from "./guide.mjs";
import { buildFiles, buildKeys, buildPointer, buildTransport, showPlaying } from "./hands.mjs";
import { buildLegend, firstView } from "./legend.mjs";
import { Pictures } from "./pictures.mjs";
import { PRESETS } from "./presets.mjs";
import { Run } from "./run.mjs";
import { Session } from "./session.mjs";
import { mended } from "./state.mjs";
import { buildTheme } from "./theme.mjs";
import { levelOf } from "./trajectory.mjs";
import { goldenOf, recordAt, sayNumbers, sayPlane } from "./words.mjs";

function startPage(source) {
  const still = matchMedia("(prefers-reduced-motion: reduce)"),
    view = firstView();
  const moved = () => (frames.dirty = true);
  const session = new Session(source, { playing: !still.matches, changed: show, moved });
  const theme = buildTheme(moved),
    pictures = new Pictures(session, view),
    showLegend = buildLegend(view, show);
  const frames = new Frames({
    draw,
    calm: () => still.matches && session.playing,
    told: (words) => (find("frames").textContent = words),
  });
  const controls = buildControls(find("controls"), (name, value) => {
    if (name !== "data" || value !== "own" || session.table) return session.set(name, value);
    find("file").click();
    show();
  });
  const choose = (id, options) => session.choose(id, { play: !still.matches, ...options });
  const guide = new Guide({ choose: (id) => choose(id, { play: true }), still });

  /** Controls and words follow the settings. */
  function show() {
    const { settings, table, preset } = session;
    showControls(controls, settings, { n: table?.problem.n, names: table?.names });
    showPlaying(session);
    find("presets").value = preset?.id ?? "";
    find("story").textContent = preset?.story ?? "Settings of your own.";
    sayPlane(settings);
    moved();
  }

  /** Pictures and numbers; whether there is a record to see. */
  function draw() {
    pictures.draw(theme());
    showLegend(recordAt(session.run, pictures.cursor), theme());
    sayNumbers(session, pictures.cursor, theme());
    return session.run.records.length > 0;
  }

  for (const { id, title } of PRESETS) find("presets").append(new Option(title, id));
  find("presets").addEventListener("change", ({ target }) => choose(target.value));
  buildTransport(session, still);
  buildPointer(session, pictures, moved);
  buildDownloads(session, pictures, theme);
  buildFiles(session);
  buildKeys(session, guide);
  new ResizeObserver(moved).observe(document.body);
  addEventListener("hashchange", () => session.follow(location.hash));
  session.begin({ keep: session.changes });
  frames.start();
  return { session, frames, choose };
}

/** The number of a preset, by a run without worker, flow and pictures. */
function numberOf({ settings, statistic }) {
  const experiment = new Experiment(mended(settings)),
    run = new Run(experiment.settings);
  run.after = experiment.after;
  while (!experiment.finished) run.records.push(experiment.next());
  return goldenOf(run, { statistic });
}

/** For the tests of this page, and for the curious. */
function handle({ session, frames, choose }) {
  return {
    check,
    frames,
    choose,
    presets: PRESETS,
    settled: (name) => session.run.mean((record) => levelOf(record, name)),
    golden: () => (session.preset ? goldenOf(session.run, session.preset) : NaN),
    numberOf,
    toml: () => tomlOf(session),
    get run() {
      return session.run;
    },
    get settings() {
      return session.settings;
    },
  };
}

if (typeof document === "undefined") serve(globalThis);
else window.esssim = handle(startPage(document.currentScript.textContent));
