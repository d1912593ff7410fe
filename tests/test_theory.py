"""Derivations: every check holds, a wrong formula fails it, and each final expression is what the code computes."""

from __future__ import annotations

import html.parser
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import mpmath
import numpy as np
import pytest
import sympy

import esssim as es
import theory
from esssim._particles import root_of_exponent
from esssim.curvature import LowRankCurvature
from esssim.flow import bursts
from esssim.flow.fast import FastMotion
from esssim.flow.law import Law
from esssim.flow.point import Point
from esssim.flow.slow import mean_velocity
from esssim.gap import second_order_bounds
from esssim.gap.setting import Setting
from esssim.spectra import largest_eigenvalues
from esssim.stability import (
    critical_step_size,
    dropout_step_size,
    escape_probability,
    interaction_aware_step_size,
    noise_kernel_norm,
    self_stabilisation,
    sharpness_aware_edge,
    sharpness_aware_step_size,
    zeroth_order_step_size,
)
from esssim.stability.gradient_noise import noise_gain
from esssim.stability.heavy_ball import inverse_response
from esssim.stability.linearised import linearise
from esssim.stability.mean_square import response_kernel
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.mean_square import Pencil
from esssim.statistics.perron import PerronMatrix
from tests import oracles
from tests.several_outputs import Bilinear
from theory import __main__ as command
from theory import _exact

SEEDS = range(5)
SCHEMES = (es.WithoutReplacement, es.WithReplacement)


def number(expression: sympy.Expr, **values: float) -> float:
    """The expression as a function of doubles, symbols by name."""
    symbols = sorted(expression.free_symbols, key=str)
    function = sympy.lambdify(symbols, expression, "numpy")
    return function(*(values[str(symbol)] for symbol in symbols))


def close(actual: object, expected: object, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", theory.names())
def test_what_computes_a_result_exists(name: str) -> None:
    for each in theory.computed_by(name):
        place, _, last = each.rpartition(".")
        # After a colon comes an attribute: a function may have the name of its module.
        assert place.split(".")[0] == "esssim"
        assert callable(resolve_name(f"{place}:{last}"))


@pytest.mark.parametrize("name", theory.names())
def test_every_step_holds(name: str) -> None:
    theory.module(name).check()
    assert theory.results(name)
    assert all(isinstance(value, (sympy.Basic, sympy.MatrixBase)) for value in theory.results(name).values())


# Each expression against the code, on random input.


def match_moment_identity(rng: np.random.Generator) -> None:
    n = int(rng.integers(2, 60))
    b = int(rng.integers(1, n + 1))
    found = theory.results("moment_identity")
    close(es.WithoutReplacement(b).variance_coefficient(n), number(found["c without replacement"], n=n, b=b))
    close(es.WithReplacement(b).variance_coefficient(n), number(found["c with replacement"], b=b))


def match_third_moment(rng: np.random.Generator) -> None:
    n = int(rng.integers(3, 60))
    b = int(rng.integers(1, n + 1))
    found = theory.results("third_moment")
    close(es.WithoutReplacement(b).third_moment_coefficient(n), number(found["c₃ without replacement"], n=n, b=b))
    close(es.WithReplacement(b).third_moment_coefficient(n), number(found["c₃ with replacement"], b=b))


def match_perturbation(rng: np.random.Generator) -> None:
    """The even and the odd part of λ_max(H + εD) with 80 digits: ε²x₂ and ε(d₁₁ + ε²x₃) but for relative ε²."""
    entries, spectrum = rng.standard_normal((3, 3)), np.array([3.0, 1.0, -0.5]) + rng.uniform(-0.2, 0.2, 3)
    entries = np.tril(entries) + np.tril(entries, -1).T
    values = {f"d{j + 1}{k + 1}": entries[j, k] for j in range(3) for k in range(j, 3)}
    values |= {f"lambda{k + 1}": spectrum[k] for k in range(3)}
    with mpmath.workdps(80):
        step = mpmath.mpf(10) ** -15
        tops = [
            max(
                mpmath.eigsy(
                    mpmath.diag(list(map(mpmath.mpf, spectrum))) + sign * step * mpmath.matrix(entries),
                    eigvals_only=True,
                )
            )
            for sign in (-1, 1)
        ]
        even = (tops[0] + tops[1]) / 2 - mpmath.mpf(spectrum[0])
        odd = (tops[1] - tops[0]) / 2 - step * mpmath.mpf(entries[0, 0])
        second, third = float(even / step**2), float(odd / step**3)
    close(second, number(theory.results("second_order_gap")["second-order term of the eigenvalue"], **values))
    expression = theory.results("third_order_gap")["third-order term of the eigenvalue"]
    # Its terms cancel: 30 digits, of which doubles would lose some.
    exact = {symbol: sympy.Rational(float(values[str(symbol)])) for symbol in expression.free_symbols}
    close(third, float(expression.subs(exact).evalf(30)))


def match_gap(rng: np.random.Generator) -> None:
    """Second and third order of the gap of indefinite, skewed samples around a spectrum with clear eigengaps."""
    raw = rng.exponential(size=(7, 3, 3)) - 1
    hessians = np.diag([3.0, 1.0, -0.5]) + 0.05 * (raw + raw.transpose(0, 2, 1))
    problem, theta = es.Quadratic(hessians, np.zeros((7, 3))), np.zeros(3)
    spectrum, basis = np.linalg.eigh(hessians.mean(axis=0))
    spectrum, basis = spectrum[::-1], basis[:, ::-1]
    deviations = basis.T @ (hessians - hessians.mean(axis=0)) @ basis
    values = {f"lambda{k + 1}": spectrum[k] for k in range(3)}
    squares = {f"q1{k + 1}": (deviations[:, 0, k] ** 2).mean() for k in (1, 2)}
    second, third = theory.results("second_order_gap")["gap"], theory.results("third_order_gap")
    entries = {f"d{j + 1}{k + 1}": deviations[:, j, k] for j in range(3) for k in range(j, 3)}
    cubic = number(third["third-order term of the eigenvalue"], **values, **entries).mean()
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(3)):
        expected = number(second, c=sampling.variance_coefficient(7), **values, **squares)
        close(es.gap.second_order(problem, theta, sampling).value, expected)
        expected += sampling.third_moment_coefficient(7) * cubic
        close(es.gap.third_order(problem, theta, sampling).value, expected)


