"""Cross-entropy at any margin against mpmath: loss, gradients, Hessians, Gauss–Newton roots, on every path."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

import esssim as es  # noqa: E402
from esssim import bridge  # noqa: E402
from esssim.bridge import TorchProblem, losses  # noqa: E402
from esssim.bridge.curvature import TorchCurvature  # noqa: E402
from esssim.bridge.layers import layers_of  # noqa: E402
from esssim.bridge.leading import leading_mean_square_sharpness  # noqa: E402

MARGINS = (0, 1, 10, 20, 30, 38, 100, 400, 700)
# What margins of 700 leave of the rounding in f itself, 700·eps, and of underflow in products.
CLOSE, TINY = 1e-12, 1e-300
Exact = list[mpmath.mpf]


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    """e^−700 = 1e-304 next to 1, squared."""
    with mpmath.workdps(650):
        yield


def exact_loss(f: Exact, y: int) -> mpmath.mpf:
    return mpmath.log(mpmath.fsum(mpmath.e ** (value - f[y]) for value in f))


def probabilities(f: Exact) -> Exact:
    weights = [mpmath.e**value for value in f]
    return [weight / mpmath.fsum(weights) for weight in weights]


def exact_gradient(f: Exact, y: int) -> np.ndarray:
    return np.array([p - (j == y) for j, p in enumerate(probabilities(f))])


def exact_hessian(f: Exact) -> np.ndarray:
    p = np.array(probabilities(f))
    return np.diag(p) - np.outer(p, p)


def assert_close(found: object, wanted: object) -> None:
    """Entry by entry, relative to each, down to the smallest doubles."""
    pairs = zip(np.ravel(np.asarray(found)), np.ravel(np.asarray(wanted)), strict=True)
    for value, exact in pairs:
        assert abs(mpmath.mpf(float(value)) - exact) <= CLOSE * abs(exact) + CLOSE * TINY, (value, float(exact))


def outputs_with(n_classes: int, likeliest: int, margin: float) -> np.ndarray:
    f = np.random.default_rng(n_classes).standard_normal(n_classes)
    f[likeliest] = np.delete(f, likeliest).max() + margin
    return f


class TestTheLoss:
    @pytest.mark.parametrize("margin", MARGINS)
    @pytest.mark.parametrize("n_classes", [2, 10])
    def test_and_its_derivatives(self, n_classes: int, margin: float) -> None:
        for likeliest, label in itertools.product({0, 1, n_classes - 1}, repeat=2):
            f = outputs_with(n_classes, likeliest, margin)
            exact = [mpmath.mpf(value) for value in f]
            point, y = torch.tensor(f), torch.tensor(label)
            gradient = torch.func.grad(losses.cross_entropy)
            assert_close(losses.cross_entropy(point, y), exact_loss(exact, label))
            assert_close(gradient(point, y), exact_gradient(exact, label))
            assert_close(torch.func.jacrev(gradient)(point, y), exact_hessian(exact))
            root = losses.cross_entropy_root(point[None], y[None])[0].numpy()
            assert root.shape == (n_classes, n_classes - 1)
            assert_close(root @ root.T, exact_hessian(exact))

    def test_of_equal_outputs(self) -> None:
        f, y = torch.zeros(3, dtype=torch.float64), torch.tensor(1)
        assert float(losses.cross_entropy(f, y)) == pytest.approx(np.log(3), rel=1e-15)
        hessian = torch.func.jacrev(torch.func.grad(losses.cross_entropy))(f, y)
        assert np.abs(hessian.numpy() - (np.eye(3) / 3 - 1 / 9)).max() < 1e-16

    def test_beyond_all_doubles_it_is_zero_and_finite(self) -> None:
        f, y = torch.tensor([1e5, 0.0, -1e5], dtype=torch.float64), torch.tensor(0)
        gradient = torch.func.grad(losses.cross_entropy)
        assert float(losses.cross_entropy(f, y)) == 0.0
        assert float(losses.cross_entropy(f, torch.tensor(2))) == 2e5
        assert (gradient(f, y) == 0).all()
        assert gradient(f, torch.tensor(2)).tolist() == [1.0, 0.0, -1.0]
        assert (torch.func.jacrev(gradient)(f, y) == 0).all()


def linear(
    n_inputs: int, n_classes: int, margin: float, label: int, seed: int = 0
) -> tuple[TorchProblem, np.ndarray, Exact]:
    """Softmax regression on one sample of small integers: f is exact, ∇²ℓ = S ⊗ xxᵀ."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, n_inputs).astype(float)
    module = nn.Sequential(nn.Linear(n_inputs, n_classes, dtype=torch.float64))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(rng.integers(-8, 9, (n_classes, n_inputs)) / 8.0))
        f = module[0].weight.numpy() @ x
        wanted = rng.integers(-8, 9, n_classes) / 8.0
        wanted[0] = wanted[1:].max() + margin
        module[0].bias.copy_(torch.tensor(wanted - f))
    return TorchProblem(module, [x], [label], "cross_entropy"), x, [mpmath.mpf(value) for value in wanted]


