// The stability diagram: step size against batch size, the edges at the present θ, and where the run is.

import { frame, scale } from "./axes.mjs";
import { look, MEAN_SQUARE } from "./looks.mjs";

/** {x, y, box}: the scales of the diagram; edges: a list by batch size. */
export function diagramScales(surface, { edges, n, eta, b }) {
  const box = { left: 50, right: surface.width - 12, top: 10, bottom: surface.height - 40 };
  const steps = edges.flatMap((e) => [e.meanSquare, e.minibatch, e.sharpness]).filter(Number.isFinite);
  const low = Math.min(eta, ...steps) / 1.6,
    high = Math.max(eta, ...steps) * 1.6;
  const x = scale(Math.min(1, b) / 1.12, Math.max(n, b) * 1.12, box.left, box.right, { log: true, count: 8 });
  const sizes = edges.map((edge) => edge.b);
  return { box, x: { ...x, ticks: sizes }, y: scale(low, high, box.bottom, box.top, { log: true, count: 5 }) };
}

export function drawDiagram(surface, shown, theme) {
  surface.begin();
  const { edges, eta, b, trail } = shown;
  if (!edges.length) return;
  const { box, x, y } = diagramScales(surface, shown),
    blue = look(MEAN_SQUARE, theme);
  const curve = (key) => edges.map((edge) => [x.at(edge.b), y.at(edge[key])]);
  const wall = curve("meanSquare");
  surface.clip(box.left, box.top, box.right - box.left, box.bottom - box.top, () => {
    surface.area([...wall, [wall.at(-1)[0], box.bottom], [wall[0][0], box.bottom]], {
      color: blue.color,
      alpha: theme.dark ? 0.16 : 0.1,
    });
  });
  frame(surface, box, x, y, theme, { xName: "batch size b", yName: "step size η" });
  surface.clip(box.left - 1, box.top, box.right - box.left + 2, box.bottom - box.top, () => {
    surface.line(curve("sharpness"), { ...look("sharpness", theme), width: 1.6 });
    for (const edge of edges) {
      const { color } = look("minibatch_sharpness", theme),
        at = x.at(edge.b);
      surface.line(
        [
          [at, y.at(edge.minibatch + edge.minibatchError)],
          [at, y.at(Math.max(edge.minibatch - edge.minibatchError, y.low / 2))],
        ],
        { color, width: 1.5 },
      );
    }
    surface.line(curve("minibatch"), { ...look("minibatch_sharpness", theme), width: 1.6 });
    surface.line(wall, { ...blue, width: 2.2 });
    surface.line(
      trail.map(([size, step]) => [x.at(size), y.at(step)]),
      { color: theme.accent, width: 1.5, alpha: 0.8 },
    );
    surface.circle(x.at(b), y.at(eta), 9, { color: theme.accent, width: 1.5, alpha: 0.55 });
    surface.circle(x.at(b), y.at(eta), 4.5, { fill: theme.accent, color: theme.paper, width: 1.2 });
  });
  const left = x.at(b) > (box.left + box.right) / 2;
  surface.text("you are here", x.at(b) + (left ? -13 : 13), y.at(eta) - 10, {
    color: theme.accent,
    size: 12,
    align: left ? "right" : "left",
    weight: "600",
    halo: theme.paper,
  });
  surface.text("stable", box.right - 6, box.bottom - 8, { color: blue.color, size: 11, align: "right" });
  surface.text("unstable", box.left + 8, box.top + 12, { color: theme.faint, size: 11 });
}
