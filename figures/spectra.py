"""Spectra: the distribution of λ_max(H_B) per batch size, with its mean, the sharpness and the law of Gaussian rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import esssim as es
from esssim._rows import Row
from esssim.plots import BLACK, BLUE, LOOKS, Page, batch_color, legend_above
from esssim.spectra import largest_eigenvalues

N_BINS = 40
# Of a ridge, in rows: neighbours lie at other eigenvalues and do not meet.
HEIGHT = 1.7
# The Tracy–Widom law is drawn over this stretch, in units of its scale.
LAW = np.linspace(-5.0, 4.0, 46)
ALT = (
    "Ridges of histograms of the largest eigenvalue of mini-batch Hessians on a logarithmic axis, one per batch size "
    "from {smallest} to {largest}: they move left towards the sharpness and narrow as b grows, each under the "
    "Tracy–Widom curve left of its Marchenko–Pastur edge."
)
CAPTION = (
    "λ_max(H_B) of {n_batches} batches per b drawn without replacement, linear regression on Gaussian inputs (n = {n}, "
    "d = {d}), with the generalised Marchenko–Pastur edge and the Tracy–Widom law around it, both computed from the "
    "eigenvalues of H alone. "
    "Mini-batch sharpness falls from {first:.3g} at b = {smallest} to {last:.3g} at b = {largest}, where the sharpness "
    "is "
    "{sharpness:.3g}; the mean of the predicted law is within {miss:.1f} % of it at every b."
)


def configure(quick: bool) -> dict[str, Any]:
    sizes = {"n": 60, "d": 30, "batch_sizes": [4, 16], "n_batches": 300} if quick else {
        "n": 400, "d": 200, "batch_sizes": [4, 8, 16, 32, 64, 128, 256], "n_batches": 3000
    }  # fmt: skip
    return sizes | {"seed": 6}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Per b one row with mean, edge and scale, then its histogram in log λ, then the law as (λ, density of log λ)."""
    n, d, seed = (configuration[name] for name in ("n", "d", "seed"))
    table = es.data.gaussian(n, d, seed=seed)
    problem = es.LinearRegression(table.inputs, table.targets)
    curvature, top = problem.curvature(np.zeros(d)), es.sharpness(problem, np.zeros(d))
    eigenvalues = np.maximum(np.linalg.eigvalsh(problem.hessian(np.zeros(d))), 0.0)
    law = es.gap.tracy_widom_density(LAW)
    rows: list[Row] = []
    for b in configuration["batch_sizes"]:
        tell(f"spectra: b = {b}")
        rng = np.random.default_rng([seed, b])
        batches = es.WithoutReplacement(b).draw(n, configuration["n_batches"], rng)
        values = largest_eigenvalues(curvature, batches)
        edge = es.gap.spectral_edge(eigenvalues, b, n)
        rows.append(
            {"kind": "summary", "batch_size": b, "mean": float(values.mean()),
             "standard_error": float(values.std(ddof=1) / np.sqrt(len(values))), "sharpness": top,
             "edge": edge.value, "edge_mean": edge.mean, "scale": edge.scale}
        )  # fmt: skip
        density, borders = np.histogram(np.log(values), N_BINS, density=True)
        for k in range(N_BINS):
            rows.append(
                {"kind": "histogram", "batch_size": b, "left": float(np.exp(borders[k])),
                 "right": float(np.exp(borders[k + 1])), "density": float(density[k])}
            )  # fmt: skip
        for s, height in zip(LAW, law, strict=True):
            value = edge.value + edge.scale * float(s)
            rows.append({"kind": "law", "batch_size": b, "left": value, "density": float(height) * value / edge.scale})
    return rows


def _of(rows: Sequence[Row], kind: str, b: int | None = None) -> list[Row]:
    return [row for row in rows if row["kind"] == kind and b in (None, row["batch_size"])]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    summary = _of(rows, "summary")
    return {
        **{name: configuration[name] for name in ("n", "d", "n_batches")},
        "smallest": summary[0]["batch_size"],
        "largest": summary[-1]["batch_size"],
        "first": summary[0]["mean"],
        "last": summary[-1]["mean"],
        "sharpness": summary[0]["sharpness"],
        "miss": 100 * max(abs(float(row["edge_mean"]) / float(row["mean"]) - 1) for row in summary),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    sizes = [int(row["batch_size"]) for row in _of(rows, "summary")]
    figure, _, _ = page.figure(1, aspect=0.45 if page.width > 4 else 0.95)
    axes = figure.subplots()
    for k, b in enumerate(sizes):
        bins, law = _of(rows, "histogram", b), _of(rows, "law", b)
        (summary,) = _of(rows, "summary", b)
        height = HEIGHT / max(float(row["density"]) for row in bins + law)
        left = [float(row["left"]) for row in bins] + [float(bins[-1]["right"])]
        ridge = np.array([float(row["density"]) for row in bins]) * height
        axes.stairs(ridge + k, left, baseline=k, fill=True, color=batch_color(b, max(sizes)), alpha=0.45, zorder=3)
        axes.plot(
            [float(row["left"]) for row in law], [k + height * float(row["density"]) for row in law], color=BLACK,
            linewidth=0.9, zorder=4,
        )  # fmt: skip
        axes.plot(
            [float(summary["mean"])] * 2,
            [k, k + HEIGHT],
            color=LOOKS["minibatch_sharpness"].color,
            linewidth=1.4,
            zorder=5,
        )
        axes.plot(float(summary["edge"]), k, "^", color=BLUE, markersize=4.5, zorder=6, clip_on=False)
        axes.axhline(k, color="#BBBBBB", linewidth=0.5, zorder=1)
    sharpness = float(_of(rows, "summary")[0]["sharpness"])
    axes.axvline(sharpness, color=BLACK, linewidth=1.2, linestyle=(0, (1.2, 1.2)), zorder=2)
    axes.set_xscale("log")
    axes.set_ylim(-0.12, len(sizes) - 1 + HEIGHT + 0.1)
    axes.set_yticks(range(len(sizes)), [f"$b={b}$" for b in sizes])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(r"$\lambda_{\max}(H_B)$")
    ticks = [value for value in (1, 2, 3, 5, 10, 20, 30, 50, 100) if axes.get_xlim()[0] < value < axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.set_xticks([], minor=True)
    legend_above(
        figure,
        [
            Patch(color=batch_color(8, 64), alpha=0.45, label="sampled batches"),
            Line2D([], [], color=LOOKS["minibatch_sharpness"].color, linewidth=1.4, label="mean: MiniBS $M_b$"),
            Line2D([], [], color=BLACK, linewidth=0.9, label="Tracy–Widom law"),
            Line2D([], [], color=BLUE, linestyle="", marker="^", markersize=4.5, label="Marchenko–Pastur edge"),
            Line2D(
                [], [], color=BLACK, linewidth=1.2, linestyle=(0, (1.2, 1.2)), label=r"sharpness $\lambda_{\max}(H)$"
            ),
        ],
    )
    return figure
