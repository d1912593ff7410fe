// How things look: colours of the figures (esssim/plots/style.py, put in as STYLE by the bundler), light and dark.

export const MEAN_SQUARE = "mean_square_sharpness_gauss_newton";

const LINES = {
  [MEAN_SQUARE]: { name: "mean-square sharpness Q_b", short: "Q_b", dash: [], width: 2.4 },
  minibatch_sharpness: { name: "mini-batch sharpness E_B λ_max(H_B)", short: "MiniBS", dash: [8, 3], width: 2 },
  sharpness: { name: "sharpness λ_max(H)", short: "sharpness", dash: [2, 2.5], width: 2 },
  batch_sharpness: { name: "batch sharpness E[g_BᵀH_Bg_B/‖g_B‖²]", short: "batch sharpness", dash: [], width: 1.1 },
  batch_sharpness_parts: {
    name: "batch sharpness, ratio of means",
    short: "ratio of means",
    dash: [6, 2, 2, 2],
    width: 1.1,
  },
  interaction_aware_sharpness: {
    name: "interaction-aware sharpness tr(HG_b)/tr G_b",
    short: "IAS",
    dash: [4, 3],
    width: 1.1,
  },
  gradient_noise_interaction: {
    name: "gradient–noise interaction E_B[g_BᵀHg_B]/‖g‖²",
    short: "GNI",
    dash: [1, 3],
    width: 1.6,
    color: "#6A3D9A",
  },
  critical_sharpness: {
    name: "critical sharpness 2/η_c, η_c the step along the gradient that raises the loss",
    short: "critical sharpness",
    dash: [7, 2, 1, 2],
    width: 1.1,
    color: "#666666",
  },
};

export const STATISTICS = Object.keys(LINES);
/** Those that a chip brings into the picture. */
export const HIDDEN_AT_FIRST = [
  "interaction_aware_sharpness",
  "batch_sharpness_parts",
  "gradient_noise_interaction",
  "critical_sharpness",
];
/** It grows without bound where ‖g‖ is near 0: it leaves the picture rather than flatten all others. */
export const UNBOUNDED = "gradient_noise_interaction";

// The figures' colours on white, and the same hues brighter on a dark page.
const BRIGHTER = {
  "#000000": "#F2F2F2",
  "#0072B2": "#56B4E9",
  "#009E73": "#2FD3A3",
  "#D55E00": "#FF8A3D",
  "#CC79A7": "#E7A3C8",
  "#E69F00": "#F5B942",
  "#6A3D9A": "#BFA2F0",
  "#666666": "#A9B3BD",
};

/** {color, dash, width, name, short} of a statistic. */
export function look(name, theme) {
  const color = STYLE.colors[name] ?? LINES[name].color;
  return { ...LINES[name], color: theme.dark ? (BRIGHTER[color] ?? color) : color };
}

/** The colour of batch size b of n: viridis by log b, as in the figures; brighter on a dark page. */
export function batchColor(b, n, theme) {
  const place = (Math.log(b) / Math.log(Math.max(n, 2))) * 0.85,
    shades = STYLE.viridis;
  const share = theme.dark ? 0.3 + 0.7 * place : place;
  return shades[Math.min(shades.length - 1, Math.round(share * (shades.length - 1)))];
}

/** Colours of the page as its style sheet has them now. */
export function themeOf(root) {
  const style = getComputedStyle(root),
    of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"),
    faint: of("faint"),
    axis: of("axis"),
    grid: of("grid"),
    paper: of("panel"),
    accent: of("accent"),
    dark: of("dark") === "1",
  };
}
