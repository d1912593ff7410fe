"""Networks whose outputs and targets are multiplied by a power of two: every statistic is that times its power."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import esssim as es  # noqa: E402
from esssim import bridge  # noqa: E402
from esssim.bridge import TorchProblem, mean_square_sharpness_in_subspace  # noqa: E402
from esssim.bridge.curvature import TorchCurvature  # noqa: E402
from esssim.bridge.layers import layers_of  # noqa: E402
from esssim.bridge.leading import leading_mean_square_sharpness  # noqa: E402
from esssim.bridge.recording import measure, sampled_ratios  # noqa: E402
from esssim.curvature.scale import unit_of_products  # noqa: E402
from esssim.spectra import lanczos_top_pairs  # noqa: E402

N, D = 7, 3
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((N, D))
TARGETS = {1: RNG.standard_normal((N, 1)), 2: RNG.standard_normal((N, 2))}
SAMPLING = es.WithoutReplacement(2)
# Near 1e-150, 1e-85 and 1e100, and where squares of squares leave the doubles for the first time.
POWERS = (-498, -282, -130, 130, 332)


class Scaled(nn.Module):
    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(x)


def problem(width: int, n_outputs: int, power: int, dtype: str = "float64") -> TorchProblem:
    factor = 2.0**power
    module = Scaled(bridge.mlp(D, (width,), n_outputs, seed=0), factor)
    return TorchProblem(module, INPUTS, factor * TARGETS[n_outputs], dtype=dtype)  # type: ignore[arg-type]


def statistics(p: TorchProblem) -> dict[str, float]:
    """What scales as the squares of the outputs."""
    theta = p.theta0
    found = {
        "loss": float(p.loss(theta)),
        "sharpness": es.sharpness(p, theta),
        "minibatch": es.minibatch_sharpness(p, theta, SAMPLING).value,
        "one sample": es.minibatch_sharpness(p, theta, es.WithoutReplacement(1)).value,
        "sampled": es.minibatch_sharpness(p, theta, SAMPLING, n_batches=20, seed=0).value,
        "error": es.minibatch_sharpness(p, theta, SAMPLING, n_batches=20, seed=0).standard_error,
        "ratios": es.batch_sharpness(p, theta, SAMPLING).value,
        "parts": es.batch_sharpness(p, theta, SAMPLING, average="ratio_of_means").value,
        "gni": es.gradient_noise_interaction(p, theta, SAMPLING),
        "ias": es.interaction_aware_sharpness(p, theta, SAMPLING),
        "mean square": es.mean_square_sharpness(p, theta, SAMPLING, hessian="gauss_newton"),
        "leading": leading_mean_square_sharpness(p, theta, SAMPLING, rank=4),
        "subspace": mean_square_sharpness_in_subspace(p, theta, SAMPLING, first_rank=2).value,
    }
    row = measure(p, theta, SAMPLING, ("gradient_norm",), 8, np.random.SeedSequence(0))
    ratios = sampled_ratios(p, theta, SAMPLING, 10, np.random.SeedSequence(0))
    return found | row | {f"recorded {name}": estimate.value for name, estimate in ratios.items()}


class TestScaledOutputs:
    @pytest.mark.parametrize("n_outputs", [1, 2])
    @pytest.mark.parametrize("width", [4, 80])
    def test_every_statistic_is_that_at_scale_one_times_the_square(self, width: int, n_outputs: int) -> None:
        at_one = statistics(problem(width, n_outputs, 0))
        assert all(np.isfinite(value) and value > 0 for value in at_one.values())
        for power in POWERS:
            found = statistics(problem(width, n_outputs, power))
            for name, value in at_one.items():
                assert np.ldexp(found[name], -2 * power) == pytest.approx(value, rel=1e-9), (name, power)

    def test_at_scale_one_sharpness_is_that_of_the_dense_hessian(self) -> None:
        big = problem(80, 2, 0)
        dense = np.linalg.eigvalsh(big.hessian(big.theta0))[-1]
        assert es.sharpness(big, big.theta0) == pytest.approx(dense, rel=1e-10)
        tiny = problem(80, 2, -282)
        assert es.sharpness(tiny, tiny.theta0) == pytest.approx(np.ldexp(dense, -564), rel=1e-10)

    @pytest.mark.parametrize("power", [-10, 15])
    def test_float32_as_well(self, power: int) -> None:
        at_one, found = (statistics(problem(80, 2, k, "float32")) for k in (0, power))
        for name, value in at_one.items():
            assert np.ldexp(found[name], -2 * power) == pytest.approx(value, rel=2e-3), name

    @pytest.mark.parametrize(
        ("dtype", "power"), [("float64", -520), ("float64", 520), ("float32", -60), ("float32", 62)]
    )
    def test_what_the_dtype_cannot_hold_is_refused_by_name(self, dtype: str, power: int) -> None:
        with pytest.raises(ValueError, match=rf"outputs and targets must be between .* with dtype='{dtype}', so that"):
            problem(4, 1, power, dtype)

    @pytest.mark.parametrize("size", [1e-40, 1e39])
    def test_inputs_that_float32_cannot_hold_are_refused(self, size: float) -> None:
        network = bridge.mlp(D, (4,), 1, seed=0)
        TorchProblem(network, size * INPUTS, TARGETS[1])
        with pytest.raises(
            ValueError, match=r"inputs must be between .* with dtype='float32', got .* use dtype='float64'"
        ):
            TorchProblem(network, size * INPUTS, TARGETS[1], dtype="float32")


class TestProductsByHand:
    @pytest.mark.parametrize("power", [-282, -130, 130])
    def test_a_linear_network_of_scaled_inputs(self, power: int) -> None:
        """H = XᵀX/n is known: by hand, as the network is a plain one."""
        rng = np.random.default_rng(1)
        inputs, targets = rng.standard_normal((6, 320)), rng.standard_normal(6)
        factor = 2.0**power
        line = TorchProblem(nn.Sequential(nn.Linear(320, 1, bias=False)), factor * inputs, targets)
        assert layers_of(line) is not None
        top = np.linalg.norm(inputs, 2) ** 2 / 6
        assert np.ldexp(es.sharpness(line, line.theta0), -2 * power) == pytest.approx(top, rel=1e-10)
        one = es.minibatch_sharpness(line, line.theta0, es.WithoutReplacement(1)).value
        assert np.ldexp(one, -2 * power) == pytest.approx((inputs**2).sum(axis=1).mean(), rel=1e-10)

    def test_the_scale_of_a_curvature_of_products(self) -> None:
        ordinary, tiny = problem(80, 1, 0), problem(80, 1, -282)
        first, second = (TorchCurvature(p, p.theta0) for p in (ordinary, tiny))
        assert first.scale() == 1.0
        assert first.scaled(1.0) is first
        unit = second.scale()
        assert np.frexp(unit)[0] == 0.5
        assert -575 < np.log2(unit) < -555
        vectors = np.random.default_rng(2).standard_normal((N, ordinary.n_params))
        for product in ("images", "mean_products"):
            wanted = np.ldexp(getattr(first, product)(vectors), -564) / unit
            assert np.abs(getattr(second.scaled(unit), product)(vectors) / wanted - 1).max() < 1e-9

    def test_batches_of_very_different_sizes_side_by_side(self) -> None:
        """Each batch has a unit of its own, and a vanishing one has none."""
        rng = np.random.default_rng(3)
        rows = rng.standard_normal((4, 320)) * 2.0 ** np.array([-282, 0, 250, -600])[:, None]
        line = TorchProblem(nn.Sequential(nn.Linear(320, 1, bias=False)), rows, np.zeros(4))
        found = lanczos_top_pairs(TorchCurvature(line, line.theta0), np.arange(4)[:, None]).values
        assert found[:3] == pytest.approx((rows[:3] ** 2).sum(axis=1), rel=1e-10)
        assert 0.0 <= found[3] < np.finfo(np.float64).tiny

    def test_the_full_gradient_may_vanish_where_those_of_batches_do_not(self) -> None:
        """Two samples that pull apart: g = 0, g_B = ±xr/…, at a scale whose squares underflow."""
        unit = 2.0**-400
        x = np.zeros((2, 320))
        x[:, 0] = 1.0
        line = TorchProblem(nn.Sequential(nn.Linear(320, 1, bias=False)), x, [unit, -unit])
        found = sampled_ratios(line, np.zeros(320), es.WithoutReplacement(1), 4, np.random.SeedSequence(0))
        assert found["batch_sharpness"].value == pytest.approx(1.0, rel=1e-14)
        assert found["interaction_aware_sharpness"].value == pytest.approx(1.0, rel=1e-14)


def test_units_of_products() -> None:
    rows = np.array([[1.0, -3.0], [0.0, 0.0], [1e-170, -3e-170], [1e200, 1e190], [5e-324, 0.0]])
    units = unit_of_products(rows)
    assert units[[0, 1, 4]].tolist() == [1.0, 1.0, 1.0]
    assert (np.frexp(units)[0] == 0.5).all()
    scaled = np.abs(rows[2:4]).max(axis=1) / units[2:4]
    assert ((scaled >= 1) & (scaled < 2)).all()
    with pytest.raises(ValueError, match=r"Hessian products with unit vectors must be finite, got inf"):
        unit_of_products(np.array([[1.0, np.inf]]))
