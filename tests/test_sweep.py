"""Sweeps: the numbers of single runs, kept through interrupts, failures, deaths, growth of the grid and other workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import esssim as es
from esssim import cli
from esssim.experiments import ConfigurationError, Experiment, build, measures, workers
from esssim.experiments import open as open_sweep
from esssim.experiments.cells import DONE, FAILED, LEFT_OUT, run_cells
from esssim.experiments.folder import rescue
from esssim.experiments.grid import Grid
from esssim.experiments.plan import Plan
from esssim.experiments.sweeps import from_toml, run, sweep
from esssim.experiments.timing import Timing, forecast, groups
from tests import sweep_cases
from tests.sweep_cases import CHEAP, SHORT, SHORT_RUN

pytestmark = pytest.mark.numerical
GRID = {"sampling.batch_size": [1, 2, 3], "dynamics.seed": [5, 6]}


def test_cells_are_single_runs() -> None:
    """Bit for bit what `Experiment.run` gives, with the levels that `settling` finds in it."""
    found = sweep(SHORT_RUN, GRID, n_workers=1, measures=("levels", "records", "start"))
    for b, seed in ((1, 6), (3, 5)):
        sections = SHORT_RUN.plain()
        sections["sampling"]["batch_size"], sections["dynamics"]["seed"] = b, seed
        single = Experiment(**sections)
        trace, cell = single.run(), found.sel({"sampling.batch_size": b, "dynamics.seed": seed})
        for name in ("loss", "minibatch_sharpness", "minibatch_sharpness_standard_error", "step", "diverged_at"):
            np.testing.assert_array_equal(cell[name].values, trace[name].values)
        level = single.levels(trace)["sharpness"]
        assert isinstance(level, es.settling.Level)
        assert cell["level:sharpness"].item() == level.value
        assert (cell["level_low:sharpness"].item(), cell["level_high:sharpness"].item()) == level.interval
        assert cell["start:sharpness"].item() == es.sharpness(single.model, single.theta0)
        assert cell["start:critical_step_size"].item() == single.first_edge


def test_measures_of_the_flow_and_of_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"dynamics.label_noise": [0.1]}
    found = sweep(SHORT_RUN, grid, n_workers=1, measures=("flow", "growth_rate"))
    sections = SHORT_RUN.plain()
    sections["dynamics"]["label_noise"] = 0.1
    cell = Experiment(**sections)
    flow = es.flow.solve(
        cell.model, cell.theta0, step_size=cell.step_size, sampling=cell.batches, n_steps=60, label_noise=0.1,
        record=("sharpness",), n_records=13,
    )  # fmt: skip
    late = flow["step"].values >= cell.after
    level = (flow["sharpness"] * flow["step_size"] / 2).values[late].mean()
    assert found["flow_level:sharpness"].item() == pytest.approx(level, rel=1e-12)
    assert (found["flow_diverged_at"].item(), found["flow_gave_up_at"].item()) == (-1, -1)
    monkeypatch.setattr(measures, "MOST_EVALUATIONS", 1)
    given_up = sweep(SHORT_RUN, grid, n_workers=1, measures=("flow",))
    assert np.isnan(given_up["flow_level:sharpness"].item())
    assert given_up["flow_verdict:sharpness"].item() == measures.VERDICTS.index("undefined")
    assert 0 < given_up["flow_gave_up_at"].item() < 60
    stop = es.Ramp.of(cell.step_size).stop
    rate = es.stability.lyapunov_exponent(cell.model, cell.theta0, cell.batches, stop, n_steps=60, n_replicas=2, seed=7)
    assert found["growth_rate"].item() == rate.value


def test_every_place_is_its_own(tmp_path: Path) -> None:
    """Numbers that name their cell, through three axes, a zip, a condition and variables with sides."""
    grid = {
        "dynamics.seed": [3, 1, 2], "sampling.batch_size": [1, 2], "data.n_samples": [8, 9], "data.n_features": [2, 3],
        "zip": [["data.n_samples", "data.n_features"]], "where": [["dynamics.seed", "!=", 1]],
    }  # fmt: skip
    found = sweep(CHEAP, grid, tmp_path / "s", n_workers=1, measures=(sweep_cases.product,))
    assert found["state"].dims == ("dynamics.seed", "sampling.batch_size", "data.n_samples")
    for index in np.ndindex(*found["state"].shape):
        cell = found.isel(dict(zip(found["state"].dims, index, strict=True)))
        seed, b = int(cell["dynamics.seed"]), int(cell["sampling.batch_size"])
        if seed == 1:
            assert cell["state"].item() == LEFT_OUT
            assert np.isnan(cell["product"].item())
        else:
            assert cell["product"].item() == 1000 * b + seed
            assert cell["row"].values.tolist() == [seed + 0.1, seed + 0.2, b / 3]
    np.testing.assert_array_equal(found["data.n_features"].values, [2, 3])


@pytest.mark.parametrize(
    "key",
    [
        {"dynamics.seed": [2, 2, 0], "row_0": slice(None, None, 2)},
        {"dynamics.seed": slice(1, None), "sampling.batch_size": 1},
        {"sampling.batch_size": [1], "row_0": 0},
        {"dynamics.seed": [], "row_0": [2, 1]},
    ],
)
def test_lazy_reading_is_reading(key: dict[str, Any], tmp_path: Path) -> None:
    grid = {"dynamics.seed": [3, 1, 2], "sampling.batch_size": [1, 2]}
    sweep(CHEAP, grid, tmp_path / "s", n_workers=1, measures=(sweep_cases.product,))
    whole = open_sweep(tmp_path / "s").load()
    np.testing.assert_array_equal(open_sweep(tmp_path / "s")["row"].isel(key).values, whole["row"].isel(key).values)


def test_records_of_other_lengths_are_padded() -> None:
    grid = {"dynamics.n_replicas": [1, 3], "records.n_records": [5, 13]}
    found = sweep(SHORT_RUN, grid, n_workers=1, measures=("records",))
    assert found["loss"].dims == ("dynamics.n_replicas", "records.n_records", "replica", "record")
    assert found["loss"].shape == (2, 2, 3, 13)
    counts = np.isfinite(found["loss"]).sum(("replica", "record")).values
    np.testing.assert_array_equal(counts, [[5, 13], [15, 39]])


def test_a_start_is_computed_once_for_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not taken from another sweep, whose tables may be others."""
    computed: list[int] = []

    def counted(*at: Any, **how: Any) -> Any:
        computed.append(1)
        return start_of(*at, **how)

    start_of = build.start_of
    monkeypatch.setattr(build, "start_of", counted)
    grid = {"dynamics.seed": [15, 16, 17]}
    expected = sweep(SHORT_RUN, grid, n_workers=1)
    assert len(computed) == 1
    plan = Plan.of(_base(SHORT_RUN), Grid.of(grid))
    alone = [run_cells(plan, plan.cells[k : k + 1])[0].values["level:sharpness"] for k in range(3)]
    assert len(computed) == 1
    np.testing.assert_array_equal(np.ravel(alone), expected["level:sharpness"].values)
    sweep(SHORT_RUN, {"dynamics.seed": [15]}, n_workers=1)
    assert len(computed) == 2


