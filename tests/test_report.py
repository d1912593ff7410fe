"""Report: files that say what was measured, in words nobody can misread, and ask nobody for anything."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from esssim import report
from esssim._environment import environment
from esssim.claims import Cell, Claim, Measurement, Predicted, Verdict
from esssim.experiments import RampExperiment
from esssim.papers import COHEN, Paper
from esssim.report import indices
from esssim.report.__main__ import main
from esssim.report.answer import answer, settled
from esssim.report.forecast import Forecast, announcement
from esssim.report.mathml import mathml
from esssim.report.scale import scale, strip, ticks
from esssim.report.tables import level_table, other_table
from esssim.report.words import spoken, spoken_verdict, summary
from tests.fake_claims import (
    AS_PREDICTED,
    CONTRADICTION,
    HOSTILE,
    UNDECIDED,
    UNDECIDED_OPEN,
    claim,
    level,
    registry,
    verdicts,
)

EVERYTHING = (*AS_PREDICTED, CONTRADICTION, UNDECIDED, UNDECIDED_OPEN)
VOID = {"meta", "br", "circle", "line", "rect", "path", "polyline", "input", "mspace"}


class Structure(HTMLParser):
    """Refuses tags that are not closed in order, and keeps what the tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert name != "src"
            if name == "id":
                assert value not in self.anchors
                self.anchors.add(value or "")
            if name.endswith("href"):
                self.targets.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(measured: list[Verdict], pictures: dict[str, str] | None = None) -> str:
    return report.render_report(measured, environment(7), pictures)


@pytest.mark.parametrize(
    ("expected", "outcome", "words"),
    [
        ("holds", "holds", "holds, as predicted"),
        ("refuted", "refuted", "REFUTED, as we predict"),
        ("holds", "refuted", "CONTRADICTS OUR PREDICTION: refuted"),
        ("refuted", "holds", "CONTRADICTS OUR PREDICTION: holds"),
        ("open", "holds", "holds (we made no prediction)"),
        ("open", "refuted", "REFUTED (we made no prediction)"),
        ("holds", "inconclusive", "no verdict: it drifts"),
        ("open", "inconclusive", "no verdict: it drifts"),
    ],
)
def test_verdicts_are_spoken_plainly(expected: str, outcome: str, words: str) -> None:
    assert spoken(expected, outcome, "it drifts") == words  # type: ignore[arg-type]


def test_too_few_samples_are_named_as_the_reason() -> None:
    (verdict,) = verdicts(UNDECIDED)
    assert spoken_verdict(verdict) == "no verdict: 31 effective samples"
    assert spoken("holds", "inconclusive", "it drifts", 31.0) == "no verdict: 31 effective samples"


def test_summary_counts_every_claim_once() -> None:
    words = summary(verdicts(*EVERYTHING))
    assert words.startswith("7 claims in 1.8 s: ")
    assert sum(map(int, re.findall(r"[:;] (\d+) ", words))) == len(EVERYTHING)
    assert "1 CONTRADICTING OUR PREDICTION" in words


