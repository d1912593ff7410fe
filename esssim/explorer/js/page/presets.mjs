// Settings with a story, named like the claims. golden: the mean of (η/2)·statistic over the records behind `after`, as
// Python finds it from the TOML of the page: the page has to find the same number.

const RAMP = {
  model: "product",
  data: "gaussian",
  n: 40,
  d: 20,
  dataSeed: 1,
  schedule: "rising",
  from: 0.8,
  to: 2.5,
  noise: 0.001,
  steps: 60000,
};

export const PRESETS = [
  {
    id: "mean-square-settles",
    settings: { ...RAMP, b: 4 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.991461,
    title: "mean-square-settles",
    story: "While η rises, the run gives way, and Q_b (blue) stays at the edge 2/η. The sharpness stays far below it.",
  },
  {
    id: "minibs-settles",
    settings: { ...RAMP, b: 16 },
    statistic: "minibatch_sharpness",
    golden: 1.323121,
    title: "minibs-settles (refuted)",
    story:
      "The mean top eigenvalue of mini-batch Hessians does not stay at 2/η: at b = 16 it settles far above the edge.",
  },
  {
    id: "full-batch-sharpness-settles",
    settings: { ...RAMP, b: 40 },
    statistic: "sharpness",
    golden: 1.001233,
    title: "full-batch-sharpness-settles",
    story:
      "With full batches there is no noise, all candidates are the sharpness, and it stays at 2/η: the edge of " +
      "stability.",
  },
  {
    id: "batch-sharpness-settles",
    settings: { ...RAMP, b: 1, n: 40, d: 10 },
    statistic: "batch_sharpness",
    golden: 0.836385,
    title: "batch-sharpness-settles",
    story: "Batch sharpness at b = 1: below the edge here, while Q_b is at it.",
  },
  {
    id: "flow-levels",
    settings: { ...RAMP, b: 2, noise: 0.03 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.961613,
    title: "flow-levels",
    story:
      "The stochastic central flow (thin line) says where SGD goes. It is an ordinary differential equation: it " +
      "runs no SGD.",
  },
  {
    id: "flow-wall",
    settings: { ...RAMP, model: "two", n: 16, b: 4, noise: 0.003, from: 0.5, to: 6, dataSeed: 6 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 1.022702,
    title: "flow-wall",
    story:
      "Two parameters. The run stays where it is on the curve of solutions until the wall of its batch size comes " +
      "to it, and slides along with it as η rises.",
  },
  {
    id: "strong-label-noise",
    settings: { ...RAMP, b: 4, noise: 0.1 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.768608,
    title: "strong-label-noise",
    story:
      "Strong label noise flattens faster than the rising η pushes: every statistic ends below the edge, as the " +
      "flow predicts.",
  },
  {
    id: "start-above-the-edge",
    settings: { ...RAMP, b: 4, schedule: "constant", from: 1.5, steps: 20000 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.779555,
    title: "start-above-the-edge",
    story:
      "A run that starts above the edge jumps to a flat solution, and is left anywhere below: without a push " +
      "nothing settles at 2/η.",
  },
  {
    id: "quadratic-cannot-settle",
    settings: { ...RAMP, model: "regression", b: 4, schedule: "constant", from: 0.9, noise: 0.1, steps: 5000 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.9,
    title: "quadratic-cannot-settle",
    story:
      "The Hessian of a regression is the same everywhere: the statistics are what they are, and only stability can " +
      "be asked for.",
  },
  {
    id: "quadratic-cannot-settle-diagonal",
    settings: { ...RAMP, model: "quadratic", b: 4, schedule: "constant", from: 0.9, noise: 0, steps: 5000 },
    statistic: "batch_sharpness",
    golden: 0.764636,
    title: "quadratic-cannot-settle, diagonal Hessians",
    story:
      "A quadratic whose samples have their minima in different places: SGD wanders around the mean of them, and " +
      "every statistic of the Hessians stays what it was.",
  },
  {
    id: "momentum-edge",
    settings: { ...RAMP, b: 2, momentum: 0.9, noise: 0.03 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.112359,
    title: "momentum-edge",
    story:
      "Heavy ball with β = 0.9. Its mean-square edge is another one; the level of Q_b is shown as the share η/η_c " +
      "of it.",
  },
  {
    id: "flow-levels-depth-3",
    settings: { ...RAMP, model: "depth3", n: 20, d: 40, alpha: 1.3, b: 4, noise: 0.03 },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 0.995491,
    title: "flow-levels, depth 3",
    story:
      "More inputs than samples and depth 3: a whole surface of solutions, and still the flow says where SGD goes " +
      "on it.",
  },
  {
    id: "tails-decide",
    settings: { ...RAMP, b: 4, scheme: "gaussian_weights" },
    statistic: "mean_square_sharpness_gauss_newton",
    golden: 1.072893,
    title: "Gaussian weights: tails decide",
    story:
      "No batches at all: random weights with the mean and covariance of batches. Q_b is the same function of θ, " +
      "but the tails of the noise are others, and this run climbs a little past the edge.",
  },
];
