"""The benchmarks: the command line writes whole files, and its arithmetic is right. Nothing here asserts a time."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks
from benchmarks import compare_results, growth, table, timing
from benchmarks.__main__ import main
from benchmarks.table import Goal, Row
from benchmarks.timing import Side, Spread

FIELDS = {"name", "work", "size", "against", "goal", "seconds", "ratio", "distance", "error", "rival_error", "met"}


def test_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [*benchmarks.ROWS, "growth"]


def test_an_unknown_row_is_refused_with_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enumeration", "sdg", "--out", str(tmp_path / "out")]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("error: row must be one of ")
    assert error.endswith("got 'sdg'; did you mean 'sgd'?\n")
    assert all(f"'{name}'" in error for name in list(benchmarks.ROWS)[:10])
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmarks")
    assert main(["enumeration", "--quick", "--out", str(out)]) == 0
    return out


class TestOneQuickRow:
    def test_json_has_every_number(self, quick: Path) -> None:
        (row,) = json.loads((quick / "results.json").read_text(encoding="utf-8"))["rows"]
        assert set(row) >= FIELDS
        for column in ("seconds", "rival_seconds", "ratio", "distance"):
            spread = row[column]
            assert 0 < spread["lower"] <= spread["median"] <= spread["upper"]
            assert spread["repetitions"] == 5
        assert row["goal"] == "ratio ≥ 20×"
        assert row["met"] == (row["ratio"]["median"] >= 20)

    def test_both_sides_are_accurate(self, quick: Path) -> None:
        (row,) = json.loads((quick / "results.json").read_text(encoding="utf-8"))["rows"]
        assert 0 <= row["error"] < 1e-13
        assert 0 <= row["rival_error"] < 1e-13

    def test_csv_holds_the_same_numbers(self, quick: Path) -> None:
        (row,) = json.loads((quick / "results.json").read_text(encoding="utf-8"))["rows"]
        with open(quick / "results.csv", encoding="utf-8", newline="") as file:
            (line,) = csv.DictReader(file)
        assert float(line["ratio_median"]) == row["ratio"]["median"]
        assert float(line["seconds_upper"]) == row["seconds"]["upper"]
        assert line["work"] == row["work"]

    def test_markdown_is_a_table(self, quick: Path) -> None:
        text = (quick / "results.md").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len(lines) == 3
        assert len({line.count(" | ") for line in lines}) == 1
        assert "every batch of C(20, 6)" in lines[2]


def row(name: str, ratio: float, goal: Goal | None = None) -> Row:
    spread = Spread(ratio, ratio, ratio, 5)
    return table.judged(Row(name, name, "–", "–", goal, seconds=spread, ratio=spread))


def test_rows_that_are_not_measured_again_stay(tmp_path: Path) -> None:
    where = {"date": "today", "cpu_count": 1, "load": 0.0}
    table.write(tmp_path, [row("b", 1.0), row("a", 2.0)], where, ("a", "b"))
    table.write(tmp_path, [row("b", 3.0)], where, ("a", "b"))
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [(r["name"], r["ratio"]["median"]) for r in rows] == [("a", 2.0), ("b", 3.0)]


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("ratio", at_least=2.0), True),
        (Goal("ratio", at_least=2.5), False),
        (Goal("ratio", at_most=2.0), True),
        (Goal("ratio", at_most=1.5), False),
        (Goal("distance", at_most=1.5), None),
        (None, None),
    ],
)
def test_a_goal_is_met_at_its_bound(goal: Goal | None, met: bool | None) -> None:
    assert row("a", 2.0, goal).met is met


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_sides_take_turns_and_the_first_round_does_not_count(clock: list[float]) -> None:
    order: list[tuple[str, int]] = []

    def side(name: str, seconds: float) -> Side:
        def run(repetition: int) -> None:
            order.append((name, repetition))
            clock[0] += 1000.0 if repetition == 0 else seconds * repetition

        return Side(run, units=10)

    times = timing.interleaved({"ours": side("ours", 1.0), "rival": side("rival", 3.0)}, repetitions=3)
    np.testing.assert_allclose(times["ours"], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(times["rival"], [0.3, 0.6, 0.9])
    assert [name for name, _ in order] == ["rival", "ours", "ours", "rival", "rival", "ours", "ours", "rival"]
    # A machine that slows down slows both: the ratio stays.
    assert timing.ratio(times["rival"], times["ours"]) == Spread.of([0.3 / 0.1, 0.6 / 0.2, 0.9 / 0.3])


def test_the_spread_is_median_and_quartiles() -> None:
    spread = Spread.of([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (spread.median, spread.lower, spread.upper, spread.repetitions) == (3.0, 2.0, 4.0, 5)


def test_fitted_exponents_of_a_power_law() -> None:
    """A constant cost hides the power of small sizes: the larger half of a line is what is fitted."""
    rows = [
        {"work": "w", "variable": "n", "value": n, "seconds": max(1e-6 * n**1.5, 1e-3)}
        for n in (8, 16, 32, 128, 256, 512)
    ]
    assert growth.exponents(rows) == {"w": {"n": 1.5}}


class TestComparisonOfResults:
    """`python -m benchmarks.compare_results OLD.json NEW.json`."""

    @staticmethod
    def entry(name: str, verdict: str = "holds", measured: float | None = 1.0, **options: Any) -> dict[str, Any]:
        return {
            "id": name,
            "verdict": verdict,
            "measured": measured,
            "interval": [0.98, 1.03],
            "seconds": 2.0,
        } | options

    def test_the_same_run_agrees(self) -> None:
        run = [self.entry("a"), self.entry("b", "refuted", None, interval=None), self.entry("c", "skipped")]
        found = compare_results.compared(run, run)
        assert (found.compared, found.equal, found.agrees) == (2, 2, True)

    @pytest.mark.parametrize(
        ("changes", "agrees"),
        [
            ({"measured": 1.029}, True),
            ({"measured": 1.031}, False),
            ({"measured": 0.979}, False),
            ({"measured": None}, False),
            ({"verdict": "refuted"}, False),
            ({"verdict": "skipped"}, False),
            ({"verdict": "inconclusive", "measured": 0.99}, False),
        ],
    )
    def test_a_number_stays_in_its_interval_and_a_verdict_stays(self, changes: dict[str, Any], agrees: bool) -> None:
        old = [self.entry("a"), self.entry("b")]
        found = compare_results.compared(old, [self.entry("a"), self.entry("b", **changes), self.entry("new")])
        assert found.agrees is agrees
        assert found.compared + len(found.missing) == 2

    @pytest.mark.parametrize(("value", "agrees"), [(2.0 + 1e-10, True), (2.0 + 1e-7, False)])
    def test_an_exact_number_stays_to_rounding(self, value: float, agrees: bool) -> None:
        for interval in ([2.0, 2.0], None):
            old = [self.entry("a", measured=2.0, interval=interval)]
            assert compare_results.compared(old, [self.entry("a", measured=value)]).agrees is agrees
        zero = [self.entry("a", measured=3e-15, interval=None)]
        assert compare_results.compared(zero, [self.entry("a", measured=-8e-15)]).agrees

    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        old, new = tmp_path / "old.json", tmp_path / "new.json"
        old.write_text(json.dumps({"claims": [self.entry("a"), self.entry("b")]}))
        new.write_text(json.dumps({"claims": [self.entry("a", measured=1.5), self.entry("b", seconds=1.0)]}))
        assert compare_results.main([str(old), str(old)]) == 0
        assert compare_results.main([str(old), str(new)]) == 1
        assert "a: holds 1.0 [0.98, 1.03] → holds 1.5" in capsys.readouterr().out
        new.write_text("{}")
        assert compare_results.main([str(old), str(new)]) == 2
        assert compare_results.main([str(old)]) == 2