def test_theta_is_kept(tmp_path: Path) -> None:
    """With room for the largest network of the grid."""
    sections = SHORT_RUN.plain()
    sections["records"] = {"statistics": ["theta", "loss"], "n_records": 3}
    base = Experiment(**sections)
    found = sweep(base, {"data.n_features": [2, 5]}, tmp_path / "s", n_workers=1, measures=("records", "start"))
    assert found["theta"].dims == ("data.n_features", "replica", "record", "parameter")
    assert found["theta"].shape == (2, 1, 3, 10)
    for d in (2, 5):
        single = Experiment(**sections | {"data": sections["data"] | {"n_features": d}})
        cell = found.sel({"data.n_features": d})
        np.testing.assert_array_equal(cell["theta"].values[..., : 2 * d], single.run()["theta"].values)
        np.testing.assert_array_equal(cell["start:theta"].values[: 2 * d], single.theta0)
        assert np.isnan(cell["theta"].values[..., 2 * d :]).all()


class TestGoingOn:
    def test_only_what_is_missing_is_run(self, tmp_path: Path) -> None:
        first = sweep(CHEAP, GRID, tmp_path / "s", n_workers=1, measures=(sweep_cases.product,)).load()
        plan = Plan.of(_base(CHEAP), Grid.of(GRID), (sweep_cases.product,))
        assert run(plan, tmp_path / "s", 1).run == 0
        next((tmp_path / "s" / "parts").glob("*.parquet")).unlink()
        assert 0 < run(plan, tmp_path / "s", 1).run <= 6
        assert _same(open_sweep(tmp_path / "s"), first)

    def test_a_grid_can_grow(self, tmp_path: Path) -> None:
        """By values, in another order, and by an axis."""
        measures = (sweep_cases.product,)
        sweep(CHEAP, GRID, tmp_path / "s", n_workers=1, measures=measures)
        larger = {
            "dynamics.seed": [4, 5, 6],
            "sampling.batch_size": [3, 1, 2],
            "dynamics.label_noise": [0.0, 0.1],
        }
        plan = Plan.of(_base(CHEAP), Grid.of(larger), measures)
        assert run(plan, tmp_path / "s", 1).run == 18 - 6
        assert _same(open_sweep(tmp_path / "s"), sweep(CHEAP, larger, n_workers=1, measures=measures))
        assert rescue.verify(tmp_path / "s").intact

    def test_a_grid_does_not_lose_cells(self, tmp_path: Path) -> None:
        sweep(CHEAP, GRID, tmp_path / "s", n_workers=1, measures=(sweep_cases.product,))
        with pytest.raises(ValueError, match="folder holds 4 finished cells that this grid does not have"):
            sweep(CHEAP, GRID | {"sampling.batch_size": [1]}, tmp_path / "s", measures=(sweep_cases.product,))
        with pytest.raises(ValueError, match="folder has the measures product; choose another folder"):
            sweep(CHEAP, GRID, tmp_path / "s", measures=("start",))
        assert rescue.verify(tmp_path / "s").done == 6

    def test_one_writer(self, tmp_path: Path) -> None:
        plan = Plan.of(_base(CHEAP), Grid.of(GRID), (sweep_cases.product,))
        seen: list[BaseException] = []

        def second(writer: Any, timing: Timing) -> None:
            try:
                run(plan, tmp_path / "s", 1)
            except ValueError as error:
                seen.append(error)

        run(plan, tmp_path / "s", 1, watch=second)
        assert "is written to by another sweep" in str(seen[0])

    def test_is_open_while_it_runs(self, tmp_path: Path) -> None:
        """From another thread, again and again, while parts come and are merged."""
        grid = {"dynamics.seed": {"from": 0, "to": 299}}
        plan, counts, stop = (
            Plan.of(_base(CHEAP), Grid.of(grid), (sweep_cases.product,)),
            list[int](),
            threading.Event(),
        )

        def read() -> None:
            while not stop.is_set():
                if (tmp_path / "s" / "sweep.json").exists():
                    now = open_sweep(tmp_path / "s")
                    done = now["state"].values == DONE
                    assert np.isfinite(now["product"].values[done]).all()
                    counts.append(int(done.sum()))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            run(plan, tmp_path / "s", 1, watch=lambda writer, timing: writer.flush())
        finally:
            stop.set()
            thread.join()
        assert counts == sorted(counts)
        assert open_sweep(tmp_path / "s")["state"].values.tolist() == [DONE] * 300

    def test_many_small_parts_are_merged(self, tmp_path: Path) -> None:
        grid = {"dynamics.seed": {"from": 0, "to": 149}}
        plan = Plan.of(_base(CHEAP), Grid.of(grid), (sweep_cases.product,))
        most: list[int] = []

        def watch(writer: Any, timing: Timing) -> None:
            writer.flush()
            most.append(len(list((tmp_path / "s" / "parts").iterdir())))

        from esssim.experiments.folder.writing import opened

        with opened(tmp_path / "s", plan) as writer:
            for index in range(150):
                rows, _, where = run_cells(plan, np.array([index]))
                writer.add(rows, {rows.environment[0]: where})
                watch(writer, Timing(np.ones(1)))
        assert max(most) <= 66
        np.testing.assert_array_equal(open_sweep(tmp_path / "s")["product"].values, 1000.0 + np.arange(150))