def match_diagonal_plus_low_rank(rng: np.random.Generator) -> None:
    inputs, targets, theta = rng.standard_normal((2, 2)), rng.standard_normal(2), rng.uniform(0.3, 1.5, 4)
    values = {f"x{i + 1}{k + 1}": inputs[i, k] for i in range(2) for k in range(2)}
    values |= {f"y{i + 1}": targets[i] for i in range(2)}
    values |= dict(zip(("u1", "u2", "v1", "v2"), theta, strict=True))
    found, batch = theory.results("diagonal_plus_low_rank"), np.array([[0, 1]])
    rotation = np.kron([[1, 1], [1, -1]], np.eye(2)) / np.sqrt(2)
    cases = [("product", 2, rotation, found["product form, rotated"])]
    cases += [("difference", depth, np.eye(4), found["difference form"].subs("D", depth)) for depth in (2, 3, 4)]
    for form, depth, basis, expression in cases:
        problem = es.DiagonalLinearNetwork(inputs, targets, form=form, depth=depth)
        expression = expression.subs(sympy.Symbol("D", positive=True), depth)
        hessian = basis.T @ np.array(number(expression, **values), dtype=float) @ basis
        scale = np.abs(hessian).max()
        assert np.abs(problem.hessian(theta, [0, 1]) - hessian).max() <= 1e-12 * scale
        curvature = problem.curvature(theta)
        frame = curvature.to_basis(np.eye(4))
        assert np.abs(curvature.batch_matrices(batch)[0] - frame.T @ hessian @ frame).max() <= 1e-12 * scale


def match_secular_equation(rng: np.random.Generator) -> None:
    """The secular function changes its sign within 1e-12 of the eigenvalue that the code finds."""
    rows, diagonals = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    top = float(largest_eigenvalues(LowRankCurvature(rows, diagonals), np.array([[0, 1]]))[0])
    values = {f"a{i + 1}{k + 1}": rows[i, k] / np.sqrt(2) for i in range(2) for k in range(3)}
    values |= {f"delta{k + 1}": diagonals[:, k].mean() for k in range(3)}
    function = theory.results("secular_equation")["secular function"]
    below, above = (number(function, **values, **{"lambda": top + sign * 1e-12 * max(1, abs(top))}) for sign in (-1, 1))
    assert below < 0 < above


def match_mean_square_operator(rng: np.random.Generator) -> None:
    raw = rng.standard_normal((2, 2, 3))
    hessians, sampling = raw @ raw.transpose(0, 2, 1), es.WithReplacement(2)
    pencil = Pencil.of(es.Quadratic(hessians, np.zeros((2, 2))).curvature(np.zeros(2)))
    assert pencil is not None
    matrix = rng.standard_normal((2, 2))
    matrix = matrix + matrix.T
    basis = pencil.eigenvectors
    values = {f"h{i + 1}_{j + 1}{k + 1}": hessians[i, j, k] for i in range(2) for j in range(2) for k in range(j, 2)}
    values |= {f"m{j + 1}{k + 1}": matrix[j, k] for j in range(2) for k in range(j, 2)} | {"c": 0.5}
    image = np.array(number(theory.results("mean_square_operator")["D(M) of two samples"], **values), dtype=float)
    found = basis @ pencil.second_moment(basis.T @ matrix @ basis, sampling.variance_coefficient(2)) @ basis.T
    assert np.abs(found - image).max() <= 1e-12 * np.abs(image).max()
    one = rng.uniform(0.1, 2.0, 5)
    problem = es.Quadratic(one[:, None, None], np.zeros((5, 1)))
    expected = number(
        theory.results("mean_square_operator")["mean-square sharpness in one dimension"], a=one.mean(), s2=one.var() / 2
    )
    close(es.mean_square_sharpness(problem, [0.0], sampling), expected)


def match_moment_recursion(rng: np.random.Generator) -> None:
    curvatures, xi, eta, start = rng.uniform(0.3, 2.0, 2), rng.standard_normal(), 0.4, rng.standard_normal()
    problem = es.Quadratic(curvatures[:, None, None], [[xi / curvatures[0]], [-xi / curvatures[1]]])
    found = theory.results("moment_recursion")
    for sampling in (es.WithoutReplacement(1), es.WithReplacement(3)):
        c = sampling.variance_coefficient(2)
        trace = es.moments.evolve(problem, [start], step_size=eta, sampling=sampling, n_steps=4, n_records=5)
        for step in range(4):
            values = {"m": float(trace["mean"][step, 0]), "Sigma": float(trace["covariance"][step, 0, 0])}
            values |= {"h1": curvatures[0], "h2": curvatures[1], "xi": xi, "eta": eta, "c": c}
            close(
                trace["covariance"][step + 1, 0, 0], number(found["variance of two samples after one step"], **values)
            )
        values = {"a": curvatures.mean(), "s2": c * curvatures.var(), "sigma2": xi**2, "eta": eta, "c": c}
        stationary = es.moments.stationary_covariance(problem, step_size=eta, sampling=sampling)
        close(stationary[0, 0], number(found["stationary variance"], **values))


def match_momentum_kernel(rng: np.random.Generator) -> None:
    eigenvalues, eta, beta = rng.uniform(0.2, 1.5, 2), rng.uniform(0.2, 1.0), rng.uniform(0.1, 0.9)
    found = theory.results("momentum_kernel")
    values = {"lambda1": eigenvalues[0], "lambda2": eigenvalues[1], "eta": eta, "beta": beta}
    for nesterov, name in ((False, "heavy ball"), (True, "Nesterov")):
        kernel = response_kernel(eigenvalues, eta, beta, nesterov)
        close(kernel[0, 1], number(found[name], **values))
        close(kernel[0, 0], number(found[f"{name}, one mode"], **values))
        close(response_kernel(eigenvalues, eta, 0.0, nesterov)[0, 1], number(found["plain SGD"], **values))
    sums, rest = inverse_response(eigenvalues, beta)
    close((sums / eta + rest)[0, 1], number(found["heavy ball, 1/K"], **values))


