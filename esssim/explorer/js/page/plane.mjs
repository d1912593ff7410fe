// The third picture on the right: the loss surface of two parameters with iterates and walls; the pairs (u_k, v_k) of a
// larger network; or the weights of a regression or quadratic.

import { frame, scale } from "./axes.mjs";
import { batchColor, look, MEAN_SQUARE } from "./looks.mjs";

const boxOf = (surface) => ({ left: 42, right: surface.width - 12, top: 10, bottom: surface.height - 40 });

/** Equal lengths on both axes, around a rectangle that has to be seen. */
function square(surface, [left, right], [low, high]) {
  const box = boxOf(surface),
    w = box.right - box.left,
    h = box.bottom - box.top;
  const unit = Math.max((right - left) / w, (high - low) / h),
    x0 = (left + right) / 2,
    y0 = (low + high) / 2;
  return {
    box,
    x: scale(x0 - (unit * w) / 2, x0 + (unit * w) / 2, box.left, box.right, { count: 5 }),
    y: scale(y0 - (unit * h) / 2, y0 + (unit * h) / 2, box.bottom, box.top, { count: 5 }),
  };
}

/** L = ½h(uv − β*)² on the plane of (u, v), for `plane` {moment h, weight β*, walls [{b, q}]}. */
export function drawPlane(surface, { plane, alpha, trail, path, eta, b, n }, theme) {
  surface.begin();
  const side = 1.25 * Math.max(alpha, Math.sqrt(Math.abs(plane.weight)) * 1.4),
    sign = plane.weight < 0 ? -1 : 1;
  const { box, x, y } = square(
    surface,
    [-0.12 * side, side],
    sign > 0 ? [-0.45 * side, 0.9 * side] : [-0.9 * side, 0.45 * side],
  );
  frame(surface, box, x, y, theme, { xName: "u", yName: "v", grid: false });
  surface.clip(box.left, box.top, box.right - box.left, box.bottom - box.top, () => {
    // A level set of the loss is a pair of hyperbolas uv = β* ± √(2L/h).
    for (const level of [0.02, 0.08, 0.25, 0.7, 1.6, 3.2])
      for (const way of [-1, 1])
        hyperbola(surface, x, y, plane.weight + way * level * Math.max(1, Math.abs(plane.weight)), {
          color: theme.axis,
          width: 0.8,
          alpha: 0.8,
        });
    hyperbola(surface, x, y, plane.weight, { color: theme.ink, width: 2 });
    for (const { b: size, q } of plane.walls) {
      const radius = Math.sqrt(2 / (eta * q)),
        mine = size === b,
        points = [];
      for (let k = 0; k <= 128; k++)
        points.push([x.at(radius * Math.cos((k * Math.PI) / 64)), y.at(radius * Math.sin((k * Math.PI) / 64))]);
      surface.line(points, {
        color: batchColor(size, n, theme),
        width: mine ? 3 : 1.3,
        alpha: mine ? 1 : 0.75,
        dash: mine ? [] : [4, 3],
      });
    }
    surface.line(
      trail.map(([u, v]) => [x.at(u), y.at(v)]),
      { color: theme.accent, width: 1.4, alpha: 0.55 },
    );
    const points = [];
    for (let k = 0; k < path.length; k += 2) points.push([x.at(path[k]), y.at(path[k + 1])]);
    surface.line(points, { color: theme.accent, width: 1, alpha: 0.8 });
    points.forEach(([px, py], k) =>
      surface.circle(px, py, 1.8, { fill: theme.accent, alpha: 0.25 + (0.75 * k) / points.length }),
    );
    if (points.length) surface.circle(...points.at(-1), 4.5, { fill: theme.accent, color: theme.paper, width: 1.2 });
    // Names of the walls where they meet the lower right of the picture, one below the other.
    let free = -Infinity;
    for (const { b: size, q } of [...plane.walls].sort((one, other) => one.q - other.q).reverse()) {
      const radius = Math.sqrt(2 / (eta * q)),
        angle = sign > 0 ? -0.13 : 0.13,
        px = x.at(radius * Math.cos(angle)),
        py = y.at(radius * Math.sin(angle));
      if (px < box.left || px > box.right - 10 || px - free < 34) continue;
      free = px;
      surface.text(`b=${size}`, px, py, {
        color: batchColor(size, n, theme),
        size: 10.5,
        align: "center",
        weight: size === b ? "700" : "500",
        halo: theme.paper,
      });
    }
  });
}

