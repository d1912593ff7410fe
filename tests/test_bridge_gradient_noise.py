"""Gaussian noise in place of batches in torch networks: steps by autograd, streams, refusals, and the edge by brute force."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.experiments import Experiment

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from esssim.bridge import Piecewise, TorchProblem, mlp, train  # noqa: E402

N, B = 8, 3
LAWS: tuple[es.GradientNoise, ...] = (es.IsotropicNoise(B), es.DiagonalNoise(B))
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)


class Bent(torch.nn.Module):
    """A network that no rule by hand knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp(2, (3,), 2, seed=1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = torch.sin(self.layers(inputs))
        return outputs


def network(module: torch.nn.Module | None = None, loss: str = "squared") -> TorchProblem:
    rng = np.random.default_rng(5)
    targets = rng.standard_normal((N, 2)) if loss == "squared" else rng.integers(0, 2, N)
    return TorchProblem(
        mlp(2, (3,), 2, seed=1) if module is None else module, rng.standard_normal((N, 2)), targets, loss
    )


def gradients_of(problem: TorchProblem, theta: np.ndarray, targets: torch.Tensor) -> np.ndarray:
    """∇ℓᵢ of every sample, (n, p), by one backward pass each."""
    torch.nn.utils.vector_to_parameters(torch.tensor(theta), problem.module.parameters())
    rows = []
    for x, y in zip(torch.tensor(problem.inputs), targets, strict=True):
        output = problem.module(x[None])[0]
        loss = ((output - y) ** 2).sum() / 2 if problem.loss_name == "squared" else -torch.log_softmax(output, 0)[y]
        rows.append(torch.cat([part.ravel() for part in torch.autograd.grad(loss, list(problem.module.parameters()))]))
    return torch.stack(rows).numpy()


@by_law
@pytest.mark.parametrize(
    ("own", "loss", "label_noise"),
    [(False, "squared", 0.0), (False, "squared", 0.2), (True, "squared", 0.2), (False, "cross_entropy", 0.0)],
)
def test_steps_against_autograd(law: es.GradientNoise, own: bool, loss: str, label_noise: float) -> None:
    problem, eta, beta, steps = network(Bent() if own else None, loss), 0.1, 0.5, 6
    trace = train(
        problem, problem.theta0, step_size=eta, sampling=law, n_steps=steps, momentum=beta, label_noise=label_noise,
        record=("theta", "minibatch_sharpness"), record_steps=[steps], n_batches=60, seed=2,
    )  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence(2, spawn_key=(0,)))
    theta, velocity, targets = problem.theta0, np.zeros(problem.n_params), torch.tensor(problem.targets)
    batches = np.array(list(itertools.combinations(range(N), B)))
    for _ in range(steps):
        normal = rng.standard_normal(problem.n_params)
        noise = label_noise * rng.standard_normal((N, 2)) if label_noise else np.zeros((N, 2))
        gradients = gradients_of(problem, theta, targets + torch.tensor(noise) if label_noise else targets)
        variances = gradients[batches].mean(axis=1).var(axis=0)
        variances = np.full_like(variances, variances.mean()) if isinstance(law, es.IsotropicNoise) else variances
        velocity = beta * velocity + gradients.mean(axis=0) + np.sqrt(variances) * normal
        theta = theta - eta * velocity
    assert np.allclose(trace["theta"].values[0, 0], theta, rtol=1e-10, atol=1e-12)
    # Statistics of batches are those of the batches whose covariance the noise has.
    tops = np.linalg.eigvalsh(problem.hessian(theta, batches))[:, -1]
    assert trace["minibatch_sharpness"].values[0, 0] == pytest.approx(tops.mean(), rel=1e-7)
    assert (trace.attrs["scheme"], trace["batch_size"].values.tolist()) == (type(law).__name__, [B])


@by_law
def test_runs_are_those_of_simulate_for_any_workers_records_and_interruptions(
    law: es.GradientNoise, tmp_path: Path
) -> None:
    problem, how = network(), {"step_size": 0.1, "sampling": law, "label_noise": 0.1, "record": ("theta",), "seed": 1}
    options: dict[str, Any] = how
    one = train(problem, problem.theta0, n_steps=40, record_steps=[40], **options)
    many = train(problem, problem.theta0, n_steps=40, n_records=5, n_replicas=2, n_workers=2, **options)
    assert np.array_equal(one["theta"].values[0, -1], many["theta"].values[0, -1])
    assert not np.array_equal(many["theta"].values[1, -1], many["theta"].values[0, -1])
    plain = es.simulate(problem, problem.theta0, n_steps=40, n_records=2, **options)
    assert np.allclose(plain["theta"].values[0, -1], one["theta"].values[0, -1], rtol=1e-10)
    train(problem, problem.theta0, n_steps=15, record_steps=[15], checkpoint=tmp_path / "run.npz", **options)
    longer = train(problem, problem.theta0, n_steps=40, record_steps=[40], checkpoint=tmp_path / "run.npz", **options)
    assert np.array_equal(longer["theta"].values[0, -1], one["theta"].values[0, -1])
    options["sampling"] = (es.DiagonalNoise if isinstance(law, es.IsotropicNoise) else es.IsotropicNoise)(B)
    with pytest.raises(ValueError, match="checkpoint must be a new file or belong to this very run: sampling is"):
        train(problem, problem.theta0, n_steps=40, checkpoint=tmp_path / "run.npz", **options)