class TestFailures:
    def test_a_failure_is_recorded_and_the_others_go_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = sweep(
            CHEAP, {"dynamics.seed": [0, 1], "sampling.batch_size": [1, 2, 3]}, n_workers=1,
            measures=(sweep_cases.fails_at_two,),
        )  # fmt: skip
        np.testing.assert_array_equal(found["state"].values, [[DONE, FAILED, DONE]] * 2)
        assert found["error"].values[0].tolist() == ["", "batch size two is unlucky", ""]
        np.testing.assert_array_equal(np.isnan(found["product"].values), [[False, True, False]] * 2)

    def test_what_failed_is_run_again_when_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        measures = (sweep_cases.fails_at_two,)
        sweep(CHEAP, GRID, tmp_path / "s", n_workers=1, measures=measures)
        monkeypatch.setenv("ESSSIM_TEST_MENDED", "1")
        plan = Plan.of(_base(CHEAP), Grid.of(GRID), measures)
        assert run(plan, tmp_path / "s", 1).run == 0
        outcome = run(plan, tmp_path / "s", 1, retry_failed=True)
        assert (outcome.run, outcome.failed) == (2, 0)
        assert (open_sweep(tmp_path / "s")["state"].values == DONE).all()
        assert rescue.verify(tmp_path / "s").intact

    def test_a_cell_that_kills_its_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "ATTEMPTS", 2)  # each starts two processes
        grid = {"sampling.batch_size": [1, 2, 3]}
        plan = Plan.of(_base(CHEAP), Grid.of(grid), ("start",))
        plan = Plan(plan.base, plan.grid, _measure(sweep_cases.dies_at_two), {"product": {}, "row": {"row_0": 3}})
        outcome = run(plan, tmp_path / "s", 2)
        assert (outcome.done, outcome.failed, outcome.missing) == (2, 1, 0)
        assert open_sweep(tmp_path / "s")["error"].values.tolist() == ["", workers.DIED, ""]

    def test_invalid_cells_are_refused_at_once(self) -> None:
        with pytest.raises(
            ConfigurationError,
            match=r"grid.sampling.batch_size gives a cell \(sampling.batch_size = 9\) whose sampling.batch_size must be "
            r"between 1 and n_samples = 8, got 9; 2 of 3 cells are refused",
        ):
            sweep(CHEAP, {"sampling.batch_size": [1, 9, 10]})


