"""Gap: mini-batch sharpness minus sharpness against the batch size, on three ensembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import esssim as es
from esssim.claims.model import Row
from esssim.plots import PAGE_WIDTH, batch_axis, draw_gap
from esssim.statistics import ENUMERATION_LIMIT

from .style import save, style

ENSEMBLES = {
    "spiked": (es.data.spiked, "one spike (clear eigengap)"),
    "gaussian": (es.data.gaussian, "Gaussian (no eigengap)"),
    "power_law": (es.data.power_law, "power-law spectrum"),
}
SEED = 11
ALT = (
    "Mini-batch sharpness minus sharpness, over sharpness, against batch size on log–log axes for {ensembles}: it "
    "falls from {first} at b = 1 towards nothing at b = n, below the Jensen–Frobenius bound everywhere."
)
CAPTION = (
    "(M_b − λ_max)/λ_max, M_b the mini-batch sharpness of linear regression on seeded ensembles (n = {n}, d = {d}, "
    "sampling without replacement, c = (n−b)/(b(n−1))), with the bound √(c·mean‖Hᵢ−H‖²_F) and the slopes 1/b of second "
    "order and 1/√b. "
    "At b = {quoted} the gap is still {middle} of the sharpness ({ensembles}), and at any b at most {share:.0f} % of "
    "its bound."
)


def bound(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    """√(c · (1/n) Σᵢ ‖Hᵢ − H‖_F²), by mean ‖Hᵢ − H‖_F² = tr(mean HᵢHᵢ) − ‖H‖_F²."""
    curvature = problem.curvature(theta)
    mean_square = float(np.trace(curvature.mean_conjugation(np.eye(problem.n_params))))
    variance = mean_square - float((curvature.mean() ** 2).sum())
    return float(np.sqrt(sampling.variance_coefficient(problem.n_samples) * variance))


def collect(n: int, d: int, sizes: list[int], n_batches: int, limit: int) -> list[Row]:
    """Gap and its company over λ_max, per ensemble and b; exact where there are at most `limit` batches."""
    rows: list[Row] = []
    for name, (ensemble, _) in ENSEMBLES.items():
        table = ensemble(n, d, seed=SEED)
        problem = es.LinearRegression(table.inputs, table.targets)
        theta = np.zeros(d)
        largest = es.sharpness(problem, theta)
        first = None
        for b in sizes:
            sampling = es.WithoutReplacement(b)
            how = None if sampling.count(n) <= limit else n_batches
            minibs = es.minibatch_sharpness(problem, theta, sampling, n_batches=how, seed=SEED)
            gap = (minibs.value - largest) / largest
            first = gap if first is None else first
            c = sampling.variance_coefficient(n)
            rows.append(
                {
                    "ensemble": name,
                    "n_samples": n,
                    "n_features": d,
                    "batch_size": b,
                    "gap": gap,
                    "standard_error": minibs.standard_error / largest,
                    "exact": minibs.exact,
                    "n_batches": minibs.n_batches,
                    "sharpness": largest,
                    "bound": bound(problem, theta, sampling) / largest,
                    "second_order": first * c,
                    "slow": first * np.sqrt(c),
                }
            )
    return rows


def draw(rows: list[Row]) -> Figure:
    """One panel per ensemble."""
    figure = Figure(figsize=(PAGE_WIDTH, 2.9))
    panels = figure.subplots(1, len(ENSEMBLES), sharey=True, sharex=True)
    for axes, (name, (_, title)) in zip(panels, ENSEMBLES.items(), strict=True):
        mine = [row for row in rows if row["ensemble"] == name]
        draw_gap(axes, mine)
        axes.set_title(title)
        n = int(mine[0]["n_samples"])
        batch_axis(axes, [2**k for k in range(n.bit_length()) if 2**k <= n], n)
        axes.set_xlim(0.85, 1.1 * n)
    lowest = min(min(float(row["gap"]), float(row["second_order"])) for row in rows)
    panels[0].set_ylim(lowest / 1.6, 1.5 * max(float(row["bound"]) for row in rows))
    panels[0].set_ylabel(r"gap $(M_b-\lambda_{\max})\,/\,\lambda_{\max}$")
    named = {text: handle for handle, text in zip(*panels[0].get_legend_handles_labels(), strict=True)}
    # The measured ones first, the bound last: a legend fills column by column.
    order = sorted(named, key=lambda text: (not text.startswith("MiniBS"), text.startswith("upper")))
    figure.legend([named[text] for text in order], order, loc="outside upper center", ncols=3, columnspacing=1.6)
    return figure


def build(out: Path, quick: bool) -> list[Path]:
    n, d = (16, 8) if quick else (64, 32)
    sizes = [1, 2, 4, 8, 12, 15] if quick else [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 56, 63]
    n_batches, limit = (500, 2000) if quick else (20_000, min(50_000, ENUMERATION_LIMIT))
    rows = collect(n, d, sizes, n_batches, limit)
    quoted = n // 4
    named = {name: {int(row["batch_size"]): row for row in rows if row["ensemble"] == name} for name in ENSEMBLES}
    numbers = {
        "n": n,
        "d": d,
        "quoted": quoted,
        "ensembles": ", ".join(name.replace("_", " ") for name in ENSEMBLES),
        "first": ", ".join(f"{float(mine[1]['gap']):.2g}" for mine in named.values()),
        "middle": ", ".join(f"{100 * float(mine[quoted]['gap']):.0f} %" for mine in named.values()),
        "share": max(100 * float(row["gap"]) / float(row["bound"]) for row in rows),
    }
    with style():
        return save(
            draw(rows),
            "gap",
            out,
            rows=rows,
            configuration={"n": n, "d": d, "batch_sizes": sizes, "n_batches": n_batches, "seed": SEED},
            alt=ALT.format(**numbers),
            caption=CAPTION.format(**numbers),
        )
