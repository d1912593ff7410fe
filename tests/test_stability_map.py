"""The stability map of a network: every batch size against its own solution, and against matrices by another hand."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import esssim as es

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from torch import nn  # noqa: E402

from esssim.bridge import Monitor, TorchProblem, data, mlp, stability_map  # noqa: E402
from esssim.bridge.gram.accumulate import plan_of  # noqa: E402
from esssim.bridge.gram.matrix import KNOTS, Gram, rows_at  # noqa: E402
from esssim.bridge.gram.products import Products  # noqa: E402
from esssim.bridge.monitor.enclosure import upper_bound  # noqa: E402
from esssim.stability.map import _filled  # noqa: E402
from esssim.statistics.mean_square import Pencil  # noqa: E402


def wine(n: int = 24, hidden: int = 6) -> TorchProblem:
    table = data.classes("wine", n)
    return TorchProblem(mlp(table.n_inputs, (hidden,), table.n_outputs, seed=1), table.inputs, table.targets)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}])
def test_every_batch_size_is_enclosed(options: dict[str, Any]) -> None:
    problem = wine()
    found = stability_map(problem, **options).dataset
    exact = [
        es.stability.critical_step_size(
            problem, problem.theta0, es.WithoutReplacement(b), hessian="gauss_newton", **options
        )
        for b in range(1, 25)
    ]
    np.testing.assert_array_equal(found["batch_size"], np.arange(1, 25))
    assert (found["critical_step_size_lower"] <= np.multiply(exact, 1 + 1e-7)).all()
    assert (found["critical_step_size_upper"] >= np.multiply(exact, 1 - 1e-7)).all()
    np.testing.assert_allclose(found["critical_step_size"], exact, rtol=0.01)
    solved = found["solved"].values
    np.testing.assert_allclose(found["critical_step_size"].values[solved], np.array(exact)[solved], rtol=1e-7)
    assert solved.sum() < 24 or options.get("momentum") == 0.9


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_progress_comes_to_every_batch_size(momentum: float) -> None:
    calls: list[tuple[int, int]] = []
    stability_map(wine(), momentum=momentum, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {24}
    assert len(calls) > 2
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1] == (24, 24)
    with pytest.raises(ValueError, match="progress must be True, False or a function, got 'yes'"):
        stability_map(wine(), progress="yes")  # type: ignore[arg-type]


def test_the_edge_is_where_the_dense_second_moment_crosses_one() -> None:
    table = data.teacher(5, 2, seed=1)
    problem = TorchProblem(mlp(2, (3,), 1, seed=0), table.inputs, table.targets)
    rows = problem.sample_jacobians(problem.theta0, np.arange(5))
    basis = scipy.linalg.orth(rows.T)
    hessians = [np.outer(basis.T @ row, basis.T @ row) for row in rows]
    found = stability_map(problem, tolerance=1e-9).dataset["critical_step_size"]
    mean = np.mean(hessians, axis=0)
    for b in (1, 2, 4):
        c = (5 - b) / (b * 4)
        eta = float(found.sel(batch_size=b))
        for factor, grows in ((0.999, False), (1.001, True)):
            step = eta * factor
            noise = c * np.mean([np.kron(h - mean, h - mean) for h in hessians], axis=0)
            contraction = np.eye(len(mean)) - step * mean
            radius = np.abs(np.linalg.eigvals(np.kron(contraction, contraction) + step**2 * noise)).max()
            assert bool(radius > 1) == grows


def test_leading_directions_bound_the_step_from_above_and_samples_from_below(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = wine(60, 8)
    whole = stability_map(problem).dataset
    monkeypatch.setattr(sys.modules["esssim.bridge.stability_map"], "EXACT_ROWS", 0)
    restricted = stability_map(problem, rank=6).dataset
    assert (restricted["critical_step_size_upper"] >= whole["critical_step_size_lower"] * (1 - 1e-7)).all()
    assert (restricted["critical_step_size_lower"] <= whole["critical_step_size_upper"]).all()
    assert restricted.attrs["rank"] == 6
    # The more directions, the nearer are the two sides, at every batch size.
    more = stability_map(problem, rank=30).dataset
    width, less = (
        (each["critical_step_size_upper"] / each["critical_step_size_lower"] - 1).values for each in (restricted, more)
    )
    assert (less <= width + 1e-9).all()
    crude = 2 / upper_bound(problem, problem.theta0)(more["variance_coefficient"])
    assert (more["critical_step_size_lower"] >= crude * (1 - 1e-5)).all()
    # At b = n only the leading direction counts.
    last = float(whole["critical_step_size"][-1])
    assert float(restricted["critical_step_size"][-1]) == pytest.approx(last, rel=1e-6)


def test_chords_bound_from_above_and_slopes_from_below() -> None:
    """Of 1 + c², solved at four c: between two of them the chord, and the prolonged chords of their neighbours."""
    c = np.array([1.0, 0.75, 0.5, 0.375, 0.25, 0.0])
    solved = {k: 1 + c[k] ** 2 for k in (0, 2, 4, 5)}
    value, lowest, highest = _filled(c, solved, convex=True)
    np.testing.assert_allclose(highest, [2.0, 1.625, 1.25, 1.15625, 1.0625, 1.0], rtol=1e-15)
    np.testing.assert_allclose(lowest, [2.0, 1.4375, 1.25, 1.09375, 1.0625, 1.0], rtol=1e-15)
    np.testing.assert_allclose(value, (lowest + highest) / 2, rtol=1e-15)


@pytest.mark.parametrize("kernel", [Gram, Products])
def test_the_bound_beyond_leading_directions_is_the_chord_of_exact_values(kernel: Any) -> None:
    """With all directions it is exact at its knots, convex between them, and nowhere below."""
    problem = wine(12, 4)
    rows = rows_at(problem, problem.theta0, torch.device("cpu"))
    own = kernel.of(rows) if kernel is Gram else kernel(rows, plan_of(rows))
    beyond = own.leading(36, 1e-9)[1]
    curvature = problem.gauss_newton_curvature(problem.theta0)
    for c in (*KNOTS, 0.045, 0.8):
        exact = Pencil.of(curvature).top(c)[0] / own.unit if c else np.linalg.eigvalsh(curvature.mean())[-1] / own.unit
        assert float(beyond(c)) >= exact * (1 - 1e-8)
        if c in KNOTS:
            assert float(beyond(c)) <= exact * (1 + 1e-6)
    middle = np.mean([float(beyond(c)) for c in (0.1, 0.3)])
    assert float(beyond(0.2)) == pytest.approx(middle, rel=1e-12)


def test_a_run_stands_where_it_stands() -> None:
    problem = wine()
    found = stability_map(problem, batch_size=4, step_size=0.2)
    critical = es.stability.critical_step_size(
        problem, problem.theta0, es.WithoutReplacement(4), hessian="gauss_newton"
    )
    assert found.over_critical == pytest.approx(0.2 / critical, rel=0.01)
    steps = found.dataset["critical_step_size"]
    np.testing.assert_allclose(found.dataset["linear_scaling"], steps.sel(batch_size=4) * steps["batch_size"] / 4)
    assert float(steps.sel(batch_size=found.critical_batch_size)) >= 0.95 * float(steps[-1])
    assert float(steps.sel(batch_size=found.critical_batch_size - 1)) < 0.95 * float(steps[-1])
    assert found.table().index.tolist() == [1, 2, 4, 8, 16, 24]
    labels = [line.get_label() for line in found.plot().axes[0].lines]
    assert {"critical step size", "linear scaling", "critical batch size", "this run"} <= set(labels)


def test_more_training_samples_than_known_ones_raise_the_noise() -> None:
    problem = wine()
    few, many = stability_map(problem).dataset, stability_map(problem, n_train=1000, batch_sizes=[8, 24]).dataset
    assert many["batch_size"].values.tolist() == [1, 8, 24, 1000]
    assert float(many["critical_step_size"].sel(batch_size=24)) < float(few["critical_step_size"].sel(batch_size=24))
    np.testing.assert_allclose(many["variance_coefficient"].sel(batch_size=8), (1000 - 8) / (8 * 999))


def test_a_monitor_maps_with_the_optimisers_own_settings() -> None:
    table = data.classes("wine", 24)
    net = mlp(table.n_inputs, (4,), table.n_outputs, seed=1)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.6, dampening=0.2)
    x, y = torch.tensor(table.inputs), torch.tensor(table.targets)
    monitor = Monitor(net, x, y, loss="squared", optimizer=opt, batch_size=4, quiet=True)
    found = monitor.stability_map(batch_sizes=[4, 12])
    problem = TorchProblem(net, table.inputs, table.targets)
    critical = es.stability.critical_step_size(
        problem, problem.theta0, es.WithoutReplacement(4), momentum=0.6, hessian="gauss_newton"
    )
    assert float(found.dataset["critical_step_size"].sel(batch_size=4)) == pytest.approx(critical / 0.8, rel=1e-6)
    assert found.over_critical == pytest.approx(0.1 * 0.8 / critical, rel=1e-6)
    opt = torch.optim.Adam(net.parameters())
    nn.MSELoss()(net(x), y).backward()
    opt.step()
    monitor = Monitor(net, x, y, loss="squared", optimizer=opt, batch_size=4, quiet=True)
    full = monitor.stability_map(batch_sizes=[4]).dataset["critical_step_size"].sel(batch_size=24)
    row = monitor.measure(0)
    gauss_newton = monitor._subject.as_seen_by(*_seen(monitor))[0].gauss_newton_curvature(np.zeros(problem.n_params))
    top = np.linalg.eigvalsh(gauss_newton.mean())[-1]
    assert float(full) == pytest.approx(2 * 1.9 / (0.1 * top), rel=1e-6)
    assert row["edge"] == pytest.approx(2 * 1.9 / (0.1 * 1e-3))


def _seen(monitor: Monitor) -> tuple[Any, Any]:
    from esssim.bridge.monitor.optimiser import dynamics

    return dynamics(monitor._optimizer, monitor._subject.parameters), monitor._subject.look()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_sizes": [0]}, "batch_sizes must be"),
        ({"batch_sizes": [25]}, "batch_sizes must be"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"step_size": 0.1}, "batch_size must be given"),
        ({"n_train": 3}, "n_train must be"),
        ({"batch_size": 99, "step_size": 0.1}, "batch_size must be"),
    ],
)
def test_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        stability_map(wine(), **options)
