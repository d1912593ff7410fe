"""Every bound against its formula in plain dense arithmetic, and against every batch of nasty problems.

`python -m tests.test_gap_bounds 10000` tries so many new problems.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.linalg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import esssim as es
from esssim.gap import second_order_bounds
from esssim.gap.setting import Setting
from esssim.testing import Case, strategies
from tests import oracles

SCHEMES = (es.WithoutReplacement, es.WithReplacement)
KINDS = ("regression", "wide regression", "solution", "product", "difference", "positive", "indefinite")


def some_case(kind: str, seed: int = 0, n: int = 6) -> Case:
    normal = np.random.default_rng(seed).standard_normal
    if kind in ("positive", "indefinite"):
        raw = normal((n, 3, 3))
        matrices = raw @ raw.transpose(0, 2, 1) if kind == "positive" else raw + raw.transpose(0, 2, 1)
        return Case(es.Quadratic(matrices, np.zeros((n, 3))), np.zeros(3))
    inputs = normal((n, 9 if kind.startswith("wide") else 3))
    if kind.endswith("regression"):
        return Case(es.LinearRegression(inputs, normal(n)), np.zeros(inputs.shape[1]))
    theta = normal(6)
    targets = inputs @ (theta[:3] * theta[3:]) if kind == "solution" else normal(n)
    if kind == "difference":
        return Case(es.DiagonalLinearNetwork(inputs, targets, form="difference", depth=3), theta)
    return Case(es.DiagonalLinearNetwork(inputs, targets), theta)


class Reference:
    """The theory in dense matrices and enumerated batches; nothing of esssim but the per-sample Hessians."""

    def __init__(self, case: Case, sampling: es.Sampling) -> None:
        self.hessians = case.hessians
        self.n, self.p = self.hessians.shape[:2]
        self.b, self.with_replacement = sampling.batch_size, isinstance(sampling, es.WithReplacement)
        self.batches, self.weights = oracles.all_batches(self.n, sampling)
        self.means = self.hessians[self.batches].mean(axis=1)
        self.hessian = self.hessians.mean(axis=0)
        self.values, vectors = np.linalg.eigh(self.hessian)
        self.top, self.v = self.values[-1], vectors[:, -1]
        self.tops = np.linalg.eigvalsh(self.means)[:, -1]
        self.own = np.linalg.eigvalsh(self.hessians)
        self.deviations = self.hessians - self.hessian
        self.minibs = float(self.weights @ self.tops)
        self.expected_square = np.einsum("m,mij,mjk->ik", self.weights, self.means, self.means)

    def pairs(self) -> float:
        couples = [(i, j) for i in range(self.n) for j in range(self.n) if self.with_replacement or i != j]
        return float(np.mean([np.linalg.eigvalsh((self.hessians[i] + self.hessians[j]) / 2)[-1] for i, j in couples]))

    def left_out(self) -> float:
        subsets = itertools.combinations(range(self.n), self.n - 1)
        return float(np.mean([np.linalg.eigvalsh(self.hessians[list(b)].mean(axis=0))[-1] for b in subsets]))

    def maximum(self) -> float:
        return float(self.weights @ self.own[:, -1][self.batches].max(axis=1)) / self.b

    def power_moments(self) -> float:
        shift = max(0.0, -self.own.min()) * (self.own.min() < -1e-9)
        shifted = self.means + shift * np.eye(self.p)
        squares = ((shifted @ self.v) ** 2).sum(axis=1)
        forms = np.einsum("i,mij,j->m", self.v, shifted, self.v)
        return float((self.weights @ squares) ** 2 / (self.weights @ (squares * forms)) - shift)

    def trace_moments(self) -> float:
        squares, traces = (self.means**2).sum(axis=(1, 2)), np.einsum("mii->m", self.means)
        return float((self.weights @ squares) ** 2 / (self.weights @ (squares * traces)))

    def two_vectors(self) -> float:
        found = []
        for mean in self.means:
            basis = scipy.linalg.orth(np.stack((self.v, mean @ self.v), axis=1), rcond=1e-10)
            found.append(np.linalg.eigvalsh(basis.T @ mean @ basis)[-1])
        return float(self.weights @ found)

    def blocks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """v₁ᵀD_Bv₁, (D_Bv₁ on v₁^⊥) in the other eigenvectors, and ‖D_B‖_F² on v₁^⊥, for every batch."""
        basis = np.linalg.eigh(self.hessian)[1][:, ::-1]
        moved = basis.T @ (self.means - self.hessian) @ basis
        return moved[:, 0, 0], moved[:, 0, 1:], (moved[:, 1:, 1:] ** 2).sum(axis=(1, 2))

    def largest_mean(self, weight: np.ndarray) -> float:
        """min over κ of the bound on E[X·weight], by a scan that the closed form must not be above of."""
        along, across, rest = self.blocks()
        mean = float(self.weights @ weight)
        across_mean = float(self.weights @ ((across**2).sum(axis=1) * weight))
        along_norm, rest_norm = (math.sqrt(self.weights @ (part * weight)) for part in (along**2, rest))
        positive = self.own.min() > -1e-9 and not self.with_replacement
        cases = [(self.top - self.values[-2], along_norm + rest_norm)]
        cases += [(self.top - self.n / self.b * self.values[-2], along_norm)] if positive else []

        def value(kappa: np.ndarray, distance: float, spread: float) -> np.ndarray:
            return (across_mean + ((kappa - distance) * math.sqrt(mean) + spread) ** 2 / 4) / kappa

        kappas = np.geomspace(1e-4, 1e3, 20_001) * self.top
        return min(float(value(np.maximum(kappas, g), g, spread).min()) for g, spread in cases)

    def eigengap(self) -> float:
        return self.top + self.largest_mean(np.ones(len(self.means)))

    def resolvent(self) -> float:
        along, across, _ = self.blocks()
        spectrum = self.values[::-1][1:]
        size = math.sqrt(float(self.weights @ (self.means**2).sum((1, 2))))
        found = []
        basis = np.linalg.eigh(self.hessian)[1][:, ::-1][:, 1:]
        for shift in second_order_bounds.SHIFTS:
            w = across / (self.top - spectrum + shift * size)
            trial, squares = w @ basis.T, (w**2).sum(axis=1)
            form = np.einsum("mi,mij,mj->m", trial, self.means, trial)
            coupling = self.largest_mean(squares)
            if self.own.min() > -1e-9 and not self.with_replacement:
                multiple = self.n / self.b * self.top - self.top - along
                coupling = min(coupling, float(self.weights @ (multiple * squares)))
            below = float(self.weights @ ((self.top + along) * squares - form)) + coupling
            found.append(float(self.weights @ (across * w).sum(axis=1)) ** 2 / below)
        return self.top + max(found)

    def trace_and_norm(self, rank: int) -> float:
        """The largest of r numbers of sum t and sum of squares q: one large, the others equal."""
        t, q = np.trace(self.hessian), np.trace(self.expected_square)
        # x + (r−1)y = t, x² + (r−1)y² = q: a quadratic equation for x.
        roots = np.roots([rank, -2 * t, t * t - (rank - 1) * q]) if rank > 1 else np.array([t])
        return float(roots.real.max())

    def bernstein(self) -> float:
        norm = np.linalg.norm((self.deviations @ self.deviations).mean(axis=0), 2)
        log = math.log(self.p)

        def excess(b: int, largest: float) -> float:
            return math.sqrt(2 * norm * log / b) + largest * log / (3 * b)

        found = excess(self.b, self.own[:, -1].max() - self.values[-self.p])
        return self.top + self.or_complement(found, excess)

    def or_complement(self, found: float, excess: Callable[[int, float], float]) -> float:
        if self.with_replacement:
            return found
        others = self.n - self.b
        if others == 0:
            return 0.0
        return min(found, others / self.b * excess(others, self.top - self.smallest))

    smallest = 0.0

    def bernstein_intrinsic(self) -> float:
        variances = np.linalg.eigvalsh((self.deviations @ self.deviations).mean(axis=0))

        def excess(b: int, largest: float) -> float:
            def value(log_x: float) -> float:
                x = math.exp(log_x)
                q = np.expm1(b * (math.exp(x) - 1 - x) / largest**2 * variances).sum()
                u = scipy.optimize.brentq(lambda u: math.expm1(u) - u - q, 0, 700)
                return u * largest / (b * x)

            return minimum(value)

        found = excess(self.b, self.own[:, -1].max() - self.values[-self.p])
        return self.top + self.or_complement(found, excess)

    def chernoff(self) -> float:
        largest = self.own[:, -1].max() / self.b
        return minimum(lambda z: (math.expm1(math.exp(z)) * self.top + largest * math.log(self.p)) / math.exp(z))

    def chernoff_intrinsic(self) -> float:
        largest = self.own[:, -1].max() / self.b

        def value(z: float) -> float:
            return math.log1p(np.expm1(math.expm1(math.exp(z)) / largest * self.values).sum()) * largest / math.exp(z)

        return minimum(value)

    def laplace(self) -> float:
        largest = self.own[:, -1].max() / self.b

        def value(z: float) -> float:
            theta = math.exp(z) / largest
            mean = np.mean([scipy.linalg.expm(theta / self.b * h) for h in self.hessians], axis=0)
            return math.log1p((np.linalg.eigvalsh(mean) ** self.b - 1).sum()) / theta

        return minimum(value)


def minimum(value: Callable[[float], float]) -> float:
    """Over log θ: a coarse scan, then the best neighbourhood."""
    scan = np.linspace(math.log(1e-3), math.log(4.0), 60)
    best = scan[int(np.argmin([value(z) for z in scan]))]
    return float(minimize_scalar(value, bounds=(best - 0.2, best + 0.2), method="bounded").fun)


CLOSED_FORM: dict[str, Callable[[Reference], float]] = {
    "jensen": lambda r: r.top,
    "steepest_sample": Reference.maximum,
    "power_moments": Reference.power_moments,
    "trace_moments": Reference.trace_moments,
    "power": lambda r: float(
        r.weights @ [(h @ r.v) @ (h @ r.v) / (r.v @ h @ r.v) for h in r.means]
    ),
    "trace_ratio": lambda r: float(r.weights @ [np.trace(h @ h) / np.trace(h) for h in r.means]),
    "two_vectors": Reference.two_vectors,
    "single_sample": lambda r: float(r.own[:, -1].mean()),
    "pair": Reference.pairs,
    "pair_multiple": lambda r: 2 / r.b * r.pairs(),
    "leave_one_out": Reference.left_out,
    "leave_one_out_multiple": lambda r: (r.n - 1) / r.b * r.left_out(),
    "full_batch_multiple": lambda r: r.n / r.b * r.top,
    "trace": lambda r: float(np.trace(r.hessian)),
    "mean_squared_norm": lambda r: math.sqrt(np.trace(r.expected_square)),
    "scatter": lambda r: r.top + math.sqrt(np.trace(r.expected_square) - np.trace(r.hessian @ r.hessian)),
    "complement": lambda r: r.top + (r.n - r.b) / r.b * float(np.linalg.eigvalsh(-r.deviations)[:, -1].mean()),
}  # fmt: skip
LEAST = ("bernstein_intrinsic", "chernoff", "chernoff_intrinsic", "laplace")
NEEDS_POSITIVE = {
    "steepest_sample", "trace_moments", "power", "trace_ratio", "full_batch_multiple", "trace", "chernoff",
    "chernoff_intrinsic", "laplace", "pair_multiple", "leave_one_out_multiple",
}  # fmt: skip
NEEDS_RANK_ONE = {"laplace"}
NEEDS_TWO = {"pair", "pair_multiple"}
NEEDS_NO_REPLACEMENT = {"full_batch_multiple", "complement", "leave_one_out_multiple"}
RANK_ONE_KINDS = ("regression", "wide regression", "solution")

every_case = pytest.mark.parametrize("kind", KINDS)
every_scheme = pytest.mark.parametrize(
    "sampling",
    [scheme(b) for scheme in SCHEMES for b in (1, 2, 4, 5)],
    ids=lambda s: f"{type(s).__name__}({s.batch_size})",
)


@every_case
@every_scheme
def test_each_bound_is_its_formula(kind: str, sampling: es.Sampling) -> None:
    case = some_case(kind)
    found, reference = es.gap.bounds(case.problem, case.theta, sampling), Reference(case, sampling)
    # Rank-one samples are known to have no negative eigenvalue; a diagonal has its smallest entry as a bound.
    if kind in ("product", "difference"):
        structured = case.problem.curvature(case.theta)
        reference.smallest = structured.diagonals.min()
    elif kind == "indefinite" or kind == "positive":
        reference.smallest = reference.own.min()
    reference_names = set(CLOSED_FORM)
    positive = kind in ("positive", *RANK_ONE_KINDS)
    # Rank-one samples with n < p live in n dimensions, which is what log p and ranks count.
    p = min(reference.n, reference.p) if kind == "wide regression" else reference.p
    for name, bound in found.by_name.items():
        valid = (
            (positive or name not in NEEDS_POSITIVE)
            and (kind in RANK_ONE_KINDS or name not in NEEDS_RANK_ONE)
            and not (name in NEEDS_NO_REPLACEMENT and reference.with_replacement)
            and not (name in NEEDS_TWO and sampling.batch_size == 1)
        )
        assert bound.valid == valid, name
        if not valid:
            assert math.isnan(bound.value)
            assert bound.reason.startswith("needs ")
        elif name == "power_moments" and kind in ("product", "difference"):
            assert bound.value <= reference.minibs  # the shift is that of a bound on the smallest eigenvalue
        elif name in reference_names:
            outwards = 1 if bound.side == "upper" else -1
            slack = outwards * (bound.value - CLOSED_FORM[name](reference))
            assert -1e-14 * reference.top <= slack <= 1e-10 * reference.own[:, -1].max() * p, (name, slack)
        elif name in ("eigengap", "resolvent"):
            # The κ of the reference is one of a scan.
            assert bound.value == pytest.approx(getattr(reference, name)(), rel=1e-5)
            assert bound.value <= reference.minibs if name == "resolvent" else bound.value >= reference.minibs
        elif name == "trace_and_norm":
            rank = min(sampling.batch_size, p) if kind in RANK_ONE_KINDS else p
            assert bound.value == pytest.approx(reference.trace_and_norm(rank), rel=1e-6)
    reference.p = p
    assert found["bernstein"].value == pytest.approx(reference.bernstein(), rel=1e-9)
    for name in LEAST:
        if found[name].valid:
            least = getattr(reference, name)()
            assert least * (1 - 1e-9) <= found[name].value <= least * (1 + 3e-3), name


@every_case
@every_scheme
def test_mean_square_bounds_are_their_formulas(kind: str, sampling: es.Sampling) -> None:
    case = some_case(kind)
    found, r = es.gap.mean_square_bounds(case.problem, case.theta, sampling), Reference(case, sampling)
    along = r.weights @ np.einsum("i,mij,j->m", r.v, r.means, r.v) ** 2
    assert found["top_direction"].value == pytest.approx(along / r.top, rel=1e-10)
    positive = kind in ("positive", *RANK_ONE_KINDS)
    for name in ("identity", "second_moment", "steepest_batch", "steepest_sample", "full_batch_multiple"):
        expected = positive and not (name == "full_batch_multiple" and r.with_replacement)
        assert found[name].valid == expected
    if positive:
        expected = np.trace(r.expected_square) / np.trace(r.hessian)
        assert found["identity"].value == pytest.approx(expected, rel=1e-10)
        pencil = np.linalg.pinv(r.hessian, rcond=1e-10) @ r.expected_square
        assert found["second_moment"].value == pytest.approx(np.linalg.eigvals(pencil).real.max(), rel=1e-8)
        assert found["steepest_sample"].value == pytest.approx(r.own[:, -1].max(), rel=1e-10)
        assert found["steepest_batch"].value == pytest.approx(r.tops.max(), rel=1e-10)
        if not r.with_replacement:
            assert found["full_batch_multiple"].value == pytest.approx(r.n / r.b * r.top, rel=1e-10)
        assert found.upper < math.inf
    else:
        assert found.upper == math.inf
    truth = es.mean_square_sharpness(case.problem, case.theta, sampling)
    assert found.lower <= truth <= found.upper
    assert found.statistic == "mean-square sharpness"


def test_the_best_pair_and_the_gap() -> None:
    case, sampling = some_case("regression"), es.WithoutReplacement(3)
    found = es.gap.bounds(case.problem, case.theta, sampling)
    assert found.statistic == "MiniBS"
    assert found.sharpness == pytest.approx(es.sharpness(case.problem, case.theta), rel=1e-14)
    lowers = [bound.value for bound in found.by_name.values() if bound.side == "lower" and bound.valid]
    uppers = [bound.value for bound in found.by_name.values() if bound.side == "upper" and bound.valid]
    assert (found.lower, found.upper) == (max(lowers), min(uppers))
    assert (float(found.best("lower")), float(found.best("upper"))) == (found.lower, found.upper)
    assert found.gap == (found.lower - found.sharpness, found.upper - found.sharpness)
    assert 0 < found.gap[0] < found.gap[1]


def test_bounds_in_words_begin_with_the_best_of_each_side() -> None:
    case = some_case("regression")
    found = es.gap.bounds(case.problem, case.theta, es.WithReplacement(3))
    first, second, *rows = str(found).splitlines()
    assert first == f"MiniBS: {found.lower:.6g} … {found.upper:.6g}"
    assert f"sharpness: {found.sharpness:.6g}, gap: {found.gap[0]:.6g}" in second
    assert len(rows) == len(found.by_name)
    for side in ("lower", "upper"):
        assert next(row for row in rows if row.split()[0] == side).split()[1] == found.best(side).name
    assert "  upper  complement             – (needs sampling without replacement)" in rows


def test_the_full_batch_has_no_gap() -> None:
    for kind in KINDS:
        case = some_case(kind)
        found = es.gap.bounds(case.problem, case.theta, es.WithoutReplacement(6))
        assert found.gap[0] == 0.0
        assert found.upper == pytest.approx(found.sharpness, rel=1e-10)


def test_bounds_are_tight_where_they_can_be() -> None:
    equal = es.LinearRegression(np.ones((5, 2)), np.zeros(5))
    found = es.gap.bounds(equal, np.zeros(2), es.WithoutReplacement(2))
    assert found.lower == pytest.approx(2.0, rel=1e-11)
    assert found.upper == pytest.approx(2.0, rel=1e-11)
    orthogonal = es.LinearRegression(np.eye(4), np.zeros(4))
    found = es.gap.bounds(orthogonal, np.zeros(4), es.WithoutReplacement(2))
    assert (found.lower, found.upper) == (pytest.approx(0.5, rel=1e-11), pytest.approx(0.5, rel=1e-6))
    zero = es.LinearRegression(np.zeros((3, 2)), np.zeros(3))
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(2)):
        found = es.gap.bounds(zero, np.zeros(2), sampling)
        assert found.gap == (0.0, 0.0)
        assert all(bound.value == 0.0 for bound in found.by_name.values() if bound.valid)


def test_outwards_is_sixteen_times_the_sum_of_the_sizes() -> None:
    """γS, γ = 16(n+p+b)·eps, where a mean or an eigenvalue is bounded; √γ·S where the root of a variance is."""
    hessians = np.repeat(np.diag([1.0, 1.0, 1.0])[None], 7, axis=0)
    found = es.gap.bounds(es.Quadratic(hessians, np.zeros((7, 3))), np.zeros(3), es.WithoutReplacement(2))
    gamma, size = 16 * (7 + 3 + 2) * np.finfo(float).eps, math.sqrt(3)
    # pytest.approx also allows 1e-12, which is more than all of it.
    assert 1 - found["jensen"].value == pytest.approx(gamma * size, rel=0.02, abs=0)
    assert found["single_sample"].value - 1 == pytest.approx(gamma * size, rel=0.02, abs=0)
    # t = q = 3: nothing is left of q − t²/3 but the rounding of both.
    assert found["trace_and_norm"].value - 1 == pytest.approx(math.sqrt(2 / 3 * gamma * 6), rel=1e-4)
    variance = math.sqrt(2 * gamma * 3 * math.log(3) / 2)
    assert found["bernstein"].value - 1 == pytest.approx(variance, rel=1e-4)
    # Three eigenvalues γS² of V; L is the hundredth of their root that keeps θ in range.
    largest = math.sqrt(gamma * 3) / 100

    def intrinsic(log_x: float) -> float:
        x = math.exp(log_x)
        q = 3 * math.expm1(2 * (math.expm1(x) - x) * gamma * 3 / largest**2)
        u = scipy.optimize.brentq(lambda u: math.expm1(u) - u - q, 0, 700)
        return u * largest / (2 * x)

    scan = min(intrinsic(z) for z in np.linspace(math.log(1e-3), math.log(0.2), 400))
    assert found["bernstein_intrinsic"].value - 1 == pytest.approx(scan, rel=1e-2, abs=0)
    # The rounding of V = 0 is divided by the smallest eigenvalue of H that is kept.
    for smallest in (1.0, 0.25):
        samples = np.repeat(np.diag([1.0, 1.0, smallest])[None], 7, axis=0)
        problem, squared = es.Quadratic(samples, np.zeros((7, 3))), 2 + smallest**2
        second = es.gap.mean_square_bounds(problem, np.zeros(3), es.WithoutReplacement(2))["second_moment"].value
        assert second - 1 == pytest.approx(gamma * (squared / smallest + math.sqrt(squared)), rel=0.02, abs=0)
    top = found["power_moments"].value
    assert top == pytest.approx(1.0, rel=1e-11)
    assert top <= 1


@pytest.mark.parametrize("size", [1e-12, 1e-11, 1e-10])
def test_a_second_direction_that_is_nearly_lost_in_rounding(size: float) -> None:
    """H_Bv₁ all but parallel to v₁: what rounding leaves of v₁ in the second vector must not count twice."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        frame = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        raw = rng.standard_normal((5, 3, 3))
        samples = rng.uniform(0.5, 1.5, (5, 1, 1)) * np.diag([1.0, 0.1, 0.0]) + size * (raw + raw.transpose(0, 2, 1))
        case = Case(es.Quadratic(frame @ samples @ frame.T, np.zeros((5, 3))), np.zeros(3))
        assert_bounds_hold(case, es.WithoutReplacement(2))


