"""Figures: the pictures can be read, the files are whole, the cache and the command line do what they say."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import esssim as es
import figures
from esssim import _scripts, cli, plots
from figures import cache, style
from figures.__main__ import main
from figures.gallery import gallery
from tests.figure_builds import NAMES, draw_committed, quick

# The narrowest page, the usual one, and the one that is wider than high.
WIDTHS = ("neurips1", "icml2", "slides")
NETWORKS = ("networks", "network_gap", "interventions")


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "figure-cache"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ESSSIM_CACHE", str(folder))
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        yield


def texts_of(monkeypatch: pytest.MonkeyPatch, build: Callable[[], Figure]) -> tuple[Figure, list[Text]]:
    """The figure, and what of its text is drawn."""
    texts: dict[int, Text] = {}
    draw = Text.draw

    def recorded(self: Text, *arguments: object, **options: object) -> None:
        texts[id(self)] = self
        draw(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", recorded)
        figure = build()
    return figure, [text for text in texts.values() if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_figure(name: str, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, texts = texts_of(monkeypatch, lambda: draw_committed(name, width))
    assert len(texts) > 10
    assert figure.get_figwidth() == pytest.approx(plots.page(width).width)
    assert figure.get_figheight() <= plots.page(width).tallest + 1e-9
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)
    for text, box in boxes:
        inside = figure.bbox.padded(0.5)
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, text


def test_pages_have_the_widths_that_journals_ask_for() -> None:
    for width, inches in (("icml1", 3.25), ("icml2", 6.75), ("neurips2", 5.5), ("jmlr2", 6.0)):
        assert plots.page(width).width == pytest.approx(inches)


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_is_written_whole_with_embedded_fonts(name: str, tmp_path: Path) -> None:
    paths = figures.build(name, tmp_path, quick=True, formats=style.STILL)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.suffix for path in paths] == [".pdf", ".svg", ".png", ".csv", ".json", ".md"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert (tmp_path / f"{name}.png").stat().st_size < 200_000
    content = (tmp_path / f"{name}.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content
    fonts = set(re.findall(rb"/FontName /([\w+-]+)", content))
    assert fonts
    assert all(b"STIX" in font for font in fonts)
    assert content.count(b"/FontFile2") == len(fonts)
    provenance = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert provenance["versions"]["esssim"] == es.__version__
    assert '"seed"' in json.dumps(provenance["configuration"])
    for words in (provenance["alt"], provenance["caption"]):
        assert not re.search(r"\{\w*\}|\bnan\b|\binf\b", words)
    # Two sentences, setting and finding, and numbers in both texts or at least in the caption.
    assert len(re.findall(r"[.] [A-Z(]", provenance["caption"])) == 1
    assert re.search(r"\d", provenance["caption"].split(". ")[-1])


def test_provenance_names_the_commit(tmp_path: Path) -> None:
    if not (Path(figures.__file__).parents[1] / ".git").exists() or shutil.which("git") is None:
        assert style.commit() is None
        return
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert style.commit() in (head, head + "+")


@pytest.mark.parametrize("name", ["levels", "ramp"])
def test_the_edge_is_drawn_and_named_in_every_panel(name: str) -> None:
    panels = [axes for axes in quick(name).draw("icml2").axes if axes.axison]
    assert panels
    for axes in panels:
        (edge,) = (line for line in axes.lines if line.get_label() == "_edge")
        assert set(edge.get_ydata()) == {1.0}
        assert r"$2/\eta$" in [text.get_text() for text in axes.texts]
        low, high = axes.get_ylim()
        assert low < 1 < high


def test_batch_sizes_that_would_touch_are_left_out() -> None:
    with plots.style():
        figure = Figure(figsize=(1.6, 1.5))
        axes = figure.subplots()
        plots.batch_axis(axes, [1, 2, 4, 8, 16, 32, 50], 50)
        axes.set_xlim(0.9, 55)
        plots.thin_labels(figure)
    shown = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
    assert shown[-1] == "$n=50$"
    assert "32" not in shown
    assert len(axes.get_xticks()) == 7


def test_animation_lasts_a_frame_per_step(tmp_path: Path) -> None:
    figures.build("teaching", tmp_path, width="icml1", quick=True, formats=("gif",))
    n_steps = 1 + max(row["step"] for row in quick("teaching").rows)
    with Image.open(tmp_path / "teaching.gif") as picture:
        # Equal frames are stored once, for longer; times are stored in hundredths of a second.
        milliseconds = [(picture.seek(k), picture.info["duration"])[1] for k in range(picture.n_frames)]
    assert len(milliseconds) > n_steps / 2
    assert sum(milliseconds) == pytest.approx(1000 * n_steps / style.FRAMES_PER_SECOND, rel=0.05)


class TestFfmpeg:
    @pytest.fixture(autouse=True)
    def empty_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def run(self, tmp_path: Path) -> tuple[int, Path]:
        out = tmp_path / "out"
        arguments = ["figure", "teaching", "--quick", "--width", "icml1", "--format", "mp4", "--out", str(out)]
        return cli.run(arguments), out / "teaching.mp4"

    def program(self, tmp_path: Path, script: str) -> None:
        path = tmp_path / "bin" / "ffmpeg"
        path.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
        path.chmod(0o755)

    def test_absent(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, film = self.run(tmp_path)
        assert code == 2
        line = "error: format mp4 needs the program ffmpeg, which is not there; gif needs nothing\n"
        assert capsys.readouterr().err == line
        assert not film.parent.exists()

    def test_failing_says_why_in_one_line(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.program(tmp_path, "import sys\nsys.exit('Unknown encoder\\n  h264')")
        code, film = self.run(tmp_path)
        assert code == 2
        assert "error: format mp4: ffmpeg failed: Unknown encoder h264; gif needs no ffmpeg\n" in capfd.readouterr().err
        assert not film.exists()

    def test_gets_every_frame_of_the_film(self, tmp_path: Path) -> None:
        """A film of what it is sent: its arguments and the number of bytes."""
        script = "import sys\nsize = len(sys.stdin.buffer.read())\nopen(sys.argv[-1], 'w').write(f'{size} {sys.argv}')"
        self.program(tmp_path, script)
        code, film = self.run(tmp_path)
        assert code == 0
        size, arguments = film.read_text(encoding="utf-8").split(maxsplit=1)
        width, height = (int(part) for part in re.search(r"'(\d+)x(\d+)'", arguments).groups())  # type: ignore[union-attr]
        n_frames = 1 + max(row["step"] for row in quick("teaching").rows)
        assert int(size) == 4 * width * height * n_frames
        # Half of the players take no film of an odd number of pixels.
        assert (width % 2, height % 2) == (0, 0)
        assert f"'-framerate', '{style.FRAMES_PER_SECOND}'" in arguments


def test_rows_are_computed_once_for_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path / "cache"))
    script, told = ModuleType("counting"), []

    def collect(configuration: dict[str, int], tell: Callable[[int], None]) -> list[dict[str, float]]:
        tell(configuration["n"])
        return [{"x": 0.1 + configuration["n"]}]

    script.collect = collect  # type: ignore[attr-defined]
    for n in (1, 1, 2):
        assert cache.rows(script, "counting", {"n": n}, told.append) == [{"x": 0.1 + n}]
    assert told == [1, 2]
    for path in (tmp_path / "cache").iterdir():
        path.write_text("damaged", encoding="utf-8")
    cache.rows(script, "counting", {"n": 1}, told.append)
    shutil.rmtree(tmp_path / "cache")
    cache.rows(script, "counting", {"n": 1}, told.append)
    assert len(told) == 4
    (tmp_path / "cache" / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path / "cache" / "file"))
    assert cache.rows(script, "counting", {"n": 1}, told.append) == [{"x": 1.1}]


def test_a_new_look_keeps_the_rows_and_a_new_computation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import os\nALT = 'a'\nN = 1\ndef helper():\n    return N\ndef collect():\n    return helper() + 1\n"
        "def draw():\n    pass\n"
    )

    def key(text: str) -> str:
        script = ModuleType("any")
        exec(text, script.__dict__)
        return cache.key(script, {})

    before = key(source)
    assert key(source.replace("'a'", "'b'").replace("draw():\n    pass", "draw():\n    return 1")) == before
    for old, new in (("N = 1", "N = 2"), ("return N", "return -N"), ("helper() + 1", "helper() + 2")):
        assert key(source.replace(old, new)) != before
    monkeypatch.setattr(cache._source, "digest", lambda: "other code")
    assert key(source) != before


def test_command_builds_a_figure_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["figure", "teaching", "--quick", "--format", "svg", "--width", "jmlr1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == ["teaching.svg", "teaching.csv", "teaching.json", "teaching.md"]
    assert all((tmp_path / name).is_file() for name in answer["files"])
    assert cli.run(["figure", "teaching", "--quick", "--format", "png", "--out", "new/folder"]) == 0
    assert capsys.readouterr().out.split() == [f"new/folder/teaching.{end}" for end in ("png", "csv", "json", "md")]


def test_list_says_a_sentence_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["figure", "--list"]) == 0
    listed = capsys.readouterr().out
    assert cli.run(["figure", "--list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["figures"]
    assert [entry["name"] for entry in entries] == list(NAMES)
    for entry in entries:
        assert entry["name"] in listed
        assert " ".join(entry["shows"].split()[:4]) in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["levles"], "did you mean 'levels'?"),
        (["levels", "--width", "icml3"], "got 'icml3'; did you mean 'icml2'?"),
        (["levels", "--format", "pfd"], "got 'pfd'; did you mean 'pdf'?"),
        (
            ["levels", "--format", "gif"],
            "format must be one of pdf, svg, png for a figure that does not move, got 'gif'",
        ),
        ([], "figure must be named, got none; `esssim figure --list` shows them"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("figures.cache.rows", pytest.fail)
    assert cli.run(["figure", *arguments, "--out", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert not (tmp_path / "none").exists()
    names = [word for word in arguments if word not in ("--width", "--format")]
    if names == ["levles"]:
        assert main([*names, "--out", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err


def test_programs_that_are_not_there_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ValueError, match="mp4 needs the program ffmpeg"):
        figures.check("teaching", "icml2", ["mp4"])
    with pytest.raises(ValueError, match="usetex needs latex and dvipng, not found on PATH"):
        figures.check("levels", "icml2", usetex=True)
    assert figures.check("teaching", "icml2")[1] == ("pdf", "svg", "png", "gif")
    monkeypatch.setattr("shutil.which", lambda name: None if name == "dvipng" else name)
    with pytest.raises(ValueError, match="usetex needs dvipng, not found"):
        figures.check("levels", "icml2", usetex=True)
    assert figures.check("teaching", "icml2")[1] == ("pdf", "svg", "png", "gif", "mp4")


class TestWithoutTorch:
    @pytest.fixture(autouse=True)
    def without_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.import_module("esssim._extras"), "find_spec", lambda name: None)
        monkeypatch.setattr("figures.cache.rows", pytest.fail)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_one_figure_says_what_to_install(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = (
            f"error: figure '{name}' draws torch networks, and PyTorch is not installed: pip install 'esssim[bridge]'\n"
        )
        for command in (cli.run, main):
            arguments = [name, "--quick", "--out", str(tmp_path / "none")]
            assert command(["figure", *arguments] if command is cli.run else arguments) == 2
            captured = capsys.readouterr()
            assert (captured.out, captured.err) == ("", line)
        assert not (tmp_path / "none").exists()

    def test_all_figures_go_on_with_the_rest(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built: list[str] = []
        monkeypatch.setattr("figures.__main__.build", lambda name, *_, **__: built.append(name) or [])
        assert main(["--quick", "--out", str(tmp_path)]) == 0
        assert built == [name for name in NAMES if name not in NETWORKS]
        words = "PyTorch is not installed: pip install 'esssim[bridge]'"
        assert capsys.readouterr().err == f"not built: {', '.join(NETWORKS)}: {words}\n"


def test_text_is_escaped_for_latex_outside_of_formulas() -> None:
    with plots.style(usetex=True):
        figure = Figure()
        text = figure.text(0, 0, "mean (95 %), 1–2, $a–%$")
        style._escape_for_tex(figure)
    assert text.get_text() == r"mean (95 \%), 1--2, $a–%$"


def test_gallery_shows_every_figure(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.md").write_text(f"![alt]({name}.png)\n\ncaption of {name}\n", encoding="utf-8")
    (tmp_path / "teaching.gif").touch()
    page = gallery(tmp_path, "output/")
    for name in NAMES:
        assert f"](output/{name}.png)" in page
        assert f"](output/{name}.csv)" in page
        assert f"caption of {name}" in page
    assert "](output/teaching.gif)" in page


def test_committed_gallery_is_that_of_the_committed_figures() -> None:
    folder = Path(figures.__file__).parent
    assert (folder / "README.md").read_text(encoding="utf-8") == gallery(folder / "output", "output/")
    for name in NAMES:
        assert (folder / "output" / f"{name}.png").is_file(), name


def test_scripts_have_one_name_wherever_they_lie() -> None:
    package = _scripts.scripts()
    assert package.__name__ == "esssim.figures"
    assert package is _scripts.scripts()
    assert package.FIGURES == figures.FIGURES
