"""Pictures: arrays and tables drawn onto matplotlib axes in one style. matplotlib is imported on first use.

One colour, marker and line per statistic, the same in every picture; they differ in grey too. Colours are those of
Okabe & Ito (2008), told apart by every kind of colour vision.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esssim.claims.model import Row
from esssim.claims.ramp import BATCH_SIZES, QUICK, SAMPLES, TOLERANCE, experiment, trajectory
from esssim.experiments import FOLLOWED, LEVELS, RampExperiment, ramp_level, run_ramp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

PAGE_WIDTH = 7.0  # inches, two columns
RAMP_SETTING = "gaussian-100x50"
MEAN_SQUARE = "mean_square_sharpness_gauss_newton"
BLACK, BLUE, GREEN, ORANGE, PURPLE, RED = "#000000", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#D55E00"
GREY = "#666666"
CASING = "#FFFFFF"

TITLES = {
    "gaussian-100x50": "Gaussian, $n=100$, $d=50$",
    "gaussian-50x100": "Gaussian, $n=50$, $d=100$",
    "diabetes": "diabetes table, $n=442$, $d=10$",
}


@dataclass(frozen=True)
class Look:
    """How one quantity looks: label, colour, marker, line; `main` ones carry the message and are drawn strong."""

    label: str
    color: str
    marker: str
    line: Any
    main: bool = False

    @property
    def width(self) -> float:
        return 1.6 if self.main else 0.8

    @property
    def size(self) -> float:
        return 4.5 if self.main else 3.2


# In the order of the legend; drawn from last to first, so that the main ones lie on top.
LOOKS = {
    MEAN_SQUARE: Look("mean-square sharpness", BLUE, "o", "-", main=True),
    "minibatch_sharpness": Look("mini-batch sharpness (MiniBS)", RED, "s", (0, (5, 1.5)), main=True),
    "sharpness": Look("sharpness", BLACK, "v", (0, (1.2, 1.2)), main=True),
    "batch_sharpness": Look("batch sharpness", GREEN, "D", "-"),
    "batch_sharpness_parts": Look("batch sharpness, ratio of means", PURPLE, "^", (0, (4, 1.5, 1, 1.5))),
    "interaction_aware_sharpness": Look("interaction-aware sharpness", ORANGE, "P", (0, (2.5, 1.5))),
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save inside this: STIX fonts, embedded as TrueType in PDF and as outlines in SVG, thin axes."""
    from matplotlib import rc_context

    settings: dict[Any, Any] = {
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "lines.solid_capstyle": "round",
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "esssim",
        "savefig.dpi": 300,
    }
    with rc_context(settings):
        yield


def draw_edge(axes: Axes, label: str | None = r"$2/\eta$", tolerance: float | None = None) -> None:
    """The line of the edge 2/η, at 1 where levels (η/2)·statistic are shown, named at the right end of the axes."""
    if tolerance is not None:
        axes.axhspan(1 - tolerance, 1 + tolerance, color="#DDDDDD", linewidth=0, zorder=0)
    axes.axhline(1.0, color=GREY, linewidth=0.8, zorder=1, label="_edge")
    if label:
        axes.annotate(
            label, (1, 1), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="left", va="center", color="#333333", annotation_clip=False,
        )  # fmt: skip


