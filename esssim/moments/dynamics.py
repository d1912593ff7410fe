"""The exact course of mean and covariance.

With the state (θ, v), its mean (m, w) and its covariance S, one step with independent batches is

    m′ = m − η∇L(m)                     (momentum: v ← βv + g_B, θ ← θ − ηv; Nesterov: θ ← θ − η(g_B + βv))
    S′ = T̄ S T̄ᵀ + ggᵀ ⊗ N,   N = V(Σ) + c·Cov_i ∇ℓᵢ(m) + (ε²/b)H,   V(Σ) = c(mean HᵢΣHᵢ − HΣH),

T̄ the step of the mean gradient and g how a gradient enters (θ, v). About the moving mean there are no cross terms:
those that appear about the minimiser, −η²c·mean(HᵢE[e]ξᵢᵀ + ξᵢE[e]ᵀHᵢ), are in Cov_i ∇ℓᵢ(m).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._fingerprint import fingerprint_or_reason
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gradient_noise import GradientNoise
from esssim.moments.modes import Modes, quadratic_modes
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.simulation.schedule import Ramp, steps_to_record
from esssim.stability.edges import check_momentum
from esssim.stability.linearised import transition_matrices


@one_blas_thread()
def evolve(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float | Ramp,
    sampling: Sampling | GradientNoise,
    n_steps: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    label_noise: float = 0.0,
    n_records: int = 100,
    record_steps: Sequence[int] | None = None,
) -> xarray.Dataset:
    """Mean m, covariance Σ and expected loss of SGD's θ_t from a fixed θ_0: exact, no sampling, any step size.

    Next step ′, without momentum:
    Σ′ = Σ − η(HΣ + ΣH) + η²[(1−c)HΣH + c·mean HᵢΣHᵢ] + η²c·Cov_i ∇ℓᵢ(m),  E L = L(m) + ½ tr(HΣ);
    c: `sampling.variance_coefficient(n)`.

    problem: Quadratic or LinearRegression; theta0: (p,). sampling: or a `GradientNoise`. step_size: η, or a `Ramp`.
    label_noise: ε, targets y + εz. Records are at n_records equally spaced steps, or at `record_steps`.

    Returns a Dataset with dims record, parameter and other_parameter, coords step and step_size, variables mean
    (record, parameter), covariance (record, parameter, other_parameter), loss (record,) and `diverged_at`, the step
    at which a moment or the loss overflows, −1 for none; records from there on are NaN. O(n r²) a step, r ≤ p the rank.
    Raises ValueError for bad arguments, for problems that are not quadratic and for `Reshuffled`.
    Source: `theory/moment_recursion.py`, on the moment identity of `esssim.sampling`.
    """
    n_steps = _validate.integer("n_steps", n_steps, 1)
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    ramp = Ramp.of(step_size)
    modes = quadratic_modes(problem, sampling, label_noise)
    start = _validate.real_array("theta0", theta0, (problem.n_params,))
    steps = steps_to_record(n_steps, n_records, record_steps)
    step_sizes = ramp.at(np.arange(n_steps), n_steps)
    p = problem.n_params
    mean, covariance, loss = (
        np.full((len(steps), p), np.nan),
        np.full((len(steps), p, p), np.nan),
        np.full(len(steps), np.nan),
    )
    state, diverged_at = _State(modes, start, beta, nesterov), -1
    # An unstable run leaves the range of doubles: that is caught, not warned of.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(int(steps[-1]) + 1):
            record = int(np.searchsorted(steps, step))
            if steps[record] == step:
                found = state.moments()
                if not np.isfinite(found[2]):
                    diverged_at = step
                    break
                mean[record], covariance[record], loss[record] = found
            if step < steps[-1]:
                state.advance(float(step_sizes[step]))
                if not state.is_finite():
                    diverged_at = step + 1
                    break
    return xarray.Dataset(
        {
            "mean": (("record", "parameter"), mean),
            "covariance": (("record", "parameter", "other_parameter"), covariance),
            "loss": ("record", loss),
            "diverged_at": diverged_at,
        },
        {"step": ("record", steps), "step_size": ("record", ramp.at(steps, n_steps))},
        {
            "problem": type(problem).__name__,
            "problem_fingerprint": fingerprint_or_reason(problem),
            "scheme": type(sampling).__name__,
            "batch_size": sampling.batch_size,
            "momentum": beta,
            "nesterov": int(nesterov),
            "label_noise": float(label_noise),
        },
    )


class _State:
    """Mean (2, r) and covariance (2, 2, r, r) of (θ − θ_0, v) in the modes."""

    def __init__(self, modes: Modes, start: FloatArray, beta: float, nesterov: bool) -> None:
        rank = len(modes.eigenvalues)
        self.modes, self.start, self.beta, self.nesterov = modes, start, beta, nesterov
        self.mean = np.zeros((2, rank))
        self.covariance = np.zeros((2, 2, rank, rank))

    @property
    def theta(self) -> FloatArray:
        return np.asarray(self.start + self.modes.basis @ self.mean[0])

    def advance(self, step_size: float) -> None:
        modes, eta = self.modes, step_size * self.modes.scale
        transition, gain = transition_matrices(modes.eigenvalues, eta, self.beta, self.nesterov)
        (free,), _ = transition_matrices(np.zeros(1), eta, self.beta, self.nesterov)
        gradients = modes.gradients(self.theta)
        noise = modes.noise(self.covariance[0, 0], gradients)
        self.mean = free @ self.mean + np.outer(gain, gradients.mean(axis=0))
        moved = np.einsum("jac,cdjk->adjk", transition, self.covariance)
        moved = np.einsum("kbd,adjk->abjk", transition, moved)
        self.covariance = moved + np.multiply.outer(np.outer(gain, gain), noise)

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.covariance).all() and np.isfinite(self.mean).all())

    def moments(self) -> tuple[FloatArray, FloatArray, float]:
        modes, covariance = self.modes, self.covariance[0, 0]
        spread = float(modes.eigenvalues @ np.diagonal(covariance)) / 2 * modes.scale
        full = modes.basis @ covariance @ modes.basis.T
        return self.theta, (full + full.T) / 2, float(modes.problem.loss(self.theta)) + spread