def test_noise_takes_the_place_of_batches_when_told() -> None:
    problem = network()
    options: dict[str, Any] = {"step_size": 0.1, "record": ("theta",), "seed": 3}
    law, full = es.DiagonalNoise(B), es.WithoutReplacement(N)
    both = train(
        problem, problem.theta0, sampling=Piecewise((full, law), (4,)), n_steps=9, record_steps=[4, 9], **options
    )
    first = train(problem, problem.theta0, sampling=full, n_steps=4, record_steps=[4], **options)
    assert np.array_equal(both["theta"].values[0, 0], first["theta"].values[0, 0])
    assert both["batch_size"].values.tolist() == [B, B]
    assert not np.array_equal(both["theta"].values[0, 1], both["theta"].values[0, 0])


@by_law
def test_a_diverged_run_is_marked_and_a_batch_too_large_refused(law: es.GradientNoise) -> None:
    problem = network()
    trace = train(problem, problem.theta0, step_size=1e9, sampling=law, n_steps=50, record=("loss",), n_records=6)
    assert 0 <= trace["diverged_at"].values[0] < 50
    assert np.isnan(trace["loss"].values[0, -1])
    with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 8, got 9"):
        train(problem, problem.theta0, step_size=0.1, sampling=type(law)(9), n_steps=1)


@pytest.mark.parametrize("kind", ["isotropic_noise", "diagonal_noise"])
def test_an_experiment_runs_it(kind: str) -> None:
    sections: dict[str, Any] = {
        "problem": {"kind": "mlp", "hidden": [3]}, "start": {"kind": "random"}, "sampling": {"batch_size": 3},
        "data": {"kind": "gaussian", "n_samples": 12, "n_features": 5}, "method": {"kind": kind},
        "dynamics": {"step_size": {"from": 0.3, "to": 0.5, "unit": "first edge"}, "n_steps": 30, "seed": 2},
        "records": {"statistics": ["loss"], "n_records": 4},
    }  # fmt: skip
    found = Experiment(**sections)
    law = (es.IsotropicNoise if kind == "isotropic_noise" else es.DiagonalNoise)(3)
    edge = es.stability.critical_step_size(found.model, found.theta0, law, hessian="gauss_newton")
    direct = train(
        found.model, found.theta0, step_size=es.Ramp(0.3 * edge, 0.5 * edge), sampling=law, n_steps=30,
        record=("loss",), n_records=4, seed=2,
    )  # fmt: skip
    np.testing.assert_array_equal(found.run()["loss"].values, direct["loss"].values)


@by_law
def test_the_edge_of_a_network_is_where_the_dense_operator_has_radius_one(law: es.GradientNoise) -> None:
    """M ← (I−ηH)M(I−ηH) + η²S(V(M)) as a p²×p² matrix, all batches enumerated, Gauss–Newton, two outputs."""
    rng = np.random.default_rng(5)
    # With this gain no direction is nearly flat: the condition of H is 2·10⁴.
    problem = TorchProblem(
        mlp(2, (2,), 2, seed=1, gain=2.0), 2 * rng.standard_normal((N, 2)), rng.standard_normal((N, 2))
    )
    p, batches = problem.n_params, itertools.combinations(range(N), B)
    torch.nn.utils.vector_to_parameters(torch.tensor(problem.theta0), problem.module.parameters())
    inputs, parameters = torch.tensor(problem.inputs), list(problem.module.parameters())
    rows = [
        torch.cat([part.ravel() for part in torch.autograd.grad(problem.module(x[None])[0, k], parameters)])
        for x in inputs for k in range(2)
    ]  # fmt: skip
    jacobians = torch.stack(rows).numpy().reshape(N, 2, p)
    hessians = np.einsum("ica,icb->iab", jacobians, jacobians)
    hessian = hessians.mean(axis=0)
    off = hessians[np.array(list(batches))].mean(axis=1) - hessian
    critical = es.stability.critical_step_size(problem, problem.theta0, law, hessian="gauss_newton")

    def radius(eta: float) -> float:
        step, columns = np.eye(p) - eta * hessian, []
        for unit in np.eye(p * p):
            state = unit.reshape(p, p)
            noise = np.einsum("bij,jk,bkl->il", off, state, off, optimize=True) / len(off)
            isotropic = np.trace(noise) / p * np.eye(p)
            noise = isotropic if isinstance(law, es.IsotropicNoise) else np.diag(np.diag(noise))
            columns.append((step @ state @ step + eta**2 * noise).ravel())
        return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())

    assert radius((1 - 1e-6) * critical) < 1 < radius((1 + 1e-6) * critical)
    of_batches = es.mean_square_sharpness(problem, problem.theta0, law.batches, hessian="gauss_newton")
    assert critical != pytest.approx(2 / of_batches, rel=0.02)
