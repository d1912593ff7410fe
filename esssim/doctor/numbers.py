"""One number of each kind against its reference: a closed form, or plain numpy."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import esssim as es
from esssim._errors import in_one_line
from esssim._rows import Row
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.doctor.check import steps

# (value, reference, allowed relative error)
Compared = tuple[float, float, float]
ROUNDING = 1e-12


@dataclass(frozen=True)
class Number:
    """A number beside its reference. passed: whether they agree; error: the exception, where one came."""

    name: str
    value: float
    reference: float
    allowed: float
    passed: bool
    seconds: float
    error: str | None = None

    def as_row(self) -> Row:
        return {name: value for name, value in asdict(self).items() if value is not None}


NUMBERS: dict[str, Callable[[], Compared]] = {}


def number(name: str) -> Callable[[Callable[[], Compared]], Callable[[], Compared]]:
    def register(function: Callable[[], Compared]) -> Callable[[], Compared]:
        NUMBERS[name] = function
        return function

    return register


def measure() -> Iterator[Number]:
    """Each number in turn, whatever becomes of it."""
    for name, function in steps(list(NUMBERS.items())):
        if name.startswith("torch") and find_spec("torch") is None:
            continue
        started = time.perf_counter()
        try:
            with one_blas_thread():
                value, reference, allowed = map(float, function())
        except Exception as error:
            seconds = time.perf_counter() - started
            yield Number(name, math.nan, math.nan, math.nan, False, seconds, in_one_line(error))
            continue
        passed = abs(value - reference) <= allowed * abs(reference)
        yield Number(name, value, reference, allowed, passed, time.perf_counter() - started)


RNG = np.random.default_rng(16)
INPUTS, TARGETS = RNG.standard_normal((6, 3)), RNG.standard_normal(6)
REGRESSION = es.LinearRegression(INPUTS, TARGETS)
THETA, PAIRS = np.array([0.5, -1.0, 2.0]), es.WithoutReplacement(2)
HESSIAN = INPUTS.T @ INPUTS / 6


def batch_hessians() -> FloatArray:
    """H_B of all 15 pairs."""
    return np.array([INPUTS[list(pair)].T @ INPUTS[list(pair)] / 2 for pair in itertools.combinations(range(6), 2)])


@number("sharpness")
def sharpness() -> Compared:
    return es.sharpness(REGRESSION, THETA), float(np.linalg.svd(INPUTS, compute_uv=False)[0] ** 2 / 6), ROUNDING


@number("mini-batch sharpness")
def minibatch_sharpness() -> Compared:
    found = es.minibatch_sharpness(REGRESSION, THETA, PAIRS)
    return found.value, float(np.linalg.eigvalsh(batch_hessians())[:, -1].mean()), ROUNDING


@number("batch sharpness")
def batch_sharpness() -> Compared:
    residuals = INPUTS @ THETA - TARGETS
    gradients = [INPUTS[list(p)].T @ residuals[list(p)] / 2 for p in itertools.combinations(range(6), 2)]
    ratios = [g @ h @ g / (g @ g) for g, h in zip(gradients, batch_hessians(), strict=True)]
    return es.batch_sharpness(REGRESSION, THETA, PAIRS).value, float(np.mean(ratios)), ROUNDING


@number("mean-square sharpness")
def mean_square_sharpness() -> Compared:
    second = np.mean([np.kron(h, h) for h in batch_hessians()], axis=0)
    mean = (np.kron(HESSIAN, np.eye(3)) + np.kron(np.eye(3), HESSIAN)) / 2
    reference = np.linalg.eigvals(np.linalg.solve(mean, second)).real.max()
    return float(es.mean_square_sharpness(REGRESSION, THETA, PAIRS)), float(reference), 1e-10


@number("sharpness of a diagonal network")
def network() -> Compared:
    problem, theta = es.DiagonalLinearNetwork(INPUTS, TARGETS), np.array([0.5, -1.0, 2.0, 1.0, 0.5, -0.5])
    u, v = theta[:3], theta[3:]
    jacobian = np.hstack((INPUTS * v, INPUTS * u))
    bend = np.diag(INPUTS.T @ (INPUTS @ (u * v) - TARGETS) / 6)
    nothing = np.zeros((3, 3))
    hessian = jacobian.T @ jacobian / 6 + np.block([[nothing, bend], [bend, nothing]])
    return es.sharpness(problem, theta), float(np.linalg.eigvalsh(hessian)[-1]), ROUNDING


@number("critical step size with momentum")
def critical_step_size() -> Compared:
    """One dimension: 1/η = a/(2(1+β)) + s²/(2a(1−β)), a and s² mean and variance of the batch Hessian."""
    problem, sampling, beta = es.LinearRegression([[1.0], [2.0], [0.5]], np.zeros(3)), es.WithReplacement(1), 0.7
    squares = np.array([1.0, 4.0, 0.25])
    a, variance = squares.mean(), squares.var()
    reference = 1 / (a / (2 * (1 + beta)) + variance / (2 * a * (1 - beta)))
    return es.stability.critical_step_size(problem, [0.0], sampling, momentum=beta), float(reference), 1e-9


@number("Lyapunov exponent, inside four standard errors")
def lyapunov_exponent() -> Compared:
    """One dimension and b = 1: E log|1 − ηh|. The allowed error is that of the Monte Carlo."""
    problem = es.LinearRegression([[1.0], [2.0], [0.5]], np.zeros(3))
    found = es.stability.lyapunov_exponent(problem, [0.0], es.WithReplacement(1), 0.3)
    reference = float(np.log(np.abs(1 - 0.3 * np.array([1.0, 4.0, 0.25]))).mean())
    return found.value, reference, 4 * found.standard_error / abs(reference)


@number("bounds of the gap around mini-batch sharpness")
def bounds() -> Compared:
    found = es.gap.bounds(REGRESSION, THETA, PAIRS)
    value = es.minibatch_sharpness(REGRESSION, THETA, PAIRS).value
    violation = max(found.lower - value, value - found.upper, 0.0)
    return 1.0 + violation, 1.0, 0.0


@number("stationary covariance")
def stationary_covariance() -> Compared:
    """Against the recursion of the second moment, iterated until it stands still."""
    step_size, residuals = 0.2, INPUTS @ np.linalg.lstsq(INPUTS, TARGETS, rcond=None)[0] - TARGETS
    c, noise = 4 / (2 * 5), INPUTS.T @ (INPUTS * residuals[:, None] ** 2) / 6
    covariance = np.zeros((3, 3))
    for _ in range(400):
        mean = INPUTS.T @ (INPUTS * np.einsum("ni,ij,nj->n", INPUTS, covariance, INPUTS)[:, None]) / 6
        second = (1 - c) * HESSIAN @ covariance @ HESSIAN + c * (mean + noise)
        covariance = covariance - step_size * (HESSIAN @ covariance + covariance @ HESSIAN) + step_size**2 * second
    found = es.moments.stationary_covariance(REGRESSION, step_size=step_size, sampling=PAIRS)
    return float(np.trace(found)), float(np.trace(covariance)), 1e-9


@number("loss after 50 steps of gradient descent")
def simulate() -> Compared:
    trace = es.simulate(
        REGRESSION, THETA, step_size=0.1, sampling=es.WithoutReplacement(6), n_steps=50, record=("loss",), seed=0
    )
    theta = THETA.copy()
    for _ in range(50):
        theta = theta - 0.1 * INPUTS.T @ (INPUTS @ theta - TARGETS) / 6
    return float(trace["loss"][0, -1]), float(((INPUTS @ theta - TARGETS) ** 2).mean() / 2), ROUNDING


@number("batches drawn from a seed")
def draws() -> Compared:
    """numpy's PCG64 gives the same numbers everywhere: without replacement by a partial Fisher–Yates shuffle."""
    batches = es.WithoutReplacement(2).draw(6, 4, np.random.default_rng(1))
    return float(np.array([10.0, 1.0]) @ batches.T @ [1e6, 1e4, 1e2, 1.0]), 35_05_13_43, 0.0


