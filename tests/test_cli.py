"""Command line: verdicts in plain words, exit codes that mean something. Bad command lines: test_bad_input.py."""

from __future__ import annotations

import io
import json
import os
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
from esssim.claims import Claim, Measurement
from esssim.claims.model import Expectation
from esssim.papers import PAPERS
from esssim.report.terminal import verdict_table
from tests.conftest import Run
from tests.fake_claims import AS_PREDICTED, CONTRADICTION, UNDECIDED, UNDECIDED_OPEN, bare, claim, registry, verdicts

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
        assert err.splitlines()[0] == "[1/6] settles/table-a/b=1 ..."
        assert len(err.splitlines()) == 12

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
        assert err.splitlines()[-1] == f"interrupted: 2 of 3 claims are in {tmp_path}"
        entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["claims"]
        assert [entry["id"] for entry in entries] == [item.id for item in AS_PREDICTED[:2]]

    def test_nothing_to_verify(self, run: Run, fake: Callable[..., None]) -> None:
        fake(claim("a/b", "holds", Measurement("holds", ""), in_quick=False))
        assert run("verify", "--quick") == (2, "", "error: there is no claim to verify\n")

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
        name, folder = "minibs-settles/diabetes/b=442", tmp_path / "results"
        command = [sys.executable, "-m", "esssim.cli", "verify", name, "--out", str(folder)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stderr is not None
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
