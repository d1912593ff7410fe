"""Sizes and times of the pages that people open, in headless Chromium: `python -m benchmarks.pages [REPEATS]`.

The first picture of the explorer and the report of every claim are timed from the start of the navigation, each in a
window of its own; frames of the explorer while it trains n = 64 samples of d = 32 inputs, with browser and worker on
one core.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from esssim import report
from esssim._environment import environment
from esssim.explorer import page
from tests import published_report
from tests.browser import chromium, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPEATS = 7
LARGE = "n=64&d=32&b=8&steps=400000"
SECONDS = 4.0


def main(arguments: list[str]) -> int:
    repeats = int(arguments[0]) if arguments else REPEATS
    with tempfile.TemporaryDirectory() as folder:
        explorer, claims = Path(folder, "explorer.html"), Path(folder, "report.html")
        explorer.write_text(page(), encoding="utf-8")
        measured = published_report.verdicts()
        claims.write_text(report.render_report(measured, environment(0)), encoding="utf-8")
        print(f"load average {os.getloadavg()[0]:.1f}, median (least to most) of {repeats}")
        kilobytes, megabytes = explorer.stat().st_size / 1e3, claims.stat().st_size / 1e6
        print(f"explorer: {kilobytes:.0f} kB; report of {len(measured)} claims: {megabytes:.1f} MB")
        with chromium() as browser:
            tell("explorer", [first_picture(browser, explorer) for _ in range(repeats)], "ms")
            tell("report", [load(browser, claims) for _ in range(repeats)], "ms")
        with one_core(), chromium() as browser:
            tell("explorer at n = 64, d = 32 on one core", [frames(browser, explorer) for _ in range(repeats)], "")
    return 0


def tell(page: str, found: list[dict[str, float]], unit: str) -> None:
    for name in found[0]:
        values = [each[name] for each in found]
        middle, low, high = (f"{value:.4g}" for value in (statistics.median(values), min(values), max(values)))
        print(f"{page}, {name}: {middle} ({low} to {high}) {unit}".rstrip())


def first_picture(browser: Browser, path: Path) -> dict[str, float]:
    """Milliseconds until the first record has been drawn."""
    with visit(browser, path) as opened:
        opened.page.wait_for_function("esssim.frames.first")
        return {"first picture": opened.page.evaluate("esssim.frames.first")}


def load(browser: Browser, path: Path) -> dict[str, float]:
    """Milliseconds until something is seen, until the page has been read and its scripts have run; of the processor."""
    with visit(browser, path) as opened:
        session = opened.page.context.new_cdp_session(opened.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        opened.page.reload()
        opened.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        found: dict[str, float] = opened.page.evaluate(
            """(() => ({
                "first paint": performance.getEntriesByName("first-contentful-paint")[0].startTime,
                "loaded": performance.getEntriesByType("navigation")[0].loadEventEnd,
            }))()"""
        )
    return found | {"of the processor": 1000 * metrics["TaskDuration"]}


def frames(browser: Browser, path: Path) -> dict[str, float]:
    """How long drawing a frame takes, and how often there is one, while the run goes on."""
    with visit(browser, path, fragment=LARGE) as opened:
        opened.page.wait_for_function("esssim.run.records.length > 3")
        opened.page.evaluate("(esssim.frames.times.length = 0, esssim.frames.gaps.length = 0)")
        opened.page.wait_for_timeout(1000 * SECONDS)
        assert not opened.page.evaluate("esssim.run.finished")
        times, gaps = opened.page.evaluate("[esssim.frames.times, esssim.frames.gaps]")
    return {"ms to draw": statistics.median(times), "frames a second": 1000 / statistics.median(gaps)}


@contextmanager
def one_core() -> Iterator[None]:
    """What is started in here shares one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
