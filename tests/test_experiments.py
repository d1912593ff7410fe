"""Experiments: TOML in and out, one fingerprint, refusals with file, line and nearest key, and the numbers of `simulate`."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

import esssim as es
from esssim import cli, plots
from esssim.claims.claim import Claim, Measurement, Predicted, Verdict
from esssim.experiments import (
    Configuration,
    ConfigurationError,
    CrossEntropyRamp,
    DropoutRamp,
    EscapeExperiment,
    Experiment,
    FlowExperiment,
    GrowingEnsemble,
    NetworkExperiment,
    NetworkFlow,
    RampExperiment,
    SelfStabilisingDynamics,
    StartAboveTheEdge,
    TrainedPerceptron,
    build,
    from_toml,
)
from esssim.experiments import sections as sections_module
from esssim.experiments.above_the_edge import share_of
from esssim.experiments.escapes import minimum
from esssim.experiments.experiment import flattest
from esssim.experiments.flow import RECORDED, run_batch_sharpness, run_flow, run_sgd
from esssim.experiments.growth import second_moment_radius
from esssim.experiments.other_methods import zeroth_order
from esssim.experiments.toml import line_of, written
from esssim.papers import OURS
from esssim.report.html import render_report
from esssim.report.run_page import extent

EXAMPLES = Path(__file__).parents[1] / "examples"

SHORT = """\
[problem]
kind = "diagonal_linear_network"

[data]
kind = "gaussian"
n_samples = 12
n_features = 5
seed = 3
targets = "interpolating"

[sampling]
batch_size = 3

[dynamics]
step_size = { from = 0.8, to = 1.6, unit = "first edge" }
n_steps = 600
n_replicas = 2
label_noise = 1e-3
seed = 7

