"""
Logistic regression
===================

A problem of your own, in four methods.

Everything in esssim works on a `Problem`: the mean of n losses ℓᵢ(θ) with known gradients and Hessians. To add one,
subclass `esssim.Problem` and write four methods. `__init__` stores the data and says how many samples and parameters
there are; the other three return ℓᵢ(θ), ∇ℓᵢ(θ) and ∇²ℓᵢ(θ) for an array of sample indices. Here::

    ℓᵢ(θ) = log(1 + exp(−mᵢ)),  mᵢ = yᵢ xᵢᵀθ,  yᵢ = ±1,
    ∇ℓᵢ = −σ(−mᵢ) yᵢ xᵢ,        ∇²ℓᵢ = σ(mᵢ)σ(−mᵢ) xᵢxᵢᵀ,   σ(m) = 1/(1 + exp(−m)).

`theta` has shape (..., p) and `indices` (..., b); their leading axes broadcast against each other: one call serves
many points and many batches. `margins` below is the only place that has to think of that.

The tests of the package then run on the new problem unchanged::

    from esssim.testing import check_problem
    check_problem(LogisticRegression(inputs, labels))

Run this file: python docs/examples/logistic_regression.py
"""

# sphinx_gallery_thumbnail_path = "../figures/output/spectra.png"
from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

import esssim as es


class LogisticRegression(es.Problem):
    """Binary classification without intercept: inputs (n, p), labels (n,) of −1 and +1."""

    def __init__(self, inputs: npt.ArrayLike, labels: npt.ArrayLike) -> None:
        self.inputs = np.asarray(inputs, dtype=np.float64)
        self.labels = np.asarray(labels, dtype=np.float64)
        if self.inputs.ndim != 2 or self.labels.shape != self.inputs.shape[:1] or not np.isfinite(self.inputs).all():
            raise ValueError(
                f"inputs must be finite of shape (n, p) and labels (n,), got {self.inputs.shape}, {self.labels.shape}"
            )
        if not np.isin(self.labels, (-1.0, 1.0)).all():
            raise ValueError(f"labels must be -1 or +1, got {np.unique(self.labels)}")
        super().__init__(n_samples=self.inputs.shape[0], n_params=self.inputs.shape[1])

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, -self.margins(theta, indices))

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        weights = -expit(-self.margins(theta, indices)) * self.labels[indices]
        return weights[..., None] * self.inputs[indices]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        margins = self.margins(theta, indices)
        weights = expit(margins) * expit(-margins)
        rows = self.inputs[indices]
        return weights[..., None, None] * rows[..., :, None] * rows[..., None, :]

    def margins(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """mᵢ = yᵢ xᵢᵀθ, shape (..., b)."""
        return self.labels[indices] * np.einsum("...bp,...p->...b", self.inputs[indices], theta)


def main() -> None:
    # 150 tumours, ten of their thirty measurements: malignant or benign.
    table = es.data.load("breast_cancer", standardize=True)
    problem = LogisticRegression(table.inputs[:150, :10], np.sign(table.targets[:150]))
    sampling = es.WithoutReplacement(8)
    step_size = 2.0

    start = np.zeros(problem.n_params)
    trace = es.simulate(
        problem, start, step_size=step_size, sampling=sampling, n_steps=2000, n_replicas=2,
        record=("loss", "sharpness", "theta"), n_records=5, seed=0,
    )  # fmt: skip
    print(f"SGD with step size η = {step_size:g} and batches of {sampling.batch_size}, mean of two runs:")
    for record in range(trace.sizes["record"]):
        row = trace.isel(record=record).mean("replica")
        level = step_size / 2 * float(row.sharpness)
        print(f"  step {int(row.step):5d}   loss {float(row.loss):.4f}   η/2 · sharpness {level:.4f}")

    theta = trace["theta"].values[0, -1]
    # 150 choose 8 batches are too many to enumerate: these two are sampled, and say how exactly.
    minibatch = es.minibatch_sharpness(problem, theta, sampling, n_batches=2000, seed=0)
    batch = es.batch_sharpness(problem, theta, sampling, n_batches=2000, seed=0)
    print("Where the first run ended, times η/2 (1 is the edge of stability):")
    print(f"  sharpness              {step_size / 2 * es.sharpness(problem, theta):.4f}")
    for name, estimate in (("mini-batch sharpness", minibatch), ("batch sharpness", batch)):
        low, high = (step_size / 2 * end for end in estimate.interval)
        print(f"  {name:<22} {step_size / 2 * estimate.value:.4f}   95 % interval {low:.4f} to {high:.4f}")
    print(f"  mean-square sharpness  {step_size / 2 * es.mean_square_sharpness(problem, theta, sampling):.4f}")


if __name__ == "__main__":
    main()
