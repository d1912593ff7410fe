"""The common battery: what must be true of every problem, and of every problem under every sampling scheme.

`check(Case(problem, theta))` runs all of it on a problem of one's own; the tests run it on the package's problems. A check
compares with `sample_losses`, `sample_gradients` and `sample_hessians`, which the first two checks tie to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

import esssim as es
from esssim.spectra import largest_eigenvalues
from tests import oracles


@dataclass(frozen=True)
class Case:
    """A problem at a point."""

    problem: es.Problem
    theta: np.ndarray

    @cached_property
    def everyone(self) -> np.ndarray:
        return np.arange(self.problem.n_samples)

    @cached_property
    def hessians(self) -> np.ndarray:
        return np.array(self.problem.sample_hessians(self.theta, self.everyone))

    @cached_property
    def hessian_scale(self) -> float:
        """The largest ‖Hᵢ‖: rounding in any mean of Hessians is a few eps of it."""
        return float(np.linalg.norm(self.hessians, ord=2, axis=(1, 2)).max())

    @cached_property
    def neighbourhood(self) -> np.ndarray:
        """θ and points as far from it as θ is large, (2p+3, p): values there tell how large a rounded term may be."""
        unit, p = size(self.theta) or 1.0, len(self.theta)
        # Along the axes, and off them: a product of two parameters may vanish on both of its axes.
        steps = unit * np.concatenate((np.eye(p), np.linspace(0.5, 1.0, p)[None]))
        return np.concatenate((self.theta[None], self.theta + steps, self.theta - steps))

    @cached_property
    def loss_scale(self) -> float:
        return size(self.problem.sample_losses(self.neighbourhood, self.everyone))

    @cached_property
    def gradient_scale(self) -> float:
        return size(self.problem.sample_gradients(self.neighbourhood, self.everyone))

    @cached_property
    def nearby_hessian_scale(self) -> float:
        return size(self.problem.sample_hessians(self.neighbourhood, self.everyone)) * len(self.theta)

    @cached_property
    def normalised(self) -> np.ndarray:
        """Hᵢ in units of their scale, so that squares of them neither over- nor underflow."""
        return self.hessians / (self.hessian_scale or 1.0)

    @cached_property
    def positive_semidefinite(self) -> bool:
        return bool(np.linalg.eigvalsh(self.normalised).min() > -1e-13)

    @cached_property
    def has_positive_curvature(self) -> bool:
        """Whether H has a positive eigenvalue that is not rounding."""
        return bool(np.linalg.eigvalsh(self.normalised.mean(axis=0))[-1] > 1e-10)


def schemes(n_samples: int, limit: int = 3000) -> list[es.Sampling]:
    """Every scheme at b = 1, 2, 3 and n, where the oracle can go through all draws."""
    sizes = sorted({1, min(2, n_samples), min(3, n_samples), n_samples})
    found = [scheme(b) for scheme in (es.WithoutReplacement, es.WithReplacement, es.Reshuffled) for b in sizes]
    return [sampling for sampling in found if sampling.count(n_samples) <= limit]


def check(case: Case) -> None:
    """The whole battery on one problem: AssertionError where something does not hold."""
    for check_case in CASE_CHECKS:
        check_case(case)
    for sampling in schemes(case.problem.n_samples):
        for check_sampling in (*SAMPLING_CHECKS, *MONTE_CARLO_CHECKS):
            check_sampling(case, sampling)


def assert_close(actual: object, expected: object, scale: float, tolerance: float = 1e-12) -> None:
    """|actual − expected| ≤ tolerance·scale; `scale` is the size of the terms that were summed."""
    difference = np.abs(np.asarray(actual) - np.asarray(expected)).max()
    assert difference <= tolerance * scale, f"{actual} is not {expected}: off by {difference:.3g}, scale {scale:.3g}"


def size(array: np.ndarray) -> float:
    return float(np.abs(array).max())


# --- the problem itself -----------------------------------------------------------------------------------------------


def shifted_points(theta: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Points θ + k·h·e_j, k = −2, −1, 1, 2: (4, p, p); h, and the size of θ in units of which h is small."""
    unit = size(theta) or 1.0
    h = unit * 2.0**-10
    offsets = np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None] * h * np.eye(len(theta))
    return theta + offsets, h, unit