def test_a_residual_that_is_not_rounding_counts() -> None:
    inputs, theta = np.random.default_rng(0).standard_normal((5, 2)), np.array([1.0, 2.0, 0.5, 1.5])
    targets = inputs @ (theta[:2] * theta[2:])
    exact, off = (es.DiagonalLinearNetwork(inputs, targets + shift) for shift in (0.0, 1e-12))
    assert Setting.of(exact, theta, es.WithoutReplacement(2)).rank_one
    assert not Setting.of(off, theta, es.WithoutReplacement(2)).rank_one


@pytest.mark.parametrize("scale", [1e150, 1e-150])
@every_case
def test_bounds_scale_with_the_hessians(kind: str, scale: float) -> None:
    case, sampling = some_case(kind), es.WithoutReplacement(2)
    if not isinstance(case.problem, es.Quadratic):
        problem = es.LinearRegression(case.problem.inputs, np.zeros(6))
        scaled: es.Problem = es.LinearRegression(case.problem.inputs * scale, np.zeros(6))
        theta = np.zeros(problem.n_params)
    else:
        problem, theta = case.problem, case.theta
        scaled = es.Quadratic(case.problem.hessians * scale**2, np.zeros((6, 3)))
    one, other = es.gap.bounds(problem, theta, sampling), es.gap.bounds(scaled, theta, sampling)
    for name, bound in one.by_name.items():
        if bound.valid:
            assert other[name].value == pytest.approx(bound.value * scale**2, rel=1e-8, abs=0.0), name


