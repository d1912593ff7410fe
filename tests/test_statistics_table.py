"""The one table of statistics: what it says of each, and that records take everything from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import esssim as es
from esssim.claims.names import SYNONYMS
from esssim.papers import PAPERS
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

rng = np.random.default_rng(0)
REGRESSION = es.LinearRegression(rng.standard_normal((6, 3)), rng.standard_normal(6))
NETWORK = es.DiagonalLinearNetwork(rng.standard_normal((6, 3)), rng.standard_normal(6))
RUN = {"step_size": 0.01, "sampling": es.WithoutReplacement(2), "n_steps": 10, "n_records": 2, "seed": 0}


@pytest.mark.parametrize("key", STATISTICS)
def test_each_entry_measures_what_it_names(key: str) -> None:
    statistic = STATISTICS[key]
    assert statistic.key == key
    value = statistic.measure(NETWORK, np.linspace(0.5, 1.0, 6), es.WithoutReplacement(2), 15, 0)
    assert isinstance(value, es.Estimate) == statistic.sampled
    assert np.isfinite(float(value))
    if statistic.sampled:
        assert value.exact  # C(6, 2) = 15 batches
        sampled = statistic.measure(NETWORK, np.linspace(0.5, 1.0, 6), es.WithoutReplacement(2), 14, 0)
        assert not sampled.exact
        assert sampled.standard_error > 0
    assert all(paper in PAPERS for paper in statistic.source.papers)


def test_no_two_entries_look_alike() -> None:
    for field in ("title", "symbol", "short"):
        names = [getattr(statistic, field) for statistic in STATISTICS.values()]
        assert len(set(names)) == len(names), field


def test_headings_begin_sentences() -> None:
    assert STATISTICS["sharpness"].heading == "Sharpness λ_max(H)"
    assert STATISTICS["batch_sharpness_parts"].heading == "E[g_BᵀH_Bg_B]/E‖g_B‖²"
    assert STATISTICS[MEAN_SQUARE].heading == "Mean-square sharpness Q_b (Gauss–Newton)"


def test_claims_are_found_by_the_names_of_the_table() -> None:
    """The words are repeated there, so that a mistyped name is answered before anything heavy is imported."""
    for each in SYNONYMS:
        assert STATISTICS[each.key].short in (*each.words, each.key) or each.key == MEAN_SQUARE
    known = {word for each in SYNONYMS for word in (*each.words, each.key)}
    assert {STATISTICS[name].title for name in ("minibatch_sharpness", "batch_sharpness", MEAN_SQUARE)} <= known


@pytest.mark.parametrize("key", STATISTICS)
def test_each_is_defined_at_a_solution_or_says_so(key: str) -> None:
    """At an interpolating solution every gradient is zero: 0/0 is Undefined, and NaN in a record."""
    inputs = rng.integers(-8, 8, (6, 3)) / 4  # sums of these are exact
    solution = es.LinearRegression(inputs, inputs @ np.ones(3))
    statistic = STATISTICS[key]
    trace = es.simulate(solution, np.ones(3), record=(key,), **RUN)
    if statistic.defined in ("always", "where H has a positive eigenvalue"):
        assert np.isfinite(trace[key]).all()
    else:
        with pytest.raises(es.Undefined, match="0/0 at theta"):
            statistic.measure(solution, np.ones(3), es.WithoutReplacement(2), 15, 0)
        assert np.isnan(trace[key]).all()


def test_a_hessian_without_a_positive_eigenvalue_is_undefined() -> None:
    problem = es.Quadratic([[[-1.0]]], [[0.0]])
    with pytest.raises(es.Undefined, match="mean_square_sharpness needs a Hessian with a positive eigenvalue at theta"):
        es.mean_square_sharpness(problem, [1.0], es.WithoutReplacement(1))
    trace = es.simulate(
        problem, [1.0], record=("mean_square_sharpness",), **RUN | {"sampling": es.WithoutReplacement(1)}
    )
    assert np.isnan(trace["mean_square_sharpness"]).all()


def test_only_what_is_undefined_becomes_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ValueError of a statistic, as a wrong shape, ends the run."""

    def fails(*_: object, **__: object) -> float:
        raise ValueError("a wrong shape")

    entry = dataclasses.replace(STATISTICS["interaction_aware_sharpness"], compute=fails)
    monkeypatch.setitem(STATISTICS, entry.key, entry)
    with pytest.raises(ValueError, match=r"^a wrong shape$"):
        es.simulate(REGRESSION, np.zeros(3), record=(entry.key,), **RUN)


