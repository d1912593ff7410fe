"""The Gram matrix of a network layer by layer, and Q_b enclosed from it: against dense Jacobians and exact values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import esssim as es  # noqa: E402
from esssim.bridge import TorchProblem, mean_square_enclosure  # noqa: E402
from esssim.bridge import problem as bridge_problem  # noqa: E402
from esssim.bridge.functional import Functional  # noqa: E402
from esssim.bridge.gram import accumulate, products, share  # noqa: E402
from esssim.bridge.gram.accumulate import gram, plan_of  # noqa: E402
from esssim.bridge.gram.matrix import Gram, rows_at  # noqa: E402
from esssim.bridge.gram.products import Products  # noqa: E402
from esssim.spectra import batched_lanczos  # noqa: E402
from esssim.spectra.nystrom import Krylov, bound_of_rest, bound_of_top  # noqa: E402
from esssim.statistics import leading  # noqa: E402
from esssim.statistics.block_perron import BlockPerron  # noqa: E402
from esssim.statistics.bounded_perron import FlooredPerron, Sandwich  # noqa: E402
from tests.bridge_cases import perceptron  # noqa: E402

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((9, 1, 8, 8)), RNG.integers(0, 3, 9)
SERIES = RNG.standard_normal((9, 2, 7))


class Mixed(nn.Module):
    """Every kind of layer: convolutions with and without bias, norms, attention, positions, one that is called twice,
    one whose weight is used beside it, one that is frozen in part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.second = nn.Conv2d(4, 6, (2, 3), dilation=(1, 1), bias=False)
        self.grouped = nn.Conv2d(6, 6, 1, groups=2)
        self.norm, self.attention = nn.GroupNorm(2, 6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.positions, self.samples, self.out = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.twice, self.beside, self.frozen = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.frozen.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.first(x), inplace=True)
        h = torch.tanh(self.norm(self.grouped(self.second(h)))).flatten(2).transpose(1, 2)
        h = h + self.attention(h, h, h)[0]
        h = self.positions(h.flatten(0, 1)).tanh().unflatten(0, (len(x), -1))
        h = self.samples(h.transpose(0, 1)).mean(dim=0)
        h = self.frozen(self.twice(torch.tanh(self.twice(h))))
        return self.out(self.beside(h) + F.linear(h, self.beside.weight))


# What is taken row by row: these do not factor.
WITHOUT_FACTORS = {"grouped", "norm", "attention", "samples", "twice", "beside"}


