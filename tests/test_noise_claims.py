"""Claims about noise without mini-batches: their levels and verdicts, on runs of a moment."""

from __future__ import annotations

import json
import runpy
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats

import esssim as es
from esssim import simulate
from esssim.claims import noise, registry
from esssim.experiments import RampExperiment
from esssim.statistics.table import MEAN_SQUARE
from tests.pages import DOCS, check_is_kept, copied

SHORT = partial(RampExperiment, "gaussian-100x50", n_steps=6000, n_replicas=3, n_records=13, n_batches=4)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "ramp", SHORT)


def level_again(scheme: str, statistic: str, **where: Any) -> np.ndarray:
    """The mean of (η/2)·statistic past 1.15 first edges in each replica, from `simulate` itself."""
    run = SHORT(scheme=scheme, **where)  # type: ignore[arg-type]
    trace = simulate(
        run.problem, run.theta0, step_size=run.step_size, sampling=run.sampling, n_steps=run.n_steps,
        n_replicas=run.n_replicas, label_noise=run.label_noise, record=(statistic,), n_records=run.n_records,
        n_batches=run.n_batches, seed=run.seed,
    )  # fmt: skip
    late = trace["step_size"].values >= 1.15 * run.first_edge
    survived = trace["diverged_at"].values < 0
    return np.asarray((trace[statistic].values * trace["step_size"].values / 2)[survived][:, late].mean(axis=1))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("statistic", [MEAN_SQUARE, noise.MINIBS])
def test_ratio_is_that_of_the_levels(statistic: str) -> None:
    found = noise.compared("gaussian", statistic)
    gaussian, batches = (
        level_again(scheme, statistic, **noise.AWAY) for scheme in ("gaussian_weights", "without_replacement")
    )
    assert found.value == pytest.approx(gaussian.mean() / batches.mean(), rel=1e-9)
    assert found.interval is not None
    n = len(gaussian)
    half = scipy.stats.t.ppf(0.975, n - 1) * gaussian.std(ddof=1) / np.sqrt(n) / batches.mean()
    assert found.interval[1] - found.value >= half * (1 - 1e-9)
    assert found.values["level_of_batches"] == pytest.approx(batches.mean(), rel=1e-9)


def test_every_law_has_its_three_claims() -> None:
    ids = [claim.id for claim in registry.select(["noise-without-batches", "mean-square-settles/noise"])]
    assert len(ids) == 9
    assert {name.rsplit("/", 1)[1] for name in ids} == set(noise.LAWS)


@pytest.mark.usefixtures("short")
def test_level_at_the_wall() -> None:
    found = noise.tails_decide_at_the_wall(law="full-or-single", quick=False)
    again = level_again("full_or_single", MEAN_SQUARE, **noise.AT_THE_WALL)
    assert found.value == pytest.approx(again.mean(), rel=1e-9)
    half = scipy.stats.t.ppf(0.975, len(again) - 1) * again.std(ddof=1) / np.sqrt(len(again))
    assert found.interval == pytest.approx((again.mean() - half, again.mean() + half))


@pytest.mark.usefixtures("short")
def test_diverged_replicas_are_counted_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SHORT(scheme="full_or_single", **noise.AT_THE_WALL)  # type: ignore[arg-type]
    trace = noise.run_once(run).copy(deep=True)
    trace["diverged_at"].values[:] = -1
    for left, verdict in ((2, None), (1, "inconclusive")):
        changed = trace.fillna(1.0).copy(deep=True)
        changed["diverged_at"].values[left:] = 7
        changed[MEAN_SQUARE].values[left:] = np.nan
        monkeypatch.setattr(noise, "run_once", lambda _, changed=changed: changed)
        found = noise.tails_decide_at_the_wall(law="full-or-single", quick=False)
        if verdict is None:
            assert found.values["n_diverged"] == 1
            assert np.isfinite(found.value or np.nan)
        else:
            assert found.verdict == verdict


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("noise", ("noise.py", "noise.md", "noise.json"), tmp_path, monkeypatch)
    check_is_kept("noise", run, tmp_path, ("1.493", "1.494"), capsys)


def test_predictions_of_the_page_are_of_the_flow_and_the_tails() -> None:
    content = json.loads((DOCS / "noise.json").read_text(encoding="utf-8"))
    by_setting: dict[Any, set[float]] = {}
    for row in content["rows"]:
        by_setting.setdefault((row["setting"], row["batch_size"], row["label_noise"]), set()).add(row["flow"])
        assert row["predicted"] >= row["flow"]
        assert row["tail_index"] >= 2
    # Equal for all laws.
    assert all(len(flows) == 1 for flows in by_setting.values())


