"""The places for which figures are drawn: widths and letters of the templates, by tueplots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROWEST = 1.55  # inches of a panel at letters of 8 points
LEGEND = 0.15  # inches kept above the panels for a row of the legend, at letters of 8 points
AROUND = 0.3  # inches for the title of a panel and the numbers below it


@dataclass(frozen=True)
class Page:
    """A place for a figure: width in inches, letters in points (numbers at the axes and legends: one less); `tallest`
    is the height that a figure may have, in inches."""

    name: str
    width: float
    letters: float
    tallest: float = math.inf

    @property
    def is_slide(self) -> bool:
        return math.isfinite(self.tallest)

    @property
    def alone(self) -> tuple[float, float]:
        """Width and height in inches of a figure with one panel and the legend of the statistics."""
        aspect = 0.75 if self.width < 4 else 0.5
        return self.width, self.grid(1, aspect=aspect)[2]

    @property
    def statistics_extra(self) -> float:
        """Inches (at letters of 8 points) for the legend of the six statistics, which narrow pages hold in one
        column.
        """
        return (6 if self.width < 4 else 3) * LEGEND

    def grid(
        self, n_panels: int, aspect: float = 0.85, narrowest: float = NARROWEST, extra: float = 3 * LEGEND
    ) -> tuple[int, int, float]:
        """(rows, columns, height in inches) for n panels of height/width `aspect`, none narrower than `narrowest` (at
        letters of 8 points), with `extra` inches for a legend and titles."""
        fits = max(1, int(self.width / (narrowest * self.letters / 8)))
        if self.is_slide and n_panels <= 4:
            fits = max(fits, n_panels)
        # As few columns as the number of rows needs: no row is left half empty without need.
        rows = math.ceil(n_panels / min(fits, n_panels))
        columns = math.ceil(n_panels / rows)
        height = (extra + rows * AROUND) * self.letters / 8 + rows * aspect * self.width / columns
        return rows, columns, self.tallest if self.is_slide else height

    def figure(self, n_panels: int = 1, **options: float) -> tuple[Figure, int, int]:
        """(empty figure, rows, columns) of this page; options as for `grid`."""
        from matplotlib.figure import Figure

        rows, columns, height = self.grid(n_panels, **options)
        return Figure(figsize=(self.width, height)), rows, columns


# Two columns of a report: what `verify` and `measure` draw for.
REPORT = Page("report", 7.0, 9.0)
NAMES = ("icml1", "icml2", "neurips1", "neurips2", "jmlr1", "jmlr2", "slides")
DEFAULT = "icml2"


def page(name: str) -> Page:
    """The page of a name in `NAMES`: 1 is one column, or half of the text where there is one column only, 2 the width
    of the text; slides are 16:9. Raises ValueError for an unknown name, with the nearest one.
    """
    from tueplots import figsizes, fontsizes

    from esssim import _validate

    _validate.choice("width", name, NAMES)
    if name == "slides":
        width, height = figsizes.beamer_169(rel_height=0.85)["figure.figsize"]
        return Page(name, width, fontsizes.beamer()["font.size"], height)
    venue, columns = name[:-1], int(name[-1])
    if venue == "icml":
        size = figsizes.icml2024_half() if columns == 1 else figsizes.icml2024_full()
        letters = fontsizes.icml2024()
    else:
        whole = {"neurips": figsizes.neurips2024, "jmlr": figsizes.jmlr2001}[venue]
        size = whole(rel_width=columns / 2)
        letters = {"neurips": fontsizes.neurips2024, "jmlr": fontsizes.jmlr2001}[venue]()
    return Page(name, size["figure.figsize"][0], letters["font.size"])
