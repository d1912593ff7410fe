"""The tail of the residuals of SGD, predicted and run: python docs/tails.py writes docs/tails.json and docs/tails.md.

`--predict` writes the predictions alone, before any run; without arguments the runs that are missing are made;
`--check` only compares the page with the numbers.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import esssim as es
from esssim import store
from esssim._particles import moment_exponent as of_particles
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.claims.gap_tables import as_json
from esssim.experiments import RampExperiment
from esssim.flow.bursts import burst_growth, edge_slope, tilted_basis
from esssim.report.pages import complete_rows, keep_stored_page
from esssim.statistics.perron import PerronMatrix

NUMBERS = Path(__file__).with_suffix(".json")
BATCH_SIZE = 4
LAWS: dict[str, es.Sampling] = {
    "mini-batches": es.WithoutReplacement(BATCH_SIZE), "Gaussian": es.GaussianWeights(BATCH_SIZE),
    "two-point": es.TwoPointWeights(BATCH_SIZE), "full or single": es.FullOrSingle(BATCH_SIZE),
}  # fmt: skip
# Distances 1 − ηQ_b/2 from the mean-square edge: the tails of mini-batches are heavy only next to it.
DISTANCES = {name: (0.02, 0.01) if name == "mini-batches" else (0.3, 0.2, 0.1, 0.05) for name in LAWS}
ORDERS = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0])
N_PARTICLES, N_STEPS, BURN_IN = 1024, 400, 100
N_REPLICAS, RUN, APART, LARGEST = 128, 8000, 20, 0.01

HEAD = """# The tails of the residuals

Made by `python docs/tails.py`. Near a solution the residuals of SGD are s ← s − ηH_w s + noise with a random H_w at each step. Their
stationary law has a power-law tail, P(‖s‖ > x) ∝ x^−α, and α solves L(α) = 0, L(q) = lim (1/k) log E‖A_k…A₁‖^q with A = I − ηH_w
(Gürbüzbalaban et al. 2021; Hodgkinson & Mahoney 2021). α = 2 is the mean-square edge. Three numbers for α, at the start of the ramp
gaussian-50x100 (b = {b}) and at the distance δ = 1 − ηQ_b/2 from the edge, for four laws of weights with the same Q_b:

* *parabola*: 2(1 + κδ), as `tail_index` of the flow has it: L taken for a parabola;
* *moments*: the root of L, from {particles} particles that multiply with ‖As‖^q/‖s‖^q;
* *Hill*: of the largest {largest:.0%} of ‖s‖ in {replicas} runs with noise in the targets; its error by leaving out each run in turn.