def test_what_is_too_large_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    problem = es.LinearRegression(rng.standard_normal((400, 90)), np.zeros(400))
    found = es.gap.bounds(problem, np.zeros(90), es.WithoutReplacement(3))
    assert found["complement"].reason == "needs n·p³ of at most 2e8"
    assert found["power"].reason == "needs an average over every batch of at most 1e6 numbers"
    assert not found["two_vectors"].valid
    assert found["pair"].valid
    fewer = es.LinearRegression(problem.inputs[:200], np.zeros(200))
    assert es.gap.bounds(fewer, np.zeros(90), es.WithoutReplacement(3))["complement"].valid
    assert not es.gap.mean_square_bounds(problem, np.zeros(90), es.WithoutReplacement(3))["steepest_batch"].valid
    large = es.LinearRegression(rng.standard_normal((2001, 2)), np.zeros(2001))
    found = es.gap.bounds(large, np.zeros(2), es.WithoutReplacement(3))
    limit = "n of at most 2000 for rank-one samples, n²p² of at most 4e7 for others"
    assert (found["pair"].reason, found["pair_multiple"].reason) == (f"needs {limit}", f"needs {limit}")
    at_limit = es.LinearRegression(large.inputs[:2000], np.zeros(2000))
    assert es.gap.bounds(at_limit, np.zeros(2), es.WithoutReplacement(3))["pair"].valid
    everyone = es.gap.bounds(fewer, np.zeros(90), es.WithoutReplacement(200))
    assert everyone["leave_one_out"].reason == "needs b ≤ n − 1"
    assert es.gap.bounds(fewer, np.zeros(90), es.WithReplacement(199))["leave_one_out"].valid
    assert not es.gap.bounds(fewer, np.zeros(90), es.WithReplacement(200))["leave_one_out"].valid
    single = es.gap.bounds(large, np.zeros(2), es.WithoutReplacement(1))
    assert single.lower == pytest.approx(single.upper, rel=1e-9)


