"""`esssim.testing`: the battery finds planted faults by name, and bounds are tried in the corners."""

from __future__ import annotations

import importlib.util
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esssim as es
from esssim.testing import Case, ProblemError, check_bound, check_problem, strategies
from tests import faulty_problems as faulty
from tests.faulty_problems import INPUTS, TARGETS, THETA, Sine, SineSquares, TwoSines, altered, at_sample
from tests.several_outputs import Bilinear

ROOT = Path(__file__).parents[1]
Fault = tuple[Callable[[], es.Problem], str]


def change(base: type[es.Problem], name: str, function: Any) -> Callable[[], es.Problem]:
    return lambda: altered(base, name, function)


def one_wrong(factor: float, axes: int) -> Any:
    return lambda values, theta, indices, *_: at_sample(values, indices, 4, lambda v: v * factor, axes)


# Each fault, and words that its report must have.
FAULTS: dict[str, Fault] = {
    "gradient twice too large": (change(Sine, "sample_gradients", lambda g, *_: 2 * g), "sample_gradients of sample"),
    "gradient of one sample off by 1e-5": (
        change(Sine, "sample_gradients", one_wrong(1 + 1e-5, 1)),
        "sample_gradients of sample 4",
    ),
    "Hessian of one sample off by 1e-5": (
        change(Sine, "sample_hessians", one_wrong(1 + 1e-5, 2)),
        "sample_hessians of sample 4",
    ),
    "Hessian with a NaN in one sample": (
        change(Sine, "sample_hessians", one_wrong(math.nan, 2)),
        "sample_hessians must be finite, got nan for sample 4",
    ),
    "infinite loss of one sample": (
        change(Sine, "sample_losses", one_wrong(math.inf, 0)),
        "sample_losses must be finite, got inf for sample 4",
    ),
    "the batch is ignored": (faulty.IgnoresTheBatch, "sample_gradients must give sample 5 the same numbers"),
    "the first samples of any batch": (faulty.FirstOfTheBatch, "sample_losses must give sample"),
    "losses with an axis too many": (change(Sine, "sample_losses", lambda v, *_: v[..., None]), "sample_losses"),
    "gradients with an axis too few": (
        change(Sine, "sample_gradients", lambda g, *_: g.sum(axis=-1)),
        "sample_gradients",
    ),
    "Hessians without the samples": (change(Sine, "sample_hessians", lambda h, *_: h.mean(axis=-3)), "sample_hessians"),
    "no leading axes": (faulty.NoLeadingAxes, "sample_hessians"),
    "integers": (
        change(Sine, "sample_losses", lambda v, *_: np.round(v).astype(int)),
        "must return float64, got int64",
    ),
    "float32": (
        change(Sine, "sample_hessians", lambda h, *_: h.astype(np.float32)),
        "must return float64, got float32",
    ),
    "complex numbers": (change(Sine, "sample_gradients", lambda g, *_: g + 0j), "must return float64, got complex128"),
    "lists": (change(Sine, "sample_losses", lambda v, *_: v.tolist()), "must return a numpy array, got list"),
    "a buffer of its own": (faulty.Buffered, "sample_gradients must return an array of its own"),
    "theta changed in place": (faulty.Changing, "sample_gradients must not change theta"),
    "random losses": (faulty.Random, "sample_losses must give the same numbers"),
    "losses that count the calls": (faulty.Counting, "sample_losses must give the same numbers"),
    "an asymmetric Hessian": (
        change(Sine, "sample_hessians", lambda h, *_: h + 1e-3 * np.triu(np.ones((3, 3)), 1)),
        "symmetric matrices, got a relative asymmetry",
    ),
    "a Hessian that is twice too large": (
        change(Sine, "sample_hessians", lambda h, *_: 2 * h),
        "sample_hessians of sample",
    ),
    "a wrong Jacobian": (change(SineSquares, "sample_jacobians", lambda j, *_: 1.01 * j), "sample_jacobians of sample"),
    "wrong second derivatives": (
        change(SineSquares, "model_hessian_products", lambda v, *_: -v),
        "model_hessian_products of sample",
    ),
    "a wrong residual": (change(SineSquares, "residuals", lambda r, *_: r**3), "sample_jacobians of sample"),
    "a Jacobian with swapped outputs": (
        change(TwoSines, "sample_jacobians", lambda j, *_: j[..., ::-1, :]),
        "sample_jacobians of sample",
    ),
    "second derivatives of one output missing": (
        change(TwoSines, "model_hessian_products", lambda v, *_: v * np.array([[1.0], [0.0]])),
        "model_hessian_products of sample",
    ),
    "a curvature of other Hessians": (lambda: faulty.WrongCurvature(INPUTS, TARGETS), "curvature"),
}


