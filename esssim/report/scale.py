"""A number with its interval on a scale, beside the values that are accepted: readable on light and on dark."""

from __future__ import annotations

import math
from html import escape

from esssim.claims.claim import Accepted

WIDTH, HEIGHT, MARGIN = 420, 46, 12
STRIP_WIDTH, STRIP_HIGH = 120, 1.6


def place(low: float, high: float, start: float, stop: float, value: float) -> float:
    """Where a value lies between start and stop, in pixels."""
    return start + (value - low) / (high - low) * (stop - start)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within [low, high]."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = power * next((factor for factor in (1, 2, 5) if (high - low) / (factor * power) <= 5), 10)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def scale(
    value: float, interval: tuple[float, float] | None, accepts: Accepted | None, *, is_level: bool = False
) -> str:
    """Dot and interval on a line, before the band of what is accepted; "" for a value that is not finite.

    A dashed line is the middle of the band, or its one end. is_level: a level of (η/2)·statistic, whose scale begins
    at 0 and shows the edge at 1. An interval without an end runs to the end of the scale.
    """
    if not math.isfinite(value):
        return ""
    ends = interval if interval is not None else (value, value)
    band = accepts if accepts is not None else (math.nan, math.nan)
    low, high = _span([each for each in (value, *ends, *band) if math.isfinite(each)], is_level)

    def x(number: float) -> float:
        return place(low, high, MARGIN, WIDTH - MARGIN, min(max(number, low), high))

    shapes = ""
    if accepts is not None:
        first, last = x(band[0]), x(band[1])
        shapes += f'<rect x="{first:.1f}" y="4" width="{last - first:.1f}" height="26" class="band"/>'
    shapes += f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="17" y2="17" class="axis"/>'
    middle = _middle(accepts)
    if middle is not None:
        shapes += f'<line x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="2" y2="32" class="edge"/>'
    if ends[0] < ends[1]:
        shapes += f'<line x1="{x(ends[0]):.1f}" x2="{x(ends[1]):.1f}" y1="17" y2="17" class="interval"/>'
        caps = "".join(f"M{x(end):.1f} 9v16" for end in ends if math.isfinite(end))
        shapes += f'<path d="{caps}" class="cap"/>' if caps else ""
    shapes += f'<circle cx="{x(value):.1f}" cy="17" r="3.5" class="dot"/>'
    shapes += "".join(
        f'<text x="{x(tick):.1f}" y="{HEIGHT - 2}" class="tick" text-anchor="middle">{tick:.4g}</text>'
        for tick in ticks(low, high)
    )
    label = escape(_label(value, ends, accepts))
    return f'<svg class="scale" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{shapes}</svg>'


def strip(value: float, interval: tuple[float, float] | None, accepts: Accepted | None) -> str:
    """A level with its interval as small as a line of text, from 0 to 1.6 in every row of a table; "" for NaN.

    The edge is at 1; the band is what is accepted.
    """
    if not math.isfinite(value):
        return ""

    def x(level: float) -> float:
        return place(0.0, STRIP_HIGH, 2, STRIP_WIDTH - 2, min(max(level, 0.0), STRIP_HIGH))

    band = ""
    if accepts is not None:
        first, last = map(x, accepts)
        band = f'<rect class="band" x="{first:.1f}" y="0" width="{last - first:.1f}" height="14"/>'
    # An unknown end is NaN.
    first, last = map(x, interval if interval is not None and interval[0] < interval[1] else (value, value))
    return (
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} 14" aria-hidden="true">{band}'
        f'<path class="edge" d="M{x(1):.1f} 0v14"/><path class="axis" d="M2 7h{STRIP_WIDTH - 4}"/>'
        f'<path class="interval" d="M{first:.1f} 7H{last:.1f}"/>'
        f'<circle class="dot" cx="{x(value):.1f}" cy="7" r="2.6"/>'
        "</svg>"
    )


def _span(known: list[float], is_level: bool) -> tuple[float, float]:
    """The lowest and the highest number of the scale."""
    low, high = min(known), max(known)
    if is_level:
        return min(0.0, low), max(1.25, high * 1.05)
    if low >= 0 and high > 3 * low:
        low = 0.0
    room = 0.15 * (high - low) or max(abs(high), 1e-300) * 0.5
    return (low if low == 0 else low - room), high + room


def _middle(accepts: Accepted | None) -> float | None:
    """What is claimed: the middle of what is accepted, or its one end."""
    known = [end for end in accepts or () if math.isfinite(end)]
    return sum(known) / len(known) if known else None


def _label(value: float, ends: tuple[float, float], accepts: Accepted | None) -> str:
    words = f"{value:.4g}" + (f" between {ends[0]:.4g} and {ends[1]:.4g}" if ends[0] < ends[1] else "")
    if accepts is None:
        return words
    low, high = accepts
    if math.isfinite(low) and math.isfinite(high):
        return f"{words}; accepted from {low:.4g} to {high:.4g}"
    return f"{words}; accepted {f'at least {low:.4g}' if math.isfinite(low) else f'at most {high:.4g}'}"
