"""Levels: where every statistic settles on the step-size ramp, against the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from esssim.claims.model import Row
from esssim.plots import MEAN_SQUARE, level_experiments, level_rows, levels_figure

from .style import save, style

ALT = (
    "Levels of six statistics against batch size, data sets: {settings}. Relative to the edge 2/η, mean-square "
    "sharpness lies at {low:.2f} to {high:.2f}, mini-batch sharpness at {bottom:.2f} to {top:.2f}, sharpness at "
    "{flat:.2f} to 1."
)
CAPTION = (
    "Average of (η/2)·statistic while η rises slowly, diagonal linear networks trained by SGD without replacement, "
    "with 95 % intervals (mean-square sharpness: Gauss–Newton part); the grey band is 1 ± {tolerance:g}. "
    "Mean-square sharpness settles at {low:.2f}–{high:.2f} times the edge 2/η at every batch size, while mini-batch "
    "sharpness lies anywhere from {bottom:.2f} to {top:.2f} and sharpness falls to {flat:.2f} at b = {smallest}."
)


def caption_numbers(rows: Sequence[Row]) -> dict[str, object]:
    """What ALT and CAPTION quote."""

    def levels(statistic: str) -> list[float]:
        return [float(row["level"]) for row in rows if row["statistic"] == statistic]

    return {
        "settings": ", ".join(dict.fromkeys(str(row["setting"]) for row in rows)),
        "tolerance": rows[0]["tolerance"],
        "low": min(levels(MEAN_SQUARE)),
        "high": max(levels(MEAN_SQUARE)),
        "bottom": min(levels("minibatch_sharpness")),
        "top": max(levels("minibatch_sharpness")),
        "flat": min(levels("sharpness")),
        "smallest": min(int(row["batch_size"]) for row in rows),
    }


def build(out: Path, quick: bool) -> list[Path]:
    runs = level_experiments(quick)
    rows = level_rows(runs)
    numbers = caption_numbers(rows)
    with style():
        return save(
            levels_figure(rows),
            "levels",
            out,
            rows=rows,
            configuration={"runs": [asdict(run) for run in runs]},
            alt=ALT.format(**numbers),
            caption=CAPTION.format(**numbers),
        )
