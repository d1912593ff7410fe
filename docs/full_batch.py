"""Four flows of full-batch gradient descent against it: python docs/full_batch.py writes full_batch.json and .md.

`--predict` writes the predictions alone, before any run; without arguments the runs that are missing are made;
`--check` only compares the page with the numbers.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import esssim as es
from esssim import store
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.flow import central_flow, edge_flow, rod_flow
from esssim.problems import NonlinearLeastSquares
from esssim.report.pages import keep_stored_page

NUMBERS = Path(__file__).with_suffix(".json")
N_RECORDS = 61
LABEL_NOISE = {"ours, ε = 0.01": 0.01, "ours, ε = 0.001": 0.001}
RIVALS = {"central flow": central_flow, "Edge Flow": edge_flow, "Rod Flow": rod_flow}
FLOWS = (*RIVALS, *LABEL_NOISE)
# (η/2)·sharpness after it first reached the edge: the least and most of its mean, and of max − 1 over that of descent.
PREDICTIONS: dict[str, dict[str, list[float]]] = {
    "central flow": {"level": [0.98, 1.005], "overshoot": [-0.01, 0.01]},
    "Edge Flow": {"level": [0.98, 1.02], "overshoot": [0.5, 2.0]},
    "Rod Flow": {"level": [0.98, 1.02], "overshoot": [0.5, 2.0]},
    "ours, ε = 0.01": {"level": [0.93, 1.03], "overshoot": [-0.1, 0.1]},
    "ours, ε = 0.001": {"level": [0.95, 1.03], "overshoot": [-0.1, 0.1]},
}

HEAD = """# Full batches: four flows at the edge

Made by `python docs/full_batch.py`. Gradient descent with all samples, from an initialisation, without label noise, next to flows that describe it
without its oscillation: the central flow of Cohen, Damian et al. (ICLR 2025), Edge Flow (Marion, arXiv 2606.18080), Rod Flow (Regis & Chewi,
arXiv 2602.01480), and ours with b = n and `follow="mean"`. Ours has no wall without noise: it is gradient flow there. With a little label noise ε
its wall is that of the central flow, but for the Hessian, of which it knows the Gauss–Newton part alone
(`tests/test_flow_rivals.py`). Edge Flow and Rod Flow are written from the descriptions of their authors, not from their code.

* *level*: mean of (η/2)·λ_max(∇²L) after descent first reached 1; *overshoot*: its maximum − 1. Descent is taken half-way between
  two iterates, which is what all flows describe;
* *sharpness*, *loss*: the root mean square of the difference in (η/2)·λ_max, and in log₁₀ L, over all records;
* *evaluations*: of the gradient, a Hessian product counts two; for ours of its own right-hand side, which costs more. *Seconds* of one core.

The diagonal networks have inputs of a power-law spectrum, targets that they can fit, and start from equal parameters. The predictions were
written on {day}, before these flows were run; descent itself, and one trial of a tanh network below the edge, had been seen.
**Bold** is outside of its prediction.
"""
TAIL = """
{within} of {all} predictions hold (levels: {levels}; overshoots, those of Edge Flow and Rod Flow between half and twice that of descent and those
of the others at most {small:g}: {overshoots}).

