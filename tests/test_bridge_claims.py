"""Claims about torch networks: skipped in plain words without PyTorch, never passed; their levels; the README's table."""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray

from esssim import claims, report
from esssim.claims import Claim, Measurement, exit_code, network_directions, networks
from esssim.claims.ratios import all_of
from esssim.experiments import network_flow as network_flow_runs
from esssim.experiments.network_flow import NetworkFlow, beside
from esssim.experiments.networks import RECORDED, NetworkExperiment
from esssim.report.__main__ import main
from esssim.simulation import Ramp
from tests.conftest import Run
from tests.fake_claims import AS_PREDICTED, CONTRADICTION, claim, level, registry, verdicts


def needing_torch(name: str = "network-minibs-settles/net/b=4") -> Claim:
    return dataclasses.replace(claim(name, "holds", level(1.0, 0.01, "holds")), extra="bridge")


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(*items: Claim) -> None:
        monkeypatch.setattr(claims, "registry", registry(*items))
        monkeypatch.setattr(importlib.import_module("esssim._extras"), "find_spec", lambda name: None)

    return use


class TestWithoutTorch:
    def test_is_skipped_and_says_so(self, run: Run, without_torch: Callable[..., None]) -> None:
        without_torch(*AS_PREDICTED, needing_torch())
        code, out, _ = run("verify")
        assert code == 0
        assert "skipped: PyTorch is not installed: pip install 'esssim[bridge]'" in " ".join(out.split())
        assert "1 skipped (PyTorch is not installed: pip install 'esssim[bridge]')" in out.splitlines()[-1]

    def test_never_changes_the_exit_code(self, without_torch: Callable[..., None]) -> None:
        for others, code in ((AS_PREDICTED, 0), ([*AS_PREDICTED, CONTRADICTION], 1)):
            without_torch(*others, needing_torch())
            assert exit_code(claims.verify()) == code

    def test_is_no_pass(self, run: Run, without_torch: Callable[..., None]) -> None:
        without_torch(needing_torch())
        (entry,) = json.loads(run("verify", "--json")[1])["claims"]
        assert (entry["verdict"], entry["as_predicted"], entry["measured"]) == ("skipped", None, None)

    def test_asking_for_them_is_an_error(self, run: Run, without_torch: Callable[..., None]) -> None:
        without_torch(*AS_PREDICTED, needing_torch())
        code, _, err = run("verify", "--bridge")
        assert code == 2
        assert "pip install 'esssim[bridge]'" in err


def test_bridge_selects_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(claims, "registry", registry(*AS_PREDICTED, needing_torch()))
    entries = json.loads(run("verify", "--bridge", "--json")[1])["claims"]
    assert [entry["id"] for entry in entries] == ["network-minibs-settles/net/b=4"]
    assert entries[0]["verdict"] == "holds"


