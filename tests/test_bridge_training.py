"""Training of torch networks: the compiled loop against autograd, resuming, interventions, records, bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim import measure
from esssim.sampling import Sampling
from esssim.statistics import estimate
from tests.conftest import Run

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from esssim.bridge import Piecewise, TorchProblem, data, mlp, train  # noqa: E402
from esssim.bridge.curvature import fully_connected_at  # noqa: E402
from esssim.bridge.layers import Layer, layers_of  # noqa: E402
from esssim.bridge.leading import leading_mean_square_sharpness  # noqa: E402
from esssim.bridge.recording import OF_GRADIENTS, sampled_ratios  # noqa: E402


def network_problem(
    activation: str = "tanh", hidden: tuple[int, ...] = (5,), loss: str = "squared", n: int = 24
) -> TorchProblem:
    table = data.classes("wine", n)
    module = mlp(table.n_inputs, hidden, table.n_outputs, activation=activation, seed=3)
    return TorchProblem(module, table.inputs, table.loss_targets(loss), loss)


def by_autograd(
    problem: TorchProblem, batches: np.ndarray, etas: np.ndarray, momentum: float = 0.0, noise: np.ndarray | None = None
) -> np.ndarray:
    """The same steps, as one would write them in torch."""
    module = mlp(*_widths(problem), activation=_layers(problem)[0].activation or "tanh")
    torch.nn.utils.vector_to_parameters(torch.tensor(problem.theta0), module.parameters())
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0, momentum=momentum)
    inputs, targets = torch.tensor(problem.inputs), torch.tensor(problem.targets)
    for m, batch in enumerate(torch.tensor(batches)):
        optimiser.param_groups[0]["lr"] = float(etas[m])
        optimiser.zero_grad()
        outputs = module(inputs[batch])
        if problem.loss_name == "cross_entropy":
            loss = torch.nn.functional.cross_entropy(outputs, targets[batch])
        else:
            wanted = targets[batch] if noise is None else targets[batch] + torch.tensor(noise[m]).view(outputs.shape)
            loss = ((outputs - wanted) ** 2).sum(dim=1).mean() / 2
        loss.backward()
        optimiser.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()


def _layers(problem: TorchProblem) -> list[Layer]:
    layers = layers_of(problem)
    assert layers is not None
    return layers


def _widths(problem: TorchProblem) -> tuple[int, list[int], int]:
    layers = _layers(problem)
    return layers[0].d_in, [layer.d_out for layer in layers[:-1]], layers[-1].d_out


def batches_of(sampling: Sampling, n: int, steps: int, seed: int) -> np.ndarray:
    """The batches of `simulate`: uniform numbers of the replica's stream, one per index, a permutation carried on."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    order, batches = np.arange(n), []
    for _ in range(steps):
        for i in range(sampling.batch_size):
            j = i + int(rng.random() * (n - i))
            order[i], order[j] = order[j], order[i]
        batches.append(order[: sampling.batch_size].copy())
    return np.array(batches)


def final_theta(problem: TorchProblem, **options: object) -> np.ndarray:
    settings: dict[str, object] = {"step_size": 0.1, "sampling": es.WithoutReplacement(4), "n_steps": 30, "seed": 5}
    trace = train(problem, problem.theta0, **settings | options, record=("theta",), n_records=1)  # type: ignore[arg-type]
    return np.asarray(trace["theta"].values[0, -1])


