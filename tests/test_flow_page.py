"""docs/flow.md: every published comparison of SGD with the flow is on it, with the numbers of the claim."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.pages import DOCS, check_is_kept, copied

FILES = ("flow.py", "flow.md", "results.json", "networks.json")


def claim(name: str, verdict: str = "holds") -> dict[str, Any]:
    family, _, where = name.partition("/")
    values = {"mean_square_sharpness_ratio": 1.02446, "minibatch_sharpness_ratio": 0.98761}
    return {"id": name, "family": family, "where": where, "verdict": verdict, "interval": [0.98, 1.03], "reason": "so",
            "values": values, "statement": "It is so."}  # fmt: skip


def test_the_page_is_that_of_the_published_results() -> None:
    page = (DOCS / "flow.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(DOCS / "flow.py"))["markdown"]()
    for name in ("results.json", "networks.json"):
        for entry in json.loads((DOCS / name).read_text(encoding="utf-8"))["claims"]:
            if entry["id"].startswith(("flow-levels/", "network-flow-levels/")) and entry["verdict"] != "skipped":
                low, high = entry["interval"]
                ratio = f"{entry['values']['mean_square_sharpness_ratio']:.4f}"
                ends = f"| {low:.3f} to {high:.3f} |"
                assert any(
                    line.startswith(f"| {entry['where']} | {ratio} |") and ends in line for line in page.splitlines()
                )


def test_rows() -> None:
    scope = runpy.run_path(str(DOCS / "flow.py"))
    found = scope["levels"](
        [
            claim("flow-levels/spiked-40x20", "refuted"),
            claim("network-flow-levels/tanh-5-20-2, b = 4"),
            claim("network-flow-levels/gelu/b=4", "skipped"),
            claim("minibs-settles/setting/b=4"),
            claim("imbalance"),
        ]
    ).splitlines()[2:]
    assert found == [
        "| spiked-40x20 | 1.0245 | 0.9876 | 0.980 to 1.030 | refuted |",
        "| tanh-5-20-2, b = 4 | 1.0245 | 0.9876 | 0.980 to 1.030 | holds |",
    ]
    others = scope["others"](
        [claim("flow-bias/gaussian"), claim("flow-batch-sharpness/all"), claim("flow-batch-sharpness/x/b=1")]
    )
    assert others.splitlines()[2:] == [
        "| `flow-bias/gaussian`: It is so. | so | holds |",
        "| `flow-batch-sharpness/all`: It is so. | so | holds |",
    ]


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("flow", FILES, tmp_path, monkeypatch)
    check_is_kept("flow", run, tmp_path, ("1.0245", "1.0246"), capsys)
    (tmp_path / "flow.md").unlink()
    assert run("--check") == 1
    assert run() == 0
    assert (tmp_path / "flow.md").read_text(encoding="utf-8") == (DOCS / "flow.md").read_text(encoding="utf-8")
