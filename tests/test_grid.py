"""Grids: which cells there are, by brute force; what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esssim.experiments import ConfigurationError, Grid
from esssim.experiments.grid import with_changes
from tests.sweep_cases import SHORT_RUN

BASE = SHORT_RUN.plain()


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"from": 0, "to": 4}, [0, 1, 2, 3, 4]),
        ({"from": 1, "to": 8, "step": 3}, [1, 4, 7]),
        ({"from": 0.1, "to": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"from": 0, "to": 1, "num": 5}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"from": 1, "to": 64, "log": 7}, [1, 2, 4, 8, 16, 32, 64]),
        ({"from": 1, "to": 100, "log": 5, "integer": True}, [1, 3, 10, 32, 100]),
        ({"from": 1e-3, "to": 1e-1, "log": 3}, [1e-3, 1e-2, 1e-1]),
        ({"from": 3, "to": 3}, [3]),
        (np.array([1, 2]), [1, 2]),
        ([{"kind": "diabetes"}, {"kind": "wine"}], [{"kind": "diabetes"}, {"kind": "wine"}]),
    ],
)
def test_lists_and_ranges(given: Any, values: list[Any]) -> None:
    (axis,) = Grid.of({"dynamics.seed": given}).axes
    found = [value for (value,) in axis.values]
    assert found == pytest.approx(values) if isinstance(values[0], float) else found == values
    assert list(map(type, found)) == list(map(type, values))


def test_steps_are_as_they_are_written() -> None:
    (axis,) = Grid.of({"dynamics.step_size": {"from": 0.1, "to": 0.7, "step": 0.1}}).axes
    assert [value for (value,) in axis.values] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True)


@given(sizes, sizes, sizes, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_cells_by_brute_force(b: list[int], n: list[int], seeds: list[int], sign: str) -> None:
    """Every cell of the product, in the order of loops, that meets both conditions."""
    grid = Grid.of(
        {"sampling.batch_size": b, "data.n_samples": n, "dynamics.seed": seeds,
         "where": [["sampling.batch_size", sign, "data.n_samples"], ["dynamics.seed", "<", 5]]}
    )  # fmt: skip
    compare = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__, "==": int.__eq__, "!=": int.__ne__}
    expected = [
        {"sampling.batch_size": x, "data.n_samples": y, "dynamics.seed": z}
        for x, y, z in itertools.product(b, n, seeds)
        if compare[sign](x, y) and z < 5
    ]
    assert [grid.changes(index) for index in grid.cells(BASE).tolist()] == expected
    assert Grid.of(grid.plain) == grid


def test_zipped_keys_change_together() -> None:
    grid = Grid.of(
        {"data.n_samples": [10, 20], "dynamics.seed": [0, 1, 2], "data.n_features": [3, 4],
         "zip": [["data.n_features", "data.n_samples"]]}
    )  # fmt: skip
    assert [axis.keys for axis in grid.axes] == [("data.n_features", "data.n_samples"), ("dynamics.seed",)]
    cells = [grid.changes(k) for k in grid.cells({}).tolist()]
    assert len(cells) == 6
    assert {(cell["data.n_samples"], cell["data.n_features"]) for cell in cells} == {(10, 3), (20, 4)}
    assert Grid.of(grid.plain) == grid


def test_a_section_is_replaced_before_its_keys() -> None:
    changed = with_changes({"data": {"kind": "wine"}}, {"data.seed": 3, "data": {"kind": "gaussian"}})
    assert changed == {"data": {"kind": "gaussian", "seed": 3}}


def test_conditions_see_keys_that_no_axis_changes() -> None:
    grid = Grid.of({"sampling.batch_size": [1, 12, 13], "where": [["sampling.batch_size", "<=", "data.n_samples"]]})
    assert grid.cells(BASE).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "grid must have at least one key"),
        (3, "grid must be a table of keys, got 3"),
        ({"sampler.batch_size": [1]}, r"sampler.batch_size is unknown; did you mean 'sampling'\?"),
        ({"sampling.batch_size": 3}, "must be a list or a range such as { from = 1, to = 8 }, got 3"),
        ({"sampling.batch_size": []}, "must have at least one value, got none"),
        ({"dynamics.seed": {"from": 0}}, "dynamics.seed.to is missing"),
        ({"dynamics.seed": {"from": 0, "two": 3}}, r"two is unknown; did you mean 'to'\?"),
        ({"dynamics.seed": {"from": 3, "to": 0}}, "to must be at least from = 3, got 0"),
        ({"dynamics.seed": {"from": 0, "to": 1.5}}, "must have step, num or log: only integers count by one"),
        ({"dynamics.seed": {"from": 0, "to": 9, "num": 3, "log": 3}}, "one of step, num and log, got num and log"),
        ({"dynamics.seed": {"from": 0, "to": 9, "log": 3}}, "from must be above 0 with equal ratios"),
        ({"dynamics.seed": {"from": 0, "to": 9, "num": 0}}, "num must be an integer of at least 1, got 0"),
        ({"dynamics.seed": {"from": 0, "to": 9, "step": 0}}, "step must be above 0, got 0"),
        ({"dynamics.seed": {"from": 0, "to": float("nan")}}, "to must be a finite number, got nan"),
        ({"dynamics.seed": {"from": 0, "to": 9, "num": 3, "integer": 1}}, "integer must be true or false, got 1"),
        ({"dynamics.seed": {"from": 0, "to": 10**9}}, r"must have at most 1,000,000 values, got 1,000,000,000"),
        ({"dynamics.seed": {"from": 0.0, "to": 1.0, "step": 1e-300}}, "must have at most 1,000,000 values"),
        ({"dynamics.seed": {"from": 0, "to": 99_999}, "data.seed": {"from": 0, "to": 99_999}}, "at most 100,000,000 cells"),
        ({"dynamics.seed": [1], "zip": ["dynamics.seed"]}, "zip must be a list of lists of keys"),
        ({"dynamics.seed": [1], "zip": [["data.seed"]]}, "'data.seed' is unknown"),
        ({"dynamics.seed": [1], "data.seed": [1, 2], "zip": [["dynamics.seed", "data.seed"]]}, "as many values each"),
        ({"dynamics.seed": [1], "zip": [["dynamics.seed", "dynamics.seed"]]}, "each key once, got 'dynamics.seed' twice"),
        ({"dynamics.seed": [1], "where": "x"}, "where must be a list of comparisons"),
        ({"dynamics.seed": [1], "where": [["dynamics.seed", "<"]]}, "must be .key, sign, key or value."),
        ({"dynamics.seed": [1], "where": [["dynamics.seed", "=<", 3]]}, "sign must be one of '<', .*, got '=<'"),
        ({"dynamics.seed": [1], "where": [["dynamics.seat", "<", 3]]}, "names the key 'dynamics.seat', which neither"),
        ({"dynamics.seed": [1], "where": [["dynamics.seed", "<", "many"]]}, "must compare values of one kind"),
    ],
)  # fmt: skip
def test_refusals(given: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Grid.of(given).cells(BASE)