@every_scheme
@every_case
def test_variance_of_the_top_eigenvalue(kind: str, sampling: es.Sampling) -> None:
    case = some_case(kind)
    r = Reference(case, sampling)
    found = es.gap.top_eigenvalue_variance_bound(case.problem, case.theta, sampling)
    variance = float(r.weights @ (r.tops - r.minibs) ** 2)
    assert variance <= found
    scatter = np.trace(r.expected_square) - np.trace(r.hessian @ r.hessian)
    # gap² + Var ≤ E‖H_B − H‖_F².
    assert (r.minibs - r.top) ** 2 + variance <= scatter * (1 + 1e-12)
    norms = [np.linalg.norm(r.hessians[i] - r.hessians[j], 2) ** 2 for i in range(6) for j in range(6)]
    factor = 1 / (2 * r.b) / 36 if r.with_replacement else (6 - r.b) / (2 * 6 * r.b) / 30
    by_pairs = factor * sum(norms)
    assert variance <= by_pairs * (1 + 1e-12)
    expected = min(scatter, by_pairs) if kind in RANK_ONE_KINDS else scatter
    assert found == pytest.approx(expected, rel=1e-8)


def test_variance_bound_is_rounded_outwards() -> None:
    equal = es.LinearRegression(np.full((5, 3), 1 / 3), np.zeros(5))
    found = es.gap.top_eigenvalue_variance_bound(equal, np.zeros(3), es.WithoutReplacement(2))
    assert 0 < found < 1e-11


