"""The code on the pages about networks of one's own runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch")

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
WRITTEN = {"watch_training": ("run.nc", "run.png"), "stability_map": ("map.nc", "map.png")}


@pytest.mark.parametrize("name", WRITTEN)
def test_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), scope)
    assert all((tmp_path / file).is_file() for file in WRITTEN[name])
