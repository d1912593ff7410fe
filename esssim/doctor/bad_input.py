"""(k) Bad input: every call of a table must be refused in one line that names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import esssim as es
from esssim import flow
from esssim._rows import Row
from esssim.doctor.check import Finding, at_least, check, exactly, steps
from esssim.experiments import from_toml

# What it is called with, the call, and the beginning of the error.
Call = tuple[str, Callable[[], object], str]

INPUTS = np.arange(10.0).reshape(5, 2) - 4.0
TARGETS = np.array([1.0, -1.0, 2.0, 0.0, 1.0])
THETA = np.array([1.0, 2.0])
LONGEST = 500
CONFIGURATION = """\
problem.kind = "linear_regression"
data = { kind = "gaussian", n_samples = 6, n_features = 3, seed = 1 }
sampling.batch_size = 2
dynamics = { step_size = 0.01, n_steps = 10, seed = 1 }
"""


@check(key="k", title="Bad input is refused in one line", seconds=(3.0, 3.0))
def bad_input(quick: bool) -> Finding:
    """Calls with a wrong argument: problems, schemes, statistics, thresholds, runs, the flow, moments, data, files and
    configurations. Each has to raise ValueError, or a class of it, in one line of at most 500 characters that begins
    with the name of the argument and what it must be."""
    table = list(calls())
    rows: list[Row] = []
    for name, call, beginning in steps(table):
        said = answer(call)
        if not well_said(said, beginning):
            rows.append({"call": name, "expected": beginning, "said": said})
    figure = {"calls": len(table), "answered_badly": len(rows)}
    wanted = {"calls": at_least(100), "answered_badly": exactly(0)}
    return Finding(figure, wanted, rows, [str(row["call"]) for row in rows])


def answer(call: Callable[[], object]) -> str:
    """The message of a ValueError; of another exception with its class, and "accepted" where there is none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def well_said(said: str, beginning: str) -> bool:
    return said.startswith(beginning) and "\n" not in said and len(said) < LONGEST


def calls() -> Iterator[Call]:
    regression = es.LinearRegression(INPUTS, TARGETS)
    network = es.DiagonalLinearNetwork(INPUTS, TARGETS)
    pairs = es.WithoutReplacement(2)
    yield from _problems()
    yield from _schemes()
    for statistic in (es.batch_sharpness, es.minibatch_sharpness, es.interaction_aware_sharpness,
                      es.mean_square_sharpness, es.gradient_noise_interaction):  # fmt: skip
        yield from _with(statistic, {"problem": regression, "theta": THETA, "sampling": pairs}, {
            "problem": [None, INPUTS], "theta": [None, np.ones(3), [1.0, math.nan]], "sampling": [2, None],
        })  # fmt: skip
    yield from _with(es.minibatch_sharpness, {"problem": regression, "theta": THETA, "sampling": pairs},
                     {"n_batches": [1, 2.5], "seed": [-1, "0"]})  # fmt: skip
    run = {"theta0": THETA, "step_size": 0.01, "sampling": pairs, "n_steps": 10}
    wrong: dict[str, list[object]] = {
        "step_size": [0.0, -1.0, math.nan, "0.1"], "n_steps": [0, 1.5, None], "momentum": [1.0, -0.1],
        "label_noise": [-0.1, math.nan], "sampling": [2, None], "theta0": [np.ones(3), [math.inf, 0.0]],
    }  # fmt: skip
    yield from _with(es.simulate, {"problem": regression, "seed": 0} | run,
                     wrong | {"n_replicas": [0, 2.5], "seed": [-1, 1.5],
                         "record": ["loss", None, ["los"]]})  # fmt: skip
    yield from _with(es.moments.evolve, {"problem": regression} | run, wrong)
    solution = {"theta0": es.gradient_flow(network, np.ones(4))}
    yield from _with(flow.solve, {"problem": network} | run | solution,
                     {"step_size": [0.0, math.nan], "n_steps": [0], "label_noise": [-0.1],
                         "sampling": [2]})  # fmt: skip
    yield from _with(es.stability.edge, {}, {"step_size": [0, -0.1, math.nan, "0.1", None, True]})
    yield from _with(es.stability.critical_step_size,
                     {"problem": regression, "theta": np.zeros(2), "sampling": pairs},
                     {"momentum": [1, math.nan], "criterion": ["mean"], "sampling": [2]})  # fmt: skip
    for ensemble in (es.data.gaussian, es.data.power_law, es.data.spiked, es.data.two_clusters):
        yield from _with(ensemble, {"n_samples": 3, "n_features": 5, "seed": 0},
                         {"n_samples": [0, 2.5], "n_features": [-1], "noise": [-1.0], "seed": [-1, None]})  # fmt: skip
    yield from _files()


def _with(function: Callable[..., object], right: dict[str, object], wrong: dict[str, list[object]]) -> Iterator[Call]:
    """The function with each wrong value in turn, all other arguments right."""
    for argument, values in wrong.items():
        for value in values:
            arguments = right | {argument: value}
            name = f"{function.__name__}, {argument} = {value!r}"
            yield name, partial(function, **arguments), f"{argument} must "


def _problems() -> Iterator[Call]:
    inputs = [[[math.nan, 1.0]], np.empty((0, 2)), [1.0, 2.0], [["1", "2"]], [[1j]], [[1, 2], [3]]]
    targets = [[math.inf] * 5, np.ones(6), None]
    yield from _with(
        es.LinearRegression, {"inputs": INPUTS, "targets": TARGETS}, {"inputs": inputs, "targets": targets}
    )
    yield from _with(
        es.Quadratic, {"minimizers": np.zeros((1, 2))}, {"hessians": [[[[1.0, 2.0], [0.0, 1.0]]], np.eye(2)]}
    )
    yield from _with(es.DiagonalLinearNetwork, {"inputs": INPUTS, "targets": TARGETS},
                     {"form": ["differnce"], "depth": [1, 2.5]})  # fmt: skip


def _schemes() -> Iterator[Call]:
    for scheme in (es.WithoutReplacement, es.WithReplacement, es.Reshuffled):
        yield from _with(scheme, {}, {"batch_size": [0, -1, 2.5, math.nan, "8", True, None]})


def _files() -> Iterator[Call]:
    missing = "no such folder/no such file"
    yield "load, a missing file", lambda: es.load(f"{missing}.nc"), "path must name a saved trace"
    yield "data.load, an unknown name", lambda: es.data.load("wines"), "name must be one of "
    yield "read_table, an unknown format", lambda: es.data.read_table("table.xlsx", "y"), "path must end in "
    for right, wrong in (("n_steps = 10", "n_steps = 0"), ("n_steps = 10", "n_step = 10"), ("= 0.01", "= -1"),
                         ("batch_size = 2", 'batch_size = "two"'), ('"gaussian"', '"gausian"')):  # fmt: skip
        text = CONFIGURATION.replace(right, wrong)
        yield f"from_toml, {wrong}", partial(from_toml, text), "the configuration, line "
    yield "from_toml, no TOML", lambda: from_toml("a = = 1\n"), "the configuration must be TOML"