class TestPage:
    def test_is_well_formed_and_asks_nobody_for_anything(self) -> None:
        page = page_of(verdicts(*EVERYTHING))
        structure = Structure(page)
        assert not re.search(r"//\w(?!rxiv)|\bsrc\s*=|<link|@import|url\(", page.replace("https://www.w3.org", ""))
        assert {"link", "img", "iframe", "object"}.isdisjoint(structure.tags)
        assert structure.tags.count("script") == 1
        inside = [unquote(target[1:]) for target in structure.targets if target.startswith("#")]
        assert {item.id for item in EVERYTHING} <= set(inside) <= structure.anchors
        assert {target for target in structure.targets if not target.startswith("#")} == {COHEN.url}

    def test_says_everything_about_every_claim(self) -> None:
        text = Structure(page_of(verdicts(*EVERYTHING))).text
        for item in EVERYTHING:
            for words in (
                item.id,
                item.statement,
                str(item.source),
                item.source_predicts,
                item.we_predict.words,
                item.method,
                f"esssim verify {item.id}",
            ):
                assert words in text
        for words in (
            "REFUTED, as we predict",
            "CONTRADICTS OUR PREDICTION: refuted",
            "no verdict: 31 effective samples",
        ):
            assert words in text

    def test_escapes_text(self) -> None:
        assert HOSTILE in verdicts(*EVERYTHING)[0].claim.statement
        rows = Measurement("holds", HOSTILE, rows=[{HOSTILE: HOSTILE}])
        page = page_of(verdicts(claim("family/hostile", "holds", rows)), {HOSTILE: "<svg></svg>"})
        assert page.count("<script") == 1
        # The statement and the answer, the result, a column and its cell, the title of a picture.
        assert Structure(page).text.count(HOSTILE.rstrip(".")) == 6

    def test_no_text_of_a_claim_becomes_markup_or_an_address(self) -> None:
        paper = Paper("key", HOSTILE, HOSTILE, "", "javascript:alert(1)")
        hostile = replace(
            AS_PREDICTED[0], id=f"{HOSTILE}/{HOSTILE}/b=1", source=paper, source_predicts=HOSTILE, method=HOSTILE,
            we_predict=Predicted("open", HOSTILE, on=HOSTILE), about=(HOSTILE,), formula=HOSTILE,
            cell=Cell(HOSTILE, HOSTILE, 1),
        )  # fmt: skip
        page = page_of(verdicts(hostile, replace(hostile, id=hostile.id + "2")))
        structure = Structure(page)
        assert structure.tags.count("script") == 1
        assert not [target for target in structure.targets if not target.startswith("#")]

    def test_a_formula_a_day_and_a_source_stand_beside_the_claim(self) -> None:
        item = replace(
            AS_PREDICTED[0], formula=r"\frac{\eta}{2}Q_b=1", we_predict=Predicted("holds", "1", on="2026-11-24")
        )
        page = page_of(verdicts(item))
        assert "<mfrac>" in page
        assert "stated on 2026-11-24" in page
        assert f'<a href="{COHEN.url}" rel="noreferrer">{COHEN}</a>'.replace("&", "&amp;") in page

    def test_draws_every_number_and_the_course_of_levels(self) -> None:
        for item, scales, charts in ((AS_PREDICTED[0], 1, 1), (AS_PREDICTED[3], 1, 0), (UNDECIDED_OPEN, 0, 0)):
            page = page_of(verdicts(item))
            assert (page.count('<svg class="scale"'), page.count('<svg class="chart"')) == (scales, charts)

    def test_shows_the_first_rows_and_says_so(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0]))
        assert page.count('<tr><td class="n">') == 10
        assert "the first 10 of 30 rows; all are in the CSV" in page

    def test_embeds_pictures_and_environment(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0]), {"The headline": '<svg viewBox="0 0 1 1"></svg>'})
        assert '<svg viewBox="0 0 1 1"></svg>' in page
        assert "The headline" in page
        assert environment(7)["python"] in page  # type: ignore[operator]

    def test_an_id_with_a_percent_sign_is_still_an_address(self) -> None:
        (item,) = verdicts(replace(AS_PREDICTED[0], id="levels/5%25/b=1"))
        structure = Structure(page_of([item]))
        assert "#levels/5%2525/b=1" in structure.targets
        assert unquote("levels/5%2525/b=1") in structure.anchors

    def test_families_that_come_back_are_told_once(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0], UNDECIDED, AS_PREDICTED[1]))
        Structure(page)
        assert page.count(f"<h2>{AS_PREDICTED[0].family}</h2>") == 1

    def test_a_run_that_decides_several_claims_is_shown_once(self) -> None:
        run = RampExperiment("diabetes", 4)
        first, second = (
            replace(AS_PREDICTED[3], id=f"one/{k}", experiments=lambda quick: (run,)) for k in (1, 2)
        )  # fmt: skip
        page = page_of(verdicts(first, second))
        assert page.count("n_steps = 400_000") == 1
        assert 'Its run is shown at <a href="#one/1">one/1</a>.' in page

    def test_numbers_that_are_not_finite_do_not_break_it(self) -> None:
        diverged = Measurement("inconclusive", "every replica diverged", math.nan, (math.nan, math.nan), 0.0)
        with_rows = replace(
            diverged, rows=[{"step_size": 0.1, "level": math.nan}, {"step_size": 0.2, "level": math.inf}]
        )
        open_ended = replace(diverged, value=1.0, interval=(-math.inf, math.inf))
        measured = (
            claim("a/b", "holds", diverged),
            claim("a/c/b=1", "holds", with_rows),
            claim("a/d/b=1", "open", open_ended),
        )
        Structure(page_of(verdicts(*measured)))

    def test_without_a_claim_there_is_no_answer(self) -> None:
        skipped = claim("a/b", "holds", Measurement("skipped", "no torch"))
        assert "no torch" in Structure(page_of(verdicts(skipped))).text