class TestWorkers:
    """That processes, orders and clusters give the same bits is check j of `esssim doctor`: tests/test_doctor.py."""

    def test_a_cluster_that_is_not_there(self) -> None:
        pytest.importorskip("distributed")
        with pytest.raises(ValueError, match=r"cluster must be local:N with N workers, got 'slurm:3'"):
            sweep(CHEAP, GRID, cluster="slurm:3", measures=("start",))
        with pytest.raises(ValueError, match="scheduler must not be given beside cluster"):
            sweep(CHEAP, GRID, cluster="local:3", scheduler="tcp://x", measures=("start",))


def test_groups_hold_every_cell_once() -> None:
    costs = np.sort(np.random.default_rng(0).exponential(size=5000))[::-1]
    timing, seen, lengths = Timing(costs), list[int](), list[float]()
    for group in groups(np.arange(5000), timing, 2):
        seconds = 0.01 * costs[group]
        timing.note(float(costs[group].sum()), float(seconds.sum()), len(group))
        seen += group.tolist()
        lengths.append(float(seconds.sum()))
    assert seen == list(range(5000))
    assert max(lengths) < 1.05
    assert np.median(lengths) > 0.5
    assert timing.left == pytest.approx(0, abs=1e-9)


class TestCommandLine:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(SHORT + '\n[grid]\n"sampling.batch_size" = [1, 2]\n"dynamics.seed" = [5, 6]\n')
        return path

    def test_sweep_store_and_picture(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["x=sampling.batch_size", "y=dynamics.seed", "value=level:sharpness"]
        assert cli.run(["sweep", str(config), "--workers", "1", "--json", "--plot", *words]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["done"], told["failed"], told["run"]) == (4, 0, 4)
        assert sum(told["verdicts"]["sharpness"].values()) == 4
        folder = config.with_suffix(".sweep")
        assert {"small.png", "small.svg", "sweep.json", "sweep.toml"} <= {path.name for path in folder.iterdir()}
        assert cli.run(["sweep", str(config), "--workers", "1"]) == 0
        assert "4 cells are done" in capsys.readouterr().out
        assert cli.run(["store", "verify", str(folder)]) == 0
        assert "intact" in capsys.readouterr().out
        table, dataset = config.with_suffix(".parquet"), config.with_suffix(".nc")
        assert cli.run(["store", "export", str(folder), "--parquet", str(table), "--netcdf", str(dataset)]) == 0
        found = open_sweep(folder).load()
        assert es.load(dataset).identical(found)
        import pandas

        frame = pandas.read_parquet(table)
        for row in frame.to_dict("records"):
            cell = found.sel({key: row[key] for key in ("sampling.batch_size", "dynamics.seed")})
            assert row["level:sharpness"] == cell["level:sharpness"].item()
            assert row["state"] == "done"

    def test_the_kept_configuration_is_the_sweep(self, config: Path) -> None:
        assert cli.run(["sweep", str(config), "--workers", "1", "--json"]) == 0
        again = from_toml(config.with_suffix(".sweep") / "sweep.toml")
        assert [again.experiment(k).fingerprint for k in range(4)] == [
            from_toml(config).experiment(k).fingerprint for k in range(4)
        ]

    def test_dry_run(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["sweep", str(config), "--dry-run", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["cells"] == 4
        assert told["seconds"] > 0
        assert not config.with_suffix(".sweep").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--set", "grid.x=[1]"], "--set grid.x: grid.x is unknown"),
            (["--set", "sweep.measure=1"], "sweep.measure is unknown; did you mean 'measures'?"),
            (["--set", "sweep.measures=['level']"], "must be one of 'levels', .* did you mean 'levels'"),
            (["--set", "sweep.measures=[]"], "must have at least one name"),
            (["--set", "kind=flow"], "kind must be 'experiment' in a sweep, got 'flow'"),
            (["--set", "data.n_samples=1"], "gives a cell .* whose sampling.batch_size must be between 1 and n_samples = 1"),
            (["--plot", "x=a", "y=dynamics.seed", "value=seconds"], "--plot x must be one of 'sampling.batch_size'"),
            (["--plot", "x=a", "x=b", "value=seconds"], "--plot must be x=KEY y=KEY value=VARIABLE"),
            (["--at", "dynamics.seed=3"], "--at is for a heat map"),
            (["--scheduler", "tcp://127.0.0.1:9", "--cluster", "local:1"], "scheduler must not be given beside cluster"),
        ],
    )  # fmt: skip
    def test_refusals(self, config: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["sweep", str(config), *arguments]) == 2
        error = capsys.readouterr().err
        assert re.search(words.replace("?", r"\?"), error), error
        assert error.count("\n") == 1

    def test_other_commands_say_where_to_go(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["run", str(config)]) == 2
        assert "small.toml, line 25: grid is for a sweep" in capsys.readouterr().err
        config.write_text(SHORT)
        assert cli.run(["sweep", str(config)]) == 2
        assert "grid is missing; `esssim run` is for a single experiment" in capsys.readouterr().err

    def test_a_failure_is_exit_code_two(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = config.with_name("flow.toml")
        # The flow is for minima below the edge; these runs start above it.
        path.write_text(config.read_text().replace("from = 0.8", "from = 1.2") + '\n[sweep]\nmeasures = ["flow"]\n')
        assert cli.run(["sweep", str(path), "--workers", "1"]) == 2
        told = capsys.readouterr().out
        assert "4 failed" in told
        assert "must start below the mean-square edge" in told


def test_a_forecast_counts_what_is_done(tmp_path: Path) -> None:
    plan = Plan.of(_base(CHEAP), Grid.of(GRID), (sweep_cases.product,))
    before = forecast(plan, tmp_path / "s")
    run(plan, tmp_path / "s", 1)
    after = forecast(plan, tmp_path / "s")
    assert (before.cells, before.done, after.done, after.seconds) == (6, 0, 6, 0.0)
    assert before.seconds > 0


def _base(experiment: Experiment) -> dict[str, Any]:
    return experiment.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _measure(function: Any) -> Any:
    from esssim.experiments.measures import Measure

    sides = {"product": {}, "row": {"row_0": 3}}
    return (Measure(function.__name__, "", lambda _: sides, lambda cell: function(cell.experiment)),)


def _same(found: xarray.Dataset, expected: xarray.Dataset) -> bool:
    """The same numbers in every bit; seconds are measured."""
    left, right = found.drop_vars("seconds").load(), expected.drop_vars("seconds").load()
    return all(left[name].values.tobytes() == right[name].values.tobytes() for name in right.variables) and set(
        left.variables
    ) == set(right.variables)


@pytest.mark.skipif(os.name != "posix", reason="signals differ elsewhere")
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """The whole group is interrupted, as a terminal does it, while both workers are at it."""
    config = tmp_path / "long.toml"
    config.write_text(
        SHORT.replace("n_steps = 60", "n_steps = 300000")
        + '\n[grid]\n"dynamics.seed" = { from = 0, to = 59, step = 1 }\n'
    )
    folder = config.with_suffix(".sweep")
    command = [sys.executable, "-m", "esssim.cli", "sweep", str(config), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for _ in range(600):
            time.sleep(0.1)
            if sum(path.stat().st_size for path in folder.rglob("*.parquet")) > 0:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    found = re.search(r"interrupted: (\d+) of 60 cells; the same command goes on from ", told)
    assert found is not None, told
    done = int(found[1])
    assert 0 < done < 60
    assert int((open_sweep(folder)["state"] == DONE).sum()) == done
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert {key: json.loads(ended.stdout)[key] for key in ("done", "failed", "run")} == {
        "done": 60, "failed": 0, "run": 60 - done,
    }  # fmt: skip
