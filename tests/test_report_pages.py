"""Pages of reports in a browser: the table filters, links lead to claims, hostile names stay text, paper is white."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import esssim as es
from esssim import cli, report
from esssim._environment import environment
from esssim.claims import Cell, Measurement, Predicted
from esssim.report.answer import contradicted
from esssim.report.words import tone
from tests import published_report
from tests.browser import Visit, scrolls_sideways, visit
from tests.fake_claims import claim, level, verdicts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ATTACK = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\"'$x$&lt;"
EXAMPLE = Path(__file__).parents[1] / "examples" / "constant.toml"


@pytest.fixture(scope="module")
def measured() -> list[es.claims.Verdict]:
    return published_report.verdicts()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, measured: list[es.claims.Verdict]) -> Path:
    """The report of every claim."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.render_report(measured, environment(7)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(browser: Browser, page: Path) -> Iterator[Visit]:
    """The report of every claim, open for all tests."""
    with visit(browser, page) as found:
        yield found


@pytest.fixture
def opened(whole: Visit) -> Visit:
    """As it is when it is opened."""
    whole.page.evaluate("history.replaceState(null, '', location.pathname); filters.reset(); apply(); scrollTo(0, 0)")
    return whole


def shown(opened: Visit) -> list[str]:
    """The ids of the rows that can be seen."""
    return opened.page.evaluate(
        "[...document.querySelectorAll('.listing tbody tr')].filter(r => r.offsetParent).map(r => r.dataset.claim)"
    )


def cards(opened: Visit) -> list[str]:
    return opened.page.evaluate("[...document.querySelectorAll('article')].filter(a => a.offsetParent).map(a => a.id)")


def test_every_claim_is_there_and_nothing_is_asked(page: Path, opened: Visit) -> None:
    assert page.stat().st_size < 5e6
    assert len(cards(opened)) == len(shown(opened)) == len(published_report.entries()) > 500
    assert opened.page.locator("math").count() > 500
    opened.check_silent()


def test_it_fits_a_phone_in_light_and_dark(opened: Visit) -> None:
    try:
        for scheme, color in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 29)")):
            opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for width in (390, 1440):
                opened.page.set_viewport_size({"width": width, "height": 900})
                assert not scrolls_sideways(opened.page)
            assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == color
    finally:
        opened.page.emulate_media(color_scheme="light")


def test_words_statistic_setting_and_verdict_filter(opened: Visit, measured: list[es.claims.Verdict]) -> None:
    form = opened.page.locator("form.filters")
    form.get_by_label("words to look for").fill("minibs diabetes")
    by_words = shown(opened)
    assert by_words
    assert all("minibs" in name and "diabetes" in name for name in by_words if name.startswith("minibs"))
    assert cards(opened) == by_words
    form.get_by_label("words to look for").fill("")
    form.get_by_label("statistic").select_option("minibatch_sharpness")
    about = [each.claim.id for each in measured if "minibatch_sharpness" in each.claim.about]
    assert shown(opened) == about
    form.get_by_label("setting").select_option("diabetes")
    both = [name for name in about if name.split("/")[1] == "diabetes"]
    assert shown(opened) == cards(opened) == both
    form.get_by_label("verdict").select_option("undecided")
    every = {each.claim.id: tone(each.claim.expected, each.measurement.verdict) for each in measured}
    assert shown(opened) == [name for name in both if every[name] == "undecided"]
    assert opened.page.locator("#shown").inner_text() == f"{len(shown(opened))} of {len(measured)}"
    form.get_by_role("button", name="all").click()
    opened.page.wait_for_function(f"document.querySelector('#shown').textContent.startsWith('{len(measured)}')")
    assert len(cards(opened)) == len(measured)
    opened.check_silent()