All flows describe the same mean course: they differ from descent by the swings of its sharpness, which central flow and ours leave out by
construction, and by little from each other. The overshoot of Edge Flow and Rod Flow is set by the size below which their oscillation does
not fall, here 10⁻⁶ of ‖θ₀‖: it grows like the root of its logarithm (`tests/test_flow_rivals.py`), and nothing in their equations says how
large that is. Ours can end at its wall where a strong push meets weak noise.
"""


class Setting(NamedTuple):
    problem: NonlinearLeastSquares
    theta0: FloatArray
    step_size: float
    n_steps: int


def tanh(height: float, n_steps: int) -> Setting:
    """±1 targets, 60 samples, 20 units, p = 140; η = height·2/λ_max at the start."""
    rng = np.random.default_rng(0)
    problem = es.Perceptron(rng.standard_normal((60, 5)), np.sign(rng.standard_normal(60)), 20)
    theta = problem.random_start(seed=1)
    return Setting(problem, theta, height * 2 / sharpness(problem, theta), n_steps)


def diagonal(depth: int, n: int, d: int, start: float, height: float, n_steps: int) -> Setting:
    """Difference form from w₊ = w₋ = start, inputs of power-law spectrum; η = height·2/λ_max where gradient flow ends."""
    table = es.data.power_law(n, d, seed=1)
    targets = es.data.interpolating_targets(table.inputs, table.targets)
    problem = es.DiagonalLinearNetwork(table.inputs, targets, form="difference", depth=depth)
    theta = np.full(2 * d, start)
    end = sharpness(problem, es.gradient_flow(problem, theta))
    return Setting(problem, theta, height * 2 / end, n_steps)


SETTINGS: dict[str, Callable[[], Setting]] = {
    "tanh 5–20–1, n = 60, η = 0.4·2/λ₀": lambda: tanh(0.4, 900),
    "tanh 5–20–1, n = 60, η = 0.6·2/λ₀": lambda: tanh(0.6, 600),
    "diagonal, depth 2, n = 40, d = 20": lambda: diagonal(2, 40, 20, 0.3, 1.1, 600),
    "diagonal, depth 3, n = 40, d = 20": lambda: diagonal(3, 40, 20, 0.5, 1.2, 600),
}


def sharpness(problem: NonlinearLeastSquares, theta: FloatArray) -> float:
    """λ_max of the full Hessian, by Lanczos on exact products."""
    everyone = np.arange(problem.n_samples)
    jacobians, residuals = problem.sample_jacobians(theta, everyone), problem.residuals(theta, everyone)

    def product(vector: FloatArray) -> FloatArray:
        bends = problem.model_hessian_products(theta, everyone, np.tile(vector.ravel(), (len(everyone), 1)))
        return np.asarray((jacobians.T @ (jacobians @ vector.ravel()) + residuals @ bends) / len(everyone))

    operator = LinearOperator((len(theta),) * 2, matvec=product, dtype=np.float64)
    start = np.random.default_rng(1).standard_normal(len(theta))
    return float(eigsh(operator, k=1, which="LA", tol=1e-8, v0=start, return_eigenvectors=False)[0])


def descent(setting: Setting, steps: FloatArray) -> FloatArray:
    """Half-way between the iterates of gradient descent at `steps` and the next, (m, p)."""
    problem, theta, eta, _ = setting
    found, wanted = [], set(steps.tolist())
    for step in range(int(steps[-1]) + 1):
        after = theta - eta * problem.gradient(theta)
        if step in wanted:
            found.append((theta + after) / 2)
        theta = after
    return np.array(found)


def course(setting: Setting, thetas: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(η/2)λ_max and log₁₀ L along a course; NaN from its end on."""
    edges, losses = np.full((2, len(thetas)), np.nan)
    for k in np.flatnonzero(np.isfinite(thetas).all(axis=1)):
        edges[k] = setting.step_size / 2 * sharpness(setting.problem, thetas[k])
        losses[k] = np.log10(float(setting.problem.loss(thetas[k])))
    return edges, losses


