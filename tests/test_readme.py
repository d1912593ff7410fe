"""The README is short, its code runs, its links lead somewhere; and so do the examples that people copy."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Folders of pages that are made when the site is built: tests/test_site.py follows links into them.
MADE = ("gallery/", "theory/", "results/")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_is_read_in_one_go() -> None:
    assert len(README.splitlines()) <= 120
    written = re.sub(r"<!-- results:begin.*results:end -->", "", README, flags=re.DOTALL)
    assert max(map(len, written.splitlines())) <= 130


def test_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    scope: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert capsys.readouterr().out.splitlines()[-1] == "holds"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        made = page.parent.name == "docs" and target.startswith(MADE)
        assert target.startswith("http") or made or (page.parent / target).exists(), target


class TestExamples:
    def test_own_claim(self) -> None:
        scope = runpy.run_path(str(ROOT / "examples" / "own_claim.py"))
        verdicts = scope["verify"](among=scope["MINE"])
        assert [verdict.claim.id for verdict in verdicts] == ["double-batch/diabetes", "double-batch/wine"]
        assert all(verdict.error is None for verdict in verdicts)
        for verdict in verdicts:
            assert verdict.measurement.value == pytest.approx(1.19, abs=0.02)

    def test_minimal_flow_agrees_with_the_package(self) -> None:
        """The same law in sixty lines: its Q_b and its drift are those of `es.flow` in the difference form."""
        import esssim as es

        scope = runpy.run_path(str(ROOT / "examples" / "minimal_flow.py"))
        inputs, beta = scope["X"], scope["BETA"]
        m = 0.8 * np.sqrt(16 + 4 * beta**2)
        u = np.sqrt((np.sqrt(m**2 + 4 * beta**2) + m) / 2)
        problem = es.DiagonalLinearNetwork(inputs, inputs @ beta)
        theta, sampling = np.concatenate((u, beta / u)), es.WithoutReplacement(scope["B"])
        exact = es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")
        assert scope["mean_square_sharpness"](m) == pytest.approx(exact, rel=1e-9)
        eta, steps = 1.6 / exact, 2000
        run = es.flow.solve(
            problem, theta, step_size=eta, sampling=sampling, n_steps=steps, label_noise=scope["EPSILON"],
            record=("mean_square_sharpness_gauss_newton",), n_records=2,
        )  # fmt: skip
        first, second = np.split(run["theta"].values[-1], 2)
        moved = m + steps * scope["drift"](eta, m + steps / 2 * scope["drift"](eta, m))
        found = first**2 - second**2
        assert np.abs(found - m).max() > 0.01 * np.abs(m).max()
        np.testing.assert_allclose(found - m, moved - m, rtol=0.02, atol=1e-3 * np.abs(m).max())
