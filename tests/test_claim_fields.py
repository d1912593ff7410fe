"""What a claim says of itself: formula, day of the prediction, statistics, and the values with which it holds."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from esssim.claims import Registry, claim, registry
from esssim.claims.claim import Measurement, Predicted, around, at_least, at_most
from esssim.papers import OURS, PAPERS
from esssim.report.mathml import mathml
from esssim.statistics.table import STATISTICS

DOCS = Path(__file__).parents[1] / "docs"
MATHML = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def published() -> list[dict[str, object]]:
    return [
        entry for name in ("results.json", "networks.json")
        for entry in json.loads((DOCS / name).read_text(encoding="utf-8"))["claims"]
    ]  # fmt: skip


def test_every_claim_has_a_formula_that_browsers_draw() -> None:
    for latex in {each.formula for each in registry.values()}:
        math = ElementTree.fromstring(mathml(latex, "block"))
        assert math.tag == f"{MATHML}math"
        written = "".join(math.itertext())
        assert written
        # What the converter does not know stays as it was written.
        assert "\\" not in written, latex
        # MathML Core has one variant of letters.
        assert set(re.findall(r'mathvariant="([^"]*)"', mathml(latex))) <= {"normal"}, latex


def test_every_prediction_has_a_day_before_its_numbers_were_published(published: list[dict[str, object]]) -> None:
    results = json.loads((DOCS / "results.json").read_text(encoding="utf-8"))
    last = datetime.date.fromisoformat(results["environment"]["date"][:10])
    for each in registry.values():
        assert each.we_predict.on is not None, each.id
        assert datetime.date(2026, 11, 24) <= datetime.date.fromisoformat(each.we_predict.on), each.id
    known = {str(entry["id"]) for entry in published}
    assert all(datetime.date.fromisoformat(str(registry[name].we_predict.on)) <= last for name in known & set(registry))


def test_statistics_are_those_of_the_table() -> None:
    for each in registry.values():
        assert set(each.about) <= set(STATISTICS), each.id
    settles = [each for each in registry.values() if each.family.endswith("-settles")]
    assert settles
    assert all(len(each.about) == 1 for each in settles)


def test_what_is_accepted_agrees_with_every_published_verdict(published: list[dict[str, object]]) -> None:
    """The interval lies inside where the claim holds, and does not where it is refuted."""
    compared = 0
    # Refuted for another of its numbers than the one that is shown.
    others = {"gap-crossover", "network-below-the-edge", "flow-bursts"}
    for entry in published:
        each = registry.get(str(entry["id"]))
        if each is None or each.accepts is None or entry["measured"] is None or each.family in others:
            continue
        low, high = each.accepts
        interval = entry["interval"] or [entry["measured"], entry["measured"]]
        lower, upper = (float("nan") if end is None else float(end) for end in interval)  # type: ignore[union-attr]
        value = float(entry["measured"])  # type: ignore[arg-type]
        compared += 1
        if entry["verdict"] == "holds":
            assert low <= value <= high, entry["id"]
        elif entry["verdict"] == "refuted":
            assert not (low <= lower and upper <= high), entry["id"]
    assert compared > 400


def test_papers_have_addresses() -> None:
    for paper in PAPERS:
        assert re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{5}(v\d)?|openreview\.net/forum\?id=[\w-]+)", paper.url)
        number = re.search(r"\d{4}\.\d{5}", paper.where)
        assert number is None or number[0] in paper.url
        version = re.search(r" (v\d)$", paper.where)
        assert version is None or paper.url.endswith(version[1])


def test_fields_of_a_claim_of_ones_own() -> None:
    own = Registry()

    @claim(
        id="mine/{size}", states="s {size}", source=OURS, source_predicts="1", method="m", registry=own,
        we_predict=lambda size: Predicted.holds("1", on="2026-01-02") if size == 2 else Predicted.none(),
        over=[{"size": 1}, {"size": 2}], formula=r"\frac{1}{2}", about=("sharpness",), stated="2026-01-01",
        accepts=lambda size: around(size, 0.5),
    )  # fmt: skip
    def mine(*, size: int, quick: bool) -> Measurement:
        return Measurement("holds", "")

    first, second = own["mine/1"], own["mine/2"]
    # Braces of LaTeX are no fields of the setting.
    assert (first.formula, first.about, first.accepts) == (r"\frac{1}{2}", ("sharpness",), (0.5, 1.5))
    assert (first.we_predict.on, second.we_predict.on) == ("2026-01-01", "2026-01-02")
    entry = first.as_dict()
    assert (entry["formula"], entry["accepts"], entry["about"]) == (r"\frac{1}{2}", [0.5, 1.5], ["sharpness"])


def test_open_ends() -> None:
    assert at_most(2.0)[1] == 2.0 == at_least(2.0)[0]
    assert at_most(2.0)[0] == -at_least(2.0)[1] == float("-inf")
