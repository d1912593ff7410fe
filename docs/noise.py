"""Noise without mini-batches, predicted and run: python docs/noise.py writes docs/noise.json and docs/noise.md.

`--predict` writes the predictions alone, before any run; without arguments the runs that are missing are made, one row
after the other, so that a run that is interrupted goes on where it was; `--check` only compares the page with the numbers.
"""

from __future__ import annotations

import datetime
import json
import math
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np

from esssim import flow, store
from esssim.claims.gap_tables import as_json
from esssim.experiments import RampExperiment
from esssim.experiments.sections import Scheme
from esssim.report.pages import keep_stored_page
from esssim.statistics.table import MEAN_SQUARE

NUMBERS = Path(__file__).with_suffix(".json")
N_STEPS, N_REPLICAS, N_BATCHES = 200_000, 6, 16
SETTINGS = (
    ("gaussian-100x50", 8, 1e-3), ("gaussian-100x50", 2, 1e-1), ("gaussian-50x100", 4, 1e-1),
    ("gaussian-100x50", 2, 3e-2), ("gaussian-50x100", 4, 3e-2), ("gaussian-100x50", 2, 1e-3),
    ("gaussian-50x100", 4, 1e-3),
)  # fmt: skip
SCHEMES = ("without_replacement", "gaussian_weights", "two_point_weights", "full_or_single")
NAMES = {
    "without_replacement": "mini-batches", "gaussian_weights": "Gaussian", "two_point_weights": "two-point",
    "full_or_single": "full or single", "three_point_weights": "three-point",
}  # fmt: skip
# From tame to wild: E z⁴ of three-point weights, away from the wall and at it.
KURTOSES = (1.0, 3.0, 10.0, 30.0, 100.0)
FAMILY = (("gaussian-100x50", 2, 1e-1), ("gaussian-100x50", 2, 3e-2))
LEVELS = {"mean_square": MEAN_SQUARE, "minibs": "minibatch_sharpness"}

HEAD = """# Noise without mini-batches

Made by `python docs/noise.py`. A step of SGD is θ − ηΣᵢwᵢ∇ℓᵢ, with step size η and the loss ℓᵢ of sample i. The weight
wᵢ is 1/b for the b samples of a batch and 0 for all others. Of the weights w only the mean and the covariance enter the
mean-square sharpness Q_b and the stochastic central flow. So SGD with mini-batches is compared here with random weights of the
same mean and covariance: Gaussian (`es.GaussianWeights`), two values (`es.TwoPointWeights`), and a full-batch step or a
single sample (`es.FullOrSingle`; Mulayoff & Michaeli, arXiv 2306.07850).

In each run the step size rises slowly, with label noise ε ({replicas} replicas, {steps:,} steps). The edge at the start of a run
is its first edge. A level is the mean of (η/2)·statistic over the steps with η above 1.15 first edges, with the half-width of
its 95 % interval. MiniBS is the mean of λ_max(Σᵢwᵢ∇²ℓᵢ) for the weights of that run.

* *Flow* is the level of Q_b on the stochastic central flow. It is the same for all weights of the same covariance.
* *Predicted* multiplies the flow by 1 plus the smaller of `burst_correction` and `almost_sure_excess` ([the flow](flow.md)).
  Both depend on the distribution of the weights.
* *Tail* is the median of `tail_index` on the flow, the exponent of the power law of large residuals.
* †: this many replicas diverged and are left out.

Gaussian noise that has the trace or the diagonal of SGD's gradient covariance, and not the whole of it, has another edge:
[the baselines](noise_baselines.md). What the predictions miss at the weakest label noise: [open problems](open_problems.md).

All predictions were written on {day}, before the runs. How many of them came true:
"""
TABLE = """## The same second moments, other tails
"""
FAMILY_HEAD = """## From tame to wild

Three-point weights: z = ±√m₄ with probability 1/(2m₄) each, otherwise 0, so that E z⁴ = m₄.
"""


def rows_to_run() -> list[dict[str, Any]]:
    """Every run, by what decides it."""
    assert set(SCHEMES) <= set(get_args(Scheme))
    plain = [(*setting, scheme, None) for setting in SETTINGS for scheme in SCHEMES]
    family = [(*setting, "three_point_weights", m4) for setting in FAMILY for m4 in KURTOSES]
    keys = ("setting", "batch_size", "label_noise", "scheme", "kurtosis")
    return [dict(zip(keys, values, strict=True)) for values in plain + family]


def experiment(row: dict[str, Any]) -> RampExperiment:
    return RampExperiment(
        **{key: row[key] for key in ("setting", "batch_size", "label_noise", "scheme", "kurtosis")},
        n_steps=N_STEPS, n_replicas=N_REPLICAS, n_batches=N_BATCHES,
    )  # fmt: skip


