"""docs/phases.md: the page, its problem against scikit-learn, and what counts as a stretch."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import esssim as es
from tests.pages import DOCS, check_is_kept, copied


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "phases.py"))


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("phases", ("phases.py", "phases.md", "phases.json"), tmp_path, monkeypatch)
    row = json.loads((tmp_path / "phases.json").read_text(encoding="utf-8"))["rows"][1]
    check_is_kept("phases", run, tmp_path, (f"{row['last']:,g}", "9,999.5"), capsys)


def test_the_problem_is_softmax_regression(script: dict[str, Any]) -> None:
    problem = script["setting"](separable=False)
    es.testing.check_problem(problem)
    theta, labels = np.random.default_rng(0).standard_normal(problem.n_params), problem.classes.argmax(axis=1)
    outputs = problem.inputs @ theta.reshape(3, -1).T
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    assert problem.loss(theta) == pytest.approx(log_loss(labels, shares), rel=1e-12)


def test_the_labels_can_and_cannot_be_separated(script: dict[str, Any]) -> None:
    for separable in (True, False):
        problem = script["setting"](separable=separable)
        labels = problem.classes.argmax(axis=1)
        fitted = LogisticRegression(C=1e8, fit_intercept=False, max_iter=100_000).fit(problem.inputs, labels)
        assert (fitted.score(problem.inputs, labels) == 1.0) is separable


def test_the_sharpness_of_many_points_is_that_of_each(script: dict[str, Any]) -> None:
    problem = script["setting"](separable=True)
    thetas = np.random.default_rng(1).standard_normal((2, 3, problem.n_params))
    exact = [[es.sharpness(problem, theta) for theta in run] for run in thetas]
    np.testing.assert_allclose(script["sharpness"](problem, thetas), exact, rtol=1e-12)


def test_stretches(script: dict[str, Any]) -> None:
    count = script["stretches"]
    assert count(np.array([0, 1, 1, 0, 1, 0, 0], dtype=bool)) == {"stretches": 2, "longest": 2, "last": 5}
    assert count(np.ones(4, dtype=bool)) == {"stretches": 1, "longest": 4, "last": 4}
    assert count(np.zeros(4, dtype=bool)) == {"stretches": 0, "longest": 0, "last": 0}


def test_the_minimum_is_one(script: dict[str, Any]) -> None:
    """By scikit-learn's fit without a penalty worth mentioning."""
    problem = script["setting"](separable=False)
    labels = problem.classes.argmax(axis=1)
    fitted = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(problem.inputs, labels)
    level = script["level_of_the_minimum"](problem, 2.0)
    assert level == pytest.approx(es.sharpness(problem, fitted.coef_.ravel()), rel=1e-3)