The first two were written on {day}, before the runs. "above {most:g}" is beyond the orders that were tried.
"""
TAIL = """
The Hill index has the parabola inside its 95 % interval in {parabola} of {all} rows and the root of L in {moments}; the intervals are wide.
The exceptions are two-point weights: their residuals fall off faster at the sizes that these runs see than the tail that L predicts.
Next to the edge the two predictions agree, as they must; elsewhere they part where L is no parabola ([open problems](open_problems.md)).
"""


class Setting(NamedTuple):
    """H_w = Σ wᵢaᵢaᵢᵀ with rows aᵢ (n, r), the edge Q_b, and κ of each law."""

    rows: FloatArray
    edge: float
    kappa: dict[str, float]


@cache
def setting() -> Setting:
    run = RampExperiment("gaussian-50x100", BATCH_SIZE)
    jacobians = run.problem.sample_jacobians(run.theta0, np.arange(run.problem.n_samples))
    perron = PerronMatrix.of(jacobians, LAWS["mini-batches"].variance_coefficient(len(jacobians)))
    edge, noise = perron.edge()
    factors, weights = tilted_basis(perron, edge, noise)
    slope = edge_slope(perron, edge, noise)
    growths = {
        name: np.mean([burst_growth(factors, weights, 2 / edge, law, 1, seed) for seed in range(8)])
        for name, law in LAWS.items()
    }
    rows = perron.eigenvectors * np.sqrt(perron.eigenvalues)
    return Setting(rows, edge, {name: float(slope / (2 * growth)) for name, growth in growths.items()})


def drawn(law: es.Sampling, n: int, rng: np.random.Generator) -> Callable[[int], FloatArray]:
    """Weights of all samples, (m, n)."""

    def weights(m: int) -> FloatArray:
        if isinstance(law, es.RandomWeights):
            return law.draw_weights(n, m, rng)
        found = np.zeros((m, n))
        np.put_along_axis(found, law.draw(n, m, rng), 1 / law.batch_size, axis=1)
        return found

    return weights


def moment_exponent(law: es.Sampling, eta: float, order: float, seed: int) -> float:
    """L(q) by particles."""
    rows, rng = setting().rows, np.random.default_rng(seed)
    weights = drawn(law, len(rows), rng)
    states = rng.standard_normal((N_PARTICLES, rows.shape[1]))
    states /= np.linalg.norm(states, axis=1)[:, None]

    def advance(states: FloatArray) -> FloatArray:
        return states - eta * ((states @ rows.T) * weights(N_PARTICLES)) @ rows

    return of_particles(advance, states, order, rng, N_STEPS, BURN_IN)


def predicted(row: dict[str, Any]) -> dict[str, Any]:
    law, here = LAWS[row["law"]], setting()
    eta = 2 / here.edge * (1 - row["distance"])
    found: dict[str, Any] = {"parabola": 2 * (1 + here.kappa[row["law"]] * row["distance"])}
    below, order_below = moment_exponent(law, eta, ORDERS[0], 0), ORDERS[0]
    for order in ORDERS[1:]:
        value = moment_exponent(law, eta, order, 0)
        if value >= 0 > below:
            return found | {"moments": float(order_below + (order - order_below) * below / (below - value))}
        below, order_below = value, order
    return found


def hill(sizes: FloatArray) -> float:
    """1/mean of log(x/x₀) over the largest sizes x, x₀ the next one."""
    largest = np.sort(sizes.ravel())[-int(LARGEST * sizes.size) - 1 :]
    return float(1 / np.log(largest[1:] / largest[0]).mean())


def measured(row: dict[str, Any]) -> dict[str, Any]:
    here, rng = setting(), np.random.default_rng(17)
    rows, eta = here.rows, 2 / here.edge * (1 - row["distance"])
    weights = drawn(LAWS[row["law"]], len(rows), rng)
    states = np.zeros((N_REPLICAS, rows.shape[1]))
    sizes = []
    for step in range(RUN):
        residuals = states @ rows.T - rng.standard_normal((N_REPLICAS, len(rows)))
        states = states - eta * (residuals * weights(N_REPLICAS)) @ rows
        if step >= RUN // 4 and step % APART == 0:
            sizes.append(np.linalg.norm(states, axis=1))
    found = np.array(sizes)
    without = np.array([hill(np.delete(found, replica, axis=1)) for replica in range(N_REPLICAS)])
    error = np.sqrt((N_REPLICAS - 1) * without.var())
    return {"hill": hill(found), "hill_error": float(error)}


def rows_to_run() -> list[dict[str, Any]]:
    return [{"law": name, "distance": distance} for name, distances in DISTANCES.items() for distance in distances]


def stated() -> dict[str, Any]:
    """The rows with what is known of them so far."""
    kept: list[dict[str, Any]] = json.loads(NUMBERS.read_text(encoding="utf-8"))["rows"] if NUMBERS.is_file() else []
    known = {(row["law"], row["distance"]): row for row in kept}
    return {"rows": [known.get((row["law"], row["distance"]), row) for row in rows_to_run()]}


def predict(numbers: Path) -> None:
    content = stated()
    for row in content["rows"]:
        if "hill" in row:
            raise ValueError("a prediction is written before the run, and this row has one")
        with one_blas_thread():
            row |= predicted(row) | {"predicted_on": datetime.datetime.now(datetime.UTC).date().isoformat()}
        print(row, flush=True)
    store.write_text(numbers, as_json(content))


def measure(numbers: Path) -> None:
    content = stated()
    complete_rows(numbers, content, content["rows"], measured, predicted="parabola", seen="hill", predicts=False)


def markdown(content: dict[str, Any]) -> str:
    """The whole page."""
    rows = content["rows"]
    head = HEAD.format(
        b=BATCH_SIZE, particles=N_PARTICLES, largest=LARGEST, replicas=N_REPLICAS, day=rows[0]["predicted_on"],
        most=ORDERS[-1],
    )  # fmt: skip
    lines = ["| weights | δ | parabola | moments | Hill |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        moments = f"{row['moments']:.2f}" if "moments" in row else f"above {ORDERS[-1]:g}"
        seen = f"{row['hill']:.2f} ± {1.96 * row['hill_error']:.2f}" if "hill" in row else "not run"
        lines.append(f"| {row['law']} | {row['distance']:g} | {row['parabola']:.2f} | {moments} | {seen} |")
    return "\n".join([head, *lines, _summary(rows)])


def _summary(rows: list[dict[str, Any]]) -> str:
    """How many predictions lie in the intervals; nothing before every row has been run."""
    if any("hill" not in row for row in rows):
        return ""
    inside = {
        key: sum(abs(row.get(key, np.inf) - row["hill"]) <= 1.96 * row["hill_error"] for row in rows)
        for key in ("parabola", "moments")
    }
    return TAIL.format(all=len(rows), **inside)


def main() -> int:
    return keep_stored_page(__file__, markdown, measure, predict)


if __name__ == "__main__":
    sys.exit(main())