def test_the_page_of_baselines_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("noise_baselines.py", "noise_baselines.md", "noise_baselines.json")
    run = copied("noise_baselines", files, tmp_path, monkeypatch)
    first = json.loads((tmp_path / "noise_baselines.json").read_text(encoding="utf-8"))["rows"][0]
    number = f"{first['own_predicted']:.3f}"
    check_is_kept("noise_baselines", run, tmp_path, (number, "9" + number), capsys)


@pytest.mark.parametrize("law", ["isotropic", "diagonal"])
def test_the_slow_motion_of_the_baselines_ends_where_the_operator_does(law: str) -> None:
    """The noise at rest of the product u∘v in m, against the critical step size of the network in θ."""
    script = runpy.run_path(str(DOCS / "noise_baselines.py"))
    noise = {"isotropic": es.IsotropicNoise, "diagonal": es.DiagonalNoise}[law](2)
    inputs = np.random.default_rng(0).standard_normal((7, 3))
    u, v = np.array([1.0, 0.5, 1.5]), np.array([0.3, -0.2, 0.8])
    problem, theta = es.DiagonalLinearNetwork(inputs, inputs @ (u * v)), np.concatenate([u, v])
    setting = script["Setting"](problem, theta, noise, es.Ramp(1.0, 1.0), 0.0)
    critical = es.stability.critical_step_size(problem, theta, noise)
    drifts = [
        script["fast_motion"](setting, u**2 - v**2, u * v, factor * critical, 0.1) for factor in (0.99, 0.999, 1.001)
    ]
    assert drifts[2] is None
    assert drifts[1].drift.sum() / drifts[0].drift.sum() == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("law", [es.IsotropicNoise(2), es.DiagonalNoise(2)], ids=lambda law: type(law).__name__)
def test_the_imbalance_at_the_edge_moves_as_steps_of_the_network_do(law: es.GradientNoise) -> None:
    """Against steps of the network itself, from the states that the noise leaves: that covariance by its recursion."""
    script = runpy.run_path(str(DOCS / "noise_baselines.py"))
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((7, 3))
    u, v = np.array([1.0, 0.5, 1.5]), np.array([0.3, -0.2, 0.8])
    problem, theta = es.DiagonalLinearNetwork(inputs, inputs @ (u * v)), np.concatenate([u, v])
    eta, drift, variance = script["imbalance_at_edge"](problem, law, u**2 - v**2, u * v)
    assert eta == pytest.approx(es.stability.critical_step_size(problem, theta, law))
    jacobian = np.asarray(problem.sample_jacobians(theta, np.arange(7))).reshape(7, 6)
    hessian, c = jacobian.T @ jacobian / 7, law.batches.variance_coefficient(7)
    # Along the three other directions nothing relaxes: the network spreads there, outside of its oscillation.
    fast = np.linalg.eigh(hessian)[1][:, 3:]
    fast, step, state = fast @ fast.T, np.eye(6) - eta * hessian, np.eye(6)
    for _ in range(4000):
        squares = jacobian.T @ np.diag(np.diag(jacobian @ state @ jacobian.T)) @ jacobian / 7
        noise = law.variances(c * np.diag(squares - hessian @ state @ hessian))
        state = fast @ (step @ state @ step + eta**2 * np.diag(noise)) @ fast / noise.mean()
    sizes, axes = np.linalg.eigh(state)
    away = (rng.standard_normal((200_000, 6)) * np.sqrt(np.maximum(sizes, 0))) @ axes.T
    kicks = rng.standard_normal((200_000, 6)) * np.sqrt(noise / noise.mean())
    # All signs of both: what is odd in either is zero on average, and would hide the mean.
    changes = [
        _change_of_imbalance(inputs, theta, 1e-4 * one * away, 1e-4 * other * kicks, eta) / 1e-8
        for one in (1, -1) for other in (1, -1)
    ]  # fmt: skip
    np.testing.assert_allclose(changes[0].var(axis=0) * 1e-8, variance, rtol=0.02)
    mean = np.mean(changes, axis=0)
    error = mean.std(axis=0) / np.sqrt(len(mean))
    assert (error < 0.01 * abs(drift).max()).all()
    assert (abs(mean.mean(axis=0) - drift) < 4 * error + 1e-3 * abs(drift)).all()


def _change_of_imbalance(
    inputs: np.ndarray, theta: np.ndarray, away: np.ndarray, kicks: np.ndarray, eta: float
) -> np.ndarray:
    """What one step of noisy descent from theta + away does to u² − v², where theta is a solution."""
    u, v = np.split(theta + away, 2, axis=1)
    pull = (u * v - np.multiply(*np.split(theta, 2))) @ (inputs.T @ inputs / len(inputs))
    after_u, after_v = np.split(theta + away - eta * (np.concatenate([pull * v, pull * u], axis=1) + kicks), 2, axis=1)
    return np.asarray(after_u**2 - after_v**2 - u**2 + v**2)
