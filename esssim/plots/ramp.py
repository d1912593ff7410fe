"""The runs of the step-size ramp as tables and figures: what `verify` puts into its report and `figures` draws."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from esssim._rows import Row
from esssim.experiments import FOLLOWED, LEVELS, RampExperiment, ramp_level, run_once
from esssim.experiments.ramp import SAMPLES, TOLERANCE, ramp_experiments
from esssim.plots.axes import thin_labels
from esssim.plots.levels import level_columns, levels, note_open
from esssim.plots.pages import REPORT, Page
from esssim.plots.style import GREY, LOOKS, small_letters, statistics_legend, style
from esssim.plots.trajectory import trajectory, trajectory_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "gaussian-100x50": "Gaussian, $d=50$",
    "gaussian-50x100": "Gaussian, $d=100$",
    "diabetes": "diabetes table, $d=10$",
}


def panel_experiments(quick: bool) -> list[RampExperiment]:
    """The runs drawn along the ramp: six panels, without b = 2, which lies between its neighbours."""
    return [run for run in ramp_experiments(quick) if run.batch_size != 2]


def level_experiments(quick: bool) -> list[RampExperiment]:
    """The runs that `verify` measures of every setting with at least two batch sizes."""
    groups = [ramp_experiments(quick, setting) for setting in SAMPLES]
    return [run for group in groups if len(group) > 1 for run in group]


def ramp_rows(experiments: Iterable[RampExperiment]) -> list[Row]:
    """Per record of each run: η/η₀ and the levels of `trajectory_rows`."""
    rows: list[Row] = []
    for run in experiments:
        for row in trajectory_rows(run_once(run), tuple(LOOKS), after=run.after):
            ratio = float(row.pop("step_size")) / run.first_edge
            start: Row = {"setting": run.setting, "batch_size": run.batch_size, "step": row.pop("step")}
            rows.append(start | {"relative_step_size": ratio} | row)
    return rows


def ramp_level_rows(experiments: Iterable[RampExperiment]) -> list[Row]:
    """Per run and statistic: the level of (η/2)·statistic with its 95 % interval and verdict."""
    rows: list[Row] = []
    for run in experiments:
        common: Row = {
            "setting": run.setting, "n_samples": run.problem.n_samples, "batch_size": run.batch_size,
        }  # fmt: skip
        rows += [
            common
            | {"statistic": name, "symbol": LEVELS[name]}
            | level_columns(ramp_level(run, name, TOLERANCE), TOLERANCE)
            for name in LOOKS
        ]
    return rows


def ramp_figure(rows: Sequence[Row], page: Page = REPORT) -> Figure:
    """Every statistic along the ramp, one panel per batch size of `ramp_rows`. Call within `style`."""
    sizes = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    figure, n_rows, n_columns = page.figure(len(sizes), aspect=0.65, narrowest=1.2, extra=page.statistics_extra)
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    n = SAMPLES[str(rows[0]["setting"])]
    for axes, b in zip(panels, sizes, strict=False):
        trajectory([row for row in rows if row["batch_size"] == b], x="relative_step_size", after=FOLLOWED, axes=axes)
        axes.set_title(f"$b=n={b}$" if b == n else f"$b={b}$")
    panels[0].annotate(
        "averaged →", (FOLLOWED, 0.97), (3, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", fontsize=small_letters(), color=GREY, va="top",
    )  # fmt: skip
    panels[0].locator_params(axis="x", nbins=4)
    # Shared by all panels: only now is the highest known.
    panels[0].set_ylim(0, None)
    for axes in panels[len(sizes) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(sizes) - n_columns) : len(sizes)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel(r"step size $\eta\,/\,\eta_0$", fontsize=page.letters)
    figure.supylabel(r"$(\eta/2)\times$ statistic", fontsize=page.letters)
    statistics_legend(figure)
    return figure


def levels_figure(rows: Sequence[Row], page: Page = REPORT) -> Figure:
    """Where every statistic settles against b, one panel per setting of `ramp_level_rows`. Call within `style`."""
    from matplotlib.ticker import MultipleLocator

    settings = list(dict.fromkeys(str(row["setting"]) for row in rows))
    figure, n_rows, n_columns = page.figure(len(settings), aspect=0.85, narrowest=1.7, extra=page.statistics_extra)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, setting in zip(panels, settings, strict=False):
        levels([row for row in rows if row["setting"] == setting], axes=axes)
        axes.set_title(TITLES[setting])
    for axes in panels[len(settings) :]:
        axes.set_axis_off()
    low, high = panels[0].get_ylim()
    # Room for the number above the highest point.
    panels[0].set_ylim(0, high + 0.1 * (high - low))
    panels[0].yaxis.set_major_locator(MultipleLocator(0.5))
    for axes in grid[:, 0]:
        axes.set_ylabel(r"level: $(\eta/2)\times$ statistic")
    if any(row["verdict"] == "inconclusive" for row in rows):
        note_open(panels[-1 if len(settings) == len(panels) else 0])
    statistics_legend(figure)
    thin_labels(figure)
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


def report_pictures(quick: bool, settings: Iterable[Mapping[str, Any]] | None = None) -> dict[str, str]:
    """The pictures of a report, title -> inline SVG, from the ramp runs that `verify` keeps in memory.

    settings: draw only the runs behind claims of these settings ({"setting": "gaussian-100x50", "b": 4}), so that
    nothing new is run; a picture without any is left out. All of the ramp's by default.
    """
    measured = None if settings is None else {(one.get("setting"), one.get("b")) for one in settings}

    def known(runs: list[RampExperiment]) -> list[RampExperiment]:
        return [run for run in runs if measured is None or (run.setting, run.batch_size) in measured]

    settled, ramps = known(level_experiments(quick)), known(panel_experiments(quick))
    pictures = {}
    if settled:
        pictures["Where each statistic settles, against the batch size"] = levels_svg(ramp_level_rows(settled))
    if ramps:
        pictures["Every statistic while the step size rises"] = ramp_svg(ramp_rows(ramps))
    return pictures
