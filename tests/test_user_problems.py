"""A problem of somebody else at use: right numbers, or an error that names its class, its method and the sample."""

from __future__ import annotations

import functools
import math
import pickle
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.curvature import LowRankCurvature
from esssim.problems import InvalidProblem, NonFinite, boundary
from esssim.problems.base import check_symmetric
from tests import faulty_problems as faulty
from tests.faulty_problems import INPUTS, TARGETS, THETA, Sine, SineSquares, TwoSines, altered, at_sample

PAIRS = es.WithoutReplacement(2)
SINE = Sine()
RUN = {"step_size": 0.01, "sampling": PAIRS, "n_steps": 4, "n_records": 2, "seed": 0}
# Everything that takes a problem and a point.
CALLS: dict[str, Callable[[es.Problem, np.ndarray], Any]] = {
    "sharpness": es.sharpness,
    "minibatch_sharpness": lambda p, t: es.minibatch_sharpness(p, t, PAIRS),
    "minibatch_sharpness, sampled": lambda p, t: es.minibatch_sharpness(p, t, PAIRS, n_batches=50, seed=0),
    "batch_sharpness": lambda p, t: es.batch_sharpness(p, t, PAIRS),
    "gradient_noise_interaction": lambda p, t: es.gradient_noise_interaction(p, t, PAIRS),
    "interaction_aware_sharpness": lambda p, t: es.interaction_aware_sharpness(p, t, PAIRS),
    "mean_square_sharpness": lambda p, t: es.mean_square_sharpness(p, t, PAIRS),
    "critical_step_size": lambda p, t: es.stability.critical_step_size(p, t, PAIRS),
    "gap.predict": lambda p, t: es.gap.predict(p, t, PAIRS),
    "gap.bounds": lambda p, t: es.gap.bounds(p, t, PAIRS),
    "gradient_flow": es.gradient_flow,
    "simulate": lambda p, t: es.simulate(p, t, **RUN),
}
FLOW = {"flow.solve": lambda p, t: es.flow.solve(p, t, step_size=0.01, sampling=PAIRS, n_steps=10)}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def with_nan(base: type[es.Problem], name: str, axes: int) -> es.Problem:
    return altered(base, name, lambda v, _, indices, *more: at_sample(v, indices, 4, lambda x: x * math.nan, axes))


# --- what is not finite -----------------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(("name", "axes"), [("sample_losses", 0), ("sample_gradients", 1), ("sample_hessians", 2)])
def test_a_nan_of_one_sample_is_named(name: str, axes: int, call: Callable[..., Any]) -> None:
    with pytest.raises(NonFinite, match=rf"Faulty\.{name} must return finite numbers, got nan for sample 4"):
        call(with_nan(Sine, name, axes), THETA)


@pytest.mark.parametrize("call", [*CALLS.values(), *FLOW.values()], ids=[*CALLS, *FLOW])
@pytest.mark.parametrize(
    ("base", "name", "axes"),
    [(SineSquares, "residuals", 0), (SineSquares, "sample_jacobians", 1), (TwoSines, "residuals", 1),
     (TwoSines, "sample_jacobians", 2), (SineSquares, "model_hessian_products", 1)],
)  # fmt: skip
def test_a_nan_of_a_least_squares_problem_is_named(
    base: type[es.Problem], name: str, axes: int, call: Callable[..., Any]
) -> None:
    with pytest.raises(NonFinite, match=rf"Faulty\.{name} must return finite numbers, got nan for sample 4"):
        call(with_nan(base, name, axes), THETA)


def test_a_nan_is_named_wherever_it_comes_from() -> None:
    """A sample of a batch of a stack; a mean of one's own; a structured curvature; a masked array."""
    broken = with_nan(Sine, "sample_hessians", 2)
    with pytest.raises(NonFinite, match=r"Faulty\.sample_hessians .* got nan for sample 4"):
        broken.hessian(np.stack([THETA, THETA])[:, None], [[0, 1], [2, 4], [5, 6]])
    assert np.isfinite(broken.hessian(THETA, [0, 1])).all()

    class Mean(Sine):
        def gradient(self, theta: Any, batch: Any = None) -> Any:
            return super().gradient(theta, batch) * math.inf

        def curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(np.where(np.arange(7)[:, None] == 5, math.nan, self.inputs))

    with pytest.raises(NonFinite, match=r"Mean\.gradient must return finite numbers, got -?inf for a batch"):
        Mean().gradient(THETA, batch=[0, 1])
    with pytest.raises(NonFinite, match=r"Mean\.curvature must return finite factors, got nan for sample 5"):
        Mean().curvature(THETA)
    masked = altered(Sine, "sample_losses", lambda v, _, i: np.ma.masked_array(v, mask=i == 2))
    with pytest.raises(NonFinite, match=r"sample_losses .* got nan for sample 2"):
        es.sharpness(masked, THETA)


