"""What `esssim run` shows and writes: progress, a table of levels, the Dataset, a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from esssim import plots, store
from esssim._environment import environment
from esssim.experiments import Configuration
from esssim.plots.files import rendered
from esssim.report.run_page import extent, render_run
from esssim.report.terminal import output
from esssim.report.words import number
from esssim.settling import Level

# What a run gives beside levels (`Configuration.results`).
Results = Mapping[str, tuple[float, float, float]]
STYLES = {"settles": "green", "below": "cyan", "above": "cyan", "inconclusive": "yellow"}


def level_table(levels: dict[str, Level | str]) -> Table:
    """A row per recorded statistic: where (η/2)·statistic settles."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("statistic", overflow="fold")
    for heading in ("level", "95 % interval", "ess"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name, level in levels.items():
        if isinstance(level, str):
            table.add_row(name, "—", "—", "—", Text("undefined", style="yellow"))
            continue
        interval = f"{number(level.interval[0])}–{number(level.interval[1])}"
        words = "no verdict" if level.verdict == "inconclusive" else level.verdict
        verdict = Text(words, style=STYLES[level.verdict])
        table.add_row(name, number(level.value), interval, f"{level.ess:.0f}", verdict)
    return table


def show_run(
    experiment: Configuration, trace: xarray.Dataset, levels: dict[str, Level | str], results: Results
) -> None:
    """The table of levels, and what of the run is left out."""
    console = output()
    diverged = int((trace["diverged_at"].values >= 0).sum())
    steps, eta = extent(trace)
    lost = f", {diverged} of them diverged" if diverged else ""
    replicas = trace.sizes["replica"]
    runs = "1 replica" if replicas == 1 else f"{replicas} replicas"
    console.print(Text(f"{steps:,} steps, {runs}{lost}; {eta}"), soft_wrap=True)
    for name, (value, lower, upper) in results.items():
        interval = f" (95 %: {number(lower)}–{number(upper)})" if lower < upper else ""
        console.print(Text(f"{name}: {number(value)}{interval}"), soft_wrap=True)
    if levels:
        console.print(level_table(levels))
        for name, level in levels.items():
            if isinstance(level, str):
                console.print(Text(f"{name}: {level}"), soft_wrap=True)
            elif level.verdict == "inconclusive":
                console.print(Text(f"{name}: no verdict, {level.reason}"), soft_wrap=True)
        console.print(
            Text(
                f"level: mean of (η/2)·statistic from step {math.ceil(experiment.after):,} on; 1 is the edge 2/η; ess: "
                "effective samples"
            ),
            soft_wrap=True,
        )


def as_dict(
    experiment: Configuration, levels: dict[str, Level | str], results: Results, files: list[Path], seed: int
) -> dict[str, object]:
    """For JSON: the configuration, its fingerprint, the levels, the files, and where it was run."""
    return {
        "experiment": experiment.plain(),
        "fingerprint": experiment.fingerprint,
        "after": experiment.after,
        "levels": {name: _level_dict(level) for name, level in levels.items()},
        "results": {name: {"value": value, "interval": ends} for name, (value, *ends) in results.items()},
        "files": [str(path) for path in files],
        "environment": environment(seed),
    }


def _level_dict(level: Level | str) -> dict[str, Any]:
    if isinstance(level, str):
        return {"verdict": "undefined", "reason": level}
    plain = {name: _finite(value) for name, value in vars(level).items() if name != "interval"}
    return plain | {"interval": [_finite(end) for end in level.interval]}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_run(
    folder: Path,
    name: str,
    trace: xarray.Dataset,
    levels: dict[str, Level | str],
    results: Results,
    experiment: Configuration,
    command: str,
) -> list[Path]:
    """Write NAME.nc, NAME.html, NAME.png and NAME.svg, each whole; the paths. command: what gives the run again."""
    after, toml = experiment.after, experiment.to_toml()
    paths = [folder / f"{name}.nc", folder / f"{name}.html"]
    # What `esssim report` needs to make the page again.
    trace = trace.assign_attrs(experiment=toml, after=after, replicas_agree=int(experiment.replicas_agree))
    if results:
        trace.attrs["results"] = json.dumps(results)
    store.save(trace, paths[0])
    where = environment(int(trace.attrs["seed"]))
    store.write_text(paths[1], render_run(name, trace, levels, after, where, command, toml))
    with plots.style():
        pictures = rendered(plots.trajectory_figure(trace, list(levels) or None, after))
    for suffix, content in pictures.items():
        paths.append(folder / f"{name}.{suffix}")
        with store.whole_file(paths[-1]) as temporary:
            temporary.write_bytes(content)
    return paths