def derivative(values: np.ndarray, h: float) -> np.ndarray:
    """The fourth-order central difference from values at −2h, −h, h, 2h."""
    return (values[0] / 12 - values[1] * 2 / 3 + values[2] * 2 / 3 - values[3] / 12) / h


def check_gradient_is_the_derivative_of_the_loss(case: Case) -> None:
    points, h, unit = shifted_points(case.theta)
    losses = case.problem.sample_losses(points, case.everyone)  # (4, p, n)
    gradients = case.problem.sample_gradients(case.theta, case.everyone)
    assert losses.shape == (*points.shape[:2], case.problem.n_samples)
    assert gradients.shape == (case.problem.n_samples, case.problem.n_params)
    # Rounding is eps·ℓ/h = 2e-13·ℓ/unit, truncation h⁴ of the fifth derivative.
    assert_close(derivative(losses, h).T, gradients, case.loss_scale / unit, 1e-8)


def check_hessian_is_the_derivative_of_the_gradient(case: Case) -> None:
    points, h, unit = shifted_points(case.theta)
    gradients = case.problem.sample_gradients(points, case.everyone)  # (4, p, n, p)
    assert case.hessians.shape == (case.problem.n_samples, case.problem.n_params, case.problem.n_params)
    expected = derivative(gradients, h).transpose(1, 2, 0)
    assert_close(expected, case.hessians, case.gradient_scale / unit + size(case.hessians), 1e-8)
    assert_close(case.hessians, case.hessians.transpose(0, 2, 1), case.hessian_scale, 1e-14)


def check_batch_values_are_means_of_sample_values(case: Case) -> None:
    problem, theta = case.problem, case.theta
    losses = problem.sample_losses(theta, case.everyone)
    gradients = problem.sample_gradients(theta, case.everyone)
    rng = np.random.default_rng(0)
    for batch in (None, rng.integers(problem.n_samples, size=1), rng.integers(problem.n_samples, size=4)):
        indices = case.everyone if batch is None else batch
        assert_close(problem.loss(theta, batch), losses[indices].mean(axis=0), case.loss_scale)
        assert_close(problem.gradient(theta, batch), gradients[indices].mean(axis=0), case.gradient_scale)
        assert_close(problem.hessian(theta, batch), case.hessians[indices].mean(axis=0), case.hessian_scale)


def check_leading_axes_broadcast(case: Case) -> None:
    problem, p = case.problem, case.problem.n_params
    rng = np.random.default_rng(0)
    thetas = case.theta * rng.choice([0.5, 1.0, 0.25], size=(2, 1, 1))
    batches = rng.integers(problem.n_samples, size=(3, 4))
    functions: list[tuple[Callable[..., np.ndarray], tuple[int, ...], float]] = [
        (problem.loss, (), case.loss_scale),
        (problem.gradient, (p,), case.gradient_scale),
        (problem.hessian, (p, p), case.hessian_scale),
    ]
    for function, core, reference in functions:
        stacked = function(thetas, batches)
        assert stacked.shape == (2, 3, *core)
        one_batch, one_theta, everyone = (
            function(thetas[:, 0], batches[0]),
            function(case.theta, batches),
            function(thetas),
        )
        assert one_batch.shape == (2, *core)
        assert one_theta.shape == (3, *core)
        assert everyone.shape == (2, 1, *core)
        scale = max(reference, size(stacked), size(one_theta), size(everyone))
        for i in range(2):
            assert_close(one_batch[i], function(thetas[i, 0], batches[0]), scale)
            assert_close(everyone[i, 0], function(thetas[i, 0]), scale)
            for j in range(3):
                assert_close(stacked[i, j], function(thetas[i, 0], batches[j]), scale)
                assert_close(one_theta[j], function(case.theta, batches[j]), scale)


