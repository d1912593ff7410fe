// The middle: (η/2)·statistic against steps, the edge at 1, and the flow drawn over it; below it the loss.

import { frame, scale } from "./axes.mjs";
import { look, MEAN_SQUARE, STATISTICS, UNBOUNDED } from "./looks.mjs";

/** Where the plot lies on a surface of this size. */
export function boxOf(surface) {
  return { left: 50, right: surface.width - 14, top: 12, bottom: surface.height - 42 };
}

/** view: {hidden (a Set), raw}; run: {records, flow, limit, after, changes}; cursor: a step, or null. */
export function drawTrajectory(surface, run, view, theme, cursor = null) {
  surface.begin();
  const box = boxOf(surface),
    { records, flow } = run;
  const valueOf = (record, name) => (view.raw ? record[name] : levelOf(record, name)),
    unit = (record) => (view.raw ? 2 / record.eta : 1);
  const shown = STATISTICS.filter((name) => !view.hidden.has(name));
  const x = scale(0, run.limit, box.left, box.right, { count: surface.width < 500 ? 4 : 7 });
  const y = scale(0, highest(records, shown, valueOf, unit), box.bottom, box.top, {
    count: surface.height < 260 ? 4 : 7,
  });
  if (run.after < run.limit && records.length && !view.raw)
    surface.rectangle(x.at(run.after), box.top, box.right - x.at(run.after), box.bottom - box.top, {
      color: theme.ink,
      alpha: 0.025,
    });
  frame(surface, box, x, y, theme, { xName: "steps", yName: view.raw ? "statistic" : "(η/2) · statistic" });
  surface.clip(box.left, box.top - 2, box.right - box.left + 2, box.bottom - box.top + 4, () => {
    drawChanges(surface, run, x, box, theme);
    const edge = view.raw
      ? records.map((record) => [x.at(record.step), y.at(unit(record))])
      : [
          [box.left, y.at(1)],
          [box.right, y.at(1)],
        ];
    surface.line(edge, { color: theme.ink, width: 1.4, alpha: 0.75 });
    for (const name of [...shown].reverse()) {
      const { color, dash, width } = look(name, theme),
        noisy = width < 2;
      const points = records.map((record) => point(x, y, record.step, valueOf(record, name)));
      surface.line(points, { color, width, dash, alpha: noisy ? 0.75 : 0.95 });
    }
    if (view.flow)
      for (const name of FLOW) {
        if (view.hidden.has(name)) continue;
        const points = [];
        let before = null;
        for (const each of flow) {
          if (before !== null && each.step - before > 2.5 * run.spacing) points.push(null);
          before = each.step;
          points.push(point(x, y, each.step, each[name] * (view.raw ? 2 / each.eta : 1)));
        }
        surface.line(points, { color: theme.paper, width: 2.6, alpha: 0.65 });
        surface.line(points, { color: theme.ink, width: 1.2 });
      }
  });
  if (!view.raw)
    surface.text("edge: statistic = 2/η", box.right - 4, y.at(1) - 5, {
      color: theme.ink,
      size: 11.5,
      align: "right",
      halo: theme.paper,
    });
  const at = cursor === null ? records.at(-1) : nearest(records, cursor);
  if (at && cursor !== null)
    surface.line(
      [
        [x.at(at.step), box.top],
        [x.at(at.step), box.bottom],
      ],
      { color: theme.axis, width: 1 },
    );
  if (at)
    for (const name of shown) {
      const value = valueOf(at, name);
      if (value <= y.high)
        surface.circle(x.at(at.step), y.at(value), cursor === null ? 3.2 : 3.6, {
          fill: look(name, theme).color,
          color: theme.paper,
          width: 1.2,
        });
    }
  if (run.diverged >= 0)
    surface.text(`diverged at step ${run.diverged.toLocaleString("en")}`, (box.left + box.right) / 2, box.top + 26, {
      color: theme.ink,
      size: 15,
      align: "center",
      weight: "600",
      halo: theme.paper,
    });
}

/** (η/2)·statistic; with momentum Q_b is shown by the share η/η_c of its own edge, which is the same without. */
export function levelOf(record, name) {
  return name === MEAN_SQUARE ? record.share : (record.eta / 2) * record[name];
}

const FLOW = ["sharpness", "minibatch_sharpness", MEAN_SQUARE];

const point = (x, y, step, value) => (Number.isFinite(value) ? [x.at(step), y.at(Math.min(value, 3 * y.high))] : null);

function highest(records, shown, valueOf, unit) {
  let top = 0;
  const values = [],
    bounded = shown.filter((name) => name !== UNBOUNDED),
    deciding = bounded.length ? bounded : shown;
  for (const record of records) {
    for (const name of deciding) if (Number.isFinite(record[name])) values.push(valueOf(record, name));
    top = Math.max(top, 1.25 * unit(record));
  }
  values.sort((a, b) => a - b);
  // A burst may leave the picture at the top; a level may not.
  return Math.max(top || 1.25, 1.12 * (values[Math.floor(0.995 * (values.length - 1))] ?? 0));
}

function drawChanges(surface, { changes }, x, box, theme) {
  for (const { step, b, note } of changes) {
    surface.line(
      [
        [x.at(step), box.top],
        [x.at(step), box.bottom],
      ],
      { color: theme.accent, width: 1.2, dash: [3, 3] },
    );
    surface.text(note ?? `b = ${b}`, x.at(step) + 4, box.top + 10, {
      color: theme.accent,
      size: 11,
      halo: theme.paper,
    });
  }
}

/** The record at or before a step. */
export function nearest(records, step) {
  let low = 0,
    high = records.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (records[middle].step <= step) low = middle;
    else high = middle - 1;
  }
  return records[low];
}

/** The loss on a logarithmic scale, under the levels. */
export function drawLoss(surface, run, theme) {
  surface.begin();
  const box = { left: 50, right: surface.width - 14, top: 6, bottom: surface.height - 8 };
  // A run that starts at a solution starts at a loss of rounding, which would take all the room.
  const losses = run.records
    .slice(run.records.length > 5 ? 1 : 0)
    .map((record) => record.loss)
    .filter((loss) => loss > 0 && loss < Infinity);
  const x = scale(0, run.limit, box.left, box.right);
  const [low, high] = losses.length ? [Math.min(...losses), Math.max(...losses)] : [1e-3, 1];
  const top = Math.min(high * 1.6 + 1e-300, Number.MAX_VALUE),
    y = scale(low / 1.6, top, box.bottom, box.top, { log: true, count: 3 });
  frame(surface, box, { ...x, ticks: [] }, y, theme);
  const points = run.records.map(({ step, loss }) => (loss > 0 ? [x.at(step), y.at(Math.min(loss, y.high))] : null));
  surface.clip(box.left, box.top, box.right - box.left, box.bottom - box.top, () =>
    surface.line(points, { color: theme.faint, width: 1.3 }),
  );
  const style = { color: theme.ink, size: 11.5, align: "right", halo: theme.paper };
  surface.text("loss", box.right - 4, box.top + 12, style);
}
