"""docs/courses.md: the page, and what stands for the flow once it has come to its wall or given up."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from tests.pages import DOCS, check_is_kept, copied

SCRIPT = runpy.run_path(str(DOCS / "courses.py"))


def course(levels: list[float], gave_up: int = -1) -> xarray.Dataset:
    """Five records at η = 0.5 of Q_b at these levels, the second statistic half of it, the others undefined."""
    values = {name: np.full(5, np.nan) for name in SCRIPT["RECORD"]}
    known = 4 * np.array(levels)
    for name, share in zip(SCRIPT["RECORD"], (1.0, 0.5), strict=False):
        values[name][: len(levels)] = share * known
    return xarray.Dataset(
        {name: ("record", value) for name, value in values.items()} | {"gave_up_at": gave_up},
        {"step": ("record", 10 * np.arange(5)), "step_size": ("record", np.full(5, 0.5))},
    )


def predicted(trace: xarray.Dataset) -> list[Any]:
    return list(SCRIPT["predicted_levels"](trace, 10))


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("courses", ("courses.py", "courses.md", "courses.json"), tmp_path, monkeypatch)
    rows = json.loads((tmp_path / "courses.json").read_text(encoding="utf-8"))["rows"]
    first = rows[0]["mean_square_sharpness_gauss_newton"]
    check_is_kept("courses", run, tmp_path, (f" / {first:.3f}", " / 9.999"), capsys)


def test_levels_are_means_over_the_window() -> None:
    assert predicted(course([9.0, 0.8, 0.9, 1.0, 0.9]))[:2] == pytest.approx([0.9, 0.45])


def test_at_its_wall_the_flow_stays_on_the_edge() -> None:
    """From there on Q_b is 1, and the second statistic half of it."""
    levels = predicted(course([0.7, 0.8, 0.9]))
    assert levels[:2] == pytest.approx([(0.8 + 0.9 + 1 + 1) / 4, (0.4 + 0.45 + 0.5 + 0.5) / 4])
    assert levels[2:] == [None] * (len(SCRIPT["RECORD"]) - 2)


def test_a_flow_that_gave_up_predicts_nothing() -> None:
    assert predicted(course([0.7, 0.8, 0.9], gave_up=25)) == [None] * len(SCRIPT["RECORD"])