[records]
statistics = ["loss", "sharpness", "minibatch_sharpness"]
n_records = 13
n_batches = 8
"""


def plain(**changes: dict[str, Any]) -> dict[str, Any]:
    """The sections of a small experiment, some of their keys changed."""
    sections = tomllib.loads(SHORT)
    return {name: sections.get(name, {}) | changes.get(name, {}) for name in sections | changes}


def quadratic(**dynamics: Any) -> Experiment:
    """A short run of a quadratic."""
    sections = plain(dynamics={"label_noise": 0.0} | dynamics)
    return Experiment(**sections | {"problem": {"kind": "quadratic"}})


number = st.floats(1e-6, 1e6)
schedules = st.fixed_dictionaries(
    {"from": number, "to": number},
    optional={
        "unit": st.sampled_from(["absolute", "first edge"]),
        "shape": st.sampled_from(["linear", "geometric"]),
        "cap": st.sampled_from(["flattest solution", "none"]),
    },
)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)
tables = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["gaussian", "spiked", "two_clusters", "power_law"]), "n_samples": st.integers(8, 40),
         "n_features": st.integers(1, 40)},
        optional={"seed": st.integers(0, 2**70), "noise": st.floats(0, 1e9)},
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["diabetes", "digits"])}, optional={"standardize": st.booleans()}),
    st.fixed_dictionaries({"kind": st.just("file"), "path": names, "target": names}),
)  # fmt: skip
problems = st.one_of(
    st.just({"kind": "diagonal_linear_network"}),
    st.fixed_dictionaries(
        {"kind": st.just("diagonal_linear_network"), "form": st.just("difference"), "depth": st.integers(2, 9)}
    ),
    st.fixed_dictionaries({"kind": st.just("perceptron"), "width": st.integers(1, 9)}),
    st.fixed_dictionaries({"kind": st.just("logistic_network")}, optional={"smoothing": st.floats(0.01, 0.99)}),
    st.fixed_dictionaries(
        {"kind": st.just("mlp"), "hidden": st.lists(st.integers(1, 64), min_size=1, max_size=3)},
        optional={"activation": st.sampled_from(["tanh", "gelu", "relu"])},
    ),
)
experiments = st.builds(
    lambda problem, data, step_size, label_noise, batch_size, statistics: Experiment(
        problem=problem,
        data=data,
        sampling={"batch_size": batch_size},
        dynamics={"step_size": step_size, "n_steps": 10, "label_noise": label_noise},
        records={"statistics": statistics},
    ),
    problems,
    tables,
    st.one_of(number, schedules),
    st.floats(0, 1e300),
    st.integers(1, 8),
    st.lists(st.sampled_from(["loss", "sharpness", "theta", "batch_sharpness"]), min_size=1, unique=True),
)


@settings(max_examples=200)
@given(experiments)
def test_toml_gives_the_same_experiment(experiment: Experiment) -> None:
    again = Experiment.from_toml(experiment.to_toml())
    assert again == experiment
    assert again.to_toml() == experiment.to_toml()


@pytest.mark.parametrize(
    "experiment",
    [
        FlowExperiment("spiked-20x40", 4, 0.03, depth=3, momentum=0.5, follow="mean"),
        NetworkExperiment(8, rise=1.2, hidden=(4, 3), loss="cross_entropy"),
        NetworkFlow((10, 10), "gelu", n_replicas=12),
        TrainedPerceptron("gelu", 15, share=0.3),
        DropoutRamp(0.002, 4, rate=0.25),
        CrossEntropyRamp(8, 1e-3, smoothing=0.2, slower=2),
        StartAboveTheEdge(1.3, nudge=0.01),
        EscapeExperiment(0.8, n_particles=50),
        GrowingEnsemble(3, 2, 1.1, seed=4),
        SelfStabilisingDynamics(0.1, 0.01, seed=4),
    ],
)
def test_toml_gives_the_same_preset(experiment: Configuration) -> None:
    assert from_toml(experiment.to_toml()) == experiment
    assert type(experiment).from_toml(experiment.to_toml()).fingerprint == experiment.fingerprint
    with pytest.raises(ValueError, match="must be of kind 'experiment'"):
        Experiment.from_toml(experiment.to_toml())


@given(st.lists(st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False)), max_size=80))
def test_any_list_of_numbers_can_be_written(numbers: list[float]) -> None:
    text = written({"a": numbers, "table": {"b": numbers}})
    assert tomllib.loads(text) == {"a": numbers, "table": {"b": numbers}}
    assert max(map(len, text.splitlines())) <= 110


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_written(text: str) -> None:
    assert tomllib.loads(written({"a": text, "table": {"b": text}})) == {"a": text, "table": {"b": text}}


# One change of each key; every one is another run, and has another fingerprint.
CHANGES: dict[str, dict[str, Any]] = {
    "problem": {"form": "difference"},
    "data": {"kind": "spiked", "n_samples": 13, "n_features": 6, "seed": 4, "noise": 0.1, "targets": "own"},
    "start": {"kind": "scale", "scale": 1.5, "second_scale": 0.5, "seed": 2},
    "sampling": {"scheme": "with_replacement", "batch_size": 2},
    "dynamics": {
        "step_size": 0.1, "n_steps": 700, "n_replicas": 3, "momentum": 0.5, "label_noise": 2e-3, "seed": 8,
    },
    "records": {"statistics": ["loss"], "n_records": 14, "n_batches": 9, "after": 10.0, "steps": "after"},
}  # fmt: skip


def test_every_key_changes_the_fingerprint() -> None:
    seen = {Experiment(**plain()).fingerprint}
    count = 1
    for section, keys in CHANGES.items():
        for key, value in keys.items():
            seen.add(Experiment(**plain(**{section: {key: value}})).fingerprint)
            count += 1
    schedule = {"from": 0.8, "to": 1.6, "unit": "first edge"}
    for change in ({"from": 0.7}, {"to": 1.7}, {"unit": "absolute"}, {"shape": "geometric"}, {"cap": "none"}):
        seen.add(Experiment(**plain(dynamics={"step_size": schedule | change})).fingerprint)
        count += 1
    seen.add(Experiment(**plain(problem={"form": "difference", "depth": 3})).fingerprint)
    seen.add(Experiment(**plain(start={"kind": "constant"})).fingerprint)
    seen.add(Experiment(**plain(dynamics={"momentum": 0.5, "nesterov": True})).fingerprint)
    assert len(seen) == count + 3


def test_what_is_the_same_has_the_same_fingerprint() -> None:
    spelled = plain(start={"kind": "solution", "seed": 1}, sampling={"scheme": "without_replacement"})
    assert Experiment(**spelled).fingerprint == Experiment(**plain()).fingerprint
    assert Experiment(**plain(sampling={"batch_size": np.int64(3)})) == Experiment(**plain())


class TestRefusals:
    """Each names the file, the line and the key, and what it may be."""

    @pytest.mark.parametrize(
        ("old", "new", "line", "words"),
        [
            ("step_size =", "step_sise =", 15, "dynamics.step_sise is unknown; did you mean 'step_size'?"),
            ("[dynamics]", "[dynamic]", 14, "dynamic is unknown; did you mean 'dynamics'?"),
            ("n_steps = 600", "n_steps = 6e2", 16, "dynamics.n_steps must be an integer, got 600.0"),
            ("n_steps = 600", 'n_steps = "600"', 16, "dynamics.n_steps must be an integer, got '600'"),
            ("n_steps = 600", "n_steps = true", 16, "dynamics.n_steps must be an integer, got True"),
            ("n_steps = 600", "n_steps = 0", 16, "dynamics.n_steps must be at least 1, got 0"),
            ("n_steps = 600", "n_steps = 600\nmomentum = 1.0", 17, "dynamics.momentum must be below 1, got 1.0"),
            ("n_steps = 600", "n_steps = 600\nnesterov = true", 17, "dynamics.nesterov must be false without momentum"),
            ("label_noise = 1e-3", "label_noise = nan", 18, "dynamics.label_noise must be a finite number, got nan"),
            ("label_noise = 1e-3", "label_noise = -1", 18, "dynamics.label_noise must be at least 0, got -1"),
            ("from = 0.8", "form = 0.8", 15, "dynamics.step_size.form is unknown; did you mean 'from'?"),
            ("from = 0.8, ", "", 15, "dynamics.step_size.from is missing"),
            ('"first edge"', '"edges"', 15, "dynamics.step_size.unit must be 'absolute' or 'first edge', got 'edges'"),
            ('"gaussian"', '"gausian"', 5, "got 'gausian'; did you mean 'gaussian'?"),
            ('kind = "gaussian"', "", 4, "data.kind is missing; it must be one of 'gaussian'"),
            ("seed = 3", "seed = 3\nspike = 3", 9, "data.spike is unknown"),
            ("n_features = 5", "", 4, "data.n_features is missing"),
            ("batch_size = 3", "batch_size = 13", 12, "sampling.batch_size must be between 1 and n_samples = 12, got 13"),
            ("batch_size = 3", 'batch_size = 3\nscheme = "reshuffled"', 16, "step_size.unit must be 'absolute' for reshuf"),
            ('"minibatch_sharpness"]', '"minibatch_sharpnes"]', 22, "'minibatch_sharpnes' is unknown; did you mean"),
            ('"minibatch_sharpness"]', '"loss"]', 22, "must differ from the others, got 'loss' twice"),
            ('"minibatch_sharpness"]', "3]", 22, "must be text, got 3"),
            ("n_records = 13", "steps = [1, 601]", 23, "records.steps must be at most n_steps = 600, got 601"),
            ("n_records = 13", "steps = [2, 2]", 23, "records.steps must increase from one to the next"),
            ("n_records = 13", "steps = []", 23, "records.steps must have at least 1 entries, got []"),
            ("n_records = 13", "steps = [-1]", 23, "records.steps.0 must be at least 0, got -1"),
            ("n_records = 13", 'steps = "late"', 23, "records.steps must be 'after', got 'late'"),
            ("n_records = 13", "steps = 3", 23, "records.steps must be a list, got 3"),
            ("n_records = 13", "n_records = 13\nsteps = [1, 2]", 23, "records.n_records must be the number of steps, 2, got 13"),
            ("n_records = 13", "n_records = 13\nafter = 601", 24, "records.after must be at most n_steps = 600, got 601"),
            ("[sampling]", "[start]\nkind = 'zeros'\n[sampling]", 12, "start.kind must not be 'zeros'"),
            ('"diagonal_linear_network"', '"diagonal_linear_network"\ndepth = 3', 3, "problem.depth must be 2 in the prod"),
            ("[problem]", "kind = 'ramps'\n[problem]", 1, "kind must be one of"),
        ],
    )  # fmt: skip
    def test_with_file_line_and_words(self, tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
        assert old in SHORT
        path = tmp_path / "ramp.toml"
        path.write_text(SHORT.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"^ramp\.toml") as caught:
            from_toml(path)
        assert str(caught.value).startswith(f"ramp.toml, line {line}: "), str(caught.value)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_section_has_no_line(self) -> None:
        with pytest.raises(ConfigurationError, match="the configuration: sampling is missing"):
            from_toml(SHORT.replace("[sampling]\nbatch_size = 3\n", ""))

    def test_what_is_not_toml(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"must be TOML: .*line 2"):
            from_toml("[problem]\nkind = \n")
        with pytest.raises(ValueError, match=r"must be a readable TOML file, got .*missing.toml"):
            from_toml(tmp_path / "missing.toml")
        (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
        with pytest.raises(ValueError, match="it is not UTF-8"):
            from_toml(tmp_path / "latin.toml")

    def test_of_a_preset(self) -> None:
        with pytest.raises(
            ValueError, match=r"the configuration, line 2: settings is unknown; did you mean 'setting'\?"
        ):
            from_toml("kind = 'flow'\nsettings = 'diabetes'\nbatch_size = 3\nlabel_noise = 0.1\n")
        with pytest.raises(ValueError, match="line 3: batch_size must be at least 1, got 0"):
            from_toml("kind = 'flow'\nsetting = 'diabetes'\nbatch_size = 0\nlabel_noise = 0.1\n")
        with pytest.raises(ConfigurationError, match=r"^setting must be .*, got 'diabetis'"):
            RampExperiment("diabetis", 4)  # type: ignore[arg-type]

    def test_of_a_preset_whose_keys_do_not_fit(self) -> None:
        network = "kind = 'network'\nbatch_size = 8\n"
        for line, words in (
            ("n_samples = 4", "line 2: batch_size must be between 1 and n_samples = 4, got 8"),
            ("change_at = 70_000", "line 3: change_at must be at most n_steps = 60000, got 70000"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                from_toml(f"{network}{line}\n")
        with pytest.raises(ConfigurationError, match=r"^batch_size must be between 1 and n_samples = 442, got 443"):
            RampExperiment("diabetes", 443)
        with pytest.raises(ConfigurationError, match=r"^after must be at most n_steps = 100, got 15000$"):
            _ = NetworkExperiment(8, n_steps=100).record_steps

    def test_arguments_by_position(self) -> None:
        with pytest.raises(ConfigurationError, match=r"^judged must be a list, got 12"):
            NetworkFlow((3,), "tanh", *range(1, 30))

    def test_in_python_the_same_words(self) -> None:
        with pytest.raises(ConfigurationError, match=r"^dynamics.step_sise is unknown; did you mean 'step_size'\?$"):
            Experiment(**plain(dynamics={"step_sise": 3}))
        with pytest.raises(ConfigurationError, match=r"^data must be a table of keys, got 3$"):
            Experiment(**plain() | {"data": 3})

    def test_a_configuration_is_frozen(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Experiment(**plain()).sampling.batch_size = 4

    def test_lines_of_long_values(self) -> None:
        text = "a = 1\n# b = 2\nb = [\n  1,\n  2,\n]\n[c]\nd = '''\nb = 3\n'''\ne = { f = 1 }\n"
        assert [line_of(text, keys) for keys in (("b",), ("b", 1), ("c",), ("c", "d"), ("c", "e", "f"), ("z",))] == [
            3, 3, 7, 8, 11, None,
        ]  # fmt: skip


class TestRuns:
    def test_is_that_of_simulate(self) -> None:
        """The same as a person would write it down, bit for bit."""
        table = es.data.gaussian(12, 5, seed=3)
        problem = es.DiagonalLinearNetwork(table.inputs, es.data.interpolating_targets(table.inputs, table.targets))
        start = es.gradient_flow(problem, np.concatenate([np.full(5, 2.0), np.zeros(5)]))
        sampling = es.WithoutReplacement(3)
        edge = 2 / es.mean_square_sharpness(problem, start, sampling, hessian="gauss_newton")
        root = np.sqrt(np.abs(problem.effective_weights(start)))
        flattest = np.concatenate([root, np.sign(problem.effective_weights(start)) * root])
        last = 1.8 / es.mean_square_sharpness(problem, flattest, sampling, hessian="gauss_newton")
        direct = es.simulate(
            problem, start, step_size=es.Ramp(0.8 * edge, min(1.6 * edge, last)), sampling=sampling, n_steps=600,
            n_replicas=2, label_noise=1e-3, record=("loss", "sharpness", "minibatch_sharpness"), n_records=13,
            n_batches=8, seed=7,
        )  # fmt: skip
        experiment = Experiment.from_toml(SHORT)
        trace = experiment.run()
        for name in direct.variables:
            np.testing.assert_array_equal(trace[name].values, direct[name].values)
        assert trace.attrs["experiment_fingerprint"] == experiment.fingerprint
        assert Experiment.from_toml(trace.attrs["experiment"]) == experiment
        assert experiment.step_size.stop == min(1.6 * edge, last)

    def test_the_cap_can_be_taken_off(self) -> None:
        steep = {"from": 0.8, "to": 50.0, "unit": "first edge"}
        capped = Experiment(**plain(dynamics={"step_size": steep}))
        free = Experiment(**plain(dynamics={"step_size": steep | {"cap": "none"}}))
        assert free.step_size.stop == 50 * free.first_edge > capped.step_size.stop

    @pytest.mark.parametrize("shape", ["linear", "geometric"])
    def test_levels_begin_past_the_first_edge(self, shape: str) -> None:
        schedule = {"from": 0.8, "to": 1.6, "unit": "first edge", "shape": shape, "cap": "none"}
        experiment = Experiment(**plain(dynamics={"step_size": schedule}))
        ramp = es.Ramp.of(experiment.step_size)
        assert ramp.at(experiment.after, 600) == pytest.approx(1.15 * experiment.first_edge, rel=1e-12)

    def test_momentum_has_an_edge_of_its_own(self) -> None:
        experiment = Experiment(**plain(dynamics={"momentum": 0.9}))
        edge = es.stability.critical_step_size(
            experiment.model, experiment.theta0, experiment.batches, momentum=0.9, hessian="gauss_newton"
        )
        assert experiment.first_edge == edge

    @pytest.mark.parametrize(
        ("sections", "model"),
        [
            ({"problem": {"kind": "perceptron", "width": 3}, "start": {"kind": "random", "seed": 5}}, es.Perceptron),
            ({"problem": {"kind": "linear_regression"}, "start": {"kind": "zeros"}}, es.LinearRegression),
            ({"problem": {"kind": "logistic_network", "smoothing": 0.3}}, es.problems.LogisticNetwork),
            ({"problem": {"kind": "logistic_network"}, "start": {"kind": "random"}}, es.problems.LogisticNetwork),
            ({"problem": {"kind": "linear_regression"}, "start": {"kind": "random"}}, es.LinearRegression),
            ({"problem": {"form": "difference", "depth": 3}, "start": {"scale": 1.3, "second_scale": 0.6}}, None),
            ({"problem": {"kind": "quadratic"}, "start": {"kind": "zeros"}}, es.Quadratic),
            ({"problem": {"kind": "quadratic"}, "start": {"kind": "random"}}, es.Quadratic),
            ({"data": {"targets": "zero"}, "start": {"kind": "scale"}}, None),
            ({"data": {"kind": "orthogonal", "n_samples": 5}}, None),
        ],
    )
    def test_problems_and_starts(self, sections: dict[str, Any], model: type | None) -> None:
        dynamics = {"step_size": 1e-3, "n_steps": 20} | ({"label_noise": 0.0} if model is es.Quadratic else {})
        experiment = Experiment(**plain(**sections, dynamics=dynamics, records={}))
        trace = experiment.run()
        assert isinstance(experiment.model, model or es.DiagonalLinearNetwork)
        assert np.isfinite(trace["sharpness"].values).all()
        assert (trace["diverged_at"].values < 0).all()

    def test_units_of_the_first_edge_need_curvature_at_the_start(self) -> None:
        sections = {"problem": {"kind": "linear_regression"}, "start": {"kind": "zeros"}}
        experiment = Experiment(**plain(**sections))
        vars(experiment)["table"] = es.data.Data(np.zeros((12, 5)), np.arange(12.0), "flat")
        with pytest.raises(ValueError, match=r"dynamics.step_size in units of the first edge needs Hessians"):
            _ = experiment.step_size

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_a_quadratic(self, momentum: float) -> None:
        experiment = quadratic(momentum=momentum)
        table, x = experiment.table, experiment.table.inputs
        theta = np.linspace(-1, 1, 5)
        losses = [((xi * (theta - yi)) ** 2).sum() / 2 for xi, yi in zip(x, table.targets, strict=True)]
        np.testing.assert_allclose(experiment.model.sample_losses(theta, np.arange(12)), losses, rtol=1e-12)
        squares = x**2
        minimum = (squares * table.targets[:, None]).sum(axis=0) / squares.sum(axis=0)
        np.testing.assert_allclose(experiment.theta0, minimum, rtol=1e-8)
        # Coordinate by coordinate, with curvature of mean h and variance v: η_c = 2/max_k (h/(1+β) + v/((1−β)h)).
        mean, variance = squares.mean(axis=0), experiment.batches.variance_coefficient(12) * squares.var(axis=0)
        edges = 2 / (mean / (1 + momentum) + variance / ((1 - momentum) * mean))
        assert experiment.first_edge == pytest.approx(edges.min(), rel=1e-9)

    def test_a_quadratic_has_no_targets_to_put_noise_on(self) -> None:
        with pytest.raises(ConfigurationError, match="label_noise must be 0 for 'quadratic', which has no targets"):
            quadratic(label_noise=0.1)

    def test_a_torch_network(self) -> None:
        bridge = pytest.importorskip("esssim.bridge")
        sections = {"problem": {"kind": "mlp", "hidden": [3]}, "start": {"kind": "random", "scale": 0.5, "seed": 4}}
        experiment = Experiment(**plain(**sections) | {"dynamics": {"step_size": 0.1, "n_steps": 20, "seed": 2}})
        network = bridge.mlp(5, (3,), 1, gain=0.5, seed=4)
        table = experiment.table
        problem = bridge.TorchProblem(network, table.inputs, table.targets[:, None])
        direct = bridge.train(
            problem, problem.theta0, step_size=0.1, sampling=es.WithoutReplacement(3), n_steps=20,
            record=("loss", "sharpness", "minibatch_sharpness"), n_records=13, n_batches=8, seed=2,
        )  # fmt: skip
        for name in direct.data_vars:
            np.testing.assert_array_equal(experiment.run()[name].values, direct[name].values)

    def test_records_at_the_steps_that_are_given(self) -> None:
        whole = Experiment.from_toml(SHORT)
        chosen = Experiment(**plain(records={"statistics": ["loss"], "n_records": 3, "steps": [0, 50, 600]}))
        late = Experiment(**plain(records={"statistics": ["loss"], "n_records": 3, "steps": "after"}))
        assert chosen.records.n_records == 3 == Experiment.from_toml(chosen.to_toml()).records.n_records
        np.testing.assert_array_equal(chosen.run()["loss"].values, whole.run()["loss"].values[:, [0, 1, 12]])
        steps = late.run()["step"].values
        assert steps.tolist() == [round(late.after), round((late.after + 600) / 2), 600]
        # Every record counts, wherever the whole step lies that is nearest to where they begin.
        for n_steps in range(600, 620):
            one = Experiment(**plain(dynamics={"n_steps": n_steps}, records={"n_records": 6, "steps": "after"}))
            assert one.record_steps is not None
            assert one.record_steps[0] == one.after
        # What is said of the run is of all its steps.
        first, last = late.step_size.start, late.step_size.stop  # type: ignore[union-attr]
        assert extent(late.run()) == (600, f"η from {first:.4g} to {last:.4g}")
        assert extent(late.run().assign_attrs(step_size_stop=first)) == (600, f"η = {first:.4g}")
        # With fewer steps than records there are as many as there are steps.
        few = Experiment(**plain(records={"n_records": 13, "steps": "after", "after": 598}))
        assert few.run()["step"].values.tolist() == [598, 599, 600]

    def test_a_start_with_equal_parameters(self) -> None:
        sections = plain(problem={"kind": "linear_regression"}, start={"kind": "constant", "scale": 0.25})
        np.testing.assert_array_equal(Experiment(**sections).theta0, np.full(5, 0.25))

    def test_other_records_of_the_same_run(self) -> None:
        experiment = Experiment.from_toml(SHORT)
        other = experiment.recording("loss", "gradient_norm").run()
        np.testing.assert_array_equal(other["loss"].values, experiment.run()["loss"].values)

    def test_is_kept_under_its_fingerprint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path))
        experiment = Experiment.from_toml(SHORT)
        first = experiment.run()
        monkeypatch.setattr("esssim.experiments.experiment.simulate", pytest.fail)
        assert Experiment.from_toml(SHORT).run().identical(first)
        assert len(list(tmp_path.glob("experiment-*.nc"))) == 1

    def test_a_ramp_is_an_experiment(self) -> None:
        preset = RampExperiment("gaussian-50x100", 4, n_steps=200, n_replicas=2, n_records=7, n_batches=4)
        again = Experiment.from_toml(preset.to_toml())
        assert again == preset.experiment
        assert preset.run().identical(again.run())

    def test_a_flow_is_run_beside_sgd(self) -> None:
        short = FlowExperiment("gaussian-20x40", 4, 0.03, n_steps=600, n_replicas=2, n_records=4, n_batches=4)
        trace = from_toml(short.to_toml()).run()
        followed = run_flow(short)
        np.testing.assert_array_equal(trace["step"].values, followed["step"].values)
        for name in ("mean_square_sharpness_gauss_newton", "minibatch_sharpness", "batch_sharpness"):
            np.testing.assert_array_equal(trace[f"flow_{name}"].values, followed[name].values)
        np.testing.assert_array_equal(trace["minibatch_sharpness"], run_sgd(short)["minibatch_sharpness"])

    def test_every_claim_about_a_flow_shares_one_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        short = FlowExperiment("gaussian-20x40", 4, 0.03, n_steps=500, n_replicas=2, n_records=3, n_batches=4)
        levels = run_sgd(short)
        monkeypatch.setattr("esssim.experiments.flow.simulate", pytest.fail)
        for experiment in (short, replace(short, follow="mean")):
            often = run_batch_sharpness(experiment)
            assert often.sizes["record"] == 10 * (levels.sizes["record"] - 1) + 1
            np.testing.assert_array_equal(often["batch_sharpness"][:, ::10], levels["batch_sharpness"])


class TestPresets:
    """The runs that no table of keys describes."""

    def test_the_flow_alone(self) -> None:
        alone = FlowExperiment("gaussian-20x40", 4, 0.03, n_steps=600, n_replicas=0, n_records=5)
        beside = run_flow(replace(alone, n_replicas=2))
        trace = alone.run()
        assert trace.sizes["replica"] == 1
        q = trace["mean_square_sharpness_gauss_newton"].values[0]
        np.testing.assert_array_equal(q, beside["mean_square_sharpness_gauss_newton"].values)
        np.testing.assert_allclose(
            trace["distance_to_edge"].values[0], 1 - q * trace["step_size"].values / 2, atol=1e-12
        )
        assert set(alone.levels(trace)) == {*RECORDED}

    def test_a_perceptron_is_trained_beside_the_flow(self) -> None:
        network = TrainedPerceptron("tanh", 15, n_steps=60, n_records=4, n_replicas=2)
        trace = network.run()
        q = es.mean_square_sharpness(network.problem, network.theta0, es.WithoutReplacement(15), hessian="gauss_newton")
        np.testing.assert_allclose(trace["step_size"].values * q / 2, 0.7, rtol=1e-12)
        for name in ("mean_square_sharpness_gauss_newton", "flow_mean_square_sharpness_gauss_newton"):
            assert trace[name].values.ravel()[0] == pytest.approx(q, rel=1e-9)
        assert set(np.sign(network.problem.targets)) == {-1.0, 1.0}

    def test_dropout_starts_where_the_penalised_gradient_is_zero(self) -> None:
        run = DropoutRamp(0.5, 4, rate=0.25, n_steps=400, n_replicas=2)
        u, v = np.split(run.theta0, 2)
        inputs, w = run.problem.inputs, u * v
        penalty = 0.25 / 0.75 * (inputs**2).mean(axis=0) * w
        np.testing.assert_allclose(inputs.T @ (inputs @ w - run.problem.targets) / 60 + penalty, 0, atol=1e-13)
        np.testing.assert_allclose(u**2 - v**2, 1, rtol=1e-12)
        trace = run.run()
        first = es.stability.dropout_step_size(run.problem, run.theta0, es.WithoutReplacement(4), 0.25)
        steps, etas = trace["step"].values, trace["step_size"].values
        assert (steps[0], steps[-1], len(steps)) == (run.after, 400, 10)
        np.testing.assert_allclose(etas[0] / first, 1.15, rtol=0.02)

    @pytest.mark.parametrize(("target_size", "capped"), [(4.0, True), (1.0, False)])
    def test_a_rising_step_size_ends_below_the_last_edge(self, target_size: float, capped: bool) -> None:
        run = DropoutRamp(target_size, 4, n_steps=100, n_replicas=1)
        first, last = (
            es.stability.dropout_step_size(run.problem, theta, es.WithoutReplacement(4), 0.5)
            for theta in (run.theta0, flattest(run.problem, run.theta0))
        )
        assert (0.9 * last < 2.5 * first) is capped
        end = run.run().attrs["step_size_stop"]
        assert end == pytest.approx(min(2.5 * first, 0.9 * last), rel=1e-12)

    def test_a_step_size_without_room_to_rise_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = tmp_path / "steep.toml"
        config.write_text('kind = "dropout_ramp"\nbatch_size = 4\ntarget_size = 30.0\n')
        assert cli.run(["run", str(config)]) == 2
        assert "steep.toml, line 3: target_size leaves no room for the step size to rise" in capsys.readouterr().err

    def test_cross_entropy_starts_where_every_label_is_fitted(self) -> None:
        run = CrossEntropyRamp(8, smoothing=0.2, n_steps=300, slower=2, n_replicas=2)
        np.testing.assert_allclose(run.problem.gradient(run.theta0), 0, atol=1e-9)
        assert set(np.round(run.problem.labels, 12)) == {0.1, 0.9}
        sampling = es.WithoutReplacement(8)
        own, squared = (
            es.mean_square_sharpness(problem, run.theta0, sampling, hessian="gauss_newton")
            for problem in (run.problem, run.squared)
        )
        assert own == pytest.approx(squared, rel=1e-6)
        trace = run.run()
        steps = trace["step"].values
        assert (steps[0], steps[-1]) == (run.after, 600)
        np.testing.assert_allclose(trace["step_size"].values[0] * own / 2, 1.15, rtol=0.02)

    def test_the_noise_of_labels_is_the_same_in_the_squared_loss(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both losses are stationary where the labels are; there noise of the labels moves θ by the same gradients."""
        run = CrossEntropyRamp(8, smoothing=0.2, n_steps=300)
        monkeypatch.setattr(es.flow, "solve", lambda *_, **options: options["label_noise"])
        moved = run.flow_of_squared_loss()
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(run.problem.n_samples)
        own = es.problems.LogisticNetwork(run.problem.inputs, run.problem.labels + 1e-3 * run.label_noise * noise)
        squared = es.DiagonalLinearNetwork(run.squared.inputs, run.squared.targets + 1e-3 * moved * noise)
        np.testing.assert_allclose(own.gradient(run.theta0), squared.gradient(run.theta0), rtol=1e-4, atol=1e-12)

    def test_a_start_above_the_edge(self) -> None:
        run = StartAboveTheEdge(1.3, nudge=1e-6, n_steps=50, n_replicas=3)
        trace, ramp = run.run(), RampExperiment("gaussian-100x50", 4)
        np.testing.assert_allclose(np.abs(run.starts - ramp.theta0).max(axis=1), 1e-6 * 3, rtol=0.5)
        q = trace["mean_square_sharpness_gauss_newton"].values[:, 0]
        np.testing.assert_allclose(trace["step_size"].values[0] * q / 2, 1.3, rtol=1e-4)
        rows = run.ends(trace)
        assert [row["eta_over_first_edge"] for row in rows] == [1.3] * 3
        share, low, high = run.results(trace)["share that ends flatter, and off the edge"]
        assert share == sum(bool(row["counts"]) for row in rows) / 3
        assert low <= share <= high
        assert run.levels(trace) == {}
        # Of k = n the interval of Clopper and Pearson begins at 0.025^(1/n).
        assert share_of([True] * 3) == pytest.approx((1.0, 0.025 ** (1 / 3), 1.0))

    def test_an_end_counts_where_it_is_flatter_and_off_the_edge(self) -> None:
        """Flatter and off the edge; sharper; flatter, on the edge; flatter, but diverged."""
        run, q = StartAboveTheEdge(1.3), "mean_square_sharpness_gauss_newton"
        columns = {
            "sharpness": [[2.0, 1.0], [2.0, 3.0], [2.0, 1.0], [2.0, 1.0]],
            q: np.outer([8, 8, 10, 8], [1.0, 1.0]),
        }
        trace = xarray.Dataset(
            {name: (("replica", "record"), values) for name, values in columns.items()}
            | {"diverged_at": ("replica", [-1, -1, -1, 50])},
            {"step_size": ("record", [0.2, 0.2])},
        )
        assert [row["counts"] for row in run.ends(trace)] == [True, False, False, False]

    def test_records_of_zeroth_order_descent_begin_at_its_first_edge(self) -> None:
        run = zeroth_order(8, n_steps=4000)
        steps = run.record_steps
        assert steps is not None
        edge = es.stability.zeroth_order_step_size(run.model, run.theta0, run.batches, hessian="gauss_newton")
        assert run.step_size.at(np.array(steps[:1]), 4000) == pytest.approx([edge], rel=1e-3)
        assert (steps[-1], run.after) == (4000, steps[0])

    @pytest.mark.parametrize("factor", [0.8, 1.2])
    def test_an_ensemble_grows_at_the_rate_of_the_operator(self, factor: float) -> None:
        run = GrowingEnsemble(3, 2, factor, n_replicas=4000, seed=5)
        trace = run.run()
        rates = run.results(trace)
        (rate, low, high), (exact, *_) = rates["growth of the mean loss per step"], rates["log of the spectral radius"]
        assert low < rate < high
        assert abs(rate - exact) < 2 * (high - low)
        assert np.sign(exact) == np.sign(factor - 1)
        radius = second_moment_radius(run.problem, np.zeros(3), run.sampling, run.step_size)
        assert exact == pytest.approx(np.log(radius), rel=1e-9)
        assert run.levels(trace) == {}

    def test_the_rate_of_an_ensemble_has_the_error_of_leaving_out_each_replica(self) -> None:
        run = GrowingEnsemble(3, 2, 0.8, n_replicas=4000, seed=5)
        trace = run.run()
        first, last = trace["loss"].values.T
        left_out = np.log((last.sum() - last) / (first.sum() - first)) / run.n_steps
        assert run.growth_rate(trace)[1] == pytest.approx(np.sqrt((len(last) - 1) * left_out.var()), rel=0.01)

    def test_an_escape_is_where_a_step_takes_a_quarter_of_an_imbalance(self) -> None:
        """(ηr·x)² = 1/4 at the edge, for the residual r of the three long samples and their largest input x."""
        here = minimum()
        residual = 0.5 / (2 / here.edge * np.abs(here.problem.inputs[:3]).max())
        moved = here.problem.targets - residual * (np.arange(12) < 3)
        assert here.level == pytest.approx(es.DiagonalLinearNetwork(here.problem.inputs, moved).loss(here.theta))
        run = EscapeExperiment(0.7)
        q = es.mean_square_sharpness(run.problem, here.theta, es.WithoutReplacement(3), hessian="gauss_newton")
        assert run.step_size * q / 2 == pytest.approx(0.7)

    def test_escapes_have_a_rate_beside_their_levels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = EscapeExperiment(0.9, n_particles=20, n_repetitions=3, n_steps=20, n_replicas=2, n_records=3)
        (tmp_path / "run.toml").write_text(run.to_toml(), encoding="utf-8")
        assert cli.run(["run", str(tmp_path / "run.toml"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["results"]["escapes per step"]
        direct = es.stability.escape_probability(
            run.problem, minimum().theta, es.WithoutReplacement(3), run.step_size, level=minimum().level, n_steps=20,
            label_noise=run.label_noise, n_particles=20, n_repetitions=3, seed=run.seed,
        )  # fmt: skip
        assert found["value"] == direct.per_step
        assert found["interval"] == [end / 20 for end in direct.interval]
        assert cli.run(["run", str(tmp_path / "run.toml")]) == 0
        assert "escapes per step: " in capsys.readouterr().out
        page = (tmp_path / "run.html").read_text(encoding="utf-8")
        assert f"<dt>escapes per step</dt><dd>{found['value']:.4g} (95 %: " in page
        before = page.count("<article")
        assert cli.run(["report", str(tmp_path / "run.nc"), "--out", str(tmp_path / "again")]) == 0
        (again,) = (tmp_path / "again").glob("*.html")
        assert again.read_text(encoding="utf-8").count("<article") == before


class TestFiles:
    """Tables of one's own lie in the folder of the configuration."""

    FROM_FILE = SHORT[: SHORT.index("[data]")] + (
        '[data]\nkind = "file"\npath = "PATH"\ntarget = "y"\n\n' + SHORT[SHORT.index("[sampling]") :]
    )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        inside = tmp_path / "study"
        inside.mkdir()
        rng = np.random.default_rng(0)
        rows = "\n".join(",".join(f"{value:.17g}" for value in row) for row in rng.normal(size=(12, 4)))
        for place in (inside, tmp_path):
            (place / "table.csv").write_text(f"a,b,c,y\n{rows}\n", encoding="utf-8")
        return inside

    def read(self, folder: Path, path: str) -> Experiment:
        file = folder / "own.toml"
        file.write_text(self.FROM_FILE.replace("PATH", path), encoding="utf-8")
        return Experiment.from_toml(file)

    def test_is_read_beside_the_configuration(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        experiment = self.read(folder, "table.csv")
        np.testing.assert_array_equal(experiment.table.inputs, es.data.read_table(folder / "table.csv", "y").inputs)
        before = experiment.fingerprint
        content = (folder / "table.csv").read_text(encoding="utf-8")
        (folder / "table.csv").write_text(content + "1,2,3,4\n", encoding="utf-8")
        assert self.read(folder, "table.csv").fingerprint != before
        assert experiment.recording("loss").table.n_samples == 12 + 1

    @pytest.mark.parametrize("path", ["../table.csv", "a/../../table.csv", "/etc/passwd", "link.csv"])
    def test_is_not_read_elsewhere(self, folder: Path, path: str) -> None:
        (folder / "link.csv").symlink_to(folder.parent / "table.csv")
        with pytest.raises(ConfigurationError, match=r"own.toml, line 6: data.path must be inside the folder"):
            self.read(folder, path)


class TestCommand:
    """`esssim run`."""

    @pytest.mark.parametrize("name", ["ramp", "constant"])
    def test_examples(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        short = ["--set", "dynamics.n_steps=400", "--set", "dynamics.n_replicas=4", "--set", "records.n_records=13"]
        assert cli.run(["run", str(EXAMPLES / f"{name}.toml"), "--out", str(tmp_path), *short]) == 0
        shown = capsys.readouterr()
        assert "400 steps, 4 replicas" in shown.out
        assert all(word in shown.out for word in ("sharpness", "level", "95 % interval", "verdict"))
        assert "4 of 4" in shown.err
        assert f"wrote {tmp_path / name}.svg" in shown.err
        trace = es.load(tmp_path / f"{name}.nc")
        assert trace.attrs["n_steps"] == 400
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")

    def test_json_and_the_folder_of_the_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "short.toml"
        file.write_text(SHORT, encoding="utf-8")
        assert cli.run(["run", str(file), "--json", "--set", "sampling.batch_size = 4"]) == 0
        found = json.loads(capsys.readouterr().out)
        experiment = Experiment.from_toml(file, ["sampling.batch_size=4"])
        assert found["experiment"]["sampling"]["batch_size"] == 4 == experiment.sampling.batch_size
        assert found["fingerprint"] == experiment.fingerprint
        level = es.settling.level(experiment.run(), "sharpness", after=experiment.after)
        assert found["levels"]["sharpness"]["value"] == level.value
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "short.html",
            "short.nc",
            "short.png",
            "short.svg",
            "short.toml",
        ]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("dynamics.step_sise=3", "--set dynamics.step_sise: dynamics.step_sise is unknown; did you mean 'step_size'?"),
            ("dynamics.n_steps=ten", "--set dynamics.n_steps: dynamics.n_steps must be an integer, got 'ten'"),
            ("dynamics", "--set must be KEY=VALUE"),
            ("dynamics.n_steps.x=1", "--set dynamics.n_steps.x: dynamics.n_steps.x cannot be set: n_steps has no keys"),
            ("data.kind=spikes", "did you mean 'spiked'?"),
        ],
    )  # fmt: skip
    def test_bad_changes(self, change: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "short.toml"
        file.write_text(SHORT, encoding="utf-8")
        assert cli.run(["run", str(file), "--set", change]) == 2
        assert words in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == [file]

    def test_values_are_toml_or_text(self) -> None:
        changes = ["dynamics.step_size={from = 0.1, to = 0.2}", "data.kind=spiked", "data.spike=3"]
        experiment = Experiment.from_toml(SHORT, changes)
        assert experiment.plain()["dynamics"]["step_size"]["to"] == 0.2
        assert experiment.plain()["data"]["spike"] == 3.0

    def test_a_run_without_levels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Few records have no level, and the loss alone is drawn."""
        file = tmp_path / "short.toml"
        file.write_text(SHORT, encoding="utf-8")
        assert cli.run(["run", str(file), "--set", "records.n_records=3"]) == 0
        assert "after must leave at least 6 records" in capsys.readouterr().out
        assert cli.run(["run", str(file), "--set", 'records.statistics=["loss"]']) == 0
        assert "verdict" not in capsys.readouterr().out

    def test_every_replica_diverges(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "short.toml"
        file.write_text(SHORT, encoding="utf-8")
        assert cli.run(["run", str(file), "--set", "dynamics.step_size=10.0"]) == 0
        assert "every replica diverged" in capsys.readouterr().out


def test_a_picture_shows_each_recorded_statistic() -> None:
    experiment = Experiment.from_toml(SHORT)
    trace = experiment.run()
    with plots.style():
        axes = plots.trajectory_figure(trace, ["sharpness", "minibatch_sharpness"], experiment.after).axes[0]
    drawn = {str(line.get_label()): line for line in axes.lines}
    half = trace["step_size"].values / 2
    line = drawn[plots.LOOKS["sharpness"].label]
    np.testing.assert_allclose(line.get_ydata(), trace["sharpness"].values.mean(axis=0) * half, rtol=1e-12)


class TestClaims:
    def test_claims_about_a_ramp_name_their_run(self) -> None:
        from esssim.claims import registry

        (full,) = registry["minibs-settles/gaussian-100x50/b=8"].experiments(False)
        (short,) = registry["minibs-settles/gaussian-100x50/b=8"].experiments(True)
        assert (full, short) == (RampExperiment("gaussian-100x50", 8), RampExperiment("gaussian-100x50", 8).quick())
        assert registry["minibs-settles/gaussian-100x50/b=8"].as_dict()["experiments"] == [full.fingerprint]
        settled = [claim for claim in registry.values() if "settles" in claim.family]
        assert settled
        assert all(claim.experiments(False) for claim in settled)

    def test_every_claim_about_a_run_names_it(self) -> None:
        """All families but those that compare formulas, or random products and matrices, at one point."""
        from esssim.claims import registry

        families = {claim.family for claim in registry.values() if not claim.experiments(False)}
        assert families == {
            "minibs-at-least-sharpness", "minibs-falls-with-b", "batch-sharpness-at-most-minibs", "minibs-and-stability",
            "gap-bounds", "gap-second-order", "gap-crossover", "gap-additive-noise", "gap-exponent", "gap-prediction",
            "gap-scaling", "who-is-closest", "minibs-edge", "batch-sharpness-edge", "interaction-aware-edge", "noise-kernel",
            "heavy-ball-ends", "dropout-edge", "escape-probability", "momentum-edge", "moments",
            "quadratic-cannot-settle", "almost-sure-edge",
        }  # fmt: skip
        run = {claim.family for claim in registry.values() if claim.experiments(False)}
        # Of these families the runs of SGD have one.
        assert families & run == {
            "dropout-edge", "escape-probability", "momentum-edge", "moments", "quadratic-cannot-settle",
        }  # fmt: skip

    @pytest.mark.parametrize("quick", [False, True])
    def test_the_toml_of_every_run_gives_it_again(self, quick: bool) -> None:
        from esssim.claims import registry

        runs = dict.fromkeys(run for claim in registry.values() for run in claim.experiments(quick))
        assert len(runs) > 150
        for run in runs:
            again = from_toml(run.to_toml())
            assert again == (run.experiment if isinstance(run, RampExperiment) else run)
            assert again.to_toml() == run.to_toml()

    def test_the_report_shows_their_toml(self) -> None:
        run = RampExperiment("diabetes", 4)
        claim = Claim(
            id="mine/<a>", sentence="s", source=OURS, source_predicts="1", we_predict=Predicted.none(), method="m",
            tolerance=None, measure=lambda quick: Measurement("holds", "r"),
            experiments=lambda quick: (run.quick() if quick else run,),
        )  # fmt: skip
        verdicts = [Verdict(claim, Measurement("holds", "r"), 1.0)]
        for quick, steps in ((False, "n_steps = 400_000"), (True, "n_steps = 100_000")):
            page = render_report(verdicts, {}, quick=quick)
            assert ("esssim verify &#x27;mine/&lt;a&gt;&#x27; --quick" in page) is quick
            assert "Its run, for esssim run:" in page
            assert steps in page
            assert "batch_size = 4" in page


class TestPage:
    """docs/experiments.md."""

    PAGE = (EXAMPLES.parent / "docs" / "experiments.md").read_text(encoding="utf-8")

    def test_its_example_is_the_file(self) -> None:
        shown = Experiment.from_toml(self.PAGE.split("```toml\n")[1].split("```")[0])
        assert shown == Experiment.from_toml(EXAMPLES / "ramp.toml")

    def test_it_has_every_key(self) -> None:
        listed = set(re.findall(r"`(?:[a-z]+\.|…step_size\.)?([a-z_]+)`", self.PAGE[self.PAGE.index("## Keys") :]))
        sections = [
            each for each in vars(sections_module).values()
            if isinstance(each, type) and issubclass(each, sections_module.Section)
        ]  # fmt: skip
        keys = {field.alias or name for each in sections for name, field in each.model_fields.items()}
        assert len(keys) > 30
        assert keys <= listed


def test_experiments_are_reached_lazily() -> None:
    import subprocess
    import sys

    code = "import esssim, sys; assert 'pydantic' not in sys.modules; esssim.experiments.Experiment"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestSolutionsAreComputedOnce:
    def test_the_same_solution_is_not_computed_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        computed: list[int] = []

        def counted(problem: es.Problem, begin: np.ndarray) -> np.ndarray:
            computed.append(1)
            return es.gradient_flow(problem, begin)

        monkeypatch.setattr(build, "gradient_flow", counted)
        monkeypatch.setattr(build, "_SOLUTIONS", {})
        table = es.data.gaussian(8, 3, seed=0)
        first, same = (es.LinearRegression(table.inputs, table.targets) for _ in range(2))
        other = es.LinearRegression(table.inputs, table.targets + 1)
        found = build.solution_from(first, np.zeros(3))
        found[0] = np.nan  # what is handed out is a copy
        np.testing.assert_array_equal(build.solution_from(same, np.zeros(3)), es.gradient_flow(first, np.zeros(3)))
        assert len(computed) == 1
        assert not np.allclose(build.solution_from(other, np.zeros(3)), build.solution_from(first, np.zeros(3)))
        build.solution_from(first, np.ones(3))
        assert len(computed) == 3

    def test_only_the_last_ones_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "_SOLUTIONS", {})
        table = es.data.gaussian(8, 3, seed=0)
        problem = es.LinearRegression(table.inputs, table.targets)
        for k in range(build.MOST_SOLUTIONS + 3):
            build.solution_from(problem, np.full(3, float(k)))
            build.solution_from(problem, np.zeros(3))
        assert len(build._SOLUTIONS) == build.MOST_SOLUTIONS
        assert (problem.fingerprint, np.zeros(3).tobytes()) in build._SOLUTIONS