def test_nothing_bounds_the_mean_square_sharpness_of_a_maximum() -> None:
    problem = es.Quadratic(-np.eye(2)[None], np.zeros((1, 2)))
    found = es.gap.mean_square_bounds(problem, np.zeros(2), es.WithReplacement(2))
    assert (found.lower, found.upper) == (-math.inf, math.inf)
    assert found["top_direction"].reason == "needs λ_max(H) > 0"
    flat = es.gap.mean_square_bounds(
        es.LinearRegression(np.zeros((3, 2)), np.zeros(3)), np.zeros(2), es.WithReplacement(2)
    )
    assert flat["identity"].reason == "needs λ_max(H) > 0"
    assert flat.upper == 0.0


def test_the_pairs_of_the_variance_are_distinct() -> None:
    """With the pairs i = j in the mean the bound would be wrong: two samples, b = 1, Var = (4−1)²/4."""
    problem = es.LinearRegression([[1.0], [2.0]], [0.0, 0.0])
    found = es.gap.top_eigenvalue_variance_bound(problem, [0.0], es.WithoutReplacement(1))
    assert found == pytest.approx(9 / 4, rel=1e-12)
    assert es.gap.top_eigenvalue_variance_bound(problem, [0.0], es.WithoutReplacement(2)) <= 1e-12


