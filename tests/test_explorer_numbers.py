"""The explorer's JavaScript computes what Python computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim.data.dataset import standardised
from esssim.experiments import Experiment
from esssim.explorer import golden
from esssim.simulation import Ramp
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
    assert len(found) > 600
    assert {each["tolerance"] for each in found} == {1e-10}
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


WORDS = """
import { rounded, said, short } from "JS/page/axes.mjs";
const values = [0, 1.23456, -0.5, 1e-7, 123456, 7.681653644785041e248, -3e-310, Infinity, NaN];
console.log(JSON.stringify(values.map((x) => [said(x, 3), rounded(x, 4), short(x)])));
"""


def test_a_number_of_any_size_is_said_in_few_digits() -> None:
    found = node.run(WORDS)
    assert found[1] == ["1.235", "1.235", "1.23"]
    assert found[3] == ["1.00·10⁻⁷", "1.000·10⁻⁷", "10⁻⁷"]
    assert found[4] == ["123456.000", "123500", "123k"]
    assert found[5] == ["7.68·10²⁴⁸", "7.682·10²⁴⁸", "8·10²⁴⁸"]
    assert [each[:2] for each in found[-2:]] == [["beyond all numbers"] * 2] * 2
    assert max(len(words) for each in found for words in each) <= 18


ANY_SCALE = r"""
import { readFileSync } from "node:fs";
import { standardised } from "JS/core/data.mjs";
import { problemOf, readTable } from "JS/page/table.mjs";
const columns = JSON.parse(readFileSync(process.argv[1], "utf8"));
const refusal = (text) => { try { return problemOf(readTable(text), "y").n; } catch (error) { return error.message; } };
const refused = ["a,y\n5,1\n5,2\n", "a,y\n0x10,1\n5,2\n", "a,y\n1e300,1\n-1e300,2\n"].map(refusal);
console.log(JSON.stringify([columns.map((x) => Array.from(standardised(x, x.length, 1))), refused]));
"""


def test_a_table_of_any_scale_is_standardised_as_in_python(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal(7)
    ulp = np.full(7, 1e16)
    ulp[2] += 2
    wide = np.array([1.7e308, -1.7e308, 0, 1, 2, 3, 4])
    columns = [rows, rows * 1e300, rows * 1e-300, rows * 1e-320, rows * 1e-3 + 1, np.full(7, 0.1), ulp, wide, 0 * rows]
    path = tmp_path / "columns.json"
    path.write_text(json.dumps([each.tolist() for each in columns]))
    found, refused = node.run(ANY_SCALE, path)
    for got, column in zip(found, columns, strict=True):
        np.testing.assert_allclose(got, standardised(column), rtol=1e-12, atol=1e-12)
    assert refused[0] == "Every input column is constant: nothing can be learned."
    assert refused[1] == 'Column "a", line 2: "0x10" is no number.'
    assert refused[2] == 2


ENDS = """
import { Experiment } from "JS/core/experiment.mjs";
import { largestSignChange } from "JS/core/critical.mjs";
import { FlowSolver } from "JS/core/integrate.mjs";
import { eigenvaluesInPlace, symmetricEigen } from "JS/core/linalg.mjs";
import { SvgSurface } from "JS/page/surface.mjs";
import { mended } from "JS/page/state.mjs";
const small = (more) => new Experiment(mended({ n: 12, d: 3, b: 12, steps: 300, ...more }));
for (const scale of [0, 5e-324, 1e-310, 1e-300, 1, 1e300, 1.7e308, Infinity, NaN])
  for (const other of [scale, 0, -1, 3e-322]) {
    const A = Float64Array.from({ length: 16 }, (_, k) => ((k * 7) % 5 ? scale : other));
    symmetricEigen(A, 4); eigenvaluesInPlace(A, 4); largestSignChange([1, ...A.slice(0, 5)]);
  }
const { flow } = small({ b: 2 });
flow.theta.fill(NaN); flow.moving.velocity.fill(NaN); flow.advance(100);
const surface = new SvgSurface(9, 9, "#fff"), style = { color: "#000" };
for (const x of [NaN, Infinity]) {
  surface.line([[0, 0], [x, 1], [2, 2], null], style); surface.area([[0, 0], [x, 1]], style);
  surface.rectangle(0, x, 1, 1, style); surface.circle(x, 1, 1, style); surface.text("a", 1, x, style);
}
const weighted = small({ scheme: "gaussian_weights" }), record = weighted.next();
console.log(JSON.stringify({ stopped: flow.stopped, svg: surface.toString(), error: record.minibatch_sharpness_standard_error,
  exact: record.exact, edge: weighted.edgesOf(12).minibatchError }));
"""


def test_numbers_without_end_end(tmp_path: Path) -> None:
    """No loop waits for a number that never comes, and no picture draws one."""
    found = node.run(ENDS)
    assert found["stopped"]
    assert "NaN" not in found["svg"]
    assert "Infinity" not in found["svg"]
    # All samples with equal weights are the only batch of n: there is nothing to sample.
    assert (found["error"], found["exact"], found["edge"]) == (0, True, 0)


RISE = """
import { Experiment } from "JS/core/experiment.mjs";
import { mended } from "JS/page/state.mjs";
import { toToml } from "JS/page/export.mjs";
console.log(JSON.stringify(["two", "product", "depth3"].map((model) => {
  const settings = mended({ model, n: 12, d: 3, b: 2, steps: 300, start: "initialisation", to: 6 }), run = new Experiment(settings);
  return { eta: [run.etaAt(0), run.etaAt(300)], toml: toToml(settings, { eta: [], second: run.second, table: null }) };
})));
"""


def test_a_rise_from_the_initialisation_ends_below_the_flattest_solution() -> None:
    """Its own weights are no solution's: those of u = α, v = 0 are zero, and so are their Hessians."""
    for each in node.run(RISE):
        experiment = Experiment.from_toml(each["toml"])
        ramp = experiment.step_size
        assert isinstance(ramp, Ramp)
        np.testing.assert_allclose(each["eta"], [ramp.start, ramp.stop], rtol=1e-9)
        network = experiment.model
        weights = np.linalg.lstsq(network.inputs, network.targets, rcond=None)[0]
        flat = np.abs(weights) ** (1 / network.depth)
        theta = np.concatenate([flat * (weights > 0), flat * (weights < 0)])
        if network.form == "product":
            theta = np.concatenate([flat, np.sign(weights) * flat])
        sharpness = es.mean_square_sharpness(network, theta, es.WithoutReplacement(2), hessian="gauss_newton")
        assert ramp.stop == pytest.approx(min(6 * experiment.first_edge, 0.9 * 2 / sharpness), rel=1e-9)