function hyperbola(surface, x, y, product, style) {
  const points = [],
    { low, high } = x;
  for (let k = 0; k <= 240; k++) {
    const u = low + ((high - low) * k) / 240,
      v = product / u,
      at = y.at(v);
    if (Math.abs(u) < 1e-9 || !Number.isFinite(at) || Math.abs(v) > 20 * (y.high - y.low)) points.push(null);
    else {
      if (points.length && u > 0 && u - (high - low) / 240 < 0) points.push(null);
      points.push([x.at(u), at]);
    }
  }
  surface.line(points, style);
}

/** A point for each coordinate: its two parameters, from where it began. */
export function drawCoordinates(surface, { theta, theta0, form }, theme) {
  surface.begin();
  const d = theta.length / 2,
    names = form === "product" ? ["u_k", "v_k"] : ["w₊,k", "w₋,k"];
  const reachOf = (from) => {
    let reach = 0;
    for (let k = 0; k < d; k++) reach = Math.max(reach, Math.abs(theta0[from + k]), Math.abs(theta[from + k]));
    return 1.12 * Math.min(reach, 1e6);
  };
  const right = reachOf(0),
    top = reachOf(d),
    reach = Math.max(right, top);
  const { box, x, y } = square(surface, [-0.08 * right, right], [form === "product" ? -top : -0.08 * top, top]);
  frame(surface, box, x, y, theme, { xName: names[0], yName: names[1], grid: false });
  surface.clip(box.left, box.top, box.right - box.left, box.bottom - box.top, () => {
    surface.line(
      [
        [x.at(0), box.top],
        [x.at(0), box.bottom],
      ],
      { color: theme.grid, width: 1 },
    );
    surface.line(
      [
        [box.left, y.at(0)],
        [box.right, y.at(0)],
      ],
      { color: theme.grid, width: 1 },
    );
    if (form === "product")
      for (const way of [-1, 1])
        surface.line(
          [
            [x.at(0), y.at(0)],
            [x.at(2 * reach), y.at(2 * way * reach)],
          ],
          { color: theme.axis, width: 1, dash: [3, 3] },
        );
    for (let k = 0; k < d; k++) {
      const from = [x.at(theta0[k]), y.at(theta0[d + k])],
        to = [x.at(theta[k]), y.at(theta[d + k])];
      surface.line([from, to], { color: theme.accent, width: 1, alpha: 0.28 });
      surface.circle(...from, 1.6, { fill: theme.faint, alpha: 0.7 });
      surface.circle(...to, 3.4, { fill: theme.accent, color: theme.paper, width: 0.8, alpha: 0.95 });
    }
  });
  if (form === "product")
    surface.text("flat: |u_k| = |v_k|", box.right - 4, box.top + 12, {
      color: theme.faint,
      size: 11,
      align: "right",
      halo: theme.paper,
    });
}

/** The weights of a regression or quadratic, one bar each. */
export function drawWeights(surface, { theta }, theme) {
  surface.begin();
  const box = boxOf(surface),
    reach = Math.max(...theta.map(Math.abs), 1e-3) * 1.15;
  const x = scale(0.5, theta.length + 0.5, box.left, box.right),
    y = scale(-reach, reach, box.bottom, box.top, { count: 5 });
  frame(surface, box, { ...x, ticks: x.ticks.filter((k) => Number.isInteger(k) && k > 0) }, y, theme, {
    xName: "coordinate k",
    yName: "θ_k",
  });
  const half = Math.min(9, ((box.right - box.left) / theta.length) * 0.36),
    { color } = look(MEAN_SQUARE, theme);
  theta.forEach((value, k) => {
    const [top, bottom] = [Math.min(y.at(0), y.at(value)), Math.max(y.at(0), y.at(value))];
    surface.rectangle(x.at(k + 1) - half, top, 2 * half, Math.max(bottom - top, 1), { color, alpha: 0.75 });
  });
}
