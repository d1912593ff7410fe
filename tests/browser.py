"""Pages in a real browser: headless Chromium, driven by Playwright. The fixture is `browser`, in conftest.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# A page may load itself and what it holds, nothing else.
OWN = ("file:", "blob:", "data:", "about:")


@dataclass
class Visit:
    """A page that is open, what it said on the console, and what it asked of the network."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check_silent(self) -> None:
        """No message, no uncaught error, no request."""
        assert self.messages == []
        assert self.requests == []


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Without Chromium the test is skipped, and fails where CI is set: .ci/chromium installs it."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        reason = "no Chromium is installed: run .ci/chromium, or install the package chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs rights that a container does not give; the tests open files of this repository only.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser,
    path: Path,
    *,
    fragment: str = "",
    query: str = "",
    width: int = 1440,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    reduced_motion: bool = False,
) -> Iterator[Visit]:
    """Open a file, without a network, in a window of this size."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce" if reduced_motion else "no-preference",
        offline=True,
        accept_downloads=True,
    )
    context.set_default_timeout(10_000)
    try:
        opened = Visit(context.new_page())
        opened.page.on("console", lambda message: opened.messages.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.messages.append(f"error: {error}"))
        opened.page.on("request", lambda request: _note(opened, request.url))
        address = path.resolve().as_uri() + (f"?q={quote(query)}" if query else "")
        opened.page.goto(address + (f"#{fragment}" if fragment else ""))
        yield opened
    finally:
        context.close()


def _note(opened: Visit, url: str) -> None:
    if not url.startswith(OWN):
        opened.requests.append(url)


def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
