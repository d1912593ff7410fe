"""A page of docs/ that a script keeps: what every one of them has to do."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def copied(name: str, files: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """docs/NAME.py and its files in a folder of their own; runs it with these arguments."""
    for file in files:
        shutil.copy(DOCS / file, folder / file)
    main = runpy.run_path(str(folder / f"{name}.py"))["main"]

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
        code: int = main()
        return code

    return run


def check_is_kept(
    name: str, run: Callable[..., int], folder: Path, number: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """--check passes, notices another number on the page and says what to run; anything else is no command of it."""
    page = folder / f"{name}.md"
    assert run("--check") == 0
    whole = page.read_text(encoding="utf-8")
    page.write_text(whole.replace(*number, 1), encoding="utf-8")
    assert run("--check") == 1
    assert f"is out of date: run python docs/{name}.py" in capsys.readouterr().err
    assert run("now") == 2
    page.write_text(whole, encoding="utf-8")
