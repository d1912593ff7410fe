"""The watch over pages sees what it is there to see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import scrolls_sideways, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def page(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(f"<!doctype html><title>page</title><body>{body}", encoding="utf-8")
    return path


def test_a_page_that_says_and_asks_nothing_is_silent(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page(tmp_path, "<p>η"), width=390, scheme="dark", fragment="here") as opened:
        opened.check_silent()
        assert opened.page.evaluate("innerWidth") == 390
        assert opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert opened.page.evaluate("location.hash") == "#here"
        assert not scrolls_sideways(opened.page)


@pytest.mark.parametrize(
    "body",
    [
        "<script>console.log('hello')</script>",
        "<script>throw new Error('broken')</script>",
        "<img src='https://example.org/picture.png'>",
        "<script>fetch('https://example.org/').catch(() => 0)</script>",
    ],
)
def test_messages_errors_and_requests_are_seen(browser: Browser, tmp_path: Path, body: str) -> None:
    with visit(browser, page(tmp_path, body)) as opened:
        opened.page.wait_for_timeout(100)
        with pytest.raises(AssertionError):
            opened.check_silent()


def test_a_page_wider_than_its_window_is_seen(browser: Browser, tmp_path: Path) -> None:
    with visit(browser, page(tmp_path, "<div style='width: 500px'>wide"), width=390) as opened:
        assert scrolls_sideways(opened.page)