class Root(es.Problem):
    """ℓᵢ = |xᵢᵀθ|^1.5: at xᵢᵀθ = 0 the second derivative is infinite, the loss and the gradient are not."""

    def __init__(self, inputs: np.ndarray) -> None:
        super().__init__(*inputs.shape)
        self.inputs = inputs

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.abs(self.inputs[indices] @ theta) ** 1.5

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z = self.inputs[indices] @ theta
        return (1.5 * np.sign(z) * np.abs(z) ** 0.5)[..., None] * self.inputs[indices]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z, rows = self.inputs[indices] @ theta, self.inputs[indices]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (0.75 / np.sqrt(np.abs(z)))[..., None, None] * rows[..., :, None] * rows[..., None, :]


def test_an_infinite_second_derivative_is_named() -> None:
    root = Root(np.array([[1.0, 2.0], [2.0, -1.0], [1.0, 1.0]]))
    with pytest.raises(NonFinite, match=r"Root\.sample_hessians must return finite numbers, got inf for sample 1"):
        es.sharpness(root, [1.0, 2.0])
    expected = sum(0.75 / np.sqrt(abs(x @ [1.0, 1.5])) * np.outer(x, x) for x in root.inputs) / 3
    assert es.sharpness(root, [1.0, 1.5]) == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-12)


# --- runs -------------------------------------------------------------------------------------------------------------


class Quartic(es.Problem):
    """ℓᵢ = ¼aᵢθ⁴ in one dimension, which diverges from afar."""

    check = False

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__(3, 1)
        self.slopes = slope * np.array([1.0, 2.0, 3.0])

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.slopes[indices] * theta**4 / 4

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return (self.slopes[indices] * theta**3)[..., None]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return (3 * self.slopes[indices] * theta**2)[..., None, None]


def test_a_run_that_leaves_range_is_marked_and_nothing_is_raised() -> None:
    steps = np.arange(12)
    options = {"step_size": 1.0, "sampling": es.WithoutReplacement(3), "n_steps": 11, "record_steps": steps, "seed": 0}
    trace = es.simulate(Quartic(), [3.0], record=("loss", "sharpness", "minibatch_sharpness", "theta"), **options)
    theta, diverged = [3.0], -1
    for step in range(11):  # by hand: the mean slope is 2
        gradient = 2 * theta[-1] ** 3
        if not abs(gradient) <= 1e100:
            diverged = step
            break
        theta.append(theta[-1] - gradient)
    assert int(trace["diverged_at"][0]) == diverged > 0
    np.testing.assert_allclose(trace["theta"].values[0, :diverged, 0], theta[:diverged], rtol=1e-12)
    assert np.isnan(trace["sharpness"].values[0, diverged:]).all()
    assert np.isfinite(trace["sharpness"].values[0, :diverged]).all()


def test_a_gradient_that_becomes_nan_on_the_way_is_divergence_and_at_the_start_an_error() -> None:
    class Cliff(Quartic):
        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.where(np.abs(theta[..., None]) < 0.5, np.nan, super().sample_gradients(theta, indices))

    options = {"step_size": 0.1, "sampling": es.WithoutReplacement(1), "n_steps": 200, "seed": 0}
    trace = es.simulate(Cliff(), [1.0], record=("loss",), **options)
    assert 0 < int(trace["diverged_at"][0]) < 200
    with pytest.raises(NonFinite, match=r"Cliff\.sample_gradients must return finite numbers, got nan for sample 0"):
        es.simulate(Cliff(), [0.25], record=("loss",), **options)
    with pytest.raises(NonFinite, match=r"Cliff\.sample_gradients"):
        es.simulate(Cliff(), [[1.0], [0.25]], n_replicas=2, record=("loss",), **options)


def test_a_solver_may_try_a_point_out_of_range() -> None:
    """ℓ = ½(log θ)², whose gradient is NaN just below the minimum at 1, where the solver of the flow looks once."""
    tried, edge = [], 1 - 1e-11

    class Positive(Quartic):
        check = True

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.log(theta) ** 2 / 2 * np.ones(indices.shape)

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            tried.append(theta.min())
            with np.errstate(all="ignore"):
                return (np.where(theta > edge, np.log(theta) / theta, np.nan) * np.ones(indices.shape))[..., None]

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return ((1 - np.log(theta)) / theta**2 * np.ones(indices.shape))[..., None, None]

    with boundary.divergence_is_expected():
        assert np.isnan(Positive().gradient([0.5]))
    with pytest.raises(NonFinite, match=r"Positive\.sample_gradients must return finite numbers, got nan for sample 0"):
        Positive().gradient([0.5])
    assert es.gradient_flow(Positive(), [2.0]) == pytest.approx(1.0, abs=1e-6)
    assert 0.9 < min(tried[2:]) < edge


