"""Golden vectors: what Python computes, for the page's JavaScript to compute again. `python -m esssim.explorer.golden
FILE`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import esssim as es
from esssim import store
from esssim._phases import random_phases
from esssim.data import interpolating_targets
from esssim.experiments import build
from esssim.flow.law import Law
from esssim.flow.mean import MeanLaw
from esssim.problems.base import HessianKind
from esssim.simulation import Ramp
from esssim.spectra import largest_eigenvalues
from esssim.statistics.mean_square import FOR_BOUNDS
from esssim.statistics.perron import PerronMatrix
from esssim.statistics.pointwise import ratio_of_means
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

Vector = dict[str, Any]
Model = es.LinearRegression | es.DiagonalLinearNetwork | es.Quadratic
Setting = tuple[str, int, str, int, int]

TOLERANCE = 1e-10
# One normal in 4000 lies in the tail of numpy's ziggurat.
NUMBERS = 8000
SCHEMES = {"without_replacement": es.WithoutReplacement, "with_replacement": es.WithReplacement}
ENSEMBLES = {
    "gaussian": es.data.gaussian,
    "spiked": es.data.spiked,
    "two_clusters": es.data.two_clusters,
    "power_law": es.data.power_law,
}
POINTWISE = ("loss", "gradient_norm", "gradient_noise_interaction", "interaction_aware_sharpness", "sharpness",
             MEAN_SQUARE, "critical_sharpness", "eigenvalue_2", "eigenvalue_3")  # fmt: skip
SAMPLED = ("minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts")
# (form, depth, ensemble, n, d)
SETTINGS: list[Setting] = [
    ("linear", 1, "gaussian", 12, 5), ("linear", 1, "power_law", 8, 14), ("product", 2, "gaussian", 9, 1),
    ("product", 2, "gaussian", 24, 10), ("product", 2, "two_clusters", 10, 16), ("product", 2, "spiked", 64, 32),
    ("difference", 2, "power_law", 16, 6), ("difference", 3, "gaussian", 20, 8), ("difference", 4, "spiked", 8, 12),
    ("quadratic", 1, "gaussian", 12, 5), ("quadratic", 1, "power_law", 8, 14),
]  # fmt: skip


def vectors() -> Iterator[Vector]:
    """Every golden vector: its kind, what goes in, and what is expected to come out."""
    yield from _streams()
    for place, setting in enumerate(SETTINGS):
        yield from _of_problem(place, setting)


def table_of(setting: Setting) -> es.data.Data:
    """The data of a setting, whose place in SETTINGS is the seed."""
    _, _, ensemble, n, d = setting
    return ENSEMBLES[ensemble](n, d, seed=SETTINGS.index(setting))


def problem_of(setting: Setting) -> Model:
    """The problem of a setting."""
    form, depth, *_ = setting
    table = table_of(setting)
    if form == "quadratic":
        return build.quadratic(table)
    if form == "linear":
        return es.LinearRegression(table.inputs, table.targets)
    if form == "product":
        return es.DiagonalLinearNetwork(table.inputs, table.targets)
    return es.DiagonalLinearNetwork(table.inputs, table.targets, form="difference", depth=depth)


def _vector(kind: str, name: str, expected: dict[str, Any], **given: Any) -> Vector:
    return {"kind": kind, "name": f"{kind}: {name}", "expected": expected, "tolerance": TOLERANCE, **given}


def _streams() -> Iterator[Vector]:
    for seed, key in ((0, []), (7, [3]), (20261124, [0, 60000]), (2**40 + 5, [1, 2, 3])):
        sequence = np.random.SeedSequence(seed, spawn_key=tuple(key))
        uniform = np.random.default_rng(sequence).random(NUMBERS)
        normal = np.random.default_rng(sequence).standard_normal(NUMBERS)
        expected = {"uniform": uniform.tolist(), "normal": normal.tolist()}
        yield _vector("random", f"seed {seed}, key {key}", expected, seed=seed, key=key, count=NUMBERS)
    for n_steps, count, seed in ((60_000, 301, 0), (3000, 301, 5), (1000, 301, 7), (900, 302, 1)):
        steps = random_phases(n_steps, count, 2, seed)
        name = f"{count} of {n_steps} steps, seed {seed}"
        yield _vector("records", name, {"steps": steps.tolist()}, n_steps=n_steps, count=count, seed=seed)
    for kind, draw in ENSEMBLES.items():
        for n, d, noise in ((12, 5, 0.0), (6, 9, 0.3)):
            table = draw(n, d, seed=n, noise=noise)
            fitted = interpolating_targets(table.inputs, table.targets)
            expected = {
                "inputs": table.inputs.tolist(),
                "targets": table.targets.tolist(),
                "interpolating": fitted.tolist(),
            }
            yield _vector(
                "ensemble", f"{kind} {n}x{d}", expected, data=kind, n=n, d=d, seed=n, options={"noise": noise}
            )
    for scheme, of in SCHEMES.items():
        for n, b in ((12, 1), (12, 5), (64, 16)):
            drawn = of(b).draw(n, 20, np.random.default_rng(b))
            yield _vector("batches", f"{scheme} n={n} b={b}", {"batches": drawn.tolist()},
                          scheme=scheme, n=n, b=b, seed=b, count=20)  # fmt: skip
        batches, probabilities = next(of(3).enumerate(7))
        expected = {"batches": batches.tolist(), "probabilities": probabilities.tolist()}
        yield _vector("enumeration", f"{scheme} n=7 b=3", expected, scheme=scheme, n=7, b=3)


def _of_problem(place: int, setting: Setting) -> Iterator[Vector]:
    problem, (form, depth, ensemble, n, d) = problem_of(setting), setting
    label, rng = f"{form} D={depth} {ensemble} {n}x{d}", np.random.default_rng(place)
    scales = (2.0, 0.0) if form == "product" else (1.3, 0.6)
    half = np.full(d, scales[0])
    start = np.zeros(d) if form in ("linear", "quadratic") else np.concatenate((half, np.full(d, scales[1])))
    solution = es.gradient_flow(problem, start)
    if form != "quadratic":  # the page starts it at zero
        expected = {"theta": _limit(problem, start, solution).tolist()}
        yield _vector("start", label, expected, problem=place, scale=scales[0], second_scale=scales[1])
    theta = solution + 0.1 * rng.standard_normal(problem.n_params)
    for scheme, b in (
        ("without_replacement", 1),
        ("without_replacement", 4),
        ("with_replacement", 3),
        ("without_replacement", n),
    ):
        sampling = SCHEMES[scheme](b)
        here = {"problem": place, "theta": theta.tolist(), "scheme": scheme, "b": b}
        yield from _at_point(f"{label} {scheme} b={b}", problem, theta, sampling, here, rng)
        if isinstance(problem, es.DiagonalLinearNetwork):
            yield from _of_flow(f"{label} {scheme} b={b}", problem, solution, theta, sampling, here)
        yield from _of_runs(f"{label} {scheme} b={b}", problem, theta, sampling, here)
    yield from _of_weights(label, place, problem, theta)


def _limit(problem: Model, start: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """Where gradient flow from `start` ends: `gradient_flow`, which gave `solution`, keeps nine digits, this 13."""
    values = np.linalg.eigvalsh(problem.hessian(solution))
    slowest = values[values > 1e-9 * values[-1]][0]
    span = (0.0, 40.0 / slowest)
    flow = solve_ivp(lambda _, theta: -problem.gradient(theta), span, start, "DOP853", rtol=3e-14, atol=1e-15)
    return np.asarray(flow.y[:, -1])


def _hessian(problem: Model) -> HessianKind:
    return "full" if isinstance(problem, es.Quadratic) else "gauss_newton"


def _of_weights(label: str, place: int, problem: Model, theta: np.ndarray) -> Iterator[Vector]:
    """Gaussian weights: how they are drawn, their Hessians and gradients, and a run."""
    sampling, n = es.GaussianWeights(4), problem.n_samples
    drawn = sampling.draw_weights(n, 10, np.random.default_rng(place))
    yield _vector("weights", label, {"weights": drawn.tolist()}, seed=place, b=4, n=n, count=10)
    everyone = np.arange(n)
    hessians = np.einsum("mi,ijk->mjk", drawn, problem.sample_hessians(theta, everyone))
    gradients = drawn @ problem.sample_gradients(theta, everyone)
    expected = {
        "eigenvalues": np.linalg.eigvalsh(hessians)[:, -1].tolist(),
        "forms": np.einsum("mj,mjk,mk->m", gradients, hessians, gradients).tolist(),
        "norms": (gradients**2).sum(axis=1).tolist(),
    }
    here = {"problem": place, "theta": theta.tolist(), "scheme": "gaussian_weights", "b": 4}
    yield _vector("eigenvalues", f"{label} Gaussian weights", expected, **here, weights=drawn.tolist())
    yield from _of_runs(f"{label} Gaussian weights", problem, theta, sampling, here)


def _of_runs(label: str, problem: Model, theta: np.ndarray, sampling: es.Sampling, here: Vector) -> Iterator[Vector]:
    edge = 2.0 / es.mean_square_sharpness(problem, theta, sampling, hessian=_hessian(problem))
    settings = ((0.0, 0.0), (0.0, 0.1), (0.5, 0.1))
    for momentum, noise in ((0.0, 0.0), (0.5, 0.0)) if isinstance(problem, es.Quadratic) else settings:
        ramp, seed = Ramp(0.2 * edge, 0.4 * edge), sampling.batch_size
        trace = es.simulate(problem, theta, step_size=ramp, sampling=sampling, n_steps=200, momentum=momentum,
                            label_noise=noise, record=("theta",), record_steps=[200], seed=seed)  # fmt: skip
        yield _vector("run", f"{label} β={momentum} ε={noise}", {"theta": trace["theta"].values[0, 0].tolist()},
                      **here, momentum=momentum, label_noise=noise, step_size=0.2 * edge, seed=seed,
                      n_steps=200)  # fmt: skip


def _at_point(
    label: str, problem: Model, theta: np.ndarray, sampling: es.Sampling, here: Vector, rng: np.random.Generator
) -> Iterator[Vector]:
    curvature, n = problem.curvature(theta), problem.n_samples
    drawn = sampling.draw(n, 30, rng)
    expected = {"eigenvalues": largest_eigenvalues(curvature, drawn).tolist()}
    yield _vector("eigenvalues", label, expected, **here, batches=drawn.tolist())
    every = next(sampling.enumerate(n)) if sampling.count(n) <= 4096 else None
    statistics = {name: float(STATISTICS[name].compute(problem, theta, sampling)) for name in POINTWISE
                  if not STATISTICS[name].refuses(problem)}  # fmt: skip
    if isinstance(problem, es.Quadratic):
        statistics["mean_square_sharpness"] = es.mean_square_sharpness(problem, theta, sampling)
    else:
        statistics["ratio_of_means"] = ratio_of_means(problem, theta, curvature, sampling)
    for name in SAMPLED if every else ():
        statistics[name] = STATISTICS[name].compute(problem, theta, sampling, n_batches=None).value
    batches, probabilities = every or (drawn, np.full(len(drawn), 1 / len(drawn)))
    yield _vector(
        "statistics", label, statistics, **here, batches=batches.tolist(), probabilities=probabilities.tolist()
    )
    c = sampling.variance_coefficient(n)
    for momentum in (0.0, 0.5, 0.9):
        edge = es.stability.critical_step_size(problem, theta, sampling, momentum=momentum, hessian=_hessian(problem))
        expected = {"edge": edge}
        if momentum == 0.0 and c > 0.0 and not isinstance(problem, es.Quadratic):
            rows = np.asarray(problem.sample_jacobians(theta, np.arange(n)))
            _, vector = PerronMatrix.of(rows, c).edge(FOR_BOUNDS)
            expected["vector"] = (vector / np.linalg.norm(vector)).tolist()
        yield _vector("perron", f"{label} β={momentum}", expected, **here, momentum=momentum)


def _of_flow(
    label: str,
    problem: es.DiagonalLinearNetwork,
    solution: np.ndarray,
    theta: np.ndarray,
    sampling: es.Sampling,
    here: Vector,
) -> Iterator[Vector]:
    for momentum in (0.0, 0.5):
        for follow, of, point in (("solutions", Law, solution), ("mean", MeanLaw, theta)):
            edge = es.stability.critical_step_size(problem, point, sampling, momentum=momentum, hessian="gauss_newton")
            for noise, share in ((0.03, 0.5), (0.1, 0.97)):
                law, start = of.of(problem, point, sampling, Ramp.of(share * edge), 1, noise, momentum)
                fast = law.fast(0.0, law.at(start))
                assert fast.noise is not None
                expected = {"velocity": law.velocity(0.0, start).tolist(), "noise": fast.noise.tolist()}
                frozen = law.mean_residuals(law.at(start)).tolist() if follow == "solutions" else None
                yield _vector("flow", f"{label} β={momentum} {follow} ε={noise} η={share}·edge", expected,
                              **{**here, "theta": start.tolist()}, momentum=momentum,
                              label_noise=noise, step_size=share * edge, follow=follow, frozen=frozen)  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m esssim.explorer.golden FILE", file=sys.stderr)
        return 2
    found = list(vectors())
    problems = [
        {"form": form, "depth": depth, "inputs": table.inputs.tolist(), "targets": table.targets.tolist()}
        for (form, depth, *_), table in ((setting, table_of(setting)) for setting in SETTINGS)
    ]
    store.write_text(Path(arguments[0]), json.dumps({"problems": problems, "vectors": found}))
    print(f"{len(found)} golden vectors")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