def test_families_without_a_claim_are_hidden(opened: Visit) -> None:
    opened.page.get_by_label("words to look for").fill("imbalance/product-form")
    heads = opened.page.evaluate(
        "[...document.querySelectorAll('.family h2')].filter(h => h.offsetParent).map(h => h.textContent)"
    )
    assert heads == ["imbalance"]


def test_a_link_leads_to_its_claim_even_where_it_is_filtered_out(opened: Visit) -> None:
    opened.page.get_by_label("words to look for").fill("imbalance")
    opened.page.evaluate("location.hash = '#minibs-settles/diabetes/b=4'")
    card = opened.page.locator("article[id='minibs-settles/diabetes/b=4']")
    card.wait_for(state="visible")
    opened.page.wait_for_function(
        "Math.abs(document.getElementById('minibs-settles/diabetes/b=4').getBoundingClientRect().top) < innerHeight"
    )
    opened.page.locator(".listing tbody a", has_text="flow-wall/noise").click()
    assert opened.page.evaluate("location.hash") == "#flow-wall/noise"
    opened.page.evaluate("location.hash = '#%E0%A4%A'")
    opened.page.wait_for_timeout(50)
    opened.check_silent()


def test_every_mark_of_the_picture_and_every_link_has_its_claim(
    opened: Visit, measured: list[es.claims.Verdict]
) -> None:
    missing = opened.page.evaluate(
        "[...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(h => h.startsWith('#') && "
        "!document.getElementById(decodeURIComponent(h.slice(1))))"
    )
    assert missing == []
    below = [
        each for each in measured
        if each.claim.cell and not each.claim.cell.full_batch and each.measurement.value is not None
    ]  # fmt: skip
    assert opened.page.locator("svg.headline a").count() == len(below)
    assert opened.page.locator("header p a").count() == len(contradicted(measured))


def test_the_keyboard_reaches_the_filters_and_the_claims(opened: Visit) -> None:
    opened.page.get_by_label("words to look for").focus()
    opened.page.keyboard.type("flow-wall/noise")
    for _ in range(6):
        opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.getAttribute('href')") == "#flow-wall/noise"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("location.hash") == "#flow-wall/noise"


def test_on_paper_it_is_dark_on_white_with_every_claim_and_no_form(
    browser: Browser, tmp_path: Path, measured: list[es.claims.Verdict]
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report.render_report(measured[:40], environment(7)), encoding="utf-8")
    with visit(browser, path, scheme="dark") as opened:
        opened.page.emulate_media(media="print", color_scheme="dark")
        style = "getComputedStyle(document.body)"
        assert opened.page.evaluate(f"[{style}.backgroundColor, {style}.color]") == [
            "rgb(255, 255, 255)",
            "rgb(0, 0, 0)",
        ]
        assert not opened.page.locator("form.filters").is_visible()
        assert len(cards(opened)) == 40
        assert opened.page.pdf().startswith(b"%PDF")


def check_harmless(browser: Browser, path: Path) -> None:
    with visit(browser, path) as opened:
        opened.page.wait_for_timeout(100)
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("img, iframe, object").count() == 0
        opened.check_silent()
        assert ATTACK[:30] in opened.page.locator("body").inner_text()
        assert not scrolls_sideways(opened.page)


def test_names_with_markup_in_a_report_stay_text(browser: Browser, tmp_path: Path) -> None:
    base = claim("a/b/b=1", "open", level(1.0, 0.1, "holds"))
    rows = [{ATTACK: ATTACK, "level": 1.0, "step_size": 0.1}, {ATTACK: ATTACK, "level": 1.1, "step_size": 0.2}]
    hostile = replace(
        base, id=f"{ATTACK}/{ATTACK}/b=1", sentence=ATTACK, where=ATTACK, source_predicts=ATTACK, method=ATTACK,
        we_predict=Predicted("open", ATTACK, on=ATTACK), about=(ATTACK,), cell=Cell(ATTACK, ATTACK, 1), formula=ATTACK,
        measure=lambda quick: Measurement("holds", ATTACK, 1.0, (0.9, 1.1), 10.0, rows),
    )  # fmt: skip
    path = tmp_path / "report.html"
    measured = verdicts(hostile, replace(hostile, id=f"{ATTACK}/other/b=2"))
    path.write_text(report.render_report(measured, {ATTACK: ATTACK}, {ATTACK: "<svg></svg>"}), encoding="utf-8")
    check_harmless(browser, path)
    with visit(browser, path) as opened:
        opened.page.locator(".listing tbody a").first.click()
        opened.page.get_by_label("setting").select_option(index=1)
        assert len(shown(opened)) >= 1
        opened.check_silent()