def draw_ramp(axes: Axes, rows: Sequence[Row]) -> None:
    """The rows of one run (`ramp_rows`): (η/2)·statistic against η/η₀, mean and range of the replicas."""
    x = _column(rows, "relative_step_size")
    draw_edge(axes)
    axes.axvline(FOLLOWED, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    for rank, (name, look) in enumerate(reversed(LOOKS.items())):
        low, high = _column(rows, f"{name}_lowest"), _column(rows, f"{name}_highest")
        axes.fill_between(x, low, high, color=look.color, alpha=0.25, linewidth=0, zorder=2 + rank)
        axes.plot(
            x, _column(rows, name), color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank,
            marker=look.marker, markersize=look.size * 0.8, markevery=(3 + 2 * rank, max(1, len(x) // 4)),
        )  # fmt: skip


def draw_levels(axes: Axes, rows: Sequence[Row]) -> None:
    """The rows of one setting (`level_rows`): levels against b with 95 % intervals, open if inconclusive."""
    draw_edge(axes, tolerance=float(rows[0]["tolerance"]))
    for rank, (name, look) in enumerate(reversed(LOOKS.items())):
        mine = [row for row in rows if row["statistic"] == name]
        b, level = _column(mine, "batch_size"), _column(mine, "level")
        errors = np.abs(np.stack([_column(mine, "lower"), _column(mine, "upper")]) - level)
        axes.plot(b, level, color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank)
        axes.errorbar(b, level, errors, fmt="none", ecolor=look.color, elinewidth=0.8, capsize=1.5, zorder=2 + rank)
        for is_open in (False, True):
            chosen = np.array([(row["verdict"] == "inconclusive") is is_open for row in mine], dtype=bool)
            axes.plot(
                b[chosen], level[chosen], look.marker, markersize=look.size, markeredgecolor=look.color,
                markerfacecolor=CASING if is_open else look.color, markeredgewidth=0.8, zorder=3 + rank,
                label=f"_{name} {'open' if is_open else 'decided'}",
            )  # fmt: skip
        if name == "minibatch_sharpness":
            _name_farthest(axes, b, level, look.color)
    batch_axis(axes, sorted({int(row["batch_size"]) for row in rows}), int(rows[0]["n_samples"]))


def _name_farthest(
    axes: Axes, b: npt.NDArray[np.float64], level: npt.NDArray[np.float64], color: str, at_least: float = 0.1
) -> None:
    """The level farthest from the edge, as a number beside its point."""
    k = int(np.argmax(np.abs(level - 1)))
    if abs(level[k] - 1) >= at_least:
        above = level[k] > 1
        axes.annotate(
            f"{level[k]:.2f}", (b[k], level[k]), (0, 5) if above else (6, -7), textcoords="offset points",
            ha="center" if above else "left", va="bottom" if above else "center", fontsize=8.5, color=color,
        )  # fmt: skip


def batch_axis(axes: Axes, sizes: Sequence[int], n: int) -> None:
    """A logarithmic axis of batch sizes that ends with b = n."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(list(sizes), [f"$n={b}$" if b == n else str(b) for b in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch size $b$")


def draw_gap(axes: Axes, rows: Sequence[Row]) -> None:
    """The MiniBS gap of one ensemble over λ_max against b, log–log, below its bound, with the slopes 1/b and 1/√b.

    rows: batch_size, gap, standard_error, exact, bound, second_order (∝ c), slow (∝ √c), all over λ_max.
    """
    look = LOOKS["minibatch_sharpness"]
    b, gap, error = _column(rows, "batch_size"), _column(rows, "gap"), _column(rows, "standard_error")
    bound = _column(rows, "bound")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.fill_between(b, bound, 100 * bound.max(), color="#E4E4E4", linewidth=0, zorder=0)
    for name, dashes, label in (
        ("slow", (0, (4, 2)), r"$\propto\sqrt{c}\sim 1/\sqrt{b}$"),
        ("second_order", (0, (1, 1.5)), r"$\propto c\sim 1/b$ (second order)"),
    ):
        axes.plot(b, _column(rows, name), color=GREY, linewidth=0.8, linestyle=dashes, zorder=1, label=label)
    axes.plot(b, bound, color=BLACK, linewidth=0.9, zorder=2, label="upper bound (Jensen–Frobenius)")
    exact = np.array([bool(row["exact"]) for row in rows])
    axes.plot(b, gap, color=look.color, linewidth=0.8, zorder=3)
    axes.plot(b[exact], gap[exact], look.marker, color=look.color, markersize=4.2, zorder=4, label="MiniBS gap, exact")
    axes.errorbar(
        b[~exact], gap[~exact], 1.96 * error[~exact], fmt=look.marker, color=look.color, markersize=3.8,
        markerfacecolor=CASING, elinewidth=0.8, capsize=1.5, zorder=4, label="MiniBS gap, sampled (95 %)",
    )  # fmt: skip


def draw_stability(
    axes: Axes, b: npt.ArrayLike, step_size: npt.ArrayLike, growth: npt.ArrayLike, limit: float
) -> QuadMesh:
    """Growth rate per step (len(step_size), len(b)) as colour over logarithmic axes; the hue turns at 0."""
    from matplotlib.colors import LinearSegmentedColormap

    # The lightness falls throughout: a grey print tells both signs apart.
    hues = ["#F7FCFF", "#BFE2F8", "#86BEE6", "#9A9A9A", "#B8692F", "#8A4110", "#2E1000"]
    places = [0.0, 0.25, 0.45, 0.5, 0.55, 0.75, 1.0]
    colors = LinearSegmentedColormap.from_list("growth", list(zip(places, hues, strict=True)))
    mesh = axes.pcolormesh(
        _cell_edges(b), _cell_edges(step_size), np.asarray(growth), cmap=colors, vmin=-limit, vmax=limit,
        linewidth=0, rasterized=True, zorder=0,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    return mesh


def draw_threshold(axes: Axes, b: npt.ArrayLike, step_size: npt.ArrayLike, look: Look) -> None:
    """A critical step size against b, with a light casing that shows on any colour."""
    from matplotlib.patheffects import Normal, Stroke

    axes.plot(
        np.asarray(b), np.asarray(step_size), color=look.color, linewidth=look.width, linestyle=look.line,
        path_effects=[Stroke(linewidth=look.width + 1.6, foreground=CASING), Normal()], label=look.label, zorder=3,
    )  # fmt: skip


def _cell_edges(centres: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Borders of cells around logarithmically spaced centres: geometric means between, as far again outside."""
    logs = np.log(np.asarray(centres, dtype=np.float64))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _column(rows: Iterable[Row], name: str) -> npt.NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def statistics_legend(figure: Figure) -> None:
    """The statistics above the figure, the main ones in the first row."""
    from matplotlib.lines import Line2D

    looks = list(LOOKS.values())
    # A legend fills column by column; this order puts the first three side by side.
    ordered = [look for column in range(3) for look in (looks[column], looks[column + 3])]
    handles = [
        Line2D(
            [], [], color=look.color, linestyle=look.line, linewidth=look.width, marker=look.marker,
            markersize=look.size, label=look.label,
        )
        for look in ordered
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.6)


def ramp_experiments(quick: bool, setting: str = RAMP_SETTING) -> list[RampExperiment]:
    """The runs of one setting that `verify` measures, by batch size."""
    sizes = [b for s, b in sorted(QUICK) if s == setting] if quick else [*BATCH_SIZES, SAMPLES[setting]]
    return [experiment(setting, b, quick) for b in sizes]


def panel_experiments(quick: bool) -> list[RampExperiment]:
    """The runs drawn along the ramp: six panels, without b = 2, which lies between its neighbours."""
    return [run for run in ramp_experiments(quick) if run.batch_size != 2]


def level_experiments(quick: bool) -> list[RampExperiment]:
    """The runs that `verify` measures of every setting with at least two batch sizes."""
    groups = [ramp_experiments(quick, setting) for setting in SAMPLES]
    return [run for group in groups if len(group) > 1 for run in group]


def ramp_rows(experiments: Iterable[RampExperiment]) -> list[Row]:
    """Per record of each run: η/η₀ and, for every statistic, mean, lowest and highest (η/2)·statistic over replicas."""
    rows: list[Row] = []
    for run in experiments:
        trace = run_ramp(run)
        survived = trace.isel(replica=np.flatnonzero(trace["diverged_at"].values < 0))
        mine: list[Row] = []
        for name in LOOKS:
            levels = survived[name] * survived["step_size"] / 2
            lowest, highest = levels.min("replica").values, levels.max("replica").values
            for k, point in enumerate(trajectory(run, name)):
                if k == len(mine):
                    ratio = float(point["step_size"]) / run.first_edge
                    start: Row = {"setting": run.setting, "batch_size": run.batch_size, "step": point["step"]}
                    mine.append(start | {"relative_step_size": ratio, "in_window": point["in_window"]})
                mine[k] |= {name: point["level"]}
                mine[k] |= {f"{name}_lowest": float(lowest[k]), f"{name}_highest": float(highest[k])}
        rows += mine
    return rows


def level_rows(experiments: Iterable[RampExperiment]) -> list[Row]:
    """Per run and statistic: the level of (η/2)·statistic with its 95 % interval and verdict."""
    rows: list[Row] = []
    for run in experiments:
        for name in LOOKS:
            level = ramp_level(run, name, TOLERANCE)
            rows.append(
                {
                    "setting": run.setting,
                    "n_samples": run.problem.n_samples,
                    "batch_size": run.batch_size,
                    "statistic": name,
                    "symbol": LEVELS[name],
                    "level": level.value,
                    "lower": level.interval[0],
                    "upper": level.interval[1],
                    "ess": level.ess,
                    "verdict": level.verdict,
                    "tolerance": TOLERANCE,
                }
            )
    return rows


def ramp_figure(rows: Sequence[Row]) -> Figure:
    """Every statistic along the ramp, one panel per batch size of `ramp_rows`. Call within `style`."""
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    n_columns = min(3, len(sizes))
    n_rows = -(-len(sizes) // n_columns)
    figure = Figure(figsize=(PAGE_WIDTH, 0.8 + 1.75 * n_rows))
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    n = SAMPLES[str(rows[0]["setting"])]
    for axes, b in zip(panels, sizes, strict=False):
        draw_ramp(axes, [row for row in rows if row["batch_size"] == b])
        axes.set_title(f"$b=n={b}$" if b == n else f"$b={b}$")
    panels[0].annotate(
        "levels are averages from here on", (FOLLOWED, 0.97), (3, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", fontsize=7.5, color=GREY, va="top",
    )  # fmt: skip
    # Shared by all panels: only now is the highest known.
    panels[0].set_ylim(0, None)
    for axes in panels[len(sizes) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(sizes) - n_columns) : len(sizes)]:
        axes.set_xlabel(r"step size $\eta\,/\,\eta_0$")
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(r"$(\eta/2)\times$ statistic")
    statistics_legend(figure)
    return figure


def levels_figure(rows: Sequence[Row]) -> Figure:
    """Where every statistic settles against b, one panel per setting of `level_rows`. Call within `style`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    settings = list(dict.fromkeys(str(row["setting"]) for row in rows))
    figure = Figure(figsize=(PAGE_WIDTH, 2.9))
    grid = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, setting in zip(grid, settings, strict=True):
        draw_levels(axes, [row for row in rows if row["setting"] == setting])
        axes.set_title(TITLES[setting])
    low, high = grid[0].get_ylim()
    # Room for the number above the highest point.
    grid[0].set_ylim(0, high + 0.06 * (high - low))
    grid[0].yaxis.set_major_locator(MultipleLocator(0.5))
    grid[0].set_ylabel(r"level: $(\eta/2)\times$ statistic")
    if any(row["verdict"] == "inconclusive" for row in rows):
        grid[0].annotate(
            "open: inconclusive", (0.03, 0.97), xycoords="axes fraction", fontsize=7.5, color=GREY, va="top"
        )
    statistics_legend(figure)
    return figure


def svg_text(figure: Figure, name: str, alt: str) -> str:
    """The figure as one <svg> element for an HTML page: nothing external, every id begins with `name`."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    # A rule for every element would reach the whole page.
    text = text.replace("*{stroke", f"#{name}-figure_1 *{{stroke")
    text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    box = re.search(r'viewBox="[^"]*"', text)
    if box is None:
        raise RuntimeError("svg_text: matplotlib wrote an SVG without a viewBox")
    opening = f'<svg {box[0]} role="img" aria-label="{escape(alt, quote=True)}" style="width:100%;height:auto">'
    return opening + text[text.index(">") + 1 :].strip()


def levels_svg(rows: Sequence[Row]) -> str:
    """`levels_figure` as an inline SVG."""
    with style():
        return svg_text(levels_figure(rows), "levels", "Level of each statistic times eta/2 against the batch size")


def ramp_svg(rows: Sequence[Row]) -> str:
    """`ramp_figure` as an inline SVG."""
    with style():
        return svg_text(ramp_figure(rows), "ramp", "Each statistic times eta/2 along the step-size ramp")


def report_pictures(quick: bool, claim_ids: Iterable[str] | None = None) -> dict[str, str]:
    """The pictures of a report, title -> inline SVG, from the ramp runs that `verify` keeps in memory.

    claim_ids: draw only the runs behind these claims (".../gaussian-100x50/b=4"), so that nothing new is run; a
    picture without any is left out. All of the ramp's by default.
    """
    measured = None if claim_ids is None else {tuple(name.split("/")[1:]) for name in claim_ids}

    def known(runs: list[RampExperiment]) -> list[RampExperiment]:
        return [run for run in runs if measured is None or (run.setting, f"b={run.batch_size}") in measured]

    levels, ramps = known(level_experiments(quick)), known(panel_experiments(quick))
    pictures = {}
    if levels:
        pictures["Where each statistic settles, against the batch size"] = levels_svg(level_rows(levels))
    if ramps:
        pictures["Every statistic while the step size rises"] = ramp_svg(ramp_rows(ramps))
    return pictures
