"""Experiments computed beside each other: the same numbers, each once, and nothing left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray

from esssim.claims import Claim, Measurement, Registry, Verdict, registry
from esssim.claims.verify import FIRST, in_order_of_measuring, verify_claims
from esssim.experiments import RampExperiment, beside, run_once
from esssim.experiments.flow import FlowExperiment, run_flow, run_sgd
from tests.fake_claims import AS_PREDICTED

SHORT = RampExperiment("gaussian-50x100", 4, n_steps=300, n_replicas=2, n_records=4, n_batches=4)
FLOW = FlowExperiment("gaussian-20x40", 4, 0.03, n_steps=300, n_replicas=2, n_records=3, n_batches=4)


@beside.Once[tuple[str, float], xarray.Dataset]
def slept(task: tuple[str, float]) -> xarray.Dataset:
    """What a process does that takes so many seconds, or that fails."""
    name, seconds = task
    if name == "fails":
        raise ValueError("it cannot be done")
    time.sleep(seconds)
    return xarray.Dataset(attrs={"pid": os.getpid(), "cores": beside.free_cores()})


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    slept._known.clear()


def test_each_task_is_computed_once_in_a_process_of_its_own() -> None:
    tasks = [(slept, (name, 0.0)) for name in ("a", "b", "a", "c")]
    with beside.ahead(tasks):
        found = [slept(task) for _, task in tasks]
        assert found[0] is found[2]
        assert {each.attrs["cores"] for each in found} == {1}
        assert os.getpid() not in {each.attrs["pid"] for each in found}
        workers = {each.attrs["pid"] for each in found}
    assert slept(("a", 0.0)) is found[0]
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert beside.free_cores() == 2


def test_one_task_is_left_to_whoever_needs_it() -> None:
    with beside.ahead([(slept, ("alone", 0.0))] * 2):
        assert slept(("alone", 0.0)).attrs == {"pid": os.getpid(), "cores": 2}


def test_the_processes_warm_up_where_there_are_any() -> None:
    warm_up = (slept, ("warm", 0.0))
    with beside.ahead([(slept, ("alone", 0.0))], warm_up):
        assert slept(("alone", 0.0)).attrs == {"pid": os.getpid(), "cores": 2}
    assert not slept.knows(("warm", 0.0))
    with beside.ahead([(slept, ("a", 0.0)), (slept, ("b", 0.0))], warm_up):
        assert os.getpid() not in {slept((name, 0.0)).attrs["pid"] for name in ("warm", "a", "b")}


def test_what_fails_fails_where_it_is_needed() -> None:
    with beside.ahead([(slept, ("fails", 0.0)), (slept, ("a", 0.0))]):
        assert slept(("a", 0.0)).attrs["cores"] == 1
        with pytest.raises(ValueError, match="it cannot be done"):
            slept(("fails", 0.0))
    with pytest.raises(ValueError, match="it cannot be done"):  # here, where nothing is expected any more
        slept(("fails", 0.0))


def test_an_interrupt_ends_the_processes_and_forgets_what_they_were_doing() -> None:
    tasks = [(slept, (name, 60.0)) for name in ("x", "y", "z")]
    started = time.monotonic()

    def interrupted() -> None:
        with beside.ahead([(slept, ("a", 0.0)), *tasks]):
            slept(("a", 0.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 50
    assert slept.knows(("a", 0.0))
    assert not any(slept.knows(task) for _, task in tasks)


def test_runs_beside_each_other_give_the_numbers_of_runs_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    other, solutions = replace(SHORT, seed=1), replace(FLOW, follow="solutions")
    expected = [SHORT.run(), other.run(), FLOW.run()]
    for once in (run_once, run_flow, run_sgd_once()):
        once._known.clear()
    with beside.ahead([*SHORT.tasks, *other.tasks, *FLOW.tasks]):
        for name in ("esssim.experiments.experiment.simulate", "esssim.experiments.flow.simulate"):
            monkeypatch.setattr(name, pytest.fail)
        found = [run_once(SHORT), run_once(other), FLOW.run()]
    for one, two in zip(expected, found, strict=True):
        assert one.identical(two)
    np.testing.assert_array_equal(run_sgd(solutions)["minibatch_sharpness"], found[2]["minibatch_sharpness"])


def run_sgd_once() -> beside.Once[FlowExperiment, xarray.Dataset]:
    return FLOW.tasks[0][0]


class TestOrder:
    def test_the_first_ten_are_claims_with_an_answer_among_them(self) -> None:
        assert len(FIRST) == 10
        assert set(FIRST) <= set(registry)
        assert any(name.startswith("mean-square-settles/") for name in FIRST)
        assert tuple(claim.id for claim in in_order_of_measuring(list(registry.values())))[:10] == FIRST

    def test_verdicts_come_in_the_order_of_the_registry(self, tmp_path: Path) -> None:
        """Whatever is measured first, and with what is known already."""
        measured: list[str] = []

        def measure(name: str) -> Callable[[bool], Measurement]:
            return lambda quick: measured.append(name) or Measurement("holds", name)

        names = ["other/1", FIRST[3], "other/2", FIRST[0]]
        mine = Registry()
        for name in names:
            mine.add(replace(AS_PREDICTED[0], id=name, measure=measure(name)))
        known = {"other/1": Verdict(mine["other/1"], Measurement("holds", "known"), 1.0)}
        told: list[str] = []

        def tell(claim: Claim, verdict: Verdict | None) -> None:
            told.append(claim.id)

        verdicts = verify_claims(mine, each=tell, known=known)
        assert [verdict.claim.id for verdict in verdicts] == names
        assert verdicts[0].measurement.reason == "known"
        assert measured == told[::2] == [FIRST[0], FIRST[3], "other/2"]
