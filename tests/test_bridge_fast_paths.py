"""The compiled loop and the products by hand are taken only where they are right; finite differences say what is."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

import esssim as es  # noqa: E402
from esssim import bridge  # noqa: E402
from esssim.bridge import TorchProblem  # noqa: E402
from esssim.bridge.curvature import TorchCurvature, fully_connected_at  # noqa: E402
from esssim.bridge.layers import Layer, layers_of  # noqa: E402
from esssim.bridge.leading import leading_mean_square_sharpness  # noqa: E402

N, D = 6, 3
RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.standard_normal((N, D)), RNG.standard_normal(N)
STEP = 0.1


def doubled(layer: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


def halved(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return inputs[0] / 2


class Steeper(nn.Tanh):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(2 * x)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Chain(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Squared(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight**2


def hooked(module: nn.Sequential) -> nn.Module:
    module[0].register_forward_hook(doubled)
    return module


def hooked_with_keywords(module: nn.Sequential) -> nn.Module:
    module[1].register_forward_hook(lambda layer, inputs, options, output: 2 * output, with_kwargs=True)
    return module


def hooked_before(module: nn.Sequential) -> nn.Module:
    module[2].register_forward_pre_hook(halved)
    return module


def hooked_activation(module: nn.Sequential) -> nn.Module:
    module[1].register_forward_hook(doubled)
    return module


def hooked_as_a_whole(module: nn.Sequential) -> nn.Module:
    module.register_forward_hook(doubled)
    return module


def hooked_as_a_whole_before(module: nn.Sequential) -> nn.Module:
    module.register_forward_pre_hook(halved)
    return module


def own_forward(module: nn.Sequential) -> nn.Module:
    """As a bound method, which the copy binds to itself."""
    module[0].forward = types.MethodType(lambda layer, x: 2 * nn.Linear.forward(layer, x), module[0])
    return module


def own_forward_of_the_whole(module: nn.Sequential) -> nn.Module:
    module.forward = types.MethodType(lambda chain, x: 3 * nn.Sequential.forward(chain, x), module)
    return module


def parametrised(module: nn.Sequential) -> nn.Module:
    torch.nn.utils.parametrize.register_parametrization(module[0], "weight", Squared())
    return module


def once_parametrised(module: nn.Sequential) -> nn.Module:
    """The bias now comes before the weight."""
    torch.nn.utils.parametrize.register_parametrization(module[0], "weight", Squared())
    torch.nn.utils.parametrize.remove_parametrizations(module[0], "weight")
    assert [name for name, _ in module.named_parameters()][:2] == ["0.bias", "0.weight"]
    return module


def subclassed_layer(module: nn.Sequential) -> nn.Module:
    layer = Doubled(module[0].in_features, module[0].out_features, dtype=torch.float64)
    layer.load_state_dict(module[0].state_dict())
    return nn.Sequential(layer, *module[1:])


def subclassed_activation(module: nn.Sequential) -> nn.Module:
    return nn.Sequential(module[0], Steeper(), module[2])


def subclassed_whole(module: nn.Sequential) -> nn.Module:
    return Chain(*module)


def tanh_gelu(module: nn.Sequential) -> nn.Module:
    return nn.Sequential(module[0], nn.GELU(approximate="tanh"), module[2])


def nested_with_hook(module: nn.Sequential) -> nn.Module:
    inner = nn.Sequential(module[0], module[1])
    inner.register_forward_hook(doubled)
    return nn.Sequential(inner, module[2])


def moved_bias(module: nn.Sequential) -> nn.Module:
    """A parameter of the layer that the layer has no use for by itself, read by a hook."""
    module[0].register_parameter("factor", nn.Parameter(torch.full((1,), 1.5, dtype=torch.float64)))
    module[0].register_forward_hook(lambda layer, inputs, output: layer.factor * output)
    return module


CHANGES: list[Callable[[nn.Sequential], nn.Module]] = [
    hooked, hooked_with_keywords, hooked_before, hooked_activation, hooked_as_a_whole, hooked_as_a_whole_before,
    own_forward, own_forward_of_the_whole, parametrised, once_parametrised, subclassed_layer, subclassed_activation,
    subclassed_whole, tanh_gelu, nested_with_hook, moved_bias,
]  # fmt: skip
# On both sides of the 300 parameters from where on Hessians are known by their products only.
each_width = pytest.mark.parametrize("width", [4, 80])


def network(width: int = 4) -> nn.Sequential:
    return bridge.mlp(D, (width,), 1, seed=0)


def by_differences(problem: TorchProblem, theta: np.ndarray) -> np.ndarray:
    """The Hessian by central differences of the gradient, itself one of the loss, (p, p)."""
    step = 1e-5
    units = step * np.eye(len(theta))
    return (problem.gradient(theta + units) - problem.gradient(theta - units)) / (2 * step)


def slope_by_differences(problem: TorchProblem, theta: np.ndarray, direction: np.ndarray) -> float:
    step = 1e-5
    ahead, behind = (problem.loss(theta + sign * step * direction) for sign in (1, -1))
    return float(ahead - behind) / (2 * step)


def check(problem: TorchProblem) -> None:
    """One step, the gradient, sharpness and the products against the loss alone."""
    theta = problem.theta0
    gradient = problem.gradient(theta)
    direction = np.random.default_rng(1).standard_normal(len(theta))
    assert float(gradient @ direction) == pytest.approx(slope_by_differences(problem, theta, direction), rel=1e-6)
    everyone = es.WithoutReplacement(problem.n_samples)
    run = bridge.train(
        problem, theta, step_size=STEP, sampling=everyone, n_steps=1, record=("theta",), n_records=2, seed=0
    )
    stepped = run.theta.values[0, -1]
    assert np.abs(stepped - (theta - STEP * gradient)).max() < 1e-12 * max(1.0, np.abs(gradient).max())
    hessian = by_differences(problem, theta)
    top = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    assert es.sharpness(problem, theta) == pytest.approx(top, rel=1e-6)
    curvature, all_rows = TorchCurvature(problem, theta), np.arange(problem.n_samples)[None]
    image = curvature.bound(all_rows)(direction[None])[0]
    assert np.abs(image - hessian @ direction).max() < 1e-5 * np.abs(hessian).max()
    assert np.abs(curvature.gradients(all_rows)[0] - gradient).max() < 1e-12 * np.abs(gradient).max()
    jacobian = TorchProblem.sample_jacobians(problem, theta, all_rows[0]).reshape(-1, len(theta))
    full = leading_mean_square_sharpness(problem, theta, everyone, rank=problem.n_samples * problem.n_outputs)
    assert full == pytest.approx(np.linalg.eigvalsh(jacobian @ jacobian.T / problem.n_samples)[-1], rel=1e-6)


class TestChangedNetworks:
    @each_width
    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
    def test_agree_with_finite_differences(self, change: Callable[[nn.Sequential], nn.Module], width: int) -> None:
        problem = TorchProblem(change(network(width)), INPUTS, TARGETS)
        assert change is once_parametrised or layers_of(problem) is None
        check(problem)

    @each_width
    @pytest.mark.parametrize("which", ["0", "1", "", "2"])
    def test_hooks_that_come_after_construction_are_seen(self, which: str, width: int) -> None:
        problem = TorchProblem(network(width), INPUTS, TARGETS)
        before = es.sharpness(problem, problem.theta0)
        handle = problem.module.get_submodule(which).register_forward_hook(doubled)
        check(problem)
        assert abs(es.sharpness(problem, problem.theta0) / before - 1) > 0.05
        handle.remove()
        assert es.sharpness(problem, problem.theta0) == before

    @each_width
    def test_global_hooks_are_seen_while_they_are_there(self, width: int) -> None:
        problem = TorchProblem(network(width), INPUTS, TARGETS)

        def double_linear(layer: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor | None:
            return 2 * output if isinstance(layer, nn.Linear) else None

        assert layers_of(problem) is not None
        with nn.modules.module.register_module_forward_hook(double_linear):
            assert layers_of(problem) is None
            check(problem)
        with nn.modules.module.register_module_forward_pre_hook(lambda layer, inputs: None):
            assert layers_of(problem) is None
        assert layers_of(problem) is not None

    @pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
    def test_backward_hooks_are_seen(self, register: str) -> None:
        problem = TorchProblem(network(), INPUTS, TARGETS)
        getattr(problem.module[0], register)(lambda layer, *gradients: None)
        assert layers_of(problem) is None
        for register_globally in (
            nn.modules.module.register_module_full_backward_hook,
            nn.modules.module.register_module_full_backward_pre_hook,
        ):
            plain = TorchProblem(network(), INPUTS, TARGETS)
            with register_globally(lambda layer, *gradients: None):
                assert layers_of(plain) is None
            assert layers_of(plain) is not None

    def test_a_class_that_somebody_changes_is_no_longer_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        problem = TorchProblem(network(), INPUTS, TARGETS)
        plain = nn.Tanh.forward
        monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: 2 * plain(self, x))
        check(problem)

    def test_label_noise_goes_through_a_hook_as_it_goes_through_the_network(self) -> None:
        """A hook that doubles the outputs is a last layer of twice the size, whose gradient is twice as large."""
        plain, changed = network(), hooked_as_a_whole(network())
        with torch.no_grad():
            plain[2].weight.mul_(2), plain[2].bias.mul_(2)
        options = {"step_size": 0.1, "sampling": es.WithoutReplacement(2), "n_steps": 1, "label_noise": 0.5}
        options |= {"record": ("theta",), "n_records": 2, "seed": 4}
        pairs = [TorchProblem(module, INPUTS, TARGETS) for module in (plain, changed)]
        first, second = (bridge.train(p, p.theta0, **options).theta.values[0] for p in pairs)
        last = slice(-5, None)
        assert np.abs(first[0, last] - 2 * second[0, last]).max() < 1e-15
        assert np.abs(2 * (first[1] - first[0])[last] - (second[1] - second[0])[last]).max() < 1e-13


class TestOtherNetworks:
    @each_width
    def test_inputs_with_more_axes_through_linear_layers(self, width: int) -> None:
        inputs = RNG.standard_normal((N, 2, D))
        problem = TorchProblem(network(width), inputs, RNG.standard_normal((N, 2)))
        assert layers_of(problem) is None
        check(problem)

    @each_width
    def test_more_axes_whose_rows_are_as_many_numbers_as_the_layer_takes(self, width: int) -> None:
        """(n, 1, 3): flattened it would fit."""
        problem = TorchProblem(network(width), INPUTS[:, None], TARGETS)
        assert layers_of(problem) is None
        check(problem)

    @pytest.mark.parametrize("width", [4, 20])
    def test_layers_without_biases_behind_a_flatten_and_in_eval_mode(self, width: int) -> None:
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(D, width, bias=False), nn.Sigmoid(), nn.Sequential(nn.Dropout(0.5), nn.Identity()),
            nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 2, bias=False),
        ).eval()  # fmt: skip
        problem = TorchProblem(module, INPUTS[:, None], RNG.standard_normal((N, 2)))
        layers = layers_of(problem)
        assert layers is not None
        assert [layer.activation for layer in layers] == ["sigmoid", "tanh", None]
        assert [layer.offset for layer in layers] == [None, (D + 5) * width, None]
        check(problem)

    def test_the_order_of_parameters_is_part_of_the_answer(self) -> None:
        problem = TorchProblem(once_parametrised(network(80)), INPUTS, TARGETS)
        assert layers_of(problem) == [Layer(D, 80, 80, 0, "tanh"), Layer(80, 1, 320, 400, None)]
        plain = TorchProblem(network(80), INPUTS, TARGETS)
        order = np.r_[np.arange(240, 320), np.arange(240), np.arange(320, 401)]
        theta = plain.theta0
        squared = theta.copy()
        squared[:240] **= 2  # the parametrisation's weights
        assert (problem.theta0 == squared[order]).all()
        assert es.sharpness(problem, problem.theta0) == pytest.approx(es.sharpness(plain, squared), rel=1e-10)

    @pytest.mark.parametrize("module", [
        nn.Linear(D, 1),
        nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(D, 4), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(D, 1), nn.Tanh()),
        nn.Sequential(nn.Tanh(), nn.Linear(D, 1)),
        nn.Sequential(nn.Linear(D, 4), nn.Softplus(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 1)),
        nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(1)),
    ], ids=["line", "mixed", "two in a row", "behind the last", "before the first", "softplus", "norm", "lazy"])  # fmt: skip
    def test_agree_with_finite_differences(self, module: nn.Module) -> None:
        module(torch.ones(1, D))
        check(TorchProblem(module.double(), INPUTS, TARGETS))

    def test_parameters_of_another_shape_are_not_what_the_layer_says(self) -> None:
        module = network()
        module[0].weight = nn.Parameter(torch.ones(7, D, dtype=torch.float64))
        module[0].bias = nn.Parameter(torch.ones(1, dtype=torch.float64))
        module[2].weight = nn.Parameter(torch.ones(1, 7, dtype=torch.float64))
        problem = TorchProblem(module, INPUTS, TARGETS)
        assert layers_of(problem) is None
        check(problem)

    def test_a_loss_of_ones_own_takes_the_general_path(self) -> None:
        problem = TorchProblem(network(), INPUTS, TARGETS[:, None], lambda f, y: ((f - y) ** 2).sum() / 2)
        assert layers_of(problem) is None
        plain = TorchProblem(network(), INPUTS, TARGETS)
        assert np.abs(problem.gradient(plain.theta0) - plain.gradient(plain.theta0)).max() < 1e-15

    def test_the_data_of_the_general_path_are_those_of_the_compiled_loop(self) -> None:
        problem = TorchProblem(network(), INPUTS, TARGETS)
        problem.inputs[0] *= 2
        check(problem)


class Own(nn.Module):
    """A class of one's own, with activations as functions and as methods."""

    def __init__(self, activation: str = "tanh") -> None:
        super().__init__()
        self.activation = activation
        self.first, self.second, self.last = nn.Linear(2 * D, 20), nn.Linear(20, 15, bias=False), nn.Linear(15, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.drop(getattr(F, self.activation)(self.first(x.view(x.size(0), -1))))
        return self.last(F.dropout(F.linear(h, self.second.weight).tanh(), training=self.training)).squeeze(-1)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Sequential(nn.Linear(2 * D, 12), nn.ReLU()), nn.Linear(12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(x.reshape(x.shape[0], -1)))


class Skipped(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x.flatten(1)))
        return self.last(torch.tanh(self.second(h))) + h[:, :1]