def match_heavy_ball_one_dimension(rng: np.random.Generator) -> None:
    curvatures, beta = rng.uniform(0.1, 3.0, 6), rng.uniform(0.0, 0.95)
    problem, found = (
        es.Quadratic(curvatures[:, None, None], np.zeros((6, 1))),
        theory.results("heavy_ball_one_dimension"),
    )
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(1)):
        s2 = sampling.variance_coefficient(6) * curvatures.var()
        values = {"a": curvatures.mean(), "s2": s2, "beta": beta}
        close(
            critical_step_size(problem, [0.0], sampling, momentum=beta),
            number(found["critical step size of heavy ball"], **values),
        )
        eta = critical_step_size(problem, [0.0], sampling, momentum=beta, nesterov=True)
        close(number(found["noise put back by Nesterov"], **values, eta=eta), 1.0)


def match_imbalance_identity(rng: np.random.Generator) -> None:
    inputs, targets, theta, eta = rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal(6), 0.1
    found, batch = theory.results("imbalance_identity"), [0, 3]
    for form, name in (("product", "factor of u² − v²"), ("difference", "factor of w₊w₋")):
        problem = es.DiagonalLinearNetwork(inputs, targets, form=form)
        first, second = np.split(theta, 2)
        weights = first * second if form == "product" else first**2 - second**2
        push = inputs[batch].T @ (inputs[batch] @ weights - targets[batch]) / 2
        after = np.split(theta - eta * problem.gradient(theta, batch), 2)
        conserved = [a * a - b * b if form == "product" else a * b for a, b in ((first, second), after)]
        scale = np.abs(theta).max() ** 2 + np.abs(np.concatenate(after)).max() ** 2
        expected = conserved[0] * number(found[name], eta=eta, s=push)
        assert np.abs(conserved[1] - expected).max() <= 1e-12 * scale


def match_bounds(rng: np.random.Generator) -> None:
    raw = rng.standard_normal((5, 3, 2))
    hessians, found = raw @ raw.transpose(0, 2, 1), theory.results("bounds")
    problem, theta = es.Quadratic(hessians, np.zeros((5, 3))), np.zeros(3)
    whole = hessians.mean(axis=0)
    spread = ((hessians - whole) ** 2).sum(axis=(1, 2)).mean()
    for scheme, b in itertools.product(SCHEMES, (1, 2, 4)):
        sampling = scheme(b)
        c = sampling.variance_coefficient(5)
        batches, probabilities = oracles.all_batches(5, sampling)
        means = hessians[batches].mean(axis=1)
        tops = np.linalg.eigvalsh(means)[:, -1]
        bound = number(found["bound on gap² + variance"], c=c, F2=spread)
        close(bound, probabilities @ ((means - whole) ** 2).sum(axis=(1, 2)))
        assert probabilities @ (tops - es.sharpness(problem, theta)) ** 2 <= bound
        values = {"c": c, "S2": (hessians**2).sum(axis=(1, 2)).mean(), "T2": (whole**2).sum(), "T1": np.trace(whole)}
        lower = number(found["lower bound on the mean-square sharpness"], **values)
        close(lower, probabilities @ (means**2).sum(axis=(1, 2)) / np.trace(whole))
        assert lower <= es.mean_square_sharpness(problem, theta, sampling)
        if scheme is es.WithoutReplacement:
            upper = number(found["bound on MiniBS by domination"], n=5, b=b, lambda_max=es.sharpness(problem, theta))
            assert es.minibatch_sharpness(problem, theta, sampling).value <= upper
    everyone = number(found["bound on MiniBS by domination"], n=5, b=5, lambda_max=es.sharpness(problem, theta))
    close(es.minibatch_sharpness(problem, theta, es.WithoutReplacement(5)).value, everyone)


def match_mean_square_bounds(rng: np.random.Generator) -> None:
    """The bound, where it is an equality: one dimension; and as a bound in three."""
    bound = theory.results("mean_square_bounds")["lower bound on the mean-square sharpness"]
    raw = rng.standard_normal((5, 3, 2))
    for hessians in (rng.uniform(0.1, 2.0, (5, 1, 1)), raw @ raw.transpose(0, 2, 1)):
        p = hessians.shape[-1]
        problem, theta = es.Quadratic(hessians, np.zeros((5, p))), np.zeros(p)
        axis = np.linalg.eigh(hessians.mean(axis=0))[1][:, -1]
        forms = np.einsum("i,nij,j->n", axis, hessians, axis)
        for scheme, b in itertools.product(SCHEMES, (1, 3)):
            sampling = scheme(b)
            values: dict[str, float] = {
                "lambda1": forms.mean(),
                "s2": forms.var(),
                "c": sampling.variance_coefficient(5),
            }
            found, lower = es.mean_square_sharpness(problem, theta, sampling), number(bound, **values)
            single = es.mean_square_sharpness(problem, theta, es.WithReplacement(1))
            values |= {"Q1": single}
            upper = number(theory.results("mean_square_bounds")["chord in the variance coefficient"], **values)
            assert found <= upper * (1 + 1e-12)
            if p == 1:
                close(found, lower)
                close(found, upper)
            assert es.sharpness(problem, theta) * (1 - 1e-12) <= lower <= found * (1 + 1e-12)
    # The exact example in which MiniBS exceeds the mean-square sharpness.
    angles = np.pi / 3 * np.arange(3)
    problem = es.LinearRegression(np.column_stack((np.cos(angles), np.sin(angles))), np.zeros(3))
    close(es.mean_square_sharpness(problem, np.zeros(2), es.WithoutReplacement(2)), 5 / 8)
    close(es.minibatch_sharpness(problem, np.zeros(2), es.WithoutReplacement(2)).value, 3 / 4)


def match_interaction_aware_edge(rng: np.random.Generator) -> None:
    problem, theta = es.LinearRegression(rng.standard_normal((5, 3)), rng.standard_normal(5)), rng.standard_normal(3)
    found = theory.results("interaction_aware_edge")
    for scheme, b in itertools.product(SCHEMES, (1, 3)):
        batches, probabilities = oracles.all_batches(5, scheme(b))
        gradients = problem.gradient(theta, batches)
        form = probabilities @ np.einsum("mi,ij,mj->m", gradients, problem.hessian(theta), gradients)
        values = {"g2": np.sum(problem.gradient(theta) ** 2), "t": form}
        close(interaction_aware_step_size(problem, theta, scheme(b)), number(found["step size"], **values))
        change = probabilities @ problem.loss(theta - 0.1 * gradients) - problem.loss(theta)
        assert abs(change - number(found["change of the expected loss"], **values, eta=0.1)) <= 1e-12 * problem.loss(
            theta
        )