def measured(name: str) -> dict[str, Any]:
    """Descent and every flow in one setting."""
    setting = SETTINGS[name]()
    steps = np.unique(np.linspace(0, setting.n_steps, N_RECORDS).round())
    began = time.process_time()
    edges, losses = course(setting, descent(setting, steps))
    first = int(np.argmax(edges >= 1.0))
    found: dict[str, Any] = {
        "descent": {
            "level": float(edges[first:].mean()), "overshoot": float(edges.max() - 1),
            "evaluations": setting.n_steps, "seconds": time.process_time() - began,
        },
    }  # fmt: skip
    shared: dict[str, Any] = {
        "step_size": setting.step_size, "n_steps": setting.n_steps, "n_records": N_RECORDS
    }  # fmt: skip
    for flow in FLOWS:
        began = time.process_time()
        if flow in RIVALS:
            run = RIVALS[flow](setting.problem, setting.theta0, **shared)
        else:
            run = es.flow.solve(
                setting.problem, setting.theta0, **shared, sampling=es.WithoutReplacement(setting.problem.n_samples),
                label_noise=LABEL_NOISE[flow], follow="mean", record=("sharpness",),
            )  # fmt: skip
        seconds = time.process_time() - began
        evaluations = int(run["n_gradients"] if flow in RIVALS else run["n_evaluations"])
        here, loss = course(setting, run["theta"].values)
        found[flow] = {
            "ended": None if np.isfinite(here).all() else float(steps[np.isnan(here).argmax()]),
            "level": float(np.nanmean(here[first:])), "overshoot": float(np.nanmax(here) - 1),
            "sharpness": float(np.sqrt(np.nanmean((here - edges) ** 2))),
            "loss": float(np.sqrt(np.nanmean((loss - losses) ** 2))),
            "evaluations": evaluations, "seconds": seconds,
        }  # fmt: skip
        print(name, flow, found[flow], flush=True)
    return found


def stated() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.is_file() else {}
    return kept or {"predicted_on": None, "predictions": {}, "runs": {}}


def predict(numbers: Path) -> None:
    content = stated()
    if content["runs"]:
        raise ValueError("a prediction is written before the run, and there are runs")
    content |= {"predicted_on": datetime.datetime.now(datetime.UTC).date().isoformat(), "predictions": PREDICTIONS}
    store.write_text(numbers, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def measure(numbers: Path) -> None:
    content = stated()
    if not content["predictions"]:
        raise ValueError("a run needs its prediction first: python docs/full_batch.py --predict")
    for name in SETTINGS:
        if name not in content["runs"]:
            with one_blas_thread():
                content["runs"][name] = measured(name)
            store.write_text(numbers, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def holds(predicted: dict[str, list[float]], flow: str, row: dict[str, float], of_descent: float) -> tuple[bool, bool]:
    """Whether level and overshoot are as predicted."""
    seen = row["overshoot"] / of_descent if flow in ("Edge Flow", "Rod Flow") else row["overshoot"]
    (least, most), (fewest, largest) = predicted["level"], predicted["overshoot"]
    return least <= row["level"] <= most, fewest <= seen <= largest


def markdown(content: dict[str, Any]) -> str:
    """The whole page."""
    lines, levels, overshoots = [HEAD.format(day=content["predicted_on"])], [], []
    for name, rows in content["runs"].items():
        lines += [f"## {name}\n", "| flow | level | overshoot | sharpness | loss | evaluations | seconds |"]
        lines.append("|---|---:|---:|---:|---:|---:|---:|")
        for flow, row in rows.items():
            level, overshoot, apart = f"{row['level']:.3f}", f"{row['overshoot']:.3f}", "– | –"
            if flow != "descent":
                right = holds(content["predictions"][flow], flow, row, rows["descent"]["overshoot"])
                if row.get("ended") is not None:
                    flow, right = f"{flow}, which ends before step {row['ended']:g}", (False, False)
                levels.append(right[0])
                overshoots.append(right[1])
                level, overshoot = (
                    text if good else f"**{text}**" for text, good in zip((level, overshoot), right, strict=True)
                )
                apart = f"{row['sharpness']:.3f} | {row['loss']:.3f}"
            cost = f"{row['evaluations']:,} | {row['seconds']:.1f}"
            lines.append(f"| {flow} | {level} | {overshoot} | {apart} | {cost} |")
        lines.append("")
    small = content["predictions"]["ours, ε = 0.01"]["overshoot"][1]
    summary = TAIL.format(
        within=sum(levels) + sum(overshoots), all=len(levels) + len(overshoots), small=small,
        levels=f"{sum(levels)} of {len(levels)}", overshoots=f"{sum(overshoots)} of {len(overshoots)}",
    )  # fmt: skip
    return "\n".join(lines) + summary if levels else "\n".join(lines)


def main() -> int:
    return keep_stored_page(__file__, markdown, measure, predict)


if __name__ == "__main__":
    sys.exit(main())
