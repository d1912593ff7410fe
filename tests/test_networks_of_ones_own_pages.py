"""The made pages about networks of one's own belong to their numbers, and the example that people copy runs."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch")

import esssim as es
from esssim.report.watched import watched_section

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["map_against_training", "watched_networks"])
def test_the_page_belongs_to_its_numbers(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0


def test_the_map_predicts_training() -> None:
    rows = json.loads((ROOT / "docs" / "map_against_training.json").read_text(encoding="utf-8"))
    assert len({(row["network"], row["batch_size"], row["factor"]) for row in rows}) == 30
    assert all((row["growth"] > 1) == (row["factor"] > 1) for row in rows)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["watch_training.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "watch_training.py"))
    assert "of the critical one at b = 16" in capsys.readouterr().out
    assert es.load(tmp_path / "run.nc").sizes["record"] == 5
    assert (tmp_path / "map.png").is_file()


def test_levels_that_contradict_a_prediction_are_bold_on_the_page_of_networks(tmp_path: Path) -> None:
    runs = [
        {"network": "net", "loss": "squared", "batch_size": b, "start": start, "we_predict": [0.5, 1.0],
         "levels": {"sharpness": 2.0, "mean_square_sharpness_gauss_newton": level}}
        for b, start, level in ((8, 0.9, 0.75), (32, 0.9, 1.25), (8, 0.3, 0.1))
    ]  # fmt: skip
    (tmp_path / "watched_networks.json").write_text(json.dumps(runs), encoding="utf-8")
    text = watched_section(tmp_path / "watched_networks.json")
    assert "| net, squared | b = 8 | b = 32 |\n" in text
    assert "| sharpness λ_max(H) | 2.00 | 2.00 |\n" in text
    assert "| 0.75 | **1.250** |\n" in text
    assert "Of these 2 runs 1 came out as predicted, of all\n3, with those that start lower, 1." in text
    assert watched_section(tmp_path / "no.json") == ""
    assert (
        (ROOT / "docs" / "networks.md")
        .read_text(encoding="utf-8")
        .endswith(watched_section(ROOT / "docs" / "watched_networks.json"))
    )