def check_curvature_is_that_of_the_sample_hessians(case: Case) -> None:
    """Every method of the structured curvature against dense matrices in its own basis."""
    problem, n, p = case.problem, case.problem.n_samples, case.problem.n_params
    curvature = problem.curvature(case.theta)
    assert (curvature.n_samples, curvature.n_params) == (n, p)
    basis = np.asarray(curvature.to_basis(np.eye(p)))  # row j is e_j there: v ↦ v @ basis
    assert_close(basis @ basis.T, np.eye(p), 1.0)
    # In units of a power of two, in which squares of Hessians are representable.
    scale = curvature.scale()
    assert np.frexp(scale)[0] == 0.5
    assert case.hessian_scale == 0 or 1 / (16 * p) <= case.hessian_scale / scale <= 16 * p
    scaled = curvature.scaled(scale)
    dense = basis.T @ (case.hessians / scale) @ basis
    unit = size(dense)
    rng = np.random.default_rng(0)
    batches = rng.integers(n, size=(5, 3))
    vectors, batch_vectors = rng.standard_normal((n, p)), rng.standard_normal((5, p))
    means = dense[batches].mean(axis=1)
    assert_close(curvature.mean(), dense.mean(axis=0) * scale, unit * scale)
    assert_close(curvature.batch_matrices(batches), means * scale, unit * scale)
    assert_close(scaled.mean(), dense.mean(axis=0), unit)
    assert_close(
        scaled.quadratic_forms(vectors),
        np.einsum("ni,nij,nj->n", vectors, dense, vectors),
        unit * p * size(vectors) ** 2,
    )
    one = vectors[0]
    assert_close(scaled.quadratic_forms(one), np.einsum("i,nij,j->n", one, dense, one), unit * p * size(one) ** 2)
    expected = np.einsum("mi,mij,mj->m", batch_vectors, means, batch_vectors)
    assert_close(scaled.batch_quadratic_forms(batches, batch_vectors), expected, unit * p * size(batch_vectors) ** 2)
    matrix = rng.standard_normal((p, p))
    matrix = matrix + matrix.T
    conjugated = np.mean([h @ matrix @ h for h in dense], axis=0)
    square = unit**2 * p**2 * size(matrix)
    assert_close(scaled.mean_conjugation(matrix), conjugated, square)
    for rank in (1, p):
        columns = np.linalg.qr(rng.standard_normal((p, rank)))[0]
        inner = matrix[:rank, :rank]
        outer = np.mean([h @ columns @ inner @ columns.T @ h for h in dense], axis=0)
        assert_close(scaled.conjugation_in(columns)(inner), columns.T @ outer @ columns, square)


CASE_CHECKS = (
    check_gradient_is_the_derivative_of_the_loss,
    check_hessian_is_the_derivative_of_the_gradient,
    check_batch_values_are_means_of_sample_values,
    check_leading_axes_broadcast,
    check_curvature_is_that_of_the_sample_hessians,
)

# --- statistics under a sampling scheme -------------------------------------------------------------------------------


def check_structured_spectrum_is_the_dense_one(case: Case, sampling: es.Sampling) -> None:
    batches, _ = oracles.all_batches(case.problem.n_samples, sampling)
    means = oracles.batch_hessians(case.problem, case.theta, batches)
    norms = np.abs(means).sum(axis=2).max(axis=1)
    values = largest_eigenvalues(case.problem.curvature(case.theta), batches)
    # Entries are rounded before they cancel in the batch mean, hence the scale of the samples beside the norm of H_B.
    sample_norms = np.abs(case.hessians).sum(axis=2).max(axis=1)[batches].max(axis=1)
    assert np.all(np.abs(values - oracles.top_eigenvalues(means)) <= 1e-12 * np.maximum(norms, sample_norms))


