// At which steps a run is recorded: esssim/_phases.py. Full batches may oscillate with period 2 at the edge, so that
// their records take both phases, at random; those of other runs are equally spaced.

import { Generator } from "./random.mjs";

const PERIOD = 2;

/** Steps of `count` records of a run of n steps; oscillating: whether every batch is all samples. */
export function recordSteps(n, count, seed, oscillating) {
  const between = n / (count - 1);
  if (!oscillating || count > n) return Array.from({ length: count }, (_, k) => roundHalfEven(k * between));
  const rng = new Generator(seed, [0, 0, 0]),
    borders = Array.from({ length: count - 1 }, (_, k) => Math.ceil((k + 0.5) * between));
  const phases = [];
  // A shuffle of (0, 1) exchanges them where the last bit of a 32-bit number is 0; a 64-bit one has two, low half
  // first.
  for (let k = 0; k < count - 2; k += 2 * PERIOD) {
    rng.advance();
    for (const half of [rng.low, rng.high]) phases.push(...(half & 1 ? [0, 1] : [1, 0]));
  }
  // The half of a number that is left over is lost: uniform numbers take a whole one.
  const inside = borders.slice(0, -1).map((first, k) => {
    const room = borders[k + 1] - first,
      offset = (((phases[k] - first) % PERIOD) + PERIOD) % PERIOD,
      chance = rng.uniform();
    const choices = -Math.floor((offset - room) / PERIOD);
    return first + (choices > 0 ? offset + PERIOD * Math.floor(chance * choices) : Math.floor(chance * room));
  });
  return [0, ...inside, n];
}

/** As numpy rounds. */
function roundHalfEven(x) {
  const floor = Math.floor(x),
    rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}