class Recurrent(nn.Module):
    """What torch cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.GRU(7, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.inner(x)[0][:, -1])


def problem(module: nn.Module, inputs: np.ndarray, loss: str, dtype: str = "float64") -> TorchProblem:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    targets = LABELS if loss == "cross_entropy" else np.eye(3)[LABELS]
    return TorchProblem(module, inputs, targets, loss, dtype, check=False)  # type: ignore[arg-type]


def dense_gram(p: TorchProblem, theta: np.ndarray) -> np.ndarray:
    rows = p.gauss_newton_rows(theta, np.arange(p.n_samples)).reshape(-1, p.n_params)
    return rows @ rows.T


class TestGram:
    @pytest.mark.parametrize(("loss", "dtype"), [("squared", "float32"), ("cross_entropy", "float64")])
    def test_of_all_kinds_of_layers(self, loss: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
        p = problem(Mixed(), IMAGES, loss, dtype)
        rows, expected = rows_at(p, p.theta0, CPU), dense_gram(p, p.theta0)
        one_by_one, jacobians_in = set(), Functional.jacobians_in

        def watched(self: Functional, theta: torch.Tensor, x: torch.Tensor, entries: dict[str, slice]) -> torch.Tensor:
            one_by_one.update(name.split(".")[0] for name in entries)
            return jacobians_in(self, theta, x, entries)

        monkeypatch.setattr(Functional, "jacobians_in", watched)
        for held in (2**27, 400):
            monkeypatch.setattr(accumulate, "HELD", held)
            monkeypatch.setattr(share, "STRIPE", 5 if held == 400 else 512)
            monkeypatch.setattr(share, "ENTRY", -1e6 if held == 400 else 200)
            monkeypatch.setattr(accumulate, "TOGETHER", 60 * held)
            found = gram(rows).double().numpy()
            np.testing.assert_allclose(found, expected, atol=(1e-13 if dtype == "float64" else 1e-5) * expected.max())
        assert one_by_one == WITHOUT_FACTORS

    def test_of_a_network_that_torch_cannot_trace(self) -> None:
        p = problem(Recurrent(), SERIES, "squared")
        expected = dense_gram(p, p.theta0)
        np.testing.assert_allclose(gram(rows_at(p, p.theta0, CPU)).numpy(), expected, atol=1e-12 * expected.max())


class TestProducts:
    @pytest.mark.parametrize(("module", "inputs"), [(Mixed, IMAGES), (Recurrent, SERIES)])
    def test_are_those_of_the_matrix(
        self, module: type[nn.Module], inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        p = problem(module(), inputs, "cross_entropy")
        rows, expected = rows_at(p, p.theta0, CPU), dense_gram(p, p.theta0)
        vectors = RNG.standard_normal((4, len(expected)))
        for kept, chunk, together in ((2**31, 2**23, 2**24), (0, 40, 60 * 400)):
            monkeypatch.setattr(products, "KEPT", kept)
            monkeypatch.setattr(products, "CHUNK", chunk)
            monkeypatch.setattr(accumulate, "TOGETHER", together)
            found = Products(rows, plan_of(rows))
            images, size = found.times(vectors) * found.unit, np.abs(vectors @ expected).max()
            np.testing.assert_allclose(images, vectors @ expected, atol=1e-13 * size)
            for i, block in enumerate(found.own * found.unit):
                own = slice(2 * i, 2 * i + 2)
                np.testing.assert_allclose(block, expected[own, own], atol=1e-13 * expected.max())
            assert bool(found._kept) == bool(kept)

    def test_give_the_same_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In float64, then in float32, whose rounding is that between the two; then the matrix takes over."""
        torch.manual_seed(0)
        net = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10))
        data, sampling = es.bridge.data.classes("digits", 30), es.WithoutReplacement(8)
        exact = TorchProblem(net, data.inputs, data.labels, "cross_entropy", check=False)
        single = TorchProblem(net, data.inputs, data.labels, "cross_entropy", "float32", check=False)

        def found(p: TorchProblem, tolerance: float, most: int) -> es.bridge.NetworkEnclosure:
            monkeypatch.setattr(products, "takes_products", lambda _, rows, rank: rank <= most)
            return mean_square_enclosure(p, exact.theta0, sampling, tolerance=tolerance)

        held, rough = found(exact, 1e-5, 0), found(single, 0.01, 300)
        for one, width in ((rough, 0.01), (found(exact, 0.01, 300), 0.01), (found(exact, 1e-5, 32), 1e-5)):
            assert one.lower <= held.value * 1.00001
            assert held.value * 0.99999 <= one.upper <= one.lower + width * one.value
            assert one.value == pytest.approx(held.value, rel=width / 10)
            assert 0 < one.failure_probability <= 1e-8
            assert one is rough or one.rounding == 0.0
        assert 1e-9 < rough.rounding < 1e-5

    def test_are_taken_where_few_directions_are_wanted(self) -> None:
        wide = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 32, 3), nn.Tanh(), nn.Conv2d(32, 64, 3, stride=2))
        wide.extend([nn.Tanh(), nn.Flatten(), nn.Linear(256, 10)])
        data = es.bridge.data.classes("digits", 230)
        p = TorchProblem(wide, data.inputs, data.labels, "cross_entropy", "float32", check=False)
        rows = rows_at(p, p.theta0, CPU)
        assert [products.takes_products(plan_of(rows), rows, rank) for rank in (16, 10**5)] == [True, False]

    def test_of_more_rows_than_a_matrix_may_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """22,000 rows of 26 parameters: the exact value is that of the pencil of 26×26 matrices, another algorithm."""
        rng = np.random.default_rng(1)
        p = TorchProblem(perceptron(3, 4, 2), rng.standard_normal((11_000, 3)), rng.standard_normal((11_000, 2)))
        sampling = es.WithoutReplacement(2)
        exact = es.mean_square_sharpness(p, p.theta0, sampling, hessian="gauss_newton")
        found = mean_square_enclosure(p, p.theta0, sampling)
        assert found.lower <= exact * (1 + 1e-9)
        assert exact <= found.upper <= 1.01 * exact
        monkeypatch.setattr(products, "MOST", 21_000)
        with pytest.raises(ValueError, match=r"n_samples must be at most 10,500, as 21,000 rows .* got 11,000"):
            mean_square_enclosure(p, p.theta0, sampling)
        monkeypatch.setattr(products, "LARGEST", 9)
        monkeypatch.setattr(products, "KEPT", 8 * 3 * 59 * 3)
        other = problem(Recurrent(), SERIES, "squared")
        with pytest.raises(ValueError, match=r"n_samples must be at most 3, as .* parameters of this network are in"):
            mean_square_enclosure(other, other.theta0, sampling)