def test_a_wrong_shape_is_not_taken_for_an_undefined_ratio() -> None:
    """Records of ratios are NaN where a ratio is 0/0, and only there."""

    class Later(Quartic):
        calls = 0

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            found = super().sample_hessians(theta, indices)
            return found if theta[0] > 0.9 else found[..., 0]

    options = {"step_size": 0.1, "sampling": es.WithoutReplacement(1), "n_steps": 20, "n_records": 5, "seed": 0}
    for name in ("mean_square_sharpness", "batch_sharpness", "interaction_aware_sharpness"):
        with pytest.raises(InvalidProblem, match=r"Later\.sample_hessians must return shape \(\.\.\., b, p, p\)"):
            es.simulate(Later(), [1.0], record=(name,), **options)


def test_workers_see_the_same_problem() -> None:
    options = {**RUN, "n_replicas": 2, "record": ("loss", "sharpness")}
    one, two = (es.simulate(Sine(), THETA, n_workers=n, **options) for n in (1, 2))
    assert one.equals(two)
    copy = pickle.loads(pickle.dumps(Sine()))
    assert es.sharpness(copy, THETA) == es.sharpness(Sine(), THETA)


# --- derivatives ------------------------------------------------------------------------------------------------------

MISMATCHES = {
    "gradient": (Sine, "sample_gradients", lambda g, *_: 2 * g, "sample_gradients"),
    "gradient of one sample": (
        Sine, "sample_gradients", lambda g, _, i: at_sample(g, i, 4, lambda v: 1.01 * v, 1), "sample_gradients",
    ),
    "Hessian": (Sine, "sample_hessians", lambda h, *_: h / 2, "sample_hessians"),
    "Hessian of one sample": (
        Sine, "sample_hessians", lambda h, _, i: at_sample(h, i, 4, lambda v: -v, 2), "sample_hessians",
    ),
    "Jacobian": (SineSquares, "sample_jacobians", lambda j, *_: 1.01 * j, "sample_jacobians"),
    "second derivatives": (SineSquares, "model_hessian_products", lambda v, *_: 0 * v, "model_hessian_products"),
    "Jacobian, outputs": (TwoSines, "sample_jacobians", lambda j, *_: j[..., ::-1, :], "sample_jacobians"),
    "second derivatives, outputs": (TwoSines, "model_hessian_products", lambda v, *_: -v, "model_hessian_products"),
}  # fmt: skip


@pytest.mark.parametrize(("base", "name", "change", "named"), MISMATCHES.values(), ids=MISMATCHES)
@pytest.mark.parametrize("call", ["sharpness", "minibatch_sharpness", "simulate", "gradient_flow", "gap.bounds"])
def test_derivatives_that_do_not_belong_to_the_losses(
    base: type[es.Problem], name: str, change: Any, named: str, call: str
) -> None:
    problem = altered(base, name, change)
    for _ in range(2):  # the second call says it as well
        with pytest.raises(InvalidProblem, match=rf"Faulty\.{named} must be the derivative of \w+: for sample \d"):
            CALLS[call](problem, THETA)


def test_one_wrong_sample_is_named() -> None:
    problem = altered(Sine, "sample_gradients", MISMATCHES["gradient of one sample"][2])
    with pytest.raises(InvalidProblem, match="for sample 4 along a random direction"):
        es.sharpness(problem, THETA)


class TwoQuartics(es.Problem):
    """ℓ = a₀θ₀⁴ + a₁θ₁⁴, and half of the second of its second derivatives."""

    weights = np.array([1.0, 0.1])

    def __init__(self) -> None:
        super().__init__(1, 2)

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.full(np.shape(indices), self.weights @ theta**4)

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.tile(4 * self.weights * theta**3, (len(indices), 1))

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.tile(np.diag(12 * self.weights * theta**2 * [1.0, 0.5]), (len(indices), 1, 1))


def test_the_entry_that_is_wrong_is_shown_and_not_the_largest() -> None:
    with pytest.raises(InvalidProblem, match="it gives") as caught:
        es.sharpness(TwoQuartics(), np.ones(2))
    given, differences = (
        float(each) for each in re.findall(r"(?:gives|sample_gradients) (-?[\d.e-]+)", str(caught.value))
    )
    assert given == pytest.approx(differences / 2, rel=0.01)


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e-8, 1.0, 1e8, 1e100, 1e150])
def test_right_and_wrong_derivatives_at_any_scale(scale: float) -> None:
    """½(xᵢᵀθ − yᵢ)² with rows and targets of any size, at points of any size."""

    class Own(es.Problem):
        factor = 1.0

        def __init__(self, inner: es.Problem) -> None:
            super().__init__(inner.n_samples, inner.n_params)
            self.inner = inner

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return self.inner.sample_losses(theta, indices)

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return self.factor * self.inner.sample_gradients(theta, indices)

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return self.inner.sample_hessians(theta, indices)

    class Wrong(Own):
        factor = 2.0

    large_rows = es.LinearRegression(INPUTS * scale, TARGETS * scale)
    small_points = es.LinearRegression(INPUTS, TARGETS * min(scale, 1e140))
    for problem, theta in ((large_rows, THETA), (small_points, THETA * min(scale, 1e140))):
        assert es.sharpness(Own(problem), theta) == pytest.approx(es.sharpness(problem, theta), rel=1e-12)
        with pytest.raises(InvalidProblem, match=r"Wrong\.sample_gradients"):
            es.sharpness(Wrong(problem), theta)


