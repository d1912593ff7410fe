"""How the package is written: short docstrings, and no word that only its authors know."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "esssim"
FILES = sorted(PACKAGE.rglob("*.py"))
# "About 150 words": formulas, signs and shapes count as words too.
MOST_WORDS = 160
# Words of the first authors, which no newcomer knows; "settle" and "tail" are words of the field elsewhere.
PRIVATE = re.compile(r"\b(bent|fresh|alike|and said to be|tells? (?:them|it|whether)|told apart)\b")


def documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Every public function and class with its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node) or ""


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Comments and texts, line by line with their numbers."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            yield from enumerate(token.string.split("\n"), token.start[0])


def test_there_is_something_to_read() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_are_short(path: Path) -> None:
    found = {name: len(text.split()) for name, text in documented(ast.parse(path.read_text(encoding="utf-8")))}
    assert {name: words for name, words in found.items() if words > MOST_WORDS} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_private_words(path: Path) -> None:
    lines = prose(path.read_text(encoding="utf-8"))
    assert [(k, line.strip()) for k, line in lines if PRIVATE.search(line)] == []


def test_the_checks_find_what_they_look_for() -> None:
    long = "def f():\n" + '    """' + "word " * (MOST_WORDS + 1) + '"""\n'
    assert [len(text.split()) for _, text in documented(ast.parse(long))] == [MOST_WORDS + 1]
    assert [bool(PRIVATE.search(line)) for _, line in prose('# a fresh start\nx = "fine"\n')] == [True, False]
