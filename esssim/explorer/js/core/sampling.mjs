// How batches are drawn, and what that does to the moments of their means: esssim/sampling.py.

export const SCHEMES = ["without_replacement", "with_replacement", "gaussian_weights"];

/** c: the covariance of a batch mean is c times the (1/n) covariance of one sample. */
export function covarianceCoefficient(scheme, b, n) {
  if (scheme === "with_replacement") return 1 / b;
  return n > 1 ? (n - b) / (b * (n - 1)) : 0;
}

/** c₃: the same for the third central moment. */
export function thirdCoefficient(scheme, b, n) {
  if (scheme === "gaussian_weights") return 0;
  if (scheme === "with_replacement") return 1 / b ** 2;
  return n > 2 ? ((n - b) * (n - 2 * b)) / (b ** 2 * (n - 1) * (n - 2)) : 0;
}

/** How many different batches there are; Infinity for Gaussian weights, whose batches are a continuum. */
export function countBatches(scheme, b, n) {
  if (scheme === "gaussian_weights") return b === n ? 1 : Infinity;
  const choose = (top, k) => {
    let count = 1;
    for (let i = 1; i <= k && count < 1e15; i++) count = (count * (top - k + i)) / i;
    return Math.round(count);
  };
  return scheme === "with_replacement" ? choose(n + b - 1, b) : choose(n, b);
}

/** Every batch without replacement, or every multiset with its probability: {batches, probabilities}. */
export function enumerate(scheme, b, n) {
  const batches = [],
    probabilities = [],
    repeated = scheme === "with_replacement";
  const batch = new Int32Array(b);
  const descend = (place, from, weight) => {
    if (place === b) {
      batches.push(Int32Array.from(batch));
      probabilities.push(weight);
      return;
    }
    let equal = 0;
    for (let i = place - 1; i >= 0 && batch[i] === batch[place - 1]; i--) equal++;
    // Without repeats, room is left for the indices that follow.
    for (let i = from; i < (repeated ? n : n - b + place + 1); i++) {
      batch[place] = i;
      // b!/(n^b Π multiplicity!), factor by factor.
      const same = repeated && place && i === batch[place - 1] ? equal + 1 : 1;
      descend(place + 1, repeated ? i : i + 1, repeated ? (weight * (place + 1)) / (n * same) : 1);
    }
  };
  descend(0, 0, 1);
  return { batches, probabilities: repeated ? probabilities : probabilities.map(() => 1 / batches.length) };
}

/** `count` independent batches as `Sampling.draw` of Python draws them. */
export function drawBatches(rng, scheme, b, n, count) {
  if (scheme === "with_replacement")
    return Array.from({ length: count }, () => Int32Array.from({ length: b }, () => Math.floor(rng.uniform() * n)));
  const order = Int32Array.from({ length: n }, (_, i) => i),
    swaps = new Int32Array(b);
  return Array.from({ length: count }, () => {
    const batch = new Int32Array(b);
    for (let i = 0; i < b; i++) {
      const j = (swaps[i] = i + Math.floor(rng.uniform() * (n - i)));
      [order[i], order[j]] = [order[j], order[i]];
      batch[i] = order[i];
    }
    for (let i = b - 1; i >= 0; i--) [order[i], order[swaps[i]]] = [order[swaps[i]], order[i]];
    return batch;
  });
}

/** Weights of all samples, w = 1/n + √(c/n)(z − z̄): the first two moments of a batch without replacement. */
export function drawWeights(rng, b, n, count) {
  const scale = Math.sqrt(covarianceCoefficient("gaussian_weights", b, n) / n);
  return Array.from({ length: count }, () => {
    const z = rng.normals(n);
    let mean = 0;
    for (const x of z) mean += x / n;
    return z.map((x) => 1 / n + scale * (x - mean));
  });
}
