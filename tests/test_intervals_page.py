"""docs/intervals.md: how often intervals hold the truth, its numbers, and its check."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from tests.pages import DOCS, check_is_kept, copied


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "intervals.py"))


def rows() -> list[dict[str, Any]]:
    content: dict[str, list[dict[str, Any]]] = json.loads((DOCS / "intervals.json").read_text(encoding="utf-8"))
    return content["rows"]


def test_every_interval_holds_in_nine_of_ten_trials() -> None:
    for row in rows():
        if row["draws"] == "shares":
            assert row["covered"] >= 0.9
            assert row["exact"] == (row["b"] == 1)


def test_errors_are_smaller_than_of_uniform_draws() -> None:
    for uniform, shares in zip(rows()[::2], rows()[1::2], strict=True):
        assert shares["error"] < uniform["error"]
        assert uniform["exact"] is False


def test_the_numbers_are_those_of_the_package(script: dict[str, Any]) -> None:
    """One design again with 40 seeds, and the true value of a pair from its Gram matrices."""
    problem = script["designs"]()["log-normal rows"]
    true = script["truth"](problem, "MiniBS", 2)
    gram = problem.inputs @ problem.inputs.T
    i, j = np.triu_indices(len(gram), 1)
    one, other = gram[i, i], gram[j, j]
    assert true == pytest.approx(np.mean((one + other) / 2 + np.hypot((one - other) / 2, gram[i, j])) / 2, rel=1e-10)
    script["repeat"].__globals__["REPETITIONS"] = 40
    found = script["repeat"](es.minibatch_sharpness, problem, 2, 500, "shares", true)
    kept = next(
        row for row in rows() if row["design"] == "log-normal rows" and row["b"] == 2 and row["draws"] == "shares"
    )
    assert found["covered"] >= 0.85
    assert found["error"] == pytest.approx(kept["error"], rel=0.4)


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("intervals", ("intervals.py", "intervals.md", "intervals.json"), tmp_path, monkeypatch)
    covered = f"**{100 * rows()[5]['covered']:.1f} %**"
    check_is_kept("intervals", run, tmp_path, (covered, "**12.3 %**"), capsys)
    (tmp_path / "intervals.json").write_text(json.dumps({"rows": rows()[2:]}), encoding="utf-8")
    assert run("--check") == 1
    assert "the numbers are of other settings" in capsys.readouterr().err
