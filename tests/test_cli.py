"""Command line: verdicts in plain words, exit codes that mean something. Bad command lines: test_bad_input.py."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import esssim as es
from esssim import claims
from esssim.claims import Claim, Measurement, index
from esssim.claims.claim import Expectation
from esssim.claims.names import SYNONYMS, matching
from esssim.cli.measure import SIZES
from esssim.data.tables import BUNDLED
from esssim.papers import PAPERS
from esssim.report import published, quotation
from esssim.report.latex import latex
from esssim.report.terminal import verdict_table
from tests.conftest import Run
from tests.fake_claims import (
    AS_PREDICTED,
    CONTRADICTION,
    UNDECIDED,
    UNDECIDED_OPEN,
    bare,
    claim,
    level,
    registry,
    verdicts,
)

ENTRY = {"id", "statement", "source", "expected", "verdict", "measured", "interval", "n_effective", "seconds"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts claims that take no time in the place of the real ones."""

    def use(*items: Claim) -> None:
        monkeypatch.setattr(claims, "registry", registry(*items))

    return use


def subprocess_run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "esssim.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


class TestVerify:
    @pytest.mark.parametrize(
        ("items", "code"),
        [
            (AS_PREDICTED, 0),
            ([*AS_PREDICTED, CONTRADICTION, UNDECIDED], 1),
            ([*AS_PREDICTED, UNDECIDED], 3),
            ([*AS_PREDICTED, UNDECIDED_OPEN], 0),
        ],
    )
    def test_exit_code_says_whether_our_prediction_came_out(
        self, run: Run, fake: Callable[..., None], items: list[Claim], code: int
    ) -> None:
        fake(*items)
        assert run("verify")[0] == code
        assert run("verify", "--json")[0] == code

    def test_table_speaks_plainly(self, run: Run, fake: Callable[..., None]) -> None:
        fake(*AS_PREDICTED, CONTRADICTION, UNDECIDED)
        _, out, err = run("verify")
        assert "REFUTED, as we predict" in out
        assert "CONTRADICTS OUR PREDICTION: refuted" in out
        assert "no verdict: 31 effective samples" in out
        assert "1.22 … 1.26" in out
        assert "6 claims in " in out.splitlines()[-1]
        assert err.splitlines()[0] == "6 claims, about 30 s (as timed on two cores)"
        assert err.splitlines()[1] == "[1/6] settles/table-a/b=1 ..."
        assert len(err.splitlines()) == 13

    def test_a_narrow_terminal_keeps_the_words(self) -> None:
        text = io.StringIO()
        Console(file=text, width=60).print(verdict_table(verdicts(*AS_PREDICTED, CONTRADICTION), 60))
        assert "we expect" not in text.getvalue()
        assert "CONTRADICTS" in text.getvalue()
        assert "table-a/b=4" in text.getvalue()

    def test_json_is_all_there_is_on_standard_output(self, run: Run, fake: Callable[..., None]) -> None:
        fake(*AS_PREDICTED)
        content = json.loads(run("verify", "--json")[1])
        assert content.keys() == {"claims", "environment"}
        assert [entry["id"] for entry in content["claims"]] == [item.id for item in AS_PREDICTED]
        assert all(entry.keys() >= ENTRY for entry in content["claims"])
        assert content["environment"]["esssim"] == es.__version__

    @pytest.mark.parametrize(
        ("arguments", "ids"),
        [
            (["settles/table-a/b=4"], ["settles/table-a/b=4"]),
            (["settles"], ["settles/table-a/b=1", "settles/table-a/b=4", "settles/table-b/b=1"]),
            (["--quick"], ["settles/table-a/b=1", "settles/table-a/b=4", "settles/table-b/b=1"]),
            (["identity/exact", "--quick"], ["identity/exact"]),
            (["identity/exact", "settles", "--quick"], [item.id for item in AS_PREDICTED]),
        ],
    )
    def test_selects(self, run: Run, fake: Callable[..., None], arguments: list[str], ids: list[str]) -> None:
        fake(*AS_PREDICTED)
        assert [entry["id"] for entry in json.loads(run("verify", "--json", *arguments)[1])["claims"]] == ids
        listed = json.loads(run("verify", "--list", "--json", *arguments)[1])["claims"]
        assert [entry["id"] for entry in listed] == ids
        out = run("verify", "--list", *arguments)[1]
        assert all(name in out for name in ids)

    def test_out_writes_everything_whole(self, run: Run, fake: Callable[..., None], tmp_path: Path) -> None:
        fake(*AS_PREDICTED)
        folder = tmp_path / "new" / "results"
        code, out, _ = run("verify", "--out", folder, "--json")
        assert code == 0
        assert (folder / "results.json").read_text(encoding="utf-8") == out
        assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        assert len(list((folder / "claims").glob("*.csv"))) == len(AS_PREDICTED)

    def test_unwritable_folder_is_found_before_the_work(
        self, run: Run, fake: Callable[..., None], tmp_path: Path
    ) -> None:
        def work(quick: bool) -> Measurement:
            raise AssertionError("the work began")

        fake(bare("a/b", "holds", work))
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            code, out, err = run("verify", "--out", folder)
            assert (code, out) == (2, "")
            assert err.startswith("error: out must be a folder that can be written to")
        assert (tmp_path / "file").read_text() == "mine"

    def test_unknown_claim_creates_no_folder(self, run: Run, fake: Callable[..., None], tmp_path: Path) -> None:
        fake(*AS_PREDICTED)
        code, _, err = run("verify", "settle", "--out", tmp_path / "results")
        assert code == 2
        assert "did you mean 'settles'?" in err
        assert not (tmp_path / "results").exists()

    @pytest.mark.parametrize("expected", ["holds", "open"])
    def test_a_claim_that_cannot_be_measured_is_one_line_and_spares_the_others(
        self, run: Run, fake: Callable[..., None], tmp_path: Path, expected: Expectation
    ) -> None:
        def work(quick: bool) -> Measurement:
            raise RuntimeError("it did\nnot converge")

        fake(AS_PREDICTED[0], bare("a/b", expected, work), AS_PREDICTED[1])
        code, out, err = run("verify", "--json", "--out", tmp_path)
        assert code == 2
        assert err.splitlines()[-1] == "error: a/b could not be measured: it did not converge"
        entries = json.loads(out)["claims"]
        assert [entry["verdict"] for entry in entries] == ["holds", "inconclusive", "refuted"]
        assert [entry["error"] for entry in entries] == [None, "it did not converge", None]
        assert (tmp_path / "results.json").read_text(encoding="utf-8") == out
        assert "could not be measured: it did not converge" in (tmp_path / "report.html").read_text(encoding="utf-8")

    def test_a_bug_says_that_it_is_one(self, run: Run, fake: Callable[..., None]) -> None:
        fake(bare("a/b", "open", lambda quick: dict[str, Measurement]()["missing"]))
        code, _, err = run("verify")
        assert code == 2
        told = "error: a/b could not be measured: KeyError: 'missing' (a bug; ESSSIM_TRACEBACK=1 shows where)"
        assert err.splitlines()[-1] == told

    def test_pictures_that_fail_cost_no_numbers(
        self, run: Run, fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: object) -> dict[str, str]:
            raise RuntimeError("no ink")

        fake(*AS_PREDICTED)
        monkeypatch.setattr("esssim.plots.report_pictures", fail)
        code, out, err = run("verify", "--json", "--out", tmp_path)
        assert (code, err.splitlines()[-1]) == (2, "error: no ink")
        assert (tmp_path / "results.json").read_text(encoding="utf-8") == out

    def test_interrupt_is_quiet(self, run: Run, fake: Callable[..., None]) -> None:
        def work(quick: bool) -> Measurement:
            raise KeyboardInterrupt

        fake(bare("a/b", "holds", work))
        code, out, err = run("verify")
        assert (code, out, err) == (130, "", "[1/1] a/b ...\n")

    def test_interrupt_keeps_what_was_measured(self, run: Run, fake: Callable[..., None], tmp_path: Path) -> None:
        def work(quick: bool) -> Measurement:
            raise KeyboardInterrupt

        fake(*AS_PREDICTED[:2], bare("a/b", "holds", work))
        code, out, err = run("verify", "--out", tmp_path)
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == f"interrupted: 2 of 3 claims are in {tmp_path}; --resume goes on"
        entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["claims"]
        assert [entry["id"] for entry in entries] == [item.id for item in AS_PREDICTED[:2]]

    def test_nothing_to_verify(self, run: Run, fake: Callable[..., None]) -> None:
        fake(claim("a/b", "holds", Measurement("holds", ""), in_quick=False))
        assert run("verify", "--quick") == (2, "", "error: there is no claim to verify; without --quick there is\n")
        assert run("verify", "--bridge") == (2, "", "error: there is no claim to verify; without --bridge there is\n")

    def test_a_real_claim(self, run: Run, tmp_path: Path) -> None:
        code, out, _ = run("verify", "minibs-at-least-sharpness", "--quick", "--json", "--out", tmp_path)
        assert code == 0
        entries = json.loads(out)["claims"]
        assert entries
        assert all(entry["verdict"] == "holds" and entry["as_predicted"] for entry in entries)


