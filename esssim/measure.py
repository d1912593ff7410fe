"""A person's own table: sharpness, its mini-batch relatives and the critical step size, for several batch sizes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from esssim import _validate, data, stability, store
from esssim._errors import Undefined
from esssim._progress import spoken
from esssim._validate import FloatArray
from esssim.data.tables import load_table as load_table
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem
from esssim.sampling import WithoutReplacement
from esssim.simulation import gradient_flow
from esssim.statistics import (
    Estimate,
    batch_sharpness,
    interaction_aware_sharpness,
    mean_square_sharpness,
    minibatch_sharpness,
    sharpness,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
MODELS = ("regression", "network", "mlp")
INITIAL_SCALE = 2.0
# Gradient flow decomposes a dense (2d, 2d) Hessian at each step: a minute at this many features.
NETWORK_LIMIT = 1000
MLP_UNITS, MLP_STEPS = 8, 5000
# Below 300 parameters the bridge forms its Hessians, and is exact.
MLP_PARAMS = 295
CSV_HEADER = ("batch_size", "n_batches", "exact", "sharpness", "minibatch_sharpness", "minibatch_sharpness_lower",
              "minibatch_sharpness_upper", "gap", "gap_lower", "gap_upper", "batch_sharpness", "batch_sharpness_lower",
              "batch_sharpness_upper", "interaction_aware_sharpness", "mean_square_sharpness",
              "critical_step_size")  # fmt: skip


@dataclass(frozen=True)
class BatchSizeRow:
    """The statistics at one batch size b, batches drawn without replacement.

    sharpness λ_max(H); minibatch_sharpness M_b; gap M_b − λ_max(H); batch_sharpness and interaction_aware_sharpness,
    None where the gradients vanish and they are 0/0; mean_square_sharpness Q_b; critical_step_size 2/Q_b.
    """

    batch_size: int
    sharpness: float
    minibatch_sharpness: Estimate
    gap: Estimate
    batch_sharpness: Estimate | None
    interaction_aware_sharpness: float | None
    mean_square_sharpness: float
    critical_step_size: float

    def as_dict(self) -> dict[str, object]:
        """For JSON: estimates with their 95 % interval, infinite numbers as null."""
        return {
            "batch_size": self.batch_size,
            "sharpness": _finite(self.sharpness),
            "minibatch_sharpness": _estimate_dict(self.minibatch_sharpness),
            "gap": _estimate_dict(self.gap),
            "batch_sharpness": _estimate_dict(self.batch_sharpness),
            "interaction_aware_sharpness": _finite(self.interaction_aware_sharpness),
            "mean_square_sharpness": _finite(self.mean_square_sharpness),
            "critical_step_size": _finite(self.critical_step_size),
        }


@dataclass(frozen=True)
class TableMeasurement:
    """What was measured on a table: its size, the model and theta in words, a row per batch size, footnotes."""

    table: str
    n_samples: int
    n_features: int
    model: str
    theta: str
    standardized: bool
    rows: tuple[BatchSizeRow, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("rows", "notes")}
        return {**plain, "rows": [row.as_dict() for row in self.rows], "notes": list(self.notes)}

    def as_csv(self) -> str:
        """One line per batch size; empty cells where a statistic is undefined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        for row in self.rows:
            mini = row.minibatch_sharpness
            cells: list[object] = [row.batch_size, mini.n_batches, mini.exact, row.sharpness]
            for estimate in (mini, row.gap, row.batch_sharpness):
                cells += ["", "", ""] if estimate is None else [estimate.value, *estimate.interval]
            ias = row.interaction_aware_sharpness
            writer.writerow([*cells, "" if ias is None else ias, row.mean_square_sharpness, row.critical_step_size])
        return text.getvalue()


