"""Claims about exact moments on quadratics: against every batch enumerated, dense equations and an ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.special import ndtri

from esssim import data
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, at_most
from esssim.claims.declare import claim
from esssim.experiments import Experiment
from esssim.experiments.growth import second_moment_radius
from esssim.moments import evolve, stationary_covariance
from esssim.papers import MOMENTUM, OURS
from esssim.problems import LinearRegression, Problem, Quadratic
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement
from esssim.stability import critical_step_size

EXACT = 1e-12
# Momentum β and Nesterov or not.
OPTIMISERS = {"plain": (0.0, False), "heavy ball": (0.7, False), "Nesterov": (0.7, True)}


def quadratic_problems(quick: bool) -> Iterator[tuple[str, Problem]]:
    """Regressions with noise, with more and fewer samples than parameters, and quadratics of two kinds."""
    for seed in range(1 if quick else 4):
        rng = np.random.default_rng(seed)
        wide, tall = data.gaussian(4, 6, seed=seed, noise=0.5), data.gaussian(6, 3, seed=seed, noise=0.5)
        yield f"regression 6×3/{seed}", LinearRegression(tall.inputs, tall.targets)
        yield f"regression 4×6/{seed}", LinearRegression(wide.inputs, wide.targets)
        factors = rng.normal(size=(5, 3, 2))
        yield f"quadratic/{seed}", Quadratic(factors @ factors.transpose(0, 2, 1), rng.normal(size=(5, 3)))
        raw = rng.normal(size=(5, 3, 3))
        indefinite = raw + raw.transpose(0, 2, 1) + 3 * np.eye(3)
        yield f"quadratic of indefinite samples/{seed}", Quadratic(indefinite, rng.normal(size=(5, 3)))


def enumerated_steps(
    problem: Problem, sampling: Sampling, eta: float, beta: float, nesterov: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(probabilities, T_B, t_B) of the step (θ, v) ↦ T_B(θ, v) + t_B for every batch."""
    p, origin = problem.n_params, np.zeros(problem.n_params)
    probabilities, matrices, offsets = [], [], []
    for batches, weights in sampling.enumerate(problem.n_samples):
        for hessian, constant in zip(problem.hessian(origin, batches), problem.gradient(origin, batches), strict=True):
            velocity = np.hstack((hessian, beta * np.eye(p)))
            gradient = np.hstack((hessian, np.zeros((p, p))))
            move, shift = (gradient + beta * velocity, (1 + beta) * constant) if nesterov else (velocity, constant)
            matrices.append(np.vstack((np.eye(p, 2 * p) - eta * move, velocity)))
            offsets.append(np.concatenate((-eta * shift, constant)))
        probabilities.append(weights)
    return np.concatenate(probabilities), np.array(matrices), np.array(offsets)