# --- always, on everything --------------------------------------------------------------------------------------------


def assert_bounds_hold(case: Case, sampling: es.Sampling) -> None:
    """No tolerance: each bound is rounded outwards by what rounding can do to it and to the enumerated truth."""
    truth = es.minibatch_sharpness(case.problem, case.theta, sampling).value
    found = es.gap.bounds(case.problem, case.theta, sampling)
    assert found.lower <= truth <= found.upper
    for bound in found.by_name.values():
        if bound.valid:
            assert bound.value <= truth if bound.side == "lower" else bound.value >= truth, (bound, truth)
    assert_mean_square_bounds_hold(case, sampling)


def assert_mean_square_bounds_hold(case: Case, sampling: es.Sampling) -> None:
    if not case.has_positive_curvature:
        return
    found = es.gap.mean_square_bounds(case.problem, case.theta, sampling)
    truth = es.mean_square_sharpness(case.problem, case.theta, sampling)
    for bound in found.by_name.values():
        if bound.valid:
            assert bound.value <= truth if bound.side == "lower" else bound.value >= truth, (bound, truth)


@given(strategies.sampled_cases())
def test_no_bound_is_violated(case_and_sampling: tuple[Case, es.Sampling]) -> None:
    assert_bounds_hold(*case_and_sampling)


