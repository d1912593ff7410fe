// A tour of six steps: the question, the paper's answer, ours, and where it ends.

export const TOUR = [
  {
    preset: "full-batch-sharpness-settles",
    at: "trajectory",
    title: "The edge of stability",
    text:
      "Full-batch gradient descent with a step size η that rises slowly. The sharpness λ_max(H) follows 2/η: " +
      "sharper solutions than that are unstable, and the run leaves them for flatter ones.",
  },
  {
    preset: "mean-square-settles",
    at: "trajectory",
    title: "Mini-batches change the edge",
    text:
      "The same network with batches of 4. The sharpness (dotted) now stays far below 2/η. Noise makes SGD unstable " +
      "earlier. Which quantity stays at 2/η instead?",
  },
  {
    preset: "minibs-settles",
    at: "histogram",
    title: "The paper's first answer",
    text:
      "Each batch B has a Hessian H_B with a top eigenvalue of its own. Its mean E_B λ_max(H_B), mini-batch " +
      "sharpness, was proposed. At b = 16 it settles well above the edge: a mean over batches does not decide " +
      "stability.",
  },
  {
    preset: "mean-square-settles",
    at: "diagram",
    title: "Our answer: mean-square stability",
    text:
      "The mean square of the iterates grows exactly when ηQ_b > 2. Below the blue line SGD is stable. The run " +
      "moves up until it meets this line, at every batch size. Press “halve b now” and watch the line it meets.",
  },
  {
    preset: "flow-wall",
    at: "plane",
    title: "The edge is a wall",
    text:
      "Two parameters u and v; the thick curve uv = β* holds the solutions. Each circle is the wall of one batch " +
      "size. The run climbs at most a little past its own, and a burst throws it back; as η rises the circle " +
      "shrinks and carries the run to the flat solution u = v.",
  },
  {
    preset: "strong-label-noise",
    at: "trajectory",
    title: "Where it ends, and what predicts it",
    text:
      "Strong label noise keeps every statistic below the edge, so no quantity always sits at 2/η. The stochastic " +
      "central flow, drawn as a thin line, gives the level in both cases. Now change anything you like.",
  },
];
