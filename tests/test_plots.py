"""Pictures of a report: drawn from the runs that were verified, self-contained, and told apart without colour."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from esssim import plots
from esssim.experiments import RampExperiment
from esssim.experiments import ramp as ramp_presets
from esssim.plots import ramp as ramp_plots


@functools.cache
def tiny(setting: str, b: int, quick: bool) -> RampExperiment:
    return RampExperiment(setting, b, n_steps=1000, n_replicas=3, n_records=13, n_batches=4)


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("ESSSIM_CACHE", raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        monkeypatch.setattr(ramp_presets, "ramp_experiment", tiny)
        yield monkeypatch


def test_an_inconclusive_level_is_drawn_open() -> None:
    rows = [
        {"setting": "diabetes", "n_samples": 442, "batch_size": b, "statistic": name, "level": 1.0, "lower": 0.9}
        | {"upper": 1.1, "verdict": "inconclusive" if b == 1 else "settles", "tolerance": 0.05}
        for b in (1, 442)
        for name in plots.LOOKS
    ]
    with plots.style():
        figure = plots.levels_figure(rows)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for name, look in plots.LOOKS.items():
        opened, decided = lines[f"_{name} open"], lines[f"_{name} decided"]
        assert (list(opened.get_xdata()), opened.get_markerfacecolor()) == ([1.0], plots.CASING)
        assert (list(decided.get_xdata()), decided.get_markerfacecolor()) == ([442.0], look.color)


def test_statistics_differ_in_colour_marker_and_line() -> None:
    looks = plots.LOOKS.values()
    for aspect in ("label", "color", "marker"):
        assert len({getattr(look, aspect) for look in looks}) == len(looks)
    assert len({(look.line, look.main) for look in looks}) == len(looks)


def test_report_pictures_are_self_contained(patched: pytest.MonkeyPatch) -> None:
    pictures = plots.report_pictures(quick=True)
    assert len(pictures) == 2
    page = "<div>" + "".join(pictures.values()) + "</div>"
    assert not re.search(r"http|xlink|<!DOCTYPE|<\?xml|<metadata", page)
    ids = [element.get("id") for element in ElementTree.fromstring(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert {first or second for first, second in used} <= set(ids)
    assert pictures == plots.report_pictures(quick=True)


def test_report_pictures_draw_only_what_was_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramp_plots, "run_once", pytest.fail)
    monkeypatch.setattr(ramp_plots, "ramp_level", pytest.fail)
    assert plots.report_pictures(True, [{}, {"setting": "diabetes", "b": 16}]) == {}
