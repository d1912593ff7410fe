"""Numbers that belong together, one row each, with their intervals on one scale: inline SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from esssim.report.scale import place, ticks

SCALE, RIGHT, STEP, FOOT = 386, 24, 22, 26
# Letters of a label, and how wide one of them is.
LONGEST, LETTER = 34, 7.2


@dataclass(frozen=True)
class Row:
    """One number: its name, value, interval, where its name leads, and whether it is the one that the page is about."""

    label: str
    value: float
    interval: Sequence[float | None] | None
    link: str
    current: bool

    @property
    def ends(self) -> tuple[float, float]:
        if self.interval is None or None in self.interval:
            return self.value, self.value
        low, high = self.interval
        return float(low or 0.0), float(high or 0.0)


def comparison(rows: Sequence[Row], target: float | None, tolerance: float | None) -> str:
    """A row for each number, on one scale; `target` with its tolerance as a band, where there is one."""
    low, high = _span([end for row in rows for end in row.ends], target)
    base = STEP * len(rows) + 4
    labels = [row.label if len(row.label) <= LONGEST else f"{row.label[: LONGEST - 1]}…" for row in rows]
    left = round(20 + LETTER * max(map(len, labels)))
    width = left + SCALE + RIGHT

    def x(value: float) -> float:
        return place(low, high, left, left + SCALE, value)

    band = ""
    if target is not None:
        first, last = (x(target + sign * (tolerance or 0.0)) for sign in (-1, 1))
        band = (
            f'<rect class="band" x="{first:.1f}" y="0" width="{last - first:.1f}" height="{base}"/>'
            f'<path class="edge" d="M{x(target):.1f} 0V{base}"/>'
        )
    drawn = ""
    for k, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = STEP * k + STEP / 2
        first, last = map(x, row.ends)
        drawn += (
            f'<g class="{"current" if row.current else "other"}"><a href="{escape(row.link)}">'
            f'<text x="{left - 12}" y="{y + 4:.0f}" text-anchor="end">{escape(label)}</text></a>'
            f'<path class="interval" d="M{first:.1f} {y}H{last:.1f}"/>'
            f'<circle class="dot" cx="{x(row.value):.1f}" cy="{y}" r="4">'
            f"<title>{escape(row.label)}: {row.value:.4g}</title></circle></g>"
        )
    axis = f'<path class="axis" d="M{left} {base}H{left + SCALE}"/>'
    for tick in ticks(low, high):
        axis += (
            f'<path class="axis" d="M{x(tick):.1f} {base}v4"/>'
            f'<text class="tick" x="{x(tick):.1f}" y="{base + 18}" text-anchor="middle">{tick:.6g}</text>'
        )
    name = "; ".join(f"{row.label}: {row.value:.4g}" for row in rows if row.current)
    # On a phone it keeps letters that can be read, and its figure scrolls.
    size = f'viewBox="0 0 {width} {base + FOOT}" style="width: {width}px; min-width: {0.75 * width:.0f}px"'
    return f'<svg class="scale" {size} role="img" aria-label="{escape(name)}">{band}{drawn}{axis}</svg>'


def _span(ends: list[float], target: float | None) -> tuple[float, float]:
    if target is not None:
        return 0.0, 1.04 * max(*ends, target * 1.1)
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room