def match_noise_kernel(rng: np.random.Generator) -> None:
    inputs = rng.standard_normal((5, 2))
    problem, theta, found = es.LinearRegression(inputs, np.zeros(5)), np.zeros(2), theory.results("noise_kernel")
    eigenvalues, basis = np.linalg.eigh(inputs.T @ inputs / 5)
    rows = inputs @ basis
    for scheme, b in itertools.product(SCHEMES, (1, 3)):
        eta = 0.7 / eigenvalues[1]
        values = {f"q{j + 1}{k + 1}": (rows[:, j] ** 2 * rows[:, k] ** 2).mean() for j in range(2) for k in range(j, 2)}
        values |= {
            "lambda1": eigenvalues[0],
            "lambda2": eigenvalues[1],
            "eta": eta,
            "c": scheme(b).variance_coefficient(5),
        }
        for approximation, expression in found.items():
            norm = noise_kernel_norm(problem, theta, scheme(b), eta, approximation=approximation)  # type: ignore[arg-type]
            close(norm, number(expression, **values))


def match_self_stabilisation_gap(rng: np.random.Generator) -> None:
    # Nearly orthogonal inputs, products of 1.7 to 2.3 on their way to 3: there the sharpness rises with them.
    inputs = np.sqrt(3) * np.tile(np.diag([1.0, 1.1, 1.2]), (3, 1)) + 0.1 * rng.standard_normal((9, 3))
    problem = es.DiagonalLinearNetwork(inputs, 3 * inputs @ np.ones(3))
    found = theory.results("self_stabilisation_gap")
    measured = self_stabilisation(problem, rng.uniform(1.3, 1.5, 6), es.WithReplacement(2), 0.03)
    values = {"alpha": measured.sharpening_rate, "beta": measured.strength, "sigma2": measured.noise_variance}
    values |= {"eta": 0.03, "S": measured.sharpness}
    close(measured.gap, number(found["gap"], **values))
    close(measured.step_size, number(found["step size"], **values))
    small = values | {"sigma2": 1e-6 * measured.noise_variance}
    close(number(found["gap, all orders"], **small), number(found["gap"], **small), 1e-5)


def match_momentum_flow(rng: np.random.Generator) -> None:
    found, beta = theory.results("momentum_flow"), float(rng.uniform(0.1, 0.95))
    factors, eta = rng.standard_normal((2, 3)), 0.01
    for c in (0.3, 0.0):
        fast = FastMotion(PerronMatrix.of(factors, c), factors, np.full(2, 0.02), eta, None, beta)
        low, high = fast.perron.eigenvalues
        values = {"eta": eta, "beta": beta, "lambda1": low, "lambda2": high, "n": 2, "kappa_1": fast.perron.kappa_1}
        close(fast.inverse_response[0, 1], number(found["inverse response 1/M_jk"], **values))
        both = values | {"lambda2": low}
        close(fast.inverse_response[0, 0], number(found["inverse response 1/M_jk"], **both))
    # At full batches the derivative of V is half the push per eigenvalue of K.
    noise, h = 0.2, float(high / 2)
    symbol = sympy.Symbol("lambda1", positive=True)
    slope = number(found["potential of full batches"].diff(symbol), epsilon=noise, **(values | {"lambda1": h}))
    settled = replace(fast, source=np.full(2, noise**2 / 4)).rotated[1, 1]
    close(slope / 2, fast.slow_step / 2 * settled / high / 2)


def match_mean_flow(rng: np.random.Generator) -> None:
    """One sample x, one product u·v with v held: a model with one parameter is f(θ) = xθ³ here, by depth 3 with w₋ = 0."""
    found, eta, beta = theory.results("mean_flow"), 0.01, float(rng.uniform(0.0, 0.9))
    x, weight = rng.uniform(0.5, 1.0, 2)
    problem = es.DiagonalLinearNetwork([[x]], [x * weight**3 - 0.1], form="difference", depth=3)
    theta = np.array([weight, 0.0])
    fast = FastMotion.at(Point(problem, theta), es.WithoutReplacement(1), np.full(1, 0.3), eta, None, beta)
    values = {"eta": eta, "beta": beta, "J": 3 * x * weight**2, "h": 6 * x * weight, "r": 0.1}
    expected = number(found["velocity of one parameter"], R=fast.residual_covariance[0, 0], **values)
    close(mean_velocity(Point(problem, theta), fast, np.array([0.1])), [expected, 0.0])


def match_several_outputs(rng: np.random.Generator) -> None:
    found, eta, noise, b = theory.results("several_outputs"), 0.01, 0.3, 2
    problem = Bilinear(rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), 3)
    theta, frozen, c = rng.standard_normal(problem.n_params), rng.standard_normal((3, 2)), 0.25
    law = Law(problem, es.WithoutReplacement(b), es.Ramp.of(eta), 1, 0.0, noise**2 / (b * 3), frozen.ravel())
    fast = law.fast(0.0, law.at(theta))
    block = fast.residual_covariance[2:4, 2:4]
    values = {"kappa_2": c / 3, "n": 3, "b": b, "epsilon": noise, "r1": frozen[1, 0], "r2": frozen[1, 1]}
    values |= {"R11": block[0, 0], "R12": block[0, 1]}
    expected = [number(found[f"noise of one sample, entry {entry}"], **values) for entry in ("11", "12")]
    # Solved by iteration, to 1e-11 of the largest entry of all samples.
    np.testing.assert_allclose(fast.noise.reshape(3, 2, 2)[1, 0], expected, atol=1e-9 * np.abs(fast.noise).max())
    perron, mixed = BlockPerron(np.array([0.5, 2.0]), np.eye(2), c, n_rows=2), rng.standard_normal()
    image = perron.at(eta)(np.array([1.0, mixed, mixed, 2.0])).reshape(2, 2)
    values = {"eta": eta, "n": 1, "kappa_1": perron.kappa_1, "lambda_1": 0.5, "lambda_2": 2.0, "X12": mixed}
    close(image[0, 1], number(found["image of a block of a diagonal K, entry 12"], **values))


def match_leading_modes(rng: np.random.Generator) -> None:
    found, eta, beta, n = theory.results("leading_modes"), 0.01, float(rng.uniform(0.0, 0.9)), 6
    rows = rng.standard_normal((n, 9))
    perron = PerronMatrix.leading(rows, 0.3, 2).with_tail(rows)
    fast = FastMotion(perron, rows, np.ones(n), eta, momentum=beta)
    values = {"eta": eta, "beta": beta, "n": n}
    with_leading = found["gain of a pair with a leading mode"]
    close(fast.gain_of_tail, [number(with_leading, lambda1=value, **values) for value in perron.eigenvalues])
    of_equals = number(found["gain of a pair of equal small eigenvalues"], **values)
    weights = rng.uniform(0.5, 2.0, n)
    close(fast.slow_step * perron.of_tail(weights), of_equals * perron.tail * weights)


