"""Levels come out the same whatever the number of BLAS threads: claims and figures are computed with one."""

from __future__ import annotations

import types

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

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
