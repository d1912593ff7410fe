"""The flow by products with J alone: leading modes and a tail, and stiff steps without a (p, p) matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import BDF

import esssim as es
from esssim import flow
from esssim.flow import rank as module
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.integrate import integrate
from esssim.flow.law import Law, nearest_solution
from esssim.flow.mean import MeanLaw
from esssim.flow.newton import FactoredBDF, StiffJacobian
from esssim.flow.observables import QUOTIENTS, _quotients
from esssim.flow.point import Point
from esssim.flow.slow import lifted, mean_velocity, push, smallest_changes, velocity
from esssim.flow.validity import _spread_of_tail, spread_correction
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.perron import PerronMatrix
from tests.test_flow import edge, perceptron, solution
from tests.test_flow_outputs import fitted

SAMPLING = es.WithoutReplacement(4)


def network(n: int = 40, width: int = 12) -> tuple[es.Perceptron, np.ndarray]:
    """n samples, p = 4·width parameters, at a solution whose K decays over many orders."""
    return perceptron("tanh", n, width)


def with_spectrum(eigenvalues: np.ndarray, p: int, seed: int = 0) -> np.ndarray:
    """J (n, p) with these eigenvalues of JJᵀ."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    left = np.linalg.qr(rng.standard_normal((n, n)))[0]
    right = np.linalg.qr(rng.standard_normal((p, n)))[0]
    return (left * np.sqrt(eigenvalues)) @ right.T