def match_bursts(rng: np.random.Generator) -> None:
    found, n = theory.results("bursts"), 3
    perron = PerronMatrix.of(rng.standard_normal((n, 2)), 0.4)
    edge, noise = perron.edge()
    state = bursts.edge_matrix(perron, edge, noise)
    values = dict(zip(("lambda_1", "lambda_2"), perron.eigenvalues, strict=True))
    values |= {"S_11": state[0, 0], "S_12": state[0, 1], "S_22": state[1, 1], "eta": 2 / edge, "n": n}
    close(bursts.edge_slope(perron, edge, noise), number(found["slope of two modes"], **values))
    nu, push = rng.uniform(0.5, 2.0), rng.uniform(0.1, 1.0)
    z = nu * push / (1 + nu) ** 2
    level = nu - bursts.excess(nu, push)
    left_over = found["vanishes without large bursts"]
    at = {"nu": nu, "D": level, "z": z}
    left_over = float(left_over.subs({symbol: at[str(symbol)] for symbol in left_over.free_symbols}).evalf())
    # The code has the integral by the trapezoidal rule.
    np.testing.assert_allclose(left_over, 0.0, atol=1e-5 * z**level * np.exp(-z))


def match_weights_without_batches(rng: np.random.Generator) -> None:
    n = int(rng.integers(3, 40))
    b, m4 = int(rng.integers(1, n)), float(rng.uniform(1.0, 9.0))
    found, law = theory.results("weights_without_batches"), es.FullOrSingle(b)
    values = {"n": n, "c": law.variance_coefficient(n), "m4": m4}
    product, square = (
        number(found[f"E of the {name}"], **values) for name in ("product of two weights", "square of a weight")
    )
    perron = PerronMatrix.of(np.eye(n), values["c"])
    close([perron.kappa_1, perron.kappa_1 + perron.kappa_2], [product, square])
    weights, chances = law.every(n)
    close(weights.T @ (chances[:, None] * weights), np.full((n, n), product) + (square - product) * np.eye(n), 1e-11)
    close(law.excess_kurtosis(n), number(found["excess kurtosis, all samples or one"], **values), 1e-10)
    of_centred = found["excess kurtosis, centred weights"]
    close(es.ThreePointWeights(b, m4).excess_kurtosis(n), number(of_centred, **values), 1e-10)
    close(es.TwoPointWeights(b).excess_kurtosis(n), number(of_centred, **values | {"m4": 1.0}), 1e-10)


def match_gradient_noise(rng: np.random.Generator) -> None:
    spread = rng.standard_normal((2, 2))
    spread, hessian = spread + spread.T, np.diag(rng.uniform(1.0, 2.0, 2))
    problem, eta = es.Quadratic([hessian + spread, hessian - spread], np.zeros((2, 2))), float(rng.uniform(0.1, 0.4))
    linearised = linearise(problem, np.zeros(2), es.WithReplacement(3), "full")
    assert linearised is not None
    squares, c = hessian**2 + spread**2, 1 / 3
    values = {"eta": eta, "c": c, "q_11": squares[0, 0], "q_12": squares[0, 1], "q_22": squares[1, 1]}
    values |= {f"lambda_{j + 1}": hessian[j, j] for j in range(2)}
    values |= {f"A_{j + 1}{j + 1}": c * (spread @ spread)[j, j] for j in range(2)}
    found = theory.results("gradient_noise")
    gains = {
        law: noise_gain(linearised, law(1), eta * linearised.scale, 0.0, False)
        for law in (es.IsotropicNoise, es.DiagonalNoise)
    }
    close(gains[es.IsotropicNoise], number(found["gain of isotropic noise"], **values))
    own, other = (found[f"gain of diagonal noise, 1{k}"] for k in "12")
    swapped = values | {"q_11": squares[1, 1], "lambda_1": hessian[1, 1], "lambda_2": hessian[0, 0]}
    matrix = np.array([[number(e, **v) for e in pair] for v, pair in ((values, (own, other)), (swapped, (other, own)))])
    close(gains[es.DiagonalNoise], np.abs(np.linalg.eigvals(matrix)).max())
    # Steps of a network of one weight, with noise of both signs; a tiny one shows the leading part of the variance.
    network, theta, roots = es.DiagonalLinearNetwork([[1.0]], [0.3]), rng.uniform(1.0, 2.0, 2), rng.uniform(0.5, 1.0, 2)
    gradient = network.gradient(theta)
    values = {
        "u": theta[0],
        "v": theta[1],
        "E[s^2]": (gradient[0] / theta[1]) ** 2,
        "N_u": roots[0] ** 2,
        "N_v": roots[1] ** 2,
    }

    def changes(eta: float) -> np.ndarray:
        after = np.array([theta - eta * (gradient + signs * roots) for signs in itertools.product((1, -1), repeat=2)])
        return np.asarray(after[:, 0] ** 2 - after[:, 1] ** 2 - (theta[0] ** 2 - theta[1] ** 2))

    close(changes(0.2).mean(), number(found["mean change of u² − v²"], eta=0.2, **values), 1e-10)
    close(changes(1e-7).var(), number(found["variance of that change"], eta=1e-7, **values), 1e-5)