class TestCite:
    def test_statement_source_and_bibtex(self, run: Run) -> None:
        code, out, _ = run("cite", "minibs-settles/diabetes/b=4")
        assert code == 0
        assert "@software{esssim," in out
        assert "2412.20553" in out
        assert out.count("\n@") == 2
        content = json.loads(run("cite", "mean-square-edge", "--json")[1])
        assert len(content["bibtex"]) == 2
        assert "Mulayoff" in content["bibtex"][1]

    def test_without_a_claim_it_is_the_tool(self, run: Run) -> None:
        code, out, err = run("cite")
        assert (code, err) == (0, "")
        assert out.startswith("@software{esssim,")
        assert out.count("@") == 1
        assert json.loads(run("cite", "--json")[1]) == {"claims": [], "bibtex": [out.strip()]}

    def test_every_source_is_in_the_bibliography(self) -> None:
        for source in {item.source for item in claims.registry.values()}:
            assert bool(source.papers) != (str(source) == "esssim")
            for paper in source.papers:
                assert paper in PAPERS
                assert str(paper) in str(source)

    def test_entries_are_balanced(self) -> None:
        for paper in PAPERS:
            assert paper.bibtex.count("{") == paper.bibtex.count("}")
            assert f"{{{paper.key}," in paper.bibtex


