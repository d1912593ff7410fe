"""The run that compiles the loops and every later one, which loads them from the disk, give the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from esssim._kernels import keeping

ROOT = Path(__file__).parents[1]

SCRIPT = """
import hashlib

import numpy as np

import esssim as es
from esssim import spectra

rng = np.random.default_rng(0)
inputs, targets, matrices = rng.standard_normal((20, 9)), rng.standard_normal(20), rng.standard_normal((20, 5, 5))
problems = {
    "regression": es.LinearRegression(inputs, targets),
    "quadratic": es.Quadratic(matrices @ matrices.transpose(0, 2, 1), rng.standard_normal((20, 5))),
    "product": es.DiagonalLinearNetwork(inputs, targets),
    "difference": es.DiagonalLinearNetwork(inputs, targets, form="difference", depth=3),
}
for name, problem in problems.items():
    theta, sampling = rng.uniform(0.4, 0.9, problem.n_params), es.WithoutReplacement(5)
    batches = rng.permuted(np.tile(np.arange(20), (2000, 1)), axis=1)[:, :5]
    values = [spectra.largest_eigenvalues(problem.curvature(theta), batches)]
    values += [spectra.largest_eigenvalues(problem.curvature(theta), batches[:3])]
    for batch in batches[:50]:
        one = es.batch_sharpness(problem, theta, sampling, n_batches=2, seed=int(batch[0]))
        values.append([one.value, one.standard_error])
    hessian = "full" if name == "quadratic" else "gauss_newton"
    for momentum in (0.0, 0.5):
        run = {"step_size": 1e-3, "sampling": sampling, "momentum": momentum, "seed": 1}
        values.append(es.simulate(problem, theta, n_steps=300, record=("theta",), **run)["theta"])
        rate = es.stability.lyapunov_exponent(
            problem, theta, sampling, 1e-3, momentum=momentum, hessian=hessian, n_steps=500
        )
        values.append([rate.value, rate.standard_error])
    print(name, *(hashlib.sha256(np.asarray(value).tobytes()).hexdigest() for value in values))
"""


def test_compiling_and_loading_give_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc")), "nothing was cached"
    assert runs[0].stdout == runs[1].stdout


STEP = """
import numpy as np

import esssim as es

problem, sampling = es.LinearRegression(np.eye(2), np.ones(2)), es.SharpnessAware(es.WithoutReplacement(2), 0.1)
run = es.simulate(problem, np.zeros(2), step_size=0.1, sampling=sampling, n_steps=1, record=("theta",), n_records=1)
print(run["theta"].values[0, -1, 0])
"""


def test_a_part_of_a_loop_that_changes_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    """The step of sharpness-aware minimisation is that of `update`, which stands beside SGD."""
    shutil.copytree(ROOT / "esssim", tmp_path / "esssim", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    part, steps = tmp_path / "esssim" / "_kernels" / "sgd.py", []
    for factor in ("eta", "2.0 * eta"):
        part.write_text(part.read_text(encoding="utf-8").replace("-= eta * gradient", f"-= {factor} * gradient"))
        done = subprocess.run(
            [sys.executable, "-c", STEP], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        steps.append(float(done.stdout))
    assert steps[1] == pytest.approx(2 * steps[0], rel=1e-12)


COUNTED = """
import numpy as np
from numba.core import event

compiled = []


class Compiled(event.Listener):
    def on_start(self, event):
        if event.data["dispatcher"].py_func.__name__ == "partial_shuffle":
            compiled.append(event)

    def on_end(self, event):
        pass


event.register("numba:compile", Compiled())
from esssim._kernels.sampling import partial_shuffle

partial_shuffle(np.random.default_rng(0), np.arange(4), 2)
print(len(compiled))
"""


def test_of_several_processes_one_compiles_a_loop(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", COUNTED], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    counts = [int(process.communicate(timeout=240)[0]) for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sorted(counts) == [0, 0, 0, 1]


class TestTurn:
    fcntl = pytest.importorskip("fcntl")

    def test_the_second_waits_until_the_first_passes_on(self, tmp_path: Path) -> None:
        first, second = keeping._Turn(tmp_path / "a.lock"), keeping._Turn(tmp_path / "a.lock")
        first.take()
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(second.take)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            first.pass_on()
            waiting.result(timeout=5)
        second.pass_on()

    def test_nobody_waits_longer_than_the_longest_wait(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeping, "LONGEST_WAIT", 0.1)
        first, second = keeping._Turn(tmp_path / "a.lock"), keeping._Turn(tmp_path / "a.lock")
        first.take()
        second.take()
        first.pass_on()
        second.pass_on()

    def test_a_compilation_that_fails_keeps_nobody_waiting(self, tmp_path: Path) -> None:
        first = keeping._Turn(tmp_path / "a.lock")
        first.take()
        first.take()
        first.pass_on()
        second = keeping._Turn(tmp_path / "a.lock")
        second.take()
        second.pass_on()

    def test_without_a_place_nobody_waits(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        keeping._Turn(tmp_path / "file" / "a.lock").take()
