// λ_max(H_B) of mini-batches at the last record, its mean, and the sharpness below it.

import { frame, rounded, said, scale } from "./axes.mjs";
import { look, MEAN_SQUARE } from "./looks.mjs";

/** shown: {eigenvalues, sharpness, eta, Q}; all drawn as (η/2)·value. */
export function drawHistogram(surface, { eigenvalues, sharpness, eta, Q }, theme) {
  surface.begin();
  const box = { left: 14, right: surface.width - 12, top: 42, bottom: surface.height - 40 };
  const values = eigenvalues.map((value) => (value * eta) / 2).sort((a, b) => a - b),
    { length } = values;
  if (!length) return;
  const last = Math.max(values[length - 1], 1, (sharpness * eta) / 2, (Q * eta) / 2);
  const x = scale(0, 1.08 * Math.min(last, 4 * values[Math.floor(0.9 * (length - 1))] + 1), box.left, box.right, {
    count: 6,
  });
  const bins = Math.max(12, Math.min(48, Math.round(2 * length ** 0.45))),
    counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value / x.high) * bins))]++;
  const y = scale(0, Math.max(...counts) * 1.05, box.bottom, box.top);
  const { color } = look("minibatch_sharpness", theme);
  counts.forEach((count, k) => {
    const from = x.at((k * x.high) / bins),
      to = x.at(((k + 1) * x.high) / bins),
      top = y.at(count);
    if (count) surface.rectangle(from + 0.5, top, Math.max(to - from - 1, 1), box.bottom - top, { color, alpha: 0.38 });
  });
  frame(surface, box, x, { ...y, ticks: [] }, theme, { xName: "(η/2) · λ_max(H_B)" });
  const mean = values.reduce((sum, value) => sum + value, 0) / length;
  const marks = [
    { ...look("sharpness", theme), value: (sharpness * eta) / 2, words: "sharpness" },
    { ...look("minibatch_sharpness", theme), value: mean, words: "mean", dash: [] },
    { ...look(MEAN_SQUARE, theme), value: (Q * eta) / 2, words: "Q_b" },
  ];
  surface.line(
    [
      [x.at(1), box.bottom],
      [x.at(1), box.top - 2],
    ],
    { color: theme.ink, width: 1.4, alpha: 0.75 },
  );
  // Names side by side: the nearer two marks are, the more rows they take.
  const taken = [];
  for (const { value, words, ...style } of marks
    .filter((mark) => mark.value <= x.high)
    .sort((a, b) => a.value - b.value)) {
    const at = x.at(value),
      half = words.length * 3.1 + 4;
    surface.line(
      [
        [at, box.bottom],
        [at, box.top - 2],
      ],
      style,
    );
    const middle = Math.max(box.left + half, Math.min(box.right - half, at));
    let row = 0;
    while (taken.some((other) => other.row === row && Math.abs(other.middle - middle) < other.half + half)) row++;
    taken.push({ row, middle, half });
    surface.text(words, middle, box.top - 6 - 12 * row, {
      color: style.color,
      size: 11,
      align: "center",
      weight: "600",
      halo: theme.paper,
    });
  }
}

/** "1.234 ± 0.012 (64 batches)", or what is exact. */
export function meanInWords(eigenvalues, eta, exact) {
  const { length } = eigenvalues,
    mean = eigenvalues.reduce((sum, value) => sum + value, 0) / length;
  if (exact) return `(η/2)·MiniBS = ${said((mean * eta) / 2, 4)}, exact: all batches`;
  const square = eigenvalues.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (length - 1);
  const error = rounded((Math.sqrt(square / length) * eta) / 2, 2);
  const count = length.toLocaleString("en");
  return `(η/2)·MiniBS = ${said((mean * eta) / 2, 3)} ± ${error} (standard error of ${count} sampled batches)`;
}
