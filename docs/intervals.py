"""How often the 95 % interval of an estimate holds the true value: docs/intervals.md from docs/intervals.json.

python docs/intervals.py           measure anew (ten minutes) and write both
python docs/intervals.py --check   exit 1 if the page and the numbers differ
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np

import esssim as es
from esssim.claims.claim import Row
from esssim.report.pages import keep_measured_page
from esssim.spectra import largest_eigenvalues

N, D, REPETITIONS, TRUTH = 2000, 10, 1000, 1_000_000
BATCH_SIZES, N_BATCHES = (1, 2, 8, 32), (500, 2000)
DRAWS = ("uniform", "shares")
STATISTICS = {"MiniBS": es.minibatch_sharpness, "batch sharpness": es.batch_sharpness}

HEAD = """# How often an interval holds the truth

Made by `python docs/intervals.py`. Linear regression at θ = 0 on {n:,} rows of {d} normal numbers with normal targets, batches without
replacement. One row is multiplied by 1000, or every row by a number of its own: of Student's t with 2 degrees, or log-normal with σ = 2.

*Covered*: how many of {repetitions:,} intervals (95 %, one seed each) hold the true value. *Error*: root mean square of the distance to it,
relative. *Warned*: how many came with a `HeavyTailWarning`. Uniform draws are what SGD sees (`draws="uniform"`); with shares, the default, every
sample has draws of its own, by the weight of its Hessian (`esssim.statistics.shares`). The true values are enumerated for b = 1, and for MiniBS at b = 2;
others are means over {truth:,} further batches, whose error is at most a twentieth of those below. The default of `esssim measure` is 2000 batches.

"""


def designs() -> dict[str, es.LinearRegression]:
    """The four tables, of the same normal rows and targets."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((N, D))
    one = np.where(np.arange(N) == 123, 1000.0, 1.0)
    scales = {"one row × 1000": one, "t(2) rows": rng.standard_t(2, N), "log-normal rows": rng.lognormal(0, 2, N)}
    targets = rng.standard_normal(N)
    return {
        name: es.LinearRegression(normal * scale[:, None], targets)
        for name, scale in {**scales, "normal rows": np.ones(N)}.items()
    }


def truth(problem: es.LinearRegression, statistic: str, b: int) -> float:
    """The value itself."""
    origin, sampling = np.zeros(D), es.WithoutReplacement(b)
    if statistic == "MiniBS" and b == 2:
        curvature = problem.curvature(origin)
        pairs = sampling.enumerate(N)
        return sum(float((weights * largest_eigenvalues(curvature, some)).sum()) for some, weights in pairs)
    return STATISTICS[statistic](problem, origin, sampling, n_batches=TRUTH, seed=REPETITIONS).value


def repeat(
    function: Callable[..., es.Estimate], problem: es.Problem, b: int, n_batches: int, draws: str, true: float
) -> Row:
    """What many seeds make of one setting."""
    found: list[es.Estimate] = []
    warned = 0
    for seed in range(REPETITIONS):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found.append(
                function(problem, np.zeros(D), es.WithoutReplacement(b), n_batches=n_batches, seed=seed, draws=draws)
            )
        warned += len(told)
        if found[-1].exact:
            break
    inside = [low <= true <= high for low, high in (estimate.interval for estimate in found)]
    # An enumerated value is the truth up to the order of summation.
    exact = found[0].exact
    distances = np.array([estimate.value for estimate in found]) / true - 1
    return {
        "draws": draws,
        "exact": exact,
        "covered": 1.0 if exact else float(np.mean(inside)),
        "error": 0.0 if exact else float(np.sqrt((distances**2).mean())),
        "warned": warned / len(found),
    }


def measure() -> dict[str, list[Row]]:
    """A row for each design, statistic, b, n_batches and way of drawing."""
    rows: list[Row] = []
    for design, problem in designs().items():
        for statistic, function in STATISTICS.items():
            for b in BATCH_SIZES:
                true = truth(problem, statistic, b)
                for n_batches in N_BATCHES:
                    at: Row = {"design": design, "statistic": statistic, "b": b, "n_batches": n_batches}
                    rows += [at | repeat(function, problem, b, n_batches, draws, true) for draws in DRAWS]
    return {"rows": rows}


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page. ValueError where the rows are not those of the settings, in their order."""
    pairs = list(zip(content["rows"][::2], content["rows"][1::2], strict=True))
    settings = [
        (design, statistic, b, n_batches)
        for design in designs() for statistic in STATISTICS for b in BATCH_SIZES for n_batches in N_BATCHES
    ]  # fmt: skip
    found = [(row["design"], row["statistic"], row["b"], row["n_batches"]) for row, _ in pairs]
    if found != settings or [row["draws"] for row in content["rows"]] != [*DRAWS] * len(pairs):
        raise ValueError("the numbers are of other settings")
    lines = [
        "| rows | statistic | b | batches | covered, uniform | covered, shares | error, uniform | error, shares | warned |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for uniform, shares in pairs:
        cells = [str(shares[key]) for key in ("design", "statistic", "b", "n_batches")]
        covered, error = f"**{100 * float(shares['covered']):.1f} %**", f"{float(shares['error']):.1e}"
        if shares["exact"]:
            covered = error = "exact"
        cells += [f"{100 * float(uniform['covered']):.1f} %", covered, f"{float(uniform['error']):.1e}", error]
        lines.append("| " + " | ".join([*cells, f"{100 * float(shares['warned']):.0f} %"]) + " |")
    sampled = [row for row in content["rows"] if row["draws"] == "shares" and not row["exact"]]
    least = {n: min(float(row["covered"]) for row in sampled if row["n_batches"] == n) for n in N_BATCHES}
    ends = "; ".join(f"{100 * low:.1f} % at {n_batches:,} batches" for n_batches, low in least.items())
    head = HEAD.format(n=N, d=D, repetitions=REPETITIONS, truth=TRUTH)
    return head + "\n".join(lines) + f"\n\nLeast coverage with shares: {ends}.\n"


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
