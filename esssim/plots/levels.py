"""Where statistics settle, against the batch size or another value of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray

from esssim import _validate
from esssim._rows import Row, column
from esssim.experiments.base import with_an_edge
from esssim.experiments.measures import TOLERANCE, VERDICTS
from esssim.plots.axes import batch_axis, draw_edge, thin_labels
from esssim.plots.runs import RUN, as_run, figure_of, own_axes, recorded, rows_of
from esssim.plots.style import BLACK, CASING, GREY, LOOKS, look_of, small_letters, statistics_legend
from esssim.settling import Level, level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Runs = xarray.Dataset | Mapping[float, xarray.Dataset] | Iterable[xarray.Dataset]
BATCH_SIZE = "batch_size"
# Before the name of a statistic, in a sweep that measures levels.
MEASURED = "level:"


def level_rows(
    runs: Runs,
    statistics: Sequence[str] | None = None,
    *,
    after: float | None = None,
    tolerance: float = 0.05,
    replicas_agree: bool = True,
) -> list[Row]:
    """Per run and statistic: where (η/2)·statistic settles, with its 95 % interval and verdict (`settling.level`).

    runs: {batch size: Dataset}; Datasets whose attributes name their batch size; or one Dataset of a sweep with one
    dimension more than a run, whose levels were measured by the sweep where it measures them. after: the step from
    which on records are averaged, half of the run by default. Where a statistic is not defined at every record its
    verdict is "undefined". Arguments else as in `settling.level`.
    """
    if isinstance(runs, xarray.Dataset) and any(str(each).startswith(MEASURED) for each in runs):
        return _measured_rows(runs, statistics)
    name, found = _runs(runs)
    rows: list[Row] = []
    for value, run in found.items():
        since = float(run["step"].values[-1]) / 2 if after is None else after
        for statistic in _names(run, statistics):
            settled = _level(run, statistic, since, tolerance, replicas_agree)
            row: Row = {name: value, "n_samples": run.attrs["n_samples"]} if "n_samples" in run.attrs else {name: value}
            lost = int((run["diverged_at"].values >= 0).sum())
            row |= {"statistic": statistic} | level_columns(settled, tolerance)
            rows.append(row | {"n_diverged": lost})
    return rows


def level_columns(settled: Level | None, tolerance: float) -> Row:
    """A level as columns; None where the statistic is undefined."""
    if settled is None:
        nothing: Row = dict.fromkeys(("level", "lower", "upper", "ess"), float("nan"))
        return nothing | {"verdict": "undefined", "tolerance": tolerance}
    lower, upper = settled.interval
    return {
        "level": settled.value, "lower": lower, "upper": upper, "ess": settled.ess, "verdict": settled.verdict,
        "tolerance": tolerance,
    }  # fmt: skip


def levels(
    runs: Runs | Sequence[Row],
    statistics: Sequence[str] | None = None,
    *,
    after: float | None = None,
    tolerance: float = 0.05,
    replicas_agree: bool = True,
    axes: Axes | None = None,
) -> Axes:
    """Draw where (η/2)·statistic settles in each run, with 95 % intervals; open markers have no verdict.

    The line is the edge 2/η, the band around it the tolerance; a cross stands where most replicas diverged. runs,
    statistics, after, tolerance, replicas_agree: as in `level_rows`, or the rows that it gave. axes: where to draw; by
    default a figure of its own with a legend. Raises ValueError for Datasets that are no runs, and for a sweep with
    more than one dimension of its own.
    """
    rows = _given(runs)
    if rows is None:
        rows = level_rows(runs, statistics, after=after, tolerance=tolerance, replicas_agree=replicas_agree)  # type: ignore[arg-type]
    elif statistics is not None:
        rows = [row for row in rows if row["statistic"] in statistics]
    if not rows:
        raise ValueError("runs must hold at least one run with a statistic, got none")
    drawn = own_axes(axes)
    names = _ordered(str(row["statistic"]) for row in rows)
    along = next((name for name in rows[0] if _is_batch_size(name)), next(iter(rows[0])))
    draw_edge(drawn, tolerance=float(rows[0]["tolerance"]))
    for rank, name in enumerate(reversed(names)):
        mine = [row for row in rows if row["statistic"] == name]
        _draw(drawn, mine, along, rank)
    _name_farthest(drawn, rows, along, "minibatch_sharpness")
    nowhere = [row for row in rows if row.get("n_diverged") and not np.isfinite(float(row["level"]))]
    lost = sorted({float(row[along]) for row in nowhere})
    drawn.plot(lost, [0.03] * len(lost), "x", color=BLACK, markersize=4, transform=drawn.get_xaxis_transform())
    if _is_batch_size(along):
        n = rows[0].get("n_samples")
        batch_axis(drawn, sorted({int(row[along]) for row in rows}), None if n is None else int(n))
    else:
        drawn.set_xlabel(along)
    if axes is None:
        drawn.set_ylim(0, None)
        drawn.set_ylabel(r"level: $(\eta/2)\times$ statistic")
        if any(row["verdict"] == "inconclusive" for row in rows):
            note_open(drawn)
        statistics_legend(figure_of(drawn), names)
        thin_labels(figure_of(drawn))
    return drawn


def _is_batch_size(name: str) -> bool:
    """As a run calls it, or as a sweep does."""
    return name.removeprefix("sampling.") == BATCH_SIZE


def note_open(axes: Axes) -> None:
    """What an open marker means, at the foot of the axes."""
    axes.annotate(
        "open: inconclusive", (0.97, 0.03), xycoords="axes fraction", fontsize=small_letters(), color=GREY,
        ha="right", va="bottom",
    )  # fmt: skip


def _draw(axes: Axes, mine: Sequence[Row], along: str, rank: int) -> None:
    name = str(mine[0]["statistic"])
    look, x, level = look_of(name), column(mine, along), column(mine, "level")
    errors = np.abs(np.stack([column(mine, "lower"), column(mine, "upper")]) - level)
    # Without a limit there is no bar to draw.
    errors[~np.isfinite(errors)] = np.nan
    axes.plot(x, level, color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank, label=look.label)
    axes.errorbar(x, level, errors, fmt="none", ecolor=look.color, elinewidth=0.8, capsize=1.5, zorder=2 + rank)
    for is_open in (False, True):
        chosen = np.array([(row["verdict"] == "inconclusive") is is_open for row in mine], dtype=bool)
        axes.plot(
            x[chosen], level[chosen], look.marker, markersize=look.size, markeredgecolor=look.color,
            markerfacecolor=CASING if is_open else look.color, markeredgewidth=0.8, zorder=3 + rank,
            label=f"_{name} {'open' if is_open else 'decided'}",
        )  # fmt: skip


def _name_farthest(axes: Axes, rows: Sequence[Row], along: str, name: str, at_least: float = 0.1) -> None:
    """The level of a statistic that is farthest from the edge, as a number beside its point, where there is room."""
    mine = [row for row in rows if row["statistic"] == name and abs(float(row["level"]) - 1) >= at_least]
    if not mine:
        return
    farthest = max(mine, key=lambda row: abs(float(row["level"]) - 1))
    x, level = float(farthest[along]), float(farthest["level"])
    sign, first = (1 if level > 1 else -1), x == min(float(row[along]) for row in rows)
    beside = (sign * (float(row["level"]) - level) for row in rows if row[along] == x and row is not farthest)
    if not any(0 <= distance < at_least for distance in beside):
        axes.annotate(
            f"{level:.2f}", (x, level), (-3 if first else 0, 5 if sign > 0 else -4), textcoords="offset points",
            ha="left" if first else "center", va="bottom" if sign > 0 else "top", fontsize=small_letters(),
            color=look_of(name).color,
        )  # fmt: skip


def _given(runs: object) -> list[Row] | None:
    """The rows, where rows were given."""
    if isinstance(runs, Sequence) and runs and isinstance(runs[0], dict):
        return rows_of("runs", runs, ("statistic", "level", "lower", "upper", "verdict", "tolerance"), "level_rows")
    return None


def _runs(runs: Runs) -> tuple[str, dict[float, xarray.Dataset]]:
    """(the setting in which the runs differ, its value -> run)."""
    if isinstance(runs, xarray.Dataset):
        return _sweep(runs)
    if isinstance(runs, Mapping):
        return BATCH_SIZE, {_plain(value): as_run(f"runs[{value!r}]", runs[value]) for value in sorted(runs)}
    if not isinstance(runs, Iterable) or isinstance(runs, str):
        raise ValueError(f"runs must be Datasets such as {RUN}, got {_validate.shown(runs)}")
    found = {}
    for place, each in enumerate(runs):
        run = as_run(f"runs[{place}]", each)
        found[_batch_size(place, run)] = run
    return BATCH_SIZE, {value: found[value] for value in sorted(found)}


def _measured_rows(found: xarray.Dataset, statistics: Sequence[str] | None) -> list[Row]:
    """The rows of a sweep that measured levels; cells that are not finished have none."""
    name = _own_dimension(found)
    if name is None:
        raise ValueError("runs must have one dimension of its own, got a single cell of a sweep")
    held = [str(each).removeprefix(MEASURED) for each in found if str(each).startswith(MEASURED)]
    names = held if statistics is None else [_validate.choice("statistic", each, tuple(held)) for each in statistics]
    rows: list[Row] = []
    for value in found[name].values:
        cell = found.sel({name: value})
        for statistic in names:
            code = float(cell[f"verdict:{statistic}"])
            if np.isfinite(code):
                parts = {"level": "level", "lower": "level_low", "upper": "level_high", "ess": "ess"}
                row: Row = {name: _plain(value), "statistic": statistic}
                row |= {column: float(cell[f"{part}:{statistic}"]) for column, part in parts.items()}
                row |= {"verdict": VERDICTS[int(code)], "tolerance": TOLERANCE, "n_diverged": int(cell["n_diverged"])}
                rows.append(row)
    return rows


def _own_dimension(runs: xarray.Dataset) -> str | None:
    """What a sweep varies, where it varies one thing; None for a single run."""
    own = [str(name) for name in runs.dims if name not in ("replica", "record") and name in runs.coords]
    if len(own) > 1:
        raise ValueError(f"runs must have one dimension of its own, got {', '.join(own)}: select values of the others")
    return own[0] if own else None


def _sweep(runs: xarray.Dataset) -> tuple[str, dict[float, xarray.Dataset]]:
    name = _own_dimension(runs)
    if name is None:
        run = as_run("runs", runs)
        return BATCH_SIZE, {_batch_size(0, run): run}
    return name, {_plain(value): as_run("runs", runs.sel({name: value})) for value in runs[name].values}


def _batch_size(place: int, run: xarray.Dataset) -> float:
    sizes = np.unique(run["batch_size"].values if "batch_size" in run.variables else run.attrs.get("batch_size", []))
    if len(sizes) != 1:
        words = "no batch size" if not len(sizes) else f"the batch sizes {', '.join(map(str, sizes))}"
        raise ValueError(f"runs[{place}] must name one batch size in its attributes, got {words}: give {{4: run}}")
    return _plain(sizes[0])


def _plain(value: float) -> float:
    return int(value) if float(value) == int(value) else float(value)


def _names(run: xarray.Dataset, statistics: Sequence[str] | None) -> list[str]:
    held = recorded(run)
    if statistics is None:
        return with_an_edge(held)
    return [_validate.choice("statistic", name, tuple(held)) for name in statistics]


def _ordered(names: Iterable[str]) -> list[str]:
    """Once each, in the order of the legend."""
    given = list(dict.fromkeys(names))
    return [name for name in LOOKS if name in given] + [name for name in given if name not in LOOKS]


def _level(run: xarray.Dataset, name: str, after: float, tolerance: float, replicas_agree: bool) -> Level | None:
    window = run[name].isel(
        record=np.flatnonzero(run["step"].values >= after), replica=np.flatnonzero(run["diverged_at"].values < 0)
    )
    if not np.isfinite(window.values).all():
        return None
    return level(run, name, after=after, tolerance=tolerance, replicas_agree=replicas_agree)
