"""What must be true of every problem at a point: derivatives, batches, shapes and the structured curvature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares
from esssim.testing.case import Case, assert_close, assert_shape, require, size

STEPS = (2.0**-10, 2.0**-13, 2.0**-16)
MOST_NUMBERS = 2**22


def shifted_points(theta: FloatArray, step: float) -> tuple[FloatArray, float]:
    """Points θ + k·h·e_j, k = −2, −1, 1, 2: (4, p, p); and h = step·‖θ‖_∞."""
    h = (size(theta) or 1.0) * step
    offsets = np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None] * h * np.eye(len(theta))
    return theta + offsets, h


def derivative(values: FloatArray, h: float) -> FloatArray:
    """The fourth-order central difference from values at −2h, −h, h, 2h."""
    return np.asarray((values[0] / 12 - values[1] * 2 / 3 + values[2] * 2 / 3 - values[3] / 12) / h)


def assert_is_derivative(
    case: Case, function: Callable[[FloatArray, IntArray], FloatArray], claimed: FloatArray, scale: float, name: str
) -> None:
    """claimed[i, …, j] = ∂_j function(θ)[i, …] to 1e-8 of `scale`, by differences; where a kink is near, of shorter
    steps.

    Rounding is eps·f/h = 2e-13·f/‖θ‖ for the longest of them, truncation h⁴ of the fifth derivative.
    """
    per_call = max(1, MOST_NUMBERS // (4 * claimed[0].size * len(case.theta)))
    for start in range(0, len(case.everyone), per_call):
        samples = case.everyone[start : start + per_call]
        best = np.full(claimed[samples].shape, np.inf)
        for step in STEPS:
            points, h = shifted_points(case.theta, step)
            found = np.moveaxis(derivative(np.asarray(function(points, samples)), h), 0, -1)
            closer = np.abs(found - claimed[samples]) < np.abs(best - claimed[samples])
            best = np.where(closer, found, best)
            if np.abs(best - claimed[samples]).max() <= 1e-8 * scale:
                break
        else:
            worst = np.unravel_index(int(np.abs(best - claimed[samples]).argmax()), best.shape)
            raise AssertionError(
                f"{name} of sample {samples[worst[0]]}, entry {tuple(int(k) for k in worst[1:])}, is "
                f"{claimed[samples][worst]:.9g}, differences give {best[worst]:.9g}; allowed {1e-8 * scale:.3g}"
            )


def check_gradient_is_the_derivative_of_the_loss(case: Case) -> None:
    problem, n, p = case.problem, case.problem.n_samples, case.problem.n_params
    gradients = problem.sample_gradients(case.theta, case.everyone)
    assert_shape("sample_losses", problem.sample_losses(case.theta, case.everyone), (n,))
    assert_shape("sample_gradients", gradients, (n, p))
    unit = size(case.theta) or 1.0
    assert_is_derivative(case, problem.sample_losses, gradients, case.loss_scale / unit, "sample_gradients")


def check_hessian_is_the_derivative_of_the_gradient(case: Case) -> None:
    n, p = case.problem.n_samples, case.problem.n_params
    assert_shape("sample_hessians", case.hessians, (n, p, p))
    scale = case.gradient_scale / (size(case.theta) or 1.0) + size(case.hessians)
    assert_is_derivative(case, case.problem.sample_gradients, case.hessians, scale, "sample_hessians")
    transposed = case.hessians.transpose(0, 2, 1)
    assert_close(case.hessians, transposed, case.hessian_scale, 1e-14, "sample_hessians, against its transpose,")


def check_jacobian_is_the_derivative_of_the_residuals(case: Case) -> None:
    """Least squares only: ℓᵢ = ½‖rᵢ‖², Jᵢ = ∂rᵢ/∂θ, ∇²fᵢv = ∂(Jᵢv)/∂θ, and the Gauss–Newton curvature is JᵢᵀJᵢ."""
    problem, theta, n, p = case.problem, case.theta, case.problem.n_samples, case.problem.n_params
    if not isinstance(problem, (NonlinearLeastSquares, MultiOutputLeastSquares)):
        return
    outputs = (problem.n_outputs,) if isinstance(problem, MultiOutputLeastSquares) else ()
    residuals, jacobians = problem.residuals(theta, case.everyone), problem.sample_jacobians(theta, case.everyone)
    assert_shape("residuals", residuals, (n, *outputs))
    assert_shape("sample_jacobians", jacobians, (n, *outputs, p))
    losses = (residuals.reshape(n, -1) ** 2).sum(axis=1) / 2
    assert_close(problem.sample_losses(theta, case.everyone), losses, case.loss_scale, 1e-12, "sample_losses")
    unit = size(theta) or 1.0
    nearby = size(problem.residuals(case.neighbourhood, case.everyone))
    assert_is_derivative(case, problem.residuals, jacobians, nearby / unit, "sample_jacobians")
    vector = np.random.default_rng(0).standard_normal(p)
    vectors = np.broadcast_to(vector, jacobians.shape)
    slopes = size(problem.sample_jacobians(case.neighbourhood, case.everyone))

    def along(points: FloatArray, samples: IntArray) -> FloatArray:
        return np.asarray(problem.sample_jacobians(points, samples) @ vector)

    products = np.broadcast_to(problem.model_hessian_products(theta, case.everyone, vectors), jacobians.shape)
    scale = slopes / unit * size(vector) * p + size(products)
    assert_is_derivative(case, along, products, scale, "model_hessian_products")
    curvature = problem.gauss_newton_curvature(theta)
    basis = np.asarray(curvature.to_basis(np.eye(p)))
    rows = jacobians.reshape(n, -1, p) @ basis
    largest = size(rows) or 1.0
    dense = np.swapaxes(rows / largest, 1, 2) @ (rows / largest)
    found = curvature.batch_matrices(case.everyone[:, None]) / largest / largest
    assert_close(found, dense, size(dense) * p, 1e-12, "gauss_newton_curvature")


def check_batch_values_are_means_of_sample_values(case: Case) -> None:
    problem, theta = case.problem, case.theta
    losses = problem.sample_losses(theta, case.everyone)
    gradients = problem.sample_gradients(theta, case.everyone)
    rng = np.random.default_rng(0)
    for batch in (None, rng.integers(problem.n_samples, size=1), rng.integers(problem.n_samples, size=4)):
        indices = case.everyone if batch is None else batch
        assert_close(problem.loss(theta, batch), losses[indices].mean(axis=0), case.loss_scale, name="loss")
        assert_close(
            problem.gradient(theta, batch), gradients[indices].mean(axis=0), case.gradient_scale, name="gradient"
        )
        assert_close(
            problem.hessian(theta, batch), case.hessians[indices].mean(axis=0), case.hessian_scale, name="hessian"
        )


def check_leading_axes_broadcast(case: Case) -> None:
    problem, p = case.problem, case.problem.n_params
    rng = np.random.default_rng(0)
    thetas = case.theta * rng.choice([0.5, 1.0, 0.25], size=(2, 1, 1))
    batches = rng.integers(problem.n_samples, size=(3, 4))
    functions: list[tuple[Callable[..., FloatArray], tuple[int, ...], float]] = [
        (problem.loss, (), case.loss_scale),
        (problem.gradient, (p,), case.gradient_scale),
        (problem.hessian, (p, p), case.hessian_scale),
    ]
    for function, core, reference in functions:
        stacked = function(thetas, batches)
        name = function.__name__
        assert_shape(f"{name} of thetas (2, 1, p) and batches (3, b)", stacked, (2, 3, *core))
        one_batch, one_theta, everyone = (
            function(thetas[:, 0], batches[0]),
            function(case.theta, batches),
            function(thetas),
        )
        assert_shape(f"{name} of thetas (2, p) and one batch", one_batch, (2, *core))
        assert_shape(f"{name} of one theta and batches (3, b)", one_theta, (3, *core))
        assert_shape(f"{name} of thetas (2, 1, p)", everyone, (2, 1, *core))
        scale = max(reference, size(stacked), size(one_theta), size(everyone))
        for i in range(2):
            assert_close(one_batch[i], function(thetas[i, 0], batches[0]), scale, name=name)
            assert_close(everyone[i, 0], function(thetas[i, 0]), scale, name=name)
            for j in range(3):
                assert_close(stacked[i, j], function(thetas[i, 0], batches[j]), scale, name=name)
                assert_close(one_theta[j], function(case.theta, batches[j]), scale, name=name)


def check_curvature_is_that_of_the_sample_hessians(case: Case) -> None:
    """Every method of the structured curvature against dense matrices in its own basis."""
    problem, n, p = case.problem, case.problem.n_samples, case.problem.n_params
    curvature = problem.curvature(case.theta)
    sides = (curvature.n_samples, curvature.n_params)
    require(sides == (n, p), f"curvature must have n_samples, n_params = {(n, p)}, got {sides}")
    basis = np.asarray(curvature.to_basis(np.eye(p)))  # row j is e_j there: v ↦ v @ basis
    assert_close(basis @ basis.T, np.eye(p), 1.0)
    # In units of a power of two, in which squares of Hessians are representable.
    scale = curvature.scale()
    near = case.hessian_scale == 0 or 1 / (16 * p) <= case.hessian_scale / scale <= 16 * p
    require(np.frexp(scale)[0] == 0.5 and near, f"curvature.scale() = {scale} is no power of two near its entries")
    scaled = curvature.scaled(scale)
    dense = basis.T @ (case.hessians / scale) @ basis
    unit = size(dense)
    rng = np.random.default_rng(0)
    batches = rng.integers(n, size=(5, 3))
    vectors, batch_vectors = rng.standard_normal((n, p)), rng.standard_normal((5, p))
    means = dense[batches].mean(axis=1)
    assert_close(curvature.mean(), dense.mean(axis=0) * scale, unit * scale, name="curvature.mean")
    assert_close(curvature.batch_matrices(batches), means * scale, unit * scale, name="curvature.batch_matrices")
    assert_close(scaled.mean(), dense.mean(axis=0), unit)
    weights = vectors[:, 0]
    assert_close(scaled.weighted(weights), np.tensordot(weights, dense, 1), unit * n * size(weights))
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


PROBLEM_CHECKS = (
    check_gradient_is_the_derivative_of_the_loss,
    check_hessian_is_the_derivative_of_the_gradient,
    check_jacobian_is_the_derivative_of_the_residuals,
    check_batch_values_are_means_of_sample_values,
    check_leading_axes_broadcast,
    check_curvature_is_that_of_the_sample_hessians,
)
