"""The claims about the gap, the random problems that decide them, and the tables of docs/gap.md."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim import claims
from esssim.claims import gap, gap_cases, gap_tables, scaling
from esssim.claims.gap_cases import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "gap.md"
OUTCOME = Outcome(0, "p", 8, 3, "WithoutReplacement(2)", "exact", 1.0, 0.1, 1.05, 0.0)


@pytest.mark.parametrize("name", [claim for claim in claims.registry if claim.startswith("gap-")])
def test_claims_come_out_as_predicted(name: str) -> None:
    (verdict,) = claims.verify([name], quick=True)
    assert verdict.error is None
    expected = claims.registry[name].expected
    assert verdict.measurement.verdict != "inconclusive"
    assert expected in ("open", verdict.measurement.verdict), verdict.measurement.reason
    assert verdict.measurement.rows


def of_its_own(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    """A mean-square sharpness that does not follow c: above its chord."""
    return es.sharpness(problem, theta) * (1 + 2 / np.sqrt(sampling.batch_size))


def proportional(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    return es.sharpness(problem, theta) * (1 + 2 / sampling.batch_size)


def inverse(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling, **how: object) -> es.Estimate:
    return es.Estimate(1 / sampling.batch_size, 0.0, 1, True)


def too_sure(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> es.gap.Prediction:
    found = es.gap.crossover(problem, theta, sampling)
    return dataclasses.replace(found, error=found.error / 100)


def enumerated(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> es.gap.Prediction:
    minibs = es.minibatch_sharpness(problem, theta, sampling).value
    return es.gap.Prediction("", minibs - es.sharpness(problem, theta), 0.0, True, "")


@pytest.mark.parametrize(
    ("name", "attribute", "wrong", "verdict"),
    [
        ("gap-scaling/linear-step-size", "minibatch_sharpness", inverse, "holds"),
        ("gap-scaling/linear-then-saturation", "mean_square_sharpness", of_its_own, "refuted"),
        ("gap-crossover/degenerate-to-clear", "crossover", too_sure, "refuted"),
        ("gap-additive-noise/one-steep-direction", "additive_noise", enumerated, "holds"),
        ("gap-scaling/edge-gap", "mean_square_sharpness", proportional, "holds"),
    ],
)
def test_other_numbers_decide_otherwise(
    name: str, attribute: str, wrong: Callable[..., Any], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling if name.startswith("gap-scaling") else gap, attribute, wrong)
    assert claims.registry[name].measure(True).verdict == verdict


def test_self_stabilisation_that_ignores_the_batch_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scaling.self_stabilisation
    monkeypatch.setattr(
        scaling, "self_stabilisation", lambda problem, theta, _, eta: right(problem, theta, es.WithReplacement(2), eta)
    )
    assert claims.registry["gap-scaling/self-stabilisation"].measure(True).verdict == "refuted"


def test_random_cases_are_reproducible_and_varied() -> None:
    cases = [gap_cases.random_case(seed) for seed in range(40)]
    again = [gap_cases.random_case(seed) for seed in range(40)]
    assert [case.problem.fingerprint for case in cases] == [case.problem.fingerprint for case in again]
    assert [case.sampling for case in cases] == [case.sampling for case in again]
    assert {case.name.split("/")[0] for case in cases} == set(gap_cases.MODELS)
    assert {case.name.split("/")[-1] for case in cases} >= set(gap_cases.ENSEMBLES)
    for case in cases:
        assert case.theta.shape == (case.problem.n_params,)
        assert 1 <= case.sampling.batch_size <= case.problem.n_samples <= 300
        if case.name.startswith("solution"):
            residuals = case.problem.residuals(case.theta, np.arange(case.problem.n_samples))
            assert np.abs(residuals).max() < 1e-12


def test_covered_and_measurable() -> None:
    assert OUTCOME.covered
    assert OUTCOME.measurable
    assert OUTCOME.relative_error == pytest.approx(0.05 / 1.05)
    assert not dataclasses.replace(OUTCOME, gap=1.2).covered
    assert dataclasses.replace(OUTCOME, gap=1.2, standard_error=0.06).covered
    assert not dataclasses.replace(OUTCOME, standard_error=0.3).measurable
    assert not dataclasses.replace(OUTCOME, gap=0.0).measurable


def test_coverage_table() -> None:
    rows = [OUTCOME, dataclasses.replace(OUTCOME, gap=2.0), dataclasses.replace(OUTCOME, method="spike", gap=0.0)]
    lines = gap_tables.coverage_table(rows, "formula chosen", lambda row: row.method).splitlines()
    assert lines[0].startswith("| formula chosen | problems |")
    assert lines[2:] == [
        "| exact | 2 | 50% | 27.4% | 7.3% |",
        "| spike | 1 | 0% | – | – |",
        "| all | 3 | 33% | 27.4% | 7.3% |",
    ]


def test_kinds_of_problems() -> None:
    kinds = {
        "regression/gaussian": "regression",
        "solution/spiked": "network on a solution",
        "product/spiked": "network off the solution set",
        "difference, depth 3/power_law": "network off the solution set",
        "quadratic": "indefinite quadratic",
    }
    assert {gap_tables.kind_of(dataclasses.replace(OUTCOME, problem=name)): 0 for name in kinds}.keys() == set(
        kinds.values()
    )
    for name, kind in kinds.items():
        assert gap_tables.kind_of(dataclasses.replace(OUTCOME, problem=name)) == kind


def stored() -> dict[str, list[dict]]:
    return json.loads(PAGE.with_suffix(".json").read_text(encoding="utf-8"))


def test_the_stored_slack_is_what_the_bounds_have() -> None:
    """At b = 11 of 12 samples there are only 12 batches: quick to measure again."""
    found = gap_tables.tightness_rows(sizes=(11,))
    kept = [row for row in stored()["tightness"] if row["b"] == 11]
    assert len(found) == 25 + 6 + 4
    assert [{k: row[k] for k in ("statistic", "side", "bound", "problems")} for row in found] == [
        {k: row[k] for k in ("statistic", "side", "bound", "problems")} for row in kept
    ]
    for row, other in zip(found, kept, strict=True):
        # Slack is relative to the statistic: what is zero is rounding, other on other machines.
        assert (row["median"], row["worst"]) == pytest.approx((other["median"], other["worst"]), rel=1e-6, abs=1e-9)


def test_slack_is_relative_to_the_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0]), np.zeros(2)
    case = gap_cases.GapCase("two rows", problem, theta, es.WithoutReplacement(1))
    monkeypatch.setattr(gap_tables, "tightness_cases", lambda: [case])
    rows = {(row["statistic"], row["side"], row["bound"]): row for row in gap_tables.tightness_rows(sizes=(1,))}
    # M₁ = 5/2, λ_max(H) = 2, tr H = 5/2; Q₁ = 4.
    assert rows["MiniBS", "lower", "jensen"]["worst"] == pytest.approx(0.2)
    assert rows["MiniBS", "lower", "best"]["worst"] == pytest.approx(0, abs=1e-9)
    assert rows["MiniBS", "upper", "trace"]["median"] == pytest.approx(0, abs=1e-9)
    assert rows["mean-square sharpness", "upper", "full_batch_multiple"]["worst"] == pytest.approx(0, abs=1e-9)
    assert all(row["problems"] == 1 for row in rows.values())


def test_the_stored_outcomes_are_those_of_predict() -> None:
    kept = stored()["coverage"]
    assert [row["seed"] for row in kept] == list(gap_cases.UNSEEN)
    for found, row in zip(gap_cases.outcomes(range(8)), kept, strict=False):
        assert dataclasses.asdict(found) == {
            key: pytest.approx(value, rel=1e-6, abs=1e-12) if isinstance(value, float) else value
            for key, value in row.items()
        }


def test_the_page_covers_nine_in_ten_and_states_the_error_of_each_regime() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert sum(float(line.split("|")[3].strip(" %")) >= 90 for line in lines if line.startswith("| all | 200 |")) == 2
    for kind in ("regression", "network on a solution", "network off the solution set", "indefinite quadratic"):
        assert sum(line.startswith(f"| {kind} |") for line in lines) == 1


def test_the_page_is_checked_against_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "gap.md"
    for name in ("gap.md", "gap.json"):
        shutil.copy(PAGE.with_name(name), tmp_path / name)
    assert gap_tables.main([str(page), "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("| all | 200 | ", "| all | 201 | "), encoding="utf-8")
    assert gap_tables.main([str(page), "--check"]) == 1
    assert f"{page} is out of date: run python -m esssim.claims.gap_tables" in capsys.readouterr().err
    page.write_text(text.replace("<!-- kinds:end -->", ""), encoding="utf-8")
    assert gap_tables.main([str(page), "--check"]) == 2
    assert "page must hold one pair of markers <!-- kinds:begin --> and" in capsys.readouterr().err
    (tmp_path / "gap.json").unlink()
    assert gap_tables.main([str(page), "--check"]) == 2
    assert gap_tables.main([str(tmp_path / "none.md")]) == 2


def test_measuring_writes_the_numbers_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, content = tmp_path / "gap.md", stored()
    content["coverage"] = content["coverage"][:3]
    shutil.copy(PAGE, page)
    monkeypatch.setattr(gap_tables, "measure", lambda: content)
    assert gap_tables.main([str(page)]) == 0
    assert json.loads((tmp_path / "gap.json").read_text(encoding="utf-8")) == content
    assert "\n| all | 3 | " in page.read_text(encoding="utf-8")
    assert gap_tables.main([str(page), "--check"]) == 0


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    start = text.index("```python\n") + len("```python\n")
    exec(text[start : text.index("```", start)], {})
    lower, upper, _ = capsys.readouterr().out.splitlines()[0].split()
    assert float(lower) < float(upper)
