"""The explorer's JavaScript computes what Python computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from esssim.explorer import golden
from esssim.statistics.critical import largest_sign_change
from tests import node

CHECK = """
import { readFileSync } from "node:fs";
import { check } from "JS/core/check.mjs";
console.log(JSON.stringify(check(JSON.parse(readFileSync(process.argv[1], "utf8")))));
"""


def test_node_computes_the_golden_vectors(golden_vectors: Path) -> None:
    found = node.run(CHECK, golden_vectors)
    # JSON has no infinity: null stands for it.
    wrong = [each for each in found if each["error"] is None or not each["error"] <= each["tolerance"]]
    assert wrong == []
    assert len(found) > 500
    assert {each["name"].split(":")[0] for each in found} == {
        "random", "records", "weights", "ensemble", "batches", "enumeration", "start", "eigenvalues", "statistics", "perron", "flow", "run",
    }  # fmt: skip
    # Exactly zero everywhere would mean that nothing was compared.
    assert sum(each["error"] > 0 for each in found) > 400


def test_a_wrong_expectation_is_seen(golden_vectors: Path, tmp_path: Path) -> None:
    content = json.loads(golden_vectors.read_text())
    wrong = [vector for vector in content["vectors"] if vector["kind"] == "perron"][:5]
    for vector in wrong:
        vector["expected"]["edge"] *= 1 + 1e-9
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**content, "vectors": wrong}))
    assert all(each["error"] > each["tolerance"] for each in node.run(CHECK, path))


SIGN_CHANGES = """
import { readFileSync } from "node:fs";
import { largestSignChange } from "JS/core/critical.mjs";
console.log(JSON.stringify(JSON.parse(readFileSync(process.argv[1], "utf8")).map(largestSignChange)));
"""


def test_node_finds_the_largest_sign_change_of_any_polynomial(tmp_path: Path) -> None:
    """Also of those that come near zero, touch it, or never change their sign beyond the largest change."""
    rng = np.random.default_rng(0)
    polynomials = [
        np.polynomial.polynomial.polyfromroots(roots)[::-1]
        for near in (0.0, 0.01, 1.0)
        for first in (-2.0, 0.7, 2.5)
        for roots in ([first, 3 + 1j * near, 3 - 1j * near], [first, 1.5, 2.0, 4 + 1j * near, 4 - 1j * near])
    ]
    drawn = [np.concatenate([[1.0], rng.standard_normal(degree)]) for degree in (1, 3, 5, 7) for _ in range(40)]
    every = [np.real(coefficients) for coefficients in (*polynomials, *drawn)]
    path = tmp_path / "polynomials.json"
    path.write_text(json.dumps([each.tolist() for each in every]))
    expected = [float(largest_sign_change(each[None])[0]) for each in every]
    np.testing.assert_allclose(node.run(SIGN_CHANGES, path), expected, rtol=1e-12, atol=0)
    assert 0.0 in expected


def test_the_command_needs_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([]) == 2
    assert "usage" in capsys.readouterr().err


TICKS = """
import { scale } from "JS/page/axes.mjs";
const { MAX_VALUE } = Number;
const ranges = [[1, Infinity], [0, 1], [1, 1], [2, 1], [-1, 1], [NaN, 1], [-Infinity, Infinity], [-MAX_VALUE, MAX_VALUE],
  [1e-320, MAX_VALUE], [1, 1 + 2.3e-16], [1e16, 1e16 + 4], [0.001, 1000], [0, 2.5]];
console.log(JSON.stringify(ranges.map(([low, high]) => [true, false].map((log) => scale(low, high, 0, 100, { log }).ticks))));
"""


def test_an_axis_of_any_range_has_few_ticks_and_ends() -> None:
    found = node.run(TICKS)
    assert all(len(ticks) <= 20 for both in found for ticks in both)
    assert found[0] == [[], []]
    assert found[-2][0] == [0.001, 0.01, 0.1, 1, 10, 100, 1000]
    assert found[-1] == [[], [0, 0.5, 1, 1.5, 2, 2.5]]
