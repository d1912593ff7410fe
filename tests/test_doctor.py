"""The checks of `esssim doctor`: how they are registered, judged and run."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import xarray

import esssim as es
import esssim.doctor.check as protocol
from esssim import cli, settling
from esssim._intervals import half_width
from esssim.doctor import (
    bad_input,
    bounds,
    determinism,
    divergence,
    fuzzing,
    intervals,
    levels,
    mutation,
    numbers,
    soak,
    spectra,
    verdicts,
)  # fmt: skip
from esssim.doctor.cases import case, sampling
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


# Mutation runs the tests of a package; one of the two mutants of its quick version is a known survivor.
@pytest.mark.numerical
@pytest.mark.parametrize("key", [key for key in checks() if key != "o"])
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


def test_intervals_that_are_too_short_are_seen(monkeypatch):
    """Half as wide, the 95 % interval of Student covers 67 %."""
    cell = next(each for each in intervals.ratios() if each.design == "normal")
    right = intervals.measured(cell, 300)
    monkeypatch.setattr("esssim.claims.ratios.half_width", lambda runs: half_width(runs) / 2)
    wrong = intervals.measured(cell, 300)
    assert 0.92 < right["covered"] <= 0.98
    assert wrong["covered"] < 0.75


def test_what_the_page_says_of_eight_skewed_runs():
    """Runs that look symmetric cover less than others, and Hall's interval more than Student's but for uniform runs."""
    rng, n, count = np.random.default_rng(0), 8, 20_000
    laws = {"uniform": (rng.uniform(-1, 1, (count, n)), 0.0), "exponential": (rng.exponential(1, (count, n)), 1.0),
            "log-normal": (rng.lognormal(0, 1, (count, n)), math.exp(0.5))}  # fmt: skip
    student, looks_symmetric, hall = {}, {}, {}
    for law, (runs, mean) in laws.items():
        skewness = scipy.stats.skew(runs, axis=1, bias=False)
        t = (runs.mean(axis=1) - mean) / (runs.std(axis=1, ddof=1) / math.sqrt(n))
        corrected = t + skewness / math.sqrt(n) * (t**2 / 3 + 1 / 6) + skewness**2 * t**3 / (27 * n)
        limit = scipy.stats.t.ppf(0.975, n - 1)
        student[law], hall[law] = (round(100 * np.mean(np.abs(x) <= limit)) for x in (t, corrected))
        looks_symmetric[law] = round(100 * np.mean(np.abs(t)[np.abs(skewness) <= 1] <= limit))
    assert student == pytest.approx({"uniform": 94, "exponential": 89, "log-normal": 83}, abs=1)
    assert looks_symmetric["exponential"] == pytest.approx(86, abs=1)
    assert hall == pytest.approx({"uniform": 97, "exponential": 94, "log-normal": 91}, abs=1)


def test_ranks_that_are_not_uniform_are_seen():
    def draw(seed):
        value, error = np.random.default_rng(seed).standard_normal(), 0.7
        return intervals.Draw(value, error, math.inf, (value - 2 * error, value + 2 * error), False)

    assert intervals.measured(intervals.Cell("any", "any", 0.0, draw), 1000)["p_of_uniform_ranks"] < 1e-6


@pytest.mark.parametrize("cell", [c for c in intervals.cells(True) if c.kind in ("growth rate", "almost-sure threshold")],
                         ids=lambda c: f"{c.kind}, {c.design}")  # fmt: skip
def test_the_truth_of_a_closed_form_is_where_many_draws_meet(cell):
    values = [cell.draw(seed).value for seed in range(40)]
    assert abs(np.mean(values) - cell.true) < 5 * np.std(values) / math.sqrt(40) + 0.02 * abs(cell.true)


def test_a_level_that_misleads_is_seen():
    def stuck(seed):
        return dataclasses.replace(level_of_a_series, interval=(1.1, 1.3), verdict="above")

    level_of_a_series = settling.summarise(1 + 0.01 * np.random.default_rng(0).standard_normal((1, 400)), 0.05, 1.0)
    row = levels.measured(levels.Series("stuck", stuck, 1.0, honest=False), 5)
    assert (row["misled"], row["covered"], row["refused"]) == (1.0, 0.0, 0.0)
    row = levels.measured(levels.Series("right", lambda seed: level_of_a_series, 1.0), 5)
    assert (row["misled"], row["covered"], row["refused"]) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("name", levels.regressions())
def test_the_truth_of_a_real_trace_is_where_long_runs_meet(name):
    true, options = levels.regressions()[name]
    found = levels._sgd(options | {"n_steps": 30_000, "record_steps": range(500, 30_001, 5)}, 3)
    half = (found.interval[1] - found.interval[0]) / 2
    assert abs(found.value - true) < 2 * half < 0.1 * true


def test_the_recursion_of_the_verdicts_is_the_exact_one_and_its_wrong_versions_are_not():
    off = np.zeros(len(verdicts.WRONG))
    for seed in range(5):
        s = verdicts.regression(seed)
        course = es.moments.evolve(
            s.problem, s.theta0, step_size=s.step_size, sampling=es.WithoutReplacement(s.batch_size),
            n_steps=verdicts.N_STEPS, label_noise=s.label_noise, record_steps=[verdicts.N_STEPS],
        )  # fmt: skip
        exact = float(course["loss"][0])
        assert verdicts.Recursion().loss(s) == pytest.approx(exact, rel=1e-12)
        off = np.maximum(off, [abs(wrong.loss(s) / exact - 1) for wrong in verdicts.WRONG])
    assert (off > 0.01).all()


def test_wrong_verdicts_and_formulas_that_pass_are_seen(monkeypatch):
    monkeypatch.setattr(verdicts, "plant", lambda count: [(seed, verdicts.Recursion("right")) for seed in range(count)])
    monkeypatch.setattr(verdicts, "level_problem", lambda seed: ("settles", False))
    monkeypatch.setattr(verdicts, "QUICK_RUNS", 200)
    (found,) = run(["f"], quick=True)
    assert found.passed is False
    assert found.figure["wrong_formulas_not_refuted"] >= 5
    assert found.figure["wrong_on_levels"] == 30


def test_numbers_that_depend_on_the_workers_are_seen(monkeypatch):
    def by_the_workers(*at, n_workers, **how):
        trace = simulate(*at, n_workers=1, **how)
        trace["loss"][0, -1] = np.nextafter(trace["loss"][0, -1], 0 if n_workers == 2 else 1)
        return trace

    simulate = es.simulate
    monkeypatch.setattr(es, "simulate", by_the_workers)
    first, second = determinism.digests(1), determinism.digests(2)
    assert [name for name in first if first[name] != second[name]] == ["simulate, loss"]
    expected = xarray.Dataset({"state": ("x", [1, 1]), "loss": ("x", [0.5, 0.25]), "seconds": ("x", [1.0, 2.0])},
                              {"x": [1, 2]})  # fmt: skip
    turned = expected.isel(x=[1, 0])
    assert determinism._differing(turned.assign(seconds=turned["seconds"] * 2), expected) == []
    assert determinism._differing(turned.assign(loss=np.nextafter(turned["loss"], 0)), expected) == ["loss"]


def test_bad_input_that_is_accepted_or_badly_answered_is_seen(monkeypatch):
    monkeypatch.setattr(es.stability, "edge", lambda step_size: 2.0)
    (found,) = run(["k"], quick=True)
    assert found.passed is False
    assert found.figure["answered_badly"] == 6
    assert {row["said"] for row in found.rows} == {"accepted"}
    assert bad_input.answer(lambda: [][1]) == "IndexError: list index out of range"
    assert bad_input.well_said("b must be 1", "b must ")
    assert not any(bad_input.well_said(said, "b must ") for said in ("b must\nbe 1", "a must be 1", "b must " * 80))


def test_readers_that_raise_or_write_are_seen(tmp_path):
    def laid(folder, content):
        return folder / "file"

    def reader(read):
        return fuzzing.Reader("any", b"content", laid, read)

    for read, failure in (
        (lambda path: [][1], "IndexError: list index out of range"),
        (lambda path: path.write_bytes(b""), "opened for writing: file"),
        (lambda path: (tmp_path / "other").mkdir(), "opened for writing: other"),
    ):
        seen = fuzzing.Seen()
        fuzzing.one(reader(read), tmp_path / "folder", b"", seen)
        assert failure in seen.failures
    seen = fuzzing.Seen()
    fuzzing.one(reader(lambda path: int("x")), tmp_path / "folder", b"", seen)
    assert (seen.inputs, seen.accepted, seen.failures) == (1, 0, [])
    assert fuzzing.mutated(b"abcdef", [(1, 2, b"X"), (4, 9, b"")]) == b"aXde"


def test_a_wrong_product_of_a_layer_is_seen(monkeypatch):
    layers = pytest.importorskip("esssim.bridge.layer_cases", reason="the bridge needs PyTorch")
    assert layers.product_error("nn.Tanh") < 1e-8
    right = layers.TorchProblem.hessian_products
    monkeypatch.setattr(layers.TorchProblem, "hessian_products", lambda self, *at: right(self, *at) * (1 + 1e-5))
    assert layers.product_error("nn.Tanh") == pytest.approx(1e-5, rel=1e-2)
    # Nobody checks a problem that says check=False: its products are as torch gives them.
    assert layers.product_error("weight_norm") is None
    assert layers.unchecked_product_error("weight_norm") > 0.1


@pytest.mark.parametrize(("leak", "passed"), [(0.0, True), (5e-4, False)])
def test_a_leak_of_half_a_kilobyte_a_cell_is_seen(leak, passed):
    """Slope and interval are those of scipy's line through the means of the stretches."""
    rng = np.random.default_rng(0)
    cells, drift = 100 * np.arange(1, 601), rng.standard_normal(600)
    samples = [soak.Sample(12.1 * k, int(c), 400 + leak * c + 0.5 * drift[k], 600.0, 20) for k, c in enumerate(cells)]
    found = soak.finding(samples, 1, quick=False)
    assert found.passed is passed
    late = np.array([s.seconds >= 0.1 * samples[-1].seconds for s in samples])
    x, y = (
        [part.mean() for part in np.array_split(np.array([getattr(s, of) for s in samples])[late], 12)]
        for of in ("cells", "driver")
    )
    line = scipy.stats.linregress(np.array(x) / 1e6, y)
    assert found.figure["driver_MB_per_million_cells"] == pytest.approx(line.slope, rel=1e-9, abs=1e-6)
    upper = line.slope + scipy.stats.t.ppf(0.975, 10) * line.stderr
    assert found.figure["driver_MB_per_million_cells_at_most"] == pytest.approx(upper, rel=1e-9)
    assert found.figure["workers_MB_per_million_cells"] == pytest.approx(0, abs=1e-9)
    assert not soak.finding(samples[:300], 1, quick=False).passed  # not yet two hours
    assert not soak.finding(samples, 2, quick=False).passed
    opened = [dataclasses.replace(s, files=20 + k) for k, s in enumerate(samples)]
    assert not soak.finding(opened, 1, quick=False).passed


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


@pytest.mark.parametrize("seed", [90, 1975, 4494, 5646])
def test_bounds_hold_where_a_full_run_found_that_they_did_not(seed):
    each = case(seed, bounds.MOST_PARAMS, bounds.MOST_SAMPLES)
    for found, value in bounds.pairs(each, sampling(seed, each.problem.n_samples)):
        for bound in found.by_name.values():
            holds = bound.value <= value if bound.side == "lower" else bound.value >= value
            assert holds or not bound.valid, (bound, value)


def test_a_package_whose_mutants_live_or_were_not_run_is_seen():
    def score(name, survivors):
        return {"name": name, "n_mutants": 20, "survivors": survivors, "left_out": 3}

    assert mutation.finding([score("sampling", ["a", "b"])], ["sampling"]).passed
    found = mutation.finding([score("sampling", ["a", "b", "c"])], ["sampling", "gap"])
    assert not found.passed
    assert found.failures == ["sampling", "gap: not measured"]
    assert found.figure["fraction_killed"] == 17 / 20
    with pytest.raises(ValueError, match=r"(?s)could not be run: .*invalid choice"):
        mutation.scores("no such package", 1)
