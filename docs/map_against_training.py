"""The stability map against training: python docs/map_against_training.py --predict, then --run, writes the page of the same name.

Three networks at a solution with zero loss. For five batch sizes, thousands of runs of SGD start at a distance of 10⁻⁷ from
it, with the second moment M* that is stationary at the critical step size, and make 20 steps at 0.9 and at 1.1 times that
step size. `--predict` writes what the map and the exact second moment say, before any run; `--run` adds what was measured.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import esssim as es
from esssim import store
from esssim.bridge import TorchProblem, mlp, stability_map
from esssim.curvature import LowRankCurvature
from esssim.statistics.mean_square import Pencil

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")
N, STEPS, RUNS, DISTANCE = 16, 20, 4000, 1e-7
BATCH_SIZES, FACTORS = (1, 2, 4, 8, 16), (0.9, 1.1)
Array = NDArray[np.float64]


class Attention(nn.Module):
    """One layer of a transformer on four tokens, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation="gelu", batch_first=True)
        self.out = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x).mean(dim=1))


def problems() -> dict[str, TorchProblem]:
    """A perceptron, a convolution and a transformer with one output, and random targets."""
    rng = np.random.default_rng(0)
    targets = rng.standard_normal(N)
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 1))
    return {
        "perceptron 5–12–1, tanh": TorchProblem(mlp(5, (12,), 1), rng.standard_normal((N, 5)), targets),
        "convolution, 4 channels, tanh": TorchProblem(convolution, rng.standard_normal((N, 1, 8)), targets),
        "transformer, one layer": TorchProblem(Attention(), rng.standard_normal((N, 4, 6)), targets),
    }


def solution(problem: TorchProblem) -> Array:
    """A point of zero loss, by damped Gauss–Newton steps."""
    theta, everyone, damping = problem.theta0, np.arange(N), 1.0
    for _ in range(400):
        residuals, rows = problem.residuals(theta, everyone), problem.sample_jacobians(theta, everyone)
        residuals = residuals.reshape(N)
        step = rows.T @ np.linalg.solve(rows @ rows.T + damping * np.eye(N), residuals)
        if problem.loss(theta - step) < problem.loss(theta):
            theta, damping = theta - step, max(damping / 3, 1e-12)
        else:
            damping *= 4
        if problem.loss(theta) < 1e-28:
            return theta
    raise RuntimeError(f"the loss is still {problem.loss(theta):.3g}")


def in_range(problem: TorchProblem, theta: Array) -> tuple[Array, Array]:
    """An orthonormal basis (p, n) of the range of H, and the rows (n, n) of the samples in it."""
    rows = problem.sample_jacobians(theta, np.arange(N))
    basis = np.linalg.svd(rows, full_matrices=False)[2].T
    return basis, rows @ basis


def stationary(rows: Array, c: float) -> Array:
    """M*, the second moment that stays the same at the critical step size, of mean square 1."""
    if c == 0.0:
        top = np.linalg.eigh(rows.T @ rows)[1][:, -1]
        return np.outer(top, top)
    pencil = Pencil.of(LowRankCurvature(rows))
    assert pencil is not None
    matrix = pencil.eigenvectors @ pencil.top(c)[1] @ pencil.eigenvectors.T
    values, vectors = np.linalg.eigh(matrix * np.sign(np.trace(matrix)))
    found = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return found / np.trace(found)


def expected_growth(rows: Array, start: Array, c: float, eta: float) -> float:
    """(E L_T/E L_0)^{1/T} by the exact second moment M ← M − η(HM + MH) + η²((1−c)HMH + c·mean HᵢMHᵢ)."""
    mean, moment = rows.T @ rows / N, start
    for _ in range(STEPS):
        noise = (rows.T * np.einsum("ij,jk,ik->i", rows, moment, rows)) @ rows / N
        moment = moment - eta * (mean @ moment + moment @ mean) + eta**2 * ((1 - c) * mean @ moment @ mean + c * noise)
    return float((np.trace(mean @ moment) / np.trace(mean @ start)) ** (1 / STEPS))