def test_column_and_file_names_with_markup_stay_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / f"{ATTACK.replace('/', '')}.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([ATTACK, "x", ATTACK + "y"])
        writer.writerows([k, k * k % 7, (3 * k) % 5] for k in range(12))
    assert cli.run(["measure", str(path), "--target", ATTACK + "y", "--batch-size", "2", "--out", str(tmp_path)]) == 0
    check_harmless(browser, tmp_path / "measure.html")


def test_the_page_of_a_run_and_of_the_saved_run_agree(browser: Browser, tmp_path: Path) -> None:
    name = ATTACK.replace("/", "")
    config = tmp_path / f"{name}.toml"
    config.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    changes = ["--set", "dynamics.n_steps=400", "--set", "dynamics.n_replicas=2", "--set", "records.n_records=21"]
    assert cli.run(["run", str(config), *changes]) == 0
    check_harmless(browser, tmp_path / f"{name}.html")
    assert cli.run(["report", str(tmp_path / f"{name}.nc"), "--out", str(tmp_path / "again")]) == 0
    first, second = (
        folder / f"{name}.html" for folder in (tmp_path, tmp_path / "again")
    )  # fmt: skip
    pages = []
    for each in (first, second):
        with visit(browser, each) as opened:
            pages.append(
                (opened.page.locator("header").all_inner_texts(), opened.page.locator("dl").first.inner_text())
            )
            opened.check_silent()
    assert pages[0] == pages[1]


def test_a_run_saved_from_python_has_a_page(browser: Browser, tmp_path: Path) -> None:
    table = es.data.gaussian(10, 3, seed=0)
    trace = es.simulate(
        es.LinearRegression(table.inputs, table.targets), [0.0, 0.0, 0.0], step_size=0.05, n_steps=60, n_records=30,
        sampling=es.WithoutReplacement(2), record=("sharpness",), seed=1,
    )  # fmt: skip
    es.save(trace, tmp_path / "mine.nc")
    assert cli.run(["report", str(tmp_path / "mine.nc"), "--after", "20"]) == 0
    with visit(browser, tmp_path / "mine.html") as opened:
        text = opened.page.locator("body").inner_text()
        value = es.settling.level(trace, "sharpness", after=20).value
        assert f"{value:.4g}" in text
        assert "The run took 60 steps with η = 0.05 in 1 replica, which did not diverge." in text
        opened.check_silent()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.nc"], "there is no file 'nothing.nc'"),
        ([str(EXAMPLE)], "is none or is damaged"),
    ],
)
def test_what_is_no_run_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("after", ["-1", "1000", "nan"])
def test_a_step_that_the_run_does_not_have_is_refused(
    tmp_path: Path, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = es.data.gaussian(6, 2, seed=0)
    trace = es.simulate(
        es.LinearRegression(table.inputs, table.targets), [0.0, 0.0], step_size=0.05, n_steps=20, n_records=10,
        sampling=es.WithoutReplacement(2), record=("loss",), seed=1,
    )  # fmt: skip
    es.save(trace, tmp_path / "mine.nc")
    assert cli.run(["report", str(tmp_path / "mine.nc"), "--after", after]) == 2
    assert "error: after must be " in capsys.readouterr().err
