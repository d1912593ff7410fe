"""Torch networks as problems: against the linear problems of the core, dense automatic differentiation and curvlinops."""

from __future__ import annotations

import importlib.util
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

import torch
from torch import nn

import esssim as es
from esssim.bridge import TorchProblem, mean_square_sharpness_in_subspace, train
from esssim.bridge import problem as bridge_problem
from esssim.bridge.curvature import TorchCurvature, fully_connected_at
from esssim.curvature import BlockCurvature, LowRankCurvature
from esssim.problems import MultiOutputLeastSquares
from esssim.spectra import lanczos_top_pairs, largest_eigenvalues
from esssim.statistics.block_perron import BlockPerron
from esssim.testing import battery
from esssim.testing.battery import CASE_CHECKS, MONTE_CARLO_CHECKS, SAMPLING_CHECKS, Case
from tests import oracles
from tests.bridge_cases import layer_norm, linear_pairs, perceptron, six_networks

PAIRS = linear_pairs()
SIX = six_networks()
NETWORKS = SIX | {"layer norm": layer_norm()}
SCHEMES = (es.WithoutReplacement(2), es.WithReplacement(3), es.WithoutReplacement(4))
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "perceptron.py"
SEVERAL_OUTPUTS = EXAMPLE.with_name("several_outputs.py")

