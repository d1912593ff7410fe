"""The page of the map of where SGD settles: what it counts, and that it only shows what was run to the end."""

from __future__ import annotations

import json
import math
import runpy
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.experiments import Experiment
from esssim.experiments.cells import MISSING
from figures import settling_map as figure
from figures import style as figures_style
from tests.pages import DOCS, check_is_kept, copied

NAME = "mean_square_sharpness_gauss_newton"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "settling_map.py"))


def cell(level: float, verdict: str, flow: float, flow_verdict: str, noise: float) -> dict[str, Any]:
    return {
        "level": level, "verdict": verdict, "flow_level": flow, "flow_verdict": flow_verdict, "label_noise": noise,
    }  # fmt: skip


def test_each_statement_counts_the_cells_that_it_is_about(page: dict[str, Any]) -> None:
    cells = [
        cell(1.00, "settles", 1.00, "settles", 0.01),
        cell(1.03, "settles", 1.00, "settles", 0.019),  # above where the noise is weak, as stated
        cell(1.03, "settles", 1.00, "below", 0.021),  # above where it is not
        cell(0.97, "inconclusive", 1.00, "settles", 0.01),  # below where it is weak
        cell(0.50, "below", 0.60, "below", 0.2),  # below where it is strong, as stated
        cell(0.40, "below", 0.50, "below", 0.3),
        cell(1.00, "settles", 1.01, "settles", 0.1),  # settles where it should not
        cell(math.nan, "undefined", 0.40, "below", 0.5),
        cell(1.00, "settles", math.nan, "undefined", 0.01),  # without a prediction of the flow
    ]
    assert page["statements"](cells) == [(5, 7), (2, 7), (3, 5), (3, 4)]


def test_the_table_has_the_batch_sizes_that_were_run_to_the_end(
    page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS.parent / "examples" / "settling_map.toml").read_text(encoding="utf-8").partition("[grid]")[0]
    short = ["dynamics.n_steps=60", "dynamics.n_replicas=2", "sampling.batch_size=4"]
    base = Experiment.from_toml(text, short)
    grid = {
        "problem.depth": [2], "sampling.batch_size": [4, 12], "dynamics.label_noise": [0.01, 0.1],
        "dynamics.step_size.to": [1.7],
    }  # fmt: skip
    found = es.experiments.sweep(base, grid, tmp_path / "sweep", measures=("levels", "flow"), n_workers=1).load()
    found["flow_gave_up_at"].values[0, 0, 0, 0] = 7.0
    found[f"flow_level:{NAME}"].values[0, 0, 0, 0] = np.nan
    monkeypatch.setattr(es.experiments, "open", lambda folder: found)
    whole = page["table"](tmp_path / "sweep")["cells"]
    assert [each["flow_end"] for each in whole] == ["given up", "", "", ""]
    assert whole[0]["flow_level"] is None
    assert [(each["batch_size"], each["label_noise"]) for each in whole] == [(4, 0.01), (4, 0.1), (12, 0.01), (12, 0.1)]
    levels = found[f"flow_level:{NAME}"].values.ravel()
    np.testing.assert_allclose([each["flow_level"] for each in whole[1:]], levels[1:], rtol=1e-5)
    found["state"].values[0, 0, 1, 0] = MISSING
    assert page["table"](tmp_path / "sweep")["cells"] == whole[2:]


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples").symlink_to(DOCS.parent / "examples")
    files = ("settling_map.py", "settling_map.md", "settling_map.json")
    run = copied("settling_map", files, tmp_path / "docs", monkeypatch)
    check_is_kept("settling_map", run, tmp_path / "docs", ("90.5 %", "91.5 %"), capsys)


def test_the_figure_is_of_this_study() -> None:
    """Its sections and grid are those of the file, and it draws the published numbers."""
    config = tomllib.loads((DOCS.parent / "examples" / "settling_map.toml").read_text(encoding="utf-8"))
    assert config.pop("sweep") == {"measures": ["levels", "flow"]}
    assert config == figure.STUDY
    published = json.loads((DOCS / "settling_map.json").read_text(encoding="utf-8"))["cells"]
    drawn = figure.collect(figure.configure(False), lambda _: None)
    assert [row["verdict"] for row in drawn] == [cell["verdict"] for cell in published]
    assert figures_style.table(drawn) == (DOCS.parent / "figures" / "output" / "settling_map.csv").read_text()


def test_no_cell_is_missing_inside_the_published_part() -> None:
    cells = json.loads((DOCS / "settling_map.json").read_text(encoding="utf-8"))["cells"]
    sides = [len({each[name] for each in cells}) for name in ("depth", "batch_size", "label_noise", "last_step_size")]
    assert len(cells) == np.prod(sides)
    assert [sides[0], *sides[2:]] == [3, 14, 8]
