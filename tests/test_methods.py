"""Methods other than SGD in an experiment: the run of `simulate`, the edge of their own, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.experiments import ConfigurationError, Experiment
from esssim.experiments.base import with_an_edge
from esssim.experiments.sweeps import sweep
from esssim.statistics.table import title_of

METHODS: dict[str, dict[str, Any]] = {
    "rmsprop": {"kind": "rmsprop", "decay": 0.9, "epsilon": 1e-6},
    "adam": {"kind": "adam", "decay": 0.95, "momentum": 0.5, "epsilon": 1e-6},
    "zeroth order": {"kind": "zeroth_order"},
    "sharpness-aware": {"kind": "sharpness_aware", "radius": 0.05},
    "without the norm": {"kind": "sharpness_aware", "radius": 0.05, "normalised": False},
    "dropout": {"kind": "dropout", "rate": 0.2},
    "isotropic": {"kind": "isotropic_noise"},
    "diagonal": {"kind": "diagonal_noise"},
}
BATCHES = es.WithoutReplacement(3)
# What a person hands to `simulate` for the same run.
BY_HAND: dict[str, dict[str, Any]] = {
    "rmsprop": {"sampling": BATCHES, "adaptive": es.RMSProp(0.9, 1e-6)},
    "adam": {"sampling": BATCHES, "adaptive": es.Adam(0.95, 1e-6, 0.5)},
    "zeroth order": {"sampling": es.ZerothOrder(BATCHES)},
    "sharpness-aware": {"sampling": es.SharpnessAware(BATCHES, 0.05)},
    "without the norm": {"sampling": es.SharpnessAware(BATCHES, 0.05, normalised=False)},
    "dropout": {"sampling": es.Dropout(BATCHES, 0.2)},
    "isotropic": {"sampling": es.IsotropicNoise(3)},
    "diagonal": {"sampling": es.DiagonalNoise(3)},
}
SCHEDULE = {"from": 0.2, "to": 0.4, "unit": "first edge", "cap": "none"}


def experiment(name: str | None, **changes: dict[str, Any]) -> Experiment:
    sections: dict[str, Any] = {
        "problem": {"kind": "diagonal_linear_network"},
        "data": {"kind": "gaussian", "n_samples": 12, "n_features": 5, "seed": 3, "targets": "interpolating"},
        "sampling": {"batch_size": 3},
        "dynamics": {"step_size": 1e-3, "n_steps": 40, "n_replicas": 2, "label_noise": 1e-2, "seed": 7},
        "records": {"statistics": ["loss", "sharpness"], "n_records": 5, "n_batches": 8},
    }
    if name is not None:
        sections["method"] = METHODS[name]
    for section, keys in changes.items():
        sections[section] = sections.get(section, {}) | keys
    return Experiment(**sections)


@pytest.mark.parametrize("name", METHODS)
def test_the_run_is_that_of_simulate_and_the_toml_gives_it_again(name: str) -> None:
    found = experiment(name)
    options = {"n_replicas": 2, "label_noise": 1e-2, "record": ("loss", "sharpness"), "n_records": 5, "n_batches": 8}
    direct = es.simulate(found.model, found.theta0, step_size=1e-3, n_steps=40, seed=7, **options, **BY_HAND[name])
    trace = found.run()
    for each in direct.variables:
        np.testing.assert_array_equal(trace[each].values, direct[each].values)
    assert Experiment.from_toml(found.to_toml()) == found
    plain = experiment(None)
    assert found.fingerprint != plain.fingerprint
    assert not np.array_equal(trace["loss"], plain.run()["loss"])


def test_without_a_method_nothing_is_written_of_it() -> None:
    """Fingerprints of experiments from before there were methods stay what they were."""
    assert "method" not in experiment(None).plain()


@pytest.mark.parametrize("name", ["zeroth order", "without the norm", "dropout", "isotropic", "diagonal"])
def test_the_first_edge_is_that_of_the_method(name: str) -> None:
    """One per cent below it the second moment of the linearised steps shrinks in the theory of the method, above it grows."""
    found = experiment(name, dynamics={"step_size": SCHEDULE})
    problem, theta, steps = found.model, found.theta0, BY_HAND[name]["sampling"]
    options: dict[str, Any] = {"hessian": "gauss_newton"}
    if name == "zeroth order":
        edge = es.stability.zeroth_order_step_size(problem, theta, BATCHES, **options)
    elif name == "without the norm":
        edge = es.stability.sharpness_aware_step_size(problem, theta, BATCHES, 0.05, **options)
    elif name == "dropout":
        edge = es.stability.dropout_step_size(problem, theta, BATCHES, 0.2)
    else:
        edge = es.stability.critical_step_size(problem, theta, steps, **options)
    assert found.first_edge == pytest.approx(edge, rel=1e-12)
    assert found.first_edge != pytest.approx(experiment(None, dynamics={"step_size": SCHEDULE}).first_edge, rel=1e-3)
    assert es.Ramp.of(found.step_size).start == pytest.approx(0.2 * edge, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("isotropic", {"sampling": {"scheme": "with_replacement"}}, "sampling.scheme must be 'without_replacement'"),
        ("adam", {"sampling": {"scheme": "gaussian_weights"}}, "sampling.scheme must draw batches for 'adam'"),
        ("zeroth order", {"sampling": {"scheme": "two_point_weights"}}, "sampling.scheme must draw batches"),
        ("rmsprop", {"dynamics": {"momentum": 0.9}}, "dynamics.momentum must be 0 for 'rmsprop', got 0.9"),
        ("adam", {"dynamics": {"step_size": SCHEDULE}}, "dynamics.step_size.unit must be 'absolute' for 'adam'"),
        ("sharpness-aware", {"dynamics": {"step_size": SCHEDULE}}, "with normalised = true its edge on batches is not"),
        ("zeroth order", {"dynamics": {"step_size": SCHEDULE, "momentum": 0.5}}, "for 'zeroth_order': its edge with momentum is not known"),
        ("sharpness-aware", {"records": {"statistics": ["own_sharpness"]}}, "'own_sharpness': with normalised = true its edge on b"),
        ("isotropic", {"records": {"statistics": ["own_sharpness"]}}, "needs dynamics.momentum above 0, or a section"),
        (None, {"records": {"statistics": ["own_sharpness"]}}, "needs dynamics.momentum above 0, or a section"),
        (None, {"records": {"statistics": ["momentum_batch_sharpness"]}}, "needs batches, dynamics.momentum above 0"),
        ("adam", {"records": {"statistics": ["momentum_batch_sharpness"]}}, "and no section 'method'"),
        ("adam", {"records": {"statistics": ["own_sharpness"]}, "sampling": {"scheme": "reshuffled"}}, "independent b"),
        ("dropout", {"problem": {"kind": "perceptron", "width": 3}}, "method.kind 'dropout' is not for problem 'perc"),
        (None, {"method": {"kind": "dropout", "rate": 1.0}}, "method.rate must be below 1, got 1"),
        ("zeroth order", {"records": {"statistics": ["preconditioned_sharpness"]}}, "needs an adaptive method"),
        (None, {"records": {"statistics": ["own_sharpnes"]}}, "did you mean 'own_sharpness'?"),
        (None, {"method": {"kind": "adams"}}, "method.kind must be one of 'rmsprop', 'adam'"),
        (None, {"method": {"radius": 1.0}}, "method.kind is missing"),
        (None, {"method": {"kind": "sharpness_aware"}}, "method.radius is missing"),
        (None, {"method": {"kind": "sharpness_aware", "radius": 0.0}}, "method.radius must be above 0, got 0"),
        ("adam", {"method": {"decays": 1.0}}, "method.decays is unknown; did you mean 'decay'?"),
        ("adam", {"problem": {"kind": "mlp"}, "start": {"kind": "random"}}, "method.kind must be 'isotropic_noise' or 'diagonal_noise' for problem 'mlp'"),
    ],
)  # fmt: skip
def test_what_cannot_stand_together_is_refused(name: str | None, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        experiment(name, **changes)
    assert words in str(caught.value)


def test_levels_know_the_statistics_of_a_method() -> None:
    names = ("own_sharpness", "loss", "sharpness", "preconditioned_minibatch_sharpness", "preconditioned_loss")
    found = experiment("rmsprop", records={"statistics": names})
    assert with_an_edge(names) == ["sharpness", "own_sharpness", "preconditioned_minibatch_sharpness"]
    assert list(found.levels(found.run())) == with_an_edge(names)
    heavy = experiment(
        None, dynamics={"momentum": 0.5}, records={"statistics": ["momentum_batch_sharpness", "own_sharpness"]}
    )
    assert list(heavy.levels(heavy.run())) == ["own_sharpness", "momentum_batch_sharpness"]
    assert title_of("preconditioned_sharpness") == f"preconditioned {title_of('sharpness')}"


def test_a_sweep_over_methods(tmp_path: Any) -> None:
    methods = [METHODS["zeroth order"], METHODS["isotropic"]]
    grid = {"method": methods, "dynamics.seed": [0, 1]}
    found = sweep(experiment(None, records={"n_records": 13}), grid, folder=tmp_path / "store")
    levels = found["level:sharpness"].values
    assert levels.shape == (2, 2)
    assert np.isfinite(levels).all()
    assert len(np.unique(levels)) == 4
    of_adam = experiment("adam", records={"statistics": ["sharpness", "own_sharpness"]})
    at_the_start = sweep(of_adam, {"dynamics.seed": [0, 1]}, measures=["start"])
    assert [name for name in at_the_start if str(name).startswith("start:")] == ["start:sharpness"]
    with pytest.raises(ConfigurationError, match="has no first edge: its edge depends on the gradients"):
        _ = experiment("adam").first_edge
    with pytest.raises(ConfigurationError, match="must not hold 'flow', which is that of SGD"):
        sweep(experiment("adam"), {"dynamics.seed": [0, 1]}, measures=["flow"], folder=tmp_path / "other")