class Kinks(es.Problem):
    """Mean of max(0, xᵢᵀθ − oᵢ) + ½|θ|²: 2,000 kinks, of which some are near any point."""

    def __init__(self) -> None:
        super().__init__(2000, 2)
        rng = np.random.default_rng(0)
        self.inputs, self.offsets = rng.standard_normal((2000, 2)), rng.standard_normal(2000) / 10

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z = np.einsum("...bp,...p->...b", self.inputs[indices], theta) - self.offsets[indices]
        return np.maximum(z, 0) + (theta**2).sum(axis=-1)[..., None] / 2

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        z = np.einsum("...bp,...p->...b", self.inputs[indices], theta) - self.offsets[indices]
        return (z > 0)[..., None] * self.inputs[indices] + theta[..., None, :]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.broadcast_to(
            np.eye(2), (*np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1]), indices.shape[-1], 2, 2)
        )


def test_kinks_are_no_reason_to_refuse() -> None:
    for seed in range(40):
        assert es.sharpness(Kinks(), np.random.default_rng(seed).standard_normal(2) / 10) == 1.0
    assert es.sharpness(Kinks(), np.zeros(2)) == 1.0


def test_rounding_is_no_reason_to_refuse() -> None:
    """Losses with a large constant, losses in float32, a point where all vanish, and no parameter that matters."""
    offset = altered(Sine, "sample_losses", lambda v, *_: v + 1e9)
    single = altered(Sine, "sample_losses", lambda v, *_: v.astype(np.float32))
    expected = es.sharpness(Sine(), THETA)
    assert es.sharpness(offset, THETA) == expected
    assert es.sharpness(single, THETA) == expected
    for base in (SineSquares, TwoSines):
        problem = base()
        es.sharpness(problem, np.zeros(3))
        es.sharpness(problem, np.full(3, 1e-300))

    class Flat(Quartic):
        check = True

    assert es.sharpness(Flat(0.0), [1.0]) == 0.0
    assert es.sharpness(Flat(), [0.0]) == 0.0
    assert es.sharpness(Flat(1e-300), [1.0]) == pytest.approx(6e-300)


def test_losses_with_an_edge_are_taken_at_the_point_itself() -> None:
    class Logarithm(Quartic):
        """θ − log θ, for θ > 0 only: elsewhere it raises."""

        check = True

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            if (theta <= 0.99).any():
                raise ValueError("theta must be above 0.99")
            return self.slopes[indices] * (theta - np.log(theta))

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return (self.slopes[indices] * (1 - 1 / theta))[..., None]

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return (self.slopes[indices] / theta**2)[..., None, None]

    for theta in (1.0, 1.01, 5.0):
        assert es.sharpness(Logarithm(), [theta]) == pytest.approx(2 / theta**2)


def test_the_check_is_made_once_and_can_be_skipped() -> None:
    class Counted(Sine):
        calls = 0

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            type(self).calls += 1
            return super().sample_losses(theta, indices)

    problem = Counted()
    es.sharpness(problem, THETA)
    first = Counted.calls
    es.sharpness(problem, THETA)
    es.sharpness(problem, THETA * 2)
    assert Counted.calls == first > 0
    es.sharpness(Counted(), THETA)
    assert Counted.calls == 2 * first
    wrong = altered(Sine, "sample_gradients", lambda g, *_: 2 * g)
    before = wrong.fingerprint
    with pytest.raises(InvalidProblem):
        es.sharpness(wrong, THETA)
    assert wrong.fingerprint == before
    wrong.check = False
    assert es.sharpness(wrong, THETA) == pytest.approx(es.sharpness(Sine(), THETA), rel=1e-14)


def test_gradients_alone_are_enough_to_train() -> None:
    class NoHessians(Sine):
        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            raise NotImplementedError

    trace = es.simulate(NoHessians(), THETA, record=("loss", "theta"), **RUN)
    assert trace.equals(es.simulate(Sine(), THETA, record=("loss", "theta"), **RUN))


def test_the_check_costs_less_than_a_second() -> None:
    rng = np.random.default_rng(0)

    class Large(faulty.Sine):
        def __init__(self) -> None:
            es.Problem.__init__(self, 5000, 200)
            self.inputs, self.targets = rng.standard_normal((5000, 200)) / 14, rng.standard_normal(5000)

    start = time.process_time()
    es.simulate(Large(), rng.standard_normal(200), record=("loss",), **RUN)
    assert time.process_time() - start < 5  # 0.3 s on an idle core


# --- shapes, types and what is shared ---------------------------------------------------------------------------------