class TestLeadingModes:
    @pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
    def test_are_the_top_of_the_gram_matrix_and_the_tail_is_what_they_leave(self, shape: tuple[int, int]) -> None:
        factors = np.random.default_rng(0).standard_normal(shape)
        values, vectors = np.linalg.eigh(factors @ factors.T)
        found = PerronMatrix.leading(factors, 0.3, 5).with_tail(factors)
        np.testing.assert_allclose(found.eigenvalues, values[-5:], rtol=1e-10)
        overlaps = np.abs(np.sum(found.eigenvectors * vectors[:, -5:], axis=0))
        np.testing.assert_allclose(overlaps, 1.0, rtol=1e-8)
        left = (vectors[:, :-5] * values[:-5]) @ vectors[:, :-5].T
        np.testing.assert_allclose(found.tail, np.diag(left), atol=1e-10 * values[-1])

    def test_blocks_of_the_tail(self) -> None:
        factors = np.random.default_rng(0).standard_normal((6, 2, 20))
        flat = factors.reshape(12, 20)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        found = BlockPerron.leading_blocks(factors, 0.3, 4).with_tail(flat)
        left = (vectors[:, :-4] * values[:-4]) @ vectors[:, :-4].T
        blocks = np.stack([left[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(6)])
        np.testing.assert_allclose(found.tail, blocks.ravel(), atol=1e-10 * values[-1])
        assert found.n_samples == 6

    @pytest.mark.parametrize("modes", [0, 12])
    def test_their_number_is_checked(self, modes: int) -> None:
        with pytest.raises(ValueError, match=f"rank must be at least 1 and fewer than the 12 rows, got {modes}"):
            PerronMatrix.leading(np.ones((12, 3)), 0.3, modes)


def term_by_term(fast: FastMotion) -> np.ndarray:
    """JᵀK⁺R′eᵢ of the modes that are not leading, as the formula has it: αQDJ′ + GDJ′ + J′J′ᵀDGΛ⁻¹UᵀJ."""
    perron = fast.perron
    basis, gain = perron.eigenvectors, fast.gain_of_tail
    beyond = fast.jacobians - basis @ basis.T @ fast.jacobians
    noisy = rows.weighted(fast.noise, beyond, fast.n_outputs)
    own = perron.n_samples * fast.slow_step / 2 * (noisy - basis @ basis.T @ noisy)
    across = beyond @ noisy.T @ basis @ np.diag(gain / perron.eigenvalues) @ basis.T @ fast.jacobians
    return own + basis @ np.diag(gain) @ basis.T @ noisy + across


class TestTail:
    """Against all modes: what the tail leaves out is of second order in its eigenvalues."""

    @staticmethod
    def errors(of: Any, tails: tuple[float, float] = (1e-3, 1e-4)) -> float:
        """Error with the larger tail over that with one ten times smaller."""
        return float(of(tails[0]) / of(tails[1]))

    @pytest.mark.parametrize("n_outputs", [1, 2])
    def test_of_the_variances_is_exact_to_first_order(self, n_outputs: int) -> None:
        def miss(tail: float) -> float:
            factors = with_spectrum(np.r_[1.0, 2.0, 3.0, np.full(9, tail)], 20)
            exact, found = (
                rows.perron(factors, n_outputs, 0.3),
                rows.perron(factors, n_outputs, 0.3, 3).with_tail(factors),
            )
            weights = rows.identities(12 // n_outputs, n_outputs)
            eta = 1.0 / found.edge()[0]
            full = exact.at(eta)(weights)
            assert np.linalg.norm(found.at(eta)(weights) - full) < 0.1 * np.linalg.norm(found.of_tail(weights) * eta)
            return float(np.linalg.norm(found.at(eta)(weights) - full))

        assert self.errors(miss) > 80  # 100 for second order

    @pytest.mark.parametrize("n_outputs", [1, 2])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_of_the_push_is_exact_to_first_order(self, n_outputs: int, momentum: float) -> None:
        """Σᵢ∇²fᵢ[vᵢ] is linear in the vᵢ = JᵀK⁺Reᵢ: compared are these, for equal eigenvalues of the tail."""
        rng = np.random.default_rng(1)
        blocks = rng.uniform(0.5, 1.5, (12 // n_outputs, n_outputs, n_outputs))
        noise = ((blocks + blocks.transpose(0, 2, 1)) / 2 + n_outputs * np.eye(n_outputs)).ravel()

        def miss(tail: float) -> float:
            factors = with_spectrum(np.r_[1.0, 2.0, 3.0, np.full(9, tail)], 20)
            eta = (1 - momentum) / rows.perron(factors, n_outputs, 0.3).edge()[0] / 4
            found = []
            for leading in (None, 3):
                perron = rows.perron(factors, n_outputs, 0.3, leading).with_tail(factors)
                fast = FastMotion(perron, factors, noise, eta, momentum=momentum)
                fast.__dict__["noise"] = noise  # the same for both
                found.append(smallest_changes(fast))
            of_tail = found[1] - lifted(fast, fast.rotated / perron.eigenvalues[:, None])
            np.testing.assert_allclose(of_tail, term_by_term(fast), rtol=0, atol=1e-12 * np.abs(found[1]).max())
            assert np.linalg.norm(found[1] - found[0]) < 0.1 * np.linalg.norm(of_tail)
            return float(np.linalg.norm(found[1] - found[0]))

        # Of J′, whose size is the root of the eigenvalues: the first order is their power ½, the error has 3/2.
        assert self.errors(miss) > 20

    @pytest.mark.parametrize("n_outputs", [1, 2])
    def test_edge_is_that_of_the_operator(self, n_outputs: int) -> None:
        """The root of the Rayleigh functional against the largest eigenvalue of κ₂Ψ, formed entry by entry."""
        factors = with_spectrum(np.linspace(0.1, 3.0, 12), 20)
        perron = rows.perron(factors, n_outputs, 0.3, 4).with_tail(factors)
        value = perron.edge()[0]
        size = 12 * n_outputs
        operator = np.stack([perron.kappa_2 * perron.at(2 / value)(unit) for unit in np.eye(size)], axis=1)
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(operator)).max(), 1.0, rtol=1e-8)

    @pytest.mark.parametrize("modes", [4, 8, 16])
    def test_converges_to_all_modes_of_a_network(self, modes: int) -> None:
        problem, theta = network()
        eta = es.Ramp.of(0.9 * edge(problem, theta, SAMPLING))
        (full, _), (found, _) = (MeanLaw.of(problem, theta, SAMPLING, eta, 10, 0.1, 0.0, r) for r in (None, modes))
        exact, fast = full.fast(0.0, full.at(theta)), found.fast(0.0, found.at(theta))
        assert len(fast.perron.eigenvalues) == modes
        near = {4: 0.1, 8: 0.03, 16: 0.001}[modes]
        np.testing.assert_allclose(push(Point(problem, theta), fast), push(Point(problem, theta), exact),
                                   atol=near * np.linalg.norm(push(Point(problem, theta), exact)))  # fmt: skip
        np.testing.assert_allclose(fast.total_variance, exact.total_variance, rtol=near)
        trace = np.trace(exact.residual_covariance)
        np.testing.assert_allclose(fast.total_variance, trace, rtol=near)
        c = SAMPLING.variance_coefficient(40)
        np.testing.assert_allclose(
            Point(problem, theta).sharpness(c, modes), Point(problem, theta).sharpness(c), rtol=near / 5
        )


class TestByProducts:
    @given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
    def test_the_smallest_change_and_the_kernel_are_those_of_the_pseudoinverse(self, n: int, p: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        jacobians = rng.standard_normal((n, p))
        residuals, vector = rng.standard_normal(n), rng.standard_normal(p)
        inverse = np.linalg.pinv(jacobians)
        condition = np.linalg.cond(jacobians)
        size = np.linalg.norm(inverse @ residuals) + np.linalg.norm(inverse) * np.linalg.norm(residuals)
        np.testing.assert_allclose(
            rows.smallest_change(jacobians, residuals), inverse @ residuals, atol=1e-10 * condition**2 * size
        )
        np.testing.assert_allclose(
            rows.along_solutions(jacobians, vector), vector - inverse @ jacobians @ vector,
            atol=1e-10 * condition * np.linalg.norm(vector),
        )  # fmt: skip

    def test_nearest_solution_is_the_same(self) -> None:
        problem, theta = solution(("difference", 3), (4, 6))
        start = theta + 1e-2 * np.random.default_rng(0).standard_normal(theta.shape)
        first = Point(problem, start)
        expected, found = nearest_solution(first), nearest_solution(first, by_products=True)
        assert expected is not None
        assert found is not None
        np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-10)
        np.testing.assert_allclose(found.residuals, 0.0, atol=1e-10)

    def test_says_when_products_do_not_get_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        jacobians, plain = with_spectrum(np.logspace(-4, 0, 8), 9), rows.lsmr
        monkeypatch.setattr(rows, "lsmr", lambda *args, **options: plain(*args, **options | {"maxiter": 2}))
        with pytest.raises(RuntimeError, match="K is too ill-conditioned"):
            rows.along_solutions(jacobians, np.arange(9.0))

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_the_flow_along_solutions(self, momentum: float) -> None:
        """All but one of the modes: only what is done by products is left to differ."""
        problem, theta = solution(("difference", 3), (4, 6))
        eta = es.Ramp.of(0.5 * (1 - momentum) * edge(problem, theta, SAMPLING))
        sampling = es.WithoutReplacement(2)
        (full, _), (found, start) = (
            Law.of(problem, theta, sampling, eta, 10, 0.1, momentum, leading) for leading in (None, 3)
        )
        moved = found.velocity(0.0, start)
        jacobians = problem.sample_jacobians(theta, np.arange(4))
        np.testing.assert_allclose(jacobians @ moved, 0.0, atol=1e-9 * np.linalg.norm(moved))
        fast = found.fast(0.0, found.at(start))
        expected = full.velocity(0.0, theta)
        assert np.linalg.norm(moved - expected) < 0.05 * np.linalg.norm(expected)
        np.testing.assert_allclose(velocity(Point(problem, start), fast), moved, rtol=1e-12)


class TestStiffSteps:
    @pytest.mark.parametrize("by_products", [False, True])
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
    def test_solve_is_that_of_the_dense_matrix(self, by_products: bool, count: int, scale: float) -> None:
        rng = np.random.default_rng(0)
        jacobians, (driven, gradients) = rng.standard_normal((5, 9)), 0.1 * rng.standard_normal((2, count, 9))
        basis = np.linalg.eigh(jacobians @ jacobians.T)[1]
        modes = basis.T @ jacobians if not by_products else basis[:, -2:].T @ jacobians
        jacobian = StiffJacobian(modes, driven, gradients, jacobians if by_products else None)
        dense = driven.T @ gradients - jacobians.T @ jacobians
        np.testing.assert_allclose(jacobian.dense(), dense, atol=1e-12)
        system = np.float64(scale) * jacobian
        assert isinstance(system, StiffJacobian)
        right = rng.standard_normal(9)
        expected = np.linalg.solve(np.eye(9) - scale * dense, right)
        np.testing.assert_allclose(system.solve(right), expected, atol=1e-5 * np.linalg.norm(expected))

    def test_without_anything_stiff_a_step_is_explicit(self) -> None:
        right = np.arange(4.0)
        np.testing.assert_array_equal((2.0 * StiffJacobian.zero(4)).solve(right), right)

    def test_steps_are_those_of_the_solver_with_a_dense_jacobian(self) -> None:
        problem, theta = network(20, 6)
        eta = 0.98 * edge(problem, theta, SAMPLING)
        law, start = MeanLaw.of(problem, theta, SAMPLING, es.Ramp.of(eta), 10_000, 0.05)
        found = FactoredBDF(law.velocity, start, 10_000.0, law.stiff_jacobian, rtol=1e-6, atol=1e-8)  # type: ignore[arg-type]
        expected = BDF(law.velocity, 0.0, start, 10_000.0, rtol=1e-6, atol=1e-8,
                       jac=lambda t, y: law.stiff_jacobian(t, y).dense())  # type: ignore[union-attr]  # fmt: skip
        for _ in range(60):
            found.step()
            expected.step()
        assert found.nfev == expected.nfev
        np.testing.assert_allclose(found.t, expected.t, rtol=1e-6)
        np.testing.assert_allclose(found.y, expected.y, rtol=1e-7)

    def test_does_not_depend_on_what_lies_in_fresh_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = np.empty

        def poisoned(shape: Any, dtype: Any = float, **options: Any) -> np.ndarray:
            array = plain(shape, dtype, **options)
            if array.dtype == np.float64:
                array.view(np.uint64).fill(0x7FF0000000000001)  # a signalling NaN, whose subtraction makes numpy warn
            return array

        monkeypatch.setattr(np, "empty", poisoned)
        solver = FactoredBDF(lambda t, y: -y, np.ones(3), 1.0, lambda t, y: StiffJacobian.zero(3), rtol=1e-6, atol=1e-8)
        with np.errstate(invalid="raise"):
            while solver.status == "running":
                solver.step()
        np.testing.assert_allclose(solver.y, np.exp(-1.0), rtol=1e-4)

    def test_takes_no_more_steps_with_a_tail(self) -> None:
        """The descent along modes that are not leading ones is stiff too: without it Newton's iteration fails."""
        problem, theta = network(20, 6)
        eta = es.Ramp.of(0.5 * edge(problem, theta, SAMPLING))
        counts = []
        for leading in (None, 2):
            law, start = MeanLaw.of(problem, theta, SAMPLING, eta, 100_000, 0.01, 0.0, leading)
            solver = FactoredBDF(law.velocity, start, 1e5, law.stiff_jacobian, rtol=1e-6, atol=1e-8)  # type: ignore[arg-type]
            while solver.status == "running":
                solver.step()
            counts.append(solver.nfev)
        assert counts[1] < 1.5 * counts[0]


class TestSolve:
    RECORD = ("loss", "sharpness", "mean_square_sharpness_gauss_newton", "minibatch_sharpness", "distance_to_edge")

    def run(self, problem: Any, theta: np.ndarray, **options: Any) -> Any:
        eta = edge(problem, theta, options.get("sampling", SAMPLING)) * (1 - options.get("momentum", 0.0))
        return flow.solve(problem, theta, **({"sampling": SAMPLING,
            "step_size": es.Ramp(0.8 * eta, 1.2 * eta), "n_steps": 20_000, "label_noise": 0.05, "n_records": 4,
            "record": self.RECORD, "follow": "mean",
        } | options))  # fmt: skip

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_levels_of_leading_modes_are_those_of_all(self, momentum: float) -> None:
        problem, theta = network()
        full, found = (self.run(problem, theta, rank=modes, momentum=momentum) for modes in (None, 16))
        for name in ("loss", "sharpness", "mean_square_sharpness_gauss_newton", "minibatch_sharpness"):
            np.testing.assert_allclose(found[name].values, full[name].values, rtol=5e-3, err_msg=name)
        np.testing.assert_allclose(found["distance_to_edge"].values, full["distance_to_edge"].values, atol=5e-3)
        assert (full.attrs["rank"], full.attrs["error_of_rank"]) == (0, 0.0)
        assert found.attrs["rank"] == 16
        assert 0 < found.attrs["error_of_rank"] < 0.05

    def test_several_outputs(self) -> None:
        problem, theta = fitted(n=10, d=3, c=2, width=8)
        full, found = (self.run(problem, theta, rank=modes) for modes in (None, 10))
        for name in ("loss", "sharpness", "mean_square_sharpness_gauss_newton", "minibatch_sharpness"):
            np.testing.assert_allclose(found[name].values, full[name].values, rtol=1e-2, err_msg=name)

    @pytest.mark.parametrize("b", [1, 4])
    def test_batch_sharpness_sees_the_modes_that_are_not_followed(self, b: int) -> None:
        problem, theta = network()
        record = ("batch_sharpness", "batch_sharpness_parts", "minibatch_sharpness")
        full, found = (
            self.run(
                problem, theta, rank=modes, record=record, n_records=2, n_steps=10, sampling=es.WithoutReplacement(b)
            )
            for modes in (None, 4)
        )
        for name in record[:2]:
            error = np.hypot(full[f"{name}_standard_error"].values, found[f"{name}_standard_error"].values)
            assert (np.abs(found[name].values - full[name].values) <= 4 * error + 1e-3 * full[name].values).all()
        if b == 1:  # K_aa, whatever the residuals
            ratio = found["batch_sharpness"].values / found["minibatch_sharpness"].values
            np.testing.assert_allclose(ratio, 1.0, rtol=0.05)

    @pytest.mark.parametrize("n_outputs", [1, 2])
    def test_quotients_by_products_are_those_in_the_eigenbasis(self, n_outputs: int) -> None:
        rng = np.random.default_rng(0)
        factors, sampling = rng.standard_normal((12, 20)), es.WithoutReplacement(2)
        perron, frozen = rows.perron(factors, n_outputs, 0.3), rng.standard_normal(12)
        fast = FastMotion(perron, factors, rows.identities(12 // n_outputs, n_outputs), 0.01)
        z, batches = rng.standard_normal((50, 12)), sampling.draw(12 // n_outputs, 50, rng)
        expected = _quotients(fast, frozen, z, batches, QUOTIENTS)
        found = _quotients(replace(fast, by_products=True), frozen, z, batches, QUOTIENTS)
        for name in QUOTIENTS:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-10)

    def test_spread_is_that_of_all_modes(self) -> None:
        """Most of its directions are not followed: their variance is of zeroth order in their eigenvalues."""
        problem, theta = network()
        eta = es.Ramp.of(0.5 * edge(problem, theta, SAMPLING))
        (full, _), (few, _) = (MeanLaw.of(problem, theta, SAMPLING, eta, 10, 0.1, 0.0, modes) for modes in (None, 4))
        exact, fast = full.fast(0.0, full.at(theta)), few.fast(0.0, few.at(theta))
        total = np.trace(exact.rotated / exact.perron.eigenvalues)
        followed = np.trace(fast.rotated / fast.perron.eigenvalues)
        assert followed < 0.3 * total
        steps = np.concatenate([_spread_of_tail(fast, seed) for seed in range(50)])
        np.testing.assert_allclose(followed + (steps**2).sum(axis=1).mean(), total, rtol=0.25)
        assert (
            np.abs(steps @ fast.mode_jacobians.T).max() < 1e-8 * np.abs(steps).max() * np.abs(fast.mode_jacobians).max()
        )

    def test_next_order_correction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of many pairs: four pairs of other directions differ by half of it."""
        monkeypatch.setattr("esssim.flow.validity.N_PAIRS", 200)
        problem, theta = network()
        eta = es.Ramp.of(0.5 * edge(problem, theta, SAMPLING))
        laws = (MeanLaw.of(problem, theta, SAMPLING, eta, 10, 0.2, 0.0, modes)[0] for modes in (None, 8))
        full, found = (spread_correction(Point(problem, theta), law.fast(0.0, law.at(theta))) for law in laws)
        assert abs(full) > 2e-3
        np.testing.assert_allclose(found, full, rtol=0.2)

    def test_a_start_that_only_few_modes_take_for_stable_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LARGEST_DENSE", 10)
        monkeypatch.setattr(module, "FEWEST", 2)
        problem, theta = network()
        step_size = 1.001 * edge(problem, theta, SAMPLING)
        few, _ = MeanLaw.of(problem, theta, SAMPLING, es.Ramp.of(step_size), 10, 0.05, 0.0, 2)
        assert few.fast(0.0, few.at(theta)).noise is not None
        with pytest.raises(ValueError, match="step_size must start below the mean-square edge"):
            self.run(problem, theta, step_size=step_size)

    def test_a_flow_that_cannot_start_ends_there(self) -> None:
        problem, theta = network(8, 3)
        law, start = MeanLaw.of(problem, theta, SAMPLING, es.Ramp.of(2 * edge(problem, theta, SAMPLING)), 10, 0.05)
        course = integrate(law, start, np.array([0, 10]))
        assert course.diverged_at == 0
        assert np.isnan(course.thetas[1]).all()

    def test_a_single_mode_has_no_error_to_tell(self) -> None:
        problem, theta = network()
        assert np.isinf(self.run(problem, theta, rank=1, n_steps=10, n_records=2).attrs["error_of_rank"])

    def test_doubles_the_modes_of_a_large_network_until_they_are_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LARGEST_DENSE", 10)
        monkeypatch.setattr(module, "FEWEST", 2)
        problem, theta = network(80, 25)
        found = self.run(problem, theta, n_steps=100, n_records=2)
        assert found.attrs["rank"] in (4, 8, 16, 32)
        law, start = MeanLaw.of(problem, theta, SAMPLING, es.Ramp.of(0.8 * edge(problem, theta, SAMPLING)), 100, 0.05)
        enough = replace(law, rank=found.attrs["rank"]).error_of_rank(0.0, law.at(start))
        too_few = replace(law, rank=found.attrs["rank"] // 2).error_of_rank(0.0, law.at(start))
        assert enough <= module.ENOUGH < too_few

    def test_takes_all_where_no_number_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LARGEST_DENSE", 3)
        monkeypatch.setattr(module, "FEWEST", 2)
        problem, theta = solution(("difference", 2), (6, 8))
        eta = 0.5 * edge(problem, theta, SAMPLING)
        found = flow.solve(
            problem, theta, step_size=eta, sampling=SAMPLING, n_steps=10, label_noise=0.1, n_records=2, record=("loss",)
        )
        assert found.attrs["rank"] == 0

    def test_silence_needs_modes_for_the_edge(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LARGEST_DENSE", 10)
        problem, theta = network()
        monkeypatch.setattr(module, "FEWEST", 2)
        found = self.run(
            problem, theta, label_noise=0.0, n_steps=100, n_records=2, step_size=edge(*network(), SAMPLING) / 2
        )
        assert found.attrs["rank"] > 2

    def test_more_modes_than_there_are_is_all(self) -> None:
        problem, theta = network(8, 3)
        assert self.run(problem, theta, rank=100, n_steps=10, n_records=2).attrs["rank"] == 0

    @pytest.mark.parametrize("modes", [0, -1, 1.5, "3", True])
    def test_refuses_a_number_of_modes_that_is_none(self, modes: Any) -> None:
        problem, theta = network(8, 3)
        with pytest.raises(ValueError, match="rank must be"):
            self.run(problem, theta, rank=modes)

    def test_tells_how_far_it_is(self) -> None:
        problem, theta = network(8, 3)
        told: list[tuple[int, int]] = []
        self.run(problem, theta, n_records=5, progress=lambda done, total: told.append((done, total)))
        assert told == [(k, 4) for k in range(1, 5)]

    def test_mean_velocity_descends_along_every_mode(self) -> None:
        problem, theta = network()
        moved = theta + 0.1 * np.random.default_rng(0).standard_normal(theta.shape)
        eta = es.Ramp.of(0.3 * edge(problem, theta, SAMPLING))
        law, _ = MeanLaw.of(problem, moved, es.WithoutReplacement(40), eta, 10, 0.0, 0.0, 2)
        fast = law.fast(0.0, law.at(moved))
        silent = replace(fast, source=np.zeros(40))
        gradient = problem.gradient(moved)
        found = mean_velocity(Point(problem, moved), silent, law.mean_residuals(law.at(moved)))
        np.testing.assert_allclose(found, -float(eta.start) * gradient, rtol=1e-9, atol=1e-14)
