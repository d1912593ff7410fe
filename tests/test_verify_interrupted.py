"""`verify` that is interrupted: what was measured is a valid report, and --resume goes on from it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from esssim.claims import Measurement, Verdict
from esssim.report.journal import NAME, Journal
from tests.conftest import Run
from tests.fake_claims import AS_PREDICTED, bare, registry, verdicts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals differ elsewhere")
ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def program(seconds: float, count: int, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`verify` of `count` claims, of which all but two take `seconds`; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "tests.slow_claims", str(seconds), str(count), "verify", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT,
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stderr is not None
    while (read := process.stderr.readline()) and line not in read:
        pass
    assert line in read


def running(group: int) -> list[str]:
    """The processes of a group, apart from those that only wait to be collected."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rsplit(")", 1)[1].split()[:3]
            if int(of) == group and state != "Z":
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
    return found


def ids(folder: Path) -> list[str]:
    return [entry["id"] for entry in json.loads((folder / "results.json").read_text(encoding="utf-8"))["claims"]]


@pytest.mark.parametrize(
    ("sent", "code", "how"),
    [
        (signal.SIGINT, 130, "sleep"),
        (signal.SIGTERM, 143, "workers"),
        (signal.SIGTERM, 143, "deaf"),
        (signal.SIGHUP, 129, "sleep"),
    ],
)
def test_a_signal_leaves_a_valid_report_and_no_process(
    tmp_path: Path, sent: signal.Signals, code: int, how: str
) -> None:
    with program(60, 4, "--out", tmp_path, SLOW_BY=how) as process:
        wait_for(process, "[3/4] slow/k=2")
        time.sleep(0.3)
        started = time.monotonic()
        os.kill(process.pid, sent)
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - started < 10
        assert process.returncode == code
        assert err.splitlines()[-1] == f"interrupted: 2 of 4 claims are in {tmp_path}; --resume goes on"
        assert ids(tmp_path) == ["slow/k=0", "slow/k=1"]
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert report.startswith("<!DOCTYPE html>")
        assert "slow/k=1" in report
        assert not [path for path in tmp_path.rglob(".*")]
        time.sleep(0.5)
        assert running(process.pid) == []