SHAPES = {
    "an axis too many": (Sine, "sample_losses", lambda v, *_: v[..., None], r"sample_losses must return shape \(\.\.\., b\) = \(7,\)"),
    "an axis too few": (Sine, "sample_gradients", lambda g, *_: g[..., 0], r"sample_gradients must return shape .* = \(7, 3\)"),
    "no samples": (Sine, "sample_hessians", lambda h, *_: h.mean(axis=-3), r"sample_hessians must return shape .* = \(7, 3, 3\)"),
    "a number": (Sine, "sample_losses", lambda v, *_: 1.0, r"sample_losses must return shape"),
    "transposed": (Sine, "sample_gradients", lambda g, *_: np.swapaxes(g, -1, -2), r"sample_gradients must return shape"),
    "one output of two": (TwoSines, "residuals", lambda r, *_: r[..., :1], r"residuals must return shape \(\.\.\., b, c\) = \(7, 2\)"),
    "no output axis": (TwoSines, "sample_jacobians", lambda j, *_: j[..., 0, :], r"sample_jacobians must return shape"),
    "products": (SineSquares, "model_hessian_products", lambda v, *_: v[..., :2], r"model_hessian_products must return shape"),
    "nothing": (Sine, "sample_gradients", lambda g, *_: None, r"sample_gradients must return real numbers, got dtype object"),
    "complex": (Sine, "sample_hessians", lambda h, *_: h + 0j, r"sample_hessians must return real numbers, got dtype complex128"),
    "words": (Sine, "sample_losses", lambda v, *_: ["a"] * 7, r"sample_losses must return real numbers"),
    "ragged": (Sine, "sample_losses", lambda v, *_: [[1.0], [1.0, 2.0]], r"sample_losses must return an array of real numbers"),
    "booleans": (Sine, "sample_losses", lambda v, *_: v > 0, r"sample_losses must return real numbers, got dtype bool"),
    "an asymmetric Hessian": (
        Sine, "sample_hessians", lambda h, _, i: at_sample(h, i, 5, lambda v: v + np.triu(np.ones((3, 3)), 1), 2),
        r"sample_hessians must return symmetric matrices, got a relative asymmetry of .* for sample 5",
    ),
    "an index error inside": (Sine, "sample_losses", lambda v, t, i: np.ones(3)[i], r"sample_losses fails on arguments of shapes \(3,\), \(7,\)"),
}  # fmt: skip


