"""Runs: seeds, divergence, what is on disk; and the command line's errors."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray

import esssim as es


def network() -> es.DiagonalLinearNetwork:
    table = es.data.gaussian(12, 4, seed=0)
    return es.DiagonalLinearNetwork(table.inputs, table.targets)


def run(**options):
    start = np.full(8, 0.5)
    return es.simulate(network(), start, sampling=es.WithoutReplacement(3), n_steps=300, label_noise=0.1, **options)


def test_replicas_and_workers_change_no_bit():
    alone = run(step_size=0.01, n_replicas=1, record=("theta",), seed=5)
    beside = run(step_size=0.01, n_replicas=3, n_workers=2, record=("theta",), seed=5)
    xarray.testing.assert_identical(alone["theta"][0], beside["theta"][0])
    assert not np.array_equal(beside["theta"][0], beside["theta"][1])


def test_a_diverging_run_is_marked_and_left_undefined():
    trace = run(step_size=5.0, record=("loss",), n_records=300, seed=0)
    step = int(trace["diverged_at"][0])
    assert 0 < step < 300
    assert np.isnan(trace["loss"].values[0, trace["step"].values > step]).all()


def test_a_saved_trace_loads_unchanged_and_damage_is_noticed(tmp_path):
    trace, path = run(step_size=0.01, seed=1), tmp_path / "trace.nc"
    es.save(trace, path)
    xarray.testing.assert_identical(es.load(path), trace)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="path must name"):
        es.load(path)


def test_the_command_line_names_the_nearest_claim_and_prints_json():
    command = [sys.executable, "-c", "from esssim.cli import main; main()", "verify"]
    wrong = subprocess.run([*command, "imbalence"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "did you mean 'imbalance'?" in wrong.stderr
    right = subprocess.run([*command, "imbalance", "--quick", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(right.stdout)["claims"][0]["verdict"] == "holds"


# Bit patterns: infinity, a quiet NaN, and a signalling NaN, the one whose subtraction makes numpy warn.
@pytest.mark.parametrize("garbage", [0x7FF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001])
def test_gradient_flow_does_not_depend_on_what_lies_in_fresh_memory(monkeypatch, garbage):
    problem, start = network(), np.concatenate([np.full(4, 2.0), np.zeros(4)])
    expected = es.gradient_flow(problem, start)
    plain = np.empty

    def poisoned(shape, dtype=float, **options):
        array = plain(shape, dtype, **options)
        if array.dtype == np.float64:
            array.view(np.uint64).fill(garbage)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    np.testing.assert_array_equal(es.gradient_flow(problem, start), expected)


def test_gradient_flow_keeps_the_imbalance_and_reaches_the_interpolant():
    problem, start = network(), np.concatenate([np.full(4, 2.0), np.zeros(4)])
    theta = es.gradient_flow(problem, start)
    np.testing.assert_allclose(theta[:4] ** 2 - theta[4:] ** 2, 4.0, rtol=1e-8)
    assert problem.loss(theta) < 1e-16
