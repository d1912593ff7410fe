"""What `esssim measure-network` shows: a table that fits 80 columns, and JSON."""

from __future__ import annotations

import math
from typing import Any

import xarray
from rich.text import Text

from esssim.report.environment import environment
from esssim.report.terminal import output, side_by_side
from esssim.report.words import number
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

# The columns of the table, by name and heading.
COLUMNS = {
    "sharpness": "sharpness", "minibatch_sharpness": "MiniBS", "batch_sharpness": "batch sharpness",
    "interaction_aware_sharpness": "IAS", MEAN_SQUARE: "Q_b", "critical_step_size": "critical step size",
}  # fmt: skip


def show_network(found: xarray.Dataset) -> None:
    """A row per batch size."""
    console = output()
    size = f"{found.attrs['n_params']:,} parameters, {found.attrs['n_samples']:,} samples"
    console.print(Text(f"{found.attrs['network']}: {size}"), soft_wrap=True)
    columns = {"b": [str(b) for b in found["batch_size"].values]}
    for name, heading in COLUMNS.items():
        if name in found:
            columns[heading] = [_cell(found, name, k) for k in range(found.sizes["batch_size"])]
    for table in side_by_side(columns, console.width):
        console.print(table)
    restricted = MEAN_SQUARE in found and bool((found[f"{MEAN_SQUARE}_upper"] > 1.001 * found[MEAN_SQUARE]).any())
    notes = ["± half a 95 % interval over sampled batches", "critical step size: 2/Q_b, without momentum"]
    if restricted:
        notes.append(f"Q_b: in {found.attrs['rank']} leading directions, from below; --json has the upper bound")
    for note in notes + found.attrs["notes"]:
        console.print(Text(note), soft_wrap=True)


def _cell(found: xarray.Dataset, name: str, k: int) -> str:
    value = float(found[name][k])
    if not math.isfinite(value):
        return "—" if math.isnan(value) else "∞"
    error = float(found[f"{name}_standard_error"][k]) if f"{name}_standard_error" in found else 0.0
    return number(value) + (f" ± {number(1.96 * error)}" if error > 0 else "")


def as_dict(found: xarray.Dataset) -> dict[str, object]:
    """For JSON: a row per batch size; numbers that are not finite are null."""
    rows: list[dict[str, Any]] = []
    for k, b in enumerate(found["batch_size"].values.tolist()):
        values = {str(name): float(found[name][k]) for name in found.data_vars}
        rows.append(
            {"batch_size": b} | {name: value if math.isfinite(value) else None for name, value in values.items()}
        )
    titles = {name: statistic.title for name, statistic in STATISTICS.items() if name in found}
    attributes = {str(name): value for name, value in found.attrs.items()}
    return {**attributes, "titles": titles, "rows": rows, "environment": environment(int(found.attrs["seed"]))}
