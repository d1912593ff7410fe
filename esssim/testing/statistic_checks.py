"""What must be true of every problem under every sampling scheme: each statistic against enumeration and dense algebra.

A check compares with `sample_losses`, `sample_gradients` and `sample_hessians`, which `problem_checks` ties to each
other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import esssim as es
from esssim._validate import FloatArray, IntArray
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.spectra import largest_eigenvalues
from esssim.testing import oracles
from esssim.testing.case import Case, assert_at_most, assert_close, assert_refuses, require, size

TINY = 1e-320


def check_structured_spectrum_is_the_dense_one(case: Case, sampling: Sampling) -> None:
    batches, _ = oracles.all_batches(case.problem.n_samples, sampling)
    means = oracles.batch_hessians(case.problem, case.theta, batches)
    norms = np.abs(means).sum(axis=2).max(axis=1)
    values = largest_eigenvalues(case.problem.curvature(case.theta), batches)
    # Entries are rounded before they cancel in the batch mean, hence the scale of the samples beside the norm of H_B.
    sample_norms = np.abs(case.hessians).sum(axis=2).max(axis=1)[batches].max(axis=1)
    off = np.abs(values - oracles.top_eigenvalues(means)) / np.maximum(np.maximum(norms, sample_norms), TINY)
    require(
        off.max() <= 1e-12,
        f"λ_max(H_B) by structure is off by {off.max():.3g} of the norm, batch {batches[off.argmax()].tolist()}",
    )


def check_minibatch_sharpness_lies_where_theory_says(case: Case, sampling: Sampling) -> None:
    """Jensen, the ends b = 1 and b = n, and the variance bounds of the gap."""
    n, scale = case.problem.n_samples, case.hessian_scale
    minibatch = es.minibatch_sharpness(case.problem, case.theta, sampling)
    sharpness = es.sharpness(case.problem, case.theta)
    batches, probabilities = oracles.all_batches(n, sampling)
    tops = oracles.top_eigenvalues(oracles.batch_hessians(case.problem, case.theta, batches))
    require(minibatch.exact and minibatch.standard_error == 0.0, f"{minibatch} should be exact")
    require(
        minibatch.n_batches == sampling.count(n) == len(batches), f"{minibatch} should count {len(batches)} batches"
    )
    assert_close(minibatch.value, probabilities @ tops, scale)
    assert_at_most(sharpness, minibatch.value, 1e-12 * scale, "λ_max(H) ≤ E λ_max(H_B)")
    if sampling.batch_size == 1:
        assert_close(minibatch.value, oracles.top_eigenvalues(case.hessians).mean(), scale)
    without = isinstance(sampling, es.WithoutReplacement)
    if without and sampling.batch_size == n:
        assert_close(minibatch.value, sharpness, scale)
    if scale > 0:
        gap = (minibatch.value - sharpness) / scale
        variance = float(probabilities @ ((tops - minibatch.value) / scale) ** 2)
        deviations = case.normalised - case.normalised.mean(axis=0)
        noise = sampling.variance_coefficient(n) * (deviations**2).sum(axis=(1, 2)).mean()
        assert_at_most(gap**2 + variance, noise, 1e-12, "gap² + Var ≤ E‖H_B − H‖²")
    if case.positive_semidefinite and without:
        assert_at_most(
            minibatch.value, n / sampling.batch_size * sharpness, 1e-12 * scale, "E λ_max(H_B) ≤ (n/b)λ_max(H)"
        )


def check_minibatch_sharpness_falls_with_batch_size(case: Case, sampling: Sampling) -> None:
    """M_{b+1} ≤ M_b; without replacement ≤ with it; b·M_b rises for positive semidefinite samples."""
    _n, b, slack = case.problem.n_samples, sampling.batch_size, 1e-12 * case.hessian_scale
    here = es.minibatch_sharpness(case.problem, case.theta, sampling).value
    if b > 1:
        smaller = es.minibatch_sharpness(case.problem, case.theta, type(sampling)(b - 1)).value
        assert_at_most(here, smaller, slack, "M_b ≤ M_{b−1}")
        if case.positive_semidefinite and isinstance(sampling, es.WithoutReplacement):
            assert_at_most((b - 1) * smaller, b * here, b * slack, "(b−1)M_{b−1} ≤ bM_b")
    without = es.minibatch_sharpness(case.problem, case.theta, es.WithoutReplacement(b)).value
    with_it = es.minibatch_sharpness(case.problem, case.theta, es.WithReplacement(b)).value
    assert_at_most(without, with_it, slack, "M_b without replacement ≤ with it")


def batch_gradients(case: Case, sampling: Sampling) -> tuple[IntArray, FloatArray, FloatArray, bool]:
    """Batches, probabilities, g_B in units of the largest, and whether every g_B is clear of rounding."""
    batches, probabilities = oracles.all_batches(case.problem.n_samples, sampling)
    gradients = np.array(case.problem.sample_gradients(case.theta, case.everyone))
    largest = size(gradients)
    if 0.0 < largest <= 1e-10 * case.gradient_scale:
        # An interpolating point that is not quite representable: such gradients have no direction to speak of.
        return batches, probabilities, np.zeros((len(batches), case.problem.n_params)), False
    means = (gradients / (largest or 1.0))[batches].mean(axis=1)
    return batches, probabilities, means, bool(np.abs(means).max(axis=1).min() > 1e-6)


def check_batch_sharpness_lies_where_theory_says(case: Case, sampling: Sampling) -> None:
    batches, probabilities, gradients, clear = batch_gradients(case, sampling)
    hessians = oracles.batch_hessians(case.problem, case.theta, batches)
    scale = case.hessian_scale
    if not case.problem.sample_gradients(case.theta, case.everyone).any():
        for average in ("mean_of_ratios", "ratio_of_means"):
            undefined = functools.partial(es.batch_sharpness, case.problem, case.theta, sampling, average=average)
            assert_refuses(undefined, "0/0")
    if not gradients.any():
        return
    forms = np.einsum("mi,mij,mj->m", gradients, hessians / (scale or 1.0), gradients)
    norms = (gradients**2).sum(axis=1)
    parts = es.batch_sharpness(case.problem, case.theta, sampling, average="ratio_of_means").value
    # A mean gradient near zero is rounding against the samples' own, and so is the ratio.
    if probabilities @ norms > 1e-10:
        assert_close(parts, (probabilities @ forms) / (probabilities @ norms) * scale, scale / (probabilities @ norms))
    assert_at_most(parts, oracles.top_eigenvalues(hessians).max(), 1e-12 * scale, "batch sharpness ≤ max λ_max(H_B)")
    if clear:
        ratios = es.batch_sharpness(case.problem, case.theta, sampling).value
        assert_close(ratios, probabilities @ (forms / norms) * scale, scale, 1e-9)
        minibatch = es.minibatch_sharpness(case.problem, case.theta, sampling).value
        assert_at_most(ratios, minibatch, 1e-12 * scale, "batch sharpness ≤ E λ_max(H_B)")


def check_gradient_statistics_are_moments(case: Case, sampling: Sampling) -> None:
    """GNI and IAS, exact by the moment identity, against the sum over all batches."""
    _, probabilities, gradients, _ = batch_gradients(case, sampling)
    scale = case.hessian_scale
    hessian = case.normalised.mean(axis=0)
    full = gradients.T @ probabilities
    numerator = probabilities @ np.einsum("mi,ij,mj->m", gradients, hessian, gradients)
    denominator = float(probabilities @ (gradients**2).sum(axis=1))
    for function, divisor in (
        (es.gradient_noise_interaction, float(full @ full)),
        (es.interaction_aware_sharpness, denominator),
    ):
        if divisor > 1e-10:
            assert_close(function(case.problem, case.theta, sampling), numerator / divisor * scale, scale / divisor)
    # A weighted mean of eigenvalues of H.
    if denominator > 1e-10:
        sharpness = es.sharpness(case.problem, case.theta)
        aware = es.interaction_aware_sharpness(case.problem, case.theta, sampling)
        assert_at_most(aware, sharpness, 1e-12 * scale / denominator, "IAS ≤ λ_max(H)")


def check_mean_square_sharpness_lies_where_theory_says(case: Case, sampling: Sampling) -> None:
    problem, theta, scale = case.problem, case.theta, case.hessian_scale
    if scale == 0:
        require(es.mean_square_sharpness(problem, theta, sampling) == 0.0, "Q_b of zero Hessians is 0")
        return
    if not case.has_positive_curvature:
        if np.linalg.eigvalsh(case.normalised.mean(axis=0))[-1] < -1e-10:
            assert_refuses(lambda: es.mean_square_sharpness(problem, theta, sampling), "positive eigenvalue")
        return
    value = es.mean_square_sharpness(problem, theta, sampling) / scale
    eigenvalues, vectors = np.linalg.eigh(case.normalised.mean(axis=0))
    keep = eigenvalues > 1e-10 * eigenvalues[-1]
    # C is inverted: rounding in D is amplified by its condition number, the oracle's as much as ours.
    slack = 1e-13 * len(theta) / (eigenvalues[keep][0] / eigenvalues[-1])
    d, c = oracles.dense_pencil(case.normalised, sampling)
    root = np.linalg.cholesky(c)
    dense = np.linalg.eigvalsh(np.linalg.solve(root, np.linalg.solve(root, d).T))[-1]
    room = slack * dense
    assert_close(value, dense, dense, slack, "Q_b in units of the largest Hessian")
    assert_at_most(es.sharpness(problem, theta) / scale, value, room, "λ_max(H) ≤ Q_b")
    enclosure = es.mean_square_sharpness(problem, theta, sampling, certify=True)
    assert_at_most(enclosure.lower / scale, dense, room, "certified lower end ≤ Q_b")
    assert_at_most(dense, enclosure.upper / scale, room, "Q_b ≤ certified upper end")
    require(enclosure.lower <= enclosure.value <= enclosure.upper, f"{enclosure} should contain its value")
    if case.positive_semidefinite:
        batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
        means = case.normalised[batches].mean(axis=1)
        mean, square = case.normalised.mean(axis=0), np.einsum("m,mij,mjk->ik", probabilities, means, means)
        assert_at_most(np.trace(square) / np.trace(mean), value, room, "tr E[H_B²]/tr H ≤ Q_b")
        inverse_root = vectors[:, keep] / np.sqrt(eigenvalues[keep])
        second = np.linalg.eigvalsh(inverse_root.T @ square @ inverse_root)[-1]
        assert_at_most(value, second, room, "Q_b ≤ λ_max(H⁺E[H_B²])")
        assert_at_most(value, np.linalg.eigvalsh(means)[:, -1].max(), room, "Q_b ≤ max λ_max(H_B)")


class Transformed(Problem):
    """ℓ'ᵢ(θ) = a·ℓ_{π(i)}(Rθ): the same problem with its samples permuted, its axes rotated and its losses scaled."""

    def __init__(self, problem: Problem, order: IntArray, rotation: FloatArray, factor: float) -> None:
        super().__init__(problem.n_samples, problem.n_params)
        self.problem, self.order, self.rotation, self.factor = problem, order, rotation, factor

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.factor * self.problem.sample_losses(theta @ self.rotation.T, self.order[indices])

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.factor * self.problem.sample_gradients(theta @ self.rotation.T, self.order[indices]) @ self.rotation

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        hessians = self.problem.sample_hessians(theta @ self.rotation.T, self.order[indices])
        return self.factor * (self.rotation.T @ hessians @ self.rotation)


