"""Pictures of one's own Datasets: what they draw is computed a second time, and other Datasets are refused by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import xarray
from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes

import esssim as es
from esssim import plots

N, D = 7, 3
MS = "mean_square_sharpness_gauss_newton"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def problem() -> es.LinearRegression:
    table = es.data.gaussian(N, D, seed=3)
    return es.LinearRegression(table.inputs, table.targets)


def run(b: int = 2, diverged: tuple[int, ...] = (), n_records: int = 40) -> xarray.Dataset:
    """A run of four replicas with statistics as they were drawn; those that diverged hold nonsense."""
    rng = np.random.default_rng(b)
    shape = (4, n_records)
    step_size = np.linspace(0.5, 1.0, n_records)
    diverged_at = np.full(4, -1)
    values = {
        name: level / (step_size / 2) + 1e-3 * rng.standard_normal(shape)
        for name, level in (("sharpness", 0.6), ("minibatch_sharpness", 1.4), (MS, 1.0))
    }
    for replica in diverged:
        diverged_at[replica] = 17
        for series in values.values():
            series[replica, 20:] = np.nan
    return xarray.Dataset(
        {name: (("replica", "record"), series) for name, series in values.items()}
        | {"loss": (("replica", "record"), np.exp(-np.arange(n_records) / 9) * np.ones((4, 1)))}
        | {"diverged_at": ("replica", diverged_at)},
        coords={"step": ("record", 10 * np.arange(n_records)), "step_size": ("record", step_size)},
        attrs={"batch_size": b, "n_samples": 50, "scheme": "WithoutReplacement"},
    )


def line(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = (each for each in axes.lines if each.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


class TestTrajectory:
    def test_is_the_mean_over_the_replicas_that_lived_and_marks_the_others(self) -> None:
        trace = run(diverged=(1,))
        axes = plots.trajectory(trace)
        for name in ("sharpness", "minibatch_sharpness", MS):
            steps, drawn = line(axes, plots.LOOKS[name].label)
            means = [
                sum(float(trace[name][r, k]) * float(trace["step_size"][k]) / 2 for r in (0, 2, 3)) / 3
                for k in range(40)
            ]
            np.testing.assert_allclose(drawn, means, rtol=1e-12)
            assert list(steps) == [10 * k for k in range(40)]
        (cross,) = (each for each in axes.lines if each.get_marker() == "x" and len(each.get_xdata()) == 1)
        assert list(cross.get_xdata()) == [17]

    def test_every_replica_that_diverges_is_marked_and_nothing_else_is_drawn(self) -> None:
        axes = plots.trajectory(run(diverged=(0, 1, 2, 3)), x="step_size")
        (cross,) = (each for each in axes.lines if each.get_marker() == "x" and len(each.get_xdata()) == 4)
        np.testing.assert_allclose(cross.get_xdata(), 0.5 + 0.5 * 17 / 390)
        assert not axes.collections

    def test_rows_give_the_same_picture(self) -> None:
        trace = run()
        first, second = plots.trajectory(trace), plots.trajectory(plots.trajectory_rows(trace))
        for name in ("sharpness", MS):
            label = plots.LOOKS[name].label
            np.testing.assert_array_equal(line(first, label), line(second, label))

    def test_loss_is_drawn_as_it_is_on_a_logarithmic_axis(self) -> None:
        trace = run()
        axes = plots.trajectory(trace, ["loss"], x="step_size")
        _, drawn = line(axes, "loss")
        np.testing.assert_allclose(drawn, trace["loss"].values[0])
        assert axes.get_yscale() == "log"
        assert "_edge" not in [each.get_label() for each in axes.lines]

    def test_a_series_without_replicas_is_one_run(self) -> None:
        trace = run().isel(replica=0).drop_vars("diverged_at")
        _, drawn = line(plots.trajectory(trace), plots.LOOKS["sharpness"].label)
        np.testing.assert_allclose(drawn, trace["sharpness"].values * trace["step_size"].values / 2)

    @pytest.mark.parametrize(
        ("change", "options", "words"),
        [
            (lambda trace: trace.drop_vars("step_size"), {}, "run must be what simulate returns, got .* step_size"),
            (lambda trace: trace.isel(record=0), {}, "without the dimension 'record'"),
            (lambda trace: {"step": [1]}, {}, "run must be a Dataset or the rows of trajectory_rows, got"),
            (lambda trace: trace, {"statistics": "sharpness"}, "must be a list of names"),
            (lambda trace: trace, {"statistics": ["sharpnes"]}, "did you mean 'sharpness'"),
            (lambda trace: trace, {"statistics": ["loss", "sharpness"]}, "'loss' alone"),
            (lambda trace: trace, {"x": "time"}, "x must be one of 'step', 'step_size', got 'time'"),
            (lambda trace: trace[["loss"]].drop_vars("loss"), {}, "must hold a recorded statistic, got none"),
        ],
    )
    def test_what_is_no_run_is_refused(self, change: object, options: dict[str, object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            plots.trajectory(change(run()), **options)  # type: ignore[operator, arg-type]


class TestLevels:
    RUNS: ClassVar = {b: run(b) for b in (2, 8)}

    def test_are_those_of_settling(self) -> None:
        axes = plots.levels(self.RUNS, after=200)
        for name in ("sharpness", MS):
            sizes, drawn = line(axes, plots.LOOKS[name].label)
            assert list(sizes) == [2, 8]
            wanted = [es.settling.level(trace, name, after=200).value for trace in self.RUNS.values()]
            np.testing.assert_allclose(drawn, wanted, rtol=1e-12)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "8"]
        (band,) = (patch for patch in axes.patches if patch.get_height() == pytest.approx(0.1))
        assert band.get_y() == pytest.approx(0.95)

    def test_runs_may_be_named_list_or_sweep(self) -> None:
        rows = plots.level_rows(self.RUNS)
        assert plots.level_rows(list(reversed(self.RUNS.values()))) == rows
        sweep = xarray.concat(self.RUNS.values(), dim="sampling.batch_size", combine_attrs="drop_conflicts")
        sweep = sweep.assign_coords({"sampling.batch_size": [2, 8]})
        renamed = [
            {key.removeprefix("sampling."): value for key, value in row.items()} for row in plots.level_rows(sweep)
        ]
        assert renamed == rows
        assert line(plots.levels(sweep), "sharpness")[1] == pytest.approx(line(plots.levels(rows), "sharpness")[1])

    def test_a_sweep_over_something_else_has_its_axis(self) -> None:
        sweep = xarray.concat([run(2), run(2)], dim="dynamics.label_noise", combine_attrs="drop_conflicts")
        axes = plots.levels(sweep.assign_coords({"dynamics.label_noise": [0.001, 0.1]}))
        assert axes.get_xlabel() == "dynamics.label_noise"
        assert list(line(axes, "sharpness")[0]) == [0.001, 0.1]

    def test_levels_that_a_sweep_measured_are_drawn_as_they_are(self, tmp_path: Path) -> None:
        experiment = es.experiments.Experiment(
            problem={"kind": "linear_regression"}, data={"kind": "gaussian", "n_samples": 12, "n_features": 3, "seed": 1},
            sampling={"batch_size": 2}, dynamics={"step_size": 0.05, "n_steps": 200, "n_replicas": 2},
            records={"statistics": ["sharpness", "minibatch_sharpness"], "n_records": 30},
        )  # fmt: skip
        found = es.experiments.sweep(experiment, {"sampling.batch_size": [1, 4]}, tmp_path / "sweep", n_workers=1)
        axes = plots.levels(found)
        for name in ("sharpness", "minibatch_sharpness"):
            sizes, drawn = line(axes, plots.LOOKS[name].label)
            assert list(sizes) == [1, 4]
            np.testing.assert_array_equal(drawn, found[f"level:{name}"].values)
        assert {row["verdict"] for row in plots.level_rows(found)} == {"inconclusive"}

    def test_where_most_replicas_diverge_there_is_a_cross_and_no_level(self) -> None:
        axes = plots.levels({2: run(2), 8: run(8, diverged=(0, 1, 2))})
        assert np.isnan(line(axes, "sharpness")[1][1])
        (cross,) = (each for each in axes.lines if each.get_marker() == "x")
        assert list(cross.get_xdata()) == [8]

    def test_an_undefined_statistic_has_no_point(self) -> None:
        trace = run(2, n_records=80)
        trace["sharpness"][0, 70] = np.nan
        verdicts = {str(row["statistic"]): row["verdict"] for row in plots.level_rows([trace])}
        assert (verdicts["sharpness"], verdicts[MS]) == ("undefined", "settles")

    @pytest.mark.parametrize(
        ("runs", "words"),
        [
            (3, "runs must be Datasets"),
            ([run().drop_attrs()], r"runs\[0\] must name one batch size in its attributes, got no batch size"),
            ({4: xarray.Dataset()}, r"runs\[4\] must be what simulate returns"),
            ([], "at least one run"),
            (run().expand_dims({"a": [1, 2], "c": [3]}), "one dimension of its own, got "),
        ],
    )
    def test_what_is_no_set_of_runs_is_refused(self, runs: object, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            plots.levels(runs)  # type: ignore[arg-type]


def largest(problem: es.LinearRegression, batch: tuple[int, ...]) -> float:
    rows = problem.inputs[list(batch)]
    return float(np.linalg.eigvalsh(rows.T @ rows / len(batch))[-1])


class TestGap:
    def test_is_that_of_every_batch(self, problem: es.LinearRegression) -> None:
        curve = es.gap.curve(problem, np.zeros(D), [1, 2, 4, N])
        top = largest(problem, tuple(range(N)))
        for b in (1, 2, 4):
            every = [largest(problem, batch) for batch in itertools.combinations(range(N), b)]
            assert float(curve["gap"].sel(batch_size=b)) == pytest.approx(np.mean(every) - top, rel=1e-12)
        axes = plots.gap(curve)
        (squares,) = (each for each in axes.lines if each.get_marker() == "s" and len(each.get_xdata()) == 3)
        assert list(squares.get_xdata()) == [1, 2, 4]
        np.testing.assert_allclose(squares.get_ydata(), curve["gap"].values[:3] / top, rtol=1e-12)
        assert axes.get_xlabel() == "batch size $b$ (gaps of 0 are not drawn)"
        assert plots.gap(es.gap.curve(problem, np.zeros(D), [1, 2])).get_xlabel() == "batch size $b$"

    def test_sampled_gaps_are_near_and_have_an_interval(self, problem: es.LinearRegression) -> None:
        exact = es.gap.curve(problem, np.zeros(D), [3])
        drawn = es.gap.curve(problem, np.zeros(D), [3], n_batches=20, enumerate_up_to=5)
        assert not bool(drawn["exact"][0])
        error = float(drawn["standard_error"][0])
        assert error > 0
        assert abs(float(drawn["gap"][0] - exact["gap"][0])) < 5 * error
        axes = plots.gap(drawn)
        ((bar,),) = (container.lines[2] for container in axes.containers)
        (segment,) = bar.get_segments()
        top = float(drawn["sharpness"])
        assert segment[1, 1] - segment[0, 1] == pytest.approx(2 * 1.959963984540054 * error / top, rel=1e-9)

    def test_bounds_and_predictions_are_those_of_the_theory(self, problem: es.LinearRegression) -> None:
        curve = es.gap.curve(problem, np.zeros(D), [2, 5])
        for b in (2, 5):
            at, sampling = curve.sel(batch_size=b), es.WithoutReplacement(b)
            assert (float(at["lower"]), float(at["upper"])) == es.gap.bounds(problem, np.zeros(D), sampling).gap
            for found in es.gap.predictions(problem, np.zeros(D), sampling)[:-1]:
                value = float(at["prediction"].sel(formula=found.method))
                assert value == found.value if found.valid else np.isnan(value)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"batch_sizes": []}, "batch_sizes must be at least 1 increasing integer, got"),
            ({"batch_sizes": [4, 2]}, r"got \[4, 2\]"),
            ({"batch_sizes": 4}, "got 4"),
            ({"batch_sizes": [2], "scheme": "with"}, "scheme must be a class"),
            ({"batch_sizes": [2], "n_batches": 1}, "n_batches must be"),
            ({"batch_sizes": [N + 1]}, "batch_size must be between 1 and n_samples = 7, got 8"),
        ],
    )
    def test_bad_arguments(self, problem: es.LinearRegression, options: dict[str, object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            es.gap.curve(problem, np.zeros(D), **options)  # type: ignore[arg-type]

    def test_another_dataset_is_refused(self, problem: es.LinearRegression) -> None:
        with pytest.raises(ValueError, match=r"curve must be what es\.gap\.curve returns, got a Dataset without gap"):
            plots.gap(run())
        with pytest.raises(ValueError, match="at least one positive gap"):
            plots.gap(es.gap.curve(problem, np.zeros(D), [N]))


class TestStability:
    def test_colours_and_lines_are_those_of_the_linearised_steps(self, problem: es.LinearRegression) -> None:
        hessians = np.einsum("ni,nj->nij", problem.inputs, problem.inputs)
        spectrum = np.linalg.eigvalsh(hessians.mean(axis=0))
        unit = 2 / spectrum[-1]
        found = es.stability.diagram(
            problem, np.zeros(D), [1, 3, N], unit * np.array([0.3, 0.9, 1.5]), n_steps=200, n_replicas=4
        )
        # One batch of everything: every step is the same matrix.
        exact = [np.log(np.abs(1 - eta * spectrum).max()) for eta in found["step_size"].values]
        np.testing.assert_allclose(found["growth_rate"].sel(batch_size=N), exact, rtol=1e-9)
        lines = found["step_size_at"]
        np.testing.assert_allclose(lines.sel(threshold="sharpness"), unit)
        np.testing.assert_allclose(lines.sel(batch_size=N), unit, rtol=1e-9)
        every = [largest(problem, batch) for batch in itertools.combinations(range(N), 3)]
        assert float(lines.sel(threshold="minibatch_sharpness", batch_size=3)) == pytest.approx(2 / np.mean(every))
        # At the mean-square edge the second moment of one step neither grows nor shrinks.
        eta = float(lines.sel(threshold="mean_square", batch_size=1))
        steps = np.eye(D) - eta * hessians
        radius = np.abs(np.linalg.eigvals(np.mean([np.kron(step, step) for step in steps], axis=0))).max()
        assert radius == pytest.approx(1.0, abs=1e-9)
        axes = plots.stability_diagram(found)
        mesh = axes.collections[0]
        np.testing.assert_allclose(np.asarray(mesh.get_array()), found["growth_rate"].values)
        sizes, drawn = line(axes, plots.stability.THRESHOLDS["mean_square"].label)
        assert list(sizes) == [1, 3, N]
        np.testing.assert_allclose(drawn, lines.sel(threshold="mean_square").values / unit)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"step_sizes": [0.2, 0.1]}, "step_sizes must be at least two increasing positive numbers"),
            ({"step_sizes": [0.1]}, "step_sizes must be at least two"),
            ({"batch_sizes": [0]}, "batch_sizes must be"),
            ({"scheme": 3}, "scheme must be a class"),
        ],
    )
    def test_bad_arguments(self, problem: es.LinearRegression, options: dict[str, object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            es.stability.diagram(problem, np.zeros(D), **{"batch_sizes": [2], **options})  # type: ignore[arg-type]

    def test_another_dataset_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"diagram must be what es\.stability\.diagram returns"):
            plots.stability_diagram(run())


class TestStyle:
    @pytest.mark.parametrize(("width", "inches"), [("icml1", 3.25), ("icml2", 6.75), ("neurips2", 5.5)])
    def test_a_figure_has_the_width_of_its_place(self, width: str, inches: float) -> None:
        before = rcParams["font.size"]
        with plots.style(width=width):
            assert plots.trajectory(run()).figure.get_figwidth() == pytest.approx(inches)
            assert rcParams["font.size"] == plots.page(width).letters
        assert rcParams["font.size"] == before

    def test_what_shows_figures_in_a_notebook_outlives_it(self) -> None:
        before = rcParams["interactive"]
        try:
            with plots.style():
                rcParams["interactive"] = not before
            assert rcParams["interactive"] is not before
        finally:
            rcParams["interactive"] = before

    def test_an_unknown_width_is_refused(self) -> None:
        with (
            pytest.raises(ValueError, match=r"width must be one of 'icml1', .* did you mean"),
            plots.style(width="icml"),
        ):
            pass

    def test_axes_of_ones_own_get_no_legend_until_asked(self) -> None:
        figure, (left, right) = pyplot.subplots(1, 2, layout="constrained")
        assert plots.trajectory(run(), axes=left) is left
        plots.trajectory(run(8), axes=right)
        assert not figure.legends
        found = plots.legend(figure)
        assert found is not None
        assert len(found.get_texts()) == 3


def test_five_lines_from_a_run_to_a_file(tmp_path: object, problem: es.LinearRegression) -> None:
    trace = es.simulate(
        problem, np.ones(D), step_size=0.1, sampling=es.WithoutReplacement(2), n_steps=50, n_replicas=2, n_records=20,
        record=("sharpness", "minibatch_sharpness"), seed=0,
    )  # fmt: skip
    with plots.style(width="icml1"):
        axes = plots.trajectory(trace)
        axes.figure.savefig(f"{tmp_path}/trajectory.pdf")
    assert json.dumps(plots.level_rows([trace], ["sharpness"]))