def check_minibatch_sharpness_lies_where_theory_says(case: Case, sampling: es.Sampling) -> None:
    """Jensen, the ends b = 1 and b = n, and the variance bounds of the gap."""
    n, scale = case.problem.n_samples, case.hessian_scale
    minibatch = es.minibatch_sharpness(case.problem, case.theta, sampling)
    sharpness = es.sharpness(case.problem, case.theta)
    batches, probabilities = oracles.all_batches(n, sampling)
    tops = oracles.top_eigenvalues(oracles.batch_hessians(case.problem, case.theta, batches))
    assert minibatch.exact
    assert minibatch.standard_error == 0.0
    assert minibatch.n_batches == sampling.count(n) == len(batches)
    assert_close(minibatch.value, probabilities @ tops, scale)
    assert minibatch.value >= sharpness - 1e-12 * scale
    if sampling.batch_size == 1:
        assert_close(minibatch.value, oracles.top_eigenvalues(case.hessians).mean(), scale)
    without = isinstance(sampling, es.WithoutReplacement)
    if without and sampling.batch_size == n:
        assert_close(minibatch.value, sharpness, scale)
    if scale > 0:
        gap = (minibatch.value - sharpness) / scale
        variance = probabilities @ ((tops - minibatch.value) / scale) ** 2
        deviations = case.normalised - case.normalised.mean(axis=0)
        noise = sampling.variance_coefficient(n) * (deviations**2).sum(axis=(1, 2)).mean()
        assert gap**2 + variance <= noise + 1e-12
    if case.positive_semidefinite and without:
        assert minibatch.value <= n / sampling.batch_size * sharpness + 1e-12 * scale


def check_minibatch_sharpness_falls_with_batch_size(case: Case, sampling: es.Sampling) -> None:
    """M_{b+1} ≤ M_b; without replacement ≤ with it; b·M_b rises for positive semidefinite samples."""
    _n, b, slack = case.problem.n_samples, sampling.batch_size, 1e-12 * case.hessian_scale
    here = es.minibatch_sharpness(case.problem, case.theta, sampling).value
    if b > 1:
        smaller = es.minibatch_sharpness(case.problem, case.theta, type(sampling)(b - 1)).value
        assert here <= smaller + slack
        if case.positive_semidefinite and isinstance(sampling, es.WithoutReplacement):
            assert (b - 1) * smaller <= b * here + b * slack
    without = es.minibatch_sharpness(case.problem, case.theta, es.WithoutReplacement(b)).value
    assert without <= es.minibatch_sharpness(case.problem, case.theta, es.WithReplacement(b)).value + slack


