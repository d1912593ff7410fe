"""What the page of networks says of the architectures that were watched in training loops of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esssim.statistics.table import MEAN_SQUARE, STATISTICS

HEAD = """
## Convolution and transformer

Levels of (η/2)·statistic of runs whose sharpness starts at {start:.2f}. A range was predicted before the runs for the
mean-square sharpness alone; **bold** contradicts it. Of these {shown} runs {shown_right} came out as predicted, of all
{runs}, with those that start lower, {right}. They are records of a `Monitor`, not claims, and not among those counted
above. All of them: [two architectures, watched](watched_networks.md).
"""


def watched_section(path: Path) -> str:
    """A table for each network and loss, from the highest start, in the page's own form; '' where there is no file."""
    if not path.is_file():
        return ""
    rows = [row for row in json.loads(path.read_text(encoding="utf-8")) if "levels" in row]
    start = max(row["start"] for row in rows)
    own = [row for row in rows if row["start"] == start]
    text = HEAD.format(
        start=start,
        shown=len(own), shown_right=sum(_is_as_predicted(row) for row in own),
        runs=len(rows), right=sum(_is_as_predicted(row) for row in rows),
    )  # fmt: skip
    for name, loss in dict.fromkeys((row["network"], row["loss"]) for row in own):
        runs = [row for row in own if (row["network"], row["loss"]) == (name, loss)]
        sizes = (f"b = {row['batch_size']}" for row in runs)
        text += f"\n| {name}, {loss} | {' | '.join(sizes)} |\n"
        text += "|---|" + "---:|" * len(runs) + "\n"
        for key in runs[0]["levels"]:
            cells = [_level(row, key) for row in runs]
            text += f"| {STATISTICS[key].title} {STATISTICS[key].symbol} | {' | '.join(cells)} |\n"
        ranges = (f"{row['we_predict'][0]}–{row['we_predict'][1]}" for row in runs)
        text += f"| we predicted, for the row above | {' | '.join(ranges)} |\n"
    return text


def _is_as_predicted(row: Mapping[str, Any]) -> bool:
    low, high = row["we_predict"]
    return bool(low <= row["levels"][MEAN_SQUARE] <= high)


def _level(row: Mapping[str, Any], key: str) -> str:
    contradicts = key == MEAN_SQUARE and not _is_as_predicted(row)
    return f"**{row['levels'][key]:.3f}**" if contradicts else f"{row['levels'][key]:.2f}"