@pytest.mark.parametrize(("base", "name", "change", "words"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("call", ["sharpness", "minibatch_sharpness", "simulate"])
def test_wrong_results_are_named(base: type[es.Problem], name: str, change: Any, words: str, call: str) -> None:
    with pytest.raises(InvalidProblem, match=r"^Faulty\." + words):
        CALLS[call](altered(base, name, change), THETA)


@pytest.mark.parametrize("build", [faulty.IgnoresTheBatch, faulty.FirstOfTheBatch, faulty.Random, faulty.Counting])
@pytest.mark.parametrize("call", ["sharpness", "minibatch_sharpness", "simulate"])
def test_what_ignores_its_arguments_is_named(build: type[es.Problem], call: str) -> None:
    with pytest.raises(InvalidProblem, match=rf"^{build.__name__}\.sample_\w+ must"):
        CALLS[call](build(), THETA)


HARMLESS = {
    "a buffer of its own": (faulty.Buffered, 0.0),
    "arguments changed in place": (faulty.Changing, 0.0),
    "lists": (lambda: altered(Sine, "sample_gradients", lambda g, *_: g.tolist()), 0.0),
    "read-only": (lambda: altered(Sine, "sample_hessians", lambda h, *_: np.broadcast_to(h, h.shape)), 0.0),
    "longdouble": (lambda: altered(Sine, "sample_hessians", lambda h, *_: h.astype(np.longdouble)), 0.0),
    "float32": (lambda: altered(Sine, "sample_hessians", lambda h, *_: h.astype(np.float32)), 1e-6),
    "asymmetric by the rounding of float32": (
        lambda: altered(Sine, "sample_hessians", lambda h, *_: (h * (1 + 1e-7 * np.triu(np.ones((3, 3)), 1))).astype(np.float32)),
        1e-6,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "tolerance"), HARMLESS.values(), ids=HARMLESS)
def test_what_can_be_made_right_gives_the_right_numbers(build: Callable[[], es.Problem], tolerance: float) -> None:
    right, other = Sine(), build()
    for call in ("sharpness", "minibatch_sharpness", "batch_sharpness", "mean_square_sharpness"):
        found, expected = (float(getattr(x, "value", x)) for x in (CALLS[call](p, THETA) for p in (other, right)))
        assert found == pytest.approx(expected, rel=tolerance or 1e-14)
    theta, batch = THETA.copy(), np.array([1, 2])
    first = other.sample_gradients(theta, batch)
    before = first.copy()
    other.sample_gradients(theta + 1, batch)
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(theta, THETA)
    np.testing.assert_array_equal(batch, [1, 2])
    traces = [es.simulate(p, THETA, record=("loss", "theta"), **RUN) for p in (other, right)]
    np.testing.assert_allclose(traces[0]["theta"], traces[1]["theta"], rtol=1e-14)


@pytest.mark.parametrize("name", ["loss", "gradient", "hessian"])
def test_a_mean_over_a_batch_of_ones_own_that_is_none_is_named(name: str) -> None:
    def doubled(self: Any, theta: Any, batch: Any = None) -> Any:
        return 2 * getattr(es.Problem, name)(self, theta, batch)

    problem = type("Own", (Sine,), {name: doubled, "__module__": __name__})()
    with pytest.raises(InvalidProblem, match=rf"Own\.{name} must be the mean of sample_\w+ over the batch"):
        es.sharpness(problem, THETA)


@pytest.mark.parametrize("name", ["sample_losses", "sample_gradients", "sample_hessians"])
def test_sorted_indices_are_noticed(name: str) -> None:
    def method(self: Any, theta: np.ndarray, indices: np.ndarray) -> Any:
        return getattr(Sine, name)(self, theta, np.sort(indices, axis=-1))

    problem = type("Sorting", (Sine,), {name: method, "__module__": __name__})()
    with pytest.raises(InvalidProblem, match=rf"Sorting\.{name} must give each of its indices its own sample"):
        es.sharpness(problem, THETA)


def test_a_gauss_newton_curvature_of_other_jacobians_is_named() -> None:
    class Twice(SineSquares):
        def gauss_newton_curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(2 * self.sample_jacobians(theta, np.arange(7)))

    with pytest.raises(InvalidProblem, match=r"Twice\.gauss_newton_curvature must be that of sample_jacobians"):
        es.mean_square_sharpness(Twice(), THETA, PAIRS, hessian="gauss_newton")


def test_the_sample_that_is_named_is_the_one_that_is_off() -> None:
    class OneTwice(SineSquares):
        def gauss_newton_curvature(self, theta: np.ndarray) -> Any:
            rows = self.sample_jacobians(theta, np.arange(7))
            rows[5] *= 2
            return LowRankCurvature(rows)

    with pytest.raises(InvalidProblem, match=r"must be that of sample_jacobians: for sample 5 vᵀHv is "):
        es.mean_square_sharpness(OneTwice(), THETA, PAIRS, hessian="gauss_newton")


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-10), ("float32", 1e-4)])
def test_hessians_may_be_asymmetric_by_the_rounding_of_their_dtype(dtype: str, allowed: float) -> None:
    def hessians(asymmetry: float) -> np.ndarray:
        return np.array([[[2.0, 1.0 + 2 * asymmetry], [1.0, 1.0]]]).astype(dtype)

    found = check_symmetric("hessians", hessians(0.7 * allowed))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.swapaxes(found, 1, 2))
    with pytest.raises(ValueError, match="hessians must be symmetric"):
        check_symmetric("hessians", hessians(1.5 * allowed))


def test_a_gauss_newton_curvature_of_ones_own_gives_the_same_numbers() -> None:
    class Own(SineSquares):
        def gauss_newton_curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(self.sample_jacobians(theta, np.arange(7)))

    found, expected = (
        es.mean_square_sharpness(each(), THETA, PAIRS, hessian="gauss_newton") for each in (Own, SineSquares)
    )
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("slope", [1.0, 0.0])
def test_where_nothing_curves_zero_is_right(slope: float) -> None:
    class Linear(es.Problem):
        """ℓᵢ = slope·θ₀, with a curvature of its own."""

        def __init__(self) -> None:
            super().__init__(3, 2)

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.full(np.shape(indices), slope * theta[..., 0])

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.tile([slope, 0.0], (len(indices), 1))

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.zeros((len(indices), 2, 2))

        def curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(np.zeros((3, 2)))

    assert es.sharpness(Linear(), np.ones(2)) == 0.0


def test_integers_are_numbers() -> None:
    class Counts(es.Problem):
        """ℓᵢ = iθ, with a Hessian of integer zeros and gradients of integers."""

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return indices * theta

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return indices[..., None]

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.zeros((*indices.shape, 1, 1), dtype=int)

    problem = Counts(4, 1)
    assert es.sharpness(problem, [2.0]) == 0.0
    assert problem.gradient([2.0]).tolist() == [1.5]


# --- classes ----------------------------------------------------------------------------------------------------------


