"""Numbers with their intervals drawn on a scale, as inline SVG in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, STEP = 640, 230, 24, 22


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


def strip(value: float | None, interval: Sequence[float | None] | None, tolerance: float | None) -> str:
    """A dot and its interval between 0 and 1.6, beside the edge at 1 and the band of what counts as equal."""
    if value is None:
        return ""
    low, high = Row("", value, interval, "", True).ends
    band = tolerance or 0.0

    def x(level: float) -> float:
        return 2 + min(max(level, 0.0), 1.6) / 1.6 * 116

    return (
        '<svg class="strip" viewBox="0 0 120 14" aria-hidden="true">'
        f'<rect class="band" x="{x(1 - band):.1f}" y="0" width="{x(1 + band) - x(1 - band):.1f}" height="14"/>'
        f'<path class="edge" d="M{x(1):.1f} 0v14"/><path class="axis" d="M2 7h116"/>'
        f'<path class="interval" d="M{x(low):.1f} 7H{x(high):.1f}"/><circle class="dot" cx="{x(value):.1f}" cy="7" r="2.6"/></svg>'
    )


def chart(rows: Sequence[Row], target: float | None, tolerance: float | None) -> str:
    """A row for each number, on one scale; `target` with its tolerance as a band, where there is one."""
    ends = [end for row in rows for end in row.ends]
    if target is not None:
        ends += [0.0, target * 1.1]
    low, high = min(ends), max(ends)
    low, high = (low - 0.04 * (high - low), high + 0.04 * (high - low)) if high > low else (low - 1.0, high + 1.0)
    if target is not None:
        low = 0.0
    height = STEP * len(rows) + 30

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = []
    if target is not None:
        band = tolerance or 0.0
        parts.append(
            f'<rect class="band" x="{x(target - band):.1f}" y="0" width="{x(target + band) - x(target - band):.1f}" height="{height - 26}"/>'
            f'<path class="edge" d="M{x(target):.1f} 0V{height - 26}"/>'
        )
    for place, row in enumerate(rows):
        y = STEP * place + STEP / 2
        first, last = row.ends
        label = row.label if len(row.label) < 36 else row.label[:34] + "…"
        parts.append(
            f'<g class="{"current" if row.current else "other"}"><a href="{escape(row.link)}"><text x="{LEFT - 12}" y="{y + 4:.0f}" '
            f'text-anchor="end">{escape(label)}</text></a><path class="interval" d="M{x(first):.1f} {y}H{x(last):.1f}"/>'
            f'<circle class="dot" cx="{x(row.value):.1f}" cy="{y}" r="4"><title>{escape(row.label)}: {row.value:.4g}</title></circle></g>'
        )
    base = height - 26
    parts.append(f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>')
    parts += [
        f'<path class="axis" d="M{x(tick):.1f} {base}v4"/><text class="tick" x="{x(tick):.1f}" y="{base + 18}" text-anchor="middle">{tick:.6g}</text>'
        for tick in ticks(low, high)
    ]
    name = "; ".join(f"{row.label}: {row.value:.4g}" for row in rows if row.current)
    return f'<svg class="scale" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within [low, high]."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next((factor for factor in (1, 2, 5) if (high - low) / (factor * step) <= 5), 10)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
