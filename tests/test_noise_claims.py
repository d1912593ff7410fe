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
    trace = noise.run_ramp(run).copy(deep=True)
    trace["diverged_at"].values[:] = -1
    for left, verdict in ((2, None), (1, "inconclusive")):
        changed = trace.fillna(1.0).copy(deep=True)
        changed["diverged_at"].values[left:] = 7
        changed[MEAN_SQUARE].values[left:] = np.nan
        monkeypatch.setattr(noise, "run_ramp", lambda _, changed=changed: changed)
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