class TestClaims:
    def test_every_statistic_has_one_in_every_network(self) -> None:
        ours = claims.registry.select(None, extra="bridge")
        for setting in (networks.MAIN, *networks.OTHERS):
            for short in RECORDED.values():
                assert any(item.id.startswith(f"network-{short}-settles/{setting}/") for item in ours)
        assert all(item.source and item.method for item in ours)

    def test_prototypes_give_the_predictions(self) -> None:
        assert networks.predicted_level(networks.MAIN, 64, "mean_square_sharpness_gauss_newton").verdict == "holds"
        assert networks.predicted_level(networks.MAIN, 64, "minibatch_sharpness").verdict == "refuted"
        assert networks.predicted_level(networks.MAIN, 8, "sharpness").verdict == "open"

    @pytest.mark.parametrize(
        ("value", "verdict"), [(1.0, "holds"), (1.3, "refuted"), (0.7, "refuted"), (1.05, "inconclusive")]
    )
    def test_verdict_is_that_of_the_level(self, monkeypatch: pytest.MonkeyPatch, value: float, verdict: str) -> None:
        run = networks.experiment(networks.MAIN, 64)
        eta, rng = 0.5, np.random.default_rng(0)
        steps = np.linspace(run.after, run.n_steps, 60)
        series = 2 * value / eta + 0.05 * rng.standard_normal((4, 60))
        trace = xarray.Dataset(
            {"minibatch_sharpness": (("replica", "record"), series), "diverged_at": ("replica", np.full(4, -1))},
            {"step": ("record", steps), "step_size": ("record", np.full(60, eta))},
        )
        monkeypatch.setattr(networks, "run_network", lambda _: trace)
        measured: Measurement = networks.decide(run, "minibatch_sharpness")
        assert measured.verdict == verdict
        assert measured.value == pytest.approx(value, abs=0.01)
        assert measured.n_effective is not None
        assert measured.n_effective > 100

    def test_every_level_has_a_run_of_its_own_replicas(self) -> None:
        assert set(networks.REPLICAS) <= {
            (setting, b)
            for setting, sizes in ({networks.MAIN: networks.DIGITS} | networks.SIZES).items()
            for b in sizes
        }
        for setting, sizes in networks.SIZES.items():
            for b in sizes:
                run = networks.experiment(setting, b)
                assert (run.n_replicas, run.n_records) == networks.REPLICAS.get((setting, b), networks.USUAL)
                assert run.n_replicas * run.n_records > 250

    def test_directions_of_small_batches_are_more(self) -> None:
        runs = [networks.experiment("digits-gelu-16", b) for b in (8, 32, 128)]
        assert [run.rank for run in runs] == [64, 16, 8]

    def test_the_limit_of_the_ladder(self) -> None:
        """q − a·½ᵏ, whose limit is q; and a sequence that does not settle is left as it is."""
        assert network_directions.limit((1 - 0.4, 1 - 0.2, 1 - 0.1)) == pytest.approx(1.0, rel=1e-14)
        assert network_directions.limit((0.5, 0.6, 0.8)) == 0.8

    def test_directions_are_compared_with_the_exact_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch")
        small = NetworkExperiment(4, n_steps=20, data="wine", n_samples=12, hidden=(4,))
        monkeypatch.setattr(network_directions, "CASES", (("small", 4, True), ("small", 4, False)))
        monkeypatch.setattr(network_directions, "experiment", lambda *_: small)
        found = network_directions.leading_directions_are_enough(quick=False)
        exact, extrapolated = found.rows
        assert found.verdict == "holds"
        # 12 samples of 3 outputs have 36 directions at most.
        assert exact["ratio"] == pytest.approx(1.0, abs=1e-4)
        assert extrapolated["extrapolated"] == pytest.approx(exact["exact"], rel=1e-4)
        monkeypatch.setattr(NetworkExperiment, "rank", 1)
        assert network_directions.leading_directions_are_enough(quick=False).verdict == "refuted"

    def test_flow_needs_every_statistic_within_the_tolerance(self) -> None:
        near, far, wide = (1.0, 0.98, 1.02), (0.93, 0.9, 0.96), (0.98, 0.96, 1.0)
        assert all_of([near], 0.03) == ("holds", near)
        assert all_of([near, far, wide], 0.03) == ("refuted", far)
        assert all_of([near, wide], 0.03) == ("inconclusive", wide)

    def test_flow_has_a_module_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Torch changes the parameters of a module while it is called, and SGD is called at the same time."""
        pytest.importorskip("torch")
        experiment = NetworkFlow((3,), "tanh", n_samples=6, n_inputs=2)
        # Without the search for a solution.
        vars(experiment).update(theta0=np.ones(experiment.problem.n_params), step_size=Ramp(0.1, 0.2))
        monkeypatch.setattr(network_flow_runs, "_run_sgd", lambda experiment, _: experiment)
        monkeypatch.setattr(network_flow_runs, "_run_flow", lambda experiment, _: experiment)
        trained, followed = network_flow_runs.run_both.__wrapped__(experiment)
        assert followed == trained
        assert followed.problem.module is not trained.problem.module
        np.testing.assert_array_equal(followed.theta0, trained.theta0)

    def test_flow_ends_with_the_runs_beside_it(self) -> None:
        ended = []

        def interrupt() -> None:
            raise KeyboardInterrupt

        def flow(progress: Callable[[int, int], None]) -> None:
            try:
                for done in range(2000):
                    time.sleep(0.001)
                    progress(done, 2000)
            except InterruptedError:
                ended.append(True)
                raise

        with pytest.raises(KeyboardInterrupt):
            beside(interrupt, flow)
        assert ended == [True]


class TestPublished:
    def test_networks_have_a_page_of_their_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        items = [*AS_PREDICTED, needing_torch()]
        monkeypatch.setattr("esssim.report.__main__.registry", registry(*items))
        readme, page = tmp_path / "README.md", tmp_path / "networks.md"
        readme.write_text(f"{report.BEGIN}\n{report.END}", encoding="utf-8")
        for name in ("results", "networks"):
            text = report.results_json(verdicts(*items), {"esssim": "0", "date": "2026-01-01"})
            (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        arguments = [str(readme), str(tmp_path / "results.json")]
        assert main(arguments) == 0
        assert "network-minibs" not in (tmp_path / "results.md").read_text(encoding="utf-8")
        assert "| network-minibs-settles | 1.00 ✓ |" in page.read_text(encoding="utf-8")
        assert "| network-minibs-settles | — | — | 1.00 · 1 of 1 | — |" in readme.read_text(encoding="utf-8")
        assert main([*arguments, "--check"]) == 0
        page.write_text(page.read_text(encoding="utf-8").replace("1.00 ✓ |", "1.01 ✓ |"), encoding="utf-8")
        assert main([*arguments, "--check"]) == 1