each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
each_scheme = pytest.mark.parametrize("sampling", SCHEMES, ids=str)
each_network = pytest.mark.parametrize("problem", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture
def by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every curvature is one of products, however small the network."""
    monkeypatch.setattr(bridge_problem, "DENSE_PARAMS", 0)


def statistics_of(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> dict[str, float]:
    return {
        "sharpness": es.sharpness(problem, theta),
        "MiniBS": es.minibatch_sharpness(problem, theta, sampling).value,
        "batch sharpness": es.batch_sharpness(problem, theta, sampling).value,
        "ratio of means": es.batch_sharpness(problem, theta, sampling, average="ratio_of_means").value,
        "GNI": es.gradient_noise_interaction(problem, theta, sampling),
        "IAS": es.interaction_aware_sharpness(problem, theta, sampling),
        "mean-square, Gauss–Newton": es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton"),
        "critical step size": es.stability.critical_step_size(problem, theta, sampling, hessian="gauss_newton"),
        "with momentum": es.stability.critical_step_size(
            problem, theta, sampling, hessian="gauss_newton", momentum=0.5
        ),
    }


class TestAgainstTheCore:
    @each_pair
    @each_scheme
    def test_every_statistic(self, pair: tuple[es.Problem, TorchProblem, np.ndarray], sampling: es.Sampling) -> None:
        core, network, theta = pair
        assert statistics_of(network, theta, sampling) == pytest.approx(statistics_of(core, theta, sampling), rel=1e-10)
        full = es.mean_square_sharpness(network, theta, sampling)
        assert full == pytest.approx(es.mean_square_sharpness(core, theta, sampling), rel=1e-10)

    @each_pair
    @each_scheme
    @pytest.mark.usefixtures("by_products")
    def test_every_statistic_by_products(
        self, pair: tuple[es.Problem, TorchProblem, np.ndarray], sampling: es.Sampling
    ) -> None:
        core, network, theta = pair
        assert isinstance(network.curvature(theta), TorchCurvature)
        assert statistics_of(network, theta, sampling) == pytest.approx(statistics_of(core, theta, sampling), rel=1e-10)

    @each_pair
    def test_losses_gradients_hessians(self, pair: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        core, network, theta = pair
        points = theta + np.linspace(0.0, 1.0, 6).reshape(3, 2, 1)
        batches = np.random.default_rng(0).integers(0, core.n_samples, (2, 3))
        for name in ("loss", "gradient", "hessian"):
            ours, theirs = getattr(network, name)(points, batches), getattr(core, name)(points, batches)
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)

    def test_the_critical_step_size_at_a_solution(self) -> None:
        """Full Hessians, where the residuals vanish."""
        core, network, theta = PAIRS["product"]
        targets = core.residuals(theta, np.arange(core.n_samples)) + core.targets
        there = es.DiagonalLinearNetwork(core.inputs, targets)
        torch_there = TorchProblem(network.module, core.inputs, targets)
        sampling = es.WithoutReplacement(2)
        assert es.stability.critical_step_size(torch_there, theta, sampling) == pytest.approx(
            es.stability.critical_step_size(there, theta, sampling), rel=1e-10
        )


class TestTheProtocol:
    @each_network
    @pytest.mark.parametrize("check", CASE_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
    def test_battery(self, problem: TorchProblem, check: object) -> None:
        if "ReLU" in str(problem.module) and "derivative" in check.__name__:
            pytest.skip("a finite difference across a kink")
        check(Case(problem, problem.theta0))

    @pytest.mark.parametrize("check", [*SAMPLING_CHECKS, *MONTE_CARLO_CHECKS], ids=lambda check: check.__name__)
    def test_battery_under_schemes(self, check: object) -> None:
        rng = np.random.default_rng(5)
        network = TorchProblem(perceptron(2, 2, 1), rng.standard_normal((4, 2)), rng.standard_normal(4))
        for sampling in battery.schemes(4):
            check(Case(network, network.theta0), sampling)

    @each_network
    def test_pickle_and_fingerprint(self, problem: TorchProblem) -> None:
        copy = pickle.loads(pickle.dumps(problem))
        assert copy.fingerprint == problem.fingerprint
        np.testing.assert_array_equal(copy.gradient(problem.theta0), problem.gradient(problem.theta0))
        assert len({network.fingerprint for network in NETWORKS.values()}) == len(NETWORKS)

    def test_theta_in_named_parameters_order(self) -> None:
        module = perceptron(3, 5, 2)
        network = TorchProblem(module, np.ones((4, 3)), np.zeros((4, 2)))
        assert network.n_outputs == 2
        flat = np.concatenate([value.detach().numpy().ravel() for _, value in module.named_parameters()])
        np.testing.assert_array_equal(network.theta0, flat)
        np.testing.assert_allclose(
            network.outputs(network.theta0), module.double()(torch.ones(4, 3, dtype=torch.float64)).detach(), rtol=1e-14
        )

    def test_the_callers_module_is_left_alone(self) -> None:
        module = perceptron(3, 5, 2)
        network = TorchProblem(module, np.ones((4, 3)), np.zeros((4, 2)))
        before = network.theta0
        with torch.no_grad():
            module[0].weight += 1.0
        assert module[0].weight.dtype == torch.float32
        np.testing.assert_array_equal(network.theta0, before)

    def test_a_loss_of_ones_own(self) -> None:
        """½‖f − y‖² written by hand is the squared error, Gauss–Newton matrices included."""
        inputs, targets = np.random.default_rng(0).standard_normal((2, 6, 3))
        plain = TorchProblem(perceptron(3, 4, 3), inputs, targets)
        own = TorchProblem(perceptron(3, 4, 3), inputs, targets, lambda f, y: ((f - y) ** 2).sum() / 2)
        theta, sampling = plain.theta0, es.WithoutReplacement(2)
        assert statistics_of(own, theta, sampling) == pytest.approx(statistics_of(plain, theta, sampling), rel=1e-10)


def independent_loss(problem: TorchProblem, theta: torch.Tensor, batch: np.ndarray) -> torch.Tensor:
    """The mean loss by torch's own functions."""
    rows = torch.as_tensor(np.asarray(batch))
    parts = dict(
        zip(
            [name for name, _ in problem.module.named_parameters()],
            [p.reshape(q.shape) for p, q in zip(
                theta.split([q.numel() for q in problem.module.parameters()]), problem.module.parameters(), strict=True
            )],
            strict=True,
        )
    )  # fmt: skip
    outputs = torch.func.functional_call(problem.module, parts, (torch.as_tensor(problem.inputs)[rows],))
    targets = torch.as_tensor(problem.targets)[rows]
    if problem.loss_name == "cross_entropy":
        return nn.functional.cross_entropy(outputs, targets)
    return nn.functional.mse_loss(outputs, targets, reduction="sum") / 2 / len(rows)


def dense_hessian(problem: TorchProblem, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Double reverse mode."""
    hessian = torch.autograd.functional.hessian(lambda t: independent_loss(problem, t, batch), torch.as_tensor(theta))
    return hessian.numpy()


def moved(problem: TorchProblem) -> np.ndarray:
    """A point that is not the initialisation."""
    return problem.theta0 + 0.3 * np.random.default_rng(1).standard_normal(problem.n_params)


BATCHES = np.array([[0, 3, 5], [1, 2, 8], [4, 4, 7], [6, 0, 1]])


class TestAgainstDenseDifferentiation:
    @each_network
    def test_hessians_and_products(self, problem: TorchProblem) -> None:
        theta = moved(problem)
        vectors = np.random.default_rng(2).standard_normal((len(BATCHES), problem.n_params))
        dense = np.stack([dense_hessian(problem, theta, batch) for batch in BATCHES])
        scale = np.abs(dense).max()
        np.testing.assert_allclose(problem.hessian(theta, BATCHES), dense, atol=1e-12 * scale)
        images = np.einsum("mij,mj->mi", dense, vectors)
        np.testing.assert_allclose(problem.hessian_products(theta, BATCHES, vectors), images, atol=1e-11 * scale)
        # By hand for the networks that are perceptrons.
        curvature = TorchCurvature(problem, theta)
        np.testing.assert_allclose(curvature.bound(BATCHES)(vectors), images, atol=1e-11 * scale)
        for i in range(problem.n_samples):
            np.testing.assert_allclose(
                curvature.images(vectors[0])[i], dense_hessian(problem, theta, [i]) @ vectors[0], atol=1e-11 * scale
            )

    @each_network
    def test_jacobian_products_and_gradients_by_hand(self, problem: TorchProblem) -> None:
        theta = moved(problem)
        curvature, perceptron = TorchCurvature(problem, theta), fully_connected_at(problem, theta)
        np.testing.assert_allclose(curvature.gradients(BATCHES), problem.gradient(theta, BATCHES), atol=1e-12)
        if perceptron is None:
            return
        jacobians = TorchProblem.sample_jacobians(problem, theta, np.arange(problem.n_samples))
        rng = np.random.default_rng(4)
        vectors = rng.standard_normal((5, problem.n_params))
        covectors = rng.standard_normal((problem.n_samples, 5, problem.n_outputs))
        along, back = perceptron.along(torch.tensor(vectors)), perceptron.back(torch.tensor(covectors))
        np.testing.assert_allclose(along, np.einsum("ncp,rp->nrc", jacobians, vectors), atol=1e-11)
        np.testing.assert_allclose(back, np.einsum("ncp,nrc->rp", jacobians, covectors), atol=1e-11)

    def test_by_hand_is_used_where_it_can_be(self) -> None:
        by_hand = {
            name: TorchCurvature(problem, problem.theta0)._network is not None for name, problem in NETWORKS.items()
        }
        assert [name for name, found in by_hand.items() if not found] == [
            "convolution, cross-entropy",
            "skip connection, squared",
            "layer norm",
        ]

    @each_network
    def test_batched_lanczos(self, problem: TorchProblem) -> None:
        theta = moved(problem)
        dense = np.stack([dense_hessian(problem, theta, batch) for batch in BATCHES])
        curvature = TorchCurvature(problem, theta)
        found = lanczos_top_pairs(curvature, BATCHES)
        np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense)[:, -1], rtol=1e-10)
        residuals = np.einsum("mij,mj->mi", dense, found.vectors) - found.values[:, None] * found.vectors
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, rtol=1e-12)
        assert (np.linalg.norm(residuals, axis=1) <= 1.1 * curvature.tolerance * found.values).all()
        np.testing.assert_allclose(largest_eigenvalues(curvature, BATCHES, chunk_numbers=1), found.values, rtol=1e-13)

    @each_network
    @pytest.mark.usefixtures("by_products")
    def test_sampled_statistics_by_products(self, problem: TorchProblem, monkeypatch: pytest.MonkeyPatch) -> None:
        theta, sampling = moved(problem), es.WithoutReplacement(3)
        by_products = statistics_of(problem, theta, sampling)
        monkeypatch.setattr(bridge_problem, "DENSE_PARAMS", 300)
        assert by_products == pytest.approx(statistics_of(problem, theta, sampling), rel=1e-9)

    @each_network
    def test_gauss_newton_blocks(self, problem: TorchProblem) -> None:
        """JᵢᵀSᵢJᵢ with J and S from reverse mode."""
        theta = moved(problem)
        curvature = problem.gauss_newton_curvature(theta)
        assert isinstance(curvature, BlockCurvature)
        for i in range(problem.n_samples):
            blocks = explicit_block(problem, theta, i)
            np.testing.assert_allclose(
                curvature.factors[i].T @ curvature.factors[i], blocks, atol=1e-12 * np.abs(blocks).max()
            )
        hessians = curvature.factors.transpose(0, 2, 1) @ curvature.factors
        assert curvature.n_rows == (2 if problem.loss_name == "cross_entropy" else problem.n_outputs)
        expected = np.linalg.eigvalsh(hessians[BATCHES].mean(axis=1))[:, -1]
        np.testing.assert_allclose(largest_eigenvalues(curvature, BATCHES), expected, rtol=1e-12)


def explicit_block(problem: TorchProblem, theta: np.ndarray, i: int) -> np.ndarray:
    point = torch.as_tensor(theta)
    parts = [q.numel() for q in problem.module.parameters()]
    names = [name for name, _ in problem.module.named_parameters()]
    shapes = [q.shape for q in problem.module.parameters()]

    def outputs(t: torch.Tensor) -> torch.Tensor:
        values = {name: p.reshape(s) for name, p, s in zip(names, t.split(parts), shapes, strict=True)}
        return torch.func.functional_call(problem.module, values, (torch.as_tensor(problem.inputs[i : i + 1]),))[0]

    jacobian = torch.autograd.functional.jacobian(outputs, point).numpy()
    curve = np.eye(problem.n_outputs)
    if problem.loss_name == "cross_entropy":
        p = torch.softmax(outputs(point), dim=0).detach().numpy()
        curve = np.diag(p) - np.outer(p, p)
    return jacobian.T @ curve @ jacobian


class TestAgainstCurvlinops:
    @pytest.mark.parametrize("problem", SIX.values(), ids=SIX)
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
    def test_hessian_and_gauss_newton(self, problem: TorchProblem) -> None:
        curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is in the extra esssim[test]")
        classes = problem.loss_name == "cross_entropy"
        # Its mean squared error is over all entries and without the half.
        loss, factor = (nn.CrossEntropyLoss(), 1.0) if classes else (nn.MSELoss(), problem.n_outputs / 2)
        theta = problem.theta0
        vectors = np.random.default_rng(2).standard_normal((len(BATCHES), problem.n_params))
        hessian_images = TorchCurvature(problem, theta).bound(BATCHES)(vectors)
        blocks = problem.gauss_newton_curvature(theta)
        x, y = torch.as_tensor(problem.inputs), torch.as_tensor(problem.targets)
        for m, batch in enumerate(BATCHES):
            # It wants the data of a batch to be distinct objects only: rows may repeat.
            arguments = (problem.module, loss, list(problem.module.parameters()), [(x[batch], y[batch])])
            hessian = curvlinops.HessianLinearOperator(*arguments, check_deterministic=False).to_scipy()
            np.testing.assert_allclose(hessian_images[m], factor * (hessian @ vectors[m]), rtol=1e-6, atol=1e-12)
            gauss_newton = curvlinops.GGNLinearOperator(*arguments, check_deterministic=False).to_scipy()
            ours = blocks.batch_matrices(batch[None])[0] @ vectors[m]
            np.testing.assert_allclose(ours, factor * (gauss_newton @ vectors[m]), rtol=1e-6, atol=1e-12)


def small(loss: str, c: int, n: int = 5, hidden: int = 3) -> TorchProblem:
    rng = np.random.default_rng(c)
    targets = rng.standard_normal((n, c)) if loss == "squared" else rng.integers(0, c, n)
    return TorchProblem(perceptron(2, hidden, c, seed=c), rng.standard_normal((n, 2)), targets, loss)


class TestMeanSquareSharpness:
    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    @pytest.mark.parametrize(("c", "n", "hidden"), [(2, 5, 3), (3, 5, 3), (3, 12, 1)])
    @pytest.mark.parametrize("sampling", SCHEMES[:2], ids=str)
    def test_gauss_newton_against_the_dense_pencil(
        self, loss: str, c: int, n: int, hidden: int, sampling: es.Sampling
    ) -> None:
        problem = small(loss, c, n, hidden)
        theta = problem.theta0
        blocks = np.stack([explicit_block(problem, theta, i) for i in range(n)])
        d, half_sum = oracles.dense_pencil(blocks, sampling)
        exact = float(scipy.linalg.eigh(d, half_sum, eigvals_only=True)[-1])
        found = es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton", certify=True)
        assert found.value == pytest.approx(exact, rel=1e-11)
        assert found.lower <= exact * (1 + 1e-13)
        assert exact * (1 - 1e-13) <= found.upper
        assert found.upper - found.lower <= 1e-8 * exact

    def test_enclosure_holds_for_any_positive_blocks(self) -> None:
        """Far from the answer in either direction and with poor blocks, it is wide and still true."""
        problem, c = small("squared", 3), es.WithoutReplacement(2).variance_coefficient(5)
        curvature = problem.gauss_newton_curvature(problem.theta0)
        perron = BlockPerron.of_blocks(curvature.factors, c)
        exact, _ = perron.edge()
        rows = np.random.default_rng(0).standard_normal((5, 3, 6))
        crude = (rows @ rows.transpose(0, 2, 1)).ravel()
        for guess in (0.9 * exact, exact, 1.2 * exact):
            lower, upper = perron.enclosure(guess, crude)
            assert lower <= exact * (1 + 1e-12)
            assert exact * (1 - 1e-12) <= upper

    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    def test_full_hessians_against_the_dense_pencil(self, loss: str) -> None:
        problem, sampling = small(loss, 2), es.WithoutReplacement(2)
        d, half_sum = oracles.pencil(problem, problem.theta0, sampling)
        exact = float(scipy.linalg.eigh(d, half_sum, eigvals_only=True)[-1])
        assert es.mean_square_sharpness(problem, problem.theta0, sampling) == pytest.approx(exact, rel=1e-10)

    def test_the_full_batch_has_the_sharpness_of_the_gauss_newton_matrix(self) -> None:
        problem = small("cross_entropy", 3)
        mean = problem.gauss_newton_curvature(problem.theta0).mean()
        found = es.mean_square_sharpness(problem, problem.theta0, es.WithoutReplacement(5), hessian="gauss_newton")
        assert found == pytest.approx(np.linalg.eigvalsh(mean)[-1], rel=1e-12)

    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    def test_subspaces_grow_to_the_exact_value(self, loss: str) -> None:
        problem, sampling = small(loss, 3, n=20, hidden=4), es.WithoutReplacement(3)
        exact = es.mean_square_sharpness(problem, problem.theta0, sampling, hessian="gauss_newton")
        found = mean_square_sharpness_in_subspace(problem, problem.theta0, sampling, first_rank=1, tolerance=1e-15)
        assert found.ranks[:3] == (1, 2, 4)
        assert all(low <= high * (1 + 1e-9) for low, high in zip(found.values, found.values[1:], strict=False))
        assert max(found.values) <= exact * (1 + 1e-9)
        assert found.complete
        assert found.value == pytest.approx(exact, rel=1e-9)
        loose = mean_square_sharpness_in_subspace(problem, problem.theta0, sampling, first_rank=4, tolerance=0.05)
        assert not loose.complete
        assert loose.increment == pytest.approx(1 - loose.values[-2] / loose.values[-1])
        assert loose.increment <= 0.05

    def test_a_subspace_of_a_long_jacobian(self) -> None:
        """Subspace iteration, where the Gram matrix is not decomposed."""
        rng = np.random.default_rng(0)
        problem = TorchProblem(perceptron(20, 20, 2), rng.standard_normal((30, 20)), rng.standard_normal((30, 2)))
        sampling = es.WithoutReplacement(4)
        exact = es.mean_square_sharpness(problem, problem.theta0, sampling, hessian="gauss_newton", certify=True)
        found = mean_square_sharpness_in_subspace(problem, problem.theta0, sampling, first_rank=5, tolerance=1e-4)
        assert found.value <= exact.upper
        assert found.value == pytest.approx(exact.value, rel=5e-3)

    def test_max_rank_that_is_not_enough(self) -> None:
        problem = small("squared", 3)
        with pytest.raises(
            RuntimeError, match=r"did not converge to tolerance = 1e-12 within max_rank = 2: .*\(r = 1\)"
        ):
            mean_square_sharpness_in_subspace(
                problem, problem.theta0, es.WithoutReplacement(2), first_rank=1, tolerance=1e-12, max_rank=2
            )


@pytest.fixture(scope="module")
def pair() -> tuple[es.Problem, TorchProblem, np.ndarray]:
    specification = importlib.util.spec_from_file_location("perceptron_example", EXAMPLE)
    example = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = example
    specification.loader.exec_module(example)
    core = example.taught_by_three_units(8, 3, 6, "tanh", seed=0)
    module = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1, bias=False))
    network = TorchProblem(module, core.inputs, core.targets)
    return core, network, es.gradient_flow(core, core.random_start(seed=1))


class TestOneOutput:
    def test_residuals_and_derivatives(self, pair: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        core, network, theta = pair
        everyone = np.arange(8)
        vectors = np.random.default_rng(0).standard_normal((8, core.n_params))
        np.testing.assert_allclose(network.residuals(theta, everyone), core.residuals(theta, everyone), atol=1e-13)
        np.testing.assert_allclose(
            network.sample_jacobians(theta, everyone), core.sample_jacobians(theta, everyone), atol=1e-12
        )
        np.testing.assert_allclose(
            network.model_hessian_products(theta, everyone, vectors),
            core.model_hessian_products(theta, everyone, vectors),
            atol=1e-12,
        )
        assert isinstance(network.gauss_newton_curvature(theta), LowRankCurvature)

    def test_the_flow_and_label_noise(self, pair: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        core, network, theta = pair
        sampling = es.WithoutReplacement(2)
        edge = 2 / es.mean_square_sharpness(core, theta, sampling, hessian="gauss_newton")
        run = {"step_size": 0.8 * edge, "sampling": sampling, "n_steps": 200, "label_noise": 0.02, "n_records": 3}
        names = ("mean_square_sharpness_gauss_newton", "sharpness")
        ours, theirs = (es.flow.solve(q, theta, record=names, **run) for q in (network, core))
        for name in ("theta", *names):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8)
        run |= {"n_steps": 50, "seed": 0, "record": ("loss", "theta", "mean_square_sharpness_gauss_newton")}
        ours, theirs = (es.simulate(q, theta, **run) for q in (network, core))
        for name in run["record"]:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-8, atol=1e-10)


@pytest.fixture(scope="module")
def outputs() -> tuple[es.Problem, TorchProblem, np.ndarray]:
    """A tanh network of two outputs by hand, the same in torch, and a solution of both."""
    by_hand = runpy.run_path(str(SEVERAL_OUTPUTS))["TanhNetwork"]
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((5, 3))
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
    theta = rng.standard_normal(24)
    targets = by_hand(inputs, np.zeros((5, 2)), 4).residuals(theta, np.arange(5))
    return by_hand(inputs, targets, 4), TorchProblem(module, inputs, targets), theta


class TestSeveralOutputs:
    def test_residuals_and_derivatives(self, outputs: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        core, network, theta = outputs
        everyone, point = np.arange(5), theta + 0.1
        vectors = np.random.default_rng(0).standard_normal((3, 5, 2, 24))
        assert isinstance(network, MultiOutputLeastSquares)
        for name, extra in (("residuals", ()), ("sample_jacobians", ()), ("model_hessian_products", (vectors,))):
            ours, theirs = (getattr(problem, name)(point, everyone, *extra) for problem in (network, core))
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
        batches = np.array([[0, 1], [2, 2]])
        points = np.stack([theta, point])
        ours, theirs = (
            problem.model_hessian_products(points, batches, vectors[0, None, :2]) for problem in (network, core)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-12)

    def test_the_flow_and_label_noise(self, outputs: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        core, network, theta = outputs
        sampling = es.WithoutReplacement(2)
        edge = 2 / es.mean_square_sharpness(core, theta, sampling, hessian="gauss_newton")
        run = {"step_size": 0.8 * edge, "sampling": sampling, "n_steps": 200, "label_noise": 0.02, "n_records": 3}
        names = ("mean_square_sharpness_gauss_newton", "sharpness", "error_estimate")
        for follow in ("solutions", "mean"):
            ours, theirs = (es.flow.solve(q, theta, record=names, follow=follow, **run) for q in (network, core))
            for name in ("theta", *names):
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-8)
        run |= {"n_steps": 50, "seed": 0, "record": ("loss", "theta", "mean_square_sharpness_gauss_newton")}
        ours, theirs = (es.simulate(q, theta, **run) for q in (network, core))
        trained = train(network, theta, **run)
        for name in run["record"]:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(trained[name], theirs[name], rtol=1e-8, atol=1e-10)

    def test_other_losses_have_no_residuals(self) -> None:
        problem = small("cross_entropy", 2)
        assert not isinstance(problem, MultiOutputLeastSquares)
        with pytest.raises(ValueError, match="problem must have squared loss"):
            es.flow.solve(problem, problem.theta0, step_size=0.1, sampling=es.WithoutReplacement(2), n_steps=1)

    def test_survives_a_pickle(self, outputs: tuple[es.Problem, TorchProblem, np.ndarray]) -> None:
        _, network, theta = outputs
        again = pickle.loads(pickle.dumps(network))
        np.testing.assert_array_equal(again.residuals(theta, np.arange(5)), network.residuals(theta, np.arange(5)))


class TestPrecisionAndSize:
    def test_float32(self) -> None:
        rng = np.random.default_rng(0)
        data = (rng.standard_normal((12, 20)), rng.standard_normal((12, 4)))
        single, double = (TorchProblem(perceptron(20, 16, 4), *data, dtype=dtype) for dtype in ("float32", "float64"))
        theta, sampling = double.theta0, es.WithoutReplacement(4)
        for problem in (single, double):
            assert isinstance(problem.curvature(theta), TorchCurvature)
        ours = es.minibatch_sharpness(single, theta, sampling, n_batches=20, seed=0).value
        assert ours == pytest.approx(
            es.minibatch_sharpness(double, theta, sampling, n_batches=20, seed=0).value, rel=1e-4
        )
        assert single.gradient(theta).dtype == np.float64

    def test_a_large_network_without_any_matrix(self) -> None:
        """99,910 parameters: one p×p matrix would take 80 GB."""
        rng = np.random.default_rng(0)
        module = perceptron(200, 450, 20, seed=1)
        problem = TorchProblem(module, rng.standard_normal((12, 200)), rng.integers(0, 20, 12), "cross_entropy")
        assert problem.n_params == 99_470
        theta, sampling = problem.theta0, es.WithoutReplacement(4)
        sharpness = es.sharpness(problem, theta)
        minibatch = es.minibatch_sharpness(problem, theta, sampling, n_batches=4, seed=0)
        ratios = es.batch_sharpness(problem, theta, sampling, n_batches=4, seed=0)
        assert sharpness <= minibatch.value + 3 * minibatch.standard_error
        assert ratios.value <= minibatch.value
        assert es.interaction_aware_sharpness(problem, theta, sampling) <= sharpness
        assert es.gradient_noise_interaction(problem, theta, sampling) > 0
        gauss_newton = es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton", certify=True)
        assert gauss_newton.upper - gauss_newton.lower <= 1e-9 * gauss_newton.value