class TestMathML:
    @pytest.mark.parametrize(
        "latex",
        [
            r"\text{<script>alert(1)</script>}",
            r"\text{<img src=x onerror=alert(1)>}",
            r"\text{a & b}",
            r"\href{javascript:alert(1)}{x}",
            r"\frac{",
            r"\left(",
            HOSTILE,
        ],
    )
    def test_what_is_no_formula_is_shown_as_its_source(self, latex: str) -> None:
        found = mathml(latex)
        assert not re.search(r"<script|<img|<[^>]*(href|onerror)=", found)
        if not found.startswith("<math"):
            assert found == f"<code>{escape(latex)}</code>"

    def test_letters_of_expectations_are_drawn_without_a_font(self) -> None:
        assert "<mi>𝔼</mi>" in unescape(mathml(r"\mathbb{E}"))


class TestAnswer:
    def test_is_two_sentences_about_levels_and_predictions(self) -> None:
        finding, predictions = answer(verdicts(*EVERYTHING))
        assert finding == "Below the full batch, settles settles at 2/η in 1 of 4 settings, at 0.80 to 1.40 times it."
        assert predictions == "Of our 4 predictions that could be decided, 3 came out as stated and 1 did not."

    def test_names_the_statistic_that_settles_most_often(self) -> None:
        outcomes = {
            "Sharpness λ": ["refuted", "refuted"],
            "Mean-square Q": ["holds", "holds"],
            "E[g]": ["holds", "refuted"],
        }
        measured = [
            replace(claim(f"{name}/{k}/b=1", "open", level(1.0, 0.0, how)), cell=Cell(f"t{k}", name, 1))  # type: ignore[arg-type]
            for name, hows in outcomes.items() for k, how in enumerate(hows)
        ]  # fmt: skip
        finding, predictions = answer(verdicts(*measured))
        assert finding == (
            "Below the full batch, mean-square Q settles at 2/η in 2 of 2 settings, at 1.00 to 1.00 times it; "
            "no other statistic settles there more often than E[g], in 1 of 2 settings."
        )
        assert predictions == "None of our predictions could be decided."
        assert [each.often for each in settled(verdicts(*measured))] == [2, 1, 0]

    def test_the_full_batch_is_no_mini_batch(self) -> None:
        full = replace(AS_PREDICTED[0], cell=Cell("table", "settles", 100, full_batch=True))
        assert settled(verdicts(full)) == []

    def test_one_claim_is_its_own_answer(self) -> None:
        item = replace(AS_PREDICTED[3], sentence="The sum is 1.")
        assert answer(verdicts(item)) == (
            "The sum is 1: holds, as predicted.",
            "Our one prediction that could be decided came out as stated.",
        )

    def test_claims_without_levels_are_counted(self) -> None:
        others = [AS_PREDICTED[3], replace(AS_PREDICTED[3], id="identity/other"), UNDECIDED_OPEN]
        assert answer(verdicts(*others))[0] == "2 of 3 claims hold, 0 are refuted and 1 has no verdict."