def test_subclasses_of_our_own_classes_are_checked() -> None:
    """What they change may not fit what they inherit."""

    class Twice(es.LinearRegression):
        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return 2 * super().sample_gradients(theta, indices)

    class Broken(es.LinearRegression):
        def pull_back(self, theta: np.ndarray, covectors: np.ndarray) -> np.ndarray:
            return super().pull_back(theta, covectors) * math.nan

    class Shifted(es.Quadratic):
        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return super().sample_hessians(theta, indices) + np.eye(3)

    with pytest.raises(InvalidProblem, match=r"Twice\.sample_gradients must be the derivative of sample_losses"):
        es.sharpness(Twice(INPUTS, TARGETS), THETA)
    with pytest.raises(NonFinite, match=r"Broken\.sample_gradients must return finite numbers, got nan for sample 0"):
        es.sharpness(Broken(INPUTS, TARGETS), THETA)
    with pytest.raises(InvalidProblem, match=r"Shifted\.sample_hessians must be the derivative of sample_gradients"):
        es.sharpness(Shifted([np.eye(3)] * 2, np.zeros((2, 3))), THETA)
    with pytest.raises(InvalidProblem, match=r"WrongCurvature\.curvature must be that of sample_hessians"):
        es.sharpness(faulty.WrongCurvature(INPUTS, TARGETS), THETA)


def test_moments_are_those_of_a_quadratic_or_refused() -> None:
    """A subclass may be quadratic no more."""

    class Cubed(es.LinearRegression):
        def effective_weights(self, theta: np.ndarray) -> np.ndarray:
            return theta**3

        def pull_back(self, theta: np.ndarray, covectors: np.ndarray) -> np.ndarray:
            return 3 * theta**2 * super().pull_back(theta, covectors)

        check = False

    def evolve(problem: es.Problem) -> Any:
        return es.moments.evolve(problem, THETA, step_size=0.01, sampling=PAIRS, n_steps=3)

    with pytest.raises(ValueError, match=r"Cubed\.sample_gradients is not affine in theta for sample \d"):
        evolve(Cubed(INPUTS, TARGETS))

    class Doubled(es.LinearRegression):
        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return 2 * super().sample_gradients(theta, indices)

    with pytest.raises(InvalidProblem, match=r"Doubled\.sample_gradients must be the derivative"):
        evolve(Doubled(INPUTS, TARGETS))
    same = type("Same", (es.LinearRegression,), {"__module__": __name__})(INPUTS, TARGETS)
    assert evolve(same).equals(evolve(es.LinearRegression(INPUTS, TARGETS)))


def test_means_over_a_batch_follow_the_samples() -> None:
    """`LinearRegression.hessian` is a short cut, that a subclass with Hessians of its own must not inherit."""

    class Tied(es.LinearRegression):
        """β = 2θ."""

        def effective_weights(self, theta: np.ndarray) -> np.ndarray:
            return 2 * theta

        def pull_back(self, theta: np.ndarray, covectors: np.ndarray) -> np.ndarray:
            return 2 * super().pull_back(theta, covectors)

        def curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(2 * self.inputs)

    class Direct(Tied):
        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return 4 * super().sample_hessians(theta, indices)

    expected = 4 * INPUTS.T @ INPUTS / 7
    np.testing.assert_allclose(Direct(INPUTS, TARGETS).hessian(THETA), expected, rtol=1e-13)
    assert es.sharpness(Direct(INPUTS, TARGETS), THETA) == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-13)
    with pytest.raises(InvalidProblem, match=r"Tied\.sample_hessians must be the derivative of sample_gradients"):
        es.sharpness(Tied(INPUTS, TARGETS), THETA)


def test_a_curvature_of_other_sizes_is_named() -> None:
    class Half(Sine):
        def curvature(self, theta: np.ndarray) -> Any:
            return LowRankCurvature(self.inputs[:3])

    with pytest.raises(
        InvalidProblem, match=r"Half\.curvature must return a curvature of n_samples = 7 and n_params = 3"
    ):
        es.sharpness(Half(), THETA)


def test_the_order_of_several_bases_is_kept() -> None:
    class Half:
        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return super().sample_losses(theta, indices) / 2  # type: ignore[misc]

    class Left(es.LinearRegression):
        pass

    class Right(es.LinearRegression):
        def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return super().residuals(theta, indices) + 1.0

    class Both(Left, Right):
        pass

    class Mixed(Half, Sine):
        check = False

    theta, indices = THETA, np.arange(7)
    plain = es.LinearRegression(INPUTS, TARGETS).residuals(theta, indices)
    np.testing.assert_array_equal(Both(INPUTS, TARGETS).residuals(theta, indices), plain + 1.0)
    np.testing.assert_array_equal(Left(INPUTS, TARGETS).residuals(theta, indices), plain)
    np.testing.assert_array_equal(Mixed().sample_losses(theta, indices), Sine().sample_losses(theta, indices) / 2)


def test_a_class_may_call_its_methods_with_other_things() -> None:
    """Its own derivatives by complex steps: what is no array of float64 is not looked at."""

    class ComplexSteps(Sine):
        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            steps = theta[..., None, :] + 1e-30j * np.eye(3)
            values = [self.sample_losses(steps[..., j, :], indices).imag / 1e-30 for j in range(3)]
            return np.stack(values, axis=-1)

    found = ComplexSteps().gradient(THETA)
    np.testing.assert_allclose(found, Sine().gradient(THETA), rtol=1e-13)
    assert es.sharpness(ComplexSteps(), THETA) == es.sharpness(Sine(), THETA)


