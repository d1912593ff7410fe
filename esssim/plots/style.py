"""One style for every picture: fonts, colours, legends; matplotlib is imported on first use.

One colour, marker and line per statistic, the same in every picture; they differ in grey too. Colours are those of
Okabe & Ito (2008), which every kind of colour vision can distinguish. Batch sizes go from dark to light along one map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from esssim.plots.pages import REPORT, Page, page
from esssim.statistics.table import MEAN_SQUARE, STATISTICS, title_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

PAGE_WIDTH = REPORT.width
BLACK, BLUE, GREEN, ORANGE, PURPLE, RED = "#000000", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#D55E00"
GREY = "#666666"
CASING = "#FFFFFF"


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
_DRAWN: dict[str, tuple[str, str, Any, bool]] = {
    MEAN_SQUARE: (BLUE, "o", "-", True),
    "minibatch_sharpness": (RED, "s", (0, (5, 1.5)), True),
    "sharpness": (BLACK, "v", (0, (1.2, 1.2)), True),
    "batch_sharpness": (GREEN, "D", "-", False),
    "batch_sharpness_parts": (PURPLE, "^", (0, (4, 1.5, 1, 1.5)), False),
    "interaction_aware_sharpness": (ORANGE, "P", (0, (2.5, 1.5)), False),
}
# Figures call this one by its short name too.
_LABELS = {"minibatch_sharpness": "{title} ({short})"}
LOOKS = {
    name: Look(_LABELS.get(name, "{title}").format(title=STATISTICS[name].title, short=STATISTICS[name].short), *drawn)
    for name, drawn in _DRAWN.items()
}


def look_of(name: str) -> Look:
    """The look of a statistic; grey with a cross for one that the figures do not know."""
    if name in LOOKS:
        return LOOKS[name]
    return Look(title_of(name), BLACK if name == "loss" else GREY, "x", "-")


# Markers of curves that differ in batch size, in the order of the sizes: they differ in grey too.
BATCH_MARKERS = "osD^vPX*"


def batch_color(b: int, n: int) -> tuple[float, float, float, float]:
    """The colour of batch size b of n samples: viridis by log b, dark at 1, without its yellow end."""
    from matplotlib import colormaps

    r, g, blue, alpha = colormaps["viridis"](0.85 * float(np.log(b) / np.log(max(n, 2))))
    return (r, g, blue, alpha)


@contextmanager
def style(width: str | Page = REPORT, usetex: bool = False) -> Iterator[None]:
    """Draw and save inside this: `with es.plots.style(width="icml1"): …`.

    width: one of `es.plots.NAMES`, the place that the figure is for: "icml1" is one column of ICML, "neurips2" the
    width of the text of NeurIPS, "slides" a slide; its width in inches and its letters are set, and STIX fonts,
    embedded as TrueType in PDF and as outlines in SVG. usetex: LaTeX sets the text, in its own Times. Raises ValueError
    for another width, with the nearest one.
    """
    from matplotlib import rc_context, rcParams

    place = page(width) if isinstance(width, str) else width
    small = place.letters - 1
    settings: dict[Any, Any] = {
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": place.letters,
        "axes.titlesize": place.letters,
        "axes.labelsize": place.letters,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "legend.fontsize": small,
        "legend.frameon": False,
        "legend.handlelength": 2.4 if place.width > 4 else 1.9,
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
        "figure.figsize": place.alone,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "esssim",
        "savefig.dpi": 300,
    }
    if usetex:
        settings |= {
            "text.usetex": True,
            "font.family": "serif",
            "font.serif": ["Times"],
            "text.latex.preamble": r"\usepackage{amsmath,amssymb,textcomp}\usepackage{newtxtext,newtxmath}",
        }
    interactive = rcParams["interactive"]
    try:
        with rc_context(settings):
            try:
                yield
            finally:
                interactive = rcParams["interactive"]
    finally:
        # pyplot, where it is first imported inside, has told a notebook to show its figures: that stays.
        rcParams["interactive"] = interactive


def small_letters() -> float:
    """The size of numbers at the axes, in points."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    # In the style it is a number, outside of it a word such as "medium".
    return float(FontProperties(size=rcParams["xtick.labelsize"]).get_size_in_points())


def legend_above(figure: Figure, handles: Sequence[Artist]) -> Legend:
    """The legend above all panels, in reading order, in as many columns as the figure is wide enough for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for most in range(len(handles), 0, -1):
        n_rows = -(-len(handles) // most)
        n_columns = -(-len(handles) // n_rows)
        # A legend fills column by column, with the longer columns first.
        rows = [handles[k * n_columns : (k + 1) * n_columns] for k in range(n_rows)]
        ordered = [row[column] for column in range(n_columns) for row in rows if column < len(row)]
        legend = figure.legend(
            handles=ordered, loc="outside upper center", ncols=n_columns, columnspacing=1.1, borderaxespad=0.2
        )
        if legend.get_window_extent(renderer).width <= figure.bbox.width or most == 1:
            break
        legend.remove()
    return legend


def legend(figure: Figure) -> Legend | None:
    """One legend above all panels of a figure: each label once; None where nothing is labelled."""
    found = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        if not label.startswith("_")
    }
    return legend_above(figure, list(found.values())) if found else None


def statistics_legend(figure: Figure, names: Iterable[str] = LOOKS) -> None:
    """The statistics above the figure, the main ones first."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=look.color, linestyle=look.line, linewidth=look.width, marker=look.marker,
            markersize=look.size, label=look.label,
        )
        for look in map(look_of, names)
    ]  # fmt: skip
    legend_above(figure, handles)
