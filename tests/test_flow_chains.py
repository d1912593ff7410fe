"""Samples of the stationary law of the fast motion: against SGD itself, exact moments, and a plain twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim import flow
from esssim._kernels.fast_motion import run_chains
from esssim.flow import chains, rows
from esssim.flow.chains import relaxation, stationary
from esssim.flow.fast import FastMotion
from esssim.flow.observables import N_CHAINS, QUOTIENTS, quotients_of_gradients
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.perron import PerronMatrix
from tests import oracles
from tests.test_flow import edge

NAMES = QUOTIENTS


def fast_motion(
    blocks: np.ndarray, sampling: es.Sampling, eta: float, noise: float, left: np.ndarray, momentum: float = 0.0
) -> FastMotion:
    """Of a model of Jacobians (n, c, p) with residuals (n·c,) that are left."""
    n, c, p = blocks.shape
    coefficient = sampling.variance_coefficient(n)
    flat = blocks.reshape(n * c, p)
    perron = PerronMatrix.of(flat, coefficient) if c == 1 else BlockPerron.of_blocks(blocks, coefficient)
    source = coefficient / n * rows.squares(left, c) + noise**2 / (sampling.batch_size * n) * rows.identities(n, c)
    return FastMotion(perron, flat, source, eta, momentum=momentum)


def by_sgd(
    blocks: np.ndarray, sampling: es.Sampling, eta: float, noise: float, left: np.ndarray, momentum: float
) -> dict[str, tuple[float, float]]:
    """The quotients and their standard errors by SGD on δ itself, f = Jδ, from δ = 0, with explicit batch Hessians."""
    n, c, p = blocks.shape
    n_chains, rng, left = 2000, np.random.default_rng(11), left.reshape(n, c)
    delta, velocity = np.zeros((n_chains, p)), np.zeros((n_chains, p))
    for _ in range(500):
        batches = sampling.draw(n, n_chains, rng)
        off = noise * rng.standard_normal((n_chains, sampling.batch_size, c))
        residuals = np.einsum("mbcp,mp->mbc", blocks[batches], delta) + left[batches] - off
        gradient = np.einsum("mbcp,mbc->mp", blocks[batches], residuals) / sampling.batch_size
        velocity = momentum * velocity + gradient
        delta = delta - eta * velocity
    every, probabilities = oracles.all_batches(n, sampling)
    residuals = np.einsum("ncp,mp->mnc", blocks, delta) + left
    gradients = np.einsum("kbcp,mkbc->mkp", blocks[every], residuals[:, every]) / sampling.batch_size
    hessians = np.einsum("kbcp,kbcq->kpq", blocks[every], blocks[every]) / sampling.batch_size
    forms = np.einsum("mkp,kpq,mkq->mk", gradients, hessians, gradients)
    squares = (gradients**2).sum(axis=2)
    full = np.einsum("ncp,ncq->pq", blocks, blocks) / n
    spread = np.einsum("mkp,pq,mkq->mk", gradients, full, gradients)
    found = {
        "batch_sharpness": (forms / squares) @ probabilities,
        "batch_sharpness_parts": (forms @ probabilities) / (squares @ probabilities),
        "interaction_aware_sharpness": (spread @ probabilities) / (squares @ probabilities),
    }
    return {name: (float(x.mean()), float(x.std() / np.sqrt(n_chains))) for name, x in found.items()}


class TestAgainstSGD:
    @pytest.mark.parametrize("momentum", [0.0, 0.7])
    @pytest.mark.parametrize(
        ("c", "sampling", "frozen"),
        [
            (1, es.WithReplacement(3), 0.0), (1, es.WithoutReplacement(3), 0.0), (2, es.WithoutReplacement(2), 0.0),
            (1, es.WithoutReplacement(2), 0.3), (2, es.WithReplacement(2), 0.3),
        ],
    )  # fmt: skip
    def test_quotients(self, c: int, sampling: es.Sampling, frozen: float, momentum: float) -> None:
        rng = np.random.default_rng(4)
        blocks = rng.standard_normal((5, c, 3 if frozen else 12))
        flat = blocks.reshape(5 * c, -1)
        left = frozen * rng.standard_normal(5 * c)
        left -= flat @ np.linalg.pinv(flat) @ left
        assert (np.linalg.norm(left) > 0.1) == bool(frozen)
        linear = es.LinearRegression(flat, np.zeros(5 * c)) if c == 1 else None
        noise = 0.1
        # The edge: where no stationary covariance is left.
        low, high = 0.0, 10.0
        for _ in range(40):
            middle = (low + high) / 2
            inside = fast_motion(blocks, sampling, middle, noise, left, momentum).noise is not None
            low, high = (middle, high) if inside else (low, middle)
        if linear is not None and momentum == 0.0:
            assert low == pytest.approx(edge(linear, np.zeros(flat.shape[1]), sampling), rel=1e-6)
        eta = 0.95 * low
        fast = fast_motion(blocks, sampling, eta, noise, left, momentum)
        found = quotients_of_gradients(fast, left, noise, sampling, NAMES, 40_000, np.random.SeedSequence(1))
        expected = by_sgd(blocks, sampling, eta, noise, left, momentum)
        for name, (value, error) in expected.items():
            assert abs(found[name].value - value) <= 4 * np.hypot(error, found[name].standard_error)
            assert np.hypot(error, found[name].standard_error) <= 0.012 * value

    def test_a_gaussian_of_the_same_covariance_is_not_enough(self) -> None:
        blocks, sampling, left = (
            np.random.default_rng(0).standard_normal((10, 1, 3)),
            es.WithoutReplacement(5),
            np.zeros(10),
        )
        eta = 0.995 * edge(es.LinearRegression(blocks[:, 0], left), np.zeros(3), sampling)
        fast = fast_motion(blocks, sampling, eta, 0.1, left)
        value, error = by_sgd(blocks, sampling, eta, 0.1, left, 0.0)[NAMES[0]]
        found = quotients_of_gradients(fast, left, 0.1, sampling, NAMES[:1], 40_000, np.random.SeedSequence(1))[
            NAMES[0]
        ]
        residuals = fast.coordinates(np.random.default_rng(3).standard_normal((4000, 10))) @ fast.perron.eigenvectors.T
        batches, probabilities = oracles.all_batches(10, sampling)
        gram, seen = fast.jacobians @ fast.jacobians.T, residuals[:, batches]
        image = np.einsum("kij,mkj->mki", gram[batches[:, :, None], batches[:, None, :]], seen)
        gaussian = ((image**2).sum(axis=2) / (seen * image).sum(axis=2) / 5 @ probabilities).mean()
        assert gaussian > 1.025 * value
        assert abs(found.value - value) <= 4 * np.hypot(error, found.standard_error) <= 0.025 * value

    @pytest.mark.parametrize("momentum", [0.0, 0.8])
    def test_of_a_regression(self, momentum: float) -> None:
        rng = np.random.default_rng(0)
        problem, start = es.LinearRegression(rng.standard_normal((6, 9)), np.zeros(6)), np.zeros(9)
        sampling = es.WithoutReplacement(3)
        critical = es.stability.critical_step_size(problem, start, sampling, momentum=momentum)
        run: dict[str, Any] = {
            "step_size": 0.95 * critical, "sampling": sampling, "label_noise": 0.1, "momentum": momentum,
        }  # fmt: skip
        trace = es.simulate(
            problem,
            start,
            n_steps=4_000,
            n_replicas=32,
            record=NAMES,
            record_steps=range(400, 4_001, 40),
            seed=2,
            **run,
        )
        found = flow.solve(problem, start, n_steps=1, n_records=2, n_batches=40_000, record=NAMES, **run)
        for name in NAMES:
            runs = trace[name].values.mean(axis=1)
            error = np.hypot(runs.std(ddof=1) / np.sqrt(32), float(found[f"{name}_standard_error"][0]))
            assert abs(runs.mean() - float(found[name][0])) <= 4 * error
            assert error <= 0.005 * runs.mean()


class TestLaw:
    @pytest.mark.parametrize(
        "sampling", [es.WithoutReplacement(1), es.WithoutReplacement(2), es.WithReplacement(2)], ids=repr
    )
    def test_moments_of_one_mode_are_exact(self, sampling: es.Sampling) -> None:
        """z ← az + s, a = 1 − ηλ|u_B|²/b, s normal: E z² = E s²/(1 − E a²), E z⁴ = (6E[a²s²]E z² + 3E s⁴)/(1 − E a⁴)."""
        blocks, noise, b = np.array([0.3, 1.0, 1.2])[:, None, None], 0.2, sampling.batch_size
        unit, length = blocks[:, 0, 0] / np.linalg.norm(blocks), np.linalg.norm(blocks) ** 2
        eta = 1.3
        batches, p = oracles.all_batches(3, sampling)
        squares = (unit[batches] ** 2).sum(axis=1)
        a, s2 = 1 - eta * length * squares / b, (eta * length * noise / b) ** 2 * squares
        second = p @ s2 / (1 - p @ a**2)
        fourth = (6 * (p @ (a**2 * s2)) * second + 3 * (p @ s2**2)) / (1 - p @ a**4)
        fast = fast_motion(blocks, sampling, eta, noise, np.zeros(3))
        assert fast.rotated[0, 0] == pytest.approx(second, rel=1e-9)
        z = stationary(fast, np.zeros(3), noise, sampling, (100_000, 1), np.random.SeedSequence(0)).ravel()
        for power, expected in ((2, second), (4, fourth)):
            error = np.std(z**power) / np.sqrt(len(z))
            assert abs(np.mean(z**power) - expected) <= 4 * error <= 0.1 * expected
        assert fourth - 3 * second**2 > 8 * error  # a Gaussian of this variance is excluded

    @pytest.mark.parametrize("momentum", [0.0, 0.7])
    def test_covariance_far_below_the_edge(self, momentum: float) -> None:
        blocks, sampling = np.random.default_rng(1).standard_normal((5, 2, 4)), es.WithReplacement(2)
        left = np.random.default_rng(2).standard_normal(10)
        flat = blocks.reshape(10, 4)
        left -= flat @ np.linalg.pinv(flat) @ left
        fast = fast_motion(blocks, sampling, 0.03, 0.4, left, momentum)
        z = stationary(fast, left, 0.4, sampling, (20_000, 3), np.random.SeedSequence(3)).reshape(-1, 4)
        white = np.linalg.solve(np.linalg.cholesky(fast.rotated), z.T)
        np.testing.assert_allclose(white @ white.T / len(z), np.eye(4), atol=0.035)
        assert np.abs(white.mean(axis=1)).max() <= 0.03

    @pytest.mark.parametrize("momentum", [0.0, 0.7])
    def test_of_full_batches_is_gaussian(self, momentum: float) -> None:
        blocks, sampling = np.random.default_rng(1).standard_normal((4, 1, 6)), es.WithoutReplacement(4)
        critical = 2 * (1 + momentum) * 4 / np.linalg.norm(blocks[:, 0], 2) ** 2
        fast = fast_motion(blocks, sampling, 0.9 * critical, 0.3, np.zeros(4), momentum)
        seed = np.random.SeedSequence(5)
        direct = stationary(fast, np.zeros(4), 0.3, sampling, (20_000, 2), seed)
        run = stationary(fast, np.zeros(4), 0.3, sampling, (20_000, 2), seed, burn_in=300)
        for z in (direct, run):
            white = np.linalg.solve(np.linalg.cholesky(fast.rotated), z.reshape(-1, 4).T)
            np.testing.assert_allclose(white @ white.T / white.shape[1], np.eye(4), atol=0.045)
            assert np.abs((white**4).mean(axis=1) - 3).max() <= 0.25
        # Each sample is then one of its own.
        top = direct[:, :, -1]
        assert abs(np.corrcoef(top.T)[0, 1]) <= 0.03

    def test_start_is_forgotten(self) -> None:
        """Eight times the steps give the same next to the wall, where one step does not yet."""
        rng = np.random.default_rng(6)
        blocks, sampling = rng.standard_normal((20, 1, 6)), es.WithoutReplacement(14)
        eta = 0.998 * edge(es.LinearRegression(blocks[:, 0], np.zeros(20)), np.zeros(6), sampling)
        fast = fast_motion(blocks, sampling, eta, 0.1, np.zeros(20))
        steps = relaxation(sampling.variance_coefficient(20))
        typical = []
        for burn_in in (1, steps, 8 * steps):
            z = stationary(fast, np.zeros(20), 0.1, sampling, (4_000, 1), np.random.SeedSequence(1), burn_in)
            size = np.log(np.abs(z[:, 0, -1]))
            typical.append((size.mean(), size.std() / np.sqrt(4_000)))
        (early, _), (value, error), (late, late_error) = typical
        assert abs(value - late) <= 4 * np.hypot(error, late_error)
        assert early > late + 0.3

    def test_relaxation(self) -> None:
        assert relaxation(0.0) == 0
        assert relaxation(0.5) == relaxation(1.0) == chains.SHORTEST
        assert relaxation(0.01) == 125
        assert relaxation(1e-6) == chains.LONGEST
        assert relaxation(0.01, 0.75) == 500


class TestSamples:
    @staticmethod
    def problem() -> tuple[FastMotion, es.Sampling]:
        blocks, sampling = np.random.default_rng(4).standard_normal((5, 2, 12)), es.WithoutReplacement(3)
        return fast_motion(blocks, sampling, 0.2, 0.1, np.zeros(10), 0.4), sampling

    def test_loop_is_the_formula(self) -> None:
        """v ← βv + Λ[(1/b) Σ_a U_a(U_aᵀz + offset_a) − f], z ← z − ηv, all chains at once in plain numpy."""
        rng = np.random.default_rng(0)
        basis, values, force = rng.standard_normal((10, 7)), rng.uniform(0.5, 2.0, 7), rng.standard_normal(7)
        members, offsets = rng.integers(10, size=(4, 6, 6)), rng.standard_normal((4, 6, 6))
        z, velocity = rng.standard_normal((6, 7)), rng.standard_normal((6, 7))
        expected, speed = z.copy(), velocity.copy()
        for at, offset in zip(members, offsets, strict=True):
            met = np.einsum("mar,mr->ma", basis[at], expected) + offset
            speed = 0.6 * speed + values * (np.einsum("mar,ma->mr", basis[at], met) / 3 - force)
            expected = expected - 0.1 * speed
        run_chains(members, offsets, basis, values, force, 3, 0.1, 0.6, z, velocity)
        np.testing.assert_allclose(z, expected, rtol=1e-12)
        np.testing.assert_allclose(velocity, speed, rtol=1e-12)

    def test_stretches_change_no_bit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fast, sampling = self.problem()
        options: Any = (fast, np.zeros(10), 0.1, sampling, (8, 3))
        whole = stationary(*options, np.random.SeedSequence(1))
        monkeypatch.setattr(chains, "DRAWN_AHEAD", 1)
        np.testing.assert_array_equal(stationary(*options, np.random.SeedSequence(1)), whole)
        assert len(np.unique(whole[:, :, 0])) == 24

    def test_a_scheme_of_ones_own(self) -> None:
        class Pairs(es.WithoutReplacement):
            """Not one of the schemes of the package: the same law drawn in another way."""

            def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> np.ndarray:
                return rng.permuted(np.tile(np.arange(n_samples), (n_batches, 1)), axis=1)[:, : self.batch_size]

        fast, sampling = self.problem()
        first, second = (
            quotients_of_gradients(fast, np.zeros(10), 0.1, scheme, NAMES[:1], 20_000, np.random.SeedSequence(1))[
                NAMES[0]
            ]
            for scheme in (sampling, Pairs(3))
        )
        assert first.value != second.value
        assert abs(first.value - second.value) <= 4 * np.hypot(first.standard_error, second.standard_error)

    def test_standard_error_is_that_of_the_estimates(self) -> None:
        fast, sampling = self.problem()
        for n_batches in (64, 4 * N_CHAINS):
            found = [
                quotients_of_gradients(
                    fast, np.zeros(10), 0.1, sampling, NAMES[:1], n_batches, np.random.SeedSequence(k)
                )
                for k in range(300)
            ]
            values = [estimate[NAMES[0]].value for estimate in found]
            errors = [estimate[NAMES[0]].standard_error for estimate in found]
            assert np.std(values) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.15)

    def test_number_of_batches_is_rounded_up(self) -> None:
        fast, sampling = self.problem()
        for asked, taken in ((2, 2), (N_CHAINS, N_CHAINS), (N_CHAINS + 1, 2 * N_CHAINS)):
            found = quotients_of_gradients(fast, np.zeros(10), 0.1, sampling, NAMES, asked, np.random.SeedSequence(1))
            assert [estimate.n_batches for estimate in found.values()] == [taken] * len(NAMES)
