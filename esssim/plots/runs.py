"""What pictures take: the Dataset of a run, whoever made it, and the axes to draw on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import xarray

from esssim import _validate
from esssim._rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUN = "simulate returns"


def as_run(name: str, value: xarray.Dataset) -> xarray.Dataset:
    """The Dataset with a replica axis and the step at which each replica diverged, −1 where it did not."""
    _validate.instance(name, value, xarray.Dataset, RUN)
    missing = [each for each in ("step", "step_size") if each not in value.variables]
    if "record" not in value.dims or missing:
        words = f"without {', '.join(missing)}" if missing else "without the dimension 'record'"
        raise ValueError(f"{name} must be what {RUN}, got a Dataset {words}")
    run = value if "replica" in value.dims else value.expand_dims("replica")
    if "diverged_at" not in run.variables:
        run = run.assign(diverged_at=("replica", np.full(run.sizes.get("replica", 1), -1)))
    one = {each: run[each].isel(replica=0) for each in ("step", "step_size") if "replica" in run[each].dims}
    return run.assign_coords(one) if one else run


def rows_of(name: str, value: object, columns: Sequence[str], maker: str) -> list[Row]:
    """The rows that were given instead of a Dataset. Raises ValueError for anything else."""
    is_table = isinstance(value, Sequence) and all(isinstance(row, dict) for row in value)
    if not is_table or isinstance(value, str):
        raise ValueError(f"{name} must be a Dataset or the rows of {maker}, got {_validate.shown(value)}")
    rows = list(cast("Sequence[Row]", value))
    missing = [each for each in columns if any(each not in row for row in rows)]
    if missing:
        raise ValueError(f"{name} must be the rows of {maker}, got rows without {', '.join(missing)}")
    return rows


def recorded(run: xarray.Dataset) -> list[str]:
    """The variables with a value per replica and record."""
    return [str(name) for name, variable in run.items() if {"replica", "record"} <= set(variable.dims)]


def own_axes(axes: Axes | None, aspect: float | None = None) -> Axes:
    """The axes given, or those of a figure of its own, as wide as the style says and `aspect` times as high."""
    if axes is not None:
        return axes
    from matplotlib import pyplot, rcParams

    width, height = rcParams["figure.figsize"]
    size = (width, height if aspect is None else aspect * width)
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def figure_of(axes: Axes) -> Figure:
    """The whole figure that holds these axes."""
    return axes.figure.figure