def test_a_size_that_does_not_fit_or_was_never_given_is_named() -> None:
    class Eight(Sine):
        def __init__(self) -> None:
            es.Problem.__init__(self, 8, 3)
            self.inputs, self.targets = INPUTS, TARGETS

    class Unsized(Sine):
        def __init__(self) -> None:
            self.inputs, self.targets = INPUTS, TARGETS

    with pytest.raises(
        InvalidProblem, match=r"Eight\.sample_losses fails on arguments of shapes \(3,\), \(8,\): index 7"
    ):
        es.sharpness(Eight(), THETA)
    with pytest.raises(InvalidProblem, match=r"Unsized\.__init__ must call super\(\)\.__init__\(n_samples, n_params\)"):
        es.sharpness(Unsized(), THETA)


def test_methods_of_any_kind() -> None:
    """Static, partial, callable objects; a frozen dataclass; equality of one's own."""

    def losses(self: Any, theta: np.ndarray, indices: np.ndarray, factor: float) -> Any:
        return factor * Sine.sample_losses(SINE, theta, indices)

    class Losses:
        def __call__(self, theta: np.ndarray, indices: np.ndarray) -> Any:
            return losses(None, theta, indices, 1.0)

    class Equal(Sine):
        def __eq__(self, other: object) -> bool:
            return True

    expected = es.sharpness(SINE, THETA)
    for method in (staticmethod(Losses()), functools.partialmethod(losses, factor=1.0), Losses()):
        assert es.sharpness(type("Any", (Sine,), {"sample_losses": method})(), THETA) == expected
    assert es.sharpness(Equal(), THETA) == expected


def test_torch_tensors_are_arrays() -> None:
    torch = pytest.importorskip("torch")

    class Tensors(Sine):
        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> Any:
            z = torch.from_numpy(INPUTS[indices]) @ torch.from_numpy(theta)
            return (torch.sin(z) - torch.from_numpy(TARGETS[indices])) ** 2 / 2 + z**2 / 4

    assert es.sharpness(Tensors(), THETA) == es.sharpness(Sine(), THETA)
    attached = altered(Sine, "sample_losses", lambda v, *_: torch.from_numpy(v).requires_grad_())
    with pytest.raises(InvalidProblem, match=r"Faulty\.sample_losses must return an array of real numbers.*detach"):
        es.sharpness(attached, THETA)


def test_methods_keep_their_names_and_documentation() -> None:
    assert Sine.sample_losses.__name__ == "sample_losses"
    assert faulty.Buffered.__doc__ is not None
    assert not hasattr(es.LinearRegression.sample_losses, "__wrapped__")
    assert boundary.is_ours(es.Quadratic)
    assert not boundary.is_ours(Sine)


def test_an_abstract_class_stays_abstract() -> None:
    class Partial(es.Problem):
        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.zeros(indices.shape)

    with pytest.raises(TypeError, match="abstract"):
        Partial(1, 1)  # type: ignore[abstract]


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es.sharpness(Quartic(), [1e70])
        es.minibatch_sharpness(Sine(), THETA, PAIRS)


class OfOneProduct(es.Problem):
    """ℓᵢ = φ(xᵢᵀθ) with φ, φ′ and φ″ given."""

    def __init__(self, *derivatives: Any) -> None:
        super().__init__(20, 4)
        self.inputs = np.random.default_rng(0).standard_normal((20, 4))
        self.derivatives = derivatives

    def of(self, order: int, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.derivatives[order](np.einsum("...bp,...p->...b", self.inputs[indices], theta))  # type: ignore[no-any-return]

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.of(0, theta, indices)

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.of(1, theta, indices)[..., None] * self.inputs[indices]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = self.inputs[indices]
        return self.of(2, theta, indices)[..., None, None] * rows[..., :, None] * rows[..., None, :]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_waves_shorter_than_the_differences_are_no_fault(offset: float, seed: int) -> None:
    """An offset of a million leaves enough digits of the shortest differences."""
    problem = OfOneProduct(
        lambda z: np.sin(300 * z) + offset, lambda z: 300 * np.cos(300 * z), lambda z: -9e4 * np.sin(300 * z)
    )
    theta = 10 * np.random.default_rng(seed).standard_normal(4)
    assert es.sharpness(problem, theta) == pytest.approx(np.linalg.eigvalsh(problem.hessian(theta))[-1], rel=1e-12)


@pytest.mark.parametrize("exponent", [-700.0, -735.0, -740.0])
def test_hessians_near_the_smallest_doubles_are_symmetric(exponent: float) -> None:
    """Products of subnormal numbers depend on their order in the first digits."""
    problem = OfOneProduct(*[lambda z: np.exp(exponent + z)] * 3)
    theta = np.full(4, 1e-3)
    assert es.sharpness(problem, theta) == pytest.approx(np.linalg.eigvalsh(problem.hessian(theta))[-1], rel=0.1)
    assert es.sharpness(problem, theta) < 1e-300
