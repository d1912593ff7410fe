"""Noise: the same second moments without mini-batches, and what the tails do at the mean-square edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments import RampExperiment
from esssim.plots import BLACK, LOOKS, MEAN_SQUARE, Page, legend_above

MINIBS = "minibatch_sharpness"
LAWS = {
    "without_replacement": "mini-\nbatches",
    "gaussian_weights": "Gaussian\nweights",
    "two_point_weights": "±1\nweights",
    "full_or_single": "all or\none sample",
}
AWAY = RampExperiment("gaussian-100x50", 2, label_noise=0.1, n_steps=200_000, n_replicas=6, n_records=61, n_batches=16)
AT_THE_WALL = replace(AWAY, batch_size=8, label_noise=1e-3)
PANELS = {"away": AWAY, "wall": AT_THE_WALL}
TITLES = {
    "away": "Strong label noise: second moments\nset the level of $Q_b$, not MiniBS",
    "wall": "Weak label noise: heavy tails carry\nruns past the mean-square edge",
}
ALT = (
    "Two panels with four laws of gradient noise of equal second moments. Left, ε = {away_noise:g}: mean-square "
    "sharpness lies at {away_low:.2f} to {away_high:.2f} for all, mini-batch sharpness anywhere from {minibs_low:.2f} "
    "to {minibs_high:.2f}. Right, ε = {wall_noise:g}: mean-square sharpness at {wall_low:.2f} for the tamest, "
    "{wall_high:.2f} for the wildest law."
)
CAPTION = (
    "Levels of (η/2)·statistic (95 %, {replicas} replicas) on a step-size ramp of a diagonal network (n = 100, d = 50) "
    "for noise with and without mini-batches, all with the same Q_b and the same flow; left b = {away_b}, right "
    "b = {wall_b} (lines: flow; open circles: flow and bursts, from the tails of each law). At ε = {away_noise:g} Q_b "
    "agrees within {spread:.3f} while MiniBS of the same runs differs by a factor of {factor:.1f}; at "
    "ε = {wall_noise:g} the level rises with the tails, up to {wall_high:.2f}."
)


def configure(quick: bool) -> dict[str, Any]:
    short: dict[str, Any] = {"n_steps": 6000, "n_replicas": 3, "n_records": 13, "n_batches": 4} if quick else {}
    # So short a ramp at ε = 0.001 makes the equations of the flow stiff: a minute for each law.
    milder: dict[str, dict[str, Any]] = {"wall": {"label_noise": 0.01}} if quick else {}
    panels = {panel: asdict(replace(run, **short, **milder.get(panel, {}))) for panel, run in PANELS.items()}
    return {"panels": panels, "laws": list(LAWS)}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for panel, options in configuration["panels"].items():
        for scheme in configuration["laws"]:
            run = RampExperiment(**options | {"scheme": scheme})
            tell(f"noise: {scheme.replace('_', ' ')}, ε = {run.label_noise:g}")
            start = {"panel": panel, "scheme": scheme, "batch_size": run.batch_size, "label_noise": run.label_noise}
            rows += [start | level for level in _levels(run)]
    return rows


def _levels(run: RampExperiment) -> list[Row]:
    """The level of each statistic in the replicas that did not diverge, and where flow and bursts have it."""
    trace = run.run()
    survived = trace["diverged_at"].values < 0
    late = trace.isel(record=np.flatnonzero(trace["step"].values >= run.after))
    flow, predicted = _on_the_flow(run)
    rows: list[Row] = []
    for statistic in (MEAN_SQUARE, MINIBS):
        levels = (late[statistic] * late["step_size"] / 2).values[survived].mean(axis=1)
        half = float(half_width(levels)) if len(levels) > 1 else np.nan
        ours = statistic == MEAN_SQUARE
        rows.append({
            "statistic": statistic, "level": float(levels.mean()), "half_width": half,
            "flow": flow if ours else np.nan, "predicted": predicted if ours else np.nan,
            "n_diverged": int((~survived).sum()),
        })  # fmt: skip
    return rows


def _on_the_flow(run: RampExperiment) -> tuple[float, float]:
    """The level of Q_b on the flow, and with the bursts of this law of noise, up to the almost-sure edge."""
    solved = es.flow.solve(
        run.problem, run.theta0, step_size=run.step_size, sampling=run.sampling, n_steps=run.n_steps,
        label_noise=run.label_noise, n_records=25, record=(MEAN_SQUARE, "burst_correction", "almost_sure_excess"),
    )  # fmt: skip
    late = solved.isel(record=np.flatnonzero(solved["step"].values >= run.after))
    level = (late["step_size"] / 2 * late[MEAN_SQUARE]).values
    excess = np.minimum(late["burst_correction"].values, late["almost_sure_excess"].values)
    return float(level.mean()), float((level * (1 + excess)).mean())


def _of(rows: Sequence[Row], panel: str, statistic: str, key: str) -> np.ndarray:
    return np.array([row[key] for row in rows if (row["panel"], row["statistic"]) == (panel, statistic)], dtype=float)


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    away, wall = (_of(rows, panel, MEAN_SQUARE, "level") for panel in PANELS)
    minibs = _of(rows, "away", MINIBS, "level")
    panels = configuration["panels"]
    return {
        "replicas": panels["away"]["n_replicas"],
        **{f"{panel}_b": panels[panel]["batch_size"] for panel in PANELS},
        **{f"{panel}_noise": panels[panel]["label_noise"] for panel in PANELS},
        "away_low": away.min(), "away_high": away.max(), "spread": float(np.ptp(away)),
        "minibs_low": minibs.min(), "minibs_high": minibs.max(), "factor": minibs.max() / minibs.min(),
        "wall_low": wall.min(), "wall_high": wall.max(),
    }  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(2, aspect=0.78, narrowest=2.4)
    panels = figure.subplots(n_rows, n_columns).ravel()
    for axes, panel in zip(panels, PANELS, strict=True):
        _draw_panel(axes, rows, panel)
        axes.set_title(TITLES[panel], fontsize="medium")
        axes.set_xticks(range(len(LAWS)), list(LAWS.values()), fontsize="small")
        axes.set_xlim(-0.6, len(LAWS) - 0.4)
    for axes in panels if n_rows > 1 else panels[:1]:
        axes.set_ylabel(r"$(\eta/2)\cdot$ statistic")
    looks = [LOOKS[MEAN_SQUARE], LOOKS[MINIBS]]
    handles = [
        Line2D([], [], color=k.color, marker=k.marker, markersize=k.size, linewidth=0, label=k.label) for k in looks
    ]
    handles.append(Line2D([], [], color=LOOKS[MEAN_SQUARE].color, linewidth=1.0, label="$Q_b$ on the flow"))
    handles.append(
        Line2D([], [], color=LOOKS[MEAN_SQUARE].color, marker="o", markersize=6, linewidth=0, markerfacecolor="none",
               label="flow and bursts")
    )  # fmt: skip
    handles.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)), label=r"edge $2/\eta$"))
    legend_above(figure, handles)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], panel: str) -> None:
    places = np.arange(len(LAWS), dtype=float)
    blue = LOOKS[MEAN_SQUARE].color
    axes.axhline(1.0, color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.axhline(_of(rows, panel, MEAN_SQUARE, "flow").mean(), color=blue, linewidth=1.0)
    axes.plot(places, _of(rows, panel, MEAN_SQUARE, "predicted"), "o", color=blue, markersize=8, markerfacecolor="none")
    for statistic, shift in ((MEAN_SQUARE, 0.0), (MINIBS, 0.16)):
        look = LOOKS[statistic]
        level, half = (_of(rows, panel, statistic, key) for key in ("level", "half_width"))
        axes.errorbar(
            places + shift,
            level,
            half,
            fmt=look.marker,
            color=look.color,
            markersize=look.size,
            capsize=1.5,
            elinewidth=0.9,
        )
    axes.set_ylim(bottom=0.0)
