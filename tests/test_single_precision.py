"""A user's problem that computes in float32: everything works to its precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.problems import Problem
from esssim.simulation import descent

SAMPLING = es.WithoutReplacement(3)


class Quartic(Problem):
    """ℓᵢ = ½zᵢ² + ¼zᵢ⁴, zᵢ = xᵢᵀθ − yᵢ, whose Hessians are symmetric to rounding in their dtype."""

    def __init__(self, dtype: type, n: int, p: int, skew: float = 0.0) -> None:
        super().__init__(n, p)
        rng = np.random.default_rng(0)
        self.rows = rng.standard_normal((n, p)).astype(dtype)
        self.targets = rng.standard_normal(n).astype(dtype)
        self.skew = dtype(skew)

    def z(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = self.rows[indices]
        return (rows * theta[..., None, :].astype(rows.dtype)).sum(axis=-1) - self.targets[indices]

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z = self.z(theta, indices)
        return z**2 / 2 + z**4 / 4

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z = self.z(theta, indices)
        return (z + z**3)[..., None] * self.rows[indices]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = self.rows[indices]
        weighted = (1 + 3 * self.z(theta, indices) ** 2)[..., None] * rows
        hessians = weighted[..., :, None] * rows[..., None, :]
        hessians[..., 0, 1] += self.skew * np.abs(hessians).max(axis=(-1, -2))
        return hessians


STATISTICS: dict[str, Callable[[Problem, np.ndarray], Any]] = {
    "sharpness": es.sharpness,
    "MiniBS": lambda p, t: es.minibatch_sharpness(p, t, SAMPLING, n_batches=30, seed=0).value,
    "batch sharpness": lambda p, t: es.batch_sharpness(p, t, SAMPLING, n_batches=30, seed=0).value,
    "mean-square sharpness": lambda p, t: es.mean_square_sharpness(p, t, SAMPLING),
    "IAS": lambda p, t: es.interaction_aware_sharpness(p, t, SAMPLING),
    "GNI": lambda p, t: es.gradient_noise_interaction(p, t, SAMPLING),
    "critical step size": lambda p, t: es.stability.critical_step_size(p, t, SAMPLING),
}


@pytest.mark.parametrize(("n", "p"), [(12, 5), (40, 25)])
@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_those_of_double_precision(name: str, n: int, p: int) -> None:
    theta = np.random.default_rng(1).standard_normal(p)
    single, double = (STATISTICS[name](Quartic(dtype, n, p), theta) for dtype in (np.float32, np.float64))
    assert single == pytest.approx(double, rel=1e-5)


class Scaled(Quartic):
    """Losses with an offset, gradients with a factor."""

    def __init__(self, dtype: type, offset: float, factor: float) -> None:
        super().__init__(dtype, 12, 5)
        self.offset, self.factor = dtype(offset), dtype(factor)

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return super().sample_losses(theta, indices) + self.offset

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.factor * super().sample_gradients(theta, indices)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e10])
def test_right_derivatives_are_accepted_whatever_rounding_leaves_of_differences(seed: int, offset: float) -> None:
    theta = np.random.default_rng(seed).standard_normal(5)
    es.sharpness(Scaled(np.float32, offset, 1.0), theta)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("factor", [0.9, 1.1, 2.0, -1.0])
def test_wrong_derivatives_are_seen_through_the_rounding(seed: int, factor: float) -> None:
    theta = np.random.default_rng(seed).standard_normal(5)
    with pytest.raises(ValueError, match="must be the derivative of sample_losses: for sample"):
        es.sharpness(Scaled(np.float32, 0.0, factor), theta)


@pytest.mark.parametrize(("n", "p"), [(12, 5), (40, 25)])
def test_bounds_hold(n: int, p: int) -> None:
    theta = np.random.default_rng(1).standard_normal(p)
    exact = es.minibatch_sharpness(Quartic(np.float64, n, p), theta, es.WithoutReplacement(1)).value
    lower, upper = es.gap.predict(Quartic(np.float32, n, p), theta, es.WithoutReplacement(1)).interval
    gap = exact - es.sharpness(Quartic(np.float64, n, p), theta)
    assert lower <= gap * (1 + 1e-5)
    assert gap * (1 - 1e-5) <= upper


@pytest.mark.parametrize(("dtype", "skew"), [(np.float32, 1e-3), (np.float64, 1e-9)])
def test_an_asymmetry_beyond_the_precision_is_refused(dtype: type, skew: float) -> None:
    with pytest.raises(ValueError, match="symmetric"):
        es.sharpness(Quartic(dtype, 12, 5, skew), np.ones(5))


def test_gradient_flow_asks_for_more_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "MOST_GRADIENTS", 2000)
    with pytest.raises(
        RuntimeError, match="in 2,000 gradients: they must be smooth to ten digits, which float32 is not"
    ):
        es.gradient_flow(Quartic(np.float32, 12, 5), np.ones(5))