@claim(
    id="moments/enumeration",
    states="Mean, covariance and expected loss of SGD on noisy quadratics follow a closed recursion, momentum "
    "included.",
    source=OURS,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="20 steps of `evolve` against the law of total covariance over every batch, both schemes, three optimisers",
    tolerance=EXACT,
    formula=r"\Sigma\ \mapsto\ \mathbb{E}\left[T_B\,\Sigma\,T_B^{\top}\right]+\mathrm{Cov}(T_B\mu+t_B)",
    accepts=at_most(EXACT),
    stated="2026-11-24",
)
def moments_are_those_of_enumeration(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    n_steps = 20
    for (name, problem), (optimiser, (beta, nesterov)) in product(quadratic_problems(quick), OPTIMISERS.items()):
        for sampling in (WithoutReplacement(2), WithReplacement(2)):
            p, eta = problem.n_params, 0.1
            start = np.linspace(-1, 1, p)
            probabilities, matrices, offsets = enumerated_steps(problem, sampling, eta, beta, nesterov)
            mean, covariance = np.concatenate((start, np.zeros(p))), np.zeros((2 * p, 2 * p))
            for _ in range(n_steps):
                ends = matrices @ mean + offsets
                mean = probabilities @ ends
                spread = np.einsum("m,mi,mj->ij", probabilities, ends - mean, ends - mean)
                covariance = np.einsum("m,mij,jk,mlk->il", probabilities, matrices, covariance, matrices) + spread
            found = evolve(
                problem, start, step_size=eta, sampling=sampling, n_steps=n_steps, momentum=beta, nesterov=nesterov,
                n_records=1,
            ).isel(record=0)  # fmt: skip
            exact, exact_mean = covariance[:p, :p], mean[:p]
            loss = float(problem.loss(exact_mean)) + float(np.trace(problem.hessian(exact_mean) @ exact)) / 2
            errors = {
                "mean_error": np.abs(found["mean"].values - exact_mean).max() / np.abs(exact_mean).max(),
                "covariance_error": np.abs(found["covariance"].values - exact).max() / np.abs(exact).max(),
                "loss_error": abs(float(found["loss"]) / loss - 1),
            }
            rows.append(
                {"problem": name, "scheme": type(sampling).__name__, "optimiser": optimiser}
                | {key: float(value) for key, value in errors.items()}
            )
    return _worst_error(rows, ("mean_error", "covariance_error", "loss_error"), EXACT, "enumeration")


def _worst_error(rows: list[Row], keys: tuple[str, ...], tolerance: float, against: str) -> Measurement:
    worst = max(float(row[key]) for row in rows for key in keys)
    reason = f"largest relative difference from {against} over {len(rows)} cases: {worst:.1e}"
    return Measurement("holds" if worst <= tolerance else "refuted", reason, worst, (worst, worst), None, rows)


def ensembles(quick: bool) -> dict[str, Experiment]:
    """SGD on a regression with noisy targets, with and without momentum."""
    cases = {"plain": (0.0, False, 0.15), "heavy ball": (0.7, False, 0.05), "Nesterov": (0.7, True, 0.05)}
    chosen = ["plain"] if quick else list(cases)
    return {
        name: Experiment(
            problem={"kind": "linear_regression"},
            data={"kind": "gaussian", "n_samples": 20, "n_features": 3, "seed": 7, "noise": 0.5},
            start={"kind": "constant"},
            sampling={"batch_size": 2},
            dynamics={"step_size": cases[name][2], "n_steps": 20, "n_replicas": 2000 if quick else 10_000,
                      "momentum": cases[name][0], "nesterov": cases[name][1], "label_noise": 0.2, "seed": 11},
            records={"statistics": ["theta", "loss"], "steps": [20]},
        )
        for name in chosen
    }  # fmt: skip


@claim(
    id="moments/ensemble",
    states="An ensemble of 10,000 SGD runs has the exact mean, covariance and expected loss within its interval.",
    source=OURS,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="10,000 replicas of 20 steps with label noise; differences in standard errors, Bonferroni over all moments",
    experiment=lambda quick: list(ensembles(quick).values()),
    formula=r"\mu_t=\mathbb{E}\,\theta_t,\quad\Sigma_t=\mathrm{Cov}\,\theta_t",
    stated="2026-11-24",
)
def moments_are_those_of_an_ensemble(*, quick: bool) -> Measurement:
    """Means, products and losses of an ensemble in units of their standard errors."""
    rows: list[Row] = []
    for name, run in ensembles(quick).items():
        dynamics, size = run.dynamics, run.dynamics.n_replicas
        exact = evolve(
            run.model, run.theta0, step_size=run.step_size, sampling=run.batches, n_steps=dynamics.n_steps,
            momentum=dynamics.momentum, nesterov=dynamics.nesterov, label_noise=dynamics.label_noise,
            record_steps=[dynamics.n_steps],
        ).isel(record=0)  # fmt: skip
        runs = run.run()
        thetas = runs["theta"].values[:, 0]
        centred = thetas - exact["mean"].values
        pairs = [(j, k) for j in range(3) for k in range(j, 3)]
        observed = {f"mean {j + 1}": thetas[:, j] for j in range(3)}
        observed |= {f"covariance {j + 1}{k + 1}": centred[:, j] * centred[:, k] for j, k in pairs}
        observed["loss"] = runs["loss"].values[:, 0]
        expected = [*exact["mean"].values, *(exact["covariance"].values[j, k] for j, k in pairs), float(exact["loss"])]
        for (quantity, values), exactly in zip(observed.items(), expected, strict=True):
            error = float(values.std(ddof=1)) / np.sqrt(size)
            rows.append(
                {"optimiser": name, "quantity": quantity, "replicas": size, "exact": float(exactly),
                 "ensemble": float(values.mean()), "standard_error": error,
                 "score": float(values.mean() - exactly) / error}
            )  # fmt: skip
    worst = max(abs(float(row["score"])) for row in rows)
    limit = -float(ndtri(0.005 / len(rows)))
    reason = (
        f"{len(rows)} moments of {size:,} replicas: the largest difference is {worst:.2f} standard errors, "
        f"{limit:.2f} is the 99 % limit for so many"
    )
    return Measurement("holds" if worst <= limit else "refuted", reason, worst, (worst, worst), float(size), rows)


@claim(
    id="moments/stationary",
    states="The stationary covariance solves (2ηC − η²D) vec Σ = η²c·vec mean(ξᵢξᵢᵀ), and Σ/K − V(Σ) = N with "
    "momentum.",
    source=OURS,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="matrix-free solution against the dense fixed point of the enumerated second-moment operator, to 0.9 edge",
    tolerance=1e-11,
    formula=r"(2\eta C-\eta^2D)\,\mathrm{vec}\,\Sigma=\eta^2c\,\mathrm{vec}\,\overline{\xi_i\xi_i^{\top}}",
    accepts=at_most(1e-11),
    stated="2026-11-24",
)
def stationary_covariance_is_the_fixed_point(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for (name, problem), (optimiser, (beta, nesterov)) in product(quadratic_problems(quick), OPTIMISERS.items()):
        if "4×6" in name:
            continue  # it interpolates: no noise, and nothing to compare
        for sampling, share in product((WithoutReplacement(2), WithReplacement(2)), (0.3, 0.9)):
            p = problem.n_params
            eta = share * critical_step_size(problem, np.zeros(p), sampling, momentum=beta, nesterov=nesterov)
            probabilities, matrices, offsets = enumerated_steps(problem, sampling, eta, beta, nesterov)
            rest = np.concatenate(
                (-np.linalg.solve(problem.hessian(np.zeros(p)), problem.gradient(np.zeros(p))), np.zeros(p))
            )
            kicks = matrices @ rest + offsets - rest
            operator = np.einsum("m,mij,mkl->ikjl", probabilities, matrices, matrices).reshape(4 * p * p, -1)
            noise = np.einsum("m,mi,mj->ij", probabilities, kicks, kicks)
            dense = np.linalg.solve(np.eye(4 * p * p) - operator, noise.ravel()).reshape(2 * p, 2 * p)[:p, :p]
            found = stationary_covariance(problem, step_size=eta, sampling=sampling, momentum=beta, nesterov=nesterov)
            error = float(np.abs(found - dense).max() / np.abs(dense).max())
            rows.append(
                {"problem": name, "scheme": type(sampling).__name__, "optimiser": optimiser,
                 "step_size_over_critical": share, "trace": float(np.trace(dense)), "relative_error": error}
            )  # fmt: skip
    return _worst_error(rows, ("relative_error",), 1e-11, "the dense equation of the enumerated operator")


@claim(
    id="momentum-edge/many-dimensions",
    states="In many dimensions heavy ball is stable up to the step size where ρ(K∘V) = 1, with the response kernel K.",
    source=MOMENTUM,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="exact second-moment operator by enumeration at the matrix-free critical step size and ∓0.01 % around it",
    tolerance=1e-9,
    formula=r"\rho(K\circ V)=1",
    accepts=at_most(1e-9),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def heavy_ball_edge_in_many_dimensions(*, quick: bool) -> Measurement:
    """The matrix-free critical step size against the spectral radius of the enumerated operator."""
    rows: list[Row] = []
    for seed, momentum, b in product(range(1 if quick else 3), (0.5, 0.9), (1, 2)):
        table = data.gaussian(6, 4, seed=seed)
        problem, theta, sampling = LinearRegression(table.inputs, table.targets), np.zeros(4), WithoutReplacement(b)
        eta = critical_step_size(problem, theta, sampling, momentum=momentum)
        radii = [second_moment_radius(problem, theta, sampling, f * eta, momentum) for f in (1 - 1e-4, 1, 1 + 1e-4)]
        rows.append(
            {"seed": seed, "momentum": momentum, "b": b, "critical_step_size": eta, "radius_below": radii[0],
             "radius_at": radii[1], "radius_above": radii[2]}
        )  # fmt: skip
    worst = max(abs(float(row["radius_at"]) - 1) for row in rows)
    good = worst < 1e-9 and all(float(row["radius_below"]) < 1 < float(row["radius_above"]) for row in rows)
    reason = f"|ρ(E[T_B⊗T_B]) − 1| at the matrix-free critical step size is at most {worst:.1e}, in 4 dimensions"
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)