class Scaled(torch.nn.Module):
    """The same function, with a step that no chain of layers has."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.0 * self.inner(x)


class TestSteps:
    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    @pytest.mark.parametrize("hidden", [(5,), (6, 4)])
    @pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
    def test_are_those_of_torch_on_the_batches_of_simulate(
        self, activation: str, hidden: tuple[int, ...], loss: str
    ) -> None:
        problem = network_problem(activation, hidden, loss)
        batches = batches_of(es.WithoutReplacement(4), problem.n_samples, 30, seed=5)
        expected = by_autograd(problem, batches, np.full(30, 0.1))
        assert np.abs(final_theta(problem) - expected).max() < 1e-13

    def test_logits_in_the_thousands_do_not_overflow(self) -> None:
        table = data.classes("wine", 24)
        module = mlp(table.n_inputs, (5,), table.n_outputs, seed=3)
        with torch.no_grad():
            module[-1].weight *= 1e4
        problem = TorchProblem(module, table.inputs, table.loss_targets("cross_entropy"), "cross_entropy")
        logits = module(torch.tensor(table.inputs)).detach()
        assert (logits.max(dim=1).values - logits.min(dim=1).values).max() > 1000
        batches = batches_of(es.WithoutReplacement(4), problem.n_samples, 30, seed=5)
        expected = by_autograd(problem, batches, np.full(30, 0.1))
        np.testing.assert_allclose(final_theta(problem), expected, rtol=1e-9)

    def test_heavy_ball_and_ramp(self) -> None:
        problem = network_problem()
        batches = batches_of(es.WithoutReplacement(4), problem.n_samples, 30, seed=5)
        expected = by_autograd(problem, batches, es.Ramp(0.02, 0.08).at(np.arange(30), 30), momentum=0.9)
        found = final_theta(problem, step_size=es.Ramp(0.02, 0.08), momentum=0.9)
        assert np.abs(found - expected).max() < 1e-12

    def test_step_sizes_and_batch_sizes_change_when_told(self) -> None:
        problem = network_problem()
        first, second = es.WithoutReplacement(4), es.WithoutReplacement(9)
        stream = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0,)))
        order, theta = np.arange(problem.n_samples), problem.theta0
        for step in range(30):
            b, eta = (4, 0.1) if step < 12 else (9, 0.1)
            eta = eta if step < 20 else 0.02
            for i in range(b):
                j = i + int(stream.random() * (problem.n_samples - i))
                order[i], order[j] = order[j], order[i]
            theta = theta - eta * problem.gradient(theta, order[:b].copy())
        found = final_theta(
            problem, step_size=Piecewise((0.1, 0.02), (20,)), sampling=Piecewise((first, second), (12,))
        )
        assert np.abs(found - theta).max() < 1e-13

    def test_any_other_module_takes_the_same_steps(self) -> None:
        plain = network_problem("gelu")
        other = TorchProblem(Scaled(plain.module), plain.inputs, plain.targets)
        assert layers_of(other) is None
        for options in ({}, {"label_noise": 0.3, "momentum": 0.5}):
            assert np.abs(final_theta(plain, **options) - final_theta(other, **options)).max() < 1e-13

    def test_label_noise_is_that_of_simulate(self) -> None:
        table = data.teacher(12, 3, seed=0)
        problem = TorchProblem(mlp(3, (4,), 1, seed=0), table.inputs, table.targets)
        options = {
            "step_size": 0.1, "sampling": es.WithReplacement(3), "n_steps": 25, "label_noise": 0.4, "seed": 8,
            "record": ("theta",), "n_records": 1,
        }  # fmt: skip
        ours = train(problem, problem.theta0, **options)  # type: ignore[arg-type]
        theirs = es.simulate(problem, problem.theta0, **options)  # type: ignore[arg-type]
        assert np.abs(ours["theta"].values - theirs["theta"].values).max() < 1e-13

    def test_reshuffled_epochs_visit_every_sample_once(self) -> None:
        problem = network_problem(n=24)
        trace = train(
            problem, problem.theta0, step_size=0.1, sampling=es.Reshuffled(6), n_steps=8, record=("theta",),
            n_records=9, seed=2,
        )  # fmt: skip
        ours = trace["theta"].values
        theirs = es.simulate(
            problem, problem.theta0, step_size=0.1, sampling=es.Reshuffled(6), n_steps=8, record=("theta",),
            n_records=9, seed=2,
        )["theta"].values  # fmt: skip
        assert np.abs(ours - theirs).max() < 1e-13


class TestRecords:
    def test_are_the_statistics_at_their_theta(self) -> None:
        problem = network_problem()
        names = ("theta", "loss", "sharpness", "minibatch_sharpness", "interaction_aware_sharpness",
                 "mean_square_sharpness_gauss_newton")  # fmt: skip
        scheme = es.WithoutReplacement(4)
        trace = train(
            problem, problem.theta0, step_size=0.1, sampling=scheme, n_steps=40, record=names, n_records=3,
            n_batches=16, seed=1,
        )  # fmt: skip
        theta = trace["theta"].values[0, -1]
        assert float(trace["loss"][0, -1]) == pytest.approx(float(problem.loss(theta)), rel=1e-12)
        assert float(trace["sharpness"][0, -1]) == pytest.approx(es.sharpness(problem, theta), rel=1e-12)
        key = np.random.SeedSequence(1, spawn_key=(0, 40))
        mini = es.minibatch_sharpness(problem, theta, scheme, n_batches=16, seed=key, draws="uniform")
        assert float(trace["minibatch_sharpness"][0, -1]) == pytest.approx(mini.value, rel=1e-12)
        assert float(trace["minibatch_sharpness_standard_error"][0, -1]) == pytest.approx(mini.standard_error)
        exact = es.mean_square_sharpness(problem, theta, scheme, hessian="gauss_newton")
        assert float(trace["mean_square_sharpness_gauss_newton"][0, -1]) == pytest.approx(exact, rel=1e-9)

    def test_do_not_depend_on_replicas_workers_or_other_records(self) -> None:
        problem = network_problem()
        options = {"step_size": 0.1, "sampling": es.WithoutReplacement(4), "n_steps": 20, "seed": 1, "n_batches": 4}
        starts = np.stack([problem.theta0, 0.5 * problem.theta0])
        both = train(problem, starts, n_replicas=2, n_workers=2, record=("loss", "minibatch_sharpness"), n_records=3,
                     **options)  # type: ignore[arg-type]  # fmt: skip
        alone = train(problem, starts[0], record=("minibatch_sharpness",), record_steps=[7, 20], **options)  # type: ignore[arg-type]
        assert both["minibatch_sharpness"].values[0, -1] == alone["minibatch_sharpness"].values[0, -1]
        assert both["loss"].dims == ("replica", "record")
        assert both["batch_size"].values.tolist() == [4, 4, 4]
        assert es.settling.level(
            train(problem, problem.theta0, record=("loss",), n_records=8, **options), "loss"  # type: ignore[arg-type]
        ).n_replicas == 1  # fmt: skip

    def test_runs_that_may_repeat_themselves_are_recorded_at_random_phases(self) -> None:
        """Those of `simulate`, for a scheme that comes later too; and what is in step with the epoch is no level."""
        problem = network_problem()
        options = {"step_size": 0.1, "n_steps": 300, "record": ("loss",), "seed": 1}
        b, n = 4, problem.n_samples
        epochs, late = es.Reshuffled(b), Piecewise((es.WithoutReplacement(b), es.Reshuffled(b)), (50,))
        ours = {str(s): train(problem, problem.theta0, sampling=s, n_records=20, **options) for s in (epochs, late)}  # type: ignore[arg-type]
        theirs = es.simulate(problem, problem.theta0, sampling=epochs, n_records=20, **options)  # type: ignore[arg-type]
        for trace in ours.values():
            assert trace["step"].values.tolist() == theirs["step"].values.tolist()
            assert len(np.unique(np.diff(trace["step"]))) > 3
        equal = train(problem, problem.theta0, sampling=es.WithoutReplacement(b), n_records=20, **options)  # type: ignore[arg-type]
        assert equal["step"].values.tolist() == np.linspace(0, 300, 20).round().tolist()
        every = range(0, 301, n // b)
        for sampling in (epochs, late):
            thinned = train(problem, problem.theta0, sampling=sampling, record_steps=every, **options)  # type: ignore[arg-type]
            assert es.settling.level(thinned, "loss", after=100).period == n // b

    def test_a_diverged_run_is_marked_with_its_step_and_never_averaged(self) -> None:
        problem = network_problem("relu")
        trace = train(
            problem, problem.theta0, step_size=1e3, sampling=es.WithoutReplacement(4), n_steps=400,
            record=("loss", "sharpness"), n_records=5, seed=0,
        )  # fmt: skip
        step = int(trace["diverged_at"][0])
        assert 0 < step <= 400
        assert np.isnan(trace["loss"].values[0, trace["step"].values > step]).all()
        assert np.isfinite(trace["loss"].values[0, 0])

    @pytest.mark.parametrize("hidden", [(5,), (6, 4)])
    def test_ratios_from_shared_products_are_those_of_the_core(self, hidden: tuple[int, ...]) -> None:
        problem, scheme, seed = network_problem(hidden=hidden), es.WithoutReplacement(4), np.random.SeedSequence(0)
        theta = problem.theta0
        found = sampled_ratios(problem, theta, scheme, 300, seed)
        assert tuple(found) == OF_GRADIENTS
        for name, average in zip(OF_GRADIENTS, ("mean_of_ratios", "ratio_of_means"), strict=False):
            core = es.batch_sharpness(
                problem, theta, scheme, average=average, n_batches=300, seed=seed, draws="uniform"
            )
            assert found[name].value == pytest.approx(core.value, rel=1e-11)
            assert found[name].standard_error == pytest.approx(core.standard_error, rel=1e-9)
        exact = es.interaction_aware_sharpness(problem, theta, scheme)
        sampled = found["interaction_aware_sharpness"]
        assert abs(sampled.value - exact) < 4 * sampled.standard_error
        assert sampled.standard_error < 0.1 * exact

    def test_ratios_do_not_depend_on_how_batches_are_cut_into_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        problem, scheme = network_problem(), es.WithoutReplacement(2)
        whole, pieces = [], []
        for found, chunk in ((whole, 4096), (pieces, 7)):
            monkeypatch.setattr(estimate, "CHUNK", chunk)
            found += sampled_ratios(problem, problem.theta0, scheme, 60, np.random.SeedSequence(1)).values()
        for one, other in zip(whole, pieces, strict=True):
            assert other.value == pytest.approx(one.value, rel=1e-12)
            assert other.standard_error == pytest.approx(one.standard_error, rel=1e-12)

    def test_ratios_without_a_gradient_are_undefined(self) -> None:
        """Targets that the network has: 0/0, as in the records of the core."""
        plain = network_problem()
        fitted = TorchProblem(plain.module, plain.inputs, plain.outputs(plain.theta0))
        found = sampled_ratios(fitted, fitted.theta0, es.WithoutReplacement(4), 10, np.random.SeedSequence(0))
        assert all(np.isnan(estimate.value) for estimate in found.values())


class TestSubspace:
    def test_rises_with_the_rank_to_the_exact_value(self) -> None:
        problem = network_problem(n=30)
        scheme = es.WithoutReplacement(3)
        exact = es.mean_square_sharpness(problem, problem.theta0, scheme, hessian="gauss_newton")
        ranks = (1, 4, 16, problem.n_params)
        found = [leading_mean_square_sharpness(problem, problem.theta0, scheme, rank=r) for r in ranks]
        assert all(low <= high * (1 + 1e-9) for low, high in pairwise(found))
        assert found[-1] == pytest.approx(exact, rel=1e-5)
        assert found[0] < 0.999 * exact

    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    def test_is_the_same_for_a_module_that_is_not_recognised(self, loss: str) -> None:
        problem = network_problem("gelu", (6, 4), loss)
        other = TorchProblem(Scaled(problem.module), problem.inputs, problem.targets, loss)
        assert (fully_connected_at(problem, problem.theta0) is None, fully_connected_at(other, other.theta0)) == (
            False,
            None,
        )
        for rank in (3, 40):
            values = [
                leading_mean_square_sharpness(q, problem.theta0, es.WithoutReplacement(4), rank=rank)
                for q in (problem, other)
            ]
            assert values[0] == pytest.approx(values[1], rel=1e-11)

    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    def test_full_batch_is_the_top_of_the_gauss_newton_matrix(self, loss: str) -> None:
        problem = network_problem(loss=loss)
        scheme = es.WithoutReplacement(problem.n_samples)
        top = np.linalg.eigvalsh(problem.gauss_newton_curvature(problem.theta0).mean())[-1]
        found = leading_mean_square_sharpness(problem, problem.theta0, scheme, rank=20)
        assert found == pytest.approx(top, rel=1e-6)


class TestCheckpoint:
    class Killed(Exception):
        pass

    def test_a_killed_run_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        problem, path = network_problem(), tmp_path / "run.npz"
        options = {
            "step_size": 0.1, "sampling": es.WithoutReplacement(4), "n_steps": 60, "momentum": 0.9, "seed": 4,
            "label_noise": 0.1, "record": ("loss", "minibatch_sharpness", "theta"), "n_records": 7, "n_batches": 4,
            "n_replicas": 2,
        }  # fmt: skip
        whole = train(problem, problem.theta0, **options)  # type: ignore[arg-type]

        def kill(done: int, total: int) -> None:
            if done == 10:
                raise self.Killed

        with pytest.raises(self.Killed):
            train(problem, problem.theta0, checkpoint=path, progress=kill, **options)  # type: ignore[arg-type]
        assert path.is_file()
        assert (tmp_path / "run-1.npz").is_file()
        told: list[int] = []
        resumed = train(problem, problem.theta0, checkpoint=path, progress=lambda done, _: told.append(done), **options)  # type: ignore[arg-type]
        assert told[0] == 7
        assert resumed.identical(whole)

    def test_of_another_run_is_refused(self, tmp_path: Path) -> None:
        problem, path = network_problem(), tmp_path / "run.npz"
        options = {"sampling": es.WithoutReplacement(4), "n_steps": 10, "seed": 4, "record": ("loss",), "n_records": 2}
        train(problem, problem.theta0, step_size=0.1, checkpoint=path, **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="checkpoint must be a new file or belong to this very run"):
            train(problem, problem.theta0, step_size=0.2, checkpoint=path, **options)  # type: ignore[arg-type]


class TestNetworks:
    def test_are_those_of_torch_times_the_gain(self) -> None:
        torch.manual_seed(7)
        plain = torch.nn.Linear(3, 4, dtype=torch.float64)
        before = torch.random.get_rng_state()
        found = mlp(3, (4,), 2, gain=0.5, seed=7)
        assert torch.equal(found[0].weight, 0.5 * plain.weight)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_data(self) -> None:
        digits = data.classes("digits", 50)
        assert (digits.n_samples, digits.n_inputs, digits.n_outputs) == (50, 64, 10)
        assert (digits.targets.argmax(axis=1) == digits.labels).all()
        assert (data.classes("digits", 20).inputs == digits.inputs[:20]).all()
        parity = data.sparse_parity(40, 6, order=3, seed=1)
        assert (parity.targets[:, 0] == parity.inputs[:, 0] * parity.inputs[:, 1] * parity.inputs[:, 2]).all()
        assert data.two_moons(30, seed=1).n_outputs == 2
        one, two = data.teacher(8, 3).targets, data.teacher(8, 3, n_outputs=2).targets
        assert (one.shape, two.shape) == ((8, 1), (8, 2))
        np.testing.assert_array_equal(two[:, :1], one)
        assert data.from_table(es.data.load("diabetes")).n_outputs == 1


class TestOwnTable:
    def test_is_measured_on_the_network_that_torch_trains(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """200 steps of full-batch heavy ball by torch itself, and the Hessian there by automatic differentiation."""
        monkeypatch.setattr("esssim.measure.models.MLP_STEPS", 200)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((20, 2))
        lines = [f"{a!r},{b!r},{a * b!r}" for a, b in x.tolist()]
        (tmp_path / "own.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
        code, out, _ = run(
            "measure", tmp_path / "own.csv", "--target", "y", "--model", "mlp", "--batch-size", 19, "--json"
        )
        assert code == 0
        (row,) = json.loads(out)["rows"]
        table = measure.load_table(str(tmp_path / "own.csv"), "y")
        module = mlp(2, (8,), 1, seed=0)
        inputs, targets = torch.tensor(table.inputs), torch.tensor(table.targets)[:, None]
        parameters = list(module.parameters())

        def loss(theta: torch.Tensor) -> torch.Tensor:
            parts = theta.split([part.numel() for part in parameters])
            first, offset, second, top = (q.view(part.shape) for q, part in zip(parts, parameters, strict=True))
            return ((torch.tanh(inputs @ first.T + offset) @ second.T + top - targets) ** 2).mean() / 2

        start = torch.nn.utils.parameters_to_vector(parameters).detach()
        eta = 0.5 / float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, start))[-1])
        optimiser = torch.optim.SGD(parameters, lr=eta, momentum=0.9)
        for _ in range(200):
            optimiser.zero_grad()
            (((module(inputs) - targets) ** 2).mean() / 2).backward()
            optimiser.step()
        end = torch.nn.utils.parameters_to_vector(parameters).detach()
        top = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, end))[-1])
        assert row["sharpness"] == pytest.approx(top, rel=1e-8)
        assert row["minibatch_sharpness"]["exact"]
        assert row["critical_step_size"] == pytest.approx(2 / row["mean_square_sharpness"], rel=1e-9)


BAD: list[tuple[str, Callable[[], object], str]] = [
    ("activation", lambda: mlp(3, (4,), 1, activation="tan"), "activation must be one of 'tanh', 'gelu', 'relu', got 'tan'"),
    ("hidden", lambda: mlp(3, (0,), 1), "hidden must be an integer of at least 1, got 0"),
    ("gain", lambda: mlp(3, (4,), 1, gain=0.0), "gain must be a finite number above 0, got 0.0"),
    ("table", lambda: data.classes("iris"), "name must be one of 'digits', 'wine', 'breast_cancer', got 'iris'"),
    ("order", lambda: data.sparse_parity(4, 3, order=5), "order must be between 1 and n_inputs = 3, got 5"),
    ("labels", lambda: data.teacher(4, 3).loss_targets("cross_entropy"), "loss 'cross_entropy' needs classes, teacher has none"),
    ("pieces", lambda: Piecewise((0.1,), (5,)), "values must be one more than changes = 1, got 1"),
    ("changes", lambda: Piecewise((0.1, 0.2, 0.3), (5, 5)), "changes must be increasing steps, got (5, 5)"),
    ("late change", lambda: final_theta(network_problem(), step_size=Piecewise((0.1, 0.2), (31,))), "changes of step_size must be between 1 and n_steps = 30, got 31"),
    ("step size", lambda: final_theta(network_problem(), step_size=-1.0), "step_size must be a finite number above 0, got -1.0"),
    ("batch", lambda: final_theta(network_problem(n=24), sampling=es.WithoutReplacement(25)), "batch_size must be between 1 and n_samples = 24, got 25"),
    ("noise", lambda: final_theta(network_problem(loss="cross_entropy"), label_noise=0.1), "label_noise must be 0 unless loss='squared', got 0.1 with 'cross_entropy'"),
    ("theta0", lambda: train(network_problem(), np.zeros(3), step_size=0.1, sampling=es.WithoutReplacement(2), n_steps=1, seed=0), "theta0 must have shape (..., "),
    ("checkpoint", lambda: final_theta(network_problem(), checkpoint="run.nc"), "checkpoint must end in .npz, got 'run.nc'"),
    ("problem", lambda: train(es.Quadratic(np.eye(2)[None], np.zeros((1, 2))), np.zeros(2), step_size=0.1, sampling=es.WithoutReplacement(1), n_steps=1, seed=0), "problem must be a TorchProblem such as"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [item[1:] for item in BAD], ids=[item[0] for item in BAD])
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("loss", "label_noise"), [("squared", 0.0), ("squared", 0.1), ("cross_entropy", 0.0)])
def test_random_weights_against_autograd(loss: str, label_noise: float) -> None:
    """Steps θ − ηΣᵢwᵢ∇ℓᵢ with the weights drawn again and the loss Σᵢwᵢℓᵢ written out."""
    problem, law, eta, steps = network_problem(loss=loss), es.GaussianWeights(3), 0.05, 6
    trace = train(
        problem, problem.theta0, step_size=eta, sampling=law, n_steps=steps, momentum=0.5, label_noise=label_noise,
        record=("theta", "minibatch_sharpness"), record_steps=[steps], n_batches=4, seed=2,
    )  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence(2, spawn_key=(0,)))
    module = mlp(*_widths(problem), activation="tanh")
    torch.nn.utils.vector_to_parameters(torch.tensor(problem.theta0), module.parameters())
    optimiser = torch.optim.SGD(module.parameters(), lr=eta, momentum=0.5)
    inputs, targets = torch.tensor(problem.inputs), torch.tensor(problem.targets)
    for _ in range(steps):
        weights = torch.tensor(law.draw_weights(problem.n_samples, 1, rng)[0])
        optimiser.zero_grad()
        outputs = module(inputs)
        if loss == "cross_entropy":
            losses = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        else:
            noise = torch.tensor(rng.standard_normal(outputs.numel())).view(outputs.shape) if label_noise else 0.0
            losses = ((outputs - targets - label_noise * noise) ** 2).sum(dim=1) / 2
        (weights * losses).sum().backward()
        optimiser.step()
    wanted = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    assert np.allclose(trace["theta"].values[0, 0], wanted, rtol=1e-10, atol=1e-12)
    assert trace["minibatch_sharpness_standard_error"].values[0, 0] > 0
