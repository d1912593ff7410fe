"""The battery over every problem × sampling scheme: on problems of ordinary size, on nasty ones, and on a user's own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from scipy.special import expit

import esssim as es
from esssim.testing import battery, strategies
from esssim.testing.battery import CASE_CHECKS, MONTE_CARLO_CHECKS, SAMPLING_CHECKS, Case
from esssim.testing.statistic_checks import assert_same_statistics

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "logistic_regression.py"


def load_example() -> ModuleType:
    specification = importlib.util.spec_from_file_location("logistic_regression_example", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    # A class looks its module up by name when it is pickled or made a dataclass.
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


example = load_example()


def ordinary_cases() -> dict[str, Case]:
    rng = np.random.default_rng(7)
    normal = rng.standard_normal
    matrices = normal((6, 3, 3))
    inputs, targets = normal((6, 3)), normal(6)
    network = es.DiagonalLinearNetwork
    return {
        "quadratic, positive": Case(es.Quadratic(matrices @ matrices.transpose(0, 2, 1), normal((6, 3))), normal(3)),
        "quadratic, indefinite": Case(es.Quadratic(matrices + matrices.transpose(0, 2, 1), normal((6, 3))), normal(3)),
        "linear regression, n > p": Case(es.LinearRegression(inputs, targets), normal(3)),
        "linear regression, n < p": Case(es.LinearRegression(inputs[:4] @ normal((3, 6)), targets[:4]), normal(6)),
        "product": Case(network(inputs, targets), normal(6)),
        "product, n < p": Case(network(normal((3, 4)), normal(3)), normal(8)),
        **{
            f"difference, depth {depth}": Case(network(inputs, targets, form="difference", depth=depth), normal(6))
            for depth in (2, 3, 4, 5)
        },
        "perceptron, tanh": Case(es.Perceptron(inputs, targets, 2), normal(10)),
        "perceptron, GELU, n < p": Case(es.Perceptron(inputs[:4], targets[:4], 2, activation="gelu"), normal(10)),
        "cross-entropy": Case(es.problems.LogisticNetwork(inputs, expit(targets)), normal(6)),
        "cross-entropy, depth 3": Case(
            es.problems.LogisticNetwork(inputs, expit(targets), form="difference", depth=3), normal(6)
        ),
        "one sample": Case(es.LinearRegression(inputs[:1], targets[:1]), normal(3)),
        "two samples, one parameter": Case(es.LinearRegression(inputs[:2, :1], targets[:2]), normal(1)),
        "a user's own: logistic regression": Case(example.LogisticRegression(inputs, np.sign(targets)), normal(3)),
    }


ORDINARY = ordinary_cases()
ORDINARY_WITH_SCHEME = [
    pytest.param(case, sampling, id=f"{name}, {type(sampling).__name__}({sampling.batch_size})")
    for name, case in ORDINARY.items()
    for sampling in battery.schemes(case.problem.n_samples)
]
name_of = dict(argnames="check", ids=lambda check: check.__name__.removeprefix("check_"))


@pytest.mark.parametrize("case", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize(argvalues=CASE_CHECKS, **name_of)
def test_ordinary_problem(check: Callable[[Case], None], case: Case) -> None:
    check(case)


@pytest.mark.parametrize(("case", "sampling"), ORDINARY_WITH_SCHEME)
@pytest.mark.parametrize(argvalues=(*SAMPLING_CHECKS, *MONTE_CARLO_CHECKS), **name_of)
def test_ordinary_problem_under_scheme(check: Callable[..., None], case: Case, sampling: es.Sampling) -> None:
    check(case, sampling)


@pytest.mark.parametrize(argvalues=CASE_CHECKS, **name_of)
@given(case=strategies.cases())
def test_nasty_problem(check: Callable[[Case], None], case: Case) -> None:
    check(case)


@pytest.mark.parametrize(argvalues=SAMPLING_CHECKS, **name_of)
@given(sampled=strategies.sampled_cases())
def test_nasty_problem_under_scheme(check: Callable[..., None], sampled: tuple[Case, es.Sampling]) -> None:
    check(*sampled)


def test_the_battery_notices_a_wrong_problem() -> None:
    """A user's slip, a gradient half as large as it should be, does not pass."""

    class Wrong(example.LogisticRegression):
        def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return super().sample_gradients(theta, indices) / 2

    case = ORDINARY["a user's own: logistic regression"]
    with pytest.raises(AssertionError):
        battery.check(Case(Wrong(case.problem.inputs, case.problem.labels), case.theta))


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    printed = capsys.readouterr().out
    for name in ("sharpness", "mini-batch sharpness", "batch sharpness", "mean-square sharpness", "step  2000"):
        assert name in printed


@pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.WithReplacement])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
class TestEquivarianceOfTheData:
    """The same as in the battery, on the data of the problem, so that its structured curvature is moved as well."""

    def test_rotated_axes_of_linear_regression(self, scheme: type[es.Sampling], batch_size: int) -> None:
        case = ORDINARY["linear regression, n > p"]
        rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        rotated = es.LinearRegression(case.problem.inputs @ rotation, case.problem.targets)
        assert_same_statistics(case, Case(rotated, case.theta @ rotation), scheme(batch_size), 1.0)

    @pytest.mark.parametrize("name", ["quadratic, positive", "quadratic, indefinite"])
    def test_rotated_axes_of_a_quadratic(self, name: str, scheme: type[es.Sampling], batch_size: int) -> None:
        case = ORDINARY[name]
        rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        hessians = rotation.T @ case.problem.hessians @ rotation
        rotated = es.Quadratic(hessians, case.problem.minimizers @ rotation)
        assert_same_statistics(case, Case(rotated, case.theta @ rotation), scheme(batch_size), 1.0)

    @pytest.mark.parametrize("name", ["linear regression, n < p", "product", "difference, depth 3"])
    @pytest.mark.parametrize("factor", [1.0, 1e150, 1e-150])
    def test_permuted_and_scaled_data(
        self, name: str, factor: float, scheme: type[es.Sampling], batch_size: int
    ) -> None:
        case = ORDINARY[name]
        order = np.random.default_rng(0).permutation(case.problem.n_samples)
        options = {} if name.startswith("linear") else {"form": case.problem.form, "depth": case.problem.depth}
        inputs, targets = case.problem.inputs[order] * factor, case.problem.targets[order] * factor
        other = type(case.problem)(inputs, targets, **options)
        assert_same_statistics(case, Case(other, case.theta), scheme(batch_size), factor**2)
