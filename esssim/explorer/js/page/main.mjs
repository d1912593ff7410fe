// The page: settings in, a worker that computes, pictures out.

import { serve } from "../core/worker.mjs";
import { check } from "../core/check.mjs";
import { buildControls, showControls } from "./controls.mjs";
import { diagramScales, drawDiagram } from "./diagram.mjs";
import { save, toCsv, toToml } from "./export.mjs";
import { drawHistogram, meanInWords } from "./histogram.mjs";
import { look, STATISTICS, themeOf } from "./looks.mjs";
import { drawCoordinates, drawPlane, drawWeights } from "./plane.mjs";
import { PRESETS } from "./presets.mjs";
import { CanvasSurface, SvgSurface } from "./surface.mjs";
import { fromHash, isNetwork, mended, toHash } from "./state.mjs";
import { problemOf, readTable } from "./table.mjs";
import { TOUR } from "./tour.mjs";
import { boxOf, drawLoss, drawTrajectory, levelOf, nearest } from "./trajectory.mjs";

const Q = "mean_square_sharpness_gauss_newton",
  RAISE = 1.25;
const find = (id) => document.getElementById(id);

export function startPage(source) {
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const view = { hidden: new Set(["interaction_aware_sharpness", "batch_sharpness_parts"]), raw: false, flow: true };
  let { settings, changes } = fromHash(location.hash),
    table = null,
    id = 0,
    dirty = true,
    cursor = null,
    tour = -1,
    later = 0;
  let playing = !still.matches,
    run = emptyRun(),
    preset = null,
    drawn = 0;
  const frames = { times: [], gaps: [], last: 0 };
  let theme = themeOf(document.documentElement);

  function emptyRun() {
    return {
      records: [],
      flow: [],
      edges: new Map(),
      eigenvalues: [],
      exact: false,
      theta: null,
      path: [],
      trail: [],
      here: [],
      limit: settings.steps,
      spacing: settings.steps / 300,
      after: Infinity,
      changes: [],
      diverged: -1,
      finished: false,
      ready: null,
      flowLost: null,
      message: "",
    };
  }

  // The run.

  function begin({ keep = [], play = playing } = {}) {
    settings = mended(settings, table?.problem.n ?? null);
    run = emptyRun();
    changes = keep;
    playing = play;
    preset = PRESETS.find((each) => toHash(mended({ ...each.settings })) === toHash(settings)) ?? null;
    worker.postMessage({
      type: "configure",
      id: ++id,
      settings,
      table: settings.data === "own" ? table.problem : null,
      changes,
      play,
    });
    writeHash();
    show();
  }

  function restartSoon() {
    clearTimeout(later);
    later = setTimeout(() => begin({ play: true }), 120);
  }

  worker.onmessage = ({ data }) => {
    if (data.id !== id) return;
    if (data.type === "refused") run.message = data.message;
    else if (data.type === "ready")
      Object.assign(run, { ready: data, limit: data.limit, after: data.after, theta: data.theta });
    else {
      run.records.push(...data.records);
      run.flow.push(...data.flow);
      for (const edge of data.edges) run.edges.set(edge.b, edge);
      const resting = run.finished;
      Object.assign(run, {
        finished: data.finished ?? run.finished,
        limit: data.limit ?? run.limit,
        diverged: data.diverged ?? -1,
        flowLost: data.flowLost,
        exact: data.exact,
      });
      if (data.changes) noteChanges(data.changes);
      if (run.finished !== resting) show();
      if (data.eigenvalues) run.eigenvalues = data.eigenvalues;
      if (data.theta) run.theta = data.theta;
      if (data.path?.length) run.path = data.path;
      if (data.records.length) {
        run.records = run.records.filter((record) => record.diverged === undefined);
        const last = run.records.at(-1);
        if (last) run.here.push([last.b, last.eta]);
        if (run.ready?.plane && data.theta) run.trail.push([data.theta[0], data.theta[1]]);
      }
    }
    dirty = true;
  };

  function noteChanges(made) {
    if (made.length === run.changes.length) return;
    run.changes = made.map((change, k) => {
      const before = made[k - 1] ?? { factor: 1, b: settings.b },
        raised = change.factor / before.factor;
      const words = [
        Math.abs(raised - 1) > 1e-9 ? `η × ${Number(raised.toPrecision(3))}` : "",
        change.b !== before.b ? `b = ${change.b}` : "",
      ];
      return { ...change, note: words.filter(Boolean).join(", ") };
    });
    changes = made;
    writeHash();
  }

  function change(ratio, b) {
    const last = run.changes.at(-1) ?? { factor: 1, b: settings.b };
    if (!run.records.length || run.diverged >= 0) return;
    playing = true;
    worker.postMessage({ type: "change", factor: last.factor * ratio, b: b ?? last.b });
    show();
  }

  const present = () => run.changes.at(-1)?.b ?? settings.b;
  const raise = () => change(RAISE);
  const halve = () => change(1, Math.max(1, Math.floor(present() / 2)));

  function play(on = !playing) {
    if (on && (run.finished || run.diverged >= 0)) return begin({ keep: changes, play: true });
    playing = on;
    worker.postMessage({ type: "play", on });
    show();
  }

  function step() {
    playing = false;
    worker.postMessage({ type: "step" });
    show();
  }

  function setPace() {
    const value = Number(find("speed").value),
      pace = value >= 100 ? Infinity : 2 * 60 ** (value / 99);
    worker.postMessage({ type: "pace", pace });
    const words = pace === Infinity ? "fastest" : `${Math.round(pace)} records/s`;
    find("speed").setAttribute("aria-valuetext", words);
    find("pace").textContent = words;
  }

  function writeHash() {
    const hash = toHash(settings, changes);
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  // What the page says in words.

  const parts = buildControls(find("controls"), (name, value) => {
    if (name === "data" && value === "own" && !table) return (find("file").click(), show());
    settings = mended({ ...settings, [name]: value }, table?.problem.n ?? null);
    if (settings.data !== "own") table = null;
    else if (name === "target" || name === "data") table.problem = problemOf(table, settings.target);
    show();
    restartSoon();
  });

  for (const each of PRESETS)
    find("presets").append(
      Object.assign(document.createElement("option"), { value: each.id, textContent: each.title }),
    );

  function choose(name, options) {
    const found = PRESETS.find((each) => each.id === name);
    if (!found) return;
    table = null;
    settings = mended({ ...found.settings });
    begin({ play: !still.matches, ...options });
  }

  const legend = STATISTICS.map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.title = look(name, theme).name;
    button.innerHTML =
      '<svg width="26" height="10" aria-hidden="true"><line x1="1" x2="25" y1="5" y2="5"/></svg>' +
      '<span class="name"></span><span class="value"></span>';
    button.querySelector(".name").textContent = look(name, theme).short;
    button.addEventListener("click", () => {
      view.hidden.has(name) ? view.hidden.delete(name) : view.hidden.add(name);
      show();
    });
    find("legend").append(button);
    return { name, button, line: button.querySelector("line"), value: button.querySelector(".value") };
  });

  const switches = [
    ["flow", "flow"],
    ["raw", "raw"],
  ].map(([key, name]) => {
    find(name).addEventListener("click", () => {
      view[key] = !view[key];
      show();
    });
    return () => find(name).setAttribute("aria-pressed", view[key]);
  });

  function show() {
    showControls(parts, settings, { n: table?.problem.n, names: table?.names });
    find("play").textContent = playing && !run.finished ? "❚❚ pause" : "▶ play";
    find("play").setAttribute("aria-label", playing && !run.finished ? "pause" : "play");
    find("presets").value = preset?.id ?? "";
    find("story").textContent = preset?.story ?? "Settings of your own.";
    switches.forEach((set) => set());
    planeTitle();
    dirty = true;
  }

  /** The mean of a level over the records behind `after`. */
  function settled(name, valueOf = levelOf) {
    const values = run.records.filter((record) => record.step >= run.after).map((record) => valueOf(record, name));
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
  }

  function goldenInWords() {
    const { short } = look(preset.statistic, theme),
      found = esssim.golden();
    return `(η/2)·${short}: ${found.toFixed(6)} here, ${preset.golden.toFixed(6)} in Python.`;
  }

  function showNumbers() {
    const at = cursor === null ? run.records.at(-1) : nearest(run.records, cursor);
    for (const { name, button, line, value } of legend) {
      const { color, dash, width } = look(name, theme);
      line.setAttribute(
        "style",
        `stroke:${color};stroke-width:${Math.max(width, 1.5)};stroke-dasharray:${dash.join(" ")}`,
      );
      button.setAttribute("aria-pressed", !view.hidden.has(name));
      value.textContent = at ? (view.raw ? at[name].toPrecision(3) : levelOf(at, name).toFixed(2)) : "";
    }
    const error = at?.minibatch_sharpness_standard_error;
    const sampled = !at
      ? ""
      : at.exact
        ? "all batches enumerated: exact"
        : `64 sampled batches a record, MiniBS ± ${((at.eta / 2) * error).toPrecision(2)}`;
    find("now").textContent = at
      ? `step ${at.step.toLocaleString("en")} · η = ${at.eta.toPrecision(4)} · b = ${at.b} · ${sampled}`
      : run.message
        ? ""
        : "computing the start …";
    const level = settled(Q);
    find("level").textContent =
      run.records.length && Number.isFinite(level) ? `mean level of Q_b in the shaded window: ${level.toFixed(3)}` : "";
    find("golden").textContent = preset && run.finished && !changes.length ? goldenInWords() : "";
    find("message").textContent = run.message;
    find("message").hidden = !run.message;
    find("histogram-words").textContent =
      run.eigenvalues.length && at ? meanInWords(run.eigenvalues, run.records.at(-1).eta, run.exact) : "";
    find("flow-words").textContent =
      run.ready && !run.ready.hasFlow
        ? run.ready.p === run.ready.d
          ? "There is no flow here: the Hessians are the same everywhere, and no solution is flatter than another."
          : "The flow has no stationary state above the edge: nothing to draw."
        : run.flowLost
          ? "The flow met an edge that it cannot leave, and ends there."
          : "";
    const finished = run.finished && run.records.length;
    find("status").textContent = run.diverged >= 0 ? "diverged" : finished ? "the run is done" : "";
  }

  // Pictures.

  const surfaces = Object.fromEntries(
    ["trajectory", "loss", "histogram", "diagram", "plane"].map((name) => [name, new CanvasSurface(find(name))]),
  );
  const shownDiagram = () => ({
    edges: [...run.edges.values()].sort((one, other) => one.b - other.b),
    n: run.ready?.n ?? settings.n,
    b: present(),
    eta: run.records.at(-1)?.eta ?? run.ready?.eta[0] ?? 1,
    trail: run.here,
  });
  const pictures = {
    trajectory: (surface) => drawTrajectory(surface, run, view, theme, cursor),
    loss: (surface) => drawLoss(surface, run, theme),
    histogram: (surface) => {
      const at = run.records.at(-1);
      if (at)
        drawHistogram(
          surface,
          { eigenvalues: run.eigenvalues, sharpness: at.sharpness, eta: at.eta, Q: (2 * at.share) / at.eta },
          theme,
        );
      else surface.begin();
    },
    diagram: (surface) => drawDiagram(surface, shownDiagram(), theme),
    plane: (surface) => {
      const { ready, theta } = run,
        eta = run.records.at(-1)?.eta ?? ready?.eta[0];
      if (!ready || !theta) surface.begin();
      else if (ready.plane)
        drawPlane(
          surface,
          {
            plane: ready.plane,
            alpha: settings.alpha,
            trail: run.trail,
            path: run.path,
            eta,
            b: present(),
            n: ready.n,
          },
          theme,
        );
      else if (ready.p === ready.d) drawWeights(surface, { theta }, theme);
      else drawCoordinates(surface, { theta, theta0: ready.theta, form: ready.form }, theme);
    },
  };

  function paint(time) {
    requestAnimationFrame(paint);
    if (frames.last) frames.gaps.push(time - frames.last);
    frames.last = time;
    if (!dirty || (still.matches && playing && time - drawn < 500)) return;
    drawn = time;
    dirty = false;
    const begun = performance.now();
    for (const [name, draw] of Object.entries(pictures)) draw(surfaces[name]);
    showNumbers();
    if (run.records.length) frames.first ??= performance.now();
    frames.times.push(performance.now() - begun);
    if (frames.times.length % 30 === 0) showFrames();
  }

  function showFrames() {
    const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
    frames.times = frames.times.slice(-120);
    frames.gaps = frames.gaps.slice(-120);
    find("frames").textContent =
      `drawing a frame takes ${middle(frames.times).toFixed(1)} ms; ` +
      `${Math.round(1000 / middle(frames.gaps))} frames a second`;
  }

  function planeTitle() {
    const form = settings.model === "two" ? "two" : isNetwork(settings) ? "many" : "linear";
    find("plane").closest("section").style.order = form === "two" ? -1 : 0;
    find("plane-title").textContent = { two: "Loss surface and walls", linear: "Weights", many: "The coordinates" }[
      form
    ];
    find("plane-words").textContent = {
      two: "Black: the solutions uv = β*. A circle is the wall of one batch size, where (η/2)Q_b = 1.",
      linear: "The parameters θ, one bar for each coordinate.",
      many: "Each point is one coordinate of the network; grey: where it began. SGD carries them to the flat solution.",
    }[form];
  }

  // Hands on the page.

  find("play").addEventListener("click", () => play());
  find("step").addEventListener("click", step);
  find("restart").addEventListener("click", () => begin({ play: !still.matches }));
  find("raise").addEventListener("click", raise);
  find("halve").addEventListener("click", halve);
  find("speed").addEventListener("input", setPace);
  find("presets").addEventListener("change", (event) => choose(event.target.value));

  find("trajectory").addEventListener("pointermove", (event) => {
    const { left, width } = find("trajectory").getBoundingClientRect(),
      box = boxOf({ width, height: 0 });
    cursor = run.records.length
      ? Math.max(0, ((event.clientX - left - box.left) / (box.right - box.left)) * run.limit)
      : null;
    dirty = true;
  });
  find("trajectory").addEventListener("pointerleave", () => {
    cursor = null;
    dirty = true;
  });
  find("diagram").addEventListener("click", (event) => {
    const shown = shownDiagram(),
      { left, top } = find("diagram").getBoundingClientRect();
    if (!shown.edges.length) return;
    const { x, y } = diagramScales(surfaces.diagram, shown),
      wanted = x.back(event.clientX - left);
    const b = Math.round(Math.min(run.ready.n, Math.max(1, wanted)));
    change(y.back(event.clientY - top) / shown.eta, b);
  });

  const name = () => `esssim-${preset?.id ?? settings.model}`;
  const actions = {
    toml: () =>
      save(
        `${name()}.toml`,
        toToml(
          settings,
          {
            eta: run.ready.eta,
            second: run.ready.second,
            table: settings.data === "own" ? { name: table.file, target: settings.target } : null,
          },
          run.changes,
        ),
        "application/toml",
      ),
    csv: () => save(`${name()}.csv`, toCsv(run.records, run.flow, settings), "text/csv"),
    png: () => composed().toBlob((blob) => save(`${name()}.png`, blob)),
    svg: () => {
      const { clientWidth, clientHeight } = find("trajectory"),
        surface = new SvgSurface(clientWidth, clientHeight, theme.paper);
      pictures.trajectory(surface);
      save(`${name()}.svg`, surface.toString(), "image/svg+xml");
    },
    link: async () => {
      await navigator.clipboard?.writeText(location.href).catch(() => null);
      find("status").textContent = "the address of this run is copied";
    },
  };
  for (const [action, act] of Object.entries(actions)) find(action).addEventListener("click", () => run.ready && act());

  /** The middle and the three pictures on the right, on one canvas. */
  function composed() {
    const all = ["trajectory", "histogram", "diagram", "plane"].map((each) => find(each)),
      sheet = document.createElement("canvas");
    const [main, ...rest] = all,
      side = Math.max(...rest.map((each) => each.width));
    const tall = rest.reduce((sum, each) => sum + each.height, 0);
    Object.assign(sheet, { width: main.width + side, height: Math.max(main.height, tall) });
    const context = sheet.getContext("2d");
    context.fillStyle = theme.paper;
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(main, 0, 0);
    let top = 0;
    for (const each of rest) {
      context.drawImage(each, main.width, top);
      top += each.height;
    }
    return sheet;
  }

  // A table of one's own.

  async function take(file) {
    try {
      const { names, columns } = readTable(await file.text()),
        target = names.at(-1);
      table = { names, columns, file: file.name, problem: null };
      table.problem = problemOf(table, target);
      settings = mended(
        { ...settings, data: "own", target, model: settings.model === "two" ? "product" : settings.model },
        table.problem.n,
      );
      begin({ play: true });
    } catch (error) {
      run.message = error.message;
      show();
    }
  }
  find("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });

  // The tour.

  function visit(place) {
    tour = place;
    document.querySelectorAll(".in-tour").forEach((each) => each.classList.remove("in-tour"));
    const card = find("tour-card"),
      open = place >= 0 && place < TOUR.length;
    card.hidden = !open;
    if (!open) {
      tour = -1;
      find("tour").focus();
      return;
    }
    const { preset: chosen, at, title, text } = TOUR[place];
    find("tour-title").textContent = `${place + 1} of ${TOUR.length} · ${title}`;
    find("tour-text").textContent = text;
    find("tour-back").disabled = place === 0;
    find("tour-next").textContent = place === TOUR.length - 1 ? "done" : "next";
    const panel = find(at).closest("section");
    panel.classList.add("in-tour");
    if (innerWidth < 900) panel.scrollIntoView({ block: "start", behavior: still.matches ? "auto" : "smooth" });
    choose(chosen, { play: true });
    find("tour-next").focus();
  }
  find("tour").addEventListener("click", () => visit(0));
  find("tour-next").addEventListener("click", () => visit(tour + 1));
  find("tour-back").addEventListener("click", () => visit(tour - 1));
  find("tour-close").addEventListener("click", () => visit(-1));

  const KEYS = {
    " ": () => play(),
    ".": step,
    r: () => begin({ play: true }),
    e: raise,
    b: halve,
    f: () => find("flow").click(),
    t: () => visit(tour < 0 ? 0 : -1),
  };
  addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.target.type !== "range";
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      typing ||
      (event.key === " " && event.target.tagName === "BUTTON")
    )
      return;
    if (tour >= 0 && event.key === "Escape") visit(-1);
    else if (tour >= 0 && event.key === "ArrowRight" && event.target.type !== "range") visit(tour + 1);
    else if (tour > 0 && event.key === "ArrowLeft" && event.target.type !== "range") visit(tour - 1);
    else if (KEYS[event.key]) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });

  // Light and dark, by the system or by hand.

  const dark = matchMedia("(prefers-color-scheme: dark)");
  function recolour() {
    theme = themeOf(document.documentElement);
    dirty = true;
  }
  dark.addEventListener("change", recolour);
  find("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme.dark ? "light" : "dark";
    recolour();
  });
  new ResizeObserver(() => (dirty = true)).observe(document.body);
  addEventListener("hashchange", () => {
    ({ settings, changes } = fromHash(location.hash));
    table = null;
    begin({ keep: changes });
  });

  setPace();
  begin({ keep: changes });
  requestAnimationFrame(paint);
  // For the tests of this page, and for the curious.
  window.esssim = {
    check,
    frames,
    settled,
    presets: PRESETS,
    choose,
    golden: () => settled(preset?.statistic, (record, key) => (record.eta / 2) * record[key]),
    get run() {
      return run;
    },
    get settings() {
      return settings;
    },
    toml: () => toToml(settings, { eta: run.ready.eta, second: run.ready.second, table: null }, run.changes),
  };
}

if (typeof document === "undefined") serve(globalThis);
else startPage(document.currentScript.textContent);