def predicted(row: dict[str, Any]) -> dict[str, Any]:
    """Where Q_b is on the flow, and where a typical run is above it, by the law of the weights alone."""
    run = experiment(row)
    trace = flow.solve(
        run.problem, run.theta0, step_size=run.step_size, sampling=run.sampling, n_steps=run.n_steps,
        label_noise=run.label_noise, n_records=25,
        record=(MEAN_SQUARE, "burst_correction", "tail_index", "almost_sure_excess"),
    )  # fmt: skip
    window = trace.isel(record=np.flatnonzero(trace["step"].values >= run.after))
    level = (window["step_size"] / 2 * window[MEAN_SQUARE]).values
    excess = np.minimum(window["burst_correction"].values, window["almost_sure_excess"].values)
    return {
        "flow": float(level.mean()),
        "predicted": float((level * (1 + excess)).mean()),
        "tail_index": float(np.median(window["tail_index"].values)),
        "limited": float((window["burst_correction"].values > window["almost_sure_excess"].values).mean()),
    }


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """Levels of Q_b and of the weights' own MiniBS, with half-widths of their intervals; None where there is none."""
    run = experiment(row)
    trace = run.run()
    found: dict[str, Any] = {}
    for name, statistic in LEVELS.items():
        level = run.levels(trace)[statistic]
        if isinstance(level, str):
            raise RuntimeError(f"{row}: {level}")
        known = math.isfinite(level.value)
        found |= {
            name: level.value if known else None,
            f"{name}_half_width": (level.interval[1] - level.interval[0]) / 2 if known else None,
            "n_diverged": level.n_diverged,
            f"{name}_ess": level.ess,
        }
    return found


def stated() -> dict[str, Any]:
    """The rows with what is known of them so far."""
    kept: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.is_file() else {"rows": []}
    known = {_key(row): row for row in kept["rows"]}
    return {"rows": [known.get(_key(row), row) for row in rows_to_run()]}


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row[key] for key in ("setting", "batch_size", "label_noise", "scheme", "kurtosis")])


def predict(numbers: Path) -> None:
    """Predictions of every row, with the day on which they were written."""
    content = stated()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for row in content["rows"]:
        if "mean_square" in row:
            raise ValueError("a prediction is written before the run, and this row has one")
        row |= predicted(row) | {"predicted_on": today}
        print(row, flush=True)
    store.write_text(numbers, as_json(content))


def measure(numbers: Path) -> None:
    content = stated()
    for row in content["rows"]:
        if "predicted" not in row:
            raise ValueError("a run needs its prediction first: python docs/noise.py --predict")
        if "n_diverged" not in row:
            row |= measured(row)
            print(row, flush=True)
            store.write_text(numbers, as_json(content))


def markdown(content: dict[str, Any]) -> str:
    """The whole page."""
    rows = content["rows"]
    parts = [HEAD.format(replicas=N_REPLICAS, steps=N_STEPS, day=rows[0]["predicted_on"])]
    plain = [row for row in rows if row["kurtosis"] is None]
    parts += [_summary(rows)]
    parts += [TABLE, _table(plain, lambda row: NAMES[row["scheme"]], "weights")]
    parts += [FAMILY_HEAD, _table(rows[len(plain) :], lambda row: f"{row['kurtosis']:g}", "m₄")]
    return "\n".join(parts)


def _summary(rows: list[dict[str, Any]]) -> str:
    """In how many ramps the prediction lies in the interval of the level, by the label noise."""
    lines = ["| ε | ramps | predicted level inside the interval | flow inside the interval |", "|---:|---:|---:|---:|"]
    for noise in sorted({row["label_noise"] for row in rows}, reverse=True):
        some = [row for row in rows if row["label_noise"] == noise and row.get("mean_square") is not None]
        inside = [
            sum(abs(row[key] - row["mean_square"]) <= row["mean_square_half_width"] for row in some)
            for key in ("predicted", "flow")
        ]
        lines.append(f"| {noise:g} | {len(some)} | {inside[0]} | {inside[1]} |")
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]], name: Any, heading: str) -> str:
    lines = [
        f"| setting | b | ε | {heading} | Q_b | MiniBS | flow | predicted | tail |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        levels = [_level(row, key) for key in LEVELS]
        numbers = [f"{row['flow']:.3f}", f"{row['predicted']:.3f}", f"{row['tail_index']:.2f}"]
        start = [row["setting"], str(row["batch_size"]), f"{row['label_noise']:g}", name(row)]
        lines.append("| " + " | ".join(start + levels + numbers) + " |")
    return "\n".join(lines) + "\n"


def _level(row: dict[str, Any], key: str) -> str:
    if "n_diverged" not in row:
        return "not run"
    left_out = f" †{row['n_diverged']}" if row["n_diverged"] else ""
    if row[key] is None:
        return f"none{left_out}"
    return f"{row[key]:.3f} ± {row[f'{key}_half_width']:.3f}{left_out}"


def main() -> int:
    return keep_stored_page(__file__, markdown, measure, predict)


if __name__ == "__main__":
    sys.exit(main())
