// Scales, ticks and the frame of a picture.

const LOG_STEPS = [1, 2, 5],
  CLOSE_STEPS = [1, 1.5, 2, 3, 4, 5, 7];

/** {at: value ↦ pixel, ticks} from [low, high] to [from, to]. */
export function scale(low, high, from, to, { log = false, count = 6 } = {}) {
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const at = (value) => from + (((log ? Math.log(value) : value) - a) / (b - a)) * (to - from);
  const back = (pixel) => {
    const value = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? Math.exp(value) : value;
  };
  // A run that diverges may show numbers without end; counting up to them would stop the page.
  const drawable = b - a > 0 && b - a < Infinity;
  const ticks = !drawable ? [] : log ? logTicks(low, high, count) : linearTicks(low, high, count);
  return { at, back, low, high, ticks };
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= rough),
    first = Math.ceil(low / step - 1e-9),
    length = Math.floor(high / step + 1e-9) - first + 1;
  if (!(length <= 10 * count)) return [];
  return Array.from({ length: Math.max(0, length) }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

function logTicks(low, high, count) {
  const first = Math.floor(Math.log10(low)),
    last = Math.ceil(Math.log10(high)),
    decades = Math.log10(high) - Math.log10(low);
  const steps = decades > 2.5 ? [1] : decades > 0.9 ? LOG_STEPS : CLOSE_STEPS,
    every = Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let k = first; k <= last; k++) {
    if ((k - first) % every) continue;
    for (const s of steps) if (s * 10 ** k >= low * 0.999 && s * 10 ** k <= high * 1.001) ticks.push(s * 10 ** k);
  }
  const thinned = Math.ceil(ticks.length / (count + 1));
  return ticks.filter((_, k) => k % thinned === 0);
}

/** A number as an axis shows it. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e6) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size >= 1e6 && size < 1e9) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size < 1e-3 || size >= 1e9) return power(value, 1);
  return String(Number(value.toPrecision(3)));
}

/** A number in a sentence, with so many digits behind the point; a power of ten where that would be long, or zero. */
export function said(value, digits) {
  if (!Number.isFinite(value)) return "beyond all numbers";
  const size = Math.abs(value);
  return size >= 1e6 || (size > 0 && size < 10 ** -digits) ? power(value, 3) : value.toFixed(digits);
}

/** A number in a sentence, with so many digits in all. */
export function rounded(value, digits) {
  if (!Number.isFinite(value)) return "beyond all numbers";
  const size = Math.abs(value);
  if (size > 0 && (size < 1e-4 || size >= 1e6)) return power(value, digits);
  return size < 10 ** digits ? value.toPrecision(digits) : String(Number(value.toPrecision(digits)));
}

/** 7.68·10²⁴⁸ */
function power(value, digits) {
  const [factor, exponent] = value.toExponential(digits - 1).split("e");
  return `${factor === "1" ? "" : `${factor}·`}10${superscript(Number(exponent))}`;
}

const superscript = (k) => String(k).replace(/[-0-9]/g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]));

/** Axes, grid and labels of a box {left, top, right, bottom} for scales x and y; names under and beside. */
export function frame(
  surface,
  box,
  x,
  y,
  theme,
  { xName, yName, format = short, xFormat = short, size = 11.5, grid = true } = {},
) {
  for (const tick of y.ticks) {
    const at = y.at(tick);
    if (grid)
      surface.line(
        [
          [box.left, at],
          [box.right, at],
        ],
        { color: theme.grid, width: 1 },
      );
    surface.text(format(tick), box.left - 6, at, { color: theme.faint, size, align: "right", baseline: "middle" });
  }
  let free = -Infinity;
  for (const tick of x.ticks) {
    const at = x.at(tick),
      words = xFormat(tick),
      half = words.length * size * 0.3;
    surface.line(
      [
        [at, box.bottom],
        [at, box.bottom + 4],
      ],
      { color: theme.axis, width: 1 },
    );
    if (at - half < free) continue;
    free = at + half + 6;
    surface.text(words, at, box.bottom + 7, { color: theme.faint, size, align: "center", baseline: "top" });
  }
  surface.line(
    [
      [box.left, box.bottom],
      [box.right, box.bottom],
    ],
    { color: theme.axis, width: 1 },
  );
  if (xName)
    surface.text(xName, (box.left + box.right) / 2, box.bottom + 23, {
      color: theme.ink,
      size,
      align: "center",
      baseline: "top",
    });
  if (yName)
    surface.text(yName, 9, (box.top + box.bottom) / 2, {
      color: theme.ink,
      size,
      align: "center",
      baseline: "middle",
      turn: -Math.PI / 2,
    });
}
