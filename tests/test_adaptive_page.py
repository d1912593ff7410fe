"""docs/adaptive.md: the page, and that its predictions are stationary."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import esssim as es
from esssim.claims import adaptive
from esssim.experiments import other_methods
from tests import oracles
from tests.pages import DOCS, check_is_kept, copied


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("adaptive", ("adaptive.py", "adaptive.md", "adaptive.json"), tmp_path, monkeypatch)
    first = json.loads((tmp_path / "adaptive.json").read_text(encoding="utf-8"))["rows"][0]
    check_is_kept("adaptive", run, tmp_path, (f"{first['own']:.3f}", "9.999"), capsys)


@pytest.mark.parametrize("label_noise", [0.05, 1e-4])
@pytest.mark.parametrize("method", [es.RMSProp(), es.Adam(momentum=0.6)], ids=repr)
def test_the_consistent_preconditioner_lets_through_the_gradients_that_it_is_made_of(
    method: es.RMSProp | es.Adam, label_noise: float
) -> None:
    """E g² from every batch, at the stationary covariance that `moments` finds for this P, which is 1/(1 − level) wide."""
    script = runpy.run_path(str(DOCS / "adaptive.py"))
    rows, scheme, eta = np.random.default_rng(2).standard_normal((6, 3)), es.WithoutReplacement(2), 1e-2
    p = script["consistent_preconditioner"](rows, scheme, method, eta, label_noise)
    changed, beta = es.LinearRegression(rows / np.sqrt(p), np.zeros(6)), method.first_decay
    # An average of gradients is heavy ball with the step (1−β)η.
    options = {"sampling": scheme, "momentum": beta}
    covariance = es.moments.stationary_covariance(
        changed, step_size=(1 - beta) * eta, label_noise=label_noise, **options
    ) / np.sqrt(np.outer(p, p))
    batches, chances = oracles.all_batches(6, scheme)
    moment = np.zeros((3, 3))
    for batch, chance in zip(batches, chances, strict=True):
        h = rows[batch].T @ rows[batch] / 2
        moment += chance * (h @ covariance @ h + label_noise**2 / 2 * h)
    level = (1 - beta) * eta / es.stability.critical_step_size(changed, np.zeros(3), **options)
    assert_allclose(np.sqrt(np.diagonal(moment)) + method.epsilon, p, rtol=1e-6 / (1 - level))
    assert 0.3 < level < 0.6 if label_noise > 1e-3 else 0.999 < level < 1


@pytest.mark.parametrize(("size", "verdict"), [(1.0, "holds"), (1.2, "refuted"), (0.8, "refuted")])
def test_the_claim_is_decided_by_the_level(size: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = other_methods.adaptive({"kind": "rmsprop"}, 2, seed=0, n_steps=other_methods.AFTER + 60).run()
    noise = np.random.default_rng(0).normal(size, 0.05, run["own_sharpness"].shape)
    run["own_sharpness"].values[:] = 2 / other_methods.STEP_SIZE * noise
    monkeypatch.setattr(adaptive, "run_once", lambda experiment: run)
    found = adaptive.adaptive_edge(method="rmsprop", b=2, quick=False)
    assert found.verdict == verdict
    assert found.value == pytest.approx(size, abs=0.01)
