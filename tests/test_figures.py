"""Figures: the pictures hold the numbers of the public interface, and can be read."""

from __future__ import annotations

import csv
import functools
import importlib.util
import itertools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import esssim as es
import figures
from esssim import plots
from esssim.claims.ramp import trajectory
from esssim.experiments import RampExperiment, ramp_level
from esssim.plots import ramp as ramp_plots
from figures.__main__ import gallery, main

NAMES = tuple(figures.FIGURES)
SUFFIXES = ("pdf", "svg", "png", "csv", "json", "md")


@functools.cache
def tiny(setting: str, b: int, quick: bool) -> RampExperiment:
    return RampExperiment(setting, b, n_steps=4000, n_replicas=3, n_records=25, n_batches=8)


@dataclass
class Built:
    """The folder of all four figures in quick mode, and the figures themselves."""

    folder: Path
    drawn: dict[str, Figure] = field(default_factory=dict)

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("ESSSIM_CACHE", raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        monkeypatch.setattr(ramp_plots, "experiment", tiny)
        yield monkeypatch


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, patched: pytest.MonkeyPatch) -> Built:
    result = Built(tmp_path_factory.mktemp("figures"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        savefig = Figure.savefig

        def recorded(self: Figure, path: Path, **options: object) -> None:
            result.drawn[path.name.split(".")[1]] = self
            savefig(self, path, **options)

        monkeypatch.setattr(Figure, "savefig", recorded)
        assert main(["--quick", "--out", str(result.folder)]) == 0
    return result


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    texts = []
    draw = Text.draw

    def recorded(self: Text, *arguments: object, **options: object) -> None:
        if self.get_visible() and self.get_text().strip():
            texts.append(self)
        draw(self, *arguments, **options)

    monkeypatch.setattr(Text, "draw", recorded)
    with plots.style():
        FigureCanvasAgg(figure).draw()
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_is_written_whole(built: Built, name: str) -> None:
    for suffix in SUFFIXES:
        assert (built.folder / f"{name}.{suffix}").stat().st_size > 0
    assert not list(built.folder.glob(".*"))
    provenance = json.loads((built.folder / f"{name}.json").read_text(encoding="utf-8"))
    assert provenance["versions"]["esssim"] == es.__version__
    assert '"seed"' in json.dumps(provenance["configuration"])
    assert (built.folder / f"{name}.png").stat().st_size < 150_000


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_figure(
    built: Built, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = built.drawn[name]
    texts = drawn_texts(figure, monkeypatch)
    assert len(texts) > 10
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("name", NAMES)
def test_pdf_embeds_truetype_fonts_only(built: Built, name: str) -> None:
    content = (built.folder / f"{name}.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content
    fonts = set(re.findall(rb"/FontName /([\w+-]+)", content))
    assert fonts
    assert all(b"STIX" in font for font in fonts)


@pytest.mark.parametrize("name", ["levels", "ramp"])
def test_the_edge_is_drawn_and_named_in_every_panel(built: Built, name: str) -> None:
    panels = [axes for axes in built.drawn[name].axes if axes.axison]
    assert panels
    for axes in panels:
        (edge,) = (line for line in axes.lines if line.get_label() == "_edge")
        assert set(edge.get_ydata()) == {1.0}
        assert r"$2/\eta$" in [text.get_text() for text in axes.texts]
        low, high = axes.get_ylim()
        assert low < 1 < high


def test_levels_are_those_of_the_experiments(built: Built) -> None:
    rows = built.rows("levels")
    assert {row["batch_size"] for row in rows} == {"1", "8", "100"}
    assert len(rows) == 3 * len(plots.LOOKS)
    for row in rows:
        level = ramp_level(tiny(row["setting"], int(row["batch_size"]), True), row["statistic"])
        drawn = [float(row[key]) for key in ("level", "lower", "upper", "ess")]
        np.testing.assert_allclose(drawn, [level.value, *level.interval, level.ess], rtol=1e-8)
        assert row["verdict"] == level.verdict


def test_ramp_is_that_of_the_experiments(built: Built) -> None:
    for b in (1, 8, 100):
        mine = [row for row in built.rows("ramp") if row["batch_size"] == str(b)]
        run = tiny(ramp_plots.RAMP_SETTING, b, True)
        for name in plots.LOOKS:
            points = trajectory(run, name)
            np.testing.assert_allclose([float(row[name]) for row in mine], [p["level"] for p in points], rtol=1e-8)
            for row in mine:
                assert float(row[f"{name}_lowest"]) <= float(row[name]) <= float(row[f"{name}_highest"])
        ratios = [p["step_size"] / run.first_edge for p in points]
        np.testing.assert_allclose([float(row["relative_step_size"]) for row in mine], ratios, rtol=1e-8)


def test_gap_is_minibatch_sharpness_minus_sharpness(built: Built) -> None:
    rows = built.rows("gap")
    assert {row["ensemble"] for row in rows} == {"gaussian", "spiked", "power_law"}
    for row in rows:
        n, d, b = (int(row[key]) for key in ("n_samples", "n_features", "batch_size"))
        table = getattr(es.data, row["ensemble"])(n, d, seed=11)
        problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(d)
        n_batches = None if row["exact"] == "True" else int(row["n_batches"])
        minibs = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(b), n_batches=n_batches, seed=11)
        sharpness = es.sharpness(problem, theta)
        np.testing.assert_allclose(float(row["gap"]), minibs.value / sharpness - 1, rtol=1e-6)
        deviations = problem.sample_hessians(theta, np.arange(n)) - problem.hessian(theta)
        bound = np.sqrt((n - b) / (b * (n - 1)) * (deviations**2).sum(axis=(1, 2)).mean()) / sharpness
        np.testing.assert_allclose(float(row["bound"]), bound, rtol=1e-7)
        assert 0 <= float(row["gap"]) <= bound
        if b in (1, n - 1):
            assert row["exact"] == "True"


def test_stability_diagram_is_that_of_the_public_functions(built: Built) -> None:
    from figures.stability import SEED, D, N

    table = es.data.gaussian(N, D, seed=SEED)
    problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(D)
    unit = 2 / es.sharpness(problem, theta)
    rows = built.rows("stability")
    for row in rows:
        sampling, ratio = es.WithoutReplacement(int(row["batch_size"])), float(row["relative_step_size"])
        if row["threshold"] == "mean_square":
            np.testing.assert_allclose(ratio * unit, es.stability.critical_step_size(problem, theta, sampling))
        if row["threshold"] == "sharpness":
            assert ratio == 1.0
        if row["threshold"] == "almost_sure":
            assert float(row["lower"]) <= ratio <= float(row["upper"])
        if not row["threshold"] and row["batch_size"] == str(N):
            modes = np.linalg.eigvalsh(problem.hessian(theta))
            rate = np.log(np.abs(1 - ratio * unit * modes).max())
            np.testing.assert_allclose(float(row["growth_rate"]), rate, atol=1e-7)


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
    monkeypatch.setattr(ramp_plots, "run_ramp", pytest.fail)
    monkeypatch.setattr(ramp_plots, "ramp_level", pytest.fail)
    assert plots.report_pictures(True, ["imbalance", "minibs-settles/diabetes/b=16"]) == {}


def test_gallery_shows_every_figure(built: Built) -> None:
    page = (built.folder / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"]({name}.png)" in page
        assert f"]({name}.csv)" in page
    assert not re.search(r"\{\w*\}|\bnan\b|\binf\b", page)
    assert "](output/gap.png)" in gallery(built.folder, "output/")


def test_an_unknown_figure_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["gap", "levles", "--out", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "error: figure must be one of 'levels', 'ramp', 'gap', 'stability', got 'levles'; did you mean 'levels'?\n"
    )
    assert not (tmp_path / "none").exists()


def test_scripts_work_under_another_package_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(figures.__file__)
    spec = importlib.util.spec_from_file_location("elsewhere", source, submodule_search_locations=[str(source.parent)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    for name in ("elsewhere", "elsewhere.gap", "elsewhere.style"):
        monkeypatch.setitem(sys.modules, name, package)
    del sys.modules["elsewhere.gap"], sys.modules["elsewhere.style"]
    spec.loader.exec_module(package)
    assert [path.name for path in package.build("gap", tmp_path, True)] == [f"gap.{suffix}" for suffix in SUFFIXES]
