"""The documentation site: it builds, its links lead somewhere, and it works from disk in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from esssim import claims
from esssim.report import published
from tests.browser import scrolls_sideways, visit
from tests.shared import once
from tests.site import DOCS, SITE, broken, build, pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
CLAIM = "minibs-settles/diabetes/b=4"
# What newcomers type, and the page or the place that has to come first.
EDGE = "reference/esssim.stability#esssim.stability.critical_step_size"
SEARCHED = {
    "critical step size": EDGE, "maximum learning rate": EDGE, "edge of stability": "question",
    "what settles at 2/eta": "question", "learning rate too high": "how-to/watch_training", "install": "start#install", "sharpness": "concepts/sharpness",
    "batch sharpness": "concepts/batch_sharpness", "gap": "concepts/gap", "my own data": "how-to/own_table",
    "csv": "how-to/own_table", "pytorch": "how-to/own_network", "hyperparameter sweep": "how-to/sweep",
    "figure for a paper": "how-to/own_figure", "cite": "how-to/cite", "gpu": "limits", "momentum": "glossary#term-momentum",
    "minibs-and-stability/not-necessary": "results/index#claim-minibs-and-stability-not-necessary",
    "MiniBS diabetes b=4": "results/index#claim-minibs-settles-diabetes-b-4",
    "q_b settles, diabetes, b = 442": "results/index#claim-mean-square-settles-diabetes-b-442",
}  # fmt: skip
AMONG_THREE = {
    "own network step size": "how-to/own_network", "is my learning rate stable": "how-to/watch_training",
    "batch size larger step": "how-to/stability_map", "bound of the gap": "how-to/own_bound",
    "minibatch hessian": "question", "confidence interval": "concepts/verdicts",
}  # fmt: skip


@pytest.fixture(scope="session")
def site(shared_folder: Path) -> Path:
    once(shared_folder, "site", lambda _: build())
    return SITE


def test_every_internal_link_and_anchor_leads_somewhere(site: Path) -> None:
    wrong = {str(page.relative_to(site)): found for page in pages(site) if (found := broken(page))}
    assert wrong == {}


def test_a_broken_link_and_a_broken_anchor_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("<p id='here'>", encoding="utf-8")
    page = tmp_path / "page.html"
    good = "<a href='there.html#here'></a><a href='there.html'></a><img src='https://example.org/a.png'>"
    page.write_text(
        f"{good}<a href='there.html#gone'></a><img src='gone.png'><a href='#nowhere'></a>", encoding="utf-8"
    )
    assert broken(page) == ["there.html#gone", "gone.png", "#nowhere"]


def test_no_page_asks_the_network_for_anything(site: Path) -> None:
    """Scripts, styles, pictures and fonts lie beside the pages."""
    asking = [
        str(page.relative_to(site))
        for page in pages(site)
        if any(mark in page.read_text(encoding="utf-8") for mark in ('src="http', 'rel="stylesheet" href="http'))
    ]
    assert asking == []


def test_every_claim_has_a_page_with_its_number_and_its_toml(site: Path) -> None:
    for name, claim in claims.registry.items():
        found = published.of(name)
        page = site / "results" / f"{name}.html"
        if found is None:
            assert not page.exists()
            continue
        text = page.read_text(encoding="utf-8")
        assert f"esssim verify {name}<" in text
        assert text.count("highlight-toml") == len(claim.experiments(False))
        if found[0]["interval"] and found[0]["interval"][0] != found[0]["interval"][1]:
            assert f"{found[0]['measured']:.3f} ({found[0]['interval'][0]:.3f} to" in text


def test_the_toml_of_a_page_is_the_experiment(site: Path, browser: Browser) -> None:
    from esssim.experiments import from_toml

    with visit(browser, site / "results" / f"{CLAIM}.html") as opened:
        text = opened.page.locator(".highlight-toml pre").inner_text()
    assert from_toml(text).to_toml() == claims.registry[CLAIM].experiments(False)[0].to_toml()


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    import esssim

    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    missing = [name for name in esssim.__all__ if f'id="esssim.{name}"' not in text and not _is_module(name)]
    assert missing == []
    # Functions that have the name of their file are documented as functions.
    assert "a constant, module" not in text
    assert "TypeAliasForwardRef" not in text
    for name in ("gap.predict", "flow.solve", "stability.diagram"):
        assert re.search(rf'class="py function">\s*<dt[^>]* id="esssim.{name}"', text), name


def test_the_gallery_draws_its_examples_and_the_reference_shows_who_uses_a_name(site: Path) -> None:
    drawn = site / "gallery" / "examples" / "pictures"
    scripts = sorted((DOCS.parent / "examples" / "pictures").glob("plot_*.py"))
    assert len(scripts) >= 7
    for script in scripts:
        page = (drawn / f"{script.stem}.html").read_text(encoding="utf-8")
        assert f"sphx_glr_{script.stem}_001.png" in page, script
    simulate = (site / "reference" / "esssim.html").read_text(encoding="utf-8").split('id="esssim.simulate"')[1]
    assert "plot_levels.html" in simulate.split("<dl")[0]


def _is_module(name: str) -> bool:
    import esssim

    return type(getattr(esssim, name)).__name__ == "module"


class TestInTheBrowser:
    PAGES = (
        "index.html", "start.html", "question.html", "concepts/mean_square_sharpness.html", "how-to/own_network.html",
        "results/index.html", f"results/{CLAIM}.html", "theory/second_order_gap.html", "gallery/levels.html",
        "gallery/examples/pictures/plot_gap.html", "gallery/examples/index.html",
        "reference/esssim.html",
    )  # fmt: skip

    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_is_silent_and_fits_a_phone(self, browser: Browser, site: Path, page: str) -> None:
        with visit(browser, site / page, width=390, scheme="dark") as opened:
            assert not scrolls_sideways(opened.page)
            assert opened.page.evaluate("document.documentElement.dataset.theme") == "dark"
            opened.check_silent()

    def test_the_table_of_results_filters(self, browser: Browser, site: Path) -> None:
        entries = [entry for entry, _ in published.results() if entry["id"] in claims.registry]
        chosen = [
            each for each in entries if each["family"] == "minibs-settles" and each["setting"]["setting"] == "diabetes"
        ]
        with visit(browser, site / "results" / "index.html") as opened:
            page = opened.page
            rows = page.locator(".claim-table tbody tr:visible")
            assert rows.count() == len(entries)
            page.fill("input[name=words]", "diagonal linear network b=8")
            assert 0 < rows.count() < len(entries)
            assert all("b=8" in each for each in rows.locator("a").all_inner_texts())
            assert rows.filter(has_text="mean-square-settles/gaussian-100x50/b=8").count() == 1
            assert rows.filter(has_text="network-minibs-settles").count() == 0
            page.fill("input[name=words]", "")
            page.select_option("select[name=setting]", "diabetes")
            page.select_option("select[name=statistic]", "MiniBS")
            assert rows.count() == len(chosen)
            page.fill("input[name=words]", "b=442")
            assert rows.count() == 1
            assert "minibs-settles/diabetes/b=442" in rows.first.inner_text()
            assert page.locator(".claim-filter output").inner_text() == f"1 of {len(entries)} claims"
            address = page.evaluate("location.hash.slice(1)")
        with visit(browser, site / "results" / "index.html", fragment=address) as again:
            assert again.page.locator(".claim-table tbody tr:visible").count() == 1
            again.page.locator(".claim-table tbody tr:visible a").click()
            assert "minibs-settles/diabetes/b=442" in again.page.locator("h1").inner_text()
            again.check_silent()

    def test_search_finds_a_page_from_disk(self, browser: Browser, site: Path) -> None:
        with visit(browser, site / "search.html", query="second_order") as opened:
            opened.page.wait_for_selector("#search-results li a")
            found = opened.page.locator("#search-results li a").all_inner_texts()
            opened.check_silent()
        assert any("second_order" in each for each in found)

    def test_what_people_search_for_comes_first(self, browser: Browser, site: Path) -> None:
        with visit(browser, site / "search.html", query="sharpness") as opened:
            opened.page.wait_for_selector("#search-results li a")
            first = opened.page.locator("#search-results li > a").first.get_attribute("href") or ""
            found = opened.page.evaluate(
                """(queries) => queries.map((query) => {
                    const best = Search._performSearch(...Search._parseQuery(query)).reverse().slice(0, 3);
                    return best.map(([page, , anchor]) => page + (anchor ?? ""));
                })""",
                [*SEARCHED, *AMONG_THREE],
            )
        # What is shown is in the order of this function.
        assert first.startswith("concepts/sharpness.html")
        wrong = {
            query: best for query, best in zip(SEARCHED, found, strict=False)
            if SEARCHED[query] != best[0] and SEARCHED[query] != best[0].partition("#")[0]
        }  # fmt: skip
        assert wrong == {}
        for query, best in zip(AMONG_THREE, found[len(SEARCHED) :], strict=True):
            assert AMONG_THREE[query] in [each.partition("#")[0] for each in best], (query, best)

    def test_code_has_copy_buttons(self, browser: Browser, site: Path) -> None:
        with visit(browser, site / "results" / f"{CLAIM}.html") as opened:
            assert opened.page.locator("button.copybtn").count() >= 3


def test_published_numbers_are_those_of_the_files() -> None:
    """What the pages show is what docs/*.json say, the newest run of each claim."""
    ids = {entry["id"] for name in published.FILES for entry in json.loads((DOCS / name).read_text())["claims"]}
    assert {entry["id"] for entry, _ in published.results()} == ids
