"""Gap: mini-batch sharpness minus sharpness against the batch size, exact and predicted, with its local exponent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim._rows import Row
from esssim.plots import (
    BLACK,
    GREY,
    LOOKS,
    Page,
    batch_axis,
    gap,
    gap_handles,
    gap_rows,
    legend_above,
    thin_labels,
)
from esssim.plots.gap import PREDICTIONS

ENSEMBLES = {
    "spiked": "one spike (clear eigengap)",
    "gaussian": "Gaussian (no eigengap)",
    "power_law": "power-law spectrum",
}
SEED = 11
LEVEL = 0.99
RED = LOOKS["minibatch_sharpness"].color
ALT = (
    "Above: mini-batch sharpness minus sharpness, over sharpness, against batch size on log–log axes for {ensembles}: "
    "it falls from {first} at b = 1 towards nothing at b = n; predictions lie on it where they are valid. Below: the "
    "local exponent, between ½ and 1 for small b and growing without limit towards b = n."
)
CAPTION = (
    "Gap (M_b − λ_max)/λ_max of linear regression on seeded ensembles (n = {n}, d = {d}, sampling without "
    "replacement), "
    "with every prediction of esssim.gap where it calls itself valid, what they say together (joint), and the region "
    "that the bounds allow (white); between the dots, bounds that hold with a probability of {level:.0f} % each, from "
    "{n_batches:,} batches. "
    "At b = {quoted} the gap is {middle} of the sharpness ({ensembles}); the joint prediction misses it by {miss:.1f} %"
    " in the median where it has no exact form, the single ones by {single:.1f} %; the gap is within its error in "
    "{covered} of {n_joint} cases; the sampled lower bounds are {lower:.1f} % below the gap in the median, those that "
    "always hold {always:.0f} %; the local exponent at small b is {alpha}."
)


def configure(quick: bool) -> dict[str, Any]:
    sizes = [1, 2, 4, 8, 12, 15] if quick else [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 56, 63]
    return {
        "n": 16 if quick else 64, "d": 8 if quick else 32, "batch_sizes": sizes,
        "n_batches": 500 if quick else 20_000, "enumerate_up_to": 2000 if quick else 50_000, "seed": SEED,
    }  # fmt: skip


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Gap, its bounds and predictions over λ_max, per ensemble and b."""
    rows: list[Row] = []
    n, d, seed = configuration["n"], configuration["d"], configuration["seed"]
    for name in ENSEMBLES:
        tell(f"gap: {name}")
        table = getattr(es.data, name)(n, d, seed=seed)
        problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(d)
        sizes = configuration["batch_sizes"]
        found = es.gap.curve(
            problem, theta, sizes, n_batches=configuration["n_batches"],
            enumerate_up_to=configuration["enumerate_up_to"], draws="uniform", seed=seed,
        )  # fmt: skip
        exponents = [*es.gap.scaling_exponents(problem, theta, sizes).tolist(), float("nan")]
        for row, exponent in zip(gap_rows(found), exponents, strict=True):
            here: Row = {"ensemble": name, "n_features": d} | row | {"predicted_exponent_to_next": exponent}
            rows.append(here | _sampled(problem, theta, row, configuration))
    return rows


def _sampled(problem: es.Problem, theta: np.ndarray, row: Row, configuration: dict[str, Any]) -> Row:
    """What holds with a probability of `LEVEL`, and the error of the joint prediction, over the sharpness."""
    sampling, top = es.WithoutReplacement(int(row["batch_size"])), float(row["sharpness"])
    joint = es.gap.joint(problem, theta, sampling)
    found: Row = {"joint_error": joint.error / top, "sampled_lower": row["gap"], "sampled_upper": row["gap"]}
    if not row["exact"]:
        sure = es.gap.confidence_bounds(
            problem, theta, sampling, n_batches=configuration["n_batches"], level=LEVEL, seed=configuration["seed"] + 1
        )
        found |= {"sampled_lower": sure.lower / top, "sampled_upper": sure.upper / top}
    return found


def _columns(rows: Sequence[Row], ensemble: str, *names: str) -> list[np.ndarray]:
    mine = [row for row in rows if row["ensemble"] == ensemble]
    return [np.array([row[name] for row in mine], dtype=float) for name in names]