@pytest.mark.parametrize(("build", "words"), FAULTS.values(), ids=FAULTS)
def test_each_planted_fault_is_found(build: Callable[[], es.Problem], words: str) -> None:
    problem = build()
    with pytest.raises(ProblemError) as caught:
        check_problem(problem, THETA)
    assert any(words in failure for failure in caught.value.failures), caught.value
    assert str(caught.value).startswith(f"{type(problem).__name__} fails {len(caught.value.failures)} of the checks")


def perceptron() -> es.Perceptron:
    return es.Perceptron(INPUTS, TARGETS, 2)


GOOD: dict[str, Callable[[], es.Problem]] = {
    "own problem": Sine,
    "own least squares": SineSquares,
    "own least squares with outputs": TwoSines,
    "bilinear": lambda: Bilinear(INPUTS[:4], INPUTS[:4, :2], 1),
    "linear regression": lambda: es.LinearRegression(INPUTS, TARGETS),
    "quadratic": lambda: es.Quadratic(np.einsum("ij,ik->ijk", INPUTS, INPUTS), INPUTS),
    "product": lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS),
    "difference": lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS, form="difference", depth=3),
    "perceptron": perceptron,
    "large numbers": lambda: es.LinearRegression(INPUTS * 1e150, TARGETS * 1e150),
    "small numbers": lambda: es.LinearRegression(INPUTS * 1e-150, TARGETS * 1e-150),
    "one sample, one parameter": lambda: es.LinearRegression([[2.0]], [1.0]),
}


@pytest.mark.parametrize("build", GOOD.values(), ids=GOOD)
def test_right_problems_pass(build: Callable[[], es.Problem]) -> None:
    check_problem(build())


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "examples" / f"{name}.py"))


def test_the_examples_of_the_documentation_pass() -> None:
    normal = np.random.default_rng(0).standard_normal
    check_problem(example("logistic_regression")["LogisticRegression"](normal((40, 3)), np.sign(normal(40))))
    check_problem(example("quadratic_network")["QuadraticNetwork"](normal((6, 3)), normal(6), width=2))
    check_problem(example("several_outputs")["TanhNetwork"](normal((5, 2)), normal((5, 2)), width=2))


def test_kinks_away_from_the_point_do_not_matter() -> None:
    """ReLU units, of which some are within the differences of others: differences of shorter steps decide."""

    class Hinge(es.Problem):
        def __init__(self) -> None:
            super().__init__(300, 2)
            self.offsets = np.linspace(-2, 2, 300)

        def z(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return np.maximum(theta.sum(axis=-1)[..., None] - self.offsets[indices], 0.0)

        def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return self.z(theta, indices) ** 2 / 2 + self.z(theta, indices)

        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            z = self.z(theta, indices)
            return np.stack([z + (z > 0)] * 2, axis=-1)

        def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return (self.z(theta, indices) > 0)[..., None, None] * np.ones((2, 2))

    check_problem(Hinge(), [0.7, 0.3])
    assert es.sharpness(Hinge(), [0.7, 0.3]) == pytest.approx(2 * (np.linspace(-2, 2, 300) < 1).mean())


def test_bad_arguments_of_check_problem() -> None:
    with pytest.raises(ValueError, match="problem must be a Problem"):
        check_problem(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"theta must have shape \(3,\), got \(2,\)"):
        check_problem(Sine(), [1.0, 2.0])
    with pytest.raises(ValueError, match="at most 200 parameters here, got 300: check a small instance"):
        check_problem(es.LinearRegression(np.ones((2, 300)), np.ones(2)))


# --- bounds of one's own ----------------------------------------------------------------------------------------------


def own_bounds() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "own_bound.py"))


def test_a_conjecture_that_holds() -> None:
    found = check_bound(own_bounds()["at_most_the_gap_of_one_sample"], n_settings=200)
    assert found
    assert found.counterexample is None
    assert found.n_settings >= 150
    names = [row.name for row in found.tightness]
    assert names[0] == "at_most_the_gap_of_one_sample"
    assert {"single_sample", "scatter", "bernstein"} <= set(names)
    assert found.tightness[0].median == pytest.approx(
        next(row.median for row in found.tightness if row.name == "single_sample"), abs=1e-10
    )
    assert "holds on" in str(found)