def match_zeroth_order(rng: np.random.Generator) -> None:
    found = theory.results("zeroth_order")
    problem = es.Quadratic([np.diag(values) for values in rng.uniform(0.5, 2.0, (4, 2))], np.zeros((4, 2)))
    top = np.diagonal(problem.hessian(np.zeros(2)))
    eta = zeroth_order_step_size(problem, np.zeros(2))
    close(1.0, number(found["full loss"], eta=eta, lambda_1=top[0], lambda_2=top[1]))
    line = es.LinearRegression(rng.standard_normal((5, 1)), np.zeros(5))
    for scheme, b in itertools.product(SCHEMES, (1, 3)):
        batches, probabilities = oracles.all_batches(5, scheme(b))
        of_batches = line.hessian(np.zeros(1), batches)[:, 0, 0]
        values = {"h": probabilities @ of_batches, "h2": probabilities @ of_batches**2}
        close(
            zeroth_order_step_size(line, np.zeros(1), scheme(b)), number(found["step size in one dimension"], **values)
        )
    # A step on a diagonal network of two coordinates, averaged over directions by quadrature.
    network, theta, step = (
        es.DiagonalLinearNetwork(rng.standard_normal((3, 2)), rng.standard_normal(3)),
        rng.random(4),
        0.3,
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    directions = np.array(list(itertools.product(nodes, repeat=4)))
    chances = np.prod(list(itertools.product(weights / weights.sum(), repeat=4)), axis=1)
    gradient = network.gradient(theta)
    after = theta - step * (directions @ gradient)[:, None] * directions
    squares = chances @ after**2
    values = {"eta": step, "u": theta[0], "v": theta[2], "s": gradient[0] / theta[2], "G": gradient @ gradient}
    close(squares[0] - squares[2], number(found["imbalance after a step"], **values))
    close(squares[0] + squares[2], number(found["size after a step"], **values))


def match_dropout(rng: np.random.Generator) -> None:
    found = theory.results("dropout")
    values, chances, rate = np.array([0.0, 1 / 0.7]), np.array([0.3, 0.7]), 0.3
    for name, power in (("v", 2), ("t", 3), ("f", 4)):
        close(chances @ (values - 1) ** power, number(found[name], q=1 - rate))
    line = es.LinearRegression(np.full((4, 1), 1.3) * rng.choice([-1, 1], (4, 1)), np.zeros(4))
    expected = number(found["sharpness in one dimension"], q=1 - rate, h=1.3**2)
    close(2 / dropout_step_size(line, np.zeros(1), es.WithoutReplacement(1), rate), expected)

    # Steps of one sample from a solution, every mask.
    row, beta = rng.standard_normal(2), rng.standard_normal(2)
    total = 0.0
    for mask, chance in zip(itertools.product(values, repeat=2), np.outer(chances, chances).ravel(), strict=True):
        masked = np.array(mask) * row
        total += chance * es.LinearRegression(masked[None], [row @ beta]).gradient(beta)[0] ** 2
    close(total, number(found["noise of the masks"], q=1 - rate, x1=row[0], x2=row[1], beta_1=beta[0], beta_2=beta[1]))


def match_escapes(rng: np.random.Generator) -> None:
    """One steep sample of ten: with η = 1 a step multiplies by −1.5 or 1/1.5."""
    found, growth, height = theory.results("escapes"), 1.5, 3
    index = number(found["tail index"], p=0.1, g=growth)

    def exponent(order: float) -> float:
        return float(np.log(0.1 * growth**order + 0.9 * growth**-order))

    assert root_of_exponent(exponent, np.linspace(1, 9, 400)) == pytest.approx(index, abs=1e-3)
    line = es.LinearRegression(np.sqrt([1 + growth] + [1 - 1 / growth] * 9)[:, None], np.zeros(10))
    level = float(line.loss(np.array([growth**height]))) * (1 - 1e-9)
    seen = escape_probability(
        line, [1.0], es.WithoutReplacement(1), 1.0, level=level, n_steps=30, n_particles=100, seed=int(rng.integers(9))
    )
    expected = number(found["probability"], p=0.1, k=height)
    assert abs(seen.value - expected) < 3.5 * seen.standard_error
    assert seen.standard_error < 0.15 * expected


def match_cross_entropy(rng: np.random.Generator) -> None:
    found = theory.results("cross_entropy")
    network = es.problems.LogisticNetwork([[1.0]], [0.9])

    def kappa(value: float) -> float:
        point = np.array([1.0, value])
        row = network.gauss_newton_curvature(point).factors[0]
        return float(row @ row / (1.0 + value**2))

    at, spread = float(rng.normal()), 1e-3
    sigma = 1 / (1 + np.exp(-at))
    close(kappa(at), number(found["output Hessian"], sigma=sigma))
    shift = number(found["shift of the mean logit"], sigma=sigma, v=spread**2)
    mean = (kappa(at + shift + spread) + kappa(at + shift - spread)) / 2
    close(mean, number(found["mean output Hessian"], sigma=sigma, v=spread**2), 1e-11)


def match_momentum_batch_sharpness(rng: np.random.Generator) -> None:
    """At the second moments that are stationary at the critical step size, found by powers of the operator."""
    found = theory.results("momentum_batch_sharpness")
    line, beta = es.LinearRegression(rng.standard_normal((5, 1)), np.zeros(5)), 0.6
    for scheme, b in itertools.product(SCHEMES, (1, 3)):
        batches, chances = oracles.all_batches(5, scheme(b))
        of_batches = line.hessian(np.zeros(1), batches)[:, 0, 0]
        eta = critical_step_size(line, np.zeros(1), scheme(b), momentum=beta)
        values = {"a": chances @ of_batches, "m2": chances @ of_batches**2, "m3": chances @ of_batches**3}
        close(1 / eta, number(found["1/η at the edge"], beta=beta, **values))
        steps = np.array([[[1 - eta * h, -eta * beta], [h, beta]] for h in of_batches])
        operator = np.einsum("m,mij,mkl->ikjl", chances, steps, steps).reshape(4, 4)
        radii, states = np.linalg.eig(operator)
        state = states[:, np.abs(radii).argmax()].real.reshape(2, 2)
        ahead = np.stack([of_batches, np.full(len(of_batches), beta)], axis=1)  # s = h·e + β·v
        curved = chances @ (of_batches * np.einsum("mi,ij,mj->m", ahead, state, ahead))
        along = chances @ (of_batches * (ahead @ state[0]))
        expected = number(found["momentum batch sharpness at the edge"], beta=beta, eta=eta, **values)
        assert curved / along == pytest.approx(expected, rel=1e-7)


def match_sharpness_aware(rng: np.random.Generator) -> None:
    found = theory.results("sharpness_aware")
    eta, rho = 0.3, 0.2
    edge = sharpness_aware_edge(eta, rho, gradient_norm=0.7)
    close(edge, number(found["full-batch edge"], eta=eta, rho=rho, g=0.7))
    line = es.LinearRegression(rng.standard_normal((5, 1)), np.zeros(5))
    for scheme, b in itertools.product(SCHEMES, (1, 3)):
        batches, probabilities = oracles.all_batches(5, scheme(b))
        of_batches = line.hessian(np.zeros(1), batches)[:, 0, 0]
        values = {f"h{k}": float(probabilities @ of_batches**k) for k in range(1, 5)}
        expected = number(found["sharpness in one dimension"], rho=rho, **values)
        close(2 / sharpness_aware_step_size(line, np.zeros(1), scheme(b), rho), expected)
    network, theta = es.DiagonalLinearNetwork(rng.standard_normal((3, 2)), rng.standard_normal(3)), rng.random(4)
    gradient = network.gradient(theta)
    uphill = theta + rho * gradient
    after = theta - eta * network.gradient(uphill)
    slopes = {"s": gradient[0] / theta[2], "t": network.gradient(uphill)[0] / uphill[2]}
    expected = number(found["imbalance after a step"], eta=eta, rho=rho, u=theta[0], v=theta[2], **slopes)
    close(after[0] ** 2 - after[2] ** 2, expected)


def match_sharp_bounds(rng: np.random.Generator) -> None:
    n = int(rng.integers(5, 60))
    b = int(rng.integers(1, n + 1))
    found = theory.results("sharp_bounds")
    problem, theta = es.LinearRegression(rng.standard_normal((n, 2)), np.zeros(n)), np.zeros(2)
    for scheme, kind in ((es.WithoutReplacement, "without"), (es.WithReplacement, "with")):
        own, pairs = Setting.of(problem, theta, scheme(b)).fourth
        close(own, number(found[f"c₄ {kind} replacement"], n=n, b=b))
        close(pairs, number(found[f"c₂₂ {kind} replacement"], n=n, b=b))
    across, spread, distance = rng.uniform(0.1, 2.0, 3)
    kappa = max(distance, math.sqrt(4 * across + (spread - distance) ** 2))
    expected = number(found["bound on the gap"], A=across, N=spread, g=distance, kappa=kappa)
    close(second_order_bounds.least(distance, 1.0, across, spread, 0.0), expected)


def match_additive_noise(rng: np.random.Generator) -> None:
    """Rows on the nodes of a quadrature have the moments of Gaussian ones up to the fifth, exactly."""
    nodes = np.array([-math.sqrt(3), 0, 0, 0, 0, math.sqrt(3)])
    steepness = float(rng.uniform(6, 12))
    rows = np.array(list(itertools.product(nodes, repeat=3))) * [math.sqrt(steepness), 1.0, 1.0]
    sampling = es.WithReplacement(200)
    problem, found = es.LinearRegression(rows, np.zeros(len(rows))), theory.results("additive_noise_limit")
    noise, second = (f(problem, np.zeros(3), sampling).value for f in (es.gap.additive_noise, es.gap.second_order))
    scatter = ((rows[:, :, None] * rows[:, None] - np.diag([steepness, 1, 1])) ** 2).sum(axis=(1, 2)).mean()
    close(noise, number(found["additive noise"], c=1 / 200, F2=scatter, p=3, theta=steepness))
    close(noise / second, number(found["ratio on spiked Gaussian rows"], theta=steepness, p=3))


MATCHES: dict[str, Callable[[np.random.Generator], None]] = {
    "moment_identity": match_moment_identity,
    "third_moment": match_third_moment,
    "second_order_gap": match_perturbation,
    "third_order_gap": match_gap,
    "diagonal_plus_low_rank": match_diagonal_plus_low_rank,
    "secular_equation": match_secular_equation,
    "mean_square_operator": match_mean_square_operator,
    "moment_recursion": match_moment_recursion,
    "momentum_kernel": match_momentum_kernel,
    "heavy_ball_one_dimension": match_heavy_ball_one_dimension,
    "imbalance_identity": match_imbalance_identity,
    "bounds": match_bounds,
    "mean_square_bounds": match_mean_square_bounds,
    "interaction_aware_edge": match_interaction_aware_edge,
    "noise_kernel": match_noise_kernel,
    "self_stabilisation_gap": match_self_stabilisation_gap,
    "momentum_flow": match_momentum_flow,
    "mean_flow": match_mean_flow,
    "several_outputs": match_several_outputs,
    "leading_modes": match_leading_modes,
    "bursts": match_bursts,
    "weights_without_batches": match_weights_without_batches,
    "gradient_noise": match_gradient_noise,
    "zeroth_order": match_zeroth_order,
    "sharp_bounds": match_sharp_bounds,
    "additive_noise_limit": match_additive_noise,
    "sharpness_aware": match_sharpness_aware,
    "dropout": match_dropout,
    "escapes": match_escapes,
    "cross_entropy": match_cross_entropy,
    "momentum_batch_sharpness": match_momentum_batch_sharpness,
}


# The flow has proofs and a comparison with the package of its own, in tests/test_theory_flow.py.
ELSEWHERE = {"stochastic_central_flow"}


@pytest.mark.parametrize("name", dict.fromkeys(MATCHES))
@pytest.mark.parametrize("seed", SEEDS)
def test_the_code_computes_what_was_derived(name: str, seed: int) -> None:
    MATCHES[name](np.random.default_rng([seed, 20260405]))


class Consulted(dict[str, sympy.Expr]):
    """Results that know which of them were asked for."""

    def __init__(self, found: dict[str, sympy.Expr]) -> None:
        super().__init__(found)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> sympy.Expr:
        self.asked.add(key)
        return super().__getitem__(key)

    def items(self) -> list[tuple[str, sympy.Expr]]:  # type: ignore[override]
        return [(key, self[key]) for key in self]


def test_every_final_expression_is_compared_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: Consulted(theory.results(name)) for name in MATCHES}
    monkeypatch.setattr(theory, "results", found.__getitem__)
    for match in dict.fromkeys(MATCHES.values()):
        match(np.random.default_rng(20260407))
    assert {name: results.asked for name, results in found.items()} == {name: set(found[name]) for name in found}
    assert set(MATCHES) | ELSEWHERE == set(theory.names())


