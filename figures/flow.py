"""Flow: the stochastic central flow against SGD along the ramp; points are measured, lines computed, nothing fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments.flow import FlowExperiment, run_flow, run_sgd
from esssim.experiments.flow_settings import GRID
from esssim.plots import BATCH_MARKERS, BLACK, Page, batch_color, draw_edge, legend_above
from esssim.statistics.table import MEAN_SQUARE

Q, M = MEAN_SQUARE, "minibatch_sharpness"
# What the published table calls them.
IN_TABLE = {Q: "mean_square_sharpness", M: M}
PERCEPTRON = {"n": 30, "d": 5, "width": 20, "seed": 0, "rise": 2.0, "label_noise": 0.03, "n_records": 21}
DEEP = [FlowExperiment("gaussian-20x40", 4, 0.03, depth=depth) for depth in (2, 3, 4)]
QUICK: dict[str, Any] = {"n_steps": 6000, "n_replicas": 3, "n_records": 13, "n_batches": 16}
MOST_POINTS = 11
DEPTHS = {2: (BLACK, "<"), 3: ("#707070", ">"), 4: ("#ABABAB", "h")}
ALT = (
    "{panels} panels of (η/2)·statistic against a rising step size: points of SGD lie on the lines of the flow for "
    "label noise {noises}, batch sizes {sizes}, depths 2 to 4 and a tanh network."
)
CAPTION = (
    "Mean of {replicas} SGD runs with 95 % intervals (points) and the stochastic central flow (lines), while η rises "
    "from 0.8η₀: diagonal networks (n = 40, d = 20; depths: n = 20, d = 40) and a tanh network (n = 30, 140 "
    "parameters; {mlp_replicas} runs), label noise ε drawn at every step (0.03 where none is given){left_out}. "
    "Averaged over the last two thirds of the ramp, SGD over flow is {low:.3f} to {high:.3f} on the diagonal networks "
    "and {mlp_low:.3f} to {mlp_high:.3f} on the tanh network, with nothing fitted."
)


def configure(quick: bool) -> dict[str, Any]:
    grid = [run for run in GRID if not quick or (run.label_noise == 0.03 and run.batch_size in (2, 40))]
    deep = DEEP[:2] if quick else DEEP
    diagonal = [asdict(replace(run, **QUICK) if quick else run) for run in (*grid, *deep)]
    size = {"n_steps": 600, "n_replicas": 2, "batch_sizes": [30]} if quick else {
        "n_steps": 40_000, "n_replicas": 3, "batch_sizes": [4, 30]
    }  # fmt: skip
    return {"diagonal": diagonal, "perceptron": PERCEPTRON | size}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for options in configuration["diagonal"]:
        run = FlowExperiment(**options)
        deep = run.setting == "gaussian-20x40"
        tell(f"flow: {run.setting}, depth {run.depth}, ε = {run.label_noise:g}, b = {run.batch_size}")
        first = run.step_size.start / 0.8
        panel = "depth" if deep else f"ε = {run.label_noise:g}"
        for statistic in (Q, M) if run.label_noise == 0.03 and not deep else (Q,):
            name = panel if statistic == Q else "MiniBS"
            rows += _rows(name, run.batch_size, run.depth, statistic, run_sgd(run), run_flow(run), first)
    return rows + _perceptron(configuration["perceptron"], tell)


def _taught_perceptron(n: int, d: int, width: int, seed: int) -> tuple[es.Perceptron, np.ndarray]:
    """A network taught by three tanh units, and the solution that gradient flow reaches from a random start."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d))
    teacher = rng.standard_normal((3, d)) / np.sqrt(d)
    problem = es.Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), width)
    inner, offset, outer = rng.standard_normal((width, d)), rng.standard_normal(width), rng.standard_normal(width)
    start = np.concatenate((inner.ravel() / np.sqrt(d), 0.1 * offset, outer / np.sqrt(width)))
    return problem, es.gradient_flow(problem, start)