def check_statistics_do_not_depend_on_coordinates_order_or_units(case: Case, sampling: Sampling) -> None:
    """Rotated axes and permuted samples change no statistic, four times the loss gives four times each."""
    n, p = case.problem.n_samples, case.problem.n_params
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((p, p)))[0]
    other = Transformed(case.problem, rng.permutation(n), rotation, 4.0)
    moved = case.theta @ rotation
    assert_close(other.loss(moved), 4.0 * case.problem.loss(case.theta), 4.0 * case.loss_scale, 1e-10)
    assert_same_statistics(case, Case(other, moved), sampling, 4.0)


def assert_same_statistics(case: Case, other: Case, sampling: Sampling, factor: float) -> None:
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
    functions: list[Callable[[Case], float]] = []
    if clear:
        functions.append(lambda c: es.batch_sharpness(c.problem, c.theta, sampling).value)
    if probabilities @ (gradients**2).sum(axis=1) > 1e-3:
        functions.append(lambda c: es.batch_sharpness(c.problem, c.theta, sampling, average="ratio_of_means").value)
        functions.append(lambda c: es.interaction_aware_sharpness(c.problem, c.theta, sampling))
    if np.sum((gradients.T @ probabilities) ** 2) > 1e-3:
        functions.append(lambda c: es.gradient_noise_interaction(c.problem, c.theta, sampling))
    eigenvalues = np.linalg.eigvalsh(case.normalised.mean(axis=0))
    borderline = (np.abs(eigenvalues) < 1e-4 * eigenvalues[-1]) & (np.abs(eigenvalues) > 1e-14 * eigenvalues[-1])
    if case.has_positive_curvature and not borderline.any():
        functions.append(lambda c: float(es.mean_square_sharpness(c.problem, c.theta, sampling)))
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


