"""Pictures of one's own Datasets, in one style: five lines from a run to a figure for a paper.

    with es.plots.style(width="icml1"):
        axes = es.plots.trajectory(trace)
        axes.figure.savefig("trajectory.pdf")

`trajectory`, `levels`, `gap` and `stability_diagram` take Datasets and return matplotlib axes; `trajectory_rows` and
the like are the numbers drawn, as a table.
"""

from esssim.plots.axes import batch_axis, draw_edge, thin_labels
from esssim.plots.gap import gap, gap_handles, gap_rows
from esssim.plots.levels import level_rows, levels, note_open
from esssim.plots.pages import DEFAULT, NAMES, REPORT, Page, page
from esssim.plots.ramp import (
    level_experiments,
    levels_figure,
    levels_svg,
    panel_experiments,
    ramp_figure,
    ramp_level_rows,
    ramp_rows,
    ramp_svg,
    report_pictures,
    svg_text,
)
from esssim.plots.stability import stability_diagram, stability_rows
from esssim.plots.style import (
    BATCH_MARKERS,
    BLACK,
    BLUE,
    CASING,
    GREEN,
    GREY,
    LOOKS,
    ORANGE,
    PAGE_WIDTH,
    PURPLE,
    RED,
    Look,
    batch_color,
    legend,
    legend_above,
    small_letters,
    statistics_legend,
    style,
)
from esssim.plots.sweep import sweep_figure
from esssim.plots.trajectory import trajectory, trajectory_figure, trajectory_rows
from esssim.statistics.table import MEAN_SQUARE

__all__ = [
    "BATCH_MARKERS",
    "BLACK",
    "BLUE",
    "CASING",
    "DEFAULT",
    "GREEN",
    "GREY",
    "LOOKS",
    "MEAN_SQUARE",
    "NAMES",
    "ORANGE",
    "PAGE_WIDTH",
    "PURPLE",
    "RED",
    "REPORT",
    "Look",
    "Page",
    "batch_axis",
    "batch_color",
    "draw_edge",
    "gap",
    "gap_handles",
    "gap_rows",
    "legend",
    "legend_above",
    "level_experiments",
    "level_rows",
    "levels",
    "levels_figure",
    "levels_svg",
    "note_open",
    "page",
    "panel_experiments",
    "ramp_figure",
    "ramp_level_rows",
    "ramp_rows",
    "ramp_svg",
    "report_pictures",
    "small_letters",
    "stability_diagram",
    "stability_rows",
    "statistics_legend",
    "style",
    "svg_text",
    "sweep_figure",
    "thin_labels",
    "trajectory",
    "trajectory_figure",
    "trajectory_rows",
]