class TestIndices:
    def test_formulas_have_indices_and_code_stays(self) -> None:
        assert indices.html("E_B λ_max(H_B) < n_steps & M_{b+1}") == (
            "E<sub>B</sub> λ<sub>max</sub>(H<sub>B</sub>) &lt; n_steps &amp; M<sub>b+1</sub>"
        )
        assert indices.html("<b>_x") == "&lt;b&gt;_x"

    def test_those_of_svg_come_back_to_the_line(self) -> None:
        shifts = [
            float(shift) * (0.75 if index else 1.0)
            for shift, index in re.findall(r'dy="(-?[\d.]+)em"( class="index")?', indices.svg("g_BᵀH_Bg_B"))
        ]
        assert len(shifts) == 6
        assert sum(shifts) == pytest.approx(0.0, abs=1e-9)


class TestScale:
    @staticmethod
    def found(drawing: str, pattern: str) -> float:
        match = re.search(pattern, drawing)
        assert match is not None
        return float(match[1])

    def centre(self, value: float, accepts: tuple[float, float] = (0.95, 1.05)) -> float:
        return self.found(scale(value, None, accepts, is_level=True), r'<circle cx="([\d.]+)"')

    def test_value_and_edge_stand_where_they_belong(self) -> None:
        edge = self.found(scale(0.5, None, (0.95, 1.05), is_level=True), r'<line x1="([\d.]+)" x2="\1"')
        assert self.centre(0.5) < edge < self.centre(1.2)
        assert self.centre(1.0) == pytest.approx(edge)
        # 0 to 1.25 over 396 pixels from 12 on.
        assert self.centre(0.5) == pytest.approx(12 + 396 * 0.5 / 1.25, abs=0.06)

    def test_interval_and_band_have_their_length(self) -> None:
        drawing = scale(1.0, (0.9, 1.1), (0.95, 1.05), is_level=True)
        first, last = (
            self.found(drawing, rf'<line {end}="([\d.]+)"[^>]* class="interval"') for end in ("x1", r'x1="[\d.]+" x2')
        )
        assert last - first == pytest.approx(396 * 0.2 / 1.25, abs=0.11)
        assert self.found(drawing, r'width="([\d.]+)" height="26" class="band"') == pytest.approx(
            396 * 0.1 / 1.25, abs=0.06
        )

    def test_one_end_is_open(self) -> None:
        drawing = scale(3e-16, None, (-math.inf, 1e-12))
        band = self.found(drawing, r'width="([\d.]+)" height="26" class="band"')
        limit = self.found(drawing, r'<line x1="([\d.]+)" x2="\1"')
        assert limit == pytest.approx(12 + band, abs=0.11)
        assert self.found(drawing, r'<circle cx="([\d.]+)"') < limit
        assert "accepted at most 1e-12" in drawing

    @pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-300, 1e300])
    def test_any_number_has_a_place(self, value: float) -> None:
        place = self.found(scale(value, (value, value), None), r'<circle cx="([\d.]+)"')
        assert 12 <= place <= 408

    def test_what_is_not_finite_has_none(self) -> None:
        assert scale(math.nan, None, (0.95, 1.05)) == ""
        unbounded = scale(1.0, (-math.inf, math.inf), (0.95, 1.05), is_level=True)
        assert 'class="interval"' in unbounded
        assert 'class="cap"' not in unbounded

    def test_a_strip_has_one_scale_for_every_row(self) -> None:
        for value in (0.2, 1.0, 1.5):
            drawing = strip(value, (value - 0.1, value + 0.05), (0.95, 1.05))
            assert self.found(drawing, r'cx="([\d.]+)"') == pytest.approx(2 + 116 * value / 1.6, abs=0.06)
            assert self.found(drawing, r'class="edge" d="M([\d.]+)') == pytest.approx(2 + 116 / 1.6, abs=0.06)
            first, last = (
                self.found(drawing, rf'class="interval" d="M{each}') for each in (r"([\d.]+)", r"[\d.]+ 7H([\d.]+)")
            )
            assert last - first == pytest.approx(116 * 0.15 / 1.6, abs=0.11)
        assert strip(math.nan, None, None) == ""
        assert "nan" not in strip(1.0, (math.nan, 1.1), (0.95, math.inf))
        assert 'cx="118.0"' in strip(7.0, None, None)

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.25), (-3.0, 11.0), (0.98, 1.02), (0.0, 1e-12), (-7e5, 9e5)])
    def test_ticks_are_few_round_and_inside(self, low: float, high: float) -> None:
        found = ticks(low, high)
        assert 2 <= len(found) <= 6
        assert all(low - 1e-9 * (high - low) <= tick <= high + 1e-9 * (high - low) for tick in found)
        step = found[1] - found[0]
        assert f"{step:.0e}"[0] in "125"
        assert step == pytest.approx(float(f"{step:.0e}"))