def measured_growth(
    problem: TorchProblem, theta: Array, basis: Array, start: Array, b: int, eta: float
) -> tuple[float, float]:
    """The same of `RUNS` runs of SGD on the network itself, and its standard error."""
    rng = np.random.default_rng([b, round(1e6 * eta)])
    values, vectors = np.linalg.eigh(start)
    normal = rng.standard_normal((RUNS, N)) * np.sqrt(np.maximum(values, 0.0))
    points = theta + DISTANCE * normal @ vectors.T @ basis.T
    first = problem.loss(points)
    for _ in range(STEPS):
        batches = es.WithoutReplacement(b).draw(N, RUNS, rng)
        points = points - eta * problem.gradient(points, batches)
    last = problem.loss(points)
    ratio = float(last.mean() / first.mean())
    error = float((last - ratio * first).std(ddof=1) / first.mean() / math.sqrt(RUNS))
    growth = ratio ** (1 / STEPS)
    return growth, growth * error / ratio / STEPS


def predictions() -> list[dict[str, Any]]:
    """What the map says, for each network, batch size and factor."""
    rows = []
    for name, problem in problems().items():
        theta = solution(problem)
        _, factors = in_range(problem, theta)
        steps = stability_map(problem, theta, tolerance=1e-6).dataset["critical_step_size"]
        for b in BATCH_SIZES:
            c = (N - b) / (b * (N - 1))
            start = stationary(factors, c)
            for factor in FACTORS:
                critical = float(steps.sel(batch_size=b))
                growth = expected_growth(factors, start, c, factor * critical)
                rows.append({
                    "network": name, "n_params": problem.n_params, "batch_size": b, "factor": factor,
                    "critical_step_size": critical, "predicts": "grows" if factor > 1 else "shrinks",
                    "predicted_growth": growth,
                })  # fmt: skip
    return rows


def run(rows: list[dict[str, Any]]) -> None:
    """Add what was measured."""
    for name, problem in problems().items():
        theta = solution(problem)
        basis, factors = in_range(problem, theta)
        for row in rows:
            if row["network"] == name:
                b = row["batch_size"]
                start = stationary(factors, (N - b) / (b * (N - 1)))
                eta = row["factor"] * row["critical_step_size"]
                row["growth"], row["standard_error"] = measured_growth(problem, theta, basis, start, b, eta)
                print(row, file=sys.stderr)


def page(rows: list[dict[str, Any]]) -> str:
    """The table, in the order of the file."""
    lines = [
        "# The stability map against training", "",
        f"Made by `python docs/map_against_training.py`. {RUNS:,} runs of SGD on each network itself, {STEPS} steps from a",
        f"distance of {DISTANCE:g} from a solution of zero loss on {N} samples. The growth is that of the mean loss, per step.",
        "The predictions were committed before the runs: the map says that 0.9 times the critical step size shrinks and that",
        "1.1 times grows, and the exact second moment says by how much. ± is a standard error.", "",
        "| network | b | critical η | η/critical | predicted growth | measured growth | as predicted |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    right = 0
    for row in rows:
        growth, error = row.get("growth"), row.get("standard_error", 0.0)
        measured = "—" if growth is None else f"{growth:.4f} ± {error:.4f}"
        as_predicted = growth is not None and (growth > 1) == (row["predicts"] == "grows")
        right += as_predicted
        verdict = "not run" if growth is None else "yes" if as_predicted else "NO"
        lines.append(
            f"| {row['network']} | {row['batch_size']} | {row['critical_step_size']:.4g} | {row['factor']} "
            f"| {row['predicted_growth']:.4f} | {measured} | {verdict} |"
        )
    done = [row for row in rows if "growth" in row]
    if done:
        near = sum(abs(row["growth"] - row["predicted_growth"]) <= 3 * row["standard_error"] + 1e-4 for row in done)
        lines += [
            "",
            f"{right} of {len(done)} settings grow or shrink as the map says. The growth is within three standard errors of",
        ]
        lines += [
            f"the predicted one in {near} of {len(done)}; where single runs carry the mean, the standard error is itself too small."
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        rows = json.loads(FILE.read_text(encoding="utf-8"))
        return int(PAGE.read_text(encoding="utf-8") != page(rows))
    rows = predictions() if "--predict" in arguments else json.loads(FILE.read_text(encoding="utf-8"))
    if "--run" in arguments:
        run(rows)
    store.write_text(FILE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    store.write_text(PAGE, page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
