"""Tables of published edges that no claim decides on: bounds and closures, other optimisers, a slope."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.claims.claim import Row
from esssim.experiments.published_edges import BATCH_SIZES, N_BATCHES, N_POINTS, ensembles, interpolating
from esssim.experiments.self_stabilisation import SelfStabilisingDynamics
from esssim.problems import LinearRegression, Quadratic
from esssim.sampling import WithoutReplacement
from esssim.stability import (
    alignment_step_size,
    coherence_step_size,
    contraction_step_size,
    critical_step_size,
    dropout_step_size,
    preconditioned_step_size,
    scalar_closure_step_size,
    sharpness_aware_step_size,
    zeroth_order_step_size,
)
from esssim.statistics import critical_sharpness, minibatch_critical_sharpness, sharpness

MOMENTUM = 0.9
# Of weight decay: μ over λ_max.
DECAYS = (0.01, 0.1)
# Of dropout: the probability that an input is kept.
KEPT = (0.9, 0.5)
# ρλ_max of sharpness-aware steps.
REACHES = (0.1, 1.0)
# s² = η²βσ_u²/(2α) at b = 8, and κ = η²α.
SLOPES = ((0.02, 1e-4), (0.1, 1e-3), (0.3, 1e-3), (0.5, 1e-3), (0.7, 1e-3))
SLOPE_BATCHES = (8, 16, 32, 64, 128)


def _settings(quick: bool) -> list[tuple[str, LinearRegression, int]]:
    """Ensembles with b < n."""
    problems = {name: interpolating(table) for name, table in ensembles(quick).items()}
    sizes = (1, 8) if quick else BATCH_SIZES
    return [(name, problem, b) for name, problem in problems.items() for b in sizes if b < problem.n_samples]


def bounds_rows(quick: bool) -> list[Row]:
    """Bounds, closures and critical sharpness as step sizes, over the exact critical one; "∞" for no bound."""
    rows: list[Row] = []
    for name, problem, b in _settings(quick):
        origin, sampling = np.zeros(problem.n_params), WithoutReplacement(b)
        points = np.random.default_rng(b).normal(size=(N_POINTS, problem.n_params))
        steps: dict[str, float] = {
            "contraction": contraction_step_size(problem, origin, sampling),
            "size-free": alignment_step_size(problem, origin, sampling),
            "coherence": coherence_step_size(problem, origin, b),
            "closure (1, 1)": scalar_closure_step_size(problem, origin, sampling),
            "closure (1, −1)": scalar_closure_step_size(problem, origin, sampling, tau_2=-1.0),
            "critical sharpness": 2 / float(np.mean([critical_sharpness(problem, point) for point in points])),
            "of batches": 2 / float(np.mean([_of_batches(problem, point, b) for point in points])),
        }
        exact = critical_step_size(problem, origin, sampling)
        row: Row = {"ensemble": name, "b": b}
        rows.append(row | {edge: step / exact if np.isfinite(step) else "∞" for edge, step in steps.items()})
    return rows


def _of_batches(problem: LinearRegression, theta: FloatArray, b: int) -> float:
    return minibatch_critical_sharpness(problem, theta, WithoutReplacement(b), n_batches=N_BATCHES, seed=b).value


def zeroth_order_rows(quick: bool) -> list[Row]:
    """Zeroth-order descent on the full loss: bounds, heavy ball, gradient descent and batches, over its edge."""
    rows: list[Row] = []
    for name, table in ensembles(quick).items():
        problem = interpolating(table)
        origin = np.zeros(problem.n_params)
        row: Row = {"ensemble": name}
        exact = zeroth_order_step_size(problem, origin)
        trace, top = float(np.trace(problem.hessian(origin))), sharpness(problem, origin)
        with_momentum = zeroth_order_step_size(problem, origin, momentum=MOMENTUM) / (1 - MOMENTUM)
        steps = {
            "2/(tr H + 2λ_max)": 2 / (trace + 2 * top), "2/tr H": 2 / trace, "heavy ball, η/(1−β)": with_momentum,
            "gradient descent": 2 / top,
            **{f"b = {b}": zeroth_order_step_size(problem, origin, WithoutReplacement(b)) for b in (1, 8)},
        }  # fmt: skip
        rows.append(row | {edge: step / exact for edge, step in steps.items()})
    return rows


def sharpness_aware_rows(quick: bool) -> list[Row]:
    """Sharpness-aware steps without the norm, ρ a multiple of 1/λ_max: three rules over the exact edge."""
    rows: list[Row] = []
    for name, problem, b in _settings(quick):
        origin, sampling = np.zeros(problem.n_params), WithoutReplacement(b)
        top, noisy = sharpness(problem, origin), 2 / critical_step_size(problem, origin, sampling)
        for reach in REACHES:
            radius = reach / top
            exact = sharpness_aware_step_size(problem, origin, sampling, radius)
            sharpnesses = {
                "full batch": top + radius * top**2, "SGD": noisy, "Q_b + ρQ_b²": noisy + radius * noisy**2,
            }  # fmt: skip
            row: Row = {"ensemble": name, "b": b, "ρλ_max": reach}
            rows.append(row | {edge: 2 / value / exact for edge, value in sharpnesses.items()})
    return rows


def preconditioned_rows(quick: bool) -> list[Row]:
    """Frozen Adam, β = 0.9, P = √(mean gᵢ²) at a point drawn from N(θ*, I): three rules over the exact edge."""
    rows: list[Row] = []
    for name, problem, b in _settings(quick):
        origin, sampling, n = np.zeros(problem.n_params), WithoutReplacement(b), problem.n_samples
        point = np.random.default_rng(b).normal(size=problem.n_params)
        diagonal = np.sqrt((problem.sample_gradients(point, np.arange(n)) ** 2).mean(axis=0))
        exact = preconditioned_step_size(problem, origin, sampling, diagonal, momentum=MOMENTUM)
        top = 2 / preconditioned_step_size(problem, origin, WithoutReplacement(n), diagonal)
        noisy = 2 / preconditioned_step_size(problem, origin, sampling, diagonal)
        # 1/η = a/(2(1+β)) + s²/(2a(1−β)) of heavy ball, a = λ_max and s²/a = Q_b − λ_max; an average takes 1−β of it.
        one_dimension = 1 / (top / (2 * (1 + MOMENTUM)) + (noisy - top) / (2 * (1 - MOMENTUM))) / (1 - MOMENTUM)
        steps = {"full batch": 38 / top, "small batch": 2 / noisy, "formula of one dimension": one_dimension}
        row: Row = {"ensemble": name, "b": b}
        rows.append(row | {edge: step / exact for edge, step in steps.items()})
    return rows


def weight_decay_rows(quick: bool) -> list[Row]:
    """Q_b of the penalised loss L + ½μ‖θ‖² over Q_b, for μ a fraction of λ_max."""
    rows: list[Row] = []
    for name, problem, b in _settings(quick):
        origin, sampling, ones = np.zeros(problem.n_params), WithoutReplacement(b), np.ones(problem.n_params)
        top, plain = sharpness(problem, origin), critical_step_size(problem, origin, sampling)
        row: Row = {"ensemble": name, "b": b, "λ_max/Q_b": top * plain / 2}
        for fraction in DECAYS:
            found = preconditioned_step_size(problem, origin, sampling, ones, weight_decay=fraction * top)
            row[f"μ = {fraction:g}λ_max"] = plain / found
        rows.append(row)
    return rows


def dropout_rows(quick: bool) -> list[Row]:
    """Dropout of inputs, b = n too: λ_max and Q_b, of the loss and of that with the penalty of dropout, as step sizes
    over the exact edge.

    The penalty (v/2n)Σᵢ‖xᵢ∘θ‖² has the mean of the masked loss and none of the noise of masks.
    """
    rows: list[Row] = []
    problems = {name: interpolating(table) for name, table in ensembles(quick).items()}
    everyone = [(name, problem, problem.n_samples) for name, problem in problems.items()]
    order = list(problems)
    for name, problem, b in sorted(_settings(quick) + everyone, key=lambda each: (order.index(each[0]), each[2])):
        origin, sampling = np.zeros(problem.n_params), WithoutReplacement(b)
        hessians = problem.sample_hessians(origin, np.arange(problem.n_samples))
        for kept in KEPT:
            squares = (1 - kept) / kept * problem.inputs**2
            penalised = Quadratic(hessians + squares[:, :, None] * np.eye(problem.n_params), 0 * problem.inputs)
            exact = dropout_step_size(problem, origin, sampling, 1 - kept)
            steps = {
                "full batch": 2 / sharpness(problem, origin) / exact,
                "SGD": critical_step_size(problem, origin, sampling) / exact,
                "full batch, penalised": 2 / sharpness(penalised, origin) / exact,
                "SGD, penalised": critical_step_size(penalised, origin, sampling) / exact,
            }
            # For b = n two are the same but for rounding.
            distances = {edge: round(abs(np.log(step)), 9) for edge, step in steps.items()}
            closest = min(distances, key=lambda edge: distances[edge])
            rows.append({"ensemble": name, "b": b, "kept": kept, **steps, "closest": closest})
    return rows


def slope_rows(quick: bool) -> list[Row]:
    """The slope of log(2/η − S) against log b, c = 1/b: the closed form has −1, its own dynamics another one."""
    rows: list[Row] = []
    logarithms = np.log(SLOPE_BATCHES)
    for noise, sharpening in SLOPES[:2] if quick else SLOPES:
        noises = noise * SLOPE_BATCHES[0] / np.array(SLOPE_BATCHES)
        runs = [SelfStabilisingDynamics(float(s2), sharpening, 2_000 if quick else 12_000, b)
                for s2, b in zip(noises, SLOPE_BATCHES, strict=True)]  # fmt: skip
        ratios, errors = np.array([run.over_the_formula(run.run())[:2] for run in runs]).T
        centred = (logarithms - logarithms.mean()) / ((logarithms - logarithms.mean()) ** 2).sum()
        rows.append(
            {"s²": noise, "κ": sharpening, "closed form": -1.0,
             "all orders": float(centred @ np.log(1 - np.sqrt(1 - noises))),
             "own dynamics": float(centred @ np.log(ratios * noises)),
             "of it, b = 8 to 16": float(np.log(ratios[1] * noises[1] / (ratios[0] * noises[0])) / np.log(2)),
             "standard error": float(np.sqrt(((centred * errors / ratios) ** 2).sum())),
             "gap at b = 8": float(ratios[0] * noises[0] / 2)}
        )  # fmt: skip
    return rows