def test_a_statistic_of_ones_own_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def trace_of_hessian(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
        return float(np.trace(problem.hessian(theta)))

    entry = es.Statistic(
        key="trace", title="trace", symbol="tr H", short="trace", compute=trace_of_hessian, sampled=False,
        defined="always", source=STATISTICS["loss"].source,
    )  # fmt: skip
    monkeypatch.setitem(STATISTICS, "trace", entry)
    trace = es.simulate(REGRESSION, np.zeros(3), record=("trace",), **RUN)
    np.testing.assert_allclose(trace["trace"], np.trace(REGRESSION.hessian(np.zeros(3))), rtol=1e-13)


@pytest.mark.parametrize(
    ("key", "problem", "message"),
    [
        (MEAN_SQUARE, es.Quadratic([[[1.0]]], [[0.0]]), "needs a problem with residuals, Quadratic has none"),
        (
            "eigenvalue_2",
            es.Quadratic([[[1.0]]], [[0.0]]),
            "needs a problem with at least 2 parameters, this one has n_p",
        ),
        (
            "minibatch_eigenvalue_3",
            es.LinearRegression(np.eye(2), [1.0, 2.0]),
            "needs a problem with at least 3 parame",
        ),
    ],
)
def test_what_a_problem_cannot_have_is_refused_before_the_run(key: str, problem: es.Problem, message: str) -> None:
    options = RUN | {"sampling": es.WithoutReplacement(1)}
    with pytest.raises(ValueError, match=f"^record '{key}' {message}"):
        es.simulate(problem, np.ones(problem.n_params), record=(key,), **options)


def test_the_flow_names_its_records_as_runs_do() -> None:
    options = RUN | {"label_noise": 0.01}
    solution = es.gradient_flow(NETWORK, np.ones(6))
    refused = (
        "^record 'mean_square_sharpness' is that of the full Hessians, which the flow does not know; that of its "
        "Gauss–Newton Hessians is 'mean_square_sharpness_gauss_newton'$"
    )
    with pytest.raises(ValueError, match=refused):
        es.flow.solve(NETWORK, solution, record=("mean_square_sharpness",), **options)
    fitted = es.DiagonalLinearNetwork(NETWORK.inputs, NETWORK.inputs @ NETWORK.effective_weights(solution))
    flow = es.flow.solve(fitted, solution, record=(MEAN_SQUARE, "sharpness", "minibatch_sharpness"), **options)
    run = es.simulate(fitted, solution, record=(MEAN_SQUARE, "sharpness", "minibatch_sharpness"), **options)
    for name in (MEAN_SQUARE, "sharpness", "minibatch_sharpness"):
        assert float(flow[name][0]) == pytest.approx(float(run[name][0, 0]), rel=1e-8)
    shared = {name for name in es.flow.RECORDS if name in STATISTICS}
    assert shared == set(es.flow.RECORDS) - {
        "distance_to_edge", "next_order_correction", "error_estimate", "burst_correction", "tail_index", "almost_sure_excess",
    }  # fmt: skip


def test_torch_networks_record_them_by_the_same_names() -> None:
    torch = pytest.importorskip("torch")
    from esssim.bridge import TorchProblem, mlp, train

    module = mlp(3, (4,), 1, seed=0)
    problem = TorchProblem(module, torch.tensor(REGRESSION.inputs), torch.tensor(REGRESSION.targets)[:, None])
    trace = train(problem, problem.theta0, record=(*STATISTICS, "theta"), n_batches=15, **RUN)
    theta, sampling = trace["theta"].values[0, 1], es.WithoutReplacement(2)
    for name, statistic in STATISTICS.items():
        value = float(statistic.measure(problem, theta, sampling, 15, 0))
        assert float(trace[name][0, 1]) == pytest.approx(value, rel=1e-9), name

    def change(step: float) -> float:
        return float(problem.loss(theta - step * problem.gradient(theta)) - problem.loss(theta))

    critical = 2 / float(trace["critical_sharpness"][0, 1])
    assert change(critical * (1 - 1e-6)) <= 0 < change(critical * (1 + 1e-6))
    assert all(change(critical * part) < 0 for part in np.linspace(0.01, 0.99, 99))