def exact_products(x: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """∂²ℓ/∂θ² of softmax regression, θ = (W, c), from ∂²ℓ/∂f² (c, c)."""
    c, ones = len(outer), np.append(x, 1.0)
    blocks = np.array([[outer[a, b] * np.outer(ones, ones) for b in range(c)] for a in range(c)])
    whole = blocks.transpose(0, 2, 1, 3).reshape(c * len(ones), -1)
    weights = [a * len(ones) + k for a in range(c) for k in range(len(x))]
    return whole[np.ix_(order := weights + [a * len(ones) + len(x) for a in range(c)], order)]


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("margin", MARGINS)
class TestSoftmaxRegression:
    @pytest.mark.parametrize("n_classes", [2, 10])
    def test_every_path_gives_the_derivatives(self, n_classes: int, margin: float, label: int) -> None:
        problem, x, f = linear(2, n_classes, margin, label)
        theta = problem.theta0
        assert (problem.outputs(theta)[0] == [float(value) for value in f]).all()
        pull = exact_gradient(f, label)
        gradient = np.concatenate([np.outer(pull, x).ravel(), pull])
        hessian = exact_products(x, exact_hessian(f))
        assert_close(problem.loss(theta), exact_loss(f, label))
        assert_close(problem.gradient(theta), gradient)
        assert_close(problem.sample_gradients(theta, np.array([0]))[0], gradient)
        assert_close(problem.hessian(theta), hessian)
        factors = problem.gauss_newton_curvature(theta).mean()
        assert_close(factors, hessian)
        # By hand, column by column.
        assert layers_of(problem) is not None
        curvature, alone = TorchCurvature(problem, theta), np.zeros((1, 1), dtype=int)
        assert_close(curvature.gradients(alone)[0], gradient)
        assert_close([curvature.bound(alone)(unit[None])[0] for unit in np.eye(len(theta))], hessian)

    def test_a_step_of_the_compiled_loop(self, margin: float, label: int) -> None:
        """η undoes the size of the gradient, so that all digits of it are in the step."""
        problem, x, f = linear(2, 3, margin, label)
        theta = problem.theta0
        pull = exact_gradient(f, label)
        gradient = np.concatenate([np.outer(pull, x).ravel(), pull])
        eta = float(1 / max(map(abs, pull))) * 2.0**10
        run = bridge.train(
            problem, theta, step_size=eta, sampling=es.WithoutReplacement(1), n_steps=1, record=("theta",), n_records=2,
            seed=0,
        )  # fmt: skip
        steps = run.theta.values[0, -1] - theta
        wanted = np.array([float(-eta * value) for value in gradient])
        assert np.abs(steps - wanted).max() < CLOSE * np.abs(wanted).max()

    @pytest.mark.parametrize("n_inputs", [5, 200])
    def test_sharpness_and_batch_sharpness(self, n_inputs: int, margin: float, label: int) -> None:
        """Two classes: λ = 2p(1 − p)‖(x, 1)‖², and the gradient is along its vector. 12 and 402 parameters."""
        problem, x, f = linear(n_inputs, 2, margin, label)
        theta, p = problem.theta0, probabilities(f)
        top = float(2 * p[0] * p[1] * (mpmath.mpf(float(x @ x)) + 1))
        one = es.WithoutReplacement(1)
        assert es.sharpness(problem, theta) == pytest.approx(top, rel=CLOSE)
        assert es.batch_sharpness(problem, theta, one).value == pytest.approx(top, rel=CLOSE)
        assert es.mean_square_sharpness(problem, theta, one, hessian="gauss_newton") == pytest.approx(top, rel=CLOSE)
        assert leading_mean_square_sharpness(problem, theta, one, rank=2) == pytest.approx(top, rel=CLOSE)


class LogProbabilities(nn.Module):
    """A network that ends with them, by the function."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.inner(x), -1)


WEIGHTS = torch.tensor([2.0, 3.0, 0.5])
ENDS = {
    "": lambda module: module,
    "a layer": lambda module: nn.Sequential(module, nn.LogSoftmax(dim=1)),
    "a function": LogProbabilities,
}
CLASSES = {
    "cross_entropy": ("", F.cross_entropy, lambda y: 1.0),
    "in a function": ("", lambda f, y: F.cross_entropy(f, y), lambda y: 1.0),
    "CrossEntropyLoss": ("", nn.CrossEntropyLoss(reduction="none"), lambda y: 1.0),
    "with weights": ("", nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"), lambda y: float(WEIGHTS[y])),
    "with weights, mean": ("", nn.CrossEntropyLoss(weight=WEIGHTS), lambda y: 1.0),
    "nll_loss": ("", lambda f, y: F.nll_loss(f.log_softmax(-1), y), lambda y: 1.0),
    "LogSoftmax in the loss": ("", lambda f, y: F.nll_loss(nn.LogSoftmax(dim=0)(f), y), lambda y: 1.0),
    "LogSoftmax": ("a layer", nn.NLLLoss(), lambda y: 1.0),
    "log_softmax": ("a function", nn.NLLLoss(), lambda y: 1.0),
}
BINARY = {
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), 1.0),
    "per entry": (nn.BCEWithLogitsLoss(reduction="none"), 1.0),
    "with weights": (nn.BCEWithLogitsLoss(weight=torch.tensor([2.0]), pos_weight=torch.tensor([1.5])), None),
    "logsigmoid": (lambda f, y: -F.logsigmoid((2 * y - 1) * f).sum(), 1.0),
}


class TestAsTorchHasThem:
    """Callables with torch's names and options: the loss and its derivatives in the outputs, which are the parameters."""

    @staticmethod
    def check(problem: TorchProblem, loss: mpmath.mpf, gradient: np.ndarray, hessian: np.ndarray) -> None:
        theta = problem.theta0
        assert_close(problem.loss(theta), loss)
        assert_close(problem.gradient(theta), gradient)
        assert_close(problem.hessian(theta), hessian)
        products = problem.hessian_products(theta, np.zeros((len(theta), 1), dtype=int), np.eye(len(theta)))
        assert_close(products, hessian)

    @pytest.mark.parametrize("margin", [0, 5, 20, 38, 100])
    @pytest.mark.parametrize("label", [0, 2])
    @pytest.mark.parametrize("name", CLASSES)
    def test_classes(self, name: str, label: int, margin: int) -> None:
        end, loss, factor = CLASSES[name]
        f = outputs_with(3, 0, margin)
        module = nn.Linear(1, 3, bias=False, dtype=torch.float64)
        with torch.no_grad():
            module.weight[:, 0] = torch.tensor(f)
        problem = TorchProblem(ENDS[end](module), [[1.0]], [label], loss)
        exact, k = [mpmath.mpf(value) for value in f], factor(label)
        self.check(problem, k * exact_loss(exact, label), k * exact_gradient(exact, label), k * exact_hessian(exact))

    @pytest.mark.parametrize("margin", [0, 5, 20, 38, 100, -38])
    @pytest.mark.parametrize("target", [0, 1])
    @pytest.mark.parametrize("name", BINARY)
    def test_two_classes(self, name: str, target: int, margin: int) -> None:
        loss, factor = BINARY[name]
        module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        with torch.no_grad():
            module.weight.fill_(margin)
        problem = TorchProblem(module, [[1.0]], [target], loss)
        k = factor or (3.0 if target else 2.0)
        sign = 2 * target - 1
        wrong = 1 / (1 + mpmath.e ** mpmath.mpf(sign * margin))
        self.check(
            problem, -k * mpmath.log1p(-wrong), np.array([-sign * k * wrong]), np.array([[k * wrong * (1 - wrong)]])
        )

    def test_soft_labels_smoothing_and_labels_left_out_are_those_of_torch(self) -> None:
        rng = np.random.default_rng(0)
        module, x, soft = bridge.mlp(3, (4,), 3, seed=0), rng.standard_normal((5, 3)), rng.dirichlet(np.ones(3), 5)
        labels = np.array([0, 1, -100, 2, 1])
        outputs = module(torch.tensor(x)).detach()
        for loss, targets in (
            (nn.CrossEntropyLoss(), soft),
            (nn.CrossEntropyLoss(label_smoothing=0.2), np.maximum(labels, 0)),
            (nn.CrossEntropyLoss(reduction="sum"), labels),
            (nn.BCEWithLogitsLoss(reduction="sum", pos_weight=torch.tensor([1.0, 2.0, 3.0]).double()), soft),
        ):
            problem = TorchProblem(module, x, targets, loss)
            wanted = [float(loss(f, y)) for f, y in zip(outputs, torch.tensor(targets), strict=True)]
            assert problem.sample_losses(problem.theta0, np.arange(5)) == pytest.approx(np.array(wanted), rel=1e-12)


class TestAHiddenLayer:
    """Where second derivatives of the network enter too: mixed partial derivatives in 650 digits."""

    @staticmethod
    def problem(margin: float, label: int) -> TorchProblem:
        module = bridge.mlp(2, (2,), 3, seed=1)
        with torch.no_grad():
            module[2].bias[0] += margin
        return TorchProblem(module, [[0.5, -1.25]], [label], "cross_entropy")

    @staticmethod
    def loss(theta: Exact, label: int) -> mpmath.mpf:
        x = (mpmath.mpf("0.5"), mpmath.mpf("-1.25"))
        hidden = [mpmath.tanh(theta[2 * j] * x[0] + theta[2 * j + 1] * x[1] + theta[4 + j]) for j in range(2)]
        return exact_loss(
            [theta[6 + 2 * k] * hidden[0] + theta[7 + 2 * k] * hidden[1] + theta[12 + k] for k in range(3)], label
        )

    @pytest.mark.parametrize(("margin", "label"), [(3, 0), (38, 0), (38, 2), (700, 0), (700, 1)])
    def test_by_hand_and_by_autograd(self, margin: float, label: int) -> None:
        problem = self.problem(margin, label)
        point, direction = problem.theta0, np.random.default_rng(0).standard_normal(15)
        exact, v = [mpmath.mpf(t) for t in point], [mpmath.mpf(t) for t in direction]

        def at(k: int, step: mpmath.mpf, along: mpmath.mpf) -> mpmath.mpf:
            return self.loss(
                [t + along * d + step * (j == k) for j, (t, d) in enumerate(zip(exact, v, strict=True))], label
            )

        gradient = [mpmath.diff(lambda s, k=k: at(k, s, mpmath.mpf(0)), 0) for k in range(15)]
        product = [mpmath.diff(lambda s, t, k=k: at(k, s, t), (0, 0), (1, 1)) for k in range(15)]
        alone = np.zeros((1, 1), dtype=int)
        curvature = TorchCurvature(problem, point)
        size, largest = (max(map(abs, part)) for part in (gradient, product))
        for found in (problem.gradient(point), curvature.gradients(alone)[0]):
            assert max(abs(mpmath.mpf(a) - b) for a, b in zip(found, gradient, strict=True)) < CLOSE * size
        for found in (
            problem.hessian_products(point, alone[0], direction),
            curvature.bound(alone)(direction[None])[0],
            problem.hessian(point) @ direction,
        ):
            assert max(abs(mpmath.mpf(a) - b) for a, b in zip(found, product, strict=True)) < CLOSE * largest
