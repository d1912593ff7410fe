"""The checks of `esssim doctor`: how they are registered, judged and run."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest

import esssim as es
import esssim.doctor.check as protocol
from esssim import cli
from esssim.doctor import bounds, divergence, numbers, spectra
from esssim.doctor.cases import case
from esssim.doctor.check import Finding, Unavailable, at_least, at_most, between, check, exactly, heard_by, steps
from esssim.doctor.run import checks, run
from esssim.settling import level
from esssim.spectra import largest_eigenvalues
from tests.pages import check_is_kept, copied


@pytest.fixture
def registry(monkeypatch):
    """An empty registry in place of the real one."""
    entries = {}
    monkeypatch.setattr(protocol, "REGISTRY", entries)
    monkeypatch.setattr("esssim.doctor.run.REGISTRY", entries)
    monkeypatch.setattr("esssim.doctor.run.MODULES", ())
    return entries


@pytest.mark.parametrize(
    ("value", "wanted", "passed"),
    [
        (1.0, at_most(1.0), True),
        (1.1, at_most(1.0), False),
        (1.0, at_least(1.0), True),
        (0.9, at_least(1.0), False),
        (0.0, exactly(0), True),
        (1.0, exactly(0), False),
        (0.95, between(0.933, 0.966), True),
        (0.97, between(0.933, 0.966), False),
        (math.nan, between(-math.inf, math.inf), False),
    ],
)
def test_a_check_passes_where_every_figure_lies_in_its_range(value, wanted, passed):
    assert Finding({"x": value, "other": 7.0}, {"x": wanted}).passed is passed


def test_a_range_of_an_unknown_figure_is_refused():
    with pytest.raises(ValueError, match="wanted must name figures that were measured, got \\['y'\\]"):
        Finding({"x": 1.0}, {"y": exactly(1)})


def test_one_that_raises_or_is_not_available_does_not_stop_the_others(registry):
    @check(key="a", title="raises")
    def raises(quick):
        raise ValueError("broken on purpose")

    @check(key="b", title="not here")
    def absent(quick):
        raise Unavailable("no checkout")

    @check(key="c", title="measures")
    def measures(quick):
        return Finding({"size": 1.0 if quick else 2.0}, {"size": exactly(1)}, note="a note")

    found = {each.key: each for each in run(quick=True)}
    assert (found["a"].passed, found["a"].error) == (False, "broken on purpose")
    assert (found["b"].passed, found["b"].note) == (None, "no checkout")
    assert (found["c"].passed, found["c"].note) == (True, "a note")
    assert run(["c"])[0].passed is False
    with pytest.raises(ValueError, match="key must be one of a, b, c, got 'z'"):
        run(["z"])


def test_a_key_is_taken_once(registry):
    def other(quick):
        return Finding({}, {})

    check(key="a", title="one")(lambda quick: Finding({}, {}))
    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="key must be new, 'a' is 'one'"):
        check(key="a", title="two")(other)


def test_steps_are_reported_to_the_listener():
    heard = []
    with heard_by(lambda done, total: heard.append((done, total))):
        assert list(steps(range(3))) == [0, 1, 2]
        assert list(steps(iter("ab"), total=5)) == ["a", "b"]
    list(steps([1]))
    assert heard == [(1, 3), (2, 3), (3, 3), (1, 5), (2, 5)]


@pytest.mark.numerical
@pytest.mark.parametrize("key", checks())
def test_the_quick_version_of_each_check_passes(key):
    (found,) = run([key], quick=True)
    assert found.passed is not False, (found.error, found.failures)
    assert set(found.wanted) <= set(found.figure)


# Each check must see the fault that it is there for.


def test_a_wrong_digit_of_an_eigenvalue_is_seen(monkeypatch):
    monkeypatch.setattr(spectra, "largest_eigenvalues", lambda *at: largest_eigenvalues(*at) * (1 + 3e-12))
    (found,) = run(["a"], quick=True)
    assert found.passed is False
    assert 2e-12 < found.figure["largest_error_up_to_16_parameters"] < 4e-12
    # The enclosure sees one beyond its own tolerance.
    each = case(3, 40, 10, 30)
    assert spectra.largest_error(each, all_sizes=False) == pytest.approx(1e-11)
    monkeypatch.setattr(spectra, "largest_eigenvalues", lambda *at: largest_eigenvalues(*at) * (1 - 3e-10))
    assert spectra.largest_error(each, all_sizes=False) == pytest.approx(1e-9)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_violated_bound_is_seen(factor, monkeypatch):
    original = bounds.pairs
    monkeypatch.setattr(bounds, "pairs", lambda *at: [(each, value * factor) for each, value in original(*at)])
    (found,) = run(["e"], quick=True)
    assert found.passed is False
    assert found.figure["violations"] == len(found.failures) > 0


def test_a_run_that_is_not_marked_or_is_averaged_is_seen(monkeypatch):
    def unmarked(*at, **how):
        trace = simulate(*at, **how)
        trace["diverged_at"][:] = -1
        return trace

    def late(*at, **how):
        trace = simulate(*at, **how)
        trace["diverged_at"] = trace["diverged_at"].where(trace["diverged_at"] < 0, trace["diverged_at"] + 1)
        return trace

    simulate, at = es.simulate, (case(1, 4, 5), 4.0, 3)
    assert divergence.faults(*at)["wrong_step"] == 0
    monkeypatch.setattr(es, "simulate", late)
    assert divergence.faults(*at)["wrong_step"] > 0
    monkeypatch.setattr(es, "simulate", unmarked)
    with pytest.raises(ValueError, match="undefined records"):
        divergence.faults(*at)
    trace = simulate(at[0].problem, at[0].theta, step_size=1e-3, sampling=es.WithReplacement(1), n_steps=20,
                     n_replicas=3, record=("loss",), seed=0)  # fmt: skip
    trace["diverged_at"][0] = 5
    assert divergence.level_is_of_survivors(trace)
    monkeypatch.setattr(es.settling, "level", lambda trace, name: dataclasses.replace(level(trace, name), value=1e3))
    assert not divergence.level_is_of_survivors(trace)


# The command


def esssim(*words):
    return subprocess.run(
        [sys.executable, "-m", "esssim", "doctor", *words], capture_output=True, text=True, timeout=300
    )


def test_an_installation_is_checked_number_by_number():
    found = esssim("--json")
    assert found.returncode == 0, found.stderr
    content = json.loads(found.stdout)
    assert {"numbers", "blas", "compiler_cache", "extras", "packages"} <= set(content)
    assert len(content["numbers"]) >= 14
    assert all(number["passed"] for number in content["numbers"])


@pytest.mark.parametrize("name", [name for name in numbers.NUMBERS if not name.startswith("torch")])
def test_a_wrong_number_is_seen(name, monkeypatch):
    """Each reference is independent of what it checks: a wrong value differs from it."""
    value, reference, allowed = numbers.NUMBERS[name]()
    monkeypatch.setattr(numbers, "NUMBERS", {name: lambda: (value * (1 + 2 * allowed + 1e-9), reference, allowed)})
    (wrong,) = numbers.measure()
    monkeypatch.setattr(numbers, "NUMBERS", {name: lambda: (value, reference, allowed)})
    (right,) = numbers.measure()
    assert (right.passed, wrong.passed) == (True, False)


def test_figures_go_to_a_folder_beside_those_of_other_keys(tmp_path, registry, monkeypatch):
    check(key="a", title="passes")(lambda quick: Finding({"size": 1.0}, {"size": at_least(1)}))
    check(key="b", title="fails")(lambda quick: Finding({"size": math.inf}, {"size": at_most(1)}, [], ["the case x|y"]))
    assert cli.run(["doctor", "--full", "a", "--out", str(tmp_path)]) == 0
    assert cli.run(["doctor", "--quick", "b", "--out", str(tmp_path)]) == 1
    content = json.loads((tmp_path / "reliability.json").read_text())
    assert [(entry["key"], entry["passed"], entry["measured"]["quick"]) for entry in content["checks"]] == [
        ("a", True, False), ("b", False, True),
    ]  # fmt: skip
    page = (tmp_path / "reliability.md").read_text()
    assert "| [b](#b-fails) | fails | size: **not finite** (wanted: ≤ 1) | **no** |" in page
    assert "* the case x\\|y" in page
    (tmp_path / "reliability.json").write_text("[]")
    assert cli.run(["doctor", "--full", "a", "--out", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "KEY needs --full or --quick"),
        (["--out", "x"], "--out needs --full or --quick"),
        (["--full", "--quick"], "--full and --quick exclude each other"),
        (["--full", "zz"], "key must be one of a, "),
    ],
)
def test_bad_input_is_named(words, message, capsys):
    assert cli.run(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_page_says_what_the_numbers_say(tmp_path, monkeypatch, capsys):
    run = copied("reliability", ("reliability.py", "reliability.json", "reliability.md"), tmp_path, monkeypatch)
    check_is_kept("reliability", run, tmp_path, ("wanted", "wished"), capsys)
