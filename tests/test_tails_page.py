"""docs/tails.md: the page, Hill's estimator and the moment exponent, each against a known answer."""

from __future__ import annotations

import itertools
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from tests.pages import DOCS, check_is_kept, copied


def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "tails.py"))


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("tails", ("tails.py", "tails.md", "tails.json"), tmp_path, monkeypatch)
    first = json.loads((tmp_path / "tails.json").read_text(encoding="utf-8"))["rows"][0]
    check_is_kept("tails", run, tmp_path, (f"{first['parabola']:.2f}", "9.99"), capsys)


def test_hills_estimator_finds_the_exponent_of_a_power_law() -> None:
    sizes = np.random.default_rng(0).uniform(size=400_000) ** (-1 / 2.5)
    assert script()["hill"](sizes) == pytest.approx(2.5, rel=0.06)


@pytest.mark.parametrize("law", [es.WithoutReplacement(2), es.FullOrSingle(2)])
def test_the_second_moment_grows_as_its_operator_says(law: es.Sampling) -> None:
    found, rows, eta = script(), np.random.default_rng(1).standard_normal((5, 2)), 0.6
    found["moment_exponent"].__globals__["setting"] = lambda: found["Setting"](rows, 1.0, {})
    if isinstance(law, es.FullOrSingle):
        every = law.every(5)
        assert every is not None
        weights, chances = every
    else:
        weights = np.array([[0.5 * (i in pair) for i in range(5)] for pair in itertools.combinations(range(5), 2)])
        chances = np.full(10, 0.1)
    steps = np.eye(2) - eta * np.einsum("mi,ij,ik->mjk", weights, rows, rows)
    operator = np.einsum("m,mij,mkl->ikjl", chances, steps, steps).reshape(4, 4)
    expected = np.log(np.abs(np.linalg.eigvals(operator)).max())
    assert found["moment_exponent"](law, eta, 2.0, 0) == pytest.approx(expected, abs=0.004)