def measure_table(
    table: data.Data,
    *,
    batch_sizes: Sequence[int] | None = None,
    model: str = "regression",
    n_batches: int = 2000,
    seed: int = 0,
    standardized: bool = True,
    progress: Callable[[str], None] | bool | None = None,
) -> TableMeasurement:
    """All statistics of a model of a table for each batch size (default 1, 2, 4, 8, 16, 32 and n, where ≤ n).

    model: "regression", ℓᵢ = ½(xᵢᵀθ − yᵢ)² at θ = 0 (its Hessian is the same everywhere); or "network", the diagonal
    linear network β = u∘v at the solution that gradient flow reaches from u = α·1, v = 0 on the targets' own
    least-squares fit, α = 2·max(1, √max|β*|): the start of the step-size ramp of the claims, whatever the units; or "mlp",
    a torch network of one hidden layer of tanh units (extra: esssim[bridge]) after 5000 steps of full-batch descent.
    n_batches are drawn from `seed` at each batch size; where no more exist, all are enumerated and the numbers exact.
    standardized is only reported. progress: a function that is told what is being done, or True for a line on a
    terminal. Raises ValueError.
    """
    _validate.instance("table", table, data.Data, "data.load returns")
    n = table.n_samples
    _validate.choice("model", model, MODELS)
    n_batches = _validate.integer("batches", n_batches, 2)
    seed = _validate.integer("seed", seed, 0)
    chosen = sorted({*(b for b in BATCH_SIZES if b <= n), n}) if batch_sizes is None else batch_sizes
    if not isinstance(chosen, Sequence | np.ndarray) or len(chosen) == 0:
        raise ValueError(f"batch_sizes must be a sequence of at least one integer, got {_validate.shown(chosen)}")
    sizes = sorted({_validate.integer("batch_size", b, 1, n, "n_samples") for b in chosen})
    notes = list(table.notes) + [
        f"Every {name} is the same in all {n} samples: there is nothing to learn from it."
        for name, values in (("target", table.targets), ("input", table.inputs))
        if (values == values[0]).all()
    ]
    if model == "network" and table.n_features > NETWORK_LIMIT:
        raise ValueError(f"model 'network' is for at most {NETWORK_LIMIT} features, got {table.n_features}")
    with spoken(progress) as tell:
        if model == "network":
            tell("gradient flow to an interpolating solution")
        problem, theta, where = _prepare(table, model)
        if model == "network":
            notes.append(
                "Batch sharpness and IAS are ratios of gradients; at an exact interpolant every gradient is zero and they "
                "are 0/0 (—)."
            )
        rows = []
        for b in sizes:
            tell(f"batch size {b}")
            rows.append(_row(problem, theta, b, n_batches, seed, notes))
    return TableMeasurement(
        table.name, n, table.n_features, model, where, standardized, tuple(rows), tuple(dict.fromkeys(notes))
    )


def write_measurement(folder: Path, measured: TableMeasurement, environment: dict[str, object]) -> list[Path]:
    """Write measure.json, measure.csv and the picture as measure.png and measure.svg; the paths written."""
    from esssim import plots
    from esssim.plots.files import rendered

    with plots.style():
        pictures = rendered(picture(measured))
    text = json.dumps({**measured.as_dict(), "environment": environment}, indent=2, ensure_ascii=False, allow_nan=False)
    store.write_text(folder / "measure.json", text + "\n")
    store.write_text(folder / "measure.csv", measured.as_csv())
    for suffix, content in pictures.items():
        with store.whole_file(folder / f"measure.{suffix}") as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in ("measure.json", "measure.csv", *(f"measure.{suffix}" for suffix in pictures))]


def picture(measured: TableMeasurement) -> Figure:
    """Each statistic against the batch size with its 95 % interval. Call within `plots.style`."""
    from matplotlib.figure import Figure

    from esssim import plots

    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    _draw(axes, measured.rows)
    # A dollar in the name of a file begins no formula.
    title = f"{measured.table}: {measured.model}".replace("$", r"\$")
    axes.set(ylabel="sharpness", title=title)
    plots.batch_axis(axes, [row.batch_size for row in measured.rows], measured.n_samples)
    axes.legend()
    return figure


