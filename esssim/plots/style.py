"""One style for every picture; matplotlib is imported on first use.

One colour, marker and line per statistic, the same in every picture; they differ in grey too. Colours are those of
Okabe & Ito (2008), told apart by every kind of colour vision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_WIDTH = 7.0  # inches, two columns
MEAN_SQUARE = "mean_square_sharpness_gauss_newton"
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