def _exponent(b: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between neighbouring batch sizes: where, and α = −Δlog gap/Δlog b."""
    return np.sqrt(b[1:] * b[:-1]), -np.diff(np.log(gaps)) / np.diff(np.log(b))


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    quoted = configuration["n"] // 4
    at = {name: {int(row["batch_size"]): row for row in rows if row["ensemble"] == name} for name in ENSEMBLES}
    # At these batch sizes the gap has an exact form, which is one of what is joined.
    open_rows = [row for row in rows if int(row["batch_size"]) not in (1, 2, configuration["n"] - 1)]
    misses = {
        name: [abs(float(row[name]) / float(row["gap"]) - 1) for row in open_rows if np.isfinite(row[name])]
        for name in PREDICTIONS
    }
    joined = [row for row in open_rows if np.isfinite(row["joint"])]
    sampled = [row for row in open_rows if not row["exact"]]
    first = [_exponent(*_columns(rows, name, "batch_size", "gap"))[1][0] for name in ENSEMBLES]
    return {
        "n": configuration["n"],
        "d": configuration["d"],
        "quoted": quoted,
        "ensembles": ", ".join(name.replace("_", " ") for name in ENSEMBLES),
        "first": ", ".join(f"{float(mine[1]['gap']):.2g}" for mine in at.values()),
        "middle": ", ".join(f"{100 * float(mine[quoted]['gap']):.0f} %" for mine in at.values()),
        "level": 100 * LEVEL,
        "n_batches": configuration["n_batches"],
        "miss": 100 * float(np.median(misses["joint"])),
        "single": 100 * float(np.median([miss for name, each in misses.items() if name != "joint" for miss in each])),
        "n_joint": len(joined),
        "covered": sum(
            abs(float(row["joint"]) - float(row["gap"])) <= float(row["joint_error"]) + 2 * float(row["standard_error"])
            for row in joined
        ),
        "lower": 100 * float(np.median([1 - float(row["sampled_lower"]) / float(row["gap"]) for row in sampled])),
        "always": 100 * float(np.median([1 - float(row["lower"]) / float(row["gap"]) for row in sampled])),
        "alpha": ", ".join(f"{alpha:.2f}" for alpha in first),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    narrow = page.width < 4
    short = narrow or page.is_slide
    figure, _, _ = page.figure(2 if narrow else 6, aspect=1.15 if narrow else 0.8, narrowest=1.4)
    figure.set_figheight(page.tallest if page.is_slide else page.width * (1.5 if narrow else 0.72))
    grid = figure.subplots(2, 3, sharex=True, sharey="row", height_ratios=[1.7, 1])
    for (above, below), (name, title) in zip(grid.T, ENSEMBLES.items(), strict=True):
        gap([row for row in rows if row["ensemble"] == name], axes=above)
        for bound in ("sampled_lower", "sampled_upper"):
            above.plot(
                *_columns(rows, name, "batch_size", bound), color=RED, linewidth=0.8, linestyle=(0, (1, 1)), zorder=1
            )
        _draw_exponent(below, rows, name)
        above.set_title(name.replace("_", " ") if page.width < 6 else title)
        n = int(rows[0]["n_samples"])
        batch_axis(below, [2**k for k in range(n.bit_length()) if 2**k <= n], n)
        below.set_xlim(0.85, 1.15 * n)
        if short:
            below.set_xlabel("")
    if short:
        figure.supxlabel("batch size $b$", fontsize=page.letters)
    gaps = np.array([row["gap"] for row in rows], dtype=float)
    grid[0, 0].set_ylim(gaps.min() / 2, 3 * gaps.max())
    grid[0, 0].set_ylabel(r"gap$/\lambda_{\max}$" if short else r"gap $(M_b-\lambda_{\max})/\lambda_{\max}$")
    grid[1, 0].set_ylabel(r"$\alpha(b)$" if short else r"exponent $\alpha(b)$")
    *handles, outside = gap_handles(rows)
    exponent = Line2D([], [], color=BLACK, linewidth=1, label=r"predicted $\alpha$")
    dots = Line2D([], [], color=RED, linewidth=0.8, linestyle=(0, (1, 1)), label="bounds from a sample")
    handles += [exponent, dots, outside]
    legend_above(figure, handles)
    thin_labels(figure)
    return figure


def _draw_exponent(axes: Axes, rows: Sequence[Row], name: str) -> None:
    b, gaps, error, predicted = _columns(
        rows, name, "batch_size", "gap", "standard_error", "predicted_exponent_to_next"
    )
    where, alpha = _exponent(b, gaps)
    relative = error / gaps
    half = 1.96 * np.hypot(relative[1:], relative[:-1]) / np.diff(np.log(b))
    for level in (0.5, 1.0):
        axes.axhline(level, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    axes.plot(where, predicted[:-1], color=BLACK, linewidth=1, zorder=2)
    axes.errorbar(where, alpha, half, fmt="s", color=RED, markersize=3, elinewidth=0.7, capsize=1.2, zorder=3)
    axes.set_ylim(0, 3)
    axes.set_yticks([0, 1, 2, 3])
