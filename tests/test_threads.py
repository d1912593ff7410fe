"""Levels come out the same whatever the number of BLAS threads: claims and figures are computed with one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterable

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import esssim as es
from esssim._threads import one_blas_thread
from esssim.claims import Measurement, Registry
from esssim.claims.verify import verify_claims
from figures import cache
from tests.fake_claims import bare


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_within_it_there_is_one_and_afterwards_as_many_as_before() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_a_claim_is_measured_with_one() -> None:
    seen: list[set[int]] = []

    def measure(quick: bool) -> Measurement:
        seen.append(blas_threads())
        return Measurement("holds", "")

    registry = Registry()
    registry.add(bare("a/b", "holds", measure))
    with threadpool_limits(2, user_api="blas"):
        verify_claims(registry)
    assert seen == [{1}]


def test_the_rows_of_a_figure_are_computed_with_one(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "key", lambda script, configuration: "0" * 24)
    script = types.ModuleType("script")
    script.collect = lambda configuration, tell: [{"threads": sorted(blas_threads())}]  # type: ignore[attr-defined]
    with threadpool_limits(2, user_api="blas"):
        assert cache.rows(script, "script", {}, print) == [{"threads": [1]}]


EVERYTHING = """
import hashlib, sys
import numpy as np
import torch
import esssim as es
from esssim import bridge

rng = np.random.default_rng(0)
n, p, sampling = 320, 310, es.WithoutReplacement(64)
rows = rng.standard_normal((n, p))
regression = es.LinearRegression(rows, rows @ rng.standard_normal(p))
theta, origin = np.linalg.lstsq(rows, regression.targets, rcond=None)[0], np.zeros(p)
wide = rng.standard_normal((120, 400))
network = es.DiagonalLinearNetwork(wide, wide @ rng.random(400))
start = np.concatenate((np.full(400, 1.0), np.full(400, 0.1)))
flowed = es.gradient_flow(network, start)
inputs = rng.standard_normal((300, 40))
torch_problem = bridge.TorchProblem(bridge.mlp(40, (20,), 1, seed=0), inputs, rng.standard_normal(300))
values = {
    "gradient_flow": flowed,
    "flow.solve": es.flow.solve(
        network, flowed, step_size=1e-4, sampling=es.WithoutReplacement(8), n_steps=20, label_noise=0.1, n_records=2
    ).theta.values,
    "sharpness": es.sharpness(regression, origin),
    "minibatch_sharpness": es.minibatch_sharpness(regression, origin, sampling, n_batches=20, seed=0).value,
    "batch_sharpness": es.batch_sharpness(regression, origin, sampling, n_batches=20, seed=0).value,
    "mean_square_sharpness": es.mean_square_sharpness(regression, origin, sampling),
    "mean_square_sharpness_gauss_newton": es.mean_square_sharpness(network, start, sampling, hessian="gauss_newton"),
    "interaction_aware_sharpness": es.interaction_aware_sharpness(network, start, sampling),
    "gradient_noise_interaction": es.gradient_noise_interaction(network, start, sampling),
    "critical_step_size": es.stability.critical_step_size(regression, theta, sampling),
    "gap.predict": es.gap.predict(regression, origin, sampling).value,
    "moments.evolve": es.moments.evolve(
        regression, origin, step_size=1e-4, sampling=sampling, n_steps=10
    ).covariance.values,
    "simulate": es.simulate(
        regression, origin, step_size=1e-4, sampling=sampling, n_steps=10, record=("sharpness", "loss"), n_records=2, seed=0
    ).loss.values,
    "network sharpness": es.sharpness(torch_problem, torch_problem.theta0),
    "network MiniBS": es.minibatch_sharpness(torch_problem, torch_problem.theta0, sampling, n_batches=4, seed=0).value,
    "network flow": es.mean_square_sharpness(torch_problem, torch_problem.theta0, sampling, hessian="gauss_newton"),
}
for name, value in values.items():
    print(name, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(), sep=": ")
"""


@functools.cache
def digests(threads: int) -> dict[str, str]:
    """Of every result in a process of its own with so many threads."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    run = subprocess.run(
        [sys.executable, "-c", EVERYTHING], env=environment, capture_output=True, text=True, check=True
    )
    return dict(line.split(": ") for line in run.stdout.splitlines())


@pytest.mark.parametrize("threads", [2, 4])
def test_numbers_are_the_same_bits_with_any_number_of_threads(threads: int) -> None:
    assert digests(threads) == digests(1)
    assert len(digests(1)) == 16


def test_threads_of_torch_are_limited_and_put_back() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_blas_thread(), one_blas_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_last_of_several_threads_puts_the_limit_back() -> None:
    """What one thread leaves another one may still need."""
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=other)
        with one_blas_thread():
            thread.start()
            entered.wait(10)
        assert blas_threads() == {1}
        leave.set()
        thread.join()
        assert blas_threads() == {2}


def test_an_error_inside_puts_the_limit_back() -> None:
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="step_size"):
            es.stability.critical_step_size(None, None, None, criterion="step_size")  # type: ignore[arg-type, call-overload]
        assert blas_threads() == {2}


def test_an_error_in_a_table_does_not_wait_for_every_other_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other thread has not begun by then is left out."""
    seen: list[float] = []

    def slow(curvature: object, coefficients: Iterable[float]) -> list[float]:
        for c in coefficients:
            seen.append(c)
            time.sleep(1)
        return []

    def wrong(*arguments: object, **options: object) -> None:
        raise RuntimeError("no batch")

    monkeypatch.setattr("esssim.measure.measuring.tops_of_pencil", slow)
    monkeypatch.setattr("esssim.measure.measuring.minibatch_sharpness", wrong)
    with pytest.raises(RuntimeError, match="no batch"):
        es.measure.measure_table(es.data.gaussian(40, 2, seed=0))
    assert len(seen) < 3


def test_a_table_whose_mean_square_sharpness_is_undefined_says_so_from_the_other_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def undefined(*arguments: object) -> list[float]:
        raise es.Undefined("nothing of it is positive")

    monkeypatch.setattr("esssim.measure.measuring.tops_of_pencil", undefined)
    with pytest.raises(es.Undefined, match="positive"):
        es.measure.measure_table(es.data.gaussian(8, 2, seed=0), batch_sizes=[2])
