"""docs/definitions.md: the page of what published codes compute, its numbers, and its check."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from tests.pages import DOCS, check_is_kept, copied

pytest.importorskip("torch", reason="the bridge needs PyTorch")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "definitions.py"))


def stored() -> dict[str, list[dict[str, Any]]]:
    return json.loads((DOCS / "definitions.json").read_text(encoding="utf-8"))


def test_the_page_holds_the_numbers(script: dict[str, Any]) -> None:
    content = stored()
    page = script["markdown"](content)
    assert page == (DOCS / "definitions.md").read_text(encoding="utf-8")
    first, second, *others = content["rules"]
    table = [line for line in page.splitlines() if line.startswith("| ")]
    assert table[1].endswith(f" | **{first['mean']:.3f}** | **{second['mean']:.3f}** |")
    assert f"{others[0]['mean']:.3f} (sd {others[0]['deviation']:.3f})" in table[2]
    assert len(table) == 1 + len(script["RULES"])


def test_the_numbers_of_esssim_are_those_of_the_package(script: dict[str, Any]) -> None:
    problem = script["network"]()
    start, half = problem.theta0 / 2, script["STEP_SIZE"] / 2
    rows = {row["rule"]: row["mean"] for row in stored()["rules"] if row["point"] == "at the start"}
    sampling = es.WithoutReplacement(32)
    top = np.linalg.eigvalsh(problem.hessian(start))[-1]
    assert rows["λ_max of the full loss"] == pytest.approx(half * top, rel=1e-9)
    ias = es.interaction_aware_sharpness(problem, start, sampling)
    assert rows["tr(HG_b)/tr(G_b), H of the full loss (Lee & Jang, ICLR 2023)"] == pytest.approx(half * ias, rel=1e-6)
    mean, ratio = rows["ratio of means"], rows["mean of ratios"]
    direct = es.batch_sharpness(problem, start, sampling, n_batches=400, seed=3, average="ratio_of_means")
    assert abs(half * direct.value - mean) < 4 * half * direct.standard_error
    assert ratio < rows["E λ_max(H_B)"]


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("definitions", ("definitions.py", "definitions.md", "definitions.json"), tmp_path, monkeypatch)
    check_is_kept("definitions", run, tmp_path, ("**0.911**", "**0.912**"), capsys)
    numbers = json.dumps({"rules": stored()["rules"][2:]})
    (tmp_path / "definitions.json").write_text(numbers, encoding="utf-8")
    assert run("--check") == 1
    assert "the numbers are of other rules" in capsys.readouterr().err
