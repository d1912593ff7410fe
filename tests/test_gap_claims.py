"""The claims about the gap, the random problems that decide them, and the tables of docs/gap.md."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from esssim import claims
from esssim.claims import gap_cases, gap_tables
from esssim.claims.gap_cases import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "gap.md"
OUTCOME = Outcome(0, "p", 8, 3, "WithoutReplacement(2)", "exact", 1.0, 0.1, 1.05, 0.0)


@pytest.mark.parametrize("name", [claim for claim in claims.registry if claim.startswith("gap-")])
def test_claims_come_out_as_predicted(name: str) -> None:
    (verdict,) = claims.verify([name], quick=True)
    assert verdict.error is None
    assert verdict.as_predicted, verdict.measurement.reason
    assert verdict.measurement.rows


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
    lines = gap_tables.coverage_table(rows).splitlines()
    assert lines[2:] == [
        "| exact | 2 | 50% | 27.4% | 7.3% |",
        "| spike | 1 | 0% | – | – |",
        "| all | 3 | 33% | 27.4% | 7.3% |",
    ]


def test_tightness_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_cases, "TIGHTNESS_SEEDS", range(1))
    lines = gap_tables.tightness_table().splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[2:]}
    assert len(cells) == 20 + 2
    assert cells["single_sample (upper)"][0].strip() == "0.0% / 0%"
    assert cells["pair (upper)"][0].strip() == "–"
    assert cells["pair (upper)"][1].strip() == "0.0% / 0%"


def test_the_page_holds_both_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("tightness", "coverage"):
        assert f"\n| t |\n<!-- {name}:end -->" in gap_tables.update(text, name, "| t |")
        with pytest.raises(ValueError, match="page must hold one pair of markers"):
            gap_tables.update(text.replace(f"<!-- {name}:end -->", ""), name, "| t |")
    covered = [line for line in text.splitlines() if line.startswith("| all | 200 |")]
    assert len(covered) == 1
    assert float(covered[0].split("|")[3].strip(" %")) >= 90


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    start = text.index("```python\n") + len("```python\n")
    exec(text[start : text.index("```", start)], {})
    lower, upper, _ = capsys.readouterr().out.splitlines()[0].split()
    assert float(lower) < float(upper)