@pytest.mark.parametrize("seed", range(2))
def test_workers_that_are_just_starting_are_no_hindrance(tmp_path: Path, seed: int) -> None:
    # At whatever moment: in the whole group as a terminal does it, or in this process alone.
    chance = random.Random(seed)
    with program(60, 4, "--out", tmp_path, SLOW_BY="workers") as process:
        wait_for(process, "[3/4] slow/k=2")
        time.sleep(chance.uniform(0, 0.2))
        (os.killpg if seed % 2 else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert ids(tmp_path) == ["slow/k=0", "slow/k=1"]
        time.sleep(0.5)
        assert running(process.pid) == []


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with program(60, 4, SLOW_BY="deaf") as process:
        wait_for(process, "[3/4] slow/k=2")
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_nohup_stays_in_force() -> None:
    command = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    command += "from esssim.cli import interrupts; interrupts.watch(); import os, time\n"
    command += "os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.2); print('alive')"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_kill_9_loses_only_the_claim_in_progress_and_resume_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    out = tmp_path / "out"
    with program(60, 4, "--out", out, SLOW_LOG=str(log)) as process:
        wait_for(process, "[3/4] slow/k=2")
        while "k=2" not in log.read_text():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    assert log.read_text().split() == ["slow/k=0", "slow/k=1", "slow/k=2"]
    with open(out / NAME, "a") as file:
        file.write('{"id": "slow/k=2", "code": "cut sh')
    log.unlink()
    for measured in (["slow/k=2", "slow/k=3"], []):  # a second time nothing is left to do
        log.write_text("")
        with program(0, 4, "--out", out, "--resume", SLOW_LOG=str(log)) as process:
            stdout, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert log.read_text().split() == measured
        assert ids(out) == [f"slow/k={k}" for k in range(4)]
        assert f"{4 - len(measured)} of 4 claims were measured before" in err
        assert "4 holding, as predicted" in stdout
    fresh = tmp_path / "fresh"
    with program(0, 4, "--out", fresh) as process:
        process.communicate(timeout=60)
    for path in sorted((fresh / "claims").iterdir()):
        assert (out / "claims" / path.name).read_bytes() == path.read_bytes()
    entries = [json.loads((each / "results.json").read_text(encoding="utf-8"))["claims"] for each in (out, fresh)]
    for first, second in zip(*entries, strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


class TestJournal:
    def test_verdicts_come_back_as_they_were(self, tmp_path: Path) -> None:
        hostile = bare("odd/one", "open", lambda _: Measurement("holds", "x"))
        odd = Measurement("holds", "λ\u2028\n", float("inf"), (float("-inf"), 1e-310), None, [{"a": 0.1, "b": True}])
        written = [*verdicts(*AS_PREDICTED), Verdict(hostile, odd, 1.5)]
        journal = Journal(tmp_path, begins_anew=True)
        for verdict in written:
            journal.add(verdict, quick=False)
        known, others = Journal(tmp_path, begins_anew=False).known([*AS_PREDICTED, hostile], quick=False)
        assert list(known.values()) == written
        assert others == {}

    def test_only_what_this_run_would_measure_is_taken_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, *rest = AS_PREDICTED
        failed = Verdict(rest[0], Measurement("inconclusive", "could not be measured: x"), 0.1, "x")
        absent = Verdict(rest[1], Measurement("skipped", "no torch"), 0.0)
        journal = Journal(tmp_path, begins_anew=True)
        for verdict in (*verdicts(first), failed, absent):
            journal.add(verdict, quick=False)
        journal.add(*verdicts(rest[2]), quick=True)  # which a short run cannot decide: it was measured in full
        again = Journal(tmp_path, begins_anew=False)
        known, others = again.known(AS_PREDICTED, quick=False)
        assert list(known) == [first.id, rest[2].id]
        assert others == {"could not be measured": [rest[0].id], "was skipped": [rest[1].id]}
        known, others = again.known(AS_PREDICTED, quick=True)
        assert list(known) == [rest[2].id]
        assert others["measured without --quick"] == [first.id]
        monkeypatch.setattr("esssim._source.digest", lambda: "other")
        known, others = again.known(AS_PREDICTED, quick=False)
        assert known == {}
        assert others["measured by other code"] == [first.id, rest[2].id]

    def test_damaged_lines_are_left_out(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path, begins_anew=True)
        for verdict in verdicts(*AS_PREDICTED):
            journal.add(verdict, quick=False)
        lines = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
        damaged = [lines[0], lines[1][:40], "", "[]", '{"id": 3}', '"text"', "\x00\xff", lines[2], lines[3][:-1]]
        (tmp_path / NAME).write_text("\n".join(damaged), encoding="utf-8")
        again = Journal(tmp_path, begins_anew=False)
        known, _ = again.known(AS_PREDICTED, quick=False)
        assert list(known) == [AS_PREDICTED[0].id, AS_PREDICTED[2].id]
        assert again.damaged == 6  # a blank line is none

    def test_damaged_lines_are_said(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("esssim.claims.registry", registry(*AS_PREDICTED))
        assert run("verify", "--out", tmp_path)[0] == 0
        with (tmp_path / NAME).open("a", encoding="utf-8") as file:
            file.write('{"id": ')
        code, _, err = run("verify", "--out", tmp_path, "--resume")
        assert code == 0
        assert f"left out, damaged: 1 line of {tmp_path / NAME}" in err
        assert len(ids(tmp_path)) == len(AS_PREDICTED)

    def test_a_folder_in_the_place_of_the_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        with pytest.raises(ValueError, match=f"{NAME} must be a file that can be read: Is a directory"):
            Journal(tmp_path, begins_anew=False)


class TestResume:
    def test_needs_a_folder(self, run: Run) -> None:
        assert run("verify", "--resume") == (2, "", "error: --resume needs the folder of the earlier run: --out DIR\n")

    def test_without_it_a_folder_begins_anew(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("esssim.claims.registry", registry(*AS_PREDICTED))
        assert "replaced" not in run("verify", "--out", tmp_path)[2]
        err = run("verify", "settles/table-a", "--out", tmp_path)[2]
        assert "its 4 verdicts will be replaced; --resume would go on from them" in err
        assert len((tmp_path / NAME).read_text(encoding="utf-8").splitlines()) == 2
        assert "2 of 4 claims were measured before" in run("verify", "--out", tmp_path, "--resume")[2]

    def test_a_failed_claim_is_measured_again(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        outcomes = iter([RuntimeError("no"), Measurement("holds", "now")])

        def work(quick: bool) -> Measurement:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        items = (AS_PREDICTED[0], bare("a/b", "holds", work))
        monkeypatch.setattr("esssim.claims.registry", registry(*items))
        assert run("verify", "--out", tmp_path)[0] == 2
        code, _, err = run("verify", "--out", tmp_path, "--resume")
        assert code == 0
        assert "measured again, could not be measured: a/b" in err
        assert "1 of 2 claims were measured before" in err


def test_an_error_while_workers_end_is_an_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(quick: bool) -> Measurement:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("'Popen' object has no attribute 'kill'")

    items = (bare("a/b", "holds", work), *AS_PREDICTED)
    monkeypatch.setattr("esssim.claims.registry", registry(*items))
    code, out, err = run("verify")
    assert (code, out) == (130, "")
    assert "settles" not in err