def _perceptron(options: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    problem, theta = _taught_perceptron(*(options[name] for name in ("n", "d", "width", "seed")))
    for b in options["batch_sizes"]:
        tell(f"flow: tanh network, b = {b}")
        sampling = es.WithoutReplacement(b)
        first = 2 / es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")
        run: dict[str, Any] = {
            "step_size": es.Ramp(0.8 * first, options["rise"] * first), "sampling": sampling,
            "n_steps": options["n_steps"], "label_noise": options["label_noise"], "n_records": options["n_records"],
        }  # fmt: skip
        predicted = es.flow.solve(problem, theta, record=(Q,), **run)
        trace = es.simulate(
            problem, theta, record=(Q,), record_steps=predicted["step"].values.tolist(),
            n_replicas=options["n_replicas"], seed=options["seed"], **run,
        )  # fmt: skip
        rows += _rows("tanh network", b, 0, Q, trace, predicted, first)
    return rows


def _rows(
    panel: str, b: int, depth: int, statistic: str, trace: xarray.Dataset, predicted: xarray.Dataset, first: float
) -> list[Row]:
    """Per record (η/2)·statistic of SGD, mean over the runs that did not diverge with its 95 % interval, and flow's."""
    half_step = trace["step_size"].values / 2
    alive = trace["diverged_at"].values < 0
    runs = trace[statistic].values[alive] * half_step
    half = half_width(runs)
    curve = predicted[statistic].values * half_step
    return [
        {"panel": panel, "batch_size": b, "depth": depth, "statistic": IN_TABLE[statistic],
         "relative_step_size": float(2 * half_step[k] / first), "sgd": float(runs[:, k].mean()),
         "half_width": float(half[k]), "flow": float(curve[k]), "n_diverged": int((~alive).sum())}
        for k in range(len(curve))
    ]  # fmt: skip


def _series(rows: Sequence[Row]) -> list[list[Row]]:
    keys = ("panel", "batch_size", "depth", "statistic")
    names = dict.fromkeys(tuple(row[key] for key in keys) for row in rows)
    return [[row for row in rows if tuple(row[key] for key in keys) == name] for name in names]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for series in _series(rows):
        late = series[len(series) // 3 :]
        ratio = np.mean([row["sgd"] for row in late]) / np.mean([row["flow"] for row in late])
        ratios[series[0]["panel"] == "tanh network"].append(float(ratio))
    diagonal, perceptron = configuration["diagonal"], configuration["perceptron"]
    diverged = sum(int(series[0]["n_diverged"]) for series in _series(rows) if series[0]["statistic"] == IN_TABLE[Q])
    return {
        "panels": len({row["panel"] for row in rows}),
        "noises": ", ".join(f"{noise:g}" for noise in sorted({run["label_noise"] for run in diagonal})),
        "sizes": ", ".join(str(b) for b in sorted({row["batch_size"] for row in rows})),
        "replicas": diagonal[0]["n_replicas"],
        "mlp_replicas": perceptron["n_replicas"],
        "left_out": f"; {diverged} diverged runs are left out" if diverged else "",
        "low": min(ratios[False]),
        "high": max(ratios[False]),
        "mlp_low": min(ratios[True]),
        "mlp_high": max(ratios[True]),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    names = sorted(dict.fromkeys(str(row["panel"]) for row in rows), key=lambda name: not name.startswith("ε"))
    figure, n_rows, n_columns = page.figure(len(names), aspect=0.7, narrowest=1.2)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    sizes = sorted({int(row["batch_size"]) for row in rows if row["panel"] != "depth"})
    titles = {"depth": "depth $D$ ($b=4$)"}
    for axes, name in zip(panels, names, strict=False):
        draw_edge(axes)
        axes.set_title(titles.get(name, name.replace("ε = ", r"$\varepsilon=$")))
        for series in _series([row for row in rows if row["panel"] == name]):
            _draw_series(axes, series, sizes)
        axes.margins(y=0.12)
        axes.locator_params(nbins=4)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel(r"step size $\eta\,/\,\eta_0$", fontsize=page.letters)
    figure.supylabel(r"$(\eta/2)\,Q_b$ (MiniBS: $(\eta/2)\,M_b$)", fontsize=page.letters)
    handles = [_handle(batch_color(b, max(sizes)), BATCH_MARKERS[k], f"$b={b}$") for k, b in enumerate(sizes)]
    depths = sorted({int(row["depth"]) for row in rows if row["panel"] == "depth"})
    handles += [_handle(*DEPTHS[depth], f"$D={depth}$") for depth in depths]
    handles.append(Line2D([], [], color=BLACK, linewidth=1, label="flow"))
    handles.append(Line2D([], [], color=BLACK, linestyle="", marker="o", markersize=3, label="SGD, mean (95 %)"))
    legend_above(figure, handles)
    return figure


def _draw_series(axes: Axes, series: Sequence[Row], sizes: list[int]) -> None:
    x, sgd, half, flow = (
        np.array([row[key] for row in series], dtype=float)
        for key in ("relative_step_size", "sgd", "half_width", "flow")
    )
    b, depth = int(series[0]["batch_size"]), int(series[0]["depth"])
    by_depth = series[0]["panel"] == "depth"
    color, marker = DEPTHS[depth] if by_depth else (batch_color(b, max(sizes)), BATCH_MARKERS[sizes.index(b)])
    axes.plot(x, flow, color=color, linewidth=1, zorder=2)
    shown = slice(1, None, -(-len(x) // MOST_POINTS))
    axes.errorbar(
        x[shown], sgd[shown], half[shown], fmt=marker, color=color, markersize=3, elinewidth=0.7, capsize=1.2, zorder=3,
        markeredgecolor="white", markeredgewidth=0.3,
    )  # fmt: skip


def _handle(color: Any, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, markersize=3.5, linewidth=1, label=label)
