"""docs/parting.md: the page, and the closure against the exact moments of a linear problem."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from tests.pages import DOCS, check_is_kept, copied

SCRIPT = runpy.run_path(str(DOCS / "parting.py"))


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("parting", ("parting.py", "parting.md", "parting.json"), tmp_path, monkeypatch)
    first = json.loads((tmp_path / "parting.json").read_text(encoding="utf-8"))["rows"][0]["spread"]
    check_is_kept("parting", run, tmp_path, (f"{first:.3g}", "9.999"), capsys)


def problem() -> tuple[es.LinearRegression, np.ndarray]:
    """Data that no weights fit, 4 parameters, and a start away from their best."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((12, 4))
    return es.LinearRegression(inputs, inputs @ np.ones(4) + rng.standard_normal(12)), np.array([2.0, -1.0, 0.5, 3.0])


@pytest.mark.parametrize(("factor", "diverges"), [(0.98, False), (1.05, True)])
def test_on_a_linear_problem_the_closure_diverges_where_sgd_does_in_mean_square(factor: float, diverges: bool) -> None:
    regression, start = problem()
    eta = factor * es.stability.critical_step_size(regression, start, es.WithoutReplacement(3))
    assert (SCRIPT["diverged_at"](regression, start, 3, eta) >= 0) == diverges


def test_on_a_linear_problem_the_closure_is_exact() -> None:
    """Against E[e] and E[eeᵀ] over all batches, step by step beyond the edge until the spread passes its limit."""
    regression, start = problem()
    eta = 1.3 * es.stability.critical_step_size(regression, start, es.WithoutReplacement(3))
    batches = next(es.WithoutReplacement(3).enumerate(12))[0]
    mean, second, steps = start, np.outer(start, start), 0
    for theta, covariance in SCRIPT["closure"](regression, start, 3, eta):
        moved, squares = np.zeros(4), np.zeros((4, 4))
        for batch in batches:
            inputs, targets = regression.inputs[batch], regression.targets[batch]
            factor, shift = np.eye(4) - eta * inputs.T @ inputs / 3, eta * inputs.T @ targets / 3
            moved += factor @ mean + shift
            cross = np.outer(factor @ mean, shift)
            squares += factor @ second @ factor.T + cross + cross.T + np.outer(shift, shift)
        mean, second, steps = moved / len(batches), squares / len(batches), steps + 1
        np.testing.assert_allclose(theta, mean, rtol=1e-9)
        expected = second - np.outer(mean, mean)
        np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-9 * np.trace(expected))
        if np.trace(expected) > SCRIPT["BEYOND"] * start @ start:
            break
    assert SCRIPT["diverged_at"](regression, start, 3, eta) == steps