class TestFiles:
    def test_results_json_is_whole_and_finite(self) -> None:
        broken = claim("a/nan", "holds", Measurement("inconclusive", "diverged", math.nan, (math.nan, 1.0), math.inf))
        content = json.loads(report.results_json(verdicts(*EVERYTHING, broken), environment(7)))
        assert [entry["id"] for entry in content["claims"]] == [*(item.id for item in EVERYTHING), "a/nan"]
        assert content["claims"][-1]["measured"] is None
        assert {"esssim", "python", "packages", "platform", "cpu_count", "seed", "date"} <= content[
            "environment"
        ].keys()

    def test_csv_gives_every_digit_back(self) -> None:
        (verdict,) = verdicts(AS_PREDICTED[0])
        rows = list(csv.DictReader(io.StringIO(report.claim_csv(verdict))))
        assert len(rows) == 30
        assert [float(row["step_size"]) for row in rows] == [row["step_size"] for row in verdict.measurement.rows]

    def test_csv_of_a_claim_without_rows_has_its_number(self) -> None:
        (row,) = csv.DictReader(io.StringIO(report.claim_csv(verdicts(AS_PREDICTED[3])[0])))
        assert (row["id"], row["verdict"], row["measured"]) == ("identity/exact", "holds", "0.0")

    def test_csv_keeps_columns_that_only_some_rows_have(self) -> None:
        ragged = claim("a/b", "holds", Measurement("holds", "", rows=[{"x": 1}, {"y": 2}]))
        assert report.claim_csv(verdicts(ragged)[0]) == "x,y\n1,\n,2\n"

    def test_csv_names_are_safe_and_distinct(self) -> None:
        ids = ["a/b=1", "a/b_1", "A/B=1", "../../etc", "..", "η", "a" * 300]
        names = report.csv_names(verdicts(*(claim(name, "holds", Measurement("holds", "")) for name in ids)))
        assert list(names) == ids
        assert len({name.lower() for name in names.values()}) == len(ids)
        assert all(
            re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.csv", name) and len(name) < 130 for name in names.values()
        )

    def test_everything_is_written(self, tmp_path: Path) -> None:
        report.write_results(tmp_path, verdicts(*EVERYTHING), environment(7))
        report.write_report(tmp_path, verdicts(*EVERYTHING), environment(7))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["claims", "report.html", "results.json"]
        assert len(list((tmp_path / "claims").iterdir())) == len(EVERYTHING)

    def test_a_failure_leaves_no_half_written_file(self, tmp_path: Path) -> None:
        (tmp_path / "results.json").mkdir()
        with pytest.raises(ValueError, match="must name a file"):
            report.write_results(tmp_path, verdicts(AS_PREDICTED[0]), environment(7))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["claims", "results.json"]
        assert not list(tmp_path.rglob(".*"))