@number("a settled level, inside four standard errors")
def level() -> Compared:
    noise = np.random.default_rng(5).standard_normal((1, 4000))
    found = es.settling.summarise(1.0 + 0.01 * noise, 0.05, 1.0)
    half = (found.interval[1] - found.interval[0]) / 2
    return found.value if found.verdict == "settles" else math.nan, 1.0, 2 * half


@number("flow of a diagonal network at full batch")
def flow() -> Compared:
    """Product form, d = 1, x = 1, y = 0: m = u² obeys dm/dt = −η²E[s²]m with E[s²] = ηε²/(2 − ηm)·m + ε²."""
    from scipy.integrate import solve_ivp

    eta, noise = 0.5, 0.05
    problem = es.DiagonalLinearNetwork([[1.0]], [0.0])
    sampling = es.WithoutReplacement(1)
    run = es.flow.solve(
        problem, [1.2, 0.0], step_size=eta, sampling=sampling, n_steps=200, label_noise=noise, n_records=2
    )
    found = float(run["sharpness"].values.ravel()[-1])

    def slope(_: float, m: FloatArray) -> FloatArray:
        squares = noise**2 * (1 + eta * m / (2 - eta * m))
        return -(eta**2) * squares * m

    course = solve_ivp(slope, (0, 200), [1.44], rtol=1e-10, atol=1e-14)
    return found, float(course.y[0, -1]), 1e-4


@number("a trace written and read again")
def files() -> Compared:
    trace = es.simulate(REGRESSION, THETA, step_size=0.1, sampling=PAIRS, n_steps=5, record=("loss",), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        es.save(trace, Path(folder) / "trace.nc")
        again = es.load(Path(folder) / "trace.nc")
    return float(again.identical(trace)), 1.0, 0.0


@number("torch: sharpness of a linear layer")
def torch_layer() -> Compared:
    problem = es.bridge.TorchProblem(es.bridge.mlp(3, (), 1), INPUTS, TARGETS)
    reference = es.LinearRegression(np.column_stack((INPUTS, np.ones(6))), TARGETS)
    return es.sharpness(problem, problem.theta0), es.sharpness(reference, problem.theta0), 1e-9