# What proves must also refuse.


WRONG = {
    "moment_identity": ("WITH", {"same": 1 / sympy.Symbol("n"), "pair": sympy.Integer(0)}),
    "third_moment": ("WITH", theory.module("third_moment").WITHOUT),
    "mean_square_operator": ("coefficient", lambda n, b, replacement: sympy.Rational(1, n)),
    "moment_recursion": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "second_order_gap": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "third_order_gap": ("third_term", lambda: sympy.Integer(0)),
    "diagonal_plus_low_rank": ("push", lambda weights: sympy.zeros(2, 1)),
    "secular_equation": ("small_matrix", lambda: sympy.zeros(2, 2)),
    "momentum_kernel": ("gain", lambda nesterov: sympy.Matrix([-sympy.Symbol("eta", positive=True), 0])),
    "heavy_ball_one_dimension": ("second_moment_operator", lambda nesterov: sympy.zeros(3, 3)),
    "bounds": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "mean_square_bounds": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "interaction_aware_edge": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "noise_kernel": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "imbalance_identity": (
        "derive",
        lambda: {"factor of u² − v²": sympy.Integer(1), "factor of w₊w₋": sympy.Integer(1)},
    ),
    "self_stabilisation_gap": ("stationary_variance", lambda: sympy.Symbol("Delta", positive=True)),
    "momentum_flow": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "mean_flow": ("spread_gradient", lambda root, point: sympy.ones(2, 1)),
    "several_outputs": ("blocks_of", lambda matrix: sympy.diag(*matrix.diagonal())),
    "leading_modes": ("slow_step", lambda: sympy.Symbol("eta", positive=True)),
    "bursts": ("density", lambda: sympy.Symbol("W", positive=True) ** -2),
    "weights_without_batches": (
        "fourth_of_centred",
        lambda: 3 * (1 - 1 / theory.module("weights_without_batches").n) ** 2,
    ),
    "gradient_noise": ("coefficient", lambda n, b, replacement: sympy.Rational(1, b + 1)),
    "zeroth_order": ("kick", lambda matrix: 2 * matrix),
    "additive_noise_limit": ("squares", theory.module("additive_noise_limit").cross),
    "sharp_bounds": ("WITHOUT", theory.module("sharp_bounds").WITH),
    "momentum_batch_sharpness": ("second_moments", lambda: (-sympy.Symbol("a", positive=True), sympy.Integer(1))),
    "cross_entropy": ("sigmoid", lambda logit: logit),
    "escapes": (
        "tail_index",
        lambda: sympy.log(1 / theory.module("escapes").p) / sympy.log(theory.module("escapes").g),
    ),
    "dropout": ("central_moments", lambda: (1 / theory.module("dropout").q - 1, sympy.Integer(0), sympy.Integer(1))),
    "sharpness_aware": ("weight", lambda coarse, size, b, replacement: sympy.Rational(1, size ** len(set(coarse)))),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_step_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong = WRONG[name]
    assert hasattr(theory.module(name), attribute)
    monkeypatch.setattr(theory.module(name), attribute, wrong)
    with pytest.raises((AssertionError, IndexError)):
        theory.module(name).check()


@pytest.mark.parametrize(
    ("name", "result"),
    [(name, key) for name in theory.names() if name not in ELSEWHERE for key in theory.results(name)],
)
def test_no_result_is_left_unproved(name: str, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each final expression enters some step: twice it fails the check."""
    module = theory.module(name)
    derived = module.derive()
    monkeypatch.setattr(module, "derive", lambda: derived | {result: 2 * derived[result]})
    with pytest.raises(AssertionError):
        module.check()


def test_equality_is_proved_not_sampled() -> None:
    x = sympy.Symbol("x")
    _exact.same((x + 1) ** 2, x**2 + 2 * x + 1, "binomial")
    _exact.same(sympy.sin(x) ** 2 + sympy.cos(x) ** 2, 1, "Pythagoras")
    with pytest.raises(AssertionError, match="almost: the two sides differ by"):
        _exact.same(x + sympy.Rational(1, 10**30), x, "almost")
    with pytest.raises(AssertionError, match="shapes"):
        _exact.same(sympy.eye(2), sympy.eye(3), "shapes")
    for n, b, replacement in _exact.SCHEMES:
        assert sum(probability for _, probability in _exact.law(n, b, replacement)) == 1
        sampling = (es.WithReplacement if replacement else es.WithoutReplacement)(b)
        merged: dict[tuple[int, ...], sympy.Rational] = {}
        for draw, probability in _exact.law(n, b, replacement):
            merged[tuple(sorted(draw))] = merged.get(tuple(sorted(draw)), 0) + probability
        assert merged == {
            k: sympy.Rational(v.numerator, v.denominator) for k, v in oracles.law_of_batches(n, sampling).items()
        }


# The summary


class Balanced(html.parser.HTMLParser):
    """Counts MathML elements and checks that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.equations = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        self.equations += tag == "math"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_the_command_proves_and_typesets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["moment_identity", "self_stabilisation_gap"]
    assert command.main(chosen, tmp_path) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[:2]] == [["proved", name] for name in chosen]
    assert printed[2].startswith("2 of 2 derivations hold")
    page = Balanced()
    page.feed((tmp_path / "summary.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.equations == sum(len(theory.results(name)) for name in chosen) == 5
    source = (tmp_path / "summary.tex").read_text(encoding="utf-8")
    assert source.count(r"\[") == source.count(r"\]") == 5
    assert source.count(r"\section{") == source.count(r"\begin{verbatim}") == source.count(r"\end{verbatim}") == 2
    assert r"\frac{1}{b}" in source


def test_the_command_says_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory.module("third_moment"), "check", lambda: _exact.same(1, 2, "one is two"))
    assert command.main(["third_moment"], tmp_path) == 1
    assert "FAILED  third_moment: one is two: the two sides differ by -1" in capsys.readouterr().out
    assert command.main(["fourth_moment"], tmp_path) == 2
    assert "name must be one of additive_noise_limit, bounds, " in capsys.readouterr().err


def test_modules_are_found_by_themselves_and_held_to_the_convention(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set(MATCHES) <= set(theory.names())
    assert not [name for name in theory.names() if name.startswith("_")]
    (tmp_path / "newcomer.py").write_text(
        '"""A title.\n\nA statement."""\nimport sympy\nRESULT = sympy.Integer(2)\ndef check(): pass\n'
    )
    (tmp_path / "sloppy.py").write_text("def check(): pass\n")
    monkeypatch.setattr(theory, "__path__", [*theory.__path__, str(tmp_path)])
    assert {"newcomer", "sloppy"} <= set(theory.names())
    assert theory.results("newcomer") == {"newcomer": sympy.Integer(2)}
    with pytest.raises(
        ValueError, match=r"theory/sloppy\.py must have a docstring, check\(\) and derive\(\) or RESULT"
    ):
        theory.module("sloppy")
    assert isinstance(theory.module("newcomer"), ModuleType)