def test_a_conjecture_that_does_not() -> None:
    bound = own_bounds()["falls_like_a_standard_deviation"]
    found = check_bound(bound, n_settings=1000)
    assert not found
    case = found.counterexample
    assert case is not None
    # The numbers again, by dense matrices: the mean of λ_max over pairs, and so on.
    hessians = case.problem.sample_hessians(case.theta, np.arange(case.problem.n_samples))
    batches = list(case.sampling.enumerate(case.problem.n_samples))
    value = sum(weights @ np.linalg.eigvalsh(hessians[chunk].mean(axis=1))[:, -1] for chunk, weights in batches)
    top = np.linalg.eigvalsh(hessians.mean(axis=0))[-1]
    gap = np.linalg.eigvalsh(hessians)[:, -1].mean() - top
    c = case.sampling.variance_coefficient(case.problem.n_samples)
    assert case.value == pytest.approx(value, rel=1e-12)
    assert case.bound == pytest.approx(top + math.sqrt(c) * gap, rel=1e-9)
    assert value > top + math.sqrt(c) * gap + 1e-3 * np.abs(hessians).max()
    assert case.problem.n_samples <= 4  # it is made small
    assert np.abs(hessians).max() == 1.0
    assert "does not hold" in str(found)
    assert str(check_bound(bound, n_settings=1000)) == str(found)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_bound.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "at_most_the_gap_of_one_sample holds on" in printed
    assert "falls_like_a_standard_deviation does not hold" in printed


def test_rounding_is_allowed_and_more_is_not() -> None:
    def off_by(factor: float) -> Callable[..., float]:
        return lambda *at: es.minibatch_sharpness(*at).value * factor

    for factor, holds in ((1.0, True), (1 - 1e-15, True), (1 - 1e-9, False)):
        assert check_bound(off_by(factor), n_settings=60).holds == holds
    assert check_bound(off_by(1 - 1e-9), n_settings=60, rounding="root").holds
    assert not check_bound(off_by(1 + 1e-9), side="lower", n_settings=60).holds


def test_lower_bounds_on_the_mean_square_sharpness() -> None:
    def jensen(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
        return es.sharpness(problem, theta)

    found = check_bound(jensen, side="lower", of="mean_square_sharpness", n_settings=80)
    assert found
    assert "top_direction" in [row.name for row in found.tightness]
    assert not check_bound(jensen, side="upper", of="mean_square_sharpness", n_settings=80)


def test_bad_arguments_of_check_bound() -> None:
    def pair(*_: Any) -> Any:
        return [1.0, 2.0]

    with pytest.raises(ValueError, match="bound must be a function"):
        check_bound(1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="side must be one of 'lower', 'upper'"):
        check_bound(pair, side="above")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of must be one of 'minibatch_sharpness'"):
        check_bound(pair, of="sharpness")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"bound must return a number.*got \[1.0, 2.0\]"):
        check_bound(pair)


def test_an_error_of_the_bound_says_where() -> None:
    def root_mean(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
        return math.inf / (problem.n_samples - 1)

    with pytest.raises(ZeroDivisionError) as caught:
        check_bound(root_mean, n_settings=60)
    (note,) = [each for each in caught.value.__notes__ if each.startswith("The bound raised this at")]
    assert re.search(r"\w+ with n = 1, p = \d+, theta = \[.*\], With(out)?Replacement\(batch_size=\d+\)", note)


# --- strategies -------------------------------------------------------------------------------------------------------


@given(st.data())
def test_problems_and_points_fit(data: st.DataObject) -> None:
    problem = data.draw(strategies.problems())
    theta = data.draw(strategies.points(problem))
    assert theta.shape == (problem.n_params,)
    assert np.isfinite(problem.loss(theta))
    sampling = data.draw(strategies.samplings(problem.n_samples))
    assert 1 <= sampling.batch_size <= problem.n_samples


def test_the_corners_are_reached() -> None:
    seen: set[str] = set()

    @given(strategies.sampled_cases())
    def look(sampled: tuple[Case, es.Sampling]) -> None:
        case, sampling = sampled
        hessians, n = case.hessians, case.problem.n_samples
        top, scale = np.linalg.eigvalsh(case.normalised.mean(axis=0)), np.abs(hessians).max()
        corners = {
            "b = 1": sampling.batch_size == 1,
            "b = n": sampling.batch_size == n,
            "p = 1": case.problem.n_params == 1,
            "large": scale > 1e100,
            "small": 0 < scale < 1e-100,
            "duplicates": len(np.unique(hessians.reshape(n, -1), axis=0)) < n,
            "a zero sample": bool((np.abs(hessians).max(axis=(1, 2)) == 0).any()),
            "degenerate top": len(top) > 1 and top[-1] - top[-2] <= 1e-12,
        }
        seen.update(name for name, found in corners.items() if found)

    look()
    assert len(seen) == 8, seen


def test_without_hypothesis_only_the_strategies_are_missing() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import numpy as np, esssim as es\n"
        "es.testing.check_problem(es.LinearRegression(np.eye(2), np.ones(2)))\n"
        "for name in ('strategies', 'check_bound'):\n"
        "    try:\n        getattr(es.testing, name)\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("needs hypothesis: pip install hypothesis") == 2


def test_importing_the_package_does_not_import_testing() -> None:
    code = "import sys, esssim; print('esssim.testing' in sys.modules, esssim.testing.check_problem.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "check_problem"]
    assert importlib.util.find_spec("esssim.testing") is not None