def check_enumeration_agrees_with_sampling(case: Case, sampling: Sampling) -> None:
    """The exact value lies within five standard errors of a sampled one, which the seed determines."""
    problem, theta, scale = case.problem, case.theta, case.hessian_scale
    estimators: list[Callable[..., es.Estimate]] = [
        lambda **how: es.minibatch_sharpness(problem, theta, sampling, **how)
    ]
    _, probabilities, gradients, clear = batch_gradients(case, sampling)
    if clear:
        estimators.append(lambda **how: es.batch_sharpness(problem, theta, sampling, **how))
    if probabilities @ (gradients**2).sum(axis=1) > 1e-3:
        estimators.append(lambda **how: es.batch_sharpness(problem, theta, sampling, average="ratio_of_means", **how))
    for estimate in estimators:
        exact, sampled = estimate(), estimate(n_batches=1000, seed=1, draws="uniform")
        require(exact.exact and not sampled.exact and sampled.n_batches == 1000, f"{exact} is exact, {sampled} sampled")
        off = abs(sampled.value - exact.value)
        assert_at_most(off, 5 * sampled.standard_error, 1e-9 * scale, f"|{sampled} − {exact}| ≤ 5 standard errors")
        require(sampled == estimate(n_batches=1000, seed=1, draws="uniform"), "the same seed gives the same estimate")


MONTE_CARLO_CHECKS = (check_enumeration_agrees_with_sampling,)
