"""Every block of code on the pages of docs/ runs: Python, and the commands of esssim, in the order of the page."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from esssim.statistics import STATISTICS
from tests.conftest import Run

DOCS = Path(__file__).parents[1] / "docs"
# What the site is made from by scripts has no code of its own.
MADE = ("reference", "theory", "gallery")
# Cells, whose results the site shows, are run when it is built: test_site.py.
BLOCK = re.compile(r"^```(python|sh|console)\n(.*?)^```$", re.M | re.S)
# What the text of a page says about the output of its code.
SAYS = {
    "start.md": (r"\nsharpness +0\.\d+  below", r"minibatch_sharpness +1\.[1-4]\d  above", r"gauss_newton +(0\.9[5-9]|1\.0[0-5])  settles"),
    "how-to/own_claim.md": (r"double-batch/wine (holds|refuted)",),
    "concepts/verdicts.md": (r"^settles$",),
}  # fmt: skip


@pytest.fixture(autouse=True)
def table_as_it_was() -> Iterator[None]:
    """A page that adds a statistic of its own adds it for itself."""
    before = dict(STATISTICS)
    yield
    STATISTICS.clear()
    STATISTICS.update(before)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


PAGES = [
    page for page in sorted(DOCS.rglob("*.md")) if not set(MADE) & set(page.relative_to(DOCS).parts) and blocks(page)
]


def commands(text: str) -> list[list[str]]:
    """The lines of a block that call esssim."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [line[1:] for line in lines if line[:1] == ["esssim"]]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("examples", "docs"):
        (tmp_path / name).symlink_to(DOCS.parent / name)
    scope: dict[str, object] = {"__name__": "page"}
    said = io.StringIO()
    for kind, text in blocks(page):
        if kind == "python":
            with warnings.catch_warnings(), contextlib.redirect_stdout(said):
                exec(compile(text, str(page), "exec"), scope)
        elif kind == "sh":
            for arguments in commands(text):
                code, out, err = run(*arguments)
                assert code == 0, f"esssim {shlex.join(arguments)}\n{out}{err}"
        else:
            for arguments in commands(text):
                check_command(arguments)
    assert "nan" not in said.getvalue()
    for pattern in SAYS.get(str(page.relative_to(DOCS)), ()):
        assert re.search(pattern, said.getvalue()), said.getvalue()


def check_command(arguments: list[str]) -> None:
    """A command that takes too long to run here: its name and its options exist."""
    from typer.main import get_command

    from esssim.cli import app

    group = get_command(app)
    command = group.commands[arguments[0]]  # type: ignore[attr-defined]
    command.make_context(arguments[0], list(arguments[1:]))


def test_every_page_is_in_a_table_of_contents() -> None:
    """Sphinx refuses the site otherwise: a new page is named in the index of its folder, or of one above."""
    pages = [page for page in DOCS.rglob("*.md") if not {*MADE, "_sphinx"} & set(page.relative_to(DOCS).parts)]
    named = {
        (index.parent / (entry[1] or entry[2])).resolve()
        for index in pages
        for table in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(encoding="utf-8"), re.M | re.S)
        for entry in re.finditer(r"^(?:[^<\n]+<([^>\n]+)>|([\w./-]+))$", table, re.M)
    }
    assert [page for page in pages if page.with_suffix("").resolve() not in named and page != DOCS / "index.md"] == []


def test_there_are_pages_with_code() -> None:
    assert len(PAGES) > 20
    cells = [page for page in DOCS.rglob("*.md") if "```{code-cell}" in page.read_text(encoding="utf-8")]
    assert all("kernelspec" in page.read_text(encoding="utf-8") for page in cells)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    check_command(["verify", "--quick"])
    with pytest.raises(KeyError):
        check_command(["verifi"])
    with pytest.raises(Exception, match="No such option"):
        check_command(["verify", "--fast"])
