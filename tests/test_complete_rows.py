"""Rows of a page: a prediction stands before its run, and what is written stays."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from esssim.report.pages import complete_rows, keep_predicted_page

NAMES = {"predicted": "guess", "seen": "value"}


def test_predictions_are_dated_and_runs_follow_them(tmp_path: Path) -> None:
    numbers, made = tmp_path / "page.json", []
    content: dict[str, Any] = {"rows": [{"b": 1}, {"b": 2}]}

    def guess(row: dict[str, Any]) -> dict[str, Any]:
        made.append(row["b"])
        return {"guess": 10 * row["b"]}

    complete_rows(numbers, content, content["rows"], guess, **NAMES, predicts=True)
    complete_rows(numbers, content, content["rows"], guess, **NAMES, predicts=True)
    assert made == [1, 2]
    complete_rows(numbers, content, content["rows"], lambda row: {"value": row["guess"] + 1}, **NAMES, predicts=False)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    expected = [{"b": b, "guess": 10 * b, "predicted_on": today, "value": 10 * b + 1} for b in (1, 2)]
    assert json.loads(numbers.read_text(encoding="utf-8"))["rows"] == expected


def test_a_page_is_predicted_first_then_measured_and_gets_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, rows = str(tmp_path / "page.py"), [{"b": 1}]

    def keep(*flags: str) -> str:
        monkeypatch.setattr("sys.argv", [script, *flags])
        code = keep_predicted_page(
            script, lambda content: str([row.get("value") for row in content["rows"]]), rows, lambda row: {"guess": 10 * row["b"]},
            lambda row: {"value": row["guess"] + 1}, predicted="guess", seen="value",
        )  # fmt: skip
        assert code == 0
        return (tmp_path / "page.md").read_text(encoding="utf-8")

    assert keep("--predict") == "[None]"
    assert keep() == "[11]"
    rows.append({"b": 2})
    assert keep("--predict") == "[11, None]"
    assert keep() == "[11, 21]"


def test_an_interrupted_run_keeps_the_rows_before(tmp_path: Path) -> None:
    numbers = tmp_path / "page.json"
    content: dict[str, Any] = {"rows": [{"guess": 1}, {"guess": 2}]}

    def run(row: dict[str, Any]) -> dict[str, Any]:
        if row["guess"] == 2:
            raise KeyboardInterrupt
        return {"value": 5}

    with pytest.raises(KeyboardInterrupt):
        complete_rows(numbers, content, content["rows"], run, **NAMES, predicts=False)
    assert json.loads(numbers.read_text(encoding="utf-8"))["rows"] == [{"guess": 1, "value": 5}, {"guess": 2}]


@pytest.mark.parametrize(
    ("row", "predicts", "words"),
    [
        ({}, False, "a run needs its prediction first: python docs/page.py --predict"),
        ({"value": 1}, True, "a prediction is written before the run, and this row has one"),
    ],
)
def test_the_other_order_is_refused(tmp_path: Path, row: dict[str, Any], predicts: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        complete_rows(tmp_path / "page.json", {"rows": [row]}, [row], dict, **NAMES, predicts=predicts)
    assert not (tmp_path / "page.json").exists()
