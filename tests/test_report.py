"""Report: files that say what was measured, in words nobody can misread, and ask nobody for anything."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from esssim import report
from esssim._environment import environment
from esssim.claims import Claim, Measurement, Verdict
from esssim.report import svg
from esssim.report.__main__ import main
from esssim.report.forecast import Forecast, announcement
from esssim.report.tables import level_table, other_table
from esssim.report.words import spoken, spoken_verdict, summary
from tests.fake_claims import AS_PREDICTED, CONTRADICTION, HOSTILE, UNDECIDED, UNDECIDED_OPEN, claim, registry, verdicts

EVERYTHING = (*AS_PREDICTED, CONTRADICTION, UNDECIDED, UNDECIDED_OPEN)
VOID = {"meta", "br", "circle", "line", "rect", "path", "polyline"}


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
        assert not re.search(r"https?:|//\w|\bsrc\s*=|<link|@import|url\(", page)
        assert {"script", "link", "img", "iframe", "object"}.isdisjoint(structure.tags)
        assert structure.targets
        assert all(target.startswith("#") and target[1:] in structure.anchors for target in structure.targets)

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
        assert "<script" not in page
        assert Structure(page).text.count(HOSTILE) == 5

    def test_draws_levels_and_only_levels(self) -> None:
        assert page_of(verdicts(AS_PREDICTED[0])).count("<svg") == 2
        assert page_of(verdicts(AS_PREDICTED[3])).count("<svg") == 0

    def test_shows_the_first_rows_and_says_so(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0]))
        assert page.count('<tr><td class="n">') == 20 + 5  # and the five lines of the legend
        assert "the first 20 of 30 rows; all are in the CSV" in page

    def test_embeds_pictures_and_environment(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0]), {"The headline": '<svg viewBox="0 0 1 1"></svg>'})
        assert '<svg viewBox="0 0 1 1"></svg>' in page
        assert "The headline" in page
        assert environment(7)["python"] in page  # type: ignore[operator]

    def test_families_that_come_back_are_told_once(self) -> None:
        page = page_of(verdicts(AS_PREDICTED[0], UNDECIDED, AS_PREDICTED[1]))
        Structure(page)
        assert page.count(f'<h2 id="family-{AS_PREDICTED[0].family}">') == 1

    def test_numbers_that_are_not_finite_do_not_break_it(self) -> None:
        diverged = Measurement("inconclusive", "every replica diverged", math.nan, (math.nan, math.nan), 0.0)
        with_rows = replace(
            diverged, rows=[{"step_size": 0.1, "level": math.nan}, {"step_size": 0.2, "level": math.inf}]
        )
        Structure(page_of(verdicts(claim("a/b", "holds", diverged), claim("a/c", "holds", with_rows))))


def test_strip_puts_value_and_edge_where_they_belong() -> None:
    def centre(value: float) -> float:
        found = re.search(r'<circle cx="([\d.]+)"', svg.strip(value, None, 0.05))
        assert found is not None
        return float(found[1])

    edge = re.search(r'<line x1="([\d.]+)" x2="\1"', svg.strip(0.5, None, 0.05))
    assert edge is not None
    assert centre(0.5) < float(edge[1]) < centre(1.2)
    assert centre(1.0) == pytest.approx(float(edge[1]))


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
        assert lines[2:] == [
            "| statistic | diagonal networks, b &lt; n | diagonal networks, b = n |",
            "|---|---:|---:|",
            "| settles | 0.80 to 1.40 · 1 of 4 | — |",
        ]

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