@settings(max_examples=30)
@given(st.sampled_from((*KINDS, "orthogonal")), st.integers(0, 10**6), st.integers(2, 7), st.data())
def test_no_bound_is_violated_on_generic_numbers(kind: str, seed: int, n: int, data: st.DataObject) -> None:
    """Quarters of integers make exact zeros; here what should be zero is rounding."""
    if kind == "orthogonal":
        table = es.data.orthogonal(n, n + 2, seed=seed)
        case = Case(es.LinearRegression(table.inputs, table.targets), np.zeros(n + 2))
    else:
        case = some_case(kind, seed, n)
    assert_bounds_hold(case, data.draw(strategies.samplings(n)))


@every_scheme
@every_case
def test_relations_between_batch_sizes(kind: str, sampling: es.Sampling) -> None:
    """M_b falls with b in both schemes; without replacement it is the smaller; b·M_b rises for positive samples."""
    case, b = some_case(kind), sampling.batch_size
    larger = Reference(case, type(sampling)(b + 1)).minibs
    value = Reference(case, sampling).minibs
    assert larger <= value + 1e-12
    assert Reference(case, es.WithoutReplacement(b)).minibs <= Reference(case, es.WithReplacement(b)).minibs + 1e-12
    if case.positive_semidefinite:
        assert b * value <= (b + 1) * larger + 1e-12


@every_case
@pytest.mark.parametrize("b", [1, 2, 4, 5])
def test_complement_identity(kind: str, b: int) -> None:
    """b·E λ_max(H_B−H) = (n−b)·E λ_max(H−H_{B'}), |B'| = n−b; gap ≤ E λ_max(H_B−H)."""
    case = some_case(kind)
    r, others = Reference(case, es.WithoutReplacement(b)), Reference(case, es.WithoutReplacement(6 - b))
    left = r.weights @ np.linalg.eigvalsh(r.means - r.hessian)[:, -1]
    right = others.weights @ np.linalg.eigvalsh(r.hessian - others.means)[:, -1]
    assert b * left == pytest.approx((6 - b) * right, rel=1e-12)
    assert r.minibs - r.top <= left * (1 + 1e-12)


# --- what is not true, by its smallest counterexample -----------------------------------------------------------------


def diagonal_minibs(diagonals: list[list[int]]) -> list[float]:
    """M₁ … M_n of diagonal samples, enumerated."""
    hessians = np.array([np.diag(entries) for entries in diagonals], dtype=float)
    problem = es.Quadratic(hessians, np.zeros(hessians.shape[:2]))
    n, p = hessians.shape[:2]
    return [es.minibatch_sharpness(problem, np.zeros(p), es.WithoutReplacement(b)).value for b in range(1, n + 1)]


def test_the_gap_can_be_below_c_times_the_gap_of_one_sample() -> None:
    one, two, three = diagonal_minibs([[0, 1], [0, 1], [1, 0]])
    assert (one, two, three) == (pytest.approx(1), pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert two - three < (3 - 2) / (2 * 2) * (one - three) - 0.08


def test_the_gap_can_exceed_root_c_times_the_gap_of_one_sample() -> None:
    one, two, three = diagonal_minibs([[2, -2, 1], [-2, 1, 2], [1, 0, -2]])
    assert two - three > math.sqrt(1 / 4) * (one - three) + 0.16


def test_minibs_need_not_be_convex_in_the_batch_size() -> None:
    one, two, three = diagonal_minibs([[2, -2, 1], [-2, 1, 2], [1, 0, -2]])
    assert one - 2 * two + three < -0.3


def test_with_replacement_minibs_can_exceed_n_over_b_times_the_sharpness() -> None:
    problem = es.LinearRegression(np.eye(2), np.zeros(2))
    minibs = es.minibatch_sharpness(problem, np.zeros(2), es.WithReplacement(2)).value
    assert (minibs, es.sharpness(problem, np.zeros(2))) == (pytest.approx(0.75), 0.5)


def test_the_trace_bounds_need_positive_samples() -> None:
    one, two = diagonal_minibs([[1, -1], [-1, 1]])
    assert (one, two) == (1.0, 0.0)  # tr H = 0


def test_mean_square_sharpness_can_be_below_minibs() -> None:
    problem = es.LinearRegression([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]], np.zeros(3))
    sampling = es.WithoutReplacement(2)
    minibs = es.minibatch_sharpness(problem, np.zeros(2), sampling).value
    assert oracles.mean_square_sharpness(problem, np.zeros(2), sampling) < 0.93 * minibs


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bounds", "mean_square_bounds", "top_eigenvalue_variance_bound"])
def test_bad_arguments(name: str) -> None:
    problem, function = es.LinearRegression(np.eye(3), np.zeros(3)), getattr(es.gap, name)
    with pytest.raises(ValueError, match=r"theta must have shape \(3,\), got \(2,\)"):
        function(problem, np.zeros(2), es.WithoutReplacement(1))
    with pytest.raises(ValueError, match="theta must be finite"):
        function(problem, np.full(3, np.nan), es.WithoutReplacement(1))
    with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 3, got 4"):
        function(problem, np.zeros(3), es.WithoutReplacement(4))


