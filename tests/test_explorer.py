"""The explorer in headless Chromium: quick, silent, complete, and the same numbers as Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import esssim as es
from esssim.experiments import Experiment
from esssim.explorer import page
from tests.browser import Visit, scrolls_sideways, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Q = "mean_square_sharpness_gauss_newton"
# A run of a second or two: small, short, and at full speed.
SMALL = "n=12&d=5&steps=3000&b=3&noise=0.01"
# One of a fraction of a second: every batch is enumerated.
TINY = "n=8&d=3&steps=300&b=2&noise=0.01"
# What Python records of a run to compare it; critical sharpness costs as much as all others.
COMPARED = (Q, "sharpness", "minibatch_sharpness", "batch_sharpness", "gradient_noise_interaction")


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reused(browser: Browser, explorer: Path) -> Iterator[Visit]:
    """A page that several tests give other addresses; with motion reduced, drawing takes little of the time."""
    with visit(browser, explorer, fragment=TINY, reduced_motion=True) as opened:
        faster(opened.page)
        opened.page.click("#play")
        yield opened


def go(opened: Page, fragment: str) -> None:
    """To another address of the page, and to the end of its run."""
    opened.evaluate("(fragment) => { window.before = esssim.run; location.hash = fragment; }", fragment)
    opened.wait_for_function(
        "esssim.run !== window.before && (esssim.run.finished || esssim.run.message)",
        timeout=60_000,
        polling=50,
    )
    assert opened.evaluate("esssim.run.message") == ""


def recorded_by_python(toml: Path | str, *names: str) -> Any:
    """The run of a TOML of the page, with these statistics."""
    return Experiment.from_toml(toml, [f"records.statistics={json.dumps(names)}"]).run()


@pytest.fixture
def small(browser: Browser, explorer: Path) -> Iterator[Visit]:
    with visit(browser, explorer, fragment=SMALL) as opened:
        faster(opened.page)
        yield opened


def faster(opened: Page) -> None:
    opened.locator("#speed").fill("100")


def records(opened: Page) -> int:
    return int(opened.evaluate("esssim.run.records.length"))


def at_the_end(opened: Page, timeout: int = 60_000) -> None:
    # On a clock: a busy machine may draw hardly any frames, which is what is waited for by default.
    opened.wait_for_function("esssim.run.finished || esssim.run.message", timeout=timeout, polling=50)
    assert opened.evaluate("esssim.run.message") == ""


def pixels(opened: Page, name: str) -> str:
    opened.evaluate(
        """new Promise((done) => {
            Object.assign(esssim.frames, { dirty: true, drawn: -Infinity });
            requestAnimationFrame(() => requestAnimationFrame(done));
        })"""
    )
    return str(opened.evaluate(f"document.getElementById('{name}').toDataURL()"))


def test_the_page_is_small_and_asks_for_nothing(explorer: Path) -> None:
    text = explorer.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    addresses = re.findall(r"https?://[^\s\"'`)]+", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    assert "{{" not in text.split("<script>")[0]


def test_the_first_picture_comes_soon_and_silently(browser: Browser, explorer: Path) -> None:
    with visit(browser, explorer) as opened:
        opened.page.wait_for_function("esssim.run.records.length > 0 && esssim.frames.times.length > 0")
        assert opened.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") > 0
        for name in ("trajectory", "loss", "histogram", "diagram", "plane"):
            opened.page.wait_for_function(
                f"""(() => {{ const c = document.getElementById('{name}');
                return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((value) => value > 0); }})()"""
            )
        opened.check_silent()


def test_the_browser_computes_the_golden_vectors(browser: Browser, explorer: Path, golden_vectors: Path) -> None:
    with visit(browser, explorer, fragment=SMALL) as opened:
        found = opened.page.evaluate("(text) => esssim.check(JSON.parse(text))", golden_vectors.read_text())
    assert len(found) > 600
    assert [each for each in found if not each["error"] <= each["tolerance"]] == []


WITH_CRITICAL = (SMALL, f"{SMALL}&model=depth3&alpha=1.3")


@pytest.mark.parametrize(
    "fragment",
    [
        SMALL, f"{SMALL}&scheme=with_replacement", f"{SMALL}&scheme=gaussian_weights", f"{SMALL}&b=12", f"{SMALL}&model=depth3&alpha=1.3", f"{SMALL}&model=two",
        f"{SMALL}&model=regression&schedule=constant&from=0.9", f"{SMALL}&model=quadratic&schedule=constant&from=0.9",
        f"{SMALL}&model=quadratic&momentum=0.5&scheme=gaussian_weights&to=0.95", f"{SMALL}&momentum=0.5", f"{SMALL}&data=power_law&d=16",
        f"{SMALL}&start=initialisation&schedule=constant&from=0.1&alpha=0.5",
    ],
)  # fmt: skip
def test_python_repeats_the_run_of_the_toml(reused: Visit, tmp_path: Path, fragment: str) -> None:
    opened = reused.page
    go(opened, fragment)
    with opened.expect_download() as download:
        opened.click("#toml")
    path = tmp_path / "run.toml"
    download.value.save_as(path)
    found = opened.evaluate("esssim.run.records")
    reused.check_silent()
    names = [*COMPARED, *["critical_sharpness"] * (fragment in WITH_CRITICAL)]
    # A quadratic has full Hessians only.
    called = {Q: "mean_square_sharpness"} if "model=quadratic" in fragment else {}
    trace = recorded_by_python(path, *(called.get(name, name) for name in names))
    assert len(found) == 301
    assert [record["step"] for record in found] == trace["step"].values.tolist()
    np.testing.assert_allclose([record["eta"] for record in found], trace["step_size"], rtol=1e-7)
    for name in names:
        got = np.array([record[name] for record in found], dtype=float)
        # At the solution where it starts the gradients are rounding, and so are their quotients.
        np.testing.assert_allclose(got[1:], trace[called.get(name, name)].values[0, 1:], rtol=1e-5)


def presets(opened: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = opened.evaluate("esssim.presets")
    return found


WITH_PICTURES = ("full-batch-sharpness-settles", "mean-square-settles", "flow-wall")


@pytest.mark.slow
def test_every_preset_gives_its_golden_number(reused: Visit) -> None:
    """In this browser; some of them with worker, flow and pictures."""
    opened = reused.page
    every = presets(opened)
    assert len({preset["id"] for preset in every}) == len(every) >= 10
    for preset in every:
        if preset["id"] in WITH_PICTURES:
            opened.locator("#presets").select_option(preset["id"])
            opened.click("#play")
            at_the_end(opened, 240_000)
            found = opened.evaluate("esssim.golden()")
            assert opened.locator("#presets").input_value() == preset["id"]
        else:
            found = opened.evaluate("(preset) => esssim.numberOf(preset)", preset)
        assert found == pytest.approx(preset["golden"], abs=2e-6), preset["id"]
    reused.check_silent()


@pytest.mark.slow
def test_golden_numbers_are_those_of_python(browser: Browser, explorer: Path) -> None:
    tomls = {}
    with visit(browser, explorer, fragment=TINY, reduced_motion=True) as opened:
        for preset in presets(opened.page):
            opened.page.evaluate(f"esssim.choose({json.dumps(preset['id'])}, {{ play: false }})")
            opened.page.wait_for_function("esssim.run.ready")
            tomls[preset["id"]] = preset, opened.page.evaluate("esssim.toml()")
    for preset, toml in tomls.values():
        experiment, steps = Experiment.from_toml(toml), recorded_by_python(toml, "loss")["step"].values
        dynamics, records = experiment.dynamics, experiment.records
        late = es.simulate(
            experiment.model, experiment.theta0, step_size=experiment.step_size, sampling=experiment.batches,
            n_steps=dynamics.n_steps, momentum=dynamics.momentum, label_noise=dynamics.label_noise, seed=dynamics.seed,
            record=(preset["statistic"],), record_steps=steps[steps >= experiment.after], n_batches=records.n_batches,
        )  # fmt: skip
        level = (late[preset["statistic"]].values[0] * late["step_size"].values / 2).mean()
        assert level == pytest.approx(preset["golden"], abs=2e-6), preset["id"]


def test_the_flow_is_that_of_python(browser: Browser, explorer: Path, tmp_path: Path) -> None:
    with visit(browser, explorer, fragment="n=16&d=6&b=4&noise=0.02&steps=20000", reduced_motion=True) as opened:
        faster(opened.page)
        opened.page.click("#play")
        at_the_end(opened.page)
        opened.page.wait_for_function("esssim.run.flow.length >= 301", timeout=60_000)
        found = opened.page.evaluate("esssim.run.flow")
        toml = opened.page.evaluate("esssim.toml()")
    experiment = Experiment.from_toml(toml)
    solved = es.flow.solve(
        experiment.model, experiment.theta0, step_size=experiment.step_size, sampling=experiment.batches,
        n_steps=20_000, label_noise=0.02, record=(Q, "sharpness"), n_records=301,
    )  # fmt: skip
    assert [each["step"] for each in found] == solved["step"].values.tolist()
    for name in (Q, "sharpness"):
        expected = (solved[name] * solved["step_size"] / 2).values
        np.testing.assert_allclose([each[name] for each in found], expected, rtol=3e-3)


@pytest.mark.parametrize("model", ["regression", "quadratic"])
def test_the_page_says_why_there_is_no_flow(reused: Visit, tmp_path: Path, model: str) -> None:
    opened = reused.page
    go(opened, f"{TINY}&model={model}&schedule=constant&from=0.9")
    opened.wait_for_function("document.getElementById('flow-words').textContent.includes('There is no flow here')")
    assert opened.evaluate("esssim.run.flow.length") == 0
    assert opened.locator("#control-noise").is_visible() == (model == "regression")
    with opened.expect_download() as download:
        opened.click("#csv")
    download.value.save_as(tmp_path / "run.csv")
    reused.check_silent()
    columns = (tmp_path / "run.csv").read_text().splitlines()[0].split(",")
    assert ("mean_square_sharpness" in columns, Q in columns) == (model == "quadratic", model == "regression")


def test_every_control_moves_the_picture(reused: Visit) -> None:
    opened = reused.page
    go(opened, f"{TINY}&targets=own")
    moves: dict[str, Any] = {
        "alpha": "1.5", "data": "spiked", "n": "9", "d": "4", "dataSeed": "3", "scheme": "with_replacement", "b": "3",
        "to": "1.1", "noise": "60", "momentum": "0.4", "steps": "5", "seed": "7", "schedule": "constant", "from": "0.1",
        "start": "initialisation", "model": "depth3",
    }  # fmt: skip
    names = opened.evaluate("[...document.querySelectorAll('.control [id^=control-]')].map((each) => each.id.slice(8))")
    assert set(moves) == {name for name in names if not name.endswith("-note")} - {"target", "targets"}
    for name, value in moves.items():
        before = pixels(opened, "trajectory")
        control = opened.locator(f"#control-{name}")
        if control.evaluate("(each) => each.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
            control.blur()
        opened.wait_for_function(f"location.hash.includes('{name}=') && !esssim.run.finished")
        at_the_end(opened)
        assert pixels(opened, "trajectory") != before, name
    reused.check_silent()


def test_a_chip_draws_its_statistic(small: Visit) -> None:
    opened = small.page
    at_the_end(opened)
    chips = opened.locator("#legend .chip")
    assert chips.locator(".name").all_text_contents() == [
        "Q_b", "MiniBS", "sharpness", "batch sharpness", "ratio of means", "IAS", "GNI", "critical sharpness",
    ]  # fmt: skip
    for chip in chips.all():
        before = pixels(opened, "trajectory")
        shown = chip.get_attribute("aria-pressed")
        chip.click()
        assert pixels(opened, "trajectory") != before
        assert chip.get_attribute("aria-pressed") != shown
    last = opened.evaluate("esssim.run.records.at(-1)")
    for name, key in (("GNI", "gradient_noise_interaction"), ("critical sharpness", "critical_sharpness")):
        shown = chips.filter(has_text=name).locator(".value").text_content()
        assert shown == f"{last['eta'] / 2 * last[key]:.2f}"
    small.check_silent()


def test_each_control_has_a_sentence(small: Visit) -> None:
    for control in small.page.locator(".control").all():
        sentence = control.locator("small").text_content() or ""
        assert len(sentence.split()) > 4
        assert sentence.endswith(".")
        assert control.locator("label").text_content()


def test_interventions_move_eta_and_b(small: Visit) -> None:
    opened = small.page
    # Far below the edge: raised and with b = 1 the run stays bounded, whenever the hands come.
    go(opened, f"{SMALL}&from=0.2&to=0.3")
    opened.click("#restart")
    opened.wait_for_function("esssim.run.records.length > 2", polling=50)
    before = opened.evaluate("esssim.run.records.at(-1)")
    opened.click("#raise")
    opened.click("#halve")
    at_the_end(opened)
    after = opened.evaluate("esssim.run.records")
    assert {record["b"] for record in after} == {3, 1}
    jump = after[-1]["eta"] / after[0]["eta"]
    assert opened.evaluate("esssim.run.changes.length") == 2
    # The address holds both, and another visit repeats the run.
    address = opened.evaluate("location.href")
    assert "changes=" in address
    opened.reload()
    faster(opened)
    at_the_end(opened)
    again = opened.evaluate("esssim.run.records")
    assert again[-1]["eta"] == pytest.approx(after[-1]["eta"], rel=1e-5)
    assert again[before["k"]]["eta"] == before["eta"]
    assert again[-1][Q] == pytest.approx(after[-1][Q], rel=1e-3)
    assert jump > 1.25
    assert "Not repeated" in opened.evaluate("esssim.toml()")


def test_a_run_that_diverges_is_drawn_to_its_end(small: Visit) -> None:
    """Its last losses are infinite; an axis that counted up to them stopped the page for ever."""
    opened = small.page
    opened.goto(opened.url.split("#")[0] + f"#{SMALL}&changes=490:1.25:3,1050:1.25:1")
    opened.reload()
    faster(opened)
    at_the_end(opened)
    assert 1050 < opened.evaluate("esssim.run.diverged") < 3000
    assert opened.evaluate("esssim.run.records.at(-1).loss === Infinity")
    small.check_silent()


def test_downloads(small: Visit, tmp_path: Path) -> None:
    opened = small.page
    at_the_end(opened)
    kinds = {"csv": b"step,step_size,batch_size,loss,", "png": b"\x89PNG", "svg": b"<svg xmlns="}
    for kind, begins in kinds.items():
        with opened.expect_download() as download:
            opened.click(f"#{kind}")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.suffix == f".{kind}"
        assert path.read_bytes().startswith(begins)
    lines = (tmp_path / "esssim-product.csv").read_text().splitlines()
    assert len(lines) == 302
    assert len({line.count(",") for line in lines}) == 1


def drop(opened: Page, name: str, text: str) -> None:
    """Drop a file onto the page."""
    opened.evaluate(
        """([name, text]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], name));
            dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }""",
        [name, text],
    )


def test_a_table_of_ones_own(small: Visit, tmp_path: Path) -> None:
    opened, rng = small.page, np.random.default_rng(0)
    table = rng.standard_normal((20, 4))
    path = tmp_path / "own & <b>.csv"
    lines = ["a,b,<i>c</i>,y", *(",".join(map(repr, row)) for row in table.tolist())]
    path.write_text("\n".join(lines), encoding="utf-8")
    opened.set_input_files("#file", path)
    opened.wait_for_function("esssim.settings.data === 'own' && esssim.run.ready?.n === 20")
    at_the_end(opened)
    with opened.expect_download() as download:
        opened.click("#toml")
    download.value.save_as(tmp_path / "own.toml")
    trace = recorded_by_python(tmp_path / "own.toml", Q)
    last = opened.evaluate("esssim.run.records.at(-1)")
    assert last[Q] == pytest.approx(float(trace[Q][0, -1]), rel=1e-5)
    assert opened.locator("main i").count() == 0
    path.write_text("a,b\n1,2\n3,x\n", encoding="utf-8")
    opened.set_input_files("#file", [])
    opened.set_input_files("#file", path)
    opened.wait_for_function("!document.getElementById('message').hidden")
    assert opened.locator("#message").text_content() == 'Column "b", line 3: "x" is no number.'
    drop(opened, "dropped.csv", "a;b;y\n" + "\n".join(f"{k};{k * k % 7},5;{k % 3}" for k in range(9)))
    opened.wait_for_function("esssim.run.ready?.n === 9 && esssim.run.ready?.d === 2")
    assert opened.locator("#control-target option").all_text_contents() == ["a", "b", "y"]
    at_the_end(opened)
    small.check_silent()


def test_the_keyboard_is_enough(small: Visit) -> None:
    opened = small.page
    at_the_end(opened)
    opened.keyboard.press("r")
    opened.wait_for_function("esssim.run.records.length > 0")
    opened.keyboard.press("Space")
    opened.wait_for_function("document.getElementById('play').textContent.includes('play')")
    opened.wait_for_timeout(100)
    before = records(opened)
    opened.keyboard.press(".")
    opened.wait_for_function(f"esssim.run.records.length === {before + 1}")
    opened.keyboard.press("e")
    opened.wait_for_function("esssim.run.changes.length === 1")
    # Tab goes to every control that is shown.
    reached = set()
    opened.evaluate("document.activeElement.blur()")
    for _ in range(80):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.id"))
    shown = opened.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter((x) => x.checkVisibility()).map((x) => x.id)"
    )
    assert set(shown) - reached == set()
    opened.locator("#control-noise").focus()
    value = opened.evaluate("esssim.settings.noise")
    opened.keyboard.press("ArrowRight")
    opened.wait_for_function(f"esssim.settings.noise > {value}")


def test_the_tour_has_six_steps(browser: Browser, explorer: Path) -> None:
    with visit(browser, explorer, fragment=SMALL) as opened:
        opened.page.keyboard.press("t")
        titles = []
        for _ in range(6):
            titles.append(opened.page.locator("#tour-title").text_content())
            assert opened.page.locator("#tour-card").is_visible()
            assert opened.page.locator(".in-tour").count() == 1
            opened.page.keyboard.press("ArrowRight")
        assert [title[0] for title in titles if title] == list("123456")
        assert not opened.page.locator("#tour-card").is_visible()
        opened.check_silent()


def test_no_width_scrolls_sideways(reused: Visit) -> None:
    opened = reused.page
    go(opened, SMALL)
    try:
        for scheme in ("light", "dark"):
            opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
            for width in (390, 820, 1440):
                opened.set_viewport_size({"width": width, "height": 900})
                assert not scrolls_sideways(opened)
                for button in ("play", "step", "raise", "halve", "tour"):
                    box = opened.locator(f"#{button}").bounding_box()
                    assert box is not None
                    assert box["x"] >= 0
                    assert box["x"] + box["width"] <= width
    finally:
        opened.emulate_media(color_scheme="light")
    reused.check_silent()


def test_reduced_motion_waits_for_a_hand(browser: Browser, explorer: Path) -> None:
    with visit(browser, explorer, fragment=SMALL, reduced_motion=True) as opened:
        opened.page.wait_for_function("esssim.run.ready")
        opened.page.wait_for_timeout(300)
        assert records(opened.page) <= 1
        opened.page.click("#play")
        opened.page.wait_for_function("esssim.run.records.length > 5")


@pytest.mark.parametrize(
    "fragment", ["%E0%A4%A", "b=-3&n=1e9&d=x&model=none&changes=a:b,1:2", "data=own", "b=100&n=10"]
)
def test_a_broken_address_still_runs(browser: Browser, explorer: Path, fragment: str) -> None:
    with visit(browser, explorer, fragment=f"{fragment}&steps=300") as opened:
        opened.page.wait_for_function("esssim.run.records.length > 2")
        opened.check_silent()


def test_the_command_writes_the_page(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("explore", "--out", tmp_path / "page.html", "--json")
    assert code == 0
    answer = json.loads(out)
    assert Path(answer["file"]).read_text(encoding="utf-8") == page()
    assert answer["opened"] is False
    opened: list[str] = []
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert run("explore")[0] == 0
    assert opened == [(tmp_path / "cache" / "explorer.html").as_uri()]
    code, _, error = run("explore", "--out", tmp_path)
    assert code == 2
    assert "folder" in error
