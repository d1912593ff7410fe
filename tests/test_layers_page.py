"""docs/layers.md: which layers of torch the bridge takes, a part of it made anew, and its check."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

from tests.pages import DOCS, check_is_kept, copied

PART = (
    "nn.ReLU", "nn.PReLU", "nn.Hardtanh", "nn.Hardsigmoid", "nn.Conv2d", "nn.LayerNorm", "nn.BatchNorm1d in eval mode", "nn.LSTM",
    "nn.MultiheadAttention", "nn.EmbeddingBag", "weight_norm", "F.dropout", "torch.zeros filled by index",
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "layers.py"))


def stored() -> dict[str, list[dict[str, Any]]]:
    return json.loads((DOCS / "layers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PART)
def test_a_row_made_anew(script: dict[str, Any], name: str) -> None:
    if script["version"]() != stored()["torch"][0]["version"]:
        pytest.skip("the page is of another torch")
    (row,) = (row for row in stored()["layers"] if row["name"] == name)
    assert script["row"](name) == row


def test_nothing_that_is_accepted_differs() -> None:
    rows = stored()["layers"]
    assert len(rows) >= 60
    assert {row["verdict"] for row in rows} == {"agrees", "refused"}
    assert all(row["error"] <= 1e-6 for row in rows if row["verdict"] == "agrees")


def test_the_page_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied("layers", ("layers.py", "layers.json", "layers.md"), tmp_path, monkeypatch)
    check_is_kept("layers", run, tmp_path, ("1e-06", "1e-05"), capsys)