# --- the parts --------------------------------------------------------------------------------------------------------


@every_case
def test_curvature_gives_the_same_as_dense_matrices(kind: str) -> None:
    case = some_case(kind)
    structured = case.problem.curvature(case.theta)
    dense = structured.batch_matrices(np.arange(6)[:, None])
    p = structured.n_params
    rng = np.random.default_rng(1)
    vectors, matrix, basis = rng.standard_normal((6, p)), rng.standard_normal((p, p)), rng.standard_normal((p, 2))
    matrix = matrix + matrix.T
    np.testing.assert_allclose(structured.images(vectors), np.einsum("nij,nj->ni", dense, vectors), atol=1e-12)
    np.testing.assert_allclose(structured.images(vectors[0]), dense @ vectors[0], atol=1e-12)
    np.testing.assert_allclose(structured.traces(), np.trace(dense, axis1=1, axis2=2), atol=1e-12)
    np.testing.assert_allclose(structured.squared_norms(), (dense**2).sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(structured.inner_products(matrix), (dense * matrix).sum(axis=(1, 2)), atol=1e-12)
    np.testing.assert_allclose(structured.compressed(basis), basis.T @ dense @ basis, atol=1e-12)
    assert (structured.smallest_eigenvalue_bounds() <= np.linalg.eigvalsh(dense)[:, 0] + 1e-12).all()
    reduced = structured.without_null_space()
    np.testing.assert_allclose(
        np.linalg.eigvalsh(reduced.batch_matrices(np.arange(6)[:, None]))[:, -1], np.linalg.eigvalsh(dense)[:, -1],
        atol=1e-12,
    )  # fmt: skip
    assert reduced.n_params == (6 if kind == "wide regression" else p)
    if kind == "wide regression":
        gradient = case.problem.gradient(case.theta)
        assert np.linalg.norm(reduced.to_basis(gradient)) == pytest.approx(np.linalg.norm(gradient), rel=1e-12)


@every_scheme
def test_maximum_over_a_batch(sampling: es.Sampling) -> None:
    case = some_case("regression")
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0])
    batches, weights = oracles.all_batches(6, sampling)
    found = Setting.of(case.problem, case.theta, sampling).maximum_over_batch(values)
    assert found == pytest.approx(float(weights @ values[batches].max(axis=1)), rel=1e-13)


def sweep(n_examples: int) -> None:
    """`test_no_bound_is_violated` on so many problems, other ones each time, and which corners they had."""
    corners: Counter[str] = Counter()

    @settings(max_examples=n_examples, derandomize=False, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategies.sampled_cases())
    def check(case_and_sampling: tuple[Case, es.Sampling]) -> None:
        assert_bounds_hold(*case_and_sampling)
        corners.update(corners_of(*case_and_sampling))

    check()
    print(f"no bound violated on {corners['problems']} problems")
    for name, count in corners.most_common():
        print(f"{count:8} {name}")


def corners_of(case: Case, sampling: es.Sampling) -> Iterator[str]:
    hessians, b, n = case.hessians, sampling.batch_size, case.problem.n_samples
    top, scale = np.linalg.eigvalsh(hessians.mean(axis=0)), np.abs(hessians).max()
    yield "problems"
    yield f"scheme {type(sampling).__name__}"
    yield f"kind {type(case.problem).__name__}"
    for name, found in (
        ("b = 1", b == 1),
        ("b = n − 1", b == n - 1),
        ("b = n", b == n),
        ("p = 1", case.problem.n_params == 1),
        ("scale above 1e100", scale > 1e100),
        ("scale below 1e-100", 0 < scale < 1e-100),
        ("all Hessians zero", scale == 0),
        ("duplicated samples", len(np.unique(hessians.reshape(n, -1), axis=0)) < n),
        ("degenerate top eigenvalue", len(top) > 1 and top[-1] - top[-2] <= 1e-12 * scale),
        ("indefinite samples", not case.positive_semidefinite),
    ):
        if found:
            yield name


if __name__ == "__main__":
    sweep(int(sys.argv[1]))