class TestProgram:
    def test_version(self, run: Run) -> None:
        assert run("--version") == (0, f"esssim {es.__version__}\n", "")

    @pytest.mark.parametrize("command", [[], ["--help"], ["verify", "--help"], ["measure", "-h"], ["cite", "--help"]])
    def test_help(self, run: Run, command: list[str]) -> None:
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        assert "Usage: esssim" in out

    def test_every_command_has_an_example(self, run: Run) -> None:
        for command in ("verify", "measure", "cite"):
            assert f"      esssim {command} " in run(command, "--help")[1]

    def test_unknown_command(self, run: Run) -> None:
        code, out, err = run("verfy")
        assert (code, out) == (2, "")
        assert err.startswith("error: No such command 'verfy'")
        assert err.count("\n") == 1

    def test_help_imports_nothing_slow(self) -> None:
        code = (
            "import sys, esssim.cli as cli; cli.run(['--help']);"
            "slow = {'numpy', 'numba', 'scipy', 'xarray', 'matplotlib', 'sklearn'} & set(sys.modules);"
            "sys.exit(str(slow) if slow else 0)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0

    def test_as_a_program(self) -> None:
        done = subprocess_run("measure", "diabetes", "--batch-size", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: batch_size must be between 1 and n_samples = 442, got 0\n"

    def test_a_terminal_without_greek_still_gets_its_table(self) -> None:
        done = subprocess_run("measure", "wine", "--batch-size", "178", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, done.stderr
        assert "critical step size" in done.stdout

    @pytest.mark.skipif(os.name != "posix", reason="signals differ elsewhere")
    @pytest.mark.parametrize("seconds", [2, 8], ids=["while workers start", "while they work"])
    def test_an_interrupted_program_is_quiet_and_leaves_nothing(self, tmp_path: Path, seconds: int) -> None:
        # A claim of minutes, interrupted with all its processes, as a terminal does it.
        name, folder = "minibs-settles/diabetes/b=32", tmp_path / "results"
        command = [sys.executable, "-m", "esssim.cli", "verify", name, "--out", str(folder)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "loading the claims ...\n"
            assert process.stderr.readline() == f"[1/1] {name} ...\n"
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
        assert not list(folder.iterdir())

    @pytest.mark.skipif(os.name != "posix", reason="pipes break differently elsewhere")
    def test_a_closed_pipe_is_no_traceback(self) -> None:
        command = [sys.executable, "-m", "esssim.cli", "verify", "--list"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(60) == 141


class TestNames:
    IDS = ("minibs-settles/table/b=1", "minibs-settles/table/b=16", "minibs-settles/table-2/b=1", "gap/minibs",
           "batch-sharpness-settles/table/b=1", "batch-sharpness-parts-settles/table/b=1", "mean-square-edge",
           "full-batch-sharpness-settles/table", "network-returns/x/ias", "network-ias-settles/y/b=1", "bias/z")  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("minibs-settles/table/b=1", [0]),
            ("minibs-settles/table", [0, 1]),
            ("minibs-settles/table/", [0, 1]),
            ("MiniBS-Settles", [0, 1, 2]),
            ("MiniBS", [0, 1, 2, 3]),
            ("minibatch_sharpness", [0, 1, 2, 3]),
            ("Mini-Batch Sharpness", [0, 1, 2, 3]),
            ("batch sharpness", [4]),
            ("batch_sharpness_parts", [5]),
            ("Q_b", [6]),
            ("mean_square_sharpness", [6]),
            ("mean-square-edge", [6]),
            ("sharpness", [7]),
            ("ias", [8, 9]),
        ],
    )
    def test_a_beginning_or_a_statistic_is_enough(self, name: str, found: list[int]) -> None:
        assert matching(name, self.IDS) == [self.IDS[k] for k in found]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("minibs-settles/tabl", "did you mean 'minibs-settles/table'?"),
            ("minibs-settles/table/b", "did you mean 'minibs-settles/table"),
            ("MiniBSS", "did you mean 'MiniBS'?"),
            ("GNI", "none of which is about 'GNI'"),
            ("", "got ''"),
            ("/", "got '/'"),
        ],
    )
    def test_others_are_refused_with_the_nearest(self, name: str, words: str) -> None:
        with pytest.raises(ValueError, match="claim must be one of") as caught:
            matching(name, self.IDS)
        assert words in str(caught.value)

    def test_every_synonym_finds_real_claims(self) -> None:
        assert all(claims.registry.select([word]) for each in SYNONYMS for word in (each.key, *each.words))
        found = [item.id for item in claims.registry.select(["MiniBS"])]
        assert found == [name for name in claims.registry if "minibs" in name]

    def test_a_beginning_leaves_out_what_a_short_run_cannot_decide(self) -> None:
        for name in ("minibs-settles/gaussian-100x50", "MiniBS"):
            quick = claims.registry.select([name], quick=True)
            assert 0 < len(quick) < len(claims.registry.select([name]))
            assert all(item.in_quick for item in quick)

    def test_the_index_is_that_of_the_registry(self) -> None:
        content = json.loads(index.FILE.read_text(encoding="utf-8"))
        assert content["ids"] == list(claims.registry), "python -m esssim.claims.index"
        assert content["sources"] == index.sources(), "python -m esssim.claims.index"
        assert set(content["quick_seconds"]) <= set(claims.registry)

    def test_an_index_of_other_code_is_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for text in ('{"sources": "other", "quick_seconds": {}, "ids": ["old/claim"]}', "damaged", ""):
            (tmp_path / "index.json").write_text(text)
            monkeypatch.setattr(index, "FILE", tmp_path / "index.json")
            index._content.cache_clear()
            assert index.ids() == tuple(claims.registry)
        index._content.cache_clear()


class TestErrorsComeAtOnce:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["verify", "nonsense"],
            ["verify", "imbalance", "--resume"],
            ["cite", "nonsense"],
            ["figure", "nonsense"],
            ["figure", "levels", "--width", "nonsense", "--format"],
            ["measure", "nofile.csv"],
            ["measure", "nofile.csv", "--target", "y"],
            ["measure", "diabets"],
            ["measure", "diabetes", "--batch-size", "0"],
            ["measure", "diabetes", "--batch-size", "4,443"],
            ["measure", "diabetes", "--batch-size", "4,x"],
            ["measure", "diabetes", "--model", "netwrk"],
            ["measure", "diabetes", "--batches", "1"],
            ["measure", "diabetes", "--seed", "-1"],
        ],
    )
    def test_nothing_that_computes_is_imported(self, arguments: list[str]) -> None:
        code = (
            f"import sys; from esssim.cli import run; code = run({arguments!r});"
            "slow = {'numba', 'scipy', 'xarray', 'pandas', 'matplotlib', 'sklearn', 'joblib', 'sympy'} & set(sys.modules);"
            "sys.exit(str(slow) if slow else code)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1

    def test_the_samples_of_the_bundled_tables(self) -> None:
        assert {name: es.data.load(name).n_samples for name in BUNDLED} == SIZES

    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            ("verify minibs-settles/", ["minibs-settles/gaussian-100x50", "minibs-settles/diabetes"]),
            ("verify minibs-settles/diabetes/b = 4", ["4", "442"]),
            ("cite imbal", ["imbalance", "imbalance/product-form"]),
            ("figure net", ["networks", "network_gap"]),
            ("measure di", ["diabetes", "digits"]),
            ("measure diabetes --model n", ["network"]),
        ],
    )
    def test_completion(self, words: str, offered: list[str]) -> None:
        code = (
            "import atexit, sys; from esssim.cli import run;"
            "slow = {'numba', 'scipy', 'xarray', 'pandas', 'matplotlib', 'sklearn', 'joblib', 'sympy'};"
            "code = run([]); sys.exit(str(slow & set(sys.modules)) if slow & set(sys.modules) else code)"
        )
        environment = {
            **os.environ,
            "_ESSSIM_COMPLETE": "complete_bash",
            "COMP_WORDS": f"esssim {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert set(offered) <= set(done.stdout.split())

    def test_a_package_is_a_program(self) -> None:
        for module in ("esssim", "esssim.cli"):
            done = subprocess.run(
                [sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=60
            )
            assert (done.returncode, done.stdout) == (0, f"esssim {es.__version__}\n")


class TestWidth:
    @pytest.fixture(params=["60", "80", ""])
    def width(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setenv("COLUMNS", request.param)
        return int(request.param or 80)

    def test_tables_fit(self, run: Run, fake: Callable[..., None], width: int) -> None:
        long = claim("flow-levels/gaussian-40x20/label-noise-0.03,b=2", "holds", level(-1.234e-12, 1e-13, "holds"))
        fake(*AS_PREDICTED, CONTRADICTION, UNDECIDED, long)
        for command in (["verify"], ["verify", "--list"], ["figure", "--list"]):
            lines = run(*command)[1].splitlines()
            table = lines[:-1] if command == ["verify"] else lines  # the last line sums up
            assert max(map(len, table)) <= width
        if width == 80:
            assert "gaussian-40x20/label-noise-0.03,b=2" in run("verify")[1]

    def test_measurements_fit_and_lose_no_column(self, run: Run, width: int) -> None:
        code, out, _ = run("measure", "wine", "--batch-size", "4,8", "--batch-size", "178", "--batches", "50")
        assert code == 0
        table = [line for line in out.splitlines()[2:] if "±" not in line or not line.startswith("±")]
        assert max(map(len, table)) <= width
        for heading in ("sharpness", "MiniBS", "gap", "batch sharpness", "IAS", "Q_b", "critical step size"):
            assert heading in out
        rows = json.loads(
            run("measure", "wine", "--batch-size", "4,8", "--batch-size", "178", "--batches", "50", "--json")[1]
        )
        assert [row["batch_size"] for row in rows["rows"]] == [4, 8, 178]
        tables = [line for line in out.splitlines() if line.startswith(" 178 ")]
        assert len(tables) == (3 if width == 60 else 2)

    def test_a_list_keeps_its_ids_whole(self, run: Run, width: int) -> None:
        lines = run("verify", "--list")[1].splitlines()
        assert set(claims.registry) <= set(lines)


def test_skipped_claims_are_one_line(run: Run, fake: Callable[..., None]) -> None:
    absent = Measurement("skipped", "PyTorch is not installed: pip install 'esssim[bridge]'")
    fake(*AS_PREDICTED, *(claim(f"network/b={b}", "holds", absent) for b in range(20)))
    code, out, _ = run("verify")
    assert code == 0
    assert "20 claims about torch networks were skipped: PyTorch is not installed: pip install" in " ".join(out.split())
    assert "b=13" not in out


class TestQuotation:
    def test_the_number_is_the_published_one(self, run: Run) -> None:
        published = json.loads((Path(es.__file__).parents[1] / "docs/results.json").read_text(encoding="utf-8"))
        for name in ("minibs-settles/diabetes/b=4", "imbalance/product-form"):
            entry = next(entry for entry in published["claims"] if entry["id"] == name)
            quoted = json.loads(run("cite", name, "--json")[1])["claims"][0]
            assert quoted["result"]["measured"] == entry["measured"]
            assert quoted["result"]["interval"] == entry["interval"]
            out = run("cite", name)[1]
            for part in (f"{entry['measured']:.4g}", f"esssim {published['environment']['esssim']}", "commit", "seed"):
                assert part in out
            assert "\\cite{esssim}" in quoted["sentence"]
            assert max(len(line) for line in out.split("source:")[0].splitlines()) <= 80

    def test_an_interval_is_named(self, run: Run) -> None:
        out = " ".join(run("cite", "minibs-settles/diabetes/b=4")[1].split())
        assert re.search(r"1\.022 \(95 % interval 1\.003 to 1\.042, 229 effective samples\)", out)

    def test_without_a_publication_nothing_is_invented(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("esssim.report.published.results", lambda: ())
        out = run("cite", "imbalance/product-form")[1]
        assert "none was published" in out

    def test_a_commit_that_nobody_knows_is_called_so(
        self, monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
    ) -> None:
        content = json.loads((Path(__file__).parents[1] / "docs" / "results.json").read_text())
        content["environment"].pop("commit", None)
        (tmp_path / "published").mkdir()
        (tmp_path / "published" / "results.json").write_text(json.dumps(content))
        published.results.cache_clear()
        monkeypatch.setattr("esssim.report.published.PACKAGE", tmp_path)
        assert "commit unknown" in run("cite", "imbalance/product-form")[1]
        published.results.cache_clear()

    def test_the_sentence_is_latex(self) -> None:
        for name in claims.registry:
            sentence = quotation.of(claims.registry[name])["sentence"]
            assert sentence.isascii()
            assert not re.search(r"(?<!\\)[%#&]", sentence)  # a % would hide the rest of the line
            words, formulas = sentence.split("$")[::2], sentence.split("$")[1::2]
            assert len(words) == len(formulas) + 1
            assert not any(re.search(r"(?<!\\)[_^<>|]", part) for part in words)
            assert all(part.count("{") == part.count("}") for part in formulas)
            assert "quick" not in sentence

    @pytest.mark.parametrize(("words", "set_"), [
        ("5 % of (η/2)·λ_max(H_B).", r"5 \% of $(\eta/2)\cdot\lambda_{\mathrm{max}}(H_{B})$."),
        ("“M_{b+1} ≤ M_b”", r"``$M_{b+1}$ $\leq$ $M_{b}$''"),
        ("E[g_BᵀH_Bg_B/‖g_B‖²], Gauss–Newton", r"$E[g_{B}^\top H_{B}g_{B}/\|g_{B}\|^2]$, Gauss--Newton"),
        ("λ_max(C⁻¹D)", r"$\lambda_{\mathrm{max}}(C^{-1}D)$"),
        ("burst_correction < ηQ_b", r"burst\_correction $<$ $\eta Q_{b}$"),
    ])  # fmt: skip
    def test_formulas(self, words: str, set_: str) -> None:
        assert latex(words) == set_

    def test_a_family_is_quoted_claim_by_claim(self, run: Run) -> None:
        quoted = json.loads(run("cite", "gap-exponent", "--json")[1])["claims"]
        assert [each["id"] for each in quoted] == [name for name in claims.registry if name.startswith("gap-exponent/")]