class TestStall:
    """Eigenvalues of K that do not decay: no rank is enough, and twice the rank leaves as much as before."""

    def wide(self) -> TorchProblem:
        rng = np.random.default_rng(0)
        net = nn.Sequential(nn.Linear(6000, 1, bias=False))
        return TorchProblem(net, rng.standard_normal((300, 6000)), np.zeros(300), check=False)

    def test_ends_the_doubling(self) -> None:
        p = self.wide()
        found = mean_square_enclosure(p, p.theta0, es.WithoutReplacement(4), tolerance=1e-9)
        assert found.rank < 300
        assert found.upper - found.lower > 1e-9 * found.value
        exact = es.mean_square_sharpness(p, p.theta0, es.WithoutReplacement(4), hessian="gauss_newton")
        assert found.lower <= exact * (1 + 1e-12) <= found.upper * (1 + 2e-12)

    def test_hands_over_to_the_matrix(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Which has more steps, and a lower bound along single samples."""
        monkeypatch.setattr(products, "takes_products", lambda *_: True)
        p = self.wide()
        found = mean_square_enclosure(p, p.theta0, es.WithoutReplacement(4), tolerance=1e-9)
        exact = es.mean_square_sharpness(p, p.theta0, es.WithoutReplacement(4), hessian="gauss_newton")
        assert 0.8 * exact < found.lower <= exact * (1 + 1e-12) <= found.upper * (1 + 2e-12)
        assert found.rank > 2 * Products.first_rank

    def test_does_not_end_it_where_eigenvalues_decay(self) -> None:
        rng = np.random.default_rng(0)
        net = nn.Sequential(nn.Linear(400, 1, bias=False))
        inputs = rng.standard_normal((300, 400)) * 0.97 ** np.arange(400)
        p = TorchProblem(net, inputs, np.zeros(300), check=False)
        found = mean_square_enclosure(p, p.theta0, es.WithoutReplacement(4), tolerance=1e-7)
        assert found.upper - found.lower <= 1e-7 * found.value


def test_floor_in_place_of_the_other_eigenvalues() -> None:
    n, rows, r, floor = 5, 3, 4, 0.3
    vectors = np.linalg.qr(RNG.standard_normal((n * rows, n * rows)))[0]
    leading = np.sort(RNG.uniform(1, 9, r))
    few = FlooredPerron(leading, np.ascontiguousarray(vectors[:, -r:]), 0.4, n_rows=rows, floor=floor)
    full = BlockPerron(np.concatenate((np.full(n * rows - r, floor), leading)), vectors, 0.4, n_rows=rows)
    roots = RNG.standard_normal((n, rows, rows))
    blocks = (roots @ roots.transpose(0, 2, 1)).ravel()
    np.testing.assert_allclose(few.at(0.3)(blocks), full.at(0.3)(blocks), rtol=1e-12)
    assert few.rayleigh_functional(blocks) == pytest.approx(full.rayleigh_functional(blocks), rel=1e-12)
    assert few.edge()[0] == pytest.approx(full.edge()[0], rel=1e-12)


def test_a_krylov_factor_is_below_and_its_bound_above() -> None:
    roots = RNG.standard_normal((120, 120)) * 0.8 ** np.arange(120)
    matrix = roots @ roots.T
    product = lambda rows: rows @ matrix  # noqa: E731
    krylov = Krylov(product, 120)
    for rank in (8, 40, 60):
        krylov.extend(rank)
        factor = krylov.factor(1e-13)
        assert factor.shape[1] <= rank
        rest = np.linalg.eigvalsh(matrix - factor @ factor.T)
        bound = bound_of_rest(product, factor)
        assert rest[0] >= -1e-12 * matrix.max()
        assert rest[-1] <= bound <= 3 * rest[-1]
        top = np.linalg.eigvalsh(matrix)[-1]
        assert top * (1 - 1e-14) <= bound_of_top(product, factor, bound) <= top + min(bound, 0.1 * top)


@pytest.mark.parametrize("sampling", [es.WithoutReplacement(1), es.WithReplacement(3), es.WithoutReplacement(6)])
def test_influence_is_the_derivative_of_the_pencil_with_respect_to_a_weight(sampling: es.Sampling) -> None:
    n, rows, p = 6, 2, 4
    factors, c = np.random.default_rng(5).standard_normal((n, rows, p)), sampling.variance_coefficient(6)
    hessians = factors.transpose(0, 2, 1) @ factors

    def top(weights: np.ndarray) -> float:
        mean = np.einsum("n,nij->ij", weights, hessians)
        both = (1 - c) * np.kron(mean, mean) + c * np.einsum("n,nij,nkl->ikjl", weights, hessians, hessians).reshape(
            16, 16
        )
        sums = (np.kron(mean, np.eye(p)) + np.kron(np.eye(p), mean)) / 2
        return float(scipy.linalg.eigh(both, sums, eigvals_only=True)[-1])

    flat = factors.reshape(n * rows, p)
    left, lengths, _ = np.linalg.svd(flat, full_matrices=False)
    sandwich = Sandwich(left * lengths, 0.0, factors @ factors.transpose(0, 2, 1))
    found = sandwich.bounds(c, 1e-9)
    assert found.enclosure.value == pytest.approx(top(np.full(n, 1 / n)), rel=1e-9)
    step = 1e-5 * np.eye(n)
    slopes = np.array([(top(1 / n + row) - top(1 / n - row)) / 2e-5 for row in step])
    np.testing.assert_allclose(sandwich.influence(c, found), slopes - slopes.mean(), atol=1e-6 * np.abs(slopes).max())


def test_equal_samples_are_bounded_by_their_own_top() -> None:
    """Q_b = λ_max(H) = λ_max(Hᵢ), whatever a factor of one column leaves."""
    n, own = 6, np.random.default_rng(7).standard_normal((2, 4))
    left, lengths, _ = np.linalg.svd(np.tile(own, (n, 1)), full_matrices=False)
    top = float(lengths[0] ** 2)
    rough = Sandwich((left * lengths)[:, :1], float(lengths[1] ** 2), np.tile(own @ own.T, (n, 1, 1)), most=top)
    found = rough.bounds(es.WithoutReplacement(2).variance_coefficient(n), 1e-9).enclosure
    assert found.upper == pytest.approx(top / n, rel=1e-12)
    assert found.lower <= top / n * (1 + 1e-12)


class TestEnclosure:
    @pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
    @pytest.mark.parametrize("b", [1, 4, 20])
    def test_contains_the_exact_value(self, loss: str, b: int) -> None:
        data, sampling = es.bridge.data.classes("digits", 20), es.WithoutReplacement(b)
        targets = data.targets if loss == "squared" else data.labels
        p = TorchProblem(perceptron(64, 12, 10), data.inputs, targets, loss)  # type: ignore[arg-type]
        exact = es.mean_square_sharpness(p, p.theta0, sampling, hessian="gauss_newton", certify=True).value
        if b == 20:
            rows = p.gauss_newton_rows(p.theta0, np.arange(20)).reshape(-1, p.n_params)
            assert exact == pytest.approx(np.linalg.norm(rows, 2) ** 2 / 20, rel=1e-12)
        ranks = []
        for tolerance in (0.3, 0.03, 1e-4):
            found = mean_square_enclosure(p, p.theta0, sampling, tolerance=tolerance)
            assert found.lower <= exact * (1 + 1e-12)
            assert exact * (1 - 1e-12) <= found.upper
            assert found.lower <= found.value <= found.upper
            assert found.upper - found.lower <= tolerance * found.value
            assert found.value == pytest.approx(exact, rel=tolerance / 10)
            ranks.append(found.rank)
        assert ranks == sorted(ranks)
        least = mean_square_enclosure(p, p.theta0, sampling, tolerance=1e-4, max_rank=20)
        assert least.rank == 20
        assert least.lower <= exact * (1 + 1e-12)
        assert exact <= least.upper

    def test_above_the_rows_of_the_exact_route(self) -> None:
        """2,400 rows of 20 parameters: the exact value is that of the pencil of 20×20 matrices, another algorithm."""
        rng = np.random.default_rng(1)
        p = TorchProblem(perceptron(3, 3, 2), rng.standard_normal((1200, 3)), rng.standard_normal((1200, 2)))
        sampling = es.WithoutReplacement(2)
        exact = es.mean_square_sharpness(p, p.theta0, sampling, hessian="gauss_newton")
        found = mean_square_enclosure(p, p.theta0, sampling)
        assert found.value == pytest.approx(exact, rel=1e-8)
        assert found.lower <= exact * (1 + 1e-9)
        assert exact <= found.upper <= 1.001 * exact

    def test_in_single_precision_and_of_scaled_outputs(self) -> None:
        class Small(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = perceptron(3, 5, 2)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2.0**-40 * self.inner(x)

        x, y, sampling = RNG.standard_normal((20, 3)), np.zeros((20, 2)), es.WithoutReplacement(2)
        exact, single = (TorchProblem(perceptron(3, 5, 2), x, y, dtype=kind) for kind in ("float64", "float32"))
        one = mean_square_enclosure(exact, exact.theta0, sampling)
        assert mean_square_enclosure(single, exact.theta0, sampling).value == pytest.approx(one.value, rel=1e-5)
        p = TorchProblem(Small(), x, y)
        assert np.ldexp(mean_square_enclosure(p, exact.theta0, sampling).value, 80) == pytest.approx(
            one.value, rel=1e-9
        )

    def test_of_some_samples_and_their_standard_error(self) -> None:
        x, sampling = np.random.default_rng(2).standard_normal((300, 3)), es.WithoutReplacement(4)
        p = TorchProblem(perceptron(3, 5, 1), x, np.zeros(300))
        whole = mean_square_enclosure(p, p.theta0, sampling)
        assert whole[3:5] == (0.0, 300)
        some = [
            mean_square_enclosure(p, p.theta0, sampling, n_samples=100, seed=seed, max_rank=16) for seed in range(40)
        ]
        assert {one.n_samples for one in some} == {100}
        values, errors = (np.array([getattr(one, name) for one in some]) for name in ("value", "standard_error"))
        # As they vary: 40 values have their standard deviation to 11 %.
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.35)
        assert (np.abs(values - whole.value) < 1.96 * errors).mean() >= 0.85
        assert mean_square_enclosure(p, p.theta0, sampling, n_samples=100, seed=3, max_rank=16) == some[3]

    def test_in_some_seconds(self) -> None:
        p = TorchProblem(perceptron(3, 4, 2), RNG.standard_normal((90, 3)), np.zeros((90, 2)))
        sampling = es.WithoutReplacement(4)
        assert mean_square_enclosure(p, p.theta0, sampling, seconds=60).n_samples == 90
        with pytest.raises(ValueError, match="seconds must be more for a Gram matrix of 4 samples"):
            mean_square_enclosure(p, p.theta0, sampling, seconds=1e-6)

    def test_without_any_curvature(self) -> None:
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
        p = TorchProblem(net, np.ones((4, 3)), np.zeros((4, 2)))
        assert mean_square_enclosure(p, np.zeros(p.n_params), es.WithoutReplacement(2)) == (
            0.0,
            0.0,
            0.0,
            0.0,
            4,
            0,
            0.0,
            0.0,
        )

    def test_blocks_of_the_gram_matrix(self) -> None:
        p = problem(Mixed(), IMAGES, "squared")
        own = Gram.of(rows := rows_at(p, p.theta0, CPU))
        matrix = gram(rows).numpy() / own.unit
        np.testing.assert_allclose(own.own[4], matrix[12:15, 12:15], rtol=1e-14)


class Logarithms(Mixed):
    """The same, with logarithms of probabilities at its end, which take forms of their own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(super().forward(x), dim=1)


@pytest.mark.parametrize("module", [Mixed, Logarithms])
def test_no_tensor_is_made_beside_the_device(module: type[nn.Module]) -> None:
    """On torch's device without numbers, where every operation with a tensor of the CPU fails, as on a GPU."""
    squared = lambda f, y: ((f - y) ** 2).sum()  # noqa: E731
    torch.manual_seed(0)
    p = TorchProblem(module(), IMAGES, np.eye(3)[LABELS], squared, check=False)
    assert p.functional.care.classes == (module is Logarithms)
    rows, meta = rows_at(p, p.theta0, CPU), torch.device("meta")
    plan = plan_of(rows)
    moved = accumulate.Rows(p.functional.on(meta), rows.theta.to(meta), rows.x.to(meta), rows.covectors.to(meta))
    layers = {name: layer for name, layer in moved.functional.module.named_modules()}
    plan = replace(
        plan,
        shares=[replace(one, layer=replace(one.layer, module=layers[one.layer.name])) for one in plan.shares],
    )
    found = accumulate._added(moved, plan)
    assert found.device == meta
    assert moved.times(torch.zeros(9, 3, device=meta, dtype=torch.float64)).device == meta
    part = products.part_of(moved, plan)
    weights = torch.zeros(9, 2, 3, device=meta, dtype=torch.float64)
    for layer in part.layers:
        products._add_along(weights, layer, products._transposed(layer, weights))
        products._add_own(torch.zeros(9, 3, 3, device=meta, dtype=torch.float64), layer)
    assert {one.device for one in part.others} == {meta}


def test_products_with_many_samples_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = problem(Mixed(), IMAGES, "cross_entropy")
    theta, v = at_once.theta0, RNG.standard_normal(at_once.n_params)
    batches = np.array([[0, 3, 5, 8, 1], [2, 2, 7, 4, 6]])
    some = (np.broadcast_to(v, (2, len(v))), batches)
    expected = at_once.gradient(theta, batches), at_once.hessian_products(theta, batches, some[0])
    monkeypatch.setattr(bridge_problem, "ACTIVATIONS", 2 * bridge_problem.ACTIVATIONS // at_once._together)
    in_parts = problem(Mixed(), IMAGES, "cross_entropy")
    assert in_parts._together == 2
    np.testing.assert_allclose(in_parts.gradient(theta, batches), expected[0], atol=1e-14)
    np.testing.assert_allclose(in_parts.hessian_products(theta, batches, some[0]), expected[1], atol=1e-13)


class TestLanczosOfLargeNetworks:
    """A linear network of three outputs: every eigenvalue of every Hessian three times."""

    def problem(self) -> TorchProblem:
        rng = np.random.default_rng(4)
        net = nn.Sequential(nn.Linear(110, 3, bias=False))
        return TorchProblem(net, rng.standard_normal((60, 110)), np.zeros((60, 3)), check=False)

    def test_a_short_basis_finds_what_a_long_one_finds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        p = self.problem()
        x, batches = p.inputs, es.WithoutReplacement(20)
        monkeypatch.setattr(batched_lanczos, "BASIS_NUMBERS", 1)
        assert es.sharpness(p, p.theta0) == pytest.approx(np.linalg.norm(x, 2) ** 2 / 60, rel=1e-10)
        drawn = batches.draw(60, 5, np.random.default_rng(0))
        tops = [np.linalg.norm(x[some], 2) ** 2 / 20 for some in drawn]
        found = es.minibatch_sharpness(p, p.theta0, batches, n_batches=5, seed=0, draws="uniform")
        assert found.value == pytest.approx(np.mean(tops), rel=1e-8)

    def test_all_copies_are_found_or_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        p = self.problem()
        squares = np.linalg.svd(p.inputs, compute_uv=False)[:2] ** 2 / 60
        found = es.top_eigenvalues(p, p.theta0, 5)
        np.testing.assert_allclose(found, squares.repeat(3)[:5], rtol=1e-9)
        monkeypatch.setattr(leading, "BASIS_NUMBERS", 1000)
        with pytest.raises(ValueError, match=r"k = 5 eigenvalues of 330 parameters would take .* take fewer, or"):
            es.top_eigenvalues(p, p.theta0, 5)
