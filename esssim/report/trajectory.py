"""The course of a level while the step size rises, as a small inline picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from esssim.claims.claim import Accepted, Row
from esssim.report.scale import place, ticks

WIDTH, HEIGHT = 420, 120


def trajectory(rows: Sequence[Row], accepts: Accepted | None) -> str:
    """The level against the step size while it rises; the window of the average is shaded. Empty without such rows."""
    if len(rows) < 2 or not all({"step_size", "level"} <= row.keys() for row in rows):
        return ""
    points = [(float(row["step_size"]), float(row["level"]), bool(row.get("in_window", False))) for row in rows]
    points = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    if len(points) < 2 or points[0][0] >= points[-1][0]:
        return ""
    left, right, bottom = 40, WIDTH - 8, HEIGHT - 22
    high = max(1.25, 1.05 * max(level for _, level, _ in points))
    low = min(0.0, min(level for _, level, _ in points))
    first, last = points[0][0], points[-1][0]

    def x(eta: float) -> float:
        return place(first, last, left, right, eta)

    def y(level: float) -> float:
        return place(low, high, bottom, 6, min(max(level, low), high))

    window = [eta for eta, _, inside in points if inside]
    shapes = ""
    if window:
        width = x(window[-1]) - x(window[0])
        shapes += f'<rect x="{x(window[0]):.1f}" y="6" width="{width:.1f}" height="{bottom - 6}" class="window"/>'
    if accepts is not None and all(map(math.isfinite, accepts)):
        top, foot = y(accepts[1]), y(accepts[0])
        shapes += f'<rect x="{left}" y="{top:.1f}" width="{right - left}" height="{foot - top:.1f}" class="band"/>'
        middle = y(sum(accepts) / 2)
        shapes += f'<line x1="{left}" x2="{right}" y1="{middle:.1f}" y2="{middle:.1f}" class="edge"/>'
    line = " ".join(f"{x(eta):.1f},{y(level):.1f}" for eta, level, _ in points)
    numbers = "".join(
        f'<text x="{left - 5}" y="{y(tick) + 3.5:.1f}" class="tick" text-anchor="end">{tick:.4g}</text>'
        for tick in ticks(low, high)
    )
    ends = (
        f'<text x="{left}" y="{HEIGHT - 6}" class="tick">η = {first:.3g}</text>'
        f'<text x="{right}" y="{HEIGHT - 6}" class="tick" text-anchor="end">η = {last:.3g}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="level while the step size rises; the shaded part is averaged">{shapes}'
        f'<polyline points="{line}" class="line"/>{numbers}{ends}</svg>'
    )