class Twice(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x.flatten(1)))
        return self.last(torch.tanh(self.second(h) * 1.5))


class Looking(Own):
    """Does something else where it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x.flatten(1)).tanh()
        if isinstance(x, torch.Tensor):
            h = 2 * h
        return self.last(torch.tanh(self.second(h)))


class TestClassesOfOnesOwn:
    """Inputs (n, 2, D)."""

    def problem(self, module: nn.Module) -> TorchProblem:
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
        return TorchProblem(module.eval(), np.stack([INPUTS, INPUTS**2], axis=1), TARGETS)

    @pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
    def test_are_traced(self, activation: str) -> None:
        problem = self.problem(Own(activation))
        assert layers_of(problem) == [
            Layer(6, 20, 0, 120, activation), Layer(20, 15, 140, None, "tanh"), Layer(15, 1, 440, 455, None),
        ]  # fmt: skip
        assert fully_connected_at(problem, problem.theta0) is not None
        check(problem)

    def test_with_modules_inside(self) -> None:
        problem = self.problem(Nested())
        assert layers_of(problem) == [Layer(6, 12, 0, 72, "relu"), Layer(12, 1, 84, 96, None)]
        handle = problem.module.inner.register_forward_hook(doubled)
        assert layers_of(problem) is None
        handle.remove()
        assert layers_of(problem) is not None

    @pytest.mark.parametrize("kind", [Skipped, Twice, Looking])
    def test_are_left_alone_where_they_do_more(self, kind: type[nn.Module]) -> None:
        problem = self.problem(kind())
        assert fully_connected_at(problem, problem.theta0) is None
        check(problem)


class TestProblemsOfOnesOwn:
    """A subclass that adds ½λ‖θ‖² to every loss."""

    @staticmethod
    def decayed() -> type[TorchProblem]:
        class Decayed(TorchProblem):
            def sample_losses(self, theta, indices):  # type: ignore[no-untyped-def]
                return super().sample_losses(theta, indices) + (theta**2).sum(axis=-1)[..., None] / 2

            def sample_gradients(self, theta, indices):  # type: ignore[no-untyped-def]
                return super().sample_gradients(theta, indices) + theta[..., None, :]

            def sample_hessians(self, theta, indices):  # type: ignore[no-untyped-def]
                return super().sample_hessians(theta, indices) + np.eye(self.n_params)

            def gradient(self, theta, batch=None):  # type: ignore[no-untyped-def]
                return super().gradient(theta, batch) + theta

            def hessian(self, theta, batch=None):  # type: ignore[no-untyped-def]
                return super().hessian(theta, batch) + np.eye(self.n_params)

            def hessian_products(self, theta, batches, vectors):  # type: ignore[no-untyped-def]
                return super().hessian_products(theta, batches, vectors) + vectors

        return Decayed

    @each_width
    def test_its_gradient_is_what_is_trained(self, width: int) -> None:
        problem = self.decayed()(network(width), INPUTS, TARGETS)
        assert layers_of(problem) is None
        check(problem)

    def test_label_noise_is_that_of_the_plain_problem(self) -> None:
        options = {"step_size": 0.1, "sampling": es.WithoutReplacement(2), "n_steps": 1, "label_noise": 0.5}
        options |= {"record": ("theta",), "n_records": 2, "seed": 4}
        plain, decayed = TorchProblem(network(), INPUTS, TARGETS), self.decayed()(network(), INPUTS, TARGETS)
        theta = plain.theta0
        first, second = (bridge.train(p, theta, **options).theta.values[0, -1] for p in (plain, decayed))
        assert np.abs(first - second - 0.1 * theta).max() < 1e-14

    def test_half_of_it_is_refused_where_the_class_is_written(self) -> None:
        with pytest.raises(
            ValueError, match=r"Half overrides gradient, but not hessian, hessian_products, sample_grad"
        ):

            class Half(TorchProblem):
                def gradient(self, theta, batch=None):  # type: ignore[no-untyped-def]
                    return 2 * super().gradient(theta, batch)

    def test_a_method_set_on_the_instance_is_used(self) -> None:
        problem = TorchProblem(network(), INPUTS, TARGETS)
        plain = problem.gradient
        problem.gradient = lambda theta, batch=None: 2 * plain(theta, batch)  # type: ignore[method-assign]
        run = bridge.train(
            problem, problem.theta0, step_size=STEP, sampling=es.WithoutReplacement(N), n_steps=1, record=("theta",),
            n_records=2, seed=0,
        )  # fmt: skip
        stepped = run.theta.values[0, -1]
        assert np.abs(stepped - (problem.theta0 - 2 * STEP * plain(problem.theta0))).max() < 1e-14


def test_the_copy_keeps_what_is_hooked() -> None:
    module = hooked(network())
    problem = TorchProblem(module, INPUTS, TARGETS)
    with torch.no_grad():
        direct = module(torch.tensor(INPUTS)).numpy()
    assert np.abs(problem.outputs(problem.theta0) - direct).max() < 1e-15
    assert layers_of(TorchProblem(copy.deepcopy(problem.module), INPUTS, TARGETS)) is None