def batch_gradients(case: Case, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Batches, probabilities, g_B in units of the largest, and whether every g_B is clear of rounding."""
    batches, probabilities = oracles.all_batches(case.problem.n_samples, sampling)
    gradients = np.array(case.problem.sample_gradients(case.theta, case.everyone))
    largest = size(gradients)
    if 0.0 < largest <= 1e-10 * case.gradient_scale:
        # An interpolating point that is not quite representable: such gradients have no direction to speak of.
        return batches, probabilities, np.zeros((len(batches), case.problem.n_params)), False
    means = (gradients / (largest or 1.0))[batches].mean(axis=1)
    return batches, probabilities, means, bool(np.abs(means).max(axis=1).min() > 1e-6)


def check_batch_sharpness_lies_where_theory_says(case: Case, sampling: es.Sampling) -> None:
    batches, probabilities, gradients, clear = batch_gradients(case, sampling)
    hessians = oracles.batch_hessians(case.problem, case.theta, batches)
    scale = case.hessian_scale
    if not case.problem.sample_gradients(case.theta, case.everyone).any():
        for average in ("ratios", "parts"):
            with pytest.raises(ValueError, match="0/0"):
                es.batch_sharpness(case.problem, case.theta, sampling, average=average)
    if not gradients.any():
        return
    forms = np.einsum("mi,mij,mj->m", gradients, hessians / (scale or 1.0), gradients)
    norms = (gradients**2).sum(axis=1)
    parts = es.batch_sharpness(case.problem, case.theta, sampling, average="parts").value
    # A mean gradient near zero is rounding against the samples' own, and so is the ratio.
    if probabilities @ norms > 1e-10:
        assert_close(parts, (probabilities @ forms) / (probabilities @ norms) * scale, scale / (probabilities @ norms))
    assert parts <= oracles.top_eigenvalues(hessians).max() + 1e-12 * scale
    if clear:
        ratios = es.batch_sharpness(case.problem, case.theta, sampling).value
        assert_close(ratios, probabilities @ (forms / norms) * scale, scale, 1e-9)
        assert ratios <= es.minibatch_sharpness(case.problem, case.theta, sampling).value + 1e-12 * scale


def check_gradient_statistics_are_moments(case: Case, sampling: es.Sampling) -> None:
    """GNI and IAS, exact by the moment identity, against the sum over all batches."""
    _, probabilities, gradients, _ = batch_gradients(case, sampling)
    scale = case.hessian_scale
    hessian = case.normalised.mean(axis=0)
    full = gradients.T @ probabilities
    numerator = probabilities @ np.einsum("mi,ij,mj->m", gradients, hessian, gradients)
    denominator = probabilities @ (gradients**2).sum(axis=1)
    for function, divisor in (
        (es.gradient_noise_interaction, full @ full),
        (es.interaction_aware_sharpness, denominator),
    ):
        if divisor > 1e-10:
            assert_close(function(case.problem, case.theta, sampling), numerator / divisor * scale, scale / divisor)
    # A weighted mean of eigenvalues of H.
    if denominator > 1e-10:
        sharpness = es.sharpness(case.problem, case.theta)
        assert (
            es.interaction_aware_sharpness(case.problem, case.theta, sampling)
            <= sharpness + 1e-12 * scale / denominator
        )


def check_mean_square_sharpness_lies_where_theory_says(case: Case, sampling: es.Sampling) -> None:
    problem, theta, scale = case.problem, case.theta, case.hessian_scale
    if scale == 0:
        assert es.mean_square_sharpness(problem, theta, sampling) == 0.0
        return
    if not case.has_positive_curvature:
        if np.linalg.eigvalsh(case.normalised.mean(axis=0))[-1] < -1e-10:
            with pytest.raises(ValueError, match="positive eigenvalue"):
                es.mean_square_sharpness(problem, theta, sampling)
        return
    value = es.mean_square_sharpness(problem, theta, sampling) / scale
    eigenvalues, vectors = np.linalg.eigh(case.normalised.mean(axis=0))
    keep = eigenvalues > 1e-10 * eigenvalues[-1]
    # C is inverted: rounding in D is amplified by its condition number, the oracle's as much as ours.
    slack = 1e-13 * len(theta) / (eigenvalues[keep][0] / eigenvalues[-1])
    d, c = oracles.dense_pencil(case.normalised, sampling)
    root = np.linalg.cholesky(c)
    dense = np.linalg.eigvalsh(np.linalg.solve(root, np.linalg.solve(root, d).T))[-1]
    assert abs(value - dense) <= slack * dense
    assert value >= es.sharpness(problem, theta) / scale - slack * dense
    enclosure = es.mean_square_sharpness(problem, theta, sampling, certify=True)
    assert enclosure.lower / scale - slack * dense <= dense <= enclosure.upper / scale + slack * dense
    assert enclosure.lower <= enclosure.value <= enclosure.upper
    if case.positive_semidefinite:
        batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
        means = case.normalised[batches].mean(axis=1)
        mean, square = case.normalised.mean(axis=0), np.einsum("m,mij,mjk->ik", probabilities, means, means)
        assert value >= np.trace(square) / np.trace(mean) - slack * dense
        inverse_root = vectors[:, keep] / np.sqrt(eigenvalues[keep])
        assert value <= np.linalg.eigvalsh(inverse_root.T @ square @ inverse_root)[-1] + slack * dense
        assert value <= np.linalg.eigvalsh(means)[:, -1].max() + slack * dense


class Transformed(es.Problem):
    """ℓ'ᵢ(θ) = a·ℓ_{π(i)}(Rθ): the same problem with its samples permuted, its axes rotated and its losses scaled."""

    def __init__(self, problem: es.Problem, order: np.ndarray, rotation: np.ndarray, factor: float) -> None:
        super().__init__(problem.n_samples, problem.n_params)
        self.problem, self.order, self.rotation, self.factor = problem, order, rotation, factor

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.factor * self.problem.sample_losses(theta @ self.rotation.T, self.order[indices])

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.factor * self.problem.sample_gradients(theta @ self.rotation.T, self.order[indices]) @ self.rotation

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        hessians = self.problem.sample_hessians(theta @ self.rotation.T, self.order[indices])
        return self.factor * (self.rotation.T @ hessians @ self.rotation)


def check_statistics_do_not_depend_on_coordinates_order_or_units(case: Case, sampling: es.Sampling) -> None:
    """Rotated axes and permuted samples change no statistic, four times the loss gives four times each."""
    n, p = case.problem.n_samples, case.problem.n_params
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((p, p)))[0]
    other = Transformed(case.problem, rng.permutation(n), rotation, 4.0)
    moved = case.theta @ rotation
    assert_close(other.loss(moved), 4.0 * case.problem.loss(case.theta), 4.0 * case.loss_scale, 1e-10)
    assert_same_statistics(case, Case(other, moved), sampling, 4.0)


