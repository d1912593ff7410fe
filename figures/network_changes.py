"""Networks whose step size or batch size changes mid-run: which statistic jumps, and which comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from esssim.claims.model import Row
from esssim.claims.network_interventions import INTERVENTIONS
from esssim.claims.network_runs import NetworkExperiment
from esssim.plots import GREY, MEAN_SQUARE, Page, statistics_legend

from .network_training import course, draw_course, late

NEEDS = "bridge"
CHANGES = ("raised-step-size", "lowered-batch-size")
TITLES = {
    "raised-step-size": r"$\eta$ raised",
    "lowered-step-size": r"$\eta$ lowered",
    "lowered-batch-size": "$b$: 32 to 8",
}
ALT = (
    "{panels} panels of six statistics times η/2 along training, with a change in the middle: {changes}. Mean-square sharpness "
    "ends at {ends} times the edge."
)
CAPTION = (
    "(η/2)·statistic of a torch network (one hidden layer of tanh units on scikit-learn's digits) before and after a change "
    "at the dotted line: {changes}; mean and range over initialisations. Over the last quarter of the records mean-square "
    "sharpness lies at {ends} times the edge 2/η, mini-batch sharpness at {minibs}."
)


def configure(quick: bool) -> dict[str, Any]:
    runs = {name: INTERVENTIONS[name][1] for name in CHANGES}
    if quick:
        small: dict[str, Any] = {
            "n_samples": 64, "hidden": (8,), "n_steps": 300, "after": 150, "change_at": 100, "n_replicas": 3,
            "n_records": 8,
        }  # fmt: skip
        runs = {
            "lowered-step-size": NetworkExperiment(32, 0.3, eta_factor=1 / 1.5, **small),
            "lowered-batch-size": NetworkExperiment(32, 0.3, later_batch_size=8, **small),
        }
    return {"runs": {name: asdict(run) for name, run in runs.items()}}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for name, options in configuration["runs"].items():
        tell(f"network_changes: {name}")
        run = NetworkExperiment(**options)
        rows += [{"change": name, "change_at": run.change_at} | row for row in course(run)]
    return rows


def _panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each change; one whose runs all diverged has no panel."""
    names = dict.fromkeys(str(row["change"]) for row in rows)
    groups = {name: [row for row in rows if row["change"] == name] for name in names}
    return {name: mine for name, mine in groups.items() if np.isfinite(late(mine, MEAN_SQUARE))}


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    panels = _panels(rows)
    ends, minibs = (
        ", ".join(f"{late(mine, name):.2f}" for mine in panels.values())
        for name in (MEAN_SQUARE, "minibatch_sharpness")
    )
    changes = ", ".join(name.replace("-", " ") for name in panels)
    return {"panels": len(panels), "changes": changes, "ends": ends, "minibs": minibs}


def draw(rows: Sequence[Row], page: Page) -> Figure:
    groups = _panels(rows)
    figure, n_rows, n_columns = page.figure(len(groups), aspect=0.85, narrowest=1.4)
    panels = list(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).flat)
    for axes, (name, mine) in zip(panels, groups.items(), strict=False):
        # The start, at which nothing has settled, would only stretch the axis.
        draw_course(axes, [row for row in mine if int(row["step"]) > 0])
        axes.axvline(float(mine[0]["change_at"]) / 1000, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        axes.set_title(TITLES[name])
        axes.locator_params(axis="x", nbins=3)
    panels[0].set_ylim(0, 1.9)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    figure.supxlabel("step, in thousands", fontsize=page.letters)
    figure.supylabel(r"$(\eta/2)\times$ statistic", fontsize=page.letters)
    statistics_legend(figure)
    return figure