class TestReadme:
    @pytest.fixture(autouse=True)
    def _todays_claims(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("esssim.report.__main__.registry", registry(*EVERYTHING))

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        path = tmp_path / "results.json"
        path.write_text(report.results_json(verdicts(*EVERYTHING), environment(7)), encoding="utf-8")
        return path

    @pytest.fixture
    def readme(self, tmp_path: Path) -> Path:
        path = tmp_path / "README.md"
        path.write_text(f"before\n{report.BEGIN}\noutdated\n{report.END}\nafter\n", encoding="utf-8")
        return path

    def test_page_has_levels_by_batch_size_and_the_rest_in_words(self, results: Path) -> None:
        lines = report.result_pages(results)[results.with_suffix(".md")].splitlines()
        assert "| table-a | b = 1 | b = 4 |" in lines
        assert "| settles | 0.99 ✓ | 1.24 ✗ |" in lines
        assert "| settles | 0.80 ✗ | **1.40 ✗** |" in lines
        assert any(line.endswith("| holds, as predicted |") and "identity/exact" in line for line in lines)
        assert any(line.endswith("| no verdict: 31 effective samples |") for line in lines)

    def test_summary_counts_what_settles_and_what_does_not(self, results: Path) -> None:
        lines = report.summary(results).splitlines()
        assert lines[-4:] == [
            "",
            "| statistic | diagonal networks, b &lt; n | diagonal networks, b = n |",
            "|---|---:|---:|",
            "| settles | 0.80–1.40 · 1 of 4 | — |",
        ]
        assert max(map(len, lines)) <= 130

    def test_a_sentence_about_many_settings_is_one_row(self) -> None:
        settings = ["a, b = 1", "a, b = 2", "c", "d"]
        outcomes = ["holds", "holds", "holds", "refuted"]
        entries = [
            {"sentence": "The law holds.", "where": setting, "statement": f"The law holds ({setting}).",
             "expected": "holds", "verdict": outcome, "reason": "", "n_effective": None, "lacks_samples": False}
            for setting, outcome in zip(settings, outcomes, strict=True)
        ]  # fmt: skip
        assert other_table(entries).splitlines()[2:] == [
            "| The law holds (4 settings). | 3 times holds, as predicted; d: CONTRADICTS OUR PREDICTION: refuted |"
        ]
        assert "| The law holds (c). | holds, as predicted |" in other_table(entries[:3]).splitlines()

    def test_levels_are_named_by_their_cells(self) -> None:
        entries = [
            {"cell": {"table": "net: a network, noisy", "row": name, "batch_size": b}, "expected": "open",
             "verdict": "holds", "measured": 1.0}
            for b in (8, 4) for name in ("Q_b", "MiniBS E_B λ")
        ]  # fmt: skip
        assert level_table("net: a network, noisy", entries).splitlines() == [
            "| net: a network, noisy | b = 4 | b = 8 |",
            "|---|---:|---:|",
            "| Q_b | 1.00 ✓ | 1.00 ✓ |",
            "| MiniBS E_B λ | 1.00 ✓ | 1.00 ✓ |",
        ]

    def test_cells_survive_bars_and_tags(self, results: Path) -> None:
        page = report.result_pages(results)[results.with_suffix(".md")]
        (row,) = [line for line in page.splitlines() if "identity/exact" in line]
        assert len(re.findall(r"(?<!\\)\|", row)) == 3
        assert "<script" not in page

    def test_update_then_check(self, readme: Path, results: Path) -> None:
        arguments = [str(readme), str(results)]
        assert main([*arguments, "--check"]) == 1
        assert main(arguments) == 0
        assert main([*arguments, "--check"]) == 0
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "outdated" not in text
        assert main(arguments) == 0
        assert readme.read_text(encoding="utf-8") == text

    @pytest.mark.parametrize(
        ("claims_today", "words"),
        [
            ([*EVERYTHING, claim("new/one", "open", Measurement("holds", ""))], "1 claims are new, 'new/one' first"),
            (EVERYTHING[1:], "1 claims are gone, 'settles/table-a/b=1' first"),
            (
                [replace(EVERYTHING[0], sentence="Said otherwise."), *EVERYTHING[1:]],
                "1 statements were reworded, 'settles/table-a/b=1' first",
            ),
        ],
    )
    def test_results_of_other_claims_are_out_of_date(
        self, readme: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        claims_today: list[Claim], words: str,
    ) -> None:  # fmt: skip
        assert main([str(readme), str(results)]) == 0
        monkeypatch.setattr("esssim.report.__main__.registry", registry(*claims_today))
        assert main([str(readme), str(results), "--check"]) == 1
        assert capsys.readouterr().err == f"error: {results} is out of date: {words}\n"

    def test_a_changed_number_is_noticed(self, readme: Path, results: Path) -> None:
        main([str(readme), str(results)])
        for path, number in ((readme, "1.40"), (results.with_suffix(".md"), "1.24")):
            whole = path.read_text(encoding="utf-8")
            path.write_text(whole.replace(number, "1.25"), encoding="utf-8")
            assert main([str(readme), str(results), "--check"]) == 1
            path.write_text(whole, encoding="utf-8")
        assert main([str(readme), str(results), "--check"]) == 0

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("no markers", "must hold"),
            (f"{report.END} {report.BEGIN}", "must hold"),
            (f"{report.BEGIN} {report.BEGIN} {report.END}", "must hold"),
            (None, "must be a readable file"),
        ],
    )
    def test_a_readme_without_room_is_refused(
        self, tmp_path: Path, results: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "OTHER.md"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        assert main([str(path), str(results)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert text is None or path.read_text(encoding="utf-8") == text

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"claims": [{}], "environment": {}}', '{"claims": 3}', None])
    def test_damaged_results_are_refused(
        self, tmp_path: Path, readme: Path, text: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "damaged.json"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        assert main([str(readme), str(path)]) == 2
        assert capsys.readouterr().err.startswith("error: results must be ")
        assert "outdated" in readme.read_text(encoding="utf-8")


class TestForecast:
    def test_what_was_timed_is_added_up_and_scaled_by_the_pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        items = [claim(f"a/{k}", "holds", Measurement("holds", "")) for k in range(4)]
        monkeypatch.setattr("esssim.report.published.seconds", lambda: {"a/0": 20.0, "a/1": 40.0, "a/2": 100.0})
        monkeypatch.setattr("esssim.claims.index.quick_seconds", lambda: {"a/0": 2.0, "a/3": 18.0})
        assert announcement(items, False) == "4 claims, about 3 min (as timed on two cores)"
        assert announcement(items, True) == "4 claims, about 30 s (as timed on two cores)"
        forecast = Forecast(items, False)
        assert forecast.left() == 165.0
        forecast.measured(items[0], 10.0)  # twice as fast as where it was timed
        assert forecast.left() == pytest.approx(145.0 / 2)

    def test_networks_are_counted_apart_where_torch_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        items = [claim("a/0", "holds", Measurement("holds", "")), replace(AS_PREDICTED[0], id="net/1", extra="bridge")]
        monkeypatch.setattr("esssim.report.published.seconds", lambda: {"a/0": 20.0, "net/1": 40.0})
        monkeypatch.setattr("esssim.report.forecast.missing", lambda extra: None)
        assert announcement(items, False) == (
            "2 claims, about 60 s, of which about 40 s for 1 of torch networks (as timed on two cores)"
        )
        monkeypatch.setattr("esssim.report.forecast.missing", lambda extra: "no")
        assert announcement(items, False) == "2 claims, about 20 s (as timed on two cores)"