def _draw(axes: Axes, rows: Sequence[BatchSizeRow]) -> None:
    from esssim.plots import LOOKS, MEAN_SQUARE

    sizes = [row.batch_size for row in rows]
    series: dict[str, list[Estimate | float | None]] = {
        MEAN_SQUARE: [row.mean_square_sharpness for row in rows],
        "minibatch_sharpness": [row.minibatch_sharpness for row in rows],
        "batch_sharpness": [row.batch_sharpness for row in rows],
        "interaction_aware_sharpness": [row.interaction_aware_sharpness for row in rows],
        "sharpness": [row.sharpness for row in rows],
    }
    for name, values in series.items():
        known = [(b, value) for b, value in zip(sizes, values, strict=True) if value is not None]
        half = [e.half_width() if isinstance(e, Estimate) else 0.0 for _, e in known]
        look = LOOKS[name]
        if known:
            axes.errorbar(
                [b for b, _ in known], [float(value) for _, value in known], half, label=look.label, color=look.color,
                marker=look.marker, markersize=look.size, linestyle=look.line, linewidth=look.width, capsize=1.5,
            )  # fmt: skip
    # Statistics of one table easily differ by factors of a hundred.
    if all(float(value) > 0 for values in series.values() for value in values if value is not None):
        from matplotlib.ticker import LogFormatter

        axes.set_yscale("log")
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def _prepare(table: data.Data, model: str) -> tuple[Problem, FloatArray, str]:
    """(problem, theta, theta in words)."""
    if model == "mlp":
        return _trained_perceptron(table)
    if model == "regression":
        regression = LinearRegression(table.inputs, table.targets)
        return regression, np.zeros(regression.n_params), "θ = 0 (matters for batch sharpness and IAS only)"
    fit = data.interpolating_targets(table.inputs, table.targets)
    network = DiagonalLinearNetwork(table.inputs, fit)
    weights = np.linalg.lstsq(table.inputs, fit, rcond=None)[0]
    alpha = INITIAL_SCALE * max(1.0, math.sqrt(float(np.abs(weights).max())))
    d = table.n_features
    theta = gradient_flow(network, np.concatenate([np.full(d, alpha), np.zeros(d)]))
    words = f"the solution that gradient flow reaches from u = {alpha:.3g}, v = 0 on the targets' least-squares fit"
    return network, theta, words


def _trained_perceptron(table: data.Data) -> tuple[Problem, FloatArray, str]:
    try:
        from esssim import bridge
    except ModuleNotFoundError as error:
        raise ValueError(f"model 'mlp' needs an extra: {error}") from error
    width = max(2, min(MLP_UNITS, MLP_PARAMS // (table.n_features + 2)))
    values = bridge.data.from_table(table)
    module = bridge.mlp(table.n_features, (width,), 1, seed=0)
    problem = bridge.TorchProblem(module, values.inputs, values.targets)
    eta = 0.5 / sharpness(problem, problem.theta0)
    run = bridge.train(
        problem, problem.theta0, step_size=eta, sampling=WithoutReplacement(table.n_samples), n_steps=MLP_STEPS,
        momentum=0.9, record=("loss", "theta"), n_records=1, seed=0,
    )  # fmt: skip
    if int(run["diverged_at"][0]) >= 0:
        raise RuntimeError(f"training of the network diverged at step {int(run['diverged_at'][0])}")
    words = f"what {MLP_STEPS:,} steps of full-batch heavy ball make of {width} tanh units (loss {float(run['loss'][0, 0]):.3g})"
    return problem, run["theta"].values[0, 0], words


def _row(problem: Problem, theta: FloatArray, b: int, n_batches: int, seed: int, notes: list[str]) -> BatchSizeRow:
    sampling = WithoutReplacement(b)
    drawn = None if sampling.count(problem.n_samples) <= n_batches else n_batches
    # A stream for each batch size: its numbers do not depend on which others were asked for.
    stream = np.random.SeedSequence([seed, b])
    full = sharpness(problem, theta)
    mini = minibatch_sharpness(problem, theta, sampling, n_batches=drawn, seed=stream)
    # One batch of everything: the two are the same number, computed in two ways.
    gap = mini - (mini if b == problem.n_samples else full)
    batch, ias = None, None
    network = isinstance(problem, DiagonalLinearNetwork)
    if not network:
        try:
            ias = interaction_aware_sharpness(problem, theta, sampling)
            batch = batch_sharpness(problem, theta, sampling, n_batches=drawn, seed=stream)
        except Undefined as undefined:  # 0/0: a target of exactly 0 has no gradient at θ = 0
            notes.append(f"b = {b}: {undefined} (—).")
    # At an interpolant both Hessians are the same; only the Gauss–Newton one is positive semidefinite to the last bit.
    mean_square = mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")
    critical = stability.critical_step_size(problem, theta, sampling, hessian="gauss_newton")
    return BatchSizeRow(b, full, mini, gap, batch, ias, mean_square, critical)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _estimate_dict(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None:
        return None
    return {
        "value": _finite(estimate.value),
        "interval": [_finite(end) for end in estimate.interval],
        "standard_error": _finite(estimate.standard_error),
        "n_batches": estimate.n_batches,
        "exact": estimate.exact,
    }
