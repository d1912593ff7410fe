"""The headline picture: every level that was measured, a row for each statistic, beside the edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from esssim.claims.claim import Verdict
from esssim.report import indices
from esssim.report.answer import levels, settled
from esssim.report.page import address
from esssim.report.scale import place, ticks
from esssim.report.words import TONES, tone

WIDTH, MARGIN, ROW, TOP = 640, 8, 62, 36
BAND = 0.05
CAPTION = (
    "Every level (η/2)·statistic below the full batch, one mark for each setting; 1 is the edge 2/η, the band is 1 ± "
    "0.05. "
    "Filled circle: it settles there; on the right, how many of how many do. Diamond: it does not. Open circle: no "
    "verdict. "
    "Each mark leads to its claim."
)


def headline(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """(inline SVG, caption): the levels by statistic, or where there are fewer than two, how the claims came out."""
    shown = [each for each in levels(verdicts) if math.isfinite(each.measurement.value or math.nan)]
    if len(shown) < 2:
        return _counts(verdicts), "How many claims came out how."
    names = [each.name for each in settled(shown)]
    high = max(1.25, 1.05 * max(float(each.measurement.value or 0) for each in shown))
    low = min(0.0, *(float(each.measurement.value or 0) for each in shown))
    height = TOP + ROW * len(names) + 24

    def x(level: float) -> float:
        return place(low, high, MARGIN, WIDTH - MARGIN, level)

    foot = height - 24
    shapes = (
        f'<rect x="{x(1 - BAND):.1f}" y="{TOP - 8}" width="{x(1 + BAND) - x(1 - BAND):.1f}" '
        f'height="{foot - TOP + 8}" class="band"/>'
        f'<line x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{TOP - 8}" y2="{foot}" class="edge"/>'
        f'<text x="{x(1):.1f}" y="18" text-anchor="middle">2/η</text>'
    )
    for tick in ticks(low, high):
        shapes += f'<text x="{x(tick):.1f}" y="{height - 6}" class="tick" text-anchor="middle">{tick:.4g}</text>'
    for place_of, found in enumerate(settled(shown)):
        top = TOP + ROW * place_of
        y = top + 38
        shapes += (
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" class="row"/>'
            f'<text x="{MARGIN}" y="{top + 16}">{indices.svg(found.name)}</text>'
            f'<text x="{WIDTH - MARGIN}" y="{top + 16}" text-anchor="end">{found.often} of {found.settings}</text>'
        )
        mine = [each for each in shown if each.claim.cell is not None and each.claim.cell.row == found.name]
        # Marks on one spot lie side by side: the same picture for the same numbers.
        shapes += "".join(
            _mark(each, x(float(each.measurement.value or 0)), y + 3.0 * ((5 * k) % 7 - 3))
            for k, each in enumerate(mine)
        )
    label = "Levels of each statistic below the full batch, in units of 2/η"
    return (
        f'<svg class="headline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{shapes}</svg>',
        CAPTION,
    )


def _mark(verdict: Verdict, x: float, y: float) -> str:
    words = f"{verdict.claim.id}: {verdict.measurement.value:.3f}"
    match verdict.measurement.verdict:
        case "holds":
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="settles"><title>{escape(words)}</title></circle>'
        case "refuted":
            path = f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5-4.5 4.5-4.5-4.5z"
            shape = f'<path d="{path}" class="off"><title>{escape(words)}</title></path>'
        case _:
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="open"><title>{escape(words)}</title></circle>'
    return f'<a href="{escape(address(verdict.claim.id), quote=True)}">{shape}</a>'


def _counts(verdicts: Sequence[Verdict]) -> str:
    """A bar for each tone, as long as its number of claims."""
    tones = [tone(each.claim.expected, each.measurement.verdict) for each in verdicts]
    known = {name: tones.count(name) for name in TONES if name in tones}
    most, height = max(known.values(), default=1), 44 * len(known)
    shapes = ""
    for k, (name, count) in enumerate(known.items()):
        y, width = 44 * k, (WIDTH - MARGIN) * count / most
        shapes += (
            f'<text x="0" y="{y + 16}">{count} {escape(TONES[name])}</text>'
            f'<rect x="0" y="{y + 22}" width="{width:.1f}" height="14" style="fill:var(--{name})"/>'
        )
    return (
        f'<svg class="headline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Claims by verdict">{shapes}</svg>'
    )
