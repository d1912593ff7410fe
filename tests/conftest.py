"""Hypothesis profiles (the same examples on every run, or other ones with HYPOTHESIS_PROFILE=explore); which tests stand on linear algebra;
the command line; a browser; a random order with TEST_ORDER=seed.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The first example of a test may compile a kernel, so that no single one has a time limit.
slow = (HealthCheck.too_slow,)
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=40, suppress_health_check=slow
)
settings.register_profile("explore", deadline=None, max_examples=400, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What is compiled in a test is not announced, in it and in the programs that it starts: their output is compared.
os.environ["ESSSIM_SILENT"] = "1"

# A shell that starts the tests in the background lets them, and every program they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

Run = Callable[..., tuple[int, str, str]]

# Where what comes out depends on how a kernel of linear algebra rounds: decompositions, solvers, and what stands on them.
LINEAR_ALGEBRA = {
    "test_batched_lanczos", "test_block_perron", "test_bridge", "test_bridge_derivatives", "test_bridge_fast_paths",
    "test_bridge_scale", "test_critical_sharpness", "test_cross_entropy", "test_fast_paths", "test_flow",
    "test_flow_bursts", "test_flow_chains", "test_flow_corners", "test_flow_modes", "test_flow_next_order",
    "test_flow_outputs", "test_gap_bounds", "test_gap_predictions", "test_gap_rounding", "test_heavy_tails",
    "test_invariant_subspaces", "test_moments", "test_perron", "test_random_weights", "test_ratios",
    "test_simulation", "test_single_precision", "test_spectra", "test_stability", "test_stability_map",
    "test_statistics", "test_top_eigenvalues", "test_user_problems",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands on linear algebra as "numerical", for `make kernels`; shuffle everything where TEST_ORDER names a seed."""
    for item in items:
        if item.path.stem in LINEAR_ALGEBRA:
            item.add_marker("numerical")
    if "TEST_ORDER" in os.environ:
        random.Random(os.environ["TEST_ORDER"]).shuffle(items)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """One folder for all workers of this run of the tests."""
    from tests import shared

    return shared.folder(tmp_path_factory, request.config)


@pytest.fixture(scope="session")
def golden_vectors(shared_folder: Path) -> Path:
    """What Python computes, for the explorer's JavaScript."""
    from esssim.explorer import golden
    from tests.shared import once

    return once(shared_folder, "golden.json", lambda path: golden.main([str(path)]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for each file of tests: while it is open, no other test can start an event loop."""
    from tests.browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        from esssim import cli

        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
