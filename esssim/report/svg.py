"""Small inline pictures of the report, drawn with its own style sheet: readable on light and on dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from esssim.claims.claim import Row, Verdict

STRIP = (420, 46)
CHART = (420, 120)
EDGE = 1.0


def _axis(low: float, high: float, start: float, stop: float, value: float) -> float:
    return start + (value - low) / (high - low) * (stop - start)


def _nice_ticks(low: float, high: float) -> list[float]:
    """About four round numbers within [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    while (high - low) / step > 5:
        step *= 2
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def is_level(verdict: Verdict) -> bool:
    """Whether the value is a level (η/2)·statistic, to be compared with 1: its table then holds levels too."""
    rows = verdict.measurement.rows
    return verdict.measurement.value is not None and bool(rows) and all("level" in row for row in rows)


def strip(value: float, interval: tuple[float, float] | None, tolerance: float | None) -> str:
    """Dot and interval on a line, with the edge at 1 and the band of what counts as equal to it."""
    lower, upper = interval if interval is not None else (value, value)
    if not all(map(math.isfinite, (value, lower, upper))):
        return ""
    width, height = STRIP
    low, high = min(0.0, lower), max(1.25, upper * 1.05)
    band = tolerance or 0.0

    def x(level: float) -> float:
        return _axis(low, high, 12, width - 12, level)

    ticks = "".join(
        f'<text x="{x(tick):.1f}" y="{height - 2}" class="tick" text-anchor="middle">{tick:g}</text>'
        for tick in _nice_ticks(low, high)
    )
    label = f"{value:.3f} between {lower:.3f} and {upper:.3f}; the edge is at 1, give or take {band:g}"
    return (
        f'<svg class="strip" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f'<rect x="{x(EDGE - band):.1f}" y="4" width="{x(EDGE + band) - x(EDGE - band):.1f}" height="26" class="band"/>'
        f'<line x1="12" x2="{width - 12}" y1="17" y2="17" class="axis"/>'
        f'<line x1="{x(EDGE):.1f}" x2="{x(EDGE):.1f}" y1="2" y2="32" class="edge"/>'
        f'<line x1="{x(lower):.1f}" x2="{x(upper):.1f}" y1="17" y2="17" class="interval"/>'
        f'<path d="M{x(lower):.1f} 9v16M{x(upper):.1f} 9v16" class="cap"/>'
        f'<circle cx="{x(value):.1f}" cy="17" r="3.5" class="dot"/>{ticks}</svg>'
    )


def trajectory(rows: Sequence[Row], tolerance: float | None) -> str:
    """The level against the step size while it rises; the window of the average is shaded. Empty without such rows."""
    if len(rows) < 2 or not all({"step_size", "level"} <= row.keys() for row in rows):
        return ""
    points = [(float(row["step_size"]), float(row["level"]), bool(row.get("in_window", False))) for row in rows]
    points = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    if len(points) < 2 or points[0][0] >= points[-1][0]:
        return ""
    width, height = CHART
    left, right, bottom = 40, width - 8, height - 22
    high = max(1.25, 1.05 * max(level for _, level, _ in points))
    low = min(0.0, min(level for _, level, _ in points))
    first, last = points[0][0], points[-1][0]
    band = tolerance or 0.0

    def x(eta: float) -> float:
        return _axis(first, last, left, right, eta)

    def y(level: float) -> float:
        return _axis(low, high, bottom, 6, level)

    window = [eta for eta, _, inside in points if inside]
    shade = (
        f'<rect x="{x(window[0]):.1f}" y="6" width="{x(window[-1]) - x(window[0]):.1f}" height="{bottom - 6}" '
        'class="window"/>'
        if window
        else ""
    )
    line = " ".join(f"{x(eta):.1f},{y(level):.1f}" for eta, level, _ in points)
    ticks = "".join(
        f'<text x="{left - 5}" y="{y(tick) + 3.5:.1f}" class="tick" text-anchor="end">{tick:g}</text>'
        for tick in _nice_ticks(low, high)
    )
    ends = (
        f'<text x="{left}" y="{height - 6}" class="tick">η = {first:.3g}</text>'
        f'<text x="{right}" y="{height - 6}" class="tick" text-anchor="end">η = {last:.3g}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="level while the step size rises; the shaded part is averaged">{shade}'
        f'<rect x="{left}" y="{y(EDGE + band):.1f}" width="{right - left}" '
        f'height="{y(EDGE - band) - y(EDGE + band):.1f}" class="band"/>'
        f'<line x1="{left}" x2="{right}" y1="{y(EDGE):.1f}" y2="{y(EDGE):.1f}" class="edge"/>'
        f'<polyline points="{line}" class="line"/>{ticks}{ends}</svg>'
    )