def assert_same_statistics(case: Case, other: Case, sampling: es.Sampling, factor: float) -> None:
    """Each statistic of `other` is `factor` times that of `case`."""
    scale = case.hessian_scale * factor
    _, probabilities, gradients, clear = batch_gradients(case, sampling)
    pairs = [
        (es.sharpness(c.problem, c.theta), es.minibatch_sharpness(c.problem, c.theta, sampling).value)
        for c in (case, other)
    ]
    # The point itself is rounded when it is moved: 1e-10 leaves room for steep losses.
    assert_close(pairs[1], factor * np.array(pairs[0]), max(scale, factor * case.nearby_hessian_scale), 1e-10)
    if case.hessian_scale <= 1e-6 * case.nearby_hessian_scale:
        return  # what is left of the Hessian is as small as that rounding
    functions: list[Callable[..., object]] = []
    if clear:
        functions.append(lambda c: es.batch_sharpness(c.problem, c.theta, sampling).value)
    if probabilities @ (gradients**2).sum(axis=1) > 1e-3:
        functions.append(lambda c: es.batch_sharpness(c.problem, c.theta, sampling, average="parts").value)
        functions.append(lambda c: es.interaction_aware_sharpness(c.problem, c.theta, sampling))
    if np.sum((gradients.T @ probabilities) ** 2) > 1e-3:
        functions.append(lambda c: es.gradient_noise_interaction(c.problem, c.theta, sampling))
    eigenvalues = np.linalg.eigvalsh(case.normalised.mean(axis=0))
    borderline = (np.abs(eigenvalues) < 1e-4 * eigenvalues[-1]) & (np.abs(eigenvalues) > 1e-14 * eigenvalues[-1])
    if case.has_positive_curvature and not borderline.any():
        functions.append(lambda c: es.mean_square_sharpness(c.problem, c.theta, sampling))
    for function in functions:
        here, there = function(case), function(other)
        assert_close(there, factor * here, max(scale, factor * abs(here)), 1e-8)


SAMPLING_CHECKS = (
    check_structured_spectrum_is_the_dense_one,
    check_minibatch_sharpness_lies_where_theory_says,
    check_minibatch_sharpness_falls_with_batch_size,
    check_batch_sharpness_lies_where_theory_says,
    check_gradient_statistics_are_moments,
    check_mean_square_sharpness_lies_where_theory_says,
    check_statistics_do_not_depend_on_coordinates_order_or_units,
)

# --- Monte Carlo ------------------------------------------------------------------------------------------------------


def check_enumeration_agrees_with_sampling(case: Case, sampling: es.Sampling) -> None:
    """The exact value lies within five standard errors of a sampled one, which the seed determines."""
    problem, theta, scale = case.problem, case.theta, case.hessian_scale
    estimators: list[Callable[..., es.Estimate]] = [
        lambda **how: es.minibatch_sharpness(problem, theta, sampling, **how)
    ]
    _, probabilities, gradients, clear = batch_gradients(case, sampling)
    if clear:
        estimators.append(lambda **how: es.batch_sharpness(problem, theta, sampling, **how))
    if probabilities @ (gradients**2).sum(axis=1) > 1e-3:
        estimators.append(lambda **how: es.batch_sharpness(problem, theta, sampling, average="parts", **how))
    for estimate in estimators:
        exact, sampled = estimate(), estimate(n_batches=1000, seed=1, draws="uniform")
        assert exact.exact
        assert not sampled.exact
        assert sampled.n_batches == 1000
        assert abs(sampled.value - exact.value) <= 5 * sampled.standard_error + 1e-9 * scale
        assert sampled == estimate(n_batches=1000, seed=1, draws="uniform")


MONTE_CARLO_CHECKS = (check_enumeration_agrees_with_sampling,)
